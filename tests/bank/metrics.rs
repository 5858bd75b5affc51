//! What those see who watch over a bank: the metrics and whether it is ready, and that looking costs the
//! bank's clients nothing.

use std::sync::Arc;
use std::time::Duration;

use bank::grpc::proto;
use bank::grpc::tally::REASONS;
use bank::server::{self, Options, Readiness};
use bank::store::Store;
use bank::telemetry::http;
use bank::telemetry::metrics::Metrics;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::cluster::{Cluster, postgres_store};
use crate::support::commands::{named, open, pay, plain, set_aside};
use crate::support::process::{Running, bank, run};
use crate::support::{
    ManualClock, TestServer, create, create_with, deposit, file_store, memory_store, quick_folder,
    transfer, withdraw,
};

/// The value of a series as the page shows it.
fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().expect("it is a number"))
}

#[track_caller]
fn assert_values(page: &str, expected: &[(&str, f64)]) {
    for (series, expected) in expected {
        assert_eq!(value(page, series), Some(*expected), "{series} in:\n{page}");
    }
}

fn count_of(method: &str, code: &str) -> String {
    let fault = match code {
        "UNIMPLEMENTED" | "UNAVAILABLE" => format!(",error_type=\"{code}\""),
        _ => String::new(),
    };
    format!(
        "rpc_server_call_duration_seconds_count{{rpc_system_name=\"grpc\",rpc_method=\"{method}\",\
         rpc_response_status_code=\"{code}\"{fault}}}"
    )
}

fn operation(operation: proto::operation::Operation) -> proto::Operation {
    proto::Operation { operation: Some(operation) }
}

#[tokio::test]
async fn calls_and_operations_are_counted_by_what_they_came_to() {
    use proto::operation::Operation::{Deposit, Transfer, Withdraw};
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.create_account(create_with("alice", "USD", 100)).await.expect("it opens");
    client.create_account(create("bob", "USD")).await.expect("it opens");
    for _ in 0..3 {
        let request = proto::TransferRequest {
            request_id: "rent".to_owned(),
            ..transfer("alice", "bob", 10, "USD")
        };
        client.transfer(request).await.expect("it is paid");
    }
    client.withdraw(withdraw("bob", 11, "USD")).await.expect_err("it is too much");
    client.deposit(deposit("bob", 0, "USD")).await.expect_err("it is nothing");
    let operations = vec![
        operation(Deposit(deposit("bob", 5, "USD"))),
        operation(Withdraw(withdraw("bob", 1_000, "USD"))),
        operation(Transfer(transfer("bob", "bob", 1, "USD"))),
        operation(Withdraw(withdraw("bob", 1, "USD"))),
    ];
    let batch = proto::ExecuteBatchRequest { operations: operations.clone(), atomic: false };
    client.execute_batch(batch).await.expect("each is told of its own");
    let batch = proto::ExecuteBatchRequest { operations: operations[..2].to_vec(), atomic: true };
    client.execute_batch(batch).await.expect_err("one is refused");
    let messages = operations.into_iter().map(|operation| proto::ExecuteStreamRequest {
        operation: Some(operation),
        correlation_id: 1,
    });
    let messages = tokio_stream::iter(messages.collect::<Vec<_>>());
    let results = client.execute_stream(messages).await.expect("it begins").into_inner();
    assert_eq!(results.filter(Result::is_ok).collect::<Vec<_>>().await.len(), 4);

    let page = server.metrics.text().await.expect("it is text");
    let bank = |method: &str, code| count_of(&format!("bank.v1.BankService/{method}"), code);
    assert_values(
        &page,
        &[
            (&bank("CreateAccount", "OK"), 2.0),
            (&bank("Transfer", "OK"), 3.0),
            (&bank("Withdraw", "OK"), 0.0),
            (&bank("Withdraw", "FAILED_PRECONDITION"), 1.0),
            (&bank("Deposit", "INVALID_ARGUMENT"), 1.0),
            (&bank("ExecuteBatch", "OK"), 1.0),
            (&bank("ExecuteBatch", "FAILED_PRECONDITION"), 1.0),
            (&bank("ExecuteStream", "OK"), 1.0),
            // The initial balance; one of the batch and one of the stream.
            ("bank_transactions_total{type=\"deposit\"}", 3.0),
            ("bank_transactions_total{type=\"withdrawal\"}", 2.0),
            ("bank_transactions_total{type=\"transfer\"}", 1.0),
            ("bank_transactions_total{type=\"reversal\"}", 0.0),
            ("bank_replays_total", 2.0),
            // Of Withdraw, of the whole batch, and of operations in a batch and in the stream.
            ("bank_refusals_total{reason=\"INSUFFICIENT_FUNDS\"}", 4.0),
            ("bank_refusals_total{reason=\"INVALID_REQUEST\"}", 3.0),
            ("bank_refusals_total{reason=\"_OTHER\"}", 0.0),
            ("bank_accounts", 2.0),
            ("bank_ready", 1.0),
        ],
    );
    assert_eq!(value(&page, &bank("Withdraw", "NOT_FOUND")), None);
    assert!(page.ends_with("# EOF\n"));
}

/// Whatever path a client thinks of: it is counted among the others, and makes no series of its own.
#[tokio::test]
async fn what_clients_send_makes_no_series() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    let series = |page: &str| page.lines().filter(|line| line.contains("_count{")).count();
    let before = series(&server.metrics.text().await.expect("it is text"));
    for number in 0..50 {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.expect("it listens");
        let path = format!("/bank.v1.BankService/Guess{number}");
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let path = path.parse().expect("it is a path");
        let status = grpc.unary(tonic::Request::new(()), path, codec).await;
        assert_eq!(status.expect_err("there is none").code(), Code::Unimplemented);
    }
    let page = server.metrics.text().await.expect("it is text");
    let others = count_of("_OTHER", "UNIMPLEMENTED");
    assert_values(&page, &[(&others, 50.0), ("bank_refusals_total{reason=\"_OTHER\"}", 50.0)]);
    assert_eq!(series(&page), before + 1);
    assert!(!page.contains("Guess"));
}

#[tokio::test]
async fn running_calls_and_the_durable_lag_are_told_while_they_last() {
    let (server, gate) = TestServer::start_gated().await;
    gate.open_to(1);
    let mut client = server.client().await;
    client.create_account(create("alice", "USD")).await.expect("it opens");
    let request = proto::WatchTransactionsRequest::default();
    let mut feed = client.watch_transactions(request).await.expect("it begins").into_inner();
    feed.message().await.expect("it goes on").expect("it goes on");

    let mut running = Vec::new();
    for sequence in 2..5 {
        let mut client = client.clone();
        running.push(tokio::spawn(async move {
            client.deposit(deposit("alice", 1, "USD")).await.expect("it is posted");
        }));
        gate.wait_for(sequence).await;
    }
    let deposits = "bank_calls_in_flight{rpc_method=\"bank.v1.BankService/Deposit\"}";
    let page = server.metrics.text().await.expect("it is text");
    assert_values(
        &page,
        &[
            (deposits, 3.0),
            ("bank_watchers", 1.0),
            ("bank_records", 4.0),
            ("bank_durable_lag_records", 3.0),
        ],
    );

    gate.open();
    for call in running {
        call.await.expect("it is answered");
    }
    let page = server.metrics.text().await.expect("it is text");
    assert_values(&page, &[(deposits, 0.0), ("bank_durable_lag_records", 0.0)]);
}

/// Every reason that the README promises is there from the start, so that its rate begins at 0.
#[tokio::test]
async fn every_reason_has_its_series() {
    let server = TestServer::start().await;
    let page = server.metrics.text().await.expect("it is text");
    let readme = include_str!("../../README.md");
    let table = readme.lines().skip_while(|line| !line.starts_with("| reason | code |")).skip(2);
    let reasons: Vec<&str> = table
        .take_while(|line| line.starts_with('|'))
        .flat_map(|line| line.split('|').nth(1).into_iter().flat_map(|cell| cell.split('`')))
        .filter(|word| word.chars().any(|c| c.is_ascii_uppercase()))
        .collect();
    assert!(reasons.len() > 20, "the table was not read: {reasons:?}");
    for reason in reasons {
        assert!(REASONS.contains(&reason), "{reason} is not counted");
        let series = format!("bank_refusals_total{{reason=\"{reason}\"}}");
        assert_eq!(value(&page, &series), Some(0.0), "{reason}");
    }
}

#[tokio::test]
async fn a_file_tells_of_its_groups_its_syncs_and_its_space() {
    let folder = quick_folder();
    let clock = ManualClock::new();
    let store = file_store(&folder.path().join("bank.db"), &clock).expect("it can be made");
    for number in 0..5 {
        let request = plain(open(&format!("account-{number}"), 1));
        store.execute(request).await.expect("it answers").expect("it opens");
    }
    let writing = store.writing().expect("it writes");
    // Each waited for the one before, so each was a group.
    let sizes = writing.group_sizes.observed();
    assert_eq!((sizes.count(), sizes.sum), (5, 5));
    assert_eq!(writing.sync_micros.observed().count(), 5);
    assert!(writing.free_bytes().is_some_and(|bytes| bytes > 0));

    let metrics = Metrics::new(Arc::default(), Options::default().readiness.subscribe());
    let store = Arc::new(store);
    metrics.look_at(&store);
    let page = metrics.text().await.expect("it is text");
    assert_values(
        &page,
        &[("bank_group_size_count", 5.0), ("bank_sync_duration_seconds_count", 5.0)],
    );
    assert!(value(&page, "bank_store_free_bytes").is_some_and(|bytes| bytes > 0.0));

    // Whoever looks keeps no store from ending.
    let store = Arc::into_inner(store).expect("nobody else has it");
    drop(store);
    let page = metrics.text().await.expect("it is text");
    assert_eq!(value(&page, "bank_records"), None);
}

#[tokio::test]
async fn a_database_tells_of_its_groups() {
    let mut cluster = Cluster::start();
    let clock = ManualClock::new();
    let store = postgres_store(&cluster.new_books().await, &clock).await;
    for (number, command) in
        [open("alice", 10), open("bob", 0), set_aside("alice", "bob", 3), pay("alice", "bob", 1)]
            .into_iter()
            .enumerate()
    {
        let request = named(&number.to_string(), command);
        store.execute(request).await.expect("it answers").expect("it is done");
    }
    let server = TestServer::over(store, clock).await;
    let mut readiness = server.readiness.clone();
    readiness.wait_for(|it| *it == Readiness::Ready).await.expect("it gets there");
    let page = server.metrics.text().await.expect("it is text");
    assert_values(
        &page,
        &[
            ("bank_accounts", 2.0),
            ("bank_holds", 1.0),
            ("bank_records", 4.0),
            ("bank_durable_lag_records", 0.0),
            ("bank_group_size_sum", 4.0),
            ("bank_group_size_count", 4.0),
            ("bank_sync_duration_seconds_count", 4.0),
            ("bank_group_retries_total", 0.0),
        ],
    );

    cluster.crash();
    readiness.wait_for(|it| *it == Readiness::Unreachable).await.expect("it gets there");
    let page = server.metrics.text().await.expect("it is text");
    assert_values(&page, &[("bank_ready", 0.0), ("bank_group_size_count", 4.0)]);
    assert_eq!(value(&page, "bank_records"), None, "nobody can tell");
    cluster.restart();
    readiness.wait_for(|it| *it == Readiness::Ready).await.expect("it gets there");
}

/// The status and the body of an answer.
async fn get(address: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it is read");
    answer(stream).await
}

async fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("it answers");
    let (head, body) = text.split_once("\r\n\r\n").expect("it is HTTP");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("it is HTTP");
    (status, body.to_owned())
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: bank\r\n\r\n")
}

/// Serves the metrics of nobody in particular on a free port.
async fn serve(metrics: Metrics) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    (address, AbortOnDropHandle::new(tokio::spawn(http::serve(listener, Arc::new(metrics)))))
}

#[tokio::test]
async fn it_is_ready_while_it_serves_and_not_before_or_after() {
    let options = Options::default();
    let mut readiness = options.readiness.subscribe();
    let metrics = Metrics::new(options.observer.clone(), readiness.clone());
    let (address, _serving) = serve(metrics).await;
    let ready = request("/readyz");
    assert_eq!(get(&address, &ready).await, (503, "starting\n".to_owned()));

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (give, opening) = tokio::sync::oneshot::channel();
    let shutdown = CancellationToken::new();
    let bank = tokio::spawn(server::run_opening(
        listener,
        options,
        async { opening.await.expect("the test opens it") },
        shutdown.clone().cancelled_owned(),
        std::future::pending(),
    ));
    assert_eq!(get(&address, &ready).await, (503, "starting\n".to_owned()));
    assert_eq!(get(&address, &request("/healthz")).await, (200, "alive\n".to_owned()));

    let store = Arc::new(memory_store(&ManualClock::new()));
    assert!(give.send(Ok(store)).is_ok(), "it waits for it");
    readiness.wait_for(|it| *it == Readiness::Ready).await.expect("it gets there");
    assert_eq!(get(&address, &ready).await, (200, "ready\n".to_owned()));

    shutdown.cancel();
    readiness.wait_for(|it| *it == Readiness::Draining).await.expect("it gets there");
    assert_eq!(get(&address, &ready).await, (503, "draining\n".to_owned()));
    bank.await.expect("it does not panic").expect("it serves");
    assert_eq!(get(&address, &request("/healthz")).await.0, 200);
}

#[tokio::test]
async fn other_paths_methods_and_nonsense_are_turned_away() {
    let metrics = Metrics::new(Arc::default(), Options::default().readiness.subscribe());
    let (address, _serving) = serve(metrics).await;
    for (request, status) in [
        (request("/"), 404),
        (request("/metrics/"), 404),
        (request("/metrics?x=1"), 200),
        ("POST /metrics HTTP/1.1\r\nHost: bank\r\nContent-Length: 0\r\n\r\n".to_owned(), 405),
        ("nonsense\r\n\r\n".to_owned(), 400),
        (format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(20_000)), 431),
    ] {
        let (came, body) = get(&address, &request).await;
        assert_eq!(came, status, "{}: {body}", &request[..20.min(request.len())]);
    }
    let head = "HEAD /healthz HTTP/1.1\r\nHost: bank\r\n\r\n";
    assert_eq!(get(&address, head).await, (200, String::new()));
}

/// Sixteen who say nothing hold all the places there are, for ten seconds; who comes next waits for one.
/// Time passes only in the test's own clock.
#[tokio::test(start_paused = true)]
async fn there_are_few_connections_and_none_lives_long() {
    let metrics = Metrics::new(Arc::default(), Options::default().readiness.subscribe());
    let (address, _serving) = serve(metrics).await;
    let began = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(TcpStream::connect(&address).await.expect("it listens"));
    }
    let (status, _) = get(&address, &request("/healthz")).await;
    assert_eq!(status, 200);
    assert!(began.elapsed() >= Duration::from_secs(10), "{:?}", began.elapsed());
    for mut stream in silent {
        assert_eq!(stream.read(&mut [0; 1]).await.expect("it is closed in order"), 0);
    }
}

/// The binary: two listeners, the second one only when it is asked for; both end with the process.
#[test]
fn the_binary_tells_where_its_metrics_are() {
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    let mut running = Running::start(&mut bank(&arguments));
    let line = running.next_line();
    assert!(line.contains("metrics"), "{line}");
    let address = Running::address_in(&line);
    assert_ne!(address, running.address);

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let channel = tonic::transport::Endpoint::from_shared(running.endpoint());
        let channel = channel.expect("it is a URL").connect().await.expect("it listens");
        let mut feed = HealthClient::new(channel.clone())
            .watch(HealthCheckRequest::default())
            .await
            .expect("it watches")
            .into_inner();
        while feed.message().await.expect("it is told").is_some_and(|it| it.status != 1) {}
        assert_eq!(get(&address, &request("/readyz")).await.0, 200);
        let (status, page) = get(&address, &request("/metrics")).await;
        assert_eq!(status, 200);
        let version = env!("CARGO_PKG_VERSION");
        assert_values(
            &page,
            &[(&format!("bank_build_info{{version=\"{version}\"}}"), 1.0), ("bank_watchers", 0.0)],
        );
        for name in
            ["process_resident_memory_bytes", "process_start_time_seconds", "process_open_fds"]
        {
            assert!(value(&page, name).is_some_and(|value| value > 0.0), "{name} in:\n{page}");
        }
        // It may have taken less than the system counts in.
        assert!(value(&page, "process_cpu_seconds_total").is_some(), "{page}");
    });
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn a_port_for_metrics_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = run(bank(&["serve", "--listen", "127.0.0.1:0"]).env("BANK_METRICS", &address));
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&address) && text.contains("in use"), "{text}");
}
