//! What is beyond the bank's capacity is turned away, at once and before any work; what was taken on goes
//! on, and a place that is free again is given again.

use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::grpc::proto::bank_service_server::BankServiceServer;
use bank::grpc::{Admission, Capacity, Service, edge, proto};
use bank::server::Options;
use bank::store::{MemoryStore, Store};
use http_body_util::BodyExt;
use prost::Message;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::commands::{open, plain};
use crate::support::raw::framed;
use crate::support::{
    Details, Gate, GatedJournal, LEDGER, ManualClock, TestServer, create, deposit, memory_store,
};

/// The answer of a bank that is full.
#[track_caller]
fn assert_overloaded(status: &Status, limit: &str) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let details = Details::of(status);
    assert_eq!(details.reason, "OVERLOADED");
    assert_eq!(details.metadata.get("limit").map(String::as_str), Some(limit));
    let delay = details.all.retry_info().expect("a RetryInfo").retry_delay;
    assert!(delay.is_some_and(|delay| !delay.is_zero()));
}

/// An empty bank in which nothing is durable until the gate opens.
async fn gated(capacity: Capacity) -> (TestServer, Gate) {
    let clock = ManualClock::new();
    let (journal, gate) = GatedJournal::closed();
    let store = MemoryStore::new(LEDGER, journal, clock.clone());
    let options = Options { capacity, ..Options::default() };
    (TestServer::with(store, clock, options).await, gate)
}

async fn with_capacity(capacity: Capacity) -> (TestServer, BankServiceClient<Channel>) {
    let clock = ManualClock::new();
    let options = Options { capacity, ..Options::default() };
    let server = TestServer::with(memory_store(&clock), clock, options).await;
    let mut client = server.client().await;
    client.create_account(create("alice", "USD")).await.expect("it opens");
    (server, client)
}

/// Ten times what it can bear, over several connections: just as many as there are places for are done, all
/// others hear of it before any work, and the bank stays healthy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_what_it_can_bear() {
    const PLACES: u64 = 20;
    let (server, gate) = gated(Capacity {
        calls: usize::try_from(PLACES).expect("it is small"),
        ..Capacity::default()
    })
    .await;
    gate.open_to(1);
    server.client().await.create_account(create("alice", "USD")).await.expect("it opens");

    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let client = server.client().await;
        for _ in 0..PLACES {
            let mut client = client.clone();
            calls.spawn(async move { client.deposit(deposit("alice", 1, "USD")).await });
        }
    }
    // Nothing that was taken on can end yet, so these are all that were turned away.
    for _ in 0..9 * PLACES {
        let call = calls.join_next().await.expect("there are more").expect("it does not panic");
        assert_overloaded(&call.expect_err("there is no place for it"), "in_flight");
    }
    gate.wait_for(1 + PLACES).await;
    let mut health = HealthClient::new(server.channel().await);
    let check = HealthCheckRequest { service: "bank.v1.BankService".to_owned() };
    let answer = health.check(check).await.expect("it needs no place").into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);

    gate.open();
    while let Some(call) = calls.join_next().await {
        call.expect("it does not panic").expect("it was taken on");
    }
    // Each place is free again as soon as its answer is there.
    let mut client = server.client().await;
    for done in 1..=3 * PLACES {
        let answer = client.deposit(deposit("alice", 1, "USD")).await.expect("there is a place");
        let posted = answer.into_inner().balance.expect("it is set").posted;
        assert_eq!(posted, i64::try_from(PLACES + done).expect("it is small"));
    }
}

/// Calls that end keep their places no longer, however they end.
#[tokio::test]
async fn whoever_goes_away_leaves_a_place() {
    let (server, gate) = gated(Capacity { calls: 1, ..Capacity::default() }).await;
    let mut client = server.client().await;
    let mut gone = client.clone();
    let gone = tokio::spawn(async move { gone.create_account(create("alice", "USD")).await });
    gate.wait_for(1).await;
    let shed = client.create_account(create("bob", "USD")).await.expect_err("there is no place");
    assert_overloaded(&shed, "in_flight");
    gone.abort();
    gate.open();
    // The server hears of it sooner or later.
    while let Err(status) = client.create_account(create("bob", "USD")).await {
        assert_overloaded(&status, "in_flight");
    }
    let invalid = client.create_account(create("Bob", "USD")).await.expect_err("it is no id");
    assert_eq!(invalid.code(), Code::InvalidArgument);
    client.create_account(create("carol", "USD")).await.expect("there is a place");
}

#[tokio::test]
async fn watchers_have_places_of_their_own() {
    let capacity = Capacity { calls: 1, watchers: 2, ..Capacity::default() };
    let (_server, mut client) = with_capacity(capacity).await;
    let request = proto::WatchTransactionsRequest::default;
    let mut feeds = Vec::new();
    for _ in 0..2 {
        let feed = client.watch_transactions(request()).await.expect("there is a place");
        feeds.push(feed.into_inner());
    }
    let status = client.watch_transactions(request()).await.expect_err("there is no place");
    assert_overloaded(&status, "watchers");
    client.deposit(deposit("alice", 1, "USD")).await.expect("it is no watcher");
    for feed in &mut feeds {
        while feed.next().await.expect("it goes on").expect("it goes on").transaction.is_none() {}
    }
    drop(feeds.pop());
    while let Err(status) = client.watch_transactions(request()).await {
        assert_overloaded(&status, "watchers");
    }
}

#[tokio::test]
async fn pipes_have_places_of_their_own() {
    let capacity = Capacity { calls: 1, pipes: 1, ..Capacity::default() };
    let (_server, mut client) = with_capacity(capacity).await;
    let (operations, arriving) = tokio::sync::mpsc::channel(1);
    let arriving = tokio_stream::wrappers::ReceiverStream::new(arriving);
    let mut results = client.execute_stream(arriving).await.expect("a place").into_inner();
    let status = client.execute_stream(tokio_stream::empty()).await.expect_err("there is none");
    assert_overloaded(&status, "execute_streams");

    client.deposit(deposit("alice", 1, "USD")).await.expect("it is no pipe");
    operations.send(proto::ExecuteStreamRequest::default()).await.expect("it is open");
    results.next().await.expect("a result").expect("it goes on");
    drop(operations);
    assert!(results.next().await.is_none(), "it has ended");
    let again = client.execute_stream(tokio_stream::empty()).await.expect("there is a place");
    assert!(again.into_inner().next().await.is_none(), "there was nothing to do");
}

/// Calls one method through everything that stands around a call, without a socket.
async fn through_edge<S: Store>(
    store: &Arc<S>,
    admission: &Admission,
    method: &str,
    message: &impl Message,
) -> Result<http::Response<edge::CallBody>, Status> {
    let body = http_body_util::Full::new(bytes::Bytes::from(framed(&message.encode_to_vec())));
    let request = http::Request::post(format!("http://bank/bank.v1.BankService/{method}"))
        .header("content-type", "application/grpc")
        .body(Body::new(body))
        .expect("it is well formed");
    let service = BankServiceServer::new(Service::new(store.clone()));
    let (stage, draining) = (edge::Stage::Ready, CancellationToken::new());
    let response: Result<_, Infallible> =
        edge::serve(service, stage, admission.clone(), draining, request).await;
    let response = response.unwrap_or_else(|error| match error {});
    match Status::from_header_map(response.headers()) {
        Some(status) => Err(status),
        None => Ok(response),
    }
}

/// A place is taken until the answer's last byte is.
#[tokio::test]
async fn an_answer_that_nobody_takes_keeps_its_place() {
    let store = Arc::new(memory_store(&ManualClock::new()));
    store.execute(plain(open("alice", 0))).await.expect("it answers").expect("it opens");
    let admission = Admission::new(&Capacity { calls: 1, ..Capacity::default() });
    let request = proto::GetBalanceRequest { account_id: "alice".to_owned(), as_of_time: None };
    let get = async || through_edge(&store, &admission, "GetBalance", &request).await;

    let mut untaken = get().await.expect("there is a place").into_body();
    assert_overloaded(&get().await.expect_err("there is none"), "in_flight");
    let data = untaken.frame().await.expect("there is an answer").expect("it is whole");
    assert!(data.is_data());
    assert_overloaded(&get().await.expect_err("there is none"), "in_flight");
    let end = untaken.frame().await.expect("it ends").expect("it is whole");
    assert!(end.is_trailers());
    let again = get().await.expect("there is a place");
    drop(again);
    get().await.expect("there is a place");
}
