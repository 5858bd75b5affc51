//! Many of something at once: watchers of the live feed, and connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::grpc::proto::{GetBalanceRequest, WatchTransactionsRequest};
use tokio::runtime::Runtime;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::Run;
use crate::support::Bank;
use crate::support::load::bench;
use crate::support::table::{Series, count, markdown};

const WATCHERS: usize = 1000;
const CONNECTIONS: usize = 10_000;
const LOAD: [&str; 4] = ["--mix", "transfer", "--in-flight", "800"];

pub(crate) fn measure(run: &Run) -> String {
    let runtime = Runtime::new().expect("a runtime");
    let rows = [watchers(run, &runtime), connections(run, &runtime)];
    let titles = ["with", "transfers/s without", "transfers/s with", "of it", ""];
    format!("### Many at once\n\n{}", markdown(&titles, &rows))
}

/// A thousand watchers, each of an account of its own, over a few connections: each transfer wakes two of
/// them where the accounts that are paid between are theirs.
fn watchers(run: &Run, runtime: &Runtime) -> Vec<String> {
    const OVER: usize = 10;
    let accounts = WATCHERS.to_string();
    let load = [&LOAD[..], &["--accounts", &accounts]].concat();
    let bank = Bank::start(&[]);
    // The accounts are opened.
    bench(&bank, run.times, &load);
    let told = Arc::new(AtomicU64::new(0));
    let (mut without, mut with) = (Series::default(), Series::default());
    let mut messages = Series::default();
    for _ in 0..run.rounds {
        without.push(bench(&bank, run.times, &load).per_second);
        let watching: Vec<_> = runtime.block_on(async {
            let mut watching = Vec::new();
            for over in 0..OVER {
                let client = BankServiceClient::new(connect(&bank).await);
                for number in (over..WATCHERS).step_by(OVER) {
                    let feed = watch(client.clone(), number).await;
                    watching.push(tokio::spawn(read(feed, told.clone())));
                }
            }
            watching
        });
        let before = told.load(Ordering::Relaxed);
        let outcome = bench(&bank, run.times, &load);
        with.push(outcome.per_second);
        let seconds = f64::from(
            u32::try_from(run.times.warm_up_ms + run.times.measured_ms).expect("it is short"),
        ) / 1e3;
        messages.push((told.load(Ordering::Relaxed) - before) as f64 / seconds);
        for one in watching {
            assert!(!one.is_finished(), "a watcher was turned away");
            one.abort();
        }
    }
    row(
        &format!("{} watchers, each of one of {accounts} accounts", count(WATCHERS as f64)),
        &without,
        &with,
        &format!("{} messages/s to them, on the same cores", messages.text()),
    )
}

/// Ten thousand connections that are open and quiet, beside the few that have calls.
fn connections(run: &Run, runtime: &Runtime) -> Vec<String> {
    let most = (CONNECTIONS + 1000).to_string();
    let bank = Bank::start(&["--max-connections", &most]);
    bench(&bank, run.times, &LOAD);
    let (mut without, mut with) = (Series::default(), Series::default());
    let mut kept = Series::default();
    for _ in 0..run.rounds {
        without.push(bench(&bank, run.times, &LOAD).per_second);
        let before = bank.resident_bytes();
        let open: Vec<Channel> = runtime.block_on(async {
            let mut open = Vec::with_capacity(CONNECTIONS);
            for _ in 0..CONNECTIONS {
                let channel = connect(&bank).await;
                let request =
                    GetBalanceRequest { account_id: account(0), ..GetBalanceRequest::default() };
                let mut client = BankServiceClient::new(channel.clone());
                client.get_balance(request).await.expect("it is answered");
                open.push(channel);
            }
            open
        });
        let grown = bank.resident_bytes().saturating_sub(before);
        kept.push(grown as f64 / CONNECTIONS as f64);
        with.push(bench(&bank, run.times, &LOAD).per_second);
        drop(open);
    }
    row(
        &format!("{} further connections", count(CONNECTIONS as f64)),
        &without,
        &with,
        &format!("{} bytes of memory each", kept.text()),
    )
}

fn row(what: &str, without: &Series, with: &Series, note: &str) -> Vec<String> {
    let ratio = with.median() / without.median();
    let row =
        vec![what.to_owned(), without.text(), with.text(), format!("{ratio:.2}"), note.to_owned()];
    eprintln!("{}", row.join("  "));
    row
}

async fn connect(bank: &Bank) -> Channel {
    let endpoint = Endpoint::from_shared(bank.endpoint.clone()).expect("it is a URL");
    endpoint.connect().await.expect("it listens")
}

/// The name of an account that the load has opened.
fn account(number: usize) -> String {
    format!("bench-{number:07}")
}

/// A feed that has begun: its first message says so.
async fn watch(
    mut client: BankServiceClient<Channel>,
    number: usize,
) -> Streaming<bank::grpc::proto::WatchTransactionsResponse> {
    let request = WatchTransactionsRequest {
        account_id: account(number),
        ..WatchTransactionsRequest::default()
    };
    let mut feed = client.watch_transactions(request).await.expect("there is room").into_inner();
    feed.message().await.expect("it goes on").expect("it has begun");
    feed
}

/// Counts the transactions that are told.
async fn read(
    mut feed: Streaming<bank::grpc::proto::WatchTransactionsResponse>,
    told: Arc<AtomicU64>,
) {
    while let Some(message) = feed.message().await.expect("it goes on") {
        told.fetch_add(u64::from(message.transaction.is_some()), Ordering::Relaxed);
    }
}
