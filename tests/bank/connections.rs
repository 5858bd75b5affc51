//! What a connection may use, and what becomes of one that wants more. What no HTTP/2 library can be made to
//! send is in `tests/abuse`.

use std::future::Future;
use std::time::Duration;

use bank::grpc::{Capacity, proto};
use bank::server::{Drained, Limits, Options};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::raw::{self, framed};
use crate::support::{Details, TestServer, create, deposit};

/// Long enough never to come in a test.
const NEVER: Duration = Duration::from_secs(3600);
/// Short enough to wait for.
const SOON: Duration = Duration::from_millis(50);

fn limited(limits: Limits) -> Options {
    Options { limits, ..Options::default() }
}

/// Waits for what must come. The limit is there only so that a hang fails instead of hanging.
async fn comes<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it comes")
}

async fn silent(server: &TestServer) -> TcpStream {
    TcpStream::connect(server.address).await.expect("it listens")
}

/// Waits until the server has closed a connection, whatever it says before.
async fn is_closed(stream: &mut TcpStream) {
    comes(async {
        let mut buffer = [0; 4096];
        // A reset is as good an end.
        while let Ok(1..) = stream.read(&mut buffer).await {}
    })
    .await;
}

type Connection = JoinHandle<Result<(), h2::Error>>;

/// A connection that does no more than it is told to.
async fn connect(server: &TestServer) -> (SendRequest<Bytes>, Connection) {
    let stream = silent(server).await;
    let (client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    (client, tokio::spawn(connection))
}

fn call(method: &str) -> Request<()> {
    Request::post(format!("http://bank/bank.v1.BankService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("it is well formed")
}

/// Begins a call whose message is whole.
fn begin(
    client: &mut SendRequest<Bytes>,
    method: &str,
    message: &impl prost::Message,
) -> h2::client::ResponseFuture {
    let (response, mut body) = client.send_request(call(method), false).expect("it takes calls");
    body.send_data(framed(&message.encode_to_vec()).into(), true).expect("it takes the message");
    response
}

async fn trailers(response: h2::client::ResponseFuture) -> Result<HeaderMap, h2::Error> {
    let mut body = response.await?.into_body();
    while let Some(chunk) = body.data().await {
        chunk?;
    }
    Ok(body.trailers().await?.unwrap_or_default())
}

#[tokio::test]
async fn more_connections_than_there_may_be_are_closed_at_once() {
    let limits = Limits { max_connections: 2, handshake_timeout: NEVER, ..Limits::default() };
    let server = TestServer::start_with(limited(limits)).await;
    let mut first = server.client().await;
    let mut second = server.client().await;
    first.create_account(create("alice", "USD")).await.expect("it is served");
    second.create_account(create("bob", "USD")).await.expect("it is served");
    for _ in 0..10 {
        is_closed(&mut silent(&server).await).await;
    }
    first.deposit(deposit("alice", 1, "USD")).await.expect("it is served still");
    let page = server.metrics.text().await.expect("it is text");
    assert!(page.contains("\nbank_connections 2\n"), "{page}");

    // When one goes, there is room for another.
    drop(second);
    comes(async {
        loop {
            let Ok(channel) = server.endpoint().connect().await else { continue };
            let mut third = bank::grpc::proto::bank_service_client::BankServiceClient::new(channel);
            if third.deposit(deposit("bob", 1, "USD")).await.is_ok() {
                let page = server.metrics.text().await.expect("it is text");
                assert!(page.contains("\nbank_connections 2\n"), "{page}");
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_says_too_little_ends() {
    let limits = Limits { handshake_timeout: SOON, ..Limits::default() };
    let server = TestServer::start_with(limited(limits)).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\0\0";
    for length in [0, 1, 23, 24, 30, preface.len()] {
        let mut stream = silent(&server).await;
        stream.write_all(&preface[..length]).await.expect("it is heard");
        is_closed(&mut stream).await;
    }
    assert!(server.client().await.create_account(create("alice", "USD")).await.is_ok());
}

#[tokio::test]
async fn what_is_no_http2_ends_at_once() {
    let limits = Limits { handshake_timeout: NEVER, ..Limits::default() };
    let server = TestServer::start_with(limited(limits)).await;
    for said in [&b"GET / HTTP/1.1\r\nHost: bank\r\n\r\n"[..], b"\x16\x03\x01\x02\0\x01", b"\0"] {
        let mut stream = silent(&server).await;
        stream.write_all(said).await.expect("it is heard");
        is_closed(&mut stream).await;
    }
}

/// Whoever opens connections and says nothing can't keep others out, however long they may take.
#[tokio::test]
async fn the_oldest_silent_connection_makes_room() {
    let limits = Limits { max_connections: 1, handshake_timeout: NEVER, ..Limits::default() };
    let server = TestServer::start_with(limited(limits)).await;
    let mut first = silent(&server).await;
    let mut others = Vec::new();
    for _ in 0..300 {
        others.push(silent(&server).await);
    }
    is_closed(&mut first).await;
    let mut client = server.client().await;
    client.create_account(create("alice", "USD")).await.expect("it is served");
    let newest = others.last_mut().expect("there are some");
    let still = newest.try_read(&mut [0]).expect_err("it has not ended");
    assert_eq!(still.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_connection_without_a_call_ends() {
    let limits = Limits { max_connection_idle: SOON, ..Limits::default() };
    let server = TestServer::start_with(limited(limits)).await;
    // It has a call all the time.
    let busy = server.channel().await;
    let mut feed = HealthClient::new(busy.clone())
        .watch(HealthCheckRequest::default())
        .await
        .expect("it watches")
        .into_inner();
    feed.next().await.expect("it tells").expect("it tells");

    let (_client, unused) = connect(&server).await;
    comes(unused).await.expect("it does not panic").expect("it ends in good order");
    let (mut client, used) = connect(&server).await;
    let response = begin(&mut client, "CreateAccount", &create("alice", "USD"));
    assert_eq!(trailers(response).await.expect("it is answered")["grpc-status"], "0");
    comes(used).await.expect("it does not panic").expect("it ends in good order");

    let mut busy = HealthClient::new(busy);
    busy.check(HealthCheckRequest::default()).await.expect("it is served");
    assert!(futures_util::FutureExt::now_or_never(feed.next()).is_none(), "it goes on");
}

#[tokio::test]
async fn an_old_connection_ends_when_its_calls_are_answered() {
    let limits =
        Limits { max_connection_age: SOON, max_connection_age_grace: NEVER, ..Limits::default() };
    let (server, gate) = TestServer::start_gated_with(limited(limits)).await;
    let (mut client, connection) = connect(&server).await;
    let response = begin(&mut client, "CreateAccount", &create("alice", "USD"));
    gate.wait_for(1).await;
    comes(async {
        while client.clone().ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // It takes no more calls, and this one goes on.
    gate.open();
    assert_eq!(trailers(response).await.expect("it is answered")["grpc-status"], "0");
    comes(connection).await.expect("it does not panic").expect("it ends in good order");
}

#[tokio::test]
async fn an_old_connection_ends_its_streams_with_a_word_and_is_cut_off_at_last() {
    let limits =
        Limits { max_connection_age: SOON, max_connection_age_grace: SOON, ..Limits::default() };
    let (server, gate) = TestServer::start_gated_with(limited(limits)).await;
    let mut client = server.client().await;
    let request = proto::WatchTransactionsRequest::default();
    let mut feed = client.watch_transactions(request).await.expect("it begins").into_inner();
    feed.message().await.expect("it tells where it begins");
    let end = comes(feed.message()).await.expect_err("it ends");
    assert_eq!(end.code(), Code::Unavailable);
    let details = Details::of(&end);
    assert_eq!(details.reason, "DRAINING");
    assert!(details.all.retry_info().is_some());
    // The same client makes a new connection by itself.
    let missing = proto::GetAccountRequest { account_id: "alice".to_owned() };
    assert_eq!(client.get_account(missing).await.expect_err("none").code(), Code::NotFound);

    let (mut client, connection) = connect(&server).await;
    let response = begin(&mut client, "CreateAccount", &create("alice", "USD"));
    assert!(comes(trailers(response)).await.is_err(), "nobody opens the gate");
    // Whether that comes as an end or an error is up to TCP.
    let _ = comes(connection).await.expect("it does not panic");
    gate.open();
    server.shut_down();
    assert_eq!(server.ended().await, Drained::Fully);
}

#[tokio::test]
async fn a_connection_that_gives_no_sign_of_life_ends() {
    let limits = Limits { keepalive_interval: SOON, keepalive_timeout: SOON, ..Limits::default() };
    let server = TestServer::start_with(limited(limits)).await;
    let mut stream = silent(&server).await;
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .expect("it is heard");
    is_closed(&mut stream).await;
    // One that answers lives on.
    let (mut client, _connection) = connect(&server).await;
    for _ in 0..2 {
        let mut other = silent(&server).await;
        other
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .expect("heard");
        is_closed(&mut other).await;
    }
    let response = begin(&mut client, "CreateAccount", &create("alice", "USD"));
    assert_eq!(trailers(response).await.expect("it is answered")["grpc-status"], "0");
}

/// Who doesn't take what it has asked for doesn't keep it either, nor its place; others on the connection go
/// on.
#[tokio::test]
async fn an_answer_that_is_not_taken_is_dropped() {
    let limits = Limits { answer_timeout: SOON, ..Limits::default() };
    let capacity = Capacity { calls: 1, watchers: 1, ..Capacity::default() };
    let server = TestServer::start_with(Options { limits, capacity, ..Options::default() }).await;
    let stream = silent(&server).await;
    // Nothing of a body may be sent until it is asked for.
    let (mut client, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, Bytes>(stream)
        .await
        .expect("it speaks HTTP/2");
    let _connection = tokio::spawn(connection);
    let watch = proto::WatchTransactionsRequest::default();
    for response in [
        begin(&mut client, "CreateAccount", &create("alice", "USD")),
        begin(&mut client, "WatchTransactions", &watch),
    ] {
        let mut body = response.await.expect("it is answered").into_body();
        let end = comes(body.data()).await.expect("it ends").expect_err("it was not taken");
        assert_eq!(end.reason(), Some(h2::Reason::CANCEL), "{end:?}");
    }
    let nobody = proto::GetAccountRequest { account_id: "nobody".to_owned() };
    let response = begin(&mut client, "GetAccount", &nobody).await.expect("it is answered");
    assert_eq!(response.headers()["grpc-status"], "5");
    // Their places are free.
    let mut other = server.client().await;
    other.deposit(deposit("alice", 1, "USD")).await.expect("there is a place");
    other.watch_transactions(watch).await.expect("there is a place");
}

/// A client that reads nothing, and has the bank say more than the network takes, can't be told of its end: the
/// connection ends all the same.
#[tokio::test]
async fn a_connection_that_is_not_read_ends() {
    let limits = Limits { answer_timeout: SOON, keepalive_interval: NEVER, ..Limits::default() };
    let server = TestServer::start_with(limited(limits)).await;
    let mut stream = silent(&server).await;
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(settings).await.expect("it is heard");
    // Each is answered in as many bytes.
    let pings = b"\0\0\x08\x06\0\0\0\0\0\0\0\0\0\0\0\0\0".repeat(1000);
    comes(async { while stream.write_all(&pings).await.is_ok() {} }).await;
}

/// A feed in which nothing happens waits for nobody; one whose reader takes a little now and then goes on.
#[tokio::test]
async fn a_stream_that_is_read_goes_on() {
    let limits = Limits { answer_timeout: SOON, ..Limits::default() };
    let server = TestServer::start_with(limited(limits)).await;
    let mut client = server.client().await;
    client.create_account(create("alice", "USD")).await.expect("it opens");
    let request = proto::WatchTransactionsRequest::default();
    let mut feed =
        client.watch_transactions(request.clone()).await.expect("it begins").into_inner();
    feed.message().await.expect("it goes on").expect("it goes on");
    // This one is cut off, and it began later.
    let (mut slow, _connection) = {
        let stream = silent(&server).await;
        let mut builder = h2::client::Builder::new();
        let (client, connection) = builder
            .initial_window_size(0)
            .handshake::<_, Bytes>(stream)
            .await
            .expect("it speaks HTTP/2");
        (client, tokio::spawn(connection))
    };
    for amount in 1..=2 {
        let mut body =
            begin(&mut slow, "WatchTransactions", &request).await.expect("it begins").into_body();
        comes(body.data()).await.expect("it ends").expect_err("it was not taken");
        client.deposit(deposit("alice", amount, "USD")).await.expect("it is posted");
        let message = feed.message().await.expect("it goes on").expect("it goes on");
        let transaction = message.transaction.expect("it is set");
        assert_eq!(transaction.amount.expect("it is set").minor_units, amount);
    }
}

#[tokio::test]
async fn a_client_learns_how_many_calls_it_may_have_open() {
    let limits = Limits { max_streams: 7, ..Limits::default() };
    let server = TestServer::start_with(limited(limits)).await;
    let (mut client, _connection) = connect(&server).await;
    let response = begin(&mut client, "CreateAccount", &create("alice", "USD"));
    trailers(response).await.expect("it is answered");
    assert_eq!(client.current_max_send_streams(), 7);
}

#[tokio::test]
async fn larger_headers_than_may_be_are_refused() {
    let limits = Limits { max_header_bytes: 2048, ..Limits::default() };
    let server = TestServer::start_with(limited(limits)).await;
    let (mut client, _connection) = connect(&server).await;
    for (length, is_read) in [(1000, true), (4000, false)] {
        let mut request = call("GetAccount");
        let value = "x".repeat(length).parse().expect("it is a header");
        request.headers_mut().insert("x-long", value);
        let (response, mut body) = client.send_request(request, false).expect("it takes calls");
        let message = proto::GetAccountRequest { account_id: "alice".to_owned() };
        body.send_data(framed(&prost::Message::encode_to_vec(&message)).into(), true)
            .expect("it takes the message");
        let response = comes(response).await.expect("it is answered");
        assert_eq!(response.status() == 200, is_read, "{response:?}");
        assert!(is_read || response.status() == 431, "{response:?}");
    }
    // The connection goes on.
    let response = begin(&mut client, "CreateAccount", &create("alice", "USD"));
    assert_eq!(trailers(response).await.expect("it is answered")["grpc-status"], "0");
}

#[tokio::test]
async fn larger_messages_than_may_be_are_refused() {
    let limits = Limits { max_message_bytes: 1000, ..Limits::default() };
    let server = TestServer::start_with(limited(limits)).await;
    for (length, code) in [(900, Code::InvalidArgument), (1001, Code::InvalidArgument)] {
        let request = proto::GetAccountRequest { account_id: "a".repeat(length) };
        let body = framed(&prost::Message::encode_to_vec(&request));
        let status = raw::call(server.address, "GetAccount", &[], body).await.status;
        assert_eq!(status.code(), code, "{status:?}");
        let details = Details::of(&status);
        assert_eq!(details.reason, "INVALID_REQUEST");
        let field = if length == 900 { "account_id" } else { "" };
        assert_eq!(details.violated_fields(), [field], "{status:?}");
    }
}

/// Any page can have a browser send such requests, with the certificate of whoever sits before it.
#[tokio::test]
async fn what_is_no_call_of_grpc_does_nothing() {
    let server = TestServer::start().await;
    server.client().await.create_account(create("alice", "USD")).await.expect("it opens");
    let (mut client, _connection) = connect(&server).await;
    let message = Bytes::from(framed(&prost::Message::encode_to_vec(&deposit("alice", 1, "USD"))));
    for (method, content, http_status) in [
        ("POST", Some("text/plain"), 415),
        ("POST", Some("application/grpc-web"), 415),
        ("POST", None, 415),
        ("GET", Some("application/grpc"), 405),
        ("PUT", Some("application/grpc"), 405),
    ] {
        let mut request = call("Deposit");
        *request.method_mut() = method.parse().expect("it is a method");
        request.headers_mut().remove("content-type");
        if let Some(content) = content {
            request.headers_mut().insert("content-type", content.parse().expect("a value"));
        }
        let (response, mut body) = client.send_request(request, false).expect("it takes calls");
        body.send_data(message.clone(), true).expect("it takes the message");
        let response = comes(response).await.expect("it is answered");
        assert_eq!(response.status(), http_status, "{method} {content:?}");
        assert_eq!(response.headers()["grpc-status"], "3", "{method} {content:?}");
    }
    let one =
        server.client().await.deposit(deposit("alice", 1, "USD")).await.expect("it is posted");
    assert_eq!(one.into_inner().balance.expect("it is set").posted, 1, "and nothing else was");
}
