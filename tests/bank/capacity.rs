//! What is beyond the bank's capacity is turned away, at once and before any work; what was taken on goes
//! on, and a place that is free again is given again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::grpc::proto::bank_service_server::BankServiceServer;
use bank::grpc::proto::operation::Operation as Kind;
use bank::grpc::{Access, Admission, Capacity, Service, edge, proto};
use bank::server::Options;
use bank::store::{MemoryStore, Store};
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::commands::{account, open, plain, put};
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
    (TestServer::over_with(store, clock, options).await, gate)
}

async fn with_capacity(capacity: Capacity) -> (TestServer, BankServiceClient<Channel>) {
    let clock = ManualClock::new();
    let options = Options { capacity, ..Options::default() };
    let server = TestServer::over_with(memory_store(&clock), clock, options).await;
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

/// Resident memory of this process, in bytes.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("it can be read");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is told");
    let kilobytes = line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number");
    kilobytes << 10
}

/// A flood of large calls, all of them turned away, with several hundred megabytes in all.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_leaves_nothing_behind() {
    const CALLS: usize = 10_000;
    const AT_ONCE: usize = 100;
    let (server, gate) = gated(Capacity { calls: 1, ..Capacity::default() }).await;
    let client = server.client().await;
    let mut one = client.clone();
    let taken_on = tokio::spawn(async move { one.create_account(create("alice", "USD")).await });
    gate.wait_for(1).await;

    let large =
        proto::DepositRequest { description: "x".repeat(50_000), ..deposit("alice", 1, "USD") };
    let mut flood = JoinSet::new();
    let mut before = 0;
    for number in 0..CALLS + AT_ONCE {
        if number >= AT_ONCE {
            let call = flood.join_next().await.expect("there are more").expect("it does not panic");
            let call: Result<_, Status> = call;
            assert_overloaded(&call.expect_err("there is no place"), "in_flight");
        }
        if number == 10 * AT_ONCE {
            before = resident();
        }
        if number < CALLS {
            let (mut client, large) = (client.clone(), large.clone());
            flood.spawn(async move { client.deposit(large).await });
        }
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes of {} were kept", CALLS * 50_000);
    gate.open();
    taken_on.await.expect("it does not panic").expect("it was taken on");
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
    body: Body,
    draining: &CancellationToken,
) -> Result<edge::CallBody, Status> {
    let request = http::Request::post(format!("http://bank/bank.v1.BankService/{method}"))
        .header("content-type", "application/grpc")
        .body(body)
        .expect("it is well formed");
    let service = BankServiceServer::new(Service::new(store.clone()));
    let around = edge::Around {
        stage: edge::Stage::Ready,
        access: Access::default(),
        admission,
        draining: draining.clone(),
        observer: Arc::default(),
    };
    let response: Result<_, Infallible> = edge::serve(service, around, request).await;
    let response = response.unwrap_or_else(|error| match error {});
    match Status::from_header_map(response.headers()) {
        Some(status) => Err(status),
        None => Ok(response.into_body()),
    }
}

/// A body that is there at once.
fn whole(message: &impl Message) -> Body {
    Body::new(http_body_util::Full::new(Bytes::from(framed(&message.encode_to_vec()))))
}

/// A body that is sent part by part, and ends when its sender is dropped.
fn in_parts() -> (tokio::sync::mpsc::UnboundedSender<Vec<u8>>, Body) {
    let (sender, parts) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    let parts = tokio_stream::wrappers::UnboundedReceiverStream::new(parts);
    let frames = parts.map(|part| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from(part))));
    (sender, Body::new(StreamBody::new(frames)))
}

/// The status that an answer ends with.
async fn end(mut answer: edge::CallBody) -> Status {
    loop {
        let frame = answer.frame().await.expect("it ends with a status").expect("it is whole");
        if let Some(trailers) = frame.trailers_ref() {
            return Status::from_header_map(trailers).expect("it has a status");
        }
    }
}

async fn with_alice() -> Arc<impl Store> {
    let store = Arc::new(memory_store(&ManualClock::new()));
    store.execute(plain(open("alice", 0))).await.expect("it answers").expect("it opens");
    store
}

/// A place is taken until the answer's last byte is.
#[tokio::test]
async fn an_answer_that_nobody_takes_keeps_its_place() {
    let (store, never) = (with_alice().await, CancellationToken::new());
    let admission = Admission::new(&Capacity { calls: 1, ..Capacity::default() });
    let request = proto::GetBalanceRequest { account_id: "alice".to_owned(), as_of_time: None };
    let get =
        async || through_edge(&store, &admission, "GetBalance", whole(&request), &never).await;
    let mut untaken = get().await.expect("there is a place");
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

/// Time passes in the test's own clock: a request that comes too slowly, or never, gives its place back.
#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_arrive_is_given_up() {
    let (store, never) = (with_alice().await, CancellationToken::new());
    let arrival = Duration::from_secs(30);
    let admission = Admission::new(&Capacity { calls: 1, arrival, ..Capacity::default() });
    let message = framed(&deposit("alice", 1, "USD").encode_to_vec());
    let cut = message.len() - 1;
    for parts in [vec![], vec![&message[..3]], vec![&message[..cut]], vec![&message[..]]] {
        let (sender, body) = in_parts();
        for part in &parts {
            sender.send(part.to_vec()).expect("it is open");
        }
        let begun = Instant::now();
        let answer = through_edge(&store, &admission, "Deposit", body, &never).await;
        let status = answer.expect_err("its end did not come");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert_eq!(Details::of(&status).reason, "DEADLINE_EXCEEDED");
        assert_eq!(begun.elapsed(), arrival, "{parts:?}");
    }
    // Byte by byte it takes as long: every sign of life is not one more delay.
    let (sender, body) = in_parts();
    let trickle = tokio::spawn({
        let message = message.clone();
        async move {
            for byte in message {
                tokio::time::sleep(Duration::from_secs(10)).await;
                let _ = sender.send(vec![byte]);
            }
        }
    });
    let begun = Instant::now();
    let answer = through_edge(&store, &admission, "Deposit", body, &never).await;
    assert_eq!(answer.expect_err("it comes too slowly").code(), Code::DeadlineExceeded);
    assert!(begun.elapsed() <= arrival);
    trickle.abort();

    // A server that is told to end waits for nobody who has not asked yet.
    let (sender, body) = in_parts();
    let draining = CancellationToken::new();
    let asking = through_edge(&store, &admission, "Deposit", body, &draining);
    let told = async { draining.cancel() };
    let (answer, ()) = tokio::join!(asking, told);
    assert_eq!(Details::of(&answer.expect_err("it drains")).reason, "DRAINING");
    drop(sender);

    let deposit = whole(&deposit("alice", 1, "USD"));
    let answer = through_edge(&store, &admission, "Deposit", deposit, &never).await;
    assert_eq!(end(answer.expect("there is a place")).await.code(), Code::Ok);
    let alice = store.account(&account("alice")).await.expect("it answers").expect("it is there");
    assert_eq!(alice.account.balance.posted, 1, "nothing was done but the last");
}

/// A pipe may be silent for as long as it likes.
#[tokio::test(start_paused = true)]
async fn a_silent_pipe_stays_open() {
    let (store, never) = (with_alice().await, CancellationToken::new());
    let admission = Admission::new(&Capacity::default());
    let (sender, body) = in_parts();
    let answer = through_edge(&store, &admission, "ExecuteStream", body, &never).await;
    let mut answer = answer.expect("there is a place");
    let operation = proto::Operation { operation: Some(Kind::Deposit(deposit("alice", 1, "USD"))) };
    let operation = proto::ExecuteStreamRequest { operation: Some(operation), correlation_id: 1 };
    for _ in 0..2 {
        let waiting = tokio::time::timeout(Duration::from_secs(86_400), answer.frame()).await;
        assert!(waiting.is_err(), "{waiting:?}");
        sender.send(framed(&operation.encode_to_vec())).expect("it is open");
        assert!(answer.frame().await.expect("a result").expect("it goes on").is_data());
    }
    drop(sender);
    assert_eq!(end(answer).await.code(), Code::Ok);
}

/// Large requests may take so much memory together, and no more; small ones go on.
#[tokio::test]
async fn the_bytes_of_requests_are_bounded() {
    let (store, never) = (with_alice().await, CancellationToken::new());
    let admission = Admission::new(&Capacity { bytes: 1 << 20, ..Capacity::default() });
    let batch = |count: usize| {
        let one =
            proto::DepositRequest { description: "x".repeat(500), ..deposit("alice", 1, "USD") };
        let operations = vec![proto::Operation { operation: Some(Kind::Deposit(one)) }; count];
        framed(&proto::ExecuteBatchRequest { operations, atomic: false }.encode_to_vec())
    };
    let execute = |body| through_edge(&store, &admission, "ExecuteBatch", body, &never);
    let (first, body) = in_parts();
    let mut arriving = std::pin::pin!(execute(body));
    first.send(batch(1500)[..700 << 10].to_vec()).expect("it is open");
    assert!(futures_util::poll!(arriving.as_mut()).is_pending(), "it is not whole");

    let (second, body) = in_parts();
    second.send(batch(1500)).expect("it is open");
    drop(second);
    assert_overloaded(&execute(body).await.expect_err("it is too much"), "in_flight_bytes");
    let small = whole(&deposit("alice", 1, "USD"));
    let small = through_edge(&store, &admission, "Deposit", small, &never).await;
    assert_eq!(end(small.expect("it is small")).await.code(), Code::Ok);

    drop(first);
    let status = arriving.await.expect_err("it was cut off");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let (third, body) = in_parts();
    third.send(batch(1500)).expect("it is open");
    drop(third);
    assert_eq!(end(execute(body).await.expect("there is room")).await.code(), Code::Ok);
    let alice = store.account(&account("alice")).await.expect("it answers").expect("it is there");
    assert_eq!(alice.account.balance.posted, 1501, "nothing of the others was done");
}

/// Answers that nobody takes may keep so much memory together: further large ones are not given, but what
/// was done is told.
#[tokio::test]
async fn the_bytes_of_answers_are_bounded() {
    let (store, never) = (with_alice().await, CancellationToken::new());
    let admission = Admission::new(&Capacity { bytes: 10_000, ..Capacity::default() });
    let requests = vec![plain(put("alice", 1)); 1000];
    store.execute_each(requests).await.expect("it answers");
    let list = proto::ListTransactionsRequest { page_size: 1000, ..Default::default() };
    let read =
        async || through_edge(&store, &admission, "ListTransactions", whole(&list), &never).await;
    let mut untaken = read().await.expect("there is room");
    // It counts from when it is there, however long its client doesn't let it come.
    assert_overloaded(&read().await.expect_err("there is none"), "in_flight_bytes");
    let page = untaken.frame().await.expect("there is an answer").expect("it is whole");
    let size = page.data_ref().expect("it is data").len();
    assert!((5_001..=10_000).contains(&(size - (64 << 10))), "one fits and two do not: {size}");
    assert_overloaded(&read().await.expect_err("there is none"), "in_flight_bytes");

    let small = proto::ListTransactionsRequest { page_size: 10, ..Default::default() };
    let small = through_edge(&store, &admission, "ListTransactions", whole(&small), &never).await;
    assert_eq!(end(small.expect("a place")).await.code(), Code::Ok);
    let operation = proto::Operation { operation: Some(Kind::Deposit(deposit("alice", 1, "USD"))) };
    let batch = |count: usize| {
        whole(&proto::ExecuteBatchRequest {
            operations: vec![operation.clone(); count],
            atomic: true,
        })
    };
    let execute = |body| through_edge(&store, &admission, "ExecuteBatch", body, &never);
    let mut done = execute(batch(1000)).await.expect("there is some room");
    let results = done.frame().await.expect("there is an answer").expect("it is whole");
    assert!(results.data_ref().expect("it is data").len() > 64 << 10);
    assert_overloaded(&execute(batch(1)).await.expect_err("there is none"), "in_flight_bytes");

    drop((untaken, done));
    assert_eq!(end(read().await.expect("there is room")).await.code(), Code::Ok);
    let alice = store.account(&account("alice")).await.expect("it answers").expect("it is there");
    assert_eq!(alice.account.balance.posted, 2000);
}
