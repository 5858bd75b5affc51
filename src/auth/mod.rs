//! Beside the store: who is calling.
//!
//! A caller proves who it is by a token whose hash is in a file, by a JWT that an issuer has signed, or by a
//! client certificate whose name is in the file. **Invariants:** no secret is kept or logged, and what is
//! compared with one takes the same time whether it fits or not; whatever can't be understood is nobody;
//! a file or a set of keys that can't be read leaves the one before it in force. What a caller may do with
//! a method or an account is said here ([`Role`], [`Reach`]) and decided where calls come in.

mod caller;
mod callers;
mod jwks;
mod jwt;
mod rate;
mod reloaded;
mod remembered;
mod token;

use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::ledger::CallerName;

pub use caller::{Caller, Prefix, Reach, Role};
pub use callers::Callers;
pub use jwks::{KeySource, RemoteKeys};
pub use jwt::{Expected, Jwt};
pub use rate::{Rate, Rates, Scarce, Spender};
pub use reloaded::Reloaded;
pub use token::{Token, TokenHash};

/// Why nobody is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unidentified {
    /// There are no credentials.
    Missing,
    /// The credentials prove nothing; the phrase says why, and holds nothing of them.
    Refused(&'static str),
    /// It is proved who it is, but not that it may do anything.
    Unentitled(CallerName, &'static str),
    /// What tokens are checked with can't be had at the moment.
    KeysUnavailable,
}

/// Recognises callers.
#[derive(Debug)]
pub struct Authentication {
    callers: Option<Arc<Reloaded<Callers>>>,
    jwt: Option<Jwt>,
    keepers: Vec<AbortHandle>,
}

impl Authentication {
    /// Recognises callers by the entries of a file, by JWTs, or by both.
    #[must_use]
    pub fn new(callers: Option<Arc<Reloaded<Callers>>>, jwt: Option<Jwt>) -> Self {
        Self { callers, jwt, keepers: Vec::new() }
    }

    /// Begins to look at the file and the keys again now and then, for as long as this lives. Has to be
    /// called inside a runtime.
    #[must_use]
    pub fn start(mut self) -> Arc<Self> {
        let file = self.callers.clone().map(|callers| tokio::spawn(callers.keep()).abort_handle());
        let keys = self.jwt.as_ref().map(|jwt| tokio::spawn(jwt.keys().keep()).abort_handle());
        self.keepers = file.into_iter().chain(keys).collect();
        Arc::new(self)
    }

    /// Says who is calling. A bearer token counts alone: one that proves nothing is not made good by a
    /// certificate.
    ///
    /// # Errors
    ///
    /// [`Unidentified`] when that can't be said.
    pub async fn identify(
        &self,
        bearer: Option<&str>,
        certificate_names: &[String],
    ) -> Result<Arc<Caller>, Unidentified> {
        let callers = self.callers.as_ref().map(|callers| callers.current());
        let Some(bearer) = bearer else {
            return match callers {
                Some(callers) if !certificate_names.is_empty() => {
                    callers.by_certificate(certificate_names)
                }
                _ => Err(Unidentified::Missing),
            };
        };
        if let Some(caller) = callers.and_then(|callers| callers.by_token(bearer)) {
            return Ok(caller);
        }
        match &self.jwt {
            // It may have to fetch keys, which is large: every call would carry the room for it.
            Some(jwt) => Box::pin(jwt.verify(bearer)).await,
            None => Err(Unidentified::Refused("the token is not known")),
        }
    }
}

impl Drop for Authentication {
    fn drop(&mut self) {
        for keeper in &self.keepers {
            keeper.abort();
        }
    }
}
