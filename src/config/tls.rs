//! The settings of `bank serve` for TLS.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::connections::parse_duration;
use crate::server::{Tls, TlsFiles};

/// Who the bank is, and who may call.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
#[allow(clippy::struct_field_names, reason = "they are the names of the flags")]
pub struct TlsSettings {
    /// The certificate of the bank, PEM, followed by those that lead to its CA
    #[arg(
        long,
        env = "BANK_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key",
        hide_env_values = true
    )]
    tls_cert: Option<PathBuf>,

    /// Its private key, PEM
    #[arg(
        long,
        env = "BANK_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert",
        hide_env_values = true
    )]
    tls_key: Option<PathBuf>,

    /// The CAs that vouch for callers, PEM; who has no certificate of theirs can't connect
    #[arg(
        long,
        env = "BANK_TLS_CLIENT_CA",
        value_name = "FILE",
        requires = "tls_cert",
        hide_env_values = true
    )]
    tls_client_ca: Option<PathBuf>,

    /// How often to look whether these files were renewed
    #[arg(
        long,
        env = "BANK_TLS_RELOAD_INTERVAL",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = parse_duration,
        hide_env_values = true
    )]
    tls_reload_interval: Duration,
}

impl TlsSettings {
    /// Whether calls are encrypted.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.tls_cert.is_some()
    }

    /// Whether every caller must have a certificate.
    #[must_use]
    pub fn requires_client_certificates(&self) -> bool {
        self.tls_client_ca.is_some()
    }

    /// Reads the files, if any are given.
    ///
    /// # Errors
    ///
    /// One line that names the file that can't be used, and says why.
    pub fn load(&self) -> Result<Option<Tls>, String> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        let files = TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            client_ca: self.tls_client_ca.clone(),
        };
        Tls::load(files, self.tls_reload_interval).map(Some)
    }
}
