//! How long does a bank take to read its books, and what do they take in memory and on disk?
//!
//! `cargo bench --bench recovery -- 10000000` fills a file with transfers between 10,000 accounts, each
//! with a UUID as its request id, by way of the store and without a server; then it starts the bank over
//! that file and waits until health says SERVING. Memory is the resident set of the bank's process after a
//! second of calls, less that of one over a file that has the accounts alone. The table of `benches/README.md` is written anew
//! (`--no-write`: it is printed alone); the last line is for other programs: `goal {"figure": seconds}`.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use bank::clock::SystemClock;
use bank::ledger::{
    AccountId, Amount, Command, Currency, Description, DisplayName, Labels, LedgerId, Money,
    NewAccountId, OverdraftLimit, Parties, Request, RequestId,
};
use bank::store::journal::SqliteJournal;
use bank::store::{MemoryStore, Store};
use uuid::Uuid;

use support::load::{Times, bench};
use support::{Bank, table};

const ACCOUNTS: usize = 10_000;
const BATCH: usize = 8192;
const SEED: u64 = 0x0b42;

fn main() {
    // cargo passes flags of its own to every bench; what is meant for this one is the number.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let transfers: usize =
        arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    let folder = tempfile::tempdir_in(".").expect("a folder can be made");
    let path = folder.path().join("bank.db");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(fill(&path, 0));
    let (_, accounts_bytes) = runtime.block_on(start(&path));
    let filled = Instant::now();
    runtime.block_on(fill(&path, transfers));
    let filled = filled.elapsed();
    let (ready, all_bytes) = runtime.block_on(start(&path));
    let count = transfers as f64;
    let file = std::fs::metadata(&path).expect("it is there").len();
    let row = |what: &str, figure: String| vec![what.to_owned(), figure];
    let seconds = ready.as_secs_f64();
    let text = table::markdown(
        &["figure", "value"],
        &[
            row("transfers", table::count(count)),
            row("ready after", format!("{seconds:.2} s")),
            row("read per second", table::count(count / seconds)),
            row("written per second", table::count(count / filled.as_secs_f64())),
            row("file per transfer", format!("{:.1} bytes", file as f64 / count)),
            row(
                "memory per transfer",
                format!("{:.1} bytes", all_bytes.saturating_sub(accounts_bytes) as f64 / count),
            ),
        ],
    );
    println!("{text}");
    println!("goal {{\"figure\": {seconds:.2}}}");
    if !arguments.iter().any(|argument| argument == "--no-write") {
        table::write("recovery", &format!("{}\n\n{text}", table::machine()));
    }
}

/// Makes the accounts if there are none, and so many transfers.
async fn fill(path: &Path, transfers: usize) {
    let journal = SqliteJournal::open(path, LedgerId::new(SEED), 0).expect("it can be opened");
    let ledger_id = journal.ledger_id();
    let store = MemoryStore::recover(ledger_id, journal, SystemClock, |_| {}).expect("it is whole");
    let mut random = fastrand::Rng::with_seed(SEED);
    let account =
        |number: usize| AccountId::parse(&format!("account-{number}")).expect("it is one");
    let usd = Currency::parse("USD").expect("it is known");
    if store.head().await.expect("it can be read").number() == 0 {
        let opened = (0..ACCOUNTS).map(|number| Request {
            id: None,
            caller: None,
            command: Command::CreateAccount {
                account_id: NewAccountId::ByClient(account(number)),
                currency: usd.clone(),
                display_name: DisplayName::default(),
                overdraft_limit: OverdraftLimit::default(),
                labels: Labels::default(),
                initial_balance: Some(Amount::new(1_000_000_000).expect("it is above 0")),
            },
        });
        for answer in store.execute_each(opened.collect()).await.expect("they are written") {
            answer.expect("they are opened");
        }
    }
    let mut left = transfers;
    while left > 0 {
        let requests = (0..left.min(BATCH)).map(|_| {
            let from = random.usize(0..ACCOUNTS);
            let to = (from + random.usize(1..ACCOUNTS)) % ACCOUNTS;
            let id = Uuid::from_u128(random.u128(..)).to_string();
            Request {
                id: Some(RequestId::parse(&id).expect("it is visible")),
                caller: None,
                command: Command::Transfer {
                    parties: Parties::new(account(from), account(to)).expect("they are two"),
                    amount: Money {
                        currency: usd.clone(),
                        amount: Amount::new(random.i64(1..100)).expect("it is above 0"),
                    },
                    description: Description::default(),
                    labels: Labels::default(),
                },
            }
        });
        let requests: Vec<Request> = requests.collect();
        left -= requests.len();
        for answer in store.execute_each(requests).await.expect("they are written") {
            answer.expect("there is enough money");
        }
    }
}

/// Starts the bank over the file: how long until it serves, and the memory that it uses then.
async fn start(path: &Path) -> (Duration, u64) {
    let began = Instant::now();
    let bank = Bank::start(&["--data", path.to_str().expect("its name is UTF-8")]);
    bank.wait_until_ready().await;
    let ready = began.elapsed();
    // What only the start needed the allocator gives back as calls come in.
    let briefly = Times { warm_up_ms: 0, measured_ms: 1000 };
    bench(&bank, briefly, &["--mix", "balance", "--accounts", "2"]);
    (ready, bank.resident_bytes())
}
