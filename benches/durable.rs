//! How long does a commit take until it is durable, with and without checkpoints?
//!
//! `cargo bench --bench durable` writes groups of 500 records by way of the store, without a server. Whole
//! calls are measured by `cargo bench --bench goals`. The table of `benches/README.md` is written anew
//! (`--no-write`: it is printed alone).

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod support;

use std::time::Instant;

use bank::clock::SystemClock;
use bank::ledger::{
    AccountId, Amount, Command, Currency, Description, DisplayName, Labels, LedgerId, Money,
    NewAccountId, OverdraftLimit, Request, RequestId,
};
use bank::store::journal::SqliteJournal;
use bank::store::{MemoryStore, Store};
use hdrhistogram::Histogram;
use uuid::Uuid;

use support::table;

fn main() {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(commits());
}

/// How long a group of 500 takes until it is durable: over files too small for a checkpoint, and over one
/// that goes through many.
async fn commits() {
    let mut rows = Vec::new();
    for (name, files, groups) in [
        ("files too small for a checkpoint", 10, 120),
        ("one file, a checkpoint every 16 MiB", 1, 4000),
    ] {
        let mut times = Histogram::<u64>::new(3).expect("3 digits can be kept");
        let began = Instant::now();
        for _ in 0..files {
            let folder = tempfile::tempdir_in(".").expect("a folder can be made");
            commit_groups(&folder.path().join("bank.db"), groups, &mut times).await;
        }
        let per_second = (files * groups * 500) as f64 / began.elapsed().as_secs_f64();
        let millis = |of| table::millis(times.value_at_quantile(of) as f64);
        let per_second = table::count(per_second);
        rows.push(vec![name.to_owned(), per_second, millis(0.5), millis(0.99), millis(1.0)]);
    }
    let titles = ["commits of 500 records", "records per second", "p50", "p99", "max"];
    let text = table::markdown(&titles, &rows);
    println!("{text}");
    if !std::env::args().any(|argument| argument == "--no-write") {
        table::write("durable", &format!("{}\n\n{text}", table::machine()));
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
