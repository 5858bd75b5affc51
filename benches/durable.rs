//! How fast is a bank that keeps its books in a file, against an empty server and against memory?
//!
//! `cargo bench --bench durable` runs everything against everything in turn, several times over, and
//! prints the median of each. Calls go over 8 connections, with so many in flight in all as is said
//! (closed loop: latencies are those of callers that wait for each answer). Server and load share the
//! machine. Nothing here is a test: figures are for `benches/README.md`.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bank::clock::SystemClock;
use bank::grpc::proto;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::ledger::{
    AccountId, Amount, Command, Currency, Description, DisplayName, Labels, LedgerId, Money,
    NewAccountId, OverdraftLimit, Request, RequestId,
};
use bank::store::journal::SqliteJournal;
use bank::store::{MemoryStore, Store};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use uuid::Uuid;

use support::{Bank, floor};

const ACCOUNTS: usize = 10_000;
const CONNECTIONS: usize = 8;
const TIME: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if std::env::args().nth(1).as_deref() == Some("floor") {
        return runtime.block_on(floor::serve());
    }
    runtime.block_on(calls());
    runtime.block_on(commits());
}

/// What is measured of one server in one round.
#[derive(Clone, Copy)]
struct Figures {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

async fn calls() {
    let folder = tempfile::tempdir_in(".").expect("a folder can be made");
    let data = folder.path().join("bank.db");
    let data = data.to_str().expect("its name is UTF-8").to_owned();
    let servers = [
        ("floor", Bank::start_floor()),
        ("floor again (A/A)", Bank::start_floor()),
        ("in memory", Bank::start(&[])),
        ("--data", Bank::start(&["--data", &data])),
    ];
    for (_, server) in &servers[2..] {
        open_accounts(&mut clients(server).await[0]).await;
    }
    println!("{:<34} {:>12} {:>10} {:>10}", "unary transfers", "per second", "p50", "p99");
    for in_flight in [64, 800] {
        let mut figures = vec![Vec::new(); servers.len()];
        for _ in 0..ROUNDS {
            for ((_, server), figures) in servers.iter().zip(&mut figures) {
                figures.push(transfers(&clients(server).await, in_flight).await);
            }
        }
        for ((name, _), figures) in servers.iter().zip(figures) {
            print(&format!("{name}, {in_flight} in flight"), &figures);
        }
    }
    println!();
    println!("{:<34} {:>12} {:>10} {:>10}", "batches of 8192", "per second", "p50", "p99");
    for (name, server) in &servers[2..] {
        let mut figures = Vec::new();
        for _ in 0..ROUNDS {
            figures.push(batches(&clients(server).await, 2).await);
        }
        print(&format!("{name}, 2 in flight"), &figures);
    }
    println!();
}

/// The median of each figure, and how far the throughputs lie apart.
fn print(name: &str, figures: &[Figures]) {
    let median = |of: &dyn Fn(&Figures) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let rates = figures.iter().map(|it| it.per_second);
    let low = rates.clone().fold(f64::INFINITY, f64::min);
    let high = rates.fold(0.0, f64::max);
    println!(
        "{name:<34} {:>12.0} {:>7.2} ms {:>7.2} ms   ({low:.0} to {high:.0})",
        median(&|it| it.per_second),
        median(&|it| it.p50.as_secs_f64() * 1e3),
        median(&|it| it.p99.as_secs_f64() * 1e3),
    );
}

async fn clients(server: &Bank) -> Vec<BankServiceClient<Channel>> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = BankServiceClient::connect(server.endpoint.clone()).await;
        clients.push(client.expect("it listens").max_decoding_message_size(64 << 20));
    }
    clients
}

async fn open_accounts(client: &mut BankServiceClient<Channel>) {
    for number in 0..ACCOUNTS {
        let request = proto::CreateAccountRequest {
            account_id: format!("account-{number}"),
            currency_code: "USD".to_owned(),
            initial_balance: 1_000_000_000,
            ..proto::CreateAccountRequest::default()
        };
        client.create_account(request).await.expect("it opens");
    }
}

fn transfer(random: &mut fastrand::Rng) -> proto::TransferRequest {
    let from = random.usize(0..ACCOUNTS);
    let to = (from + random.usize(1..ACCOUNTS)) % ACCOUNTS;
    proto::TransferRequest {
        request_id: Uuid::from_u128(random.u128(..)).to_string(),
        from_account_id: format!("account-{from}"),
        to_account_id: format!("account-{to}"),
        amount: Some(proto::Money { currency_code: "USD".to_owned(), minor_units: 1 }),
        ..proto::TransferRequest::default()
    }
}

async fn transfers(clients: &[BankServiceClient<Channel>], in_flight: usize) -> Figures {
    measure(clients, in_flight, 1, async |client, random| {
        client.transfer(transfer(random)).await.expect("it is posted");
    })
    .await
}

async fn batches(clients: &[BankServiceClient<Channel>], in_flight: usize) -> Figures {
    const BATCH: usize = 8192;
    measure(clients, in_flight, BATCH as u64, async |client, random| {
        let operation = |random: &mut fastrand::Rng| proto::Operation {
            operation: Some(proto::operation::Operation::Transfer(transfer(random))),
        };
        let operations = (0..BATCH).map(|_| operation(random)).collect();
        let request = proto::ExecuteBatchRequest { operations, atomic: false };
        client.execute_batch(request).await.expect("it is executed");
    })
    .await
}

/// So many callers that call, wait and call again, for the time of a round.
async fn measure(
    clients: &[BankServiceClient<Channel>],
    in_flight: usize,
    each: u64,
    call: impl AsyncFn(&mut BankServiceClient<Channel>, &mut fastrand::Rng) + Clone + Send + 'static,
) -> Figures {
    let over = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let local = tokio::task::LocalSet::new();
    let mut callers = JoinSet::new();
    for caller in 0..in_flight {
        let mut client = clients[caller % clients.len()].clone();
        let (over, count, call) = (over.clone(), count.clone(), call.clone());
        callers.spawn_local_on(
            async move {
                let mut random = fastrand::Rng::new();
                let mut times = Histogram::<u64>::new(3).expect("3 digits can be kept");
                while !over.load(Ordering::Relaxed) {
                    let sent = Instant::now();
                    call(&mut client, &mut random).await;
                    let micros = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
                    times.record(micros).expect("it grows");
                    count.fetch_add(each, Ordering::Relaxed);
                }
                times
            },
            &local,
        );
    }
    let timer = async {
        tokio::time::sleep(TIME).await;
        over.store(true, Ordering::Relaxed);
        let (elapsed, count) = (began.elapsed(), count.load(Ordering::Relaxed));
        let mut all = Histogram::<u64>::new(3).expect("3 digits can be kept");
        while let Some(times) = callers.join_next().await {
            all.add(times.expect("nobody panicked")).expect("it grows");
        }
        let quantile = |of| Duration::from_micros(all.value_at_quantile(of));
        #[allow(clippy::cast_precision_loss, reason = "figures for people")]
        let per_second = count as f64 / elapsed.as_secs_f64();
        Figures { per_second, p50: quantile(0.5), p99: quantile(0.99) }
    };
    local.run_until(timer).await
}

/// How long a group of 500 takes until it is durable: over files too small for a checkpoint, and over one
/// that goes through many.
async fn commits() {
    println!(
        "{:<34} {:>12} {:>10} {:>10} {:>10}",
        "commits of 500", "per second", "p50", "p99", "max"
    );
    for (name, files, groups) in
        [("no checkpoint comes", 10, 120), ("checkpoints every 16 MiB", 1, 4000)]
    {
        let mut times = Histogram::<u64>::new(3).expect("3 digits can be kept");
        let began = Instant::now();
        for _ in 0..files {
            let folder = tempfile::tempdir_in(".").expect("a folder can be made");
            commit_groups(&folder.path().join("bank.db"), groups, &mut times).await;
        }
        #[allow(clippy::cast_precision_loss, reason = "figures for people")]
        let per_second = (files * groups * 500) as f64 / began.elapsed().as_secs_f64();
        let millis = |of| Duration::from_micros(times.value_at_quantile(of)).as_secs_f64() * 1e3;
        println!(
            "{name:<34} {per_second:>12.0} {:>7.2} ms {:>7.2} ms {:>7.2} ms",
            millis(0.5),
            millis(0.99),
            millis(1.0)
        );
    }
}

async fn commit_groups(path: &std::path::Path, groups: usize, times: &mut Histogram<u64>) {
    let ledger_id = LedgerId::new(1);
    let journal = SqliteJournal::open(path, ledger_id, 0).expect("it can be opened");
    let store = MemoryStore::new(ledger_id, journal, SystemClock);
    let account_id = AccountId::parse("alice").expect("it is one");
    let usd = Currency::parse("USD").expect("it is known");
    let opening = Request {
        id: None,
        caller: None,
        command: Command::CreateAccount {
            account_id: NewAccountId::ByClient(account_id.clone()),
            currency: usd.clone(),
            display_name: DisplayName::default(),
            overdraft_limit: OverdraftLimit::default(),
            labels: Labels::default(),
            initial_balance: None,
        },
    };
    store.execute(opening).await.expect("it is written").expect("it is opened");
    for _ in 0..groups {
        let requests = (0..500).map(|_| Request {
            id: Some(RequestId::parse(&Uuid::new_v4().to_string()).expect("it is visible")),
            caller: None,
            command: Command::Deposit {
                account_id: account_id.clone(),
                amount: Money {
                    currency: usd.clone(),
                    amount: Amount::new(1).expect("it is above 0"),
                },
                description: Description::default(),
                labels: Labels::default(),
            },
        });
        let requests = requests.collect();
        let sent = Instant::now();
        store.execute_each(requests).await.expect("they are written");
        let micros = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
        times.record(micros).expect("it grows");
    }
}
