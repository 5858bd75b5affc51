//! Who may call what: the gate that every call goes through before anything else is looked at.
//!
//! A call that is let in has a `Permit` in its extensions, which says who it is of and what it may touch.
//! **Invariants:** a handler without a permit does nothing; a method without a row in the table of roles is
//! denied; every attempt that is denied is told to the audit log, with whoever made it as far as it is
//! known. Where no authentication is configured everybody may do everything, and nobody has a name.

mod asked;
mod audit;
mod permit;
mod roles;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request};

use crate::auth::{Authentication, Caller, Rates, Spender, Unidentified};

use super::observe::CallLog;
use super::peer::Peer;
use super::status::Error;

pub(super) use asked::{Asked, method_of};
pub(crate) use audit::TARGET as AUDIT_TARGET;
pub(super) use audit::{Line, Lines};
pub(super) use permit::{OTHER, Permit};

/// What the gate goes by.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// How callers are recognised; without it everybody may do everything.
    pub authentication: Option<Arc<Authentication>>,
    /// How fast each may ask; without it as fast as it likes.
    pub rates: Option<Arc<Rates>>,
    /// Whether mutations are told to the audit log also where nobody has to say who it is.
    pub audits_everybody: bool,
}

impl Access {
    /// Lets a request in that has come over no connection, as if no authentication were configured: for
    /// programs that call the service itself.
    #[must_use]
    pub fn let_in<T>(mut request: tonic::Request<T>) -> tonic::Request<T> {
        request.extensions_mut().insert(Arc::new(Permit::everything()));
        request
    }

    /// Takes down what a request says of its caller; nothing is decided yet.
    pub(super) fn attempt<B>(self, request: &Request<B>) -> Attempt {
        let extensions = request.extensions();
        let peer = extensions.get::<Peer>();
        let credentials = self.authentication.as_ref().map(|authentication| Credentials {
            authentication: authentication.clone(),
            bearer: bearer(request.headers()),
            names: peer.map_or_else(Vec::new, |peer| peer.names.clone()),
        });
        let row = roles::needed(request.uri().path());
        Attempt {
            access: self,
            credentials,
            peer: peer.and_then(|peer| peer.address),
            row,
            path: row.map_or_else(|| request.uri().path().to_owned(), |_| String::new()),
        }
    }
}

/// What a caller shows to prove who it is.
#[derive(Clone)]
struct Credentials {
    authentication: Arc<Authentication>,
    /// The token; an error when there is something else in its place.
    bearer: Result<Option<String>, &'static str>,
    names: Vec<String>,
}

impl Credentials {
    async fn caller(&self) -> Result<Arc<Caller>, Unidentified> {
        let bearer = self.bearer.as_ref().map_err(|why| Unidentified::Refused(why))?;
        self.authentication.identify(bearer.as_deref(), &self.names).await
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("names", &self.names).finish_non_exhaustive()
    }
}

/// The token of a request (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("there is more than one authorization");
    }
    let token = value.to_str().ok().and_then(|value| value.split_once(' '));
    match token {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => {
            Ok(Some(token.to_owned()))
        }
        _ => Err("the authorization is not of the form: Bearer TOKEN"),
    }
}

/// A call that has yet to be let in.
#[derive(Debug)]
pub(super) struct Attempt {
    access: Access,
    credentials: Option<Credentials>,
    peer: Option<std::net::SocketAddr>,
    row: Option<(&'static str, roles::Need)>,
    /// The path, where it is that of no method.
    path: String,
}

impl Attempt {
    /// Lets the call in, if its caller is recognised and has the role that its method needs. Who it is is
    /// noted in its log line.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthenticated`], [`Error::Denied`] or [`Error::KeysUnavailable`] when it is not let in.
    pub(super) async fn permit(self, log: &CallLog) -> Result<Arc<Permit>, Error> {
        let Self { access, credentials, peer, row, path } = self;
        let (method, need) = match row {
            Some((method, need)) => (method, Some(need)),
            None => ("", None),
        };
        let is_open = need == Some(roles::Need::Nothing);
        let credentials = credentials.filter(|_| !is_open);
        let denied = |caller: Option<&str>, error: Error| {
            let method = if method.is_empty() { &path } else { method };
            audit::denied(method, caller, peer, &error);
            error
        };
        let caller = match &credentials {
            None => None,
            Some(credentials) => match credentials.caller().await {
                Ok(caller) => {
                    log.note_caller(&caller.name);
                    Some(caller)
                }
                Err(Unidentified::Unentitled(name, why)) => {
                    log.note_caller(&name);
                    return Err(denied(Some(name.as_str()), Error::Denied(why.to_owned())));
                }
                Err(Unidentified::Refused(why)) => {
                    return Err(denied(None, Error::Unauthenticated(why)));
                }
                Err(Unidentified::Missing) => {
                    let why =
                        "credentials are needed: authorization: Bearer TOKEN, or a certificate";
                    return Err(denied(None, Error::Unauthenticated(why)));
                }
                Err(Unidentified::KeysUnavailable) => {
                    return Err(denied(None, Error::KeysUnavailable));
                }
            },
        };
        if let Some(caller) = &caller
            && !need.is_some_and(|need| need.is_met_by(caller.role))
        {
            let why = match need {
                Some(roles::Need::Role(role)) => {
                    format!("this needs the role {}, not {}", role.name(), caller.role.name())
                }
                _ => "nobody may call this".to_owned(),
            };
            return Err(denied(Some(caller.name.as_str()), Error::Denied(why)));
        }
        let spender = match &caller {
            Some(caller) => Spender::Caller(caller.name.clone()),
            None => Spender::at(peer.map(|peer| peer.ip())),
        };
        Ok(Arc::new(Permit {
            audits: caller.is_some() || access.audits_everybody,
            caller,
            credentials,
            rates: access.rates.filter(|_| !is_open),
            spender,
            peer,
            method,
            is_mutation: need.is_some_and(roles::Need::is_of_a_mutation),
            is_read: AtomicBool::new(false),
        }))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_bearer_token_has_one_form() {
        let of = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                let value = HeaderValue::from_bytes(value).expect("it is a value");
                headers.append(AUTHORIZATION, value);
            }
            bearer(&headers)
        };
        assert_eq!(of(&[]), Ok(None));
        for value in ["Bearer abc", "bearer abc", "BEARER abc"] {
            assert_eq!(of(&[value.as_bytes()]), Ok(Some("abc".to_owned())), "{value}");
        }
        for values in [
            &[&b"Basic abc"[..]][..],
            &[b"abc"],
            &[b""],
            &[b"Bearer"],
            &[b"Bearer "],
            &[b"Bearer \xff"],
            &[b"Bearer abc", b"Bearer abc"],
        ] {
            assert!(of(values).is_err(), "{values:?}");
        }
    }
}
