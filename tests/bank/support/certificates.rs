//! Certificates of a test's own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use tempfile::TempDir;

/// Each CA has a name of its own.
static CREATED: AtomicU32 = AtomicU32::new(0);

/// A CA.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate in PEM.
    pub(crate) pem: String,
}

/// A certificate with its key, both in PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        let name = format!("CA {}", CREATED.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = new_key();
        let certificate = params.self_signed(&key).expect("it can be signed");
        let pem = pem("CERTIFICATE", certificate.der());
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a server on this machine.
    pub(crate) fn server(&self) -> Issued {
        self.issue(ExtendedKeyUsagePurpose::ServerAuth, |params| {
            params.subject_alt_names = vec![
                SanType::DnsName("localhost".try_into().expect("it is ASCII")),
                SanType::IpAddress([127, 0, 0, 1].into()),
            ];
        })
    }

    /// A certificate for a client with a URI for its name.
    pub(crate) fn client(&self, uri: &str) -> Issued {
        self.issue(ExtendedKeyUsagePurpose::ClientAuth, |params| {
            params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("it is ASCII"))];
        })
    }

    /// A certificate as it is wanted, valid now.
    pub(crate) fn issue(
        &self,
        usage: ExtendedKeyUsagePurpose,
        adapt: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        adapt(&mut params);
        let key = new_key();
        let certificate = params.signed_by(&key, &self.issuer).expect("it can be signed");
        Issued {
            certificate: pem("CERTIFICATE", certificate.der()),
            key: pem("PRIVATE KEY", &key.serialize_der()),
            der: certificate.der().to_vec(),
        }
    }
}

/// Makes a certificate one that has expired.
pub(crate) fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
}

/// Makes a certificate one of the future.
pub(crate) fn not_yet_valid(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2990, 1, 1);
    params.not_after = date_time_ymd(2991, 1, 1);
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("there is randomness")
}

fn pem(what: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {what}-----\n");
    for line in BASE64.encode(der).as_bytes().chunks(64) {
        text += std::str::from_utf8(line).expect("it is ASCII");
        text.push('\n');
    }
    text + &format!("-----END {what}-----\n")
}

/// A folder with certificates in it, renewed as Kubernetes does: the names are links into a folder that is a
/// link itself, and that one is replaced.
pub(crate) struct Mounted {
    folder: TempDir,
    generation: usize,
}

impl Mounted {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        for (name, _) in files {
            std::os::unix::fs::symlink(format!("..data/{name}"), folder.path().join(name))
                .expect("a link can be made");
        }
        let mut mounted = Self { folder, generation: 0 };
        mounted.renew(files);
        mounted
    }

    /// Replaces all files in one moment.
    pub(crate) fn renew(&mut self, files: &[(&str, &str)]) {
        self.generation += 1;
        let name = format!("..{}", self.generation);
        let folder = self.folder.path().join(&name);
        std::fs::create_dir(&folder).expect("a folder can be made");
        for (file, text) in files {
            std::fs::write(folder.join(file), text).expect("it can be written");
        }
        let link = self.folder.path().join("..data_tmp");
        std::os::unix::fs::symlink(&name, &link).expect("a link can be made");
        std::fs::rename(link, self.folder.path().join("..data")).expect("it can be replaced");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The path as an argument.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("it is text").to_owned()
    }
}
