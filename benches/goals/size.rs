//! Books that are large: what they take in memory, and what is slower over them.

use crate::support::Bank;
use crate::support::load::{Outcome, Times, bench};
use crate::support::table::{Goal, Series, Verdict, count, markdown};
use crate::{Run, Server};

/// Small books, for comparison.
const FEW_ACCOUNTS: u64 = 10_000;

const FULL: (u64, u64) = (10_000_000, 1_000_000);

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
    let in_memory = grow(&large.bank, transactions, accounts);
    let in_file = grow(&Bank::start(&["--data", path]), transactions, accounts);
    let mut goals = vec![
        memory("memory kept for a transaction, in memory", 200.0, in_memory.transaction, run),
        memory("memory kept for a transaction, `--data`", 64.0, in_file.transaction, run),
        memory("memory kept for an account, `--data`", 300.0, in_file.account, run),
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
struct Growth {
    account: f64,
    transaction: f64,
}

/// Opens accounts and posts transfers, and looks at the memory before and after each.
fn grow(bank: &Bank, transactions: u64, accounts: u64) -> Growth {
    let at = [
        fill(bank, FIRST, FEW_ACCOUNTS),
        fill(bank, 0, accounts),
        fill(bank, transactions, accounts),
    ];
    let each =
        |before: u64, after: u64, count: u64| after.saturating_sub(before) as f64 / count as f64;
    Growth {
        account: each(at[0], at[1], accounts - FEW_ACCOUNTS),
        transaction: each(at[1], at[2], transactions),
    }
}

/// Opens accounts as far as they aren't there, and posts transfers; the memory that the bank has then.
fn fill(bank: &Bank, transactions: u64, accounts: u64) -> u64 {
    let (transactions, accounts) = (transactions.to_string(), accounts.to_string());
    let briefly = Times { warm_up_ms: 0, measured_ms: 100 };
    // Reads leave nothing behind.
    let load =
        ["--accounts", &accounts, "--fill", &transactions, "--mix", "balance", "--in-flight", "1"];
    bench(bank, briefly, &load);
    settled_bytes(bank)
}

/// The memory that it keeps: an allocator gives back what it has no use for only after a while.
fn settled_bytes(bank: &Bank) -> u64 {
    let mut before = bank.resident_bytes();
    loop {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let now = bank.resident_bytes();
        if now >= before {
            return now;
        }
        before = now;
    }
}

fn memory(what: &str, wanted: f64, figure: f64, run: &Run) -> Goal {
    let (transactions, accounts) = run.large;
    Goal {
        what: format!("{what}, bytes"),
        wanted: format!("at most {}", count(wanted)),
        figure: count(figure),
        reference: format!(
            "growth by {} transactions and {} accounts",
            count(transactions as f64),
            count(accounts as f64)
        ),
        comes_to: format!("{:.2} of it", figure / wanted),
        verdict: if figure > 0.0 {
            Verdict::of(figure <= wanted)
        } else {
            Verdict::NotRun("it is less than what the allocator keeps for later".to_owned())
        },
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
