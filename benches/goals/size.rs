//! Books that are large: what they take in memory, and what is slower over them.

use crate::support::Bank;
use crate::support::load::{Outcome, Times, bench};
use crate::support::table::{Goal, Series, Verdict, count, markdown};
use crate::{Run, Server};

/// Small books, for comparison.
const FEW_ACCOUNTS: u64 = 10_000;

const FULL: (u64, u64) = (10_000_000, 1_000_000);

/// How many accounts are opened at the most to see what one takes.
const MOST_ACCOUNTS: u64 = 1_000_000;

/// How many entries are made before memory is looked at for the first time, so that what a server needs for
/// its work is there already.
const FIRST: u64 = 100_000;

pub(crate) fn measure(run: &Run) -> (Vec<Goal>, String) {
    let folder = tempfile::tempdir_in(&run.folder).expect("a folder can be made");
    let path = folder.path().join("bank.db");
    let path = path.to_str().expect("its name is UTF-8");
    let (transactions, accounts) = run.large;

    let small = Server { name: "in memory", bank: Bank::start(&[]) };
    fill(&small.bank, FIRST, FEW_ACCOUNTS);
    let large = Server { name: "in memory", bank: Bank::start(&[]) };
    fill(&large.bank, transactions, accounts);
    let in_memory = weigh(&[], accounts, run);
    // What a server needs now and then differs by ten megabytes, which so many don't show.
    let opened = (10 * accounts).min(MOST_ACCOUNTS);
    let in_file = weigh(&["--data", path], opened, run);
    let mut goals = vec![
        memory("a transaction, in memory", 200.0, in_memory.transaction, transactions),
        memory("a transaction, `--data`", 64.0, in_file.transaction, transactions),
        memory("an account, `--data`", 300.0, in_file.account, opened - FEW_ACCOUNTS),
    ];
    let (scale, rows) = scale(run, &small, &large);
    goals.extend(scale);
    let titles =
        ["load", "small books, per second", "large books, per second", "of the small ones"];
    let text = format!(
        "### Scale\n\nIn memory: {} transactions between {} accounts to begin with, against {} between {}.\n\n{}",
        count(transactions as f64),
        count(accounts as f64),
        count(FIRST as f64),
        count(FEW_ACCOUNTS as f64),
        markdown(&titles, &rows),
    );
    (goals, text)
}

/// What something takes in memory, in bytes.
struct Weight {
    account: f64,
    transaction: f64,
}

/// Opens so many accounts and posts transfers in a bank of its own, and looks at its memory before and after each.
fn weigh(arguments: &[&str], open: u64, run: &Run) -> Weight {
    let bank = Bank::start_without_spare_memory(arguments);
    let kept_after = |transactions, accounts| {
        fill(&bank, transactions, accounts);
        bank.resident_bytes() as f64
    };
    let (transactions, accounts) = run.large;
    let first = kept_after(FIRST, FEW_ACCOUNTS);
    let opened = kept_after(0, open);
    let posted = kept_after(transactions, accounts);
    Weight {
        account: (opened - first) / (open - FEW_ACCOUNTS) as f64,
        transaction: (posted - opened) / transactions as f64,
    }
}

/// Opens accounts as far as they aren't there, and posts transfers.
fn fill(bank: &Bank, transactions: u64, accounts: u64) {
    let (transactions, accounts) = (transactions.to_string(), accounts.to_string());
    // Reads leave nothing behind, and threads give back what is free while they have something to do.
    let reads = Times { warm_up_ms: 0, measured_ms: 1000 };
    bench(bank, reads, &["--accounts", &accounts, "--fill", &transactions, "--mix", "balance"]);
}

fn memory(of_what: &str, wanted: f64, figure: f64, by: u64) -> Goal {
    Goal {
        what: format!("memory kept for {of_what}, bytes"),
        wanted: format!("at most {}", count(wanted)),
        figure: count(figure),
        reference: format!("growth by {} of them", count(by as f64)),
        comes_to: format!("{:.2} of it", figure / wanted),
        verdict: Verdict::of(figure <= wanted),
    }
}

/// Loads on small and on large books in turn.
fn scale(run: &Run, small: &Server, large: &Server) -> (Vec<Goal>, Vec<Vec<String>>) {
    const WANTED: f64 = 0.7;
    let (transactions, accounts) = run.large;
    let all = accounts.to_string();
    let few = FEW_ACCOUNTS.to_string();
    let note = if run.large == FULL { "" } else { "; `--full` takes 10 million and a million" };
    let mut goals = Vec::new();
    let mut rows = Vec::new();
    for (name, load) in [
        ("Transfer", &["--mix", "transfer", "--in-flight", "800"][..]),
        ("GetBalance", &["--mix", "balance", "--in-flight", "800"]),
        ("ListTransactions of 50", &["--mix", "statement", "--in-flight", "800"]),
        ("ExecuteBatch of 8192", &["--mix", "batch", "--batch-size", "8192", "--in-flight", "2"]),
    ] {
        let (mut on_small, mut on_large) = (Series::default(), Series::default());
        let measured = |server: &Server, accounts: &str| -> Outcome {
            bench(&server.bank, run.times, &[load, &["--accounts", accounts]].concat())
        };
        for _ in 0..run.rounds {
            on_small.push(measured(small, &few).per_second);
            on_large.push(measured(large, &all).per_second);
        }
        let ratio = on_large.median() / on_small.median();
        rows.push(vec![name.to_owned(), on_small.text(), on_large.text(), format!("{ratio:.2}")]);
        goals.push(Goal {
            what: format!("{name} over large books"),
            wanted: format!("{WANTED} x"),
            figure: count(on_large.median()),
            reference: format!("over small ones: {}", count(on_small.median())),
            comes_to: format!(
                "{ratio:.2} x at {} and {} accounts{note}",
                count(transactions as f64),
                count(accounts as f64)
            ),
            verdict: Verdict::of(ratio >= WANTED),
        });
    }
    (goals, rows)
}
