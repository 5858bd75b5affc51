//! TLS: what the server shows of itself and whom it lets in, read from files, and read again when they change.
//!
//! **Invariant:** what is in use was whole and valid when it was read: a renewal that isn't is told once, and
//! what was in use before stays. A connection keeps what it began with.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;

use super::certificate;
use crate::clock::{Clock, SystemClock};
use crate::ledger::Time;

/// Where the certificates are.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate in PEM, followed by those that lead to its CA.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
    /// The CAs in PEM of whose certificates a client must have one; without them no client needs any.
    pub client_ca: Option<PathBuf>,
}

/// The certificates in use. Clones share them.
#[derive(Clone, Debug)]
pub struct Tls {
    files: Arc<TlsFiles>,
    reload_interval: Duration,
    current: watch::Sender<InUse>,
    /// What was in the files when they were read last, as far as they could be.
    read: Arc<Result<Contents, String>>,
}

impl Tls {
    /// Reads the certificates. While a server runs with them it looks into the files again and again,
    /// with so much time between, and uses what is new there for new connections.
    ///
    /// # Errors
    ///
    /// One line that names the file that can't be used, and says why.
    pub fn load(files: TlsFiles, reload_interval: Duration) -> Result<Self, String> {
        let contents = Contents::read(&files)?;
        let (current, _) = watch::channel(contents.configure(&files, SystemClock.now())?);
        Ok(Self { files: Arc::new(files), reload_interval, current, read: Arc::new(Ok(contents)) })
    }

    /// Takes in connections with what is in use now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.borrow().config.clone().into()
    }

    /// Until when the certificate that is in use is valid.
    #[must_use]
    pub fn valid_until(&self) -> Time {
        self.current.borrow().valid_until
    }

    /// Looks into the files again and again. It never ends.
    pub(super) async fn keep_renewing(&self) {
        tracing::info!(valid_until = text_of(self.valid_until()), "the certificate is in use");
        let mut has_expired = false;
        let mut seen = self.read.clone();
        let mut times = interval(self.reload_interval);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            let files = self.files.clone();
            let read = tokio::task::spawn_blocking(move || Contents::read(&files)).await;
            let Ok(read) = read else { continue };
            if read != *seen {
                seen = Arc::new(read);
                self.renew(&seen);
            }
            let was_valid =
                !std::mem::replace(&mut has_expired, self.valid_until() < SystemClock.now());
            if has_expired && was_valid {
                tracing::error!("the certificate in use has expired");
            }
        }
    }

    fn renew(&self, read: &Result<Contents, String>) {
        let contents = read.as_ref().map_err(Clone::clone);
        match contents.and_then(|contents| contents.configure(&self.files, SystemClock.now())) {
            Ok(new) => {
                let valid_until = text_of(new.valid_until);
                self.current.send_replace(new);
                tracing::info!(valid_until, "the certificate was renewed");
            }
            Err(error) => {
                tracing::error!(
                    error,
                    "the certificate can't be renewed; the old one stays in use"
                );
            }
        }
    }
}

/// What new connections are taken in with.
#[derive(Clone, Debug)]
struct InUse {
    config: Arc<ServerConfig>,
    valid_until: Time,
}

/// What is in the files.
#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// A key is shown to nobody.
impl std::fmt::Debug for Contents {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Contents").finish_non_exhaustive()
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, String> {
        let read = |path: &PathBuf| {
            std::fs::read(path)
                .map_err(|error| format!("{} can't be read: {error}", path.display()))
        };
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            client_ca: files.client_ca.as_ref().map(read).transpose()?,
        })
    }

    fn configure(&self, files: &TlsFiles, now: Time) -> Result<InUse, String> {
        let chain = certificates(&files.certificate, &self.certificate)?;
        let validity = certificate::validity(&chain[0])
            .map_err(|error| unusable(&files.certificate, &error))?;
        if now < validity.from || now > validity.until {
            let (from, until) = (text_of(validity.from), text_of(validity.until));
            let why = format!("it is valid only from {from} until {until}");
            return Err(unusable(&files.certificate, &why));
        }
        // What is wrong with a key is not told further than that: it might tell of the key.
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| unusable(&files.key, &"there is no private key in PEM in it"))?;

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match (&files.client_ca, &self.client_ca) {
            (Some(path), Some(pem)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path, pem)? {
                    roots.add(certificate).map_err(|error| unusable(path, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                    .build()
                    .map_err(|error| unusable(path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                let certificate = files.certificate.display();
                unusable(&files.key, &format!("it is not the key of {certificate}"))
            }
            error => unusable(&files.certificate, &error),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A session that is resumed isn't verified anew, and connections last: there is little to win.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(InUse { config: Arc::new(config), valid_until: validity.until })
    }
}

/// The certificates in a file, of which there is at least one.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(path, &error))?;
    if chain.is_empty() {
        return Err(unusable(path, &"there is no certificate in PEM in it"));
    }
    Ok(chain)
}

fn unusable(path: &Path, why: &dyn Display) -> String {
    format!("{} can't be used: {why}", path.display())
}

fn text_of(time: Time) -> String {
    let micros = u64::try_from(time.micros()).unwrap_or(0);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_micros(micros)).to_string()
}
