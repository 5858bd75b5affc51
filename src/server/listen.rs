//! The door: takes connections in, as many as there may be, until the server ends.
//!
//! **Invariants:** a connection counts once it has said what it wants; until then it is half open, of which
//! there are only so many for only so long. So nobody who doesn't get through the handshake keeps others out.
//!
//! tonic's own server isn't used: it waits for ever for a connection that says nothing, counts none of them,
//! and cuts calls off without a word when their connection gets too old.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use super::connection::{self, Ending};
use super::opening::{self, Opened};
use super::workers::Workers;
use super::{Limits, Tls};
use crate::grpc::Observer;

/// How many connections may be half open. One more, and the oldest of them ends: an honest one takes no
/// longer than some round trips.
const MAX_HALF_OPEN: usize = 256;
/// How long nothing is accepted when the process can't have another file.
const NO_FILES_PAUSE: Duration = Duration::from_millis(100);
/// How often the log tells that there are too many connections.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// Serves calls on all connections that come in, until `ending` says to stop; then no connection is taken in
/// any more, and it waits until those that are open have ended.
pub(super) async fn serve<C, F, B>(
    listener: TcpListener,
    workers: Workers,
    limits: Limits,
    tls: Option<Tls>,
    calls: C,
    observer: Arc<Observer>,
    ending: Ending,
) where
    C: Fn(Request<Body>, CancellationToken) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut half_open = HalfOpen::default();
    let mut connections = JoinSet::new();
    let mut full = Full::default();
    loop {
        tokio::select! {
            biased;
            () = ending.stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            Some(opened) = half_open.tasks.join_next() => {
                let Ok(Some(opened)) = opened else { continue };
                // It may have filled up meanwhile.
                if connections.len() >= limits.max_connections {
                    full.tell(opened.peer.address, &limits);
                } else {
                    let runtime = opened.seat.runtime().clone();
                    let (calls, limits) = (calls.clone(), limits.clone());
                    let serving = connection::serve(opened, calls, limits, ending.clone());
                    let connected = observer.tally.connect();
                    let counted = async move {
                        serving.await;
                        drop(connected);
                    };
                    connections.spawn_on(counted, &runtime);
                }
            }
            accepted = listener.accept() => match accepted {
                // At once, and not when there is room again: a client that waits can't tell this from a bank
                // that hangs, one that is turned away tries again later or elsewhere.
                Ok((_, address)) if connections.len() >= limits.max_connections => {
                    full.tell(Some(address), &limits);
                }
                Ok((stream, address)) => {
                    let tls = tls.as_ref().map(Tls::acceptor);
                    let seat = workers.seat();
                    let runtime = seat.runtime().clone();
                    let opening = opening::open(stream, address, seat, tls, limits.clone());
                    half_open.begin(&runtime, opening);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted; trying again");
                    sleep(NO_FILES_PAUSE).await;
                }
            },
        }
    }
    drop((listener, half_open));
    while connections.join_next().await.is_some() {}
    drop(workers);
}

/// Connections that have not said yet what they want, the oldest first.
#[derive(Default)]
struct HalfOpen {
    tasks: JoinSet<Option<Opened>>,
    oldest_first: VecDeque<AbortHandle>,
}

impl HalfOpen {
    /// Begins one more, which the runtime runs.
    fn begin(
        &mut self,
        runtime: &Handle,
        opening: impl Future<Output = Option<Opened>> + Send + 'static,
    ) {
        if self.tasks.len() >= MAX_HALF_OPEN {
            self.oldest_first.retain(|task| !task.is_finished());
            if let Some(oldest) = self.oldest_first.pop_front() {
                oldest.abort();
            }
        }
        let task = self.tasks.spawn_on(opening, runtime);
        self.oldest_first.push_back(task);
    }
}

/// Tells now and then that there are too many connections.
#[derive(Default)]
struct Full {
    told_at: Option<Instant>,
}

impl Full {
    fn tell(&mut self, address: Option<SocketAddr>, limits: &Limits) {
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
            self.told_at = Some(Instant::now());
            let max_connections = limits.max_connections;
            tracing::warn!(max_connections, ?address, "too many connections; new ones are closed");
        }
    }
}

/// Whether it ended before it was taken in, which is no trouble of ours.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        SanType,
    };
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::grpc::peer::Peer;
    use crate::server::TlsFiles;

    const TELLER: &str = "spiffe://cluster/ns/pay/sa/teller";

    fn pem(what: &str, der: &[u8]) -> String {
        let text = data_encoding::BASE64.encode(der);
        format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")
    }

    /// Every call learns who is on the other side: where it calls from, and by which names.
    #[tokio::test]
    async fn a_call_is_told_who_makes_it() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("there is randomness");
        let ca = params.self_signed(&key).expect("it can be signed");
        let issuer = Issuer::new(params, key);
        let issue = |usage, names| {
            let mut params = CertificateParams::default();
            params.subject_alt_names = names;
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate().expect("there is randomness");
            (params.signed_by(&key, &issuer).expect("it can be signed"), key)
        };
        let text = |text: &str| text.try_into().expect("it is ASCII");
        let (certificate, key) = issue(
            ExtendedKeyUsagePurpose::ServerAuth,
            vec![SanType::DnsName(text("bank.example"))],
        );
        let folder = tempfile::tempdir().expect("a folder can be made");
        let write = |name, pem| {
            let path = folder.path().join(name);
            std::fs::write(&path, pem).expect("it can be written");
            path
        };
        let files = TlsFiles {
            certificate: write("crt", pem("CERTIFICATE", certificate.der())),
            key: write("key", pem("PRIVATE KEY", &key.serialize_der())),
            client_ca: Some(write("ca", pem("CERTIFICATE", ca.der()))),
        };
        let tls = Some(Tls::load(files, Duration::from_secs(3600)).expect("they are good"));

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let stop = CancellationToken::new();
        let ending = Ending { draining: CancellationToken::new(), stop: stop.clone() };
        let calls = |request: Request<Body>, _| async move {
            let Peer { address, names } = request.extensions().get().expect("it is known");
            let told = format!("{} {}", address.expect("it has one"), names.join(" "));
            Ok(Response::new(http_body_util::Full::new(Bytes::from(told))))
        };
        let serving = tokio::spawn(serve(
            listener,
            Workers::start(2).expect("there are threads"),
            Limits::default(),
            tls,
            calls,
            Arc::default(),
            ending,
        ));

        let (certificate, key) = issue(
            ExtendedKeyUsagePurpose::ClientAuth,
            vec![SanType::URI(text(TELLER)), SanType::DnsName(text("client.example"))],
        );
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).expect("it is a CA");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("it is a key");
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("they are known")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate.der().clone()], key)
            .expect("they belong together");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(address).await.expect("it listens");
        let own_address = stream.local_addr().expect("it is bound");
        let name = ServerName::try_from("bank.example").expect("it is a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let (client, connection) =
            h2::client::handshake(stream.expect("it is trusted")).await.expect("it is HTTP/2");
        let connection = tokio::spawn(connection);
        let mut client = client.ready().await.expect("it takes calls");
        let request = Request::post("https://bank.example/").body(()).expect("it is well formed");
        let (response, _) = client.send_request(request, true).expect("it takes calls");
        let mut body = response.await.expect("it answers").into_body();
        let told = body.data().await.expect("it tells").expect("it tells");
        assert_eq!(told, format!("{own_address} {TELLER} client.example"));

        drop((client, body));
        stop.cancel();
        connection.abort();
        serving.await.expect("it does not panic");
    }
}
