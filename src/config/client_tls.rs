//! The settings of the commands that call a running bank, for TLS.
//!
//! The variables of the environment have names of their own: a container that serves with `BANK_TLS_CERT`
//! asks for its health as a client.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};
use tonic::transport::Uri;

/// Whom to trust, and who is calling.
#[derive(Debug, Args)]
#[allow(clippy::struct_field_names, reason = "they are the names of the flags")]
pub(super) struct ClientTls {
    /// The CAs that vouch for the bank, PEM [default: those of the system]
    #[arg(long, env = "BANK_CLIENT_TLS_CA", value_name = "FILE", hide_env_values = true)]
    tls_ca: Option<PathBuf>,

    /// The name in the bank's certificate [default: the host of the endpoint]
    #[arg(
        long,
        env = "BANK_CLIENT_TLS_NAME",
        value_name = "NAME",
        value_parser = parse_name,
        hide_env_values = true
    )]
    tls_name: Option<ServerName<'static>>,

    /// The certificate to call with, PEM, followed by those that lead to its CA
    #[arg(
        long,
        env = "BANK_CLIENT_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key",
        hide_env_values = true
    )]
    tls_cert: Option<PathBuf>,

    /// Its private key, PEM
    #[arg(
        long,
        env = "BANK_CLIENT_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert",
        hide_env_values = true
    )]
    tls_key: Option<PathBuf>,
}

/// How to call a bank with TLS.
#[derive(Clone, Debug)]
pub struct Secured {
    /// Whom to trust, and who is calling.
    pub config: Arc<ClientConfig>,
    /// The name that must stand in the bank's certificate.
    pub name: ServerName<'static>,
}

impl ClientTls {
    /// How to call the bank at an address; `None` where it is called in plain text.
    ///
    /// # Errors
    ///
    /// One line that says which file or setting can't be used.
    pub(super) fn secured(&self, endpoint: &Uri) -> Result<Option<Secured>, String> {
        if endpoint.scheme_str() != Some("https") {
            return match self {
                Self { tls_ca: None, tls_name: None, tls_cert: None, tls_key: None } => Ok(None),
                _ => Err(format!("{endpoint} is called without TLS: it must be https://HOST:PORT")),
            };
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots(self.tls_ca.as_deref(), "--tls-ca")?);
        let mut config = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key_path)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_slice(&read(key_path)?)
                    .map_err(|_| unusable(key_path, &"there is no private key in PEM in it"))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| match error {
                    rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                        let certificate = certificate.display();
                        unusable(key_path, &format!("it is not the key of {certificate}"))
                    }
                    error => unusable(certificate, &error),
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = match &self.tls_name {
            Some(name) => name.clone(),
            None => parse_name(endpoint.host().unwrap_or_default())?,
        };
        Ok(Some(Secured { config: Arc::new(config), name }))
    }
}

/// The CAs in a file, or those of the system; `flag` is what names the file.
///
/// # Errors
///
/// One line that says which file can't be used, or that there are none.
pub(super) fn roots(file: Option<&Path>, flag: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = file {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| unusable(path, &error))?;
        }
        return Ok(roots);
    }
    // Some of the system's may be too old to be understood: they are no use, and no harm.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(format!("the system has no CAs that it trusts: give {flag}"));
    }
    Ok(roots)
}

/// The certificates in a file, of which there is at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(path, &error))?;
    if certificates.is_empty() {
        return Err(unusable(path, &"there is no certificate in PEM in it"));
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{} can't be read: {error}", path.display()))
}

fn unusable(path: &Path, why: &dyn Display) -> String {
    format!("{} can't be used: {why}", path.display())
}

/// A host, with the brackets that an IPv6 address has in a URL or without.
fn parse_name(text: &str) -> Result<ServerName<'static>, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    ServerName::try_from(bare.to_owned())
        .map_err(|_| format!("{text} must be a DNS name or an IP address"))
}
