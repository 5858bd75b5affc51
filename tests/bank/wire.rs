//! What stands around the calls: deadlines, draining, health, reflection.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::grpc::proto::bank_service_server::BankServiceServer;
use bank::grpc::{Access, Admission, Capacity, Service, edge, proto};
use bank::server::{self, Drained, Options};
use bank::store::journal::VolatileJournal;
use bank::store::{MemoryStore, RecordKey, Store};
use http::{Request, Response};
use prost::Message;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::support::commands::{named, open};
use crate::support::raw::{self, framed};
use crate::support::{Details, GatedJournal, LEDGER, ManualClock, TestServer, create, deposit};

fn health(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

/// The server's own answer to a deadline, over the wire: with the raw client, because a gRPC client
/// watches its deadline itself and would never wait for it.
#[tokio::test]
async fn a_deadline_that_passes_is_answered_as_such() {
    let (server, gate) = TestServer::start_gated().await;
    gate.open_to(1);
    let mut client = server.client().await;
    client.create_account(create("alice", "USD")).await.expect("it opens");

    let request =
        proto::DepositRequest { request_id: "late".to_owned(), ..deposit("alice", 5, "USD") };
    // On a busy machine the request may come too late to begin at all, so it is sent again with more time.
    for timeout in ["20m", "200m", "2S", "20S"] {
        let body = framed(&request.encode_to_vec());
        let headers = [("grpc-timeout", timeout)];
        let status = raw::call(server.address, "Deposit", &headers, body).await.status;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert_eq!(Details::of(&status).reason, "DEADLINE_EXCEEDED");
        if gate.newest() == 2 {
            break;
        }
    }

    // Its commit had begun, so it is done; the caller can ask what became of it.
    gate.open();
    let key = Some(proto::get_transaction_request::Key::RequestId("late".to_owned()));
    let found = client.get_transaction(proto::GetTransactionRequest { key }).await;
    let transaction = found.expect("it was made").into_inner().transaction.expect("it is set");
    assert_eq!(transaction.amount.expect("it is set").minor_units, 5);
    assert!(client.deposit(request).await.expect("it is a repeat").into_inner().replayed);
}

/// A deadline that has passed before the call begins: nothing is done.
#[tokio::test]
async fn a_deadline_that_has_passed_does_nothing() {
    let store = Arc::new(MemoryStore::new(
        LEDGER,
        bank::store::journal::VolatileJournal::default(),
        ManualClock::new(),
    ));
    store.execute(named("open", open("alice", 0))).await.expect("it answers").expect("it opens");

    let request = post("Deposit", &deposit("alice", 5, "USD"), Some("0n"));
    let status = through_edge(&store, request, CancellationToken::new()).await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(Details::of(&status).reason, "DEADLINE_EXCEEDED");

    let key = RecordKey::Sequence(bank::ledger::Sequence::new(2));
    assert_eq!(store.record(&key).await, Ok(None));
}

/// A request that was on its way when its deadline passed, or when the server was told to end, is there
/// at last, in the same instant: nothing is done.
#[tokio::test(start_paused = true)]
async fn a_mutation_that_arrives_too_late_does_nothing() {
    let store = Arc::new(crate::support::memory_store(&ManualClock::new()));
    store.execute(named("open", open("alice", 0))).await.expect("it answers").expect("it opens");
    let operation = proto::Operation {
        operation: Some(proto::operation::Operation::Deposit(deposit("alice", 5, "USD"))),
    };
    let batch = |atomic| proto::ExecuteBatchRequest { operations: vec![operation.clone()], atomic };
    for (method, message) in [
        ("Deposit", deposit("alice", 5, "USD").encode_to_vec()),
        ("ExecuteBatch", batch(false).encode_to_vec()),
        ("ExecuteBatch", batch(true).encode_to_vec()),
    ] {
        for reason in ["DEADLINE_EXCEEDED", "DRAINING"] {
            let draining = CancellationToken::new();
            let (sender, arriving) = tokio::sync::mpsc::channel(1);
            let arriving = tokio_stream::wrappers::ReceiverStream::new(arriving);
            let body = Body::new(http_body_util::StreamBody::new(arriving));
            let request = post(method, &(), Some("1S")).map(|_| body);
            let call = tokio::spawn({
                let (store, draining) = (store.clone(), draining.clone());
                async move { through_edge(&store, request, draining).await }
            });
            // It waits for its message.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            let frame = http_body::Frame::data(bytes::Bytes::from(framed(&message)));
            assert!(sender.try_send(Ok::<_, Infallible>(frame)).is_ok(), "it is waited for");
            drop(sender);
            if reason == "DRAINING" {
                draining.cancel();
            } else {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            let status = call.await.expect("it does not panic");
            assert_eq!(Details::of(&status).reason, reason, "{method}");
        }
    }
    let key = RecordKey::Sequence(bank::ledger::Sequence::new(2));
    assert_eq!(store.record(&key).await, Ok(None));
}

/// Time passes only in the test's own clock: however long the deadline is, it comes at once when
/// nothing else can happen.
#[tokio::test(start_paused = true)]
async fn every_deadline_comes() {
    let (journal, _gate) = GatedJournal::closed();
    let store = Arc::new(MemoryStore::new(LEDGER, journal, ManualClock::new()));
    for timeout in ["1n", "1u", "1m", "1S", "1M", "1H"] {
        let request = post("CreateAccount", &create("alice", "USD"), Some(timeout));
        let status = through_edge(&store, request, CancellationToken::new()).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{timeout}");
    }
}

#[tokio::test]
async fn a_draining_server_begins_nothing() {
    let store = Arc::new(crate::support::memory_store(&ManualClock::new()));
    let draining = CancellationToken::new();
    draining.cancel();
    let request = post("CreateAccount", &create("alice", "USD"), None);
    let status = through_edge(&store, request, draining).await;

    assert_eq!(status.code(), Code::Unavailable);
    let details = Details::of(&status);
    assert_eq!(details.reason, "DRAINING");
    let delay = details.all.retry_info().expect("a RetryInfo").retry_delay;
    assert!(delay.is_some_and(|delay| !delay.is_zero()));
    let key = RecordKey::Sequence(bank::ledger::Sequence::new(1));
    assert_eq!(store.record(&key).await, Ok(None));
}

/// While the books are read: health says so, and the bank's calls get UNAVAILABLE; then the same
/// connection is served.
#[tokio::test]
async fn a_bank_that_is_starting_says_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (open, opening) = tokio::sync::oneshot::channel();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server::run_opening(
        listener,
        Options::default(),
        async { opening.await.expect("the test opens it") },
        shutdown.clone().cancelled_owned(),
        std::future::pending(),
    ));
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
    let channel = endpoint.expect("it is a URL").connect().await.expect("it listens");
    let mut feed = HealthClient::new(channel.clone())
        .watch(health("bank.v1.BankService"))
        .await
        .expect("it watches")
        .into_inner();
    assert_eq!(status_of(feed.next().await), Ok(ServingStatus::NotServing));
    let mut client = BankServiceClient::new(channel);
    let status = client.create_account(create("alice", "USD")).await.expect_err("it is too early");
    assert_eq!(status.code(), Code::Unavailable);
    let details = Details::of(&status);
    assert_eq!(details.reason, "STORE_UNAVAILABLE");
    assert!(details.all.retry_info().is_some());

    let store = crate::support::memory_store(&ManualClock::new());
    assert!(open.send(Ok(Arc::new(store))).is_ok(), "it waits for it");
    assert_eq!(status_of(feed.next().await), Ok(ServingStatus::Serving));
    client.create_account(create("alice", "USD")).await.expect("it opens");

    shutdown.cancel();
    assert_eq!(status_of(feed.next().await), Ok(ServingStatus::NotServing));
    drop((client, feed));
    let drained = serving.await.expect("it does not panic").expect("it serves");
    assert_eq!(drained, Drained::Fully);
}

type Opened = Result<Arc<MemoryStore<VolatileJournal, ManualClock>>, String>;

#[tokio::test]
async fn books_that_can_not_be_read_end_the_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let opening = std::future::ready(Opened::Err("record 7 is damaged".to_owned()));
    let never = || std::future::pending();
    let ended = server::run_opening(listener, Options::default(), opening, never(), never()).await;
    assert_eq!(ended.expect_err("it can't serve").to_string(), "record 7 is damaged");
}

/// It is told to end before the books were read.
#[tokio::test]
async fn a_bank_that_is_starting_can_be_ended() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let opening =
        std::future::pending::<Result<Arc<MemoryStore<VolatileJournal, ManualClock>>, _>>();
    let shutdown = std::future::ready(());
    let ended = server::run_opening(
        listener,
        Options::default(),
        opening,
        shutdown,
        std::future::pending(),
    )
    .await;
    assert_eq!(ended.expect("it serves"), Drained::Fully);
}

#[tokio::test]
async fn draining_answers_what_is_running() {
    let (server, gate) = TestServer::start_gated().await;
    gate.open_to(2);
    let mut client = server.client().await;
    client.create_account(create("alice", "USD")).await.expect("it opens");
    client.create_account(create("bob", "USD")).await.expect("it opens");
    let mut watch = HealthClient::new(server.channel().await)
        .watch(health("bank.v1.BankService"))
        .await
        .expect("it watches")
        .into_inner();
    assert_eq!(status_of(watch.next().await), Ok(ServingStatus::Serving));

    let running = tokio::spawn({
        let mut client = client.clone();
        async move { client.deposit(deposit("alice", 5, "USD")).await }
    });
    gate.wait_for(3).await;
    server.shut_down();

    assert_eq!(status_of(watch.next().await), Ok(ServingStatus::NotServing));
    let end = watch.next().await.expect("it says why it ends").expect_err("it ends");
    assert_eq!(end.code(), Code::Unavailable);
    assert_eq!(Details::of(&end).reason, "DRAINING");
    let refused = server.endpoint().connect().await;
    assert!(refused.is_err(), "no connection is accepted any more");

    gate.open();
    let answer = running.await.expect("it runs").expect("it is answered").into_inner();
    assert_eq!(answer.balance.expect("it is set").posted, 5);
    drop((client, watch));
    assert_eq!(server.ended().await, Drained::Fully);
}

#[tokio::test]
async fn draining_ends_when_its_time_is_up() {
    let (server, gate) = TestServer::start_gated().await;
    let mut client = server.client().await;
    let running = tokio::spawn(async move { client.create_account(create("alice", "USD")).await });
    let mut watch = HealthClient::new(server.channel().await)
        .watch(health(""))
        .await
        .expect("it watches")
        .into_inner();
    assert_eq!(status_of(watch.next().await), Ok(ServingStatus::Serving));
    gate.wait_for(1).await;
    server.shut_down();
    assert_eq!(status_of(watch.next().await), Ok(ServingStatus::NotServing));
    server.cut_off();
    assert_eq!(server.ended().await, Drained::CutOff);
    running.abort();
}

#[tokio::test]
async fn health_is_told_for_the_server_and_the_service() {
    let server = TestServer::start().await;
    let mut client = HealthClient::new(server.channel().await);
    for service in ["", "bank.v1.BankService"] {
        let answer = client.check(health(service)).await.expect("it is known").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let status = client.check(health("bank.v2.BankService")).await.expect_err("it is not known");
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn reflection_shows_the_public_services_only() {
    let expected = ["bank.v1.BankService", "grpc.health.v1.Health"];
    let server = TestServer::start().await;
    let channel = server.channel().await;
    let v1 = {
        use tonic_reflection::pb::v1::ServerReflectionRequest;
        use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
        let request = |message_request| ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message_request),
        };
        let requests = tokio_stream::iter([
            request(MessageRequest::ListServices(String::new())),
            request(MessageRequest::FileContainingSymbol("bank.v1.BankService".to_owned())),
            request(MessageRequest::FileContainingSymbol("bank.journal.v1.Record".to_owned())),
        ]);
        let answers = ServerReflectionClient::new(channel.clone())
            .server_reflection_info(requests)
            .await
            .expect("it is there")
            .into_inner();
        let mut answers = answers.map(|answer| answer.map(|it| it.message_response));
        let Some(Ok(Some(MessageResponse::ListServicesResponse(list)))) = answers.next().await
        else {
            panic!("no list came")
        };
        let Some(Ok(Some(MessageResponse::FileDescriptorResponse(_)))) = answers.next().await
        else {
            panic!("the service is not described")
        };
        let hidden = answers.next().await.expect("an answer");
        assert!(hidden.is_err(), "the stored form is shown: {hidden:?}");
        names(list.service.into_iter().map(|service| service.name))
    };
    let v1alpha = {
        use tonic_reflection::pb::v1alpha::ServerReflectionRequest;
        use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut answers = ServerReflectionClient::new(channel)
            .server_reflection_info(tokio_stream::iter([request]))
            .await
            .expect("it is there")
            .into_inner();
        let answer = answers.next().await.expect("an answer").expect("it is known");
        let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            panic!("no list came")
        };
        names(list.service.into_iter().map(|service| service.name))
    };
    for (version, names) in [("v1", v1), ("v1alpha", v1alpha)] {
        let (reflection, others): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| name.starts_with("grpc.reflection."));
        assert_eq!(others, expected, "{version}");
        assert_eq!(reflection, [format!("grpc.reflection.{version}.ServerReflection")]);
    }
}

fn names(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn status_of(message: Option<Result<HealthCheckResponse, Status>>) -> Result<ServingStatus, Code> {
    let message = message.expect("the stream has not ended");
    message.map(|message| message.status()).map_err(|status| status.code())
}

fn post(method: &str, message: &impl Message, timeout: Option<&str>) -> Request<Body> {
    let mut request = Request::post(format!("http://bank/bank.v1.BankService/{method}"))
        .header("content-type", "application/grpc");
    if let Some(timeout) = timeout {
        request = request.header("grpc-timeout", timeout);
    }
    let body = http_body_util::Full::new(bytes::Bytes::from(framed(&message.encode_to_vec())));
    request.body(Body::new(body)).expect("it is well formed")
}

/// Sends a request through everything that stands around a call, without a socket.
async fn through_edge<S: Store>(
    store: &Arc<S>,
    request: Request<Body>,
    draining: CancellationToken,
) -> Status {
    let service = BankServiceServer::new(Service::new(store.clone()));
    let around = edge::Around {
        stage: edge::Stage::Ready,
        access: Access::default(),
        admission: &Admission::new(&Capacity::default()),
        draining,
        observer: Arc::default(),
    };
    let response: Result<Response<_>, Infallible> = edge::serve(service, around, request).await;
    let response = response.unwrap_or_else(|error| match error {});
    Status::from_header_map(response.headers()).expect("it is an error")
}
