//! The keys that JWTs are signed with: from a file, or fetched from where the issuer publishes them.
//!
//! **Invariants:** a key checks the algorithms of its own kind and no others, and none that needs a secret;
//! what is fetched is bounded in size and time, and so is how often; keys that can't be fetched leave those
//! before them in force.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::{Expected, Reloaded};

/// How often keys are fetched anew.
const INTERVAL: Duration = Duration::from_secs(300);
/// How often that is tried while there are none.
const FIRST_INTERVAL: Duration = Duration::from_secs(5);
/// How long a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest set that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// A key, and what a token that it has signed must say.
#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    pub(super) decoding: DecodingKey,
    pub(super) validation: Validation,
}

/// A set of keys.
#[derive(Debug, Default)]
pub struct KeySet(Vec<Key>);

#[derive(Deserialize)]
struct File {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a set (RFC 7517). Keys for other uses, and those of kinds that can't be used, are left out.
    ///
    /// # Errors
    ///
    /// What is wrong with it: it is none, or no key of it can be used.
    pub(super) fn parse(content: &[u8], expected: &Expected) -> Result<Self, String> {
        let file: File =
            serde_json::from_slice(content).map_err(|error| format!("no set of keys: {error}"))?;
        let keys: Vec<Key> =
            file.keys.into_iter().filter_map(|key| usable(key, expected)).collect();
        if keys.is_empty() {
            return Err("no key of it can be used".to_owned());
        }
        Ok(Self(keys))
    }

    /// The key that a token names; one that names none is taken to mean the only key that there is.
    pub(super) fn find(&self, id: Option<&str>) -> Option<&Key> {
        match (id, &self.0[..]) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
        }
    }
}

fn usable(key: serde_json::Value, expected: &Expected) -> Option<Key> {
    let key: Jwk = serde_json::from_value(key).ok()?;
    if key.common.public_key_use.as_ref().is_some_and(|it| *it != PublicKeyUse::Signature) {
        return None;
    }
    let of_its_kind: &[Algorithm] = match &key.algorithm {
        AlgorithmParameters::RSA(_) => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(parameters) => match parameters.curve {
            EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            _ => return None,
        },
        // A shared secret among them: it signs as well as it checks, so whoever can read the set could make
        // tokens.
        _ => return None,
    };
    let algorithms = match key.common.key_algorithm {
        None => of_its_kind.to_vec(),
        Some(one) => {
            vec![Algorithm::try_from(one).ok().filter(|one| of_its_kind.contains(one))?]
        }
    };
    let decoding = DecodingKey::from_jwk(&key).ok()?;
    Some(Key { id: key.common.key_id, decoding, validation: expected.validation(algorithms) })
}

/// Where keys come from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A file.
    File(Arc<Reloaded<KeySet>>),
    /// Where the issuer publishes them.
    Remote(Arc<RemoteKeys>),
}

impl KeySource {
    /// The keys of a file.
    ///
    /// # Errors
    ///
    /// One line that says why it can't be used.
    pub fn file(path: &std::path::Path, expected: &Expected) -> Result<Self, String> {
        let expected = expected.clone();
        let file = Reloaded::open(path, move |content| KeySet::parse(content, &expected))?;
        Ok(Self::File(Arc::new(file)))
    }

    /// The keys in force; none when they never could be fetched.
    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        match self {
            Self::File(file) => Some(file.current()),
            Self::Remote(remote) => remote.current(),
        }
    }

    /// Looks for newer keys because a token names one that isn't known, unless that was done just now.
    pub(super) async fn look_again(&self) {
        if let Self::Remote(remote) = self {
            let remote = remote.clone();
            // Whoever asks may go away; the fetch goes on for all.
            let _ = tokio::spawn(async move { remote.fetch_after(remote.pause).await }).await;
        }
    }

    /// Keeps the keys up to date, for ever.
    pub(super) async fn keep(self) {
        match self {
            Self::File(file) => file.keep().await,
            Self::Remote(remote) => remote.keep().await,
        }
    }
}

/// Keys that are fetched.
pub struct RemoteKeys {
    url: Uri,
    expected: Expected,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    /// How long after a fetch an unknown key leads to no other.
    pause: Duration,
    current: RwLock<Option<Arc<KeySet>>>,
    /// When the last fetch began; locked while one is under way.
    fetched: Mutex<Option<Instant>>,
}

impl RemoteKeys {
    /// How long after a fetch an unknown key leads to no other, unless told otherwise.
    pub const PAUSE: Duration = Duration::from_secs(10);

    /// Keys of an `https` URL, or of an `http` one on this machine. `certificates` vouch for its server, in
    /// PEM; without them, those of the system do.
    ///
    /// # Errors
    ///
    /// One line that says what is wrong.
    pub fn new(
        url: &str,
        certificates: Option<&[u8]>,
        expected: Expected,
        pause: Duration,
    ) -> Result<Self, String> {
        let url: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let host = url.host().unwrap_or_default();
        let is_here = matches!(host, "127.0.0.1" | "[::1]" | "localhost");
        match url.scheme_str() {
            Some("https") if !host.is_empty() => {}
            Some("http") if is_here => {}
            _ => return Err(format!("{url} must be https://..., or http:// on this machine")),
        }
        let mut roots = RootCertStore::empty();
        match certificates {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|error| error.to_string())?;
                    roots.add(certificate).map_err(|error| error.to_string())?;
                }
                if roots.is_empty() {
                    return Err("there is no certificate in the file".to_owned());
                }
            }
            None if is_here && url.scheme_str() == Some("http") => {}
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            url,
            expected,
            client: Client::builder(TokioExecutor::new()).build(connector),
            pause,
            current: RwLock::default(),
            fetched: Mutex::default(),
        })
    }

    fn current(&self) -> Option<Arc<KeySet>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn keep(&self) {
        loop {
            self.fetch_after(Duration::ZERO).await;
            let interval = if self.current().is_some() { INTERVAL } else { FIRST_INTERVAL };
            sleep(interval).await;
        }
    }

    /// Fetches the keys, unless the last fetch is less than a pause ago. One at a time: who comes while one
    /// is under way waits for it, and is content with what it brought.
    async fn fetch_after(&self, pause: Duration) {
        let mut fetched = self.fetched.lock().await;
        if fetched.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        let result = timeout(TIMEOUT, self.fetch()).await;
        *fetched = Some(Instant::now());
        let keys = result.unwrap_or_else(|_| Err("there was no answer in time".to_owned()));
        match keys.and_then(|content| KeySet::parse(&content, &self.expected)) {
            Ok(keys) => {
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = Some(Arc::new(keys));
            }
            Err(why) => {
                tracing::error!(url = %self.url, why, "keys can't be fetched; those before stand");
            }
        }
    }

    async fn fetch(&self) -> Result<Bytes, String> {
        let answer = self.client.get(self.url.clone()).await.map_err(|error| root_of(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        Ok(body.map_err(|error| root_of(&*error))?.to_bytes())
    }
}

impl std::fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteKeys").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The library's own text says that a request failed; what people need is at the bottom.
fn root_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
