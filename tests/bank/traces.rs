//! Traces, as a collector gets them from the binary: with the caller's trace, and never in the bank's way.

use std::collections::HashMap;
use std::net::SocketAddr;

use bank::grpc::proto;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use rustix::process::Signal;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};

use crate::support::certificates::{Authority, Issued, Mounted};
use crate::support::process::{Running, bank, run};
use crate::support::{create, create_with, deposit, transfer, withdraw};

/// Takes whatever spans come, with what they say of the process.
struct Collector {
    taken: mpsc::UnboundedSender<(HashMap<String, String>, Span)>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_process in request.into_inner().resource_spans {
            let process = texts(&of_process.resource.unwrap_or_default().attributes);
            for span in of_process.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                self.taken.send((process.clone(), span)).expect("the test is there");
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The attributes that are texts.
fn texts(attributes: &[KeyValue]) -> HashMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.clone()?.value? {
        Value::StringValue(text) => Some((attribute.key.clone(), text)),
        _ => None,
    };
    attributes.iter().filter_map(text).collect()
}

type Spans = mpsc::UnboundedReceiver<(HashMap<String, String>, Span)>;

/// A collector on a free port, and what it takes.
async fn collector() -> (String, Spans, AbortOnDropHandle<()>) {
    let (address, spans, serving) = collector_by(Server::builder()).await;
    (format!("http://{address}"), spans, serving)
}

/// The same, behind a server as it is wanted.
async fn collector_by(mut server: Server) -> (SocketAddr, Spans, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (taken, spans) = mpsc::unbounded_channel();
    let serving = tokio::spawn(async move {
        server
            .add_service(TraceServiceServer::new(Collector { taken }))
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .expect("it serves");
    });
    (address, spans, AbortOnDropHandle::new(serving))
}

fn start(endpoint: &str, more: &[&str]) -> Running {
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--log-format", "json"];
    let mut command = bank(&arguments);
    Running::start(command.args(["--otlp-endpoint", endpoint]).args(more))
}

async fn client(running: &Running) -> BankServiceClient<Channel> {
    BankServiceClient::connect(running.endpoint()).await.expect("it listens")
}

/// Ends the bank, which sends what it has before it does.
async fn end(running: Running) -> (Option<i32>, Vec<String>) {
    running.signal(Signal::TERM);
    tokio::task::spawn_blocking(|| running.end()).await.expect("it ends")
}

fn all(mut spans: Spans) -> Vec<(HashMap<String, String>, Span)> {
    std::iter::from_fn(|| spans.try_recv().ok()).collect()
}

/// A request as part of a trace, to be kept or not.
fn traced<T>(message: T, trace: &str, flags: &str) -> Request<T> {
    let mut request = Request::new(message);
    let parent = format!("00-{trace}-00f067aa0ba902b7-{flags}");
    request.metadata_mut().insert("traceparent", parent.parse().expect("it is ASCII"));
    request.metadata_mut().insert("tracestate", "rojo=1".parse().expect("it is ASCII"));
    request
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn hex(id: &[u8]) -> String {
    use std::fmt::Write;
    id.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a text takes all");
        text
    })
}

#[tokio::test]
async fn a_call_is_a_span_in_its_callers_trace() {
    let (endpoint, spans, _collecting) = collector().await;
    let running = start(&endpoint, &["--trace-ratio", "0"]);
    let mut client = client(&running).await;
    client.create_account(create_with("alice", "USD", 100)).await.expect("it opens");
    client.create_account(create("bob", "USD")).await.expect("it opens");
    let request = proto::TransferRequest {
        request_id: "rent-may".to_owned(),
        description: "secret".to_owned(),
        ..transfer("alice", "bob", 42, "USD")
    };
    client.transfer(traced(request, TRACE, "01")).await.expect("it is paid");
    let refused = client.withdraw(traced(withdraw("bob", 987, "USD"), TRACE, "01")).await;
    refused.expect_err("it is too much");
    let unkept = "0af7651916cd43dd8448eb211c80319c";
    client.deposit(traced(deposit("bob", 1, "USD"), unkept, "00")).await.expect("it is posted");
    let nonsense = traced(deposit("bob", 1, "USD"), "nonsense", "01");
    client.deposit(nonsense).await.expect("it is posted");
    drop(client);
    let (code, log) = end(running).await;
    assert_eq!(code, Some(0));

    let taken = all(spans);
    let (process, _) = taken.first().expect("there are some");
    assert_eq!(process["service.name"], "bank");
    assert_eq!(process["service.version"], env!("CARGO_PKG_VERSION"));
    assert!(taken.iter().all(|(_, span)| hex(&span.trace_id) == TRACE), "{taken:?}");
    let calls: Vec<&Span> = taken
        .iter()
        .map(|(_, span)| span)
        .filter(|span| span.kind == SpanKind::Server as i32)
        .collect();
    let [transfer, withdraw] = calls[..] else { panic!("{calls:?}") };

    assert_eq!(transfer.name, "bank.v1.BankService/Transfer");
    assert_eq!(hex(&transfer.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(transfer.trace_state, "rojo=1");
    assert!(transfer.start_time_unix_nano < transfer.end_time_unix_nano);
    let attributes = texts(&transfer.attributes);
    assert_eq!(attributes["rpc.system.name"], "grpc");
    assert_eq!(attributes["rpc.method"], "bank.v1.BankService/Transfer");
    assert_eq!(attributes["rpc.response.status_code"], "OK");
    assert_eq!(attributes["bank.request_id"], "rent-may");

    // What the client did wrong is no error of the server.
    let attributes = texts(&withdraw.attributes);
    assert_eq!(attributes["rpc.response.status_code"], "FAILED_PRECONDITION");
    assert_eq!(attributes["bank.reason"], "INSUFFICIENT_FUNDS");
    let status = withdraw.status.as_ref().map_or(StatusCode::Unset as i32, |status| status.code);
    assert_eq!((status, attributes.get("error.type")), (StatusCode::Unset as i32, None));

    let part = taken.iter().map(|(_, span)| span).find(|span| span.name == "store.execute");
    let part = part.expect("the store's work is a part of it");
    assert_eq!(part.parent_span_id, transfer.span_id);

    for secret in ["alice", "bob", "secret", "42", "987"] {
        let mut told = taken.iter().flat_map(|(_, span)| texts(&span.attributes).into_values());
        assert!(told.all(|text| !text.contains(secret)), "{secret} is in a span");
    }
    let line = log.iter().find(|line| line.contains("BankService/Transfer")).expect("a line");
    assert!(line.contains(TRACE), "{line}");
}

/// Where the caller says nothing, the bank begins a trace; probes and reflection have none.
#[tokio::test]
async fn a_call_without_a_trace_begins_one() {
    let (endpoint, spans, _collecting) = collector().await;
    let running = start(&endpoint, &[]);
    let mut client = client(&running).await;
    client.create_account(create("alice", "USD")).await.expect("it opens");
    let channel = Channel::from_shared(running.endpoint()).expect("it is a URL");
    let channel = channel.connect().await.expect("it listens");
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.expect("it answers");
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.expect("it listens");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = format!("/bank.v1.BankService/{}", "Guess".repeat(100));
    let path = path.parse().expect("it is a path");
    let status = grpc.unary(Request::new(()), path, codec).await.expect_err("there is none");
    assert_eq!(status.code(), Code::Unimplemented);
    drop((client, health, grpc));
    assert_eq!(end(running).await.0, Some(0));

    let taken = all(spans);
    let calls: Vec<&Span> = taken
        .iter()
        .map(|(_, span)| span)
        .filter(|span| span.kind == SpanKind::Server as i32)
        .collect();
    let [create, unknown] = calls[..] else { panic!("{calls:?}") };
    assert_eq!(create.name, "bank.v1.BankService/CreateAccount");
    assert!(create.parent_span_id.is_empty());
    assert_ne!(create.trace_id, unknown.trace_id);
    assert_eq!(unknown.name, "grpc");
    let attributes = texts(&unknown.attributes);
    assert_eq!(attributes["rpc.method"], "_OTHER");
    assert_eq!(attributes["error.type"], "UNIMPLEMENTED");
    assert!(attributes["rpc.method_original"].starts_with("bank.v1.BankService/Guess"));
    assert!(attributes["rpc.method_original"].len() <= 128);
    let status = unknown.status.as_ref().expect("it has one");
    assert_eq!(status.code, StatusCode::Error as i32);
}

/// Over TLS spans go only to whom a CA vouches for: one that is named, or one of the system's.
#[tokio::test]
async fn a_collector_with_tls_must_be_trusted() {
    let authority = Authority::new();
    let Issued { certificate, key, .. } = authority.server();
    let stranger = Authority::new();
    let mounted = Mounted::new(&[("ca.crt", &authority.pem), ("other.crt", &stranger.pem)]);
    // What the system trusts is replaced by this variable.
    for (named, of_the_system, is_trusted) in [
        (Some("ca.crt"), None, true),
        (None, Some("ca.crt"), true),
        (Some("ca.crt"), Some("other.crt"), true),
        (Some("other.crt"), Some("ca.crt"), false),
        (None, Some("other.crt"), false),
    ] {
        let identity = Identity::from_pem(&certificate, &key);
        let server = Server::builder()
            .tls_config(ServerTlsConfig::new().identity(identity))
            .expect("they belong together");
        let (address, spans, _collecting) = collector_by(server).await;
        let mut command = bank(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.env("BANK_OTLP_ENDPOINT", format!("https://localhost:{}", address.port()));
        if let Some(name) = named {
            command.env("BANK_OTLP_CA", mounted.path(name));
        }
        if let Some(name) = of_the_system {
            command.env("SSL_CERT_FILE", mounted.path(name)).env_remove("SSL_CERT_DIR");
        }
        let running = Running::start(&mut command);
        let mut client = client(&running).await;
        client.create_account(create("alice", "USD")).await.expect("it opens");
        drop(client);
        let (code, log) = end(running).await;
        assert_eq!(code, Some(0), "{log:?}");
        let has_come = all(spans).iter().any(|(_, span)| span.kind == SpanKind::Server as i32);
        assert_eq!(has_come, is_trusted, "{named:?} {of_the_system:?}: {log:?}");
        let is_loss = |line: &String| line.contains("ExportError") || line.contains("not sent");
        assert_eq!(log.iter().any(is_loss), !is_trusted, "{named:?} {of_the_system:?}: {log:?}");
    }
}

#[test]
fn settings_of_a_collector_that_can_not_be_used_end_with_64() {
    let mounted = Mounted::new(&[("empty.crt", "")]);
    let empty = mounted.text("empty.crt");
    for (arguments, word) in [
        (&["--otlp-endpoint", "https://localhost:1", "--otlp-ca", &empty][..], "no certificate"),
        (&["--otlp-endpoint", "https://localhost:1", "--otlp-ca", "/none"], "/none"),
        (&["--otlp-endpoint", "http://localhost:1", "--otlp-ca", &empty], "https://"),
        (&["--otlp-ca", &empty], "--otlp-endpoint"),
    ] {
        let output = run(bank(&["serve", "--listen", "127.0.0.1:0"]).args(arguments));
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {text}");
        assert!(text.contains(word) && text.lines().count() == 1, "{arguments:?}: {text}");
    }
    // A system that trusts nobody can't vouch for a collector.
    let mut command =
        bank(&["serve", "--listen", "127.0.0.1:0", "--otlp-endpoint", "https://localhost:1"]);
    let output = run(command.env("SSL_CERT_FILE", &empty).env_remove("SSL_CERT_DIR"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("--otlp-ca"), "{text}");
}

/// A collector that isn't there, and one that takes connections and never answers.
#[tokio::test]
async fn a_collector_that_does_not_answer_is_in_nobodys_way() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addresses = [&silent, &gone].map(|it| it.local_addr().expect("it is bound"));
    drop(gone);
    for address in addresses {
        // Nobody reads the log meanwhile, so there must be little of it.
        let quiet = ["--log-level", "warn,bank::cli=info"];
        let running = start(&format!("http://{address}"), &quiet);
        let mut client = client(&running).await;
        client.create_account(create("alice", "USD")).await.expect("it opens");
        // More than one batch of spans.
        for _ in 0..600 {
            client.deposit(deposit("alice", 1, "USD")).await.expect("it is posted");
        }
        drop(client);
        let (code, log) = end(running).await;
        assert_eq!(code, Some(0), "{log:?}");
        assert!(log.iter().any(|line| line.contains("every call was answered")), "{log:?}");
        // Told by the bank where the time is up, and by the library where it was turned away before.
        let is_loss =
            |line: &String| ["not sent", "ExportError"].iter().any(|it| line.contains(it));
        assert!(log.iter().any(is_loss), "{log:?}");
    }
}
