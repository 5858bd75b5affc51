//! JSON Web Tokens (RFC 7519, RFC 8725): who a token that the issuer has signed is about.
//!
//! **Invariants:** only tokens for this audience, of this issuer, within their time, signed with one of its
//! keys by an algorithm of that key's kind, prove anything. The subject is the caller's name; a token that
//! grants no role, or grants accounts in a form that can't be read, allows nothing.

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;

use super::remembered::Remembered;
use super::{Caller, KeySource, Reach, Role, TokenHash, Unidentified};
use crate::clock::{Clock, SystemClock};
use crate::ledger::CallerName;

/// How far the clocks of the issuer and the bank may be apart, in seconds.
const LEEWAY: u64 = 30;

/// What a token must say.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Who has issued it: `iss`.
    pub issuer: String,
    /// Whom it is for: one of `aud`.
    pub audience: String,
}

impl Expected {
    pub(super) fn validation(&self, algorithms: Vec<Algorithm>) -> Validation {
        let mut validation =
            Validation { algorithms, leeway: LEEWAY, validate_nbf: true, ..Validation::default() };
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    bank_role: Option<Value>,
    bank_account_prefixes: Option<Value>,
}

/// Recognises callers by JWTs.
#[derive(Debug)]
pub struct Jwt {
    keys: KeySource,
    remembered: Remembered,
}

impl Jwt {
    /// Checks tokens with these keys.
    #[must_use]
    pub fn new(keys: KeySource) -> Self {
        Self { keys, remembered: Remembered::new() }
    }

    pub(super) fn keys(&self) -> KeySource {
        self.keys.clone()
    }

    /// Says whom a token is about.
    pub(super) async fn verify(&self, token: &str) -> Result<Arc<Caller>, Unidentified> {
        let hash = TokenHash::of(token);
        if let Some(keys) = self.keys.current()
            && let Some(caller) = self.remembered.find(hash, &keys, now())
        {
            return Ok(caller);
        }
        let header = decode_header(token)
            .map_err(|_| Unidentified::Refused("the token is not known, and no JWT"))?;
        // What must be understood isn't (RFC 7515, 4.1.11).
        if header.crit.is_some() {
            return Err(Unidentified::Refused("the JWT has critical headers"));
        }
        let id = header.kid.as_deref();
        let mut keys = self.keys.current();
        if keys.as_ref().is_none_or(|keys| keys.find(id).is_none()) {
            self.keys.look_again().await;
            keys = self.keys.current();
        }
        let keys = keys.ok_or(Unidentified::KeysUnavailable)?;
        let key = keys.find(id).ok_or(Unidentified::Refused("the JWT's key is not known"))?;
        let decoded = decode::<Claims>(token, &key.decoding, &key.validation);
        let claims = decoded.map_err(|error| refused(error.kind()))?.claims;
        let name = CallerName::parse(&claims.sub)
            .map_err(|_| Unidentified::Refused("the JWT's subject is not visible ASCII"))?;
        let unentitled = |why| Unidentified::Unentitled(name.clone(), why);
        let role = claims.bank_role.as_ref().and_then(Value::as_str).and_then(Role::parse);
        let role = role.ok_or_else(|| unentitled("the JWT grants no role in bank_role"))?;
        let reach = reach(claims.bank_account_prefixes.as_ref())
            .ok_or_else(|| unentitled("the JWT's bank_account_prefixes can't be read"))?;
        let caller = Arc::new(Caller { name, role, reach });
        self.remembered.note(hash, keys.clone(), expiry(claims.exp), caller.clone());
        Ok(caller)
    }
}

/// The present, in seconds since the Unix epoch.
fn now() -> u64 {
    u64::try_from(SystemClock.now().micros() / 1_000_000).unwrap_or_default()
}

/// The last second in which a token with this `exp` is good.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the nearest there is")]
fn expiry(exp: f64) -> u64 {
    (exp as u64).saturating_add(LEEWAY)
}

fn reach(claim: Option<&Value>) -> Option<Reach> {
    let Some(claim) = claim else { return Some(Reach::Everything) };
    let prefixes: Vec<&str> = claim.as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?;
    Reach::within(prefixes).ok()
}

fn refused(kind: &ErrorKind) -> Unidentified {
    Unidentified::Refused(match kind {
        ErrorKind::InvalidSignature => "the JWT's signature is not its key's",
        ErrorKind::InvalidAlgorithm => "the JWT's algorithm is not its key's",
        ErrorKind::ExpiredSignature => "the JWT has expired",
        ErrorKind::ImmatureSignature => "the JWT is not valid yet",
        ErrorKind::InvalidIssuer => "the JWT is of another issuer",
        ErrorKind::InvalidAudience => "the JWT is for another audience",
        ErrorKind::MissingRequiredClaim(_) => "the JWT lacks one of exp, iss, aud, sub",
        _ => "the JWT can't be read",
    })
}
