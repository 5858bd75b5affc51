//! Who may call `bank serve`, how fast, and where it is written down.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::auth::{
    Authentication, Callers, Expected, Jwt, KeySource, Rate, Rates, Reloaded, RemoteKeys,
};

/// How callers prove who they are, and what each may use.
#[derive(Debug, Args)]
pub struct AuthSettings {
    /// The file of callers (TOML), known by the hashes of their tokens or by their certificates; read again
    /// when it changes. 'bank token new' makes an entry
    #[arg(long, env = "BANK_AUTH_TOKENS", value_name = "FILE", hide_env_values = true)]
    auth_tokens: Option<PathBuf>,

    /// The keys that JWTs are signed with (a JWK set): a file, read again when it changes, or an https URL
    #[arg(
        long,
        env = "BANK_JWT_JWKS",
        value_name = "FILE|URL",
        hide_env_values = true,
        requires_all = ["jwt_issuer", "jwt_audience"]
    )]
    jwt_jwks: Option<String>,

    /// The certificates that vouch for that URL, PEM [default: those of the system]
    #[arg(
        long,
        env = "BANK_JWT_JWKS_CA",
        value_name = "FILE",
        hide_env_values = true,
        requires = "jwt_jwks"
    )]
    jwt_jwks_ca: Option<PathBuf>,

    /// The issuer that JWTs must name
    #[arg(
        long,
        env = "BANK_JWT_ISSUER",
        value_name = "ISSUER",
        value_parser = not_empty,
        hide_env_values = true,
        requires = "jwt_jwks"
    )]
    jwt_issuer: Option<String>,

    /// The audience that JWTs must be for
    #[arg(
        long,
        env = "BANK_JWT_AUDIENCE",
        value_name = "AUDIENCE",
        value_parser = not_empty,
        hide_env_values = true,
        requires = "jwt_jwks"
    )]
    jwt_audience: Option<String>,

    /// How many operations a second each caller may ask for; without authentication, each address. Each
    /// operation of a batch or a stream counts [default: any number]
    #[arg(long, env = "BANK_RATE_PER_CALLER", value_name = "COUNT", hide_env_values = true)]
    rate_per_caller: Option<NonZeroU32>,

    /// How many of them may come at once; a larger batch is refused [default: those of a second]
    #[arg(
        long,
        env = "BANK_RATE_BURST",
        value_name = "COUNT",
        hide_env_values = true,
        requires = "rate_per_caller"
    )]
    rate_burst: Option<NonZeroU32>,

    /// The file that the audit log is appended to, one JSON object a line; opened anew at SIGHUP [default:
    /// it goes with the log, where callers have to prove who they are]
    #[arg(long, env = "BANK_AUDIT_LOG", value_name = "FILE", hide_env_values = true)]
    pub audit_log: Option<PathBuf>,
}

impl AuthSettings {
    /// Whether callers have to prove who they are.
    #[must_use]
    pub fn has_authentication(&self) -> bool {
        self.auth_tokens.is_some() || self.jwt_jwks.is_some()
    }

    /// How callers are recognised, if they have to be. Reads the files.
    ///
    /// # Errors
    ///
    /// One line that says which setting or file is wrong.
    pub fn authentication(&self) -> Result<Option<Authentication>, String> {
        if !self.has_authentication() {
            return Ok(None);
        }
        let callers = match &self.auth_tokens {
            Some(path) => Some(Arc::new(Reloaded::open(path, Callers::parse)?)),
            None => None,
        };
        let jwt = match (&self.jwt_jwks, &self.jwt_issuer, &self.jwt_audience) {
            (Some(jwks), Some(issuer), Some(audience)) => {
                let expected = Expected { issuer: issuer.clone(), audience: audience.clone() };
                Some(Jwt::new(self.keys(jwks, expected)?))
            }
            _ => None,
        };
        Ok(Some(Authentication::new(callers, jwt)))
    }

    fn keys(&self, jwks: &str, expected: Expected) -> Result<KeySource, String> {
        if !jwks.contains("://") {
            return KeySource::file(Path::new(jwks), &expected);
        }
        let certificates = match &self.jwt_jwks_ca {
            Some(path) => Some(
                std::fs::read(path)
                    .map_err(|error| format!("{} can't be read: {error}", path.display()))?,
            ),
            None => None,
        };
        let keys = RemoteKeys::new(jwks, certificates.as_deref(), expected, RemoteKeys::PAUSE)
            .map_err(|wrong| format!("--jwt-jwks: {wrong}"))?;
        Ok(KeySource::Remote(Arc::new(keys)))
    }

    /// How fast each caller may ask, if that is limited.
    #[must_use]
    pub fn rates(&self) -> Option<Rates> {
        let rate = self.rate_per_caller?;
        Some(Rates::new(Rate::per_second(rate, self.rate_burst.unwrap_or(rate))))
    }
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}
