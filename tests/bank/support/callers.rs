//! Callers with tokens and keys of their own, and banks that ask who they are.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use bank::auth::{Authentication, Callers, Reloaded, TokenHash};
use bank::grpc::Access;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::server::Options;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::{ManualClock, TestServer, memory_store};

/// An entry of the file of callers; the token is the name and a `-token`.
pub(crate) fn entry(name: &str, role: &str, prefixes: &[&str]) -> String {
    let prefixes = match prefixes {
        [] => String::new(),
        some => format!("account_prefixes = {some:?}\n"),
    };
    let hash = TokenHash::of(&token(name));
    format!(
        "[[caller]]\nname = {name:?}\nrole = {role:?}\n{prefixes}token_sha256 = \"{hash}\"\n\
         certificate = \"spiffe://bank.test/{name}\"\n"
    )
}

pub(crate) fn token(name: &str) -> String {
    format!("{name}-token")
}

/// A file of callers that a test may change.
pub(crate) struct CallerFile {
    folder: TempDir,
    pub(crate) callers: Arc<Reloaded<Callers>>,
}

impl CallerFile {
    pub(crate) fn new(entries: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("callers.toml");
        std::fs::write(&path, entries.concat()).expect("it can be written");
        let callers = Reloaded::open(&path, Callers::parse).expect("it is well formed");
        Self { folder, callers: Arc::new(callers) }
    }

    /// Changes the file, and has it read again: whether it was taken over.
    pub(crate) fn change(&self, content: &str) -> bool {
        std::fs::write(self.path(), content).expect("it can be written");
        self.callers.look()
    }

    pub(crate) fn path(&self) -> impl AsRef<Path> {
        self.folder.path().join("callers.toml")
    }

    pub(crate) fn access(&self) -> Access {
        // Nobody looks at the file but the test.
        let authentication = Authentication::new(Some(self.callers.clone()), None);
        Access { authentication: Some(Arc::new(authentication)), ..Access::default() }
    }

    /// An empty bank in memory that knows these callers.
    pub(crate) async fn serve(&self) -> TestServer {
        let clock = ManualClock::new();
        let options = Options { access: self.access(), ..Options::default() };
        TestServer::over_with(memory_store(&clock), clock, options).await
    }
}

pub(crate) type GuardedClient = BankServiceClient<InterceptedService<Channel, WithToken>>;

/// Puts a token into every request, if there is one.
#[derive(Clone)]
pub(crate) struct WithToken(pub(crate) Option<String>);

impl tonic::service::Interceptor for WithToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let value: MetadataValue<Ascii> =
                format!("Bearer {token}").parse().expect("it is a value");
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

/// A client that calls as somebody.
pub(crate) async fn client_of(server: &TestServer, name: &str) -> GuardedClient {
    let with_token = WithToken(Some(token(name)));
    BankServiceClient::new(InterceptedService::new(server.channel().await, with_token))
}

/// A key that an issuer signs with.
pub(crate) struct IssuerKey {
    pub(crate) id: String,
    algorithm: Algorithm,
    encoding: EncodingKey,
}

impl IssuerKey {
    pub(crate) fn new(id: &str, algorithm: Algorithm) -> Self {
        let encoding = match algorithm {
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("one");
                EncodingKey::from_ec_der(pair.to_pkcs8v1().expect("its bytes").as_ref())
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate().expect("one");
                EncodingKey::from_ed_der(pair.to_pkcs8v1().expect("its bytes").as_ref())
            }
            Algorithm::RS256 => {
                let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("one");
                let der = pair.as_der().expect("its bytes");
                // The key of PKCS #1 stands in that of PKCS #8 after 26 bytes.
                EncodingKey::from_rsa_der(&der.as_ref()[26..])
            }
            other => panic!("no test needs {other:?}"),
        };
        Self { id: id.to_owned(), algorithm, encoding }
    }

    /// The public part, as a JWK.
    pub(crate) fn public(&self) -> Value {
        let key = Jwk::from_encoding_key(&self.encoding, self.algorithm).expect("it has one");
        let mut key = serde_json::to_value(key).expect("it is JSON");
        key["kid"] = json!(self.id);
        key["use"] = json!("sig");
        key
    }

    pub(crate) fn header(&self) -> Header {
        Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header(), claims)
    }

    pub(crate) fn sign_with(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.encoding).expect("it can be signed")
    }
}

/// A set of keys, as an issuer publishes it.
pub(crate) fn key_set(keys: &[&IssuerKey]) -> String {
    json!({ "keys": keys.iter().map(|key| key.public()).collect::<Vec<_>>() }).to_string()
}

pub(crate) const ISSUER: &str = "https://issuer.test";
pub(crate) const AUDIENCE: &str = "bank";

/// Claims that let `sub` in for an hour, with others put in or (where null) taken out.
pub(crate) fn claims(changes: Value) -> Value {
    let now = jsonwebtoken::get_current_timestamp();
    let mut claims = json!({
        "sub": "somebody", "iss": ISSUER, "aud": AUDIENCE, "exp": now + 3600, "bank_role": "teller",
    });
    let all = claims.as_object_mut().expect("it is an object");
    let Value::Object(changes) = changes else { panic!("no claims: {changes}") };
    for (name, value) in changes {
        if value.is_null() {
            all.remove(&name);
        } else {
            all.insert(name, value);
        }
    }
    claims
}
