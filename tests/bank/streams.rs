//! Calls that go on: the pipe for bulk load, and the live feed.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bank::grpc::proto::bank_service_server::{BankService, BankServiceServer};
use bank::grpc::proto::operation::Operation as Kind;
use bank::grpc::proto::operation_result::Result as Outcome;
use bank::grpc::{Access, Admission, Capacity, Service, edge, proto};
use bank::store::{MemoryStore, Store};
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::support::commands::{open, pay, plain, put};
use crate::support::raw::framed;
use crate::support::{
    Details, GatedJournal, LEDGER, ManualClock, TestServer, create, create_with, deposit,
    memory_store, transfer,
};

fn operation(correlation_id: u64, kind: Kind) -> proto::ExecuteStreamRequest {
    let operation = Some(proto::Operation { operation: Some(kind) });
    proto::ExecuteStreamRequest { operation, correlation_id }
}

#[tokio::test]
async fn results_come_in_the_order_of_the_operations() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.create_account(create_with("alice", "USD", 100)).await.expect("it opens");
    client.create_account(create("bob", "USD")).await.expect("it opens");

    let named = |id: &str, minor_units| {
        let request_id = id.to_owned();
        Kind::Deposit(proto::DepositRequest { request_id, ..deposit("bob", minor_units, "USD") })
    };
    let operations = tokio_stream::iter([
        operation(7, Kind::Transfer(transfer("alice", "bob", 100, "USD"))),
        operation(7, Kind::Transfer(transfer("alice", "bob", 1, "USD"))),
        operation(0, Kind::Deposit(deposit("", 0, "USD"))),
        proto::ExecuteStreamRequest { operation: None, correlation_id: 9 },
        operation(u64::MAX, named("once", 5)),
        operation(3, named("once", 5)),
    ]);
    let answers = client.execute_stream(operations).await.expect("it begins").into_inner();
    let answers: Vec<_> =
        answers.map(|answer| answer.expect("no operation ends it")).collect().await;

    let ids: Vec<u64> = answers.iter().map(|answer| answer.correlation_id).collect();
    assert_eq!(ids, [7, 7, 0, 9, u64::MAX, 3]);
    let told: Vec<String> = answers
        .iter()
        .map(|answer| {
            let result = answer.result.as_ref().expect("it is set");
            match result.result.as_ref().expect("it is set") {
                Outcome::Transaction(made) => {
                    format!("{} {}", made.balance_after.unwrap_or(-1), result.replayed)
                }
                Outcome::Hold(hold) => hold.hold_id.clone(),
                Outcome::Error(error) => {
                    let details = error.encode_to_vec().into();
                    let status = Status::with_details(error.code.into(), "", details);
                    let details = Details::of(&status);
                    format!("{} {}", details.reason, details.violated_fields().join(","))
                }
            }
        })
        .collect();
    assert_eq!(
        told,
        [
            "0 false",
            "INSUFFICIENT_FUNDS ",
            "INVALID_REQUEST operation.deposit.account_id,operation.deposit.amount.minor_units",
            "INVALID_REQUEST operation.operation",
            "105 false",
            "105 true",
        ]
    );
}

/// A pipe in both directions, without a socket: how much was taken in is counted.
struct Pipe {
    taken: Arc<AtomicUsize>,
    answers: edge::CallBody,
}

impl Pipe {
    async fn open<S: Store>(
        store: &Arc<S>,
        frames: Vec<Vec<u8>>,
        draining: CancellationToken,
    ) -> Self {
        Self::open_for(store, frames, draining, "1H").await
    }

    async fn open_for<S: Store>(
        store: &Arc<S>,
        frames: Vec<Vec<u8>>,
        draining: CancellationToken,
        timeout: &str,
    ) -> Self {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        let frames = tokio_stream::iter(frames).map(move |frame| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Infallible>(http_body::Frame::data(bytes::Bytes::from(frame)))
        });
        let request = http::Request::post("http://bank/bank.v1.BankService/ExecuteStream")
            .header("content-type", "application/grpc")
            .header("grpc-timeout", timeout)
            .body(Body::new(StreamBody::new(frames)))
            .expect("it is well formed");
        let service = BankServiceServer::new(Service::new(store.clone()));
        let around = edge::Around {
            stage: edge::Stage::Ready,
            access: Access::default(),
            admission: &Admission::new(&Capacity::default()),
            draining,
            observer: Arc::default(),
        };
        let response = edge::serve(service, around, request).await;
        let response = response.unwrap_or_else(|error| match error {});
        Self { taken, answers: response.into_body() }
    }

    /// The status that it ends with.
    async fn end(mut self) -> Status {
        loop {
            let frame = self.answers.frame().await.expect("it ends with a status");
            if let Some(trailers) = frame.expect("it is whole").trailers_ref() {
                return Status::from_header_map(trailers).expect("it has a status");
            }
        }
    }
}

fn deposits(count: usize) -> Vec<Vec<u8>> {
    let one = operation(1, Kind::Deposit(deposit("alice", 1, "USD")));
    vec![framed(&one.encode_to_vec()); count]
}

async fn with_alice() -> Arc<impl Store> {
    let store = Arc::new(memory_store(&ManualClock::new()));
    store.execute(plain(open("alice", 0))).await.expect("it answers").expect("it opens");
    store
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read_from() {
    let store = with_alice().await;
    let mut pipe = Pipe::open(&store, deposits(50_000), CancellationToken::new()).await;
    assert_eq!(pipe.taken.load(Ordering::SeqCst), 0, "nothing was wanted yet");

    let mut read = 0;
    for _ in 0..3 {
        let frame = pipe.answers.frame().await.expect("there is more").expect("it is whole");
        read += frame.data_ref().map_or(0, bytes::Bytes::len);
    }
    let taken = pipe.taken.load(Ordering::SeqCst);
    assert!(read > 0 && taken < 10_000, "{taken} were taken in");
    assert_eq!(pipe.end().await.code(), Code::Ok);
    let alice = store.account(&crate::support::commands::account("alice")).await;
    assert_eq!(alice.expect("it answers").expect("it is there").account.balance.posted, 50_000);
}

#[tokio::test]
async fn an_unreadable_message_ends_the_pipe_after_what_came_before() {
    let store = with_alice().await;
    for bad in [framed(&[0x0a, 200, 1]), vec![7, 0, 0, 0, 0], vec![0, 0xff, 0xff, 0xff, 0xff]] {
        let mut frames = deposits(3);
        frames.push(bad);
        frames.extend(deposits(3));
        let status = Pipe::open(&store, frames, CancellationToken::new()).await.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert_eq!(Details::of(&status).reason, "INVALID_REQUEST");
    }
    let alice = store.account(&crate::support::commands::account("alice")).await;
    assert_eq!(alice.expect("it answers").expect("it is there").account.balance.posted, 9);
}

/// The pipe ends when the server drains, and whatever was executed by then has had its result.
#[tokio::test]
async fn a_draining_pipe_tells_all_that_it_has_done() {
    let store = with_alice().await;
    let draining = CancellationToken::new();
    let mut pipe = Pipe::open(&store, deposits(50_000), draining.clone()).await;
    let mut answers = Vec::new();
    let first = pipe.answers.frame().await.expect("there is more").expect("it is whole");
    answers.extend_from_slice(first.data_ref().expect("it is data"));
    draining.cancel();
    let status = loop {
        let frame = pipe.answers.frame().await.expect("it ends").expect("it is whole");
        match frame.trailers_ref() {
            Some(trailers) => break Status::from_header_map(trailers).expect("it has a status"),
            None => answers.extend_from_slice(frame.data_ref().expect("it is data")),
        }
    };
    assert_eq!(Details::of(&status).reason, "DRAINING");

    let mut told = 0;
    let mut rest = &answers[..];
    while let [0, a, b, c, d, message @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        told += 1;
        rest = &message[length..];
    }
    assert!(rest.is_empty() && told > 0 && told < 50_000);
    let alice = store.account(&crate::support::commands::account("alice")).await;
    assert_eq!(alice.expect("it answers").expect("it is there").account.balance.posted, told);
}

/// A sender that never pauses is not served beyond its deadline.
#[tokio::test(start_paused = true)]
async fn a_pipe_ends_at_its_deadline() {
    let store = with_alice().await;
    let mut pipe = Pipe::open_for(&store, deposits(50_000), CancellationToken::new(), "1S").await;
    pipe.answers.frame().await.expect("there is more").expect("it is whole");
    tokio::time::advance(Duration::from_secs(1)).await;
    let taken = pipe.taken.clone();
    let status = pipe.end().await;
    assert_eq!(Details::of(&status).reason, "DEADLINE_EXCEEDED");
    assert!(taken.load(Ordering::SeqCst) < 50_000, "it went on to the end");
}

fn watch(account_id: &str, resume_token: &str) -> proto::WatchTransactionsRequest {
    let (account_id, resume_token) = (account_id.to_owned(), resume_token.to_owned());
    proto::WatchTransactionsRequest { account_id, resume_token }
}

type FeedMessage = proto::WatchTransactionsResponse;

/// The next transaction, and the tokens of every message up to it.
async fn next_transaction(
    feed: &mut (impl Stream<Item = Result<FeedMessage, Status>> + Unpin),
) -> (proto::Transaction, String) {
    loop {
        let message = feed.next().await.expect("it goes on").expect("it goes on");
        if let Some(transaction) = message.transaction {
            return (transaction, message.resume_token);
        }
    }
}

#[tokio::test]
async fn a_feed_tells_what_comes_and_resumes_where_it_was() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for id in ["alice", "bob", "carol"] {
        client.create_account(create_with(id, "USD", 100)).await.expect("it opens");
    }
    let mut feed = client.watch_transactions(watch("", "")).await.expect("it begins").into_inner();
    let mut of_bob =
        client.watch_transactions(watch("bob", "")).await.expect("it begins").into_inner();
    let first = feed.next().await.expect("a message").expect("it goes on");
    assert!(first.transaction.is_none() && !first.resume_token.is_empty(), "a token comes at once");

    for (from, to) in [("alice", "carol"), ("alice", "bob"), ("carol", "alice"), ("bob", "carol")] {
        client.transfer(transfer(from, to, 10, "USD")).await.expect("there is enough");
    }
    let mut tokens = vec![first.resume_token];
    let mut told = Vec::new();
    for _ in 0..4 {
        let (transaction, token) = next_transaction(&mut feed).await;
        told.push(transaction);
        tokens.push(token);
    }
    let from: Vec<_> =
        told.iter().map(|transaction| transaction.from_account_id.as_str()).collect();
    assert_eq!(from, ["alice", "alice", "carol", "bob"]);
    assert!(told.iter().all(|it| it.balance_after.is_none()), "no account was asked about");

    let (one, _) = next_transaction(&mut of_bob).await;
    let (two, _) = next_transaction(&mut of_bob).await;
    assert_eq!((one.balance_after, two.balance_after), (Some(110), Some(100)));

    // From each token on: what came after it, and then what comes next.
    let marker = client.deposit(deposit("alice", 1, "USD")).await.expect("it is posted");
    told.push(proto::Transaction {
        balance_after: None,
        ..marker.into_inner().transaction.expect("it is set")
    });
    for (seen, token) in tokens.iter().enumerate() {
        let resumed = client.watch_transactions(watch("", token)).await.expect("it resumes");
        let mut resumed = resumed.into_inner();
        for expected in &told[seen..] {
            assert_eq!(next_transaction(&mut resumed).await.0, *expected);
        }
    }
}

#[tokio::test]
async fn tokens_of_something_else_are_refused() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.create_account(create_with("alice", "USD", 100)).await.expect("it opens");
    let mut feed =
        client.watch_transactions(watch("alice", "")).await.expect("it begins").into_inner();
    let token = feed.next().await.expect("a message").expect("it goes on").resume_token;
    let statement = proto::ListTransactionsRequest { page_size: 1, ..Default::default() };
    client.deposit(deposit("alice", 1, "USD")).await.expect("it is posted");
    let page = client.list_transactions(statement).await.expect("it lists").into_inner();

    // The same ledger's token, of a time when there was more in it.
    let future = {
        let longer = TestServer::start().await;
        let mut client = longer.client().await;
        client.create_account(create_with("alice", "USD", 100)).await.expect("it opens");
        for _ in 0..5 {
            client.deposit(deposit("alice", 1, "USD")).await.expect("it is posted");
        }
        let mut feed =
            client.watch_transactions(watch("alice", "")).await.expect("it begins").into_inner();
        feed.next().await.expect("a message").expect("it goes on").resume_token
    };
    for (account_id, token) in [
        ("", token.as_str()),
        ("alice", "garbage"),
        ("alice", &token[1..]),
        ("alice", &page.next_page_token),
        ("alice", &future),
    ] {
        let status = client.watch_transactions(watch(account_id, token)).await.expect_err("no");
        assert_eq!(status.code(), Code::InvalidArgument, "{account_id} {token}");
        assert_eq!(Details::of(&status).violated_fields(), ["resume_token"]);
    }
    let status = client.watch_transactions(watch("nobody", "")).await.expect_err("it is not there");
    assert_eq!(Details::of(&status).reason, "ACCOUNT_NOT_FOUND");
    let status = client.watch_transactions(watch("No One", "x")).await.expect_err("malformed");
    assert_eq!(Details::of(&status).violated_fields(), ["account_id", "resume_token"]);
}

/// Many watchers, while many write: each sees every transaction once, in order, without a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn watchers_see_each_transaction_once_while_many_write() {
    const WRITERS: usize = 4;
    const TRANSFERS: usize = 500;
    let store = Arc::new(memory_store(&ManualClock::new()));
    let service = Arc::new(Service::new(store.clone()));
    for id in ["a", "b", "c", "d"] {
        store.execute(plain(open(id, 1_000_000))).await.expect("it answers").expect("it opens");
    }
    let mut watchers = Vec::new();
    for account_id in ["", "a", "", "b"] {
        let request = Access::let_in(tonic::Request::new(watch(account_id, "")));
        let mut feed = service.watch_transactions(request).await.expect("it begins").into_inner();
        watchers.push(tokio::spawn(async move {
            let mut sequences = Vec::new();
            loop {
                let (transaction, _) = next_transaction(&mut feed).await;
                if transaction.amount.expect("it is set").minor_units == 999 {
                    return sequences;
                }
                sequences.push(transaction.sequence);
            }
        }));
    }
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for number in 0..TRANSFERS {
                let ids = ["a", "b", "c", "d"];
                let request = plain(pay(ids[writer], ids[(writer + 1 + number % 3) % 4], 1));
                store.execute(request).await.expect("it answers").expect("there is enough");
            }
        });
    }
    writers.join_all().await;
    store.execute(plain(pay("a", "b", 999))).await.expect("it answers").expect("there is enough");

    let all: Vec<i64> = (5..5 + i64::try_from(WRITERS * TRANSFERS).expect("it is small")).collect();
    let mut seen = Vec::new();
    for watcher in watchers {
        seen.push(watcher.await.expect("it sees the last one"));
    }
    assert_eq!(seen[0], all);
    assert_eq!(seen[2], all);
    for (account_id, seen) in [("a", &seen[1]), ("b", &seen[3])] {
        assert!(seen.is_sorted() && seen.len() == seen.iter().collect::<BTreeSet<_>>().len());
        let view = store.account(&crate::support::commands::account(account_id)).await;
        let version = view.expect("it answers").expect("it is there").account.balance.version;
        // All of its entries but its opening and the last one.
        assert_eq!(seen.len() as u64, version - 2, "{account_id}");
    }
}

/// Time passes in the test's own clock: a silent feed is heard of every ten seconds.
#[tokio::test(start_paused = true)]
async fn a_silent_feed_is_heard_of() {
    let store = with_alice().await;
    let service = Service::new(store);
    let request = Access::let_in(tonic::Request::new(watch("alice", "")));
    let mut feed = service.watch_transactions(request).await.expect("it begins").into_inner();
    let begun = tokio::time::Instant::now();
    for number in 0..4 {
        let message = feed.next().await.expect("it goes on").expect("it goes on");
        assert!(message.transaction.is_none());
        assert!(begun.elapsed() <= Duration::from_secs(15) * number);
    }
    assert!(begun.elapsed() >= Duration::from_secs(20), "it is not a flood");
}

#[tokio::test]
async fn a_feed_tells_only_what_is_durable() {
    let (journal, gate) = GatedJournal::closed();
    let store = Arc::new(MemoryStore::new(LEDGER, journal, ManualClock::new()));
    gate.open_to(1);
    store.execute(plain(open("alice", 0))).await.expect("it answers").expect("it opens");
    let service = Service::new(store.clone());
    let request = Access::let_in(tonic::Request::new(watch("alice", "")));
    let mut feed = service.watch_transactions(request).await.expect("it begins").into_inner();
    feed.next().await.expect("it begins").expect("it begins");

    let writing = tokio::spawn({
        let store = store.clone();
        async move { store.execute(plain(put("alice", 5))).await }
    });
    gate.wait_for(2).await;
    let mut told = tokio::spawn(async move { next_transaction(&mut feed).await });
    // The feed has every chance to run, and nothing may come of it.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!told.is_finished(), "it told what a crash could take back");
    gate.open();
    let (transaction, _) = (&mut told).await.expect("it runs");
    assert_eq!(transaction.balance_after, Some(5));
    writing.await.expect("it runs").expect("it answers").expect("it is not refused");
}

/// A reader that had caught up and then falls too far behind is ended; one that is still reading up from
/// an old token is not.
/// Whatever others do meanwhile, a reader that takes what there is for it is never too slow.
#[tokio::test(start_paused = true)]
async fn a_prompt_reader_of_a_quiet_account_is_not_too_slow() {
    let store = with_alice().await;
    store.execute(plain(open("bob", 0))).await.expect("it answers").expect("it opens");
    let service = Service::new(store.clone());
    let request = Access::let_in(tonic::Request::new(watch("bob", "")));
    let mut feed = service.watch_transactions(request).await.expect("it begins").into_inner();
    feed.next().await.expect("it begins").expect("it begins");
    for _ in 0..2 {
        for _ in 0..9 {
            store.execute_each(vec![plain(put("alice", 1)); 8_000]).await.expect("it answers");
        }
        feed.next().await.expect("it goes on").expect("a heartbeat");
        store.execute(plain(put("bob", 1))).await.expect("it answers").expect("it is posted");
        let (transaction, _) = next_transaction(&mut feed).await;
        assert_eq!(transaction.to_account_id, "bob");
    }
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_ended_and_resumes() {
    let store = with_alice().await;
    let service = Service::new(store.clone());
    let begin = async |token: &str| {
        let request = Access::let_in(tonic::Request::new(watch("alice", token)));
        service.watch_transactions(request).await.expect("it begins").into_inner()
    };
    let mut feed = begin("").await;
    feed.next().await.expect("it begins").expect("it begins");
    store.execute(plain(put("alice", 1))).await.expect("it answers").expect("it is posted");
    let (_, token) = next_transaction(&mut feed).await;

    for _ in 0..9 {
        let requests = vec![plain(put("alice", 1)); 8_000];
        store.execute_each(requests).await.expect("it answers");
    }
    let status = loop {
        match feed.next().await.expect("it ends with a status") {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = Details::of(&status);
    assert_eq!(details.reason, "WATCHER_TOO_SLOW");
    assert!(details.all.retry_info().is_some());

    let mut again = begin(&token).await;
    for _ in 0..72_000 {
        next_transaction(&mut again).await;
    }
}
