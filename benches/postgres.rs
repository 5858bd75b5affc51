//! The store over PostgreSQL against what PostgreSQL does by itself: `cargo bench --bench postgres`.
//!
//! It starts an engine of its own, with fsync on and its settings as they come but for [`SETTINGS`]. The
//! reference is pgbench with one prepared statement a transfer (`postgres/transfer.sql`) over tables that remember
//! request ids and list an account's transfers (`postgres/request_ids.sql`), as the bank's do; over tables that
//! don't it is measured too. The bank is loaded through gRPC by `bank bench`, by a call for each transfer and by a
//! stream of them, with a request id on every one. All go to the engine over TCP and have the machine to themselves
//! while they are measured. Loads take turns, several rounds over, each round with new and empty tables, and
//! medians are compared.
//!
//! Whatever can't be measured ends the run. The last line of standard output is for `scripts/bench`:
//! `goal {"figure": ..., "reference": ...}`, transfers a second.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use clap::Parser;

use support::Bank;
use support::cluster::{Cluster, postgresql};
use support::load::{Times, bench};
use support::table::{self, Goal, Series, Verdict, count, markdown, millis};

/// What the engine is told otherwise than it comes: room for 128 clients of pgbench.
const SETTINGS: [&str; 1] = ["max_connections=200"];
const ACCOUNTS: u32 = 10_000;
/// Enough that no load empties an account.
const INITIAL_BALANCE: u64 = 100_000_000_000;
/// The databases of the statement, with request ids and without, and that of the bank.
const STATEMENT: &str = "statement";
const BARE: &str = "bare";
const BOOKS: &str = "books";
/// How many times the best of the statement one process is to be.
const WANTED: f64 = 4.0;

/// Measure the store over PostgreSQL against one statement a transfer.
#[derive(Debug, Parser)]
struct Arguments {
    /// See in 40 seconds whether everything runs: one short round, and nothing is written
    #[arg(long)]
    quick: bool,
    /// Print the tables, but leave benches/README.md as it is
    #[arg(long)]
    no_write: bool,
    /// Where the engine's files are made: the disk that is measured
    #[arg(long, value_name = "FOLDER", default_value = env!("CARGO_TARGET_TMPDIR"))]
    folder: PathBuf,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Which accounts are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accounts {
    Uniform,
    Zipf,
    HotPair,
}

impl Accounts {
    fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "Zipf",
            Self::HotPair => "one hot pair",
        }
    }
}

/// Who makes the transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// pgbench, with one statement a transfer.
    Statement,
    /// The same, without request ids and without listings.
    Bare,
    /// So many processes of the bank, which share the callers: each transfer is a call.
    Banks(u32),
    /// The same, with transfers in a stream a connection.
    Streams(u32),
}

impl Who {
    fn name(self) -> String {
        match self {
            Self::Statement => "pgbench, one statement a transfer".to_owned(),
            Self::Bare => "pgbench, without request ids and listings".to_owned(),
            Self::Banks(1) => "bank, one process, calls".to_owned(),
            Self::Banks(count) => format!("bank, {count} processes, calls"),
            Self::Streams(1) => "bank, one process, streams".to_owned(),
            Self::Streams(count) => format!("bank, {count} processes, streams"),
        }
    }

    fn is_pgbench(self) -> bool {
        matches!(self, Self::Statement | Self::Bare)
    }
}

/// A load, and what came of its rounds.
struct Load {
    accounts: Accounts,
    who: Who,
    /// How many clients, or calls in flight.
    at_once: u32,
    per_second: Series,
    p50_us: Series,
    p99_us: Series,
}

fn main() {
    let arguments = Arguments::parse();
    let (times, rounds) = if arguments.quick {
        (Times { warm_up_ms: 200, measured_ms: 800 }, 1)
    } else {
        (Times { warm_up_ms: 1000, measured_ms: 4000 }, 3)
    };
    let machine = table::machine();
    let cluster = Cluster::start(&arguments.folder, &SETTINGS);
    let engine = cluster.sql("postgres", "SHOW server_version");
    assert_eq!(cluster.sql("postgres", "SHOW fsync"), "on", "what isn't synced is no reference");
    let about = format!(
        "{machine}. PostgreSQL {engine}, {}, fsync on; {ACCOUNTS} accounts.",
        SETTINGS.join(", ")
    );
    println!("{about}\n");

    let mut loads = loads();
    for _ in 0..rounds {
        make_tables(&cluster);
        for load in &mut loads {
            measure(&cluster, times, load);
        }
        check_statement(&cluster);
    }

    let is_one_bank = |who| matches!(who, Who::Banks(1) | Who::Streams(1));
    let figure = best(&loads, Accounts::Uniform, is_one_bank);
    let reference = best(&loads, Accounts::Uniform, Who::is_pgbench);
    let titles = ["goal", "wanted", "figure", "reference", "comes to", ""];
    let goals = markdown(&titles, &[goal(figure, reference).cells()]);
    let titles =
        ["accounts", "who", "at once", "transfers/s", "of the best statement", "p50", "p99"];
    let rows: Vec<Vec<String>> = loads.iter().map(|load| row(load, &loads)).collect();
    let details = markdown(&titles, &rows);
    println!("{goals}\n{details}");
    if !arguments.quick && !arguments.no_write {
        table::write("postgres", &format!("{about}\n\n{goals}\n{details}"));
        println!("benches/README.md is written");
    }
    println!("goal {{\"figure\": {figure:.0}, \"reference\": {reference:.0}}}");
}

/// All that is measured, in the order of a round.
fn loads() -> Vec<Load> {
    let uniform = [
        (Who::Statement, vec![16, 64]),
        (Who::Bare, vec![16, 64]),
        (Who::Banks(1), vec![64, 800, 3200]),
        (Who::Streams(1), vec![16_384, 32_768]),
        (Who::Banks(2), vec![3200]),
        (Who::Streams(2), vec![16_384]),
    ];
    let hot = [
        (Who::Statement, vec![16, 64]),
        (Who::Banks(1), vec![800]),
        (Who::Streams(1), vec![16_384]),
    ];
    let of = |accounts, who, at_once| Load {
        accounts,
        who,
        at_once,
        per_second: Series::default(),
        p50_us: Series::default(),
        p99_us: Series::default(),
    };
    let mut loads = Vec::new();
    for (accounts, table) in
        [(Accounts::Uniform, &uniform[..]), (Accounts::Zipf, &hot), (Accounts::HotPair, &hot)]
    {
        for (who, counts) in table {
            loads.extend(counts.iter().map(|at_once| of(accounts, *who, *at_once)));
        }
    }
    loads
}

/// New tables for all, empty but for the accounts of the statement; the bank's are opened by its first load.
fn make_tables(cluster: &Cluster) {
    for database in [STATEMENT, BARE, BOOKS] {
        cluster.sql("postgres", &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"));
        cluster.sql("postgres", &format!("CREATE DATABASE {database}"));
    }
    let accounts = format!(
        "INSERT INTO accounts SELECT id, {INITIAL_BALANCE} FROM generate_series(1, {ACCOUNTS}) AS id"
    );
    for database in [STATEMENT, BARE] {
        cluster.sql(database, include_str!("postgres/tables.sql"));
        cluster.sql(database, &accounts);
        cluster.sql(database, "VACUUM ANALYZE accounts");
    }
    cluster.sql(STATEMENT, include_str!("postgres/request_ids.sql"));
    let migrated = Command::new(env!("CARGO_BIN_EXE_bank"))
        .args(["migrate", "--database-url", &cluster.url(BOOKS)])
        .env_clear()
        .output()
        .expect("it can be started");
    let said = String::from_utf8_lossy(&migrated.stderr);
    assert!(migrated.status.success(), "bank migrate: {said}");
}

/// One round of one load.
fn measure(cluster: &Cluster, times: Times, load: &mut Load) {
    // Nobody pays for what somebody else has left to be written.
    cluster.sql("postgres", "CHECKPOINT");
    match load.who {
        Who::Statement => load.per_second.push(pgbench(cluster, STATEMENT, times, load)),
        Who::Bare => load.per_second.push(pgbench(cluster, BARE, times, load)),
        Who::Banks(count) => banks(cluster, times, load, count, "transfer"),
        Who::Streams(count) => banks(cluster, times, load, count, "stream"),
    }
    eprintln!(
        "{}, {}, {} at once: {}",
        load.accounts.name(),
        load.who.name(),
        load.at_once,
        load.per_second.text()
    );
}

/// pgbench with one statement a transfer: transfers a second.
fn pgbench(cluster: &Cluster, database: &str, times: Times, load: &Load) -> f64 {
    let (accounts, zipf) = match load.accounts {
        Accounts::Uniform => (ACCOUNTS, 0),
        Accounts::Zipf => (ACCOUNTS, 1),
        Accounts::HotPair => (2, 0),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/postgres/transfer.sql");
    let output = Command::new(postgresql::program("pgbench"))
        .args(["--host=127.0.0.1", "--username=postgres", "--port", &cluster.port.to_string()])
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .args(["--client", &load.at_once.to_string()])
        .args(["--time", &times.measured_ms.div_ceil(1000).to_string()])
        .args(["--define", &format!("accounts={accounts}")])
        .args(["--define", &format!("zipf={zipf}")])
        .arg("--file")
        .arg(script)
        .arg(database)
        .env_clear()
        .output()
        .expect("pgbench can be run");
    let told = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pgbench: {complained}");
    let number = |before: &str| -> Option<f64> {
        let line = told.lines().find_map(|line| line.strip_prefix(before))?;
        line.split_whitespace().next()?.parse().ok()
    };
    assert_eq!(number("number of failed transactions: "), Some(0.0), "pgbench: {told}");
    let per_second = number("tps = ").filter(|it| *it > 0.0);
    per_second.unwrap_or_else(|| panic!("pgbench has told no figure: {told}"))
}

/// So many processes of the bank at once, each with its part of the callers: what they do together, and the
/// latency of the slower one.
fn banks(cluster: &Cluster, times: Times, load: &mut Load, processes: u32, mix: &str) {
    let url = cluster.url(BOOKS);
    let banks: Vec<Bank> = (0..processes).map(|_| Bank::start(&["--database-url", &url])).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for bank in &banks {
        runtime.block_on(bank.wait_until_ready());
    }
    drop(runtime);
    let in_flight = (load.at_once / processes).to_string();
    let distribution = match load.accounts {
        Accounts::Uniform => "uniform",
        Accounts::Zipf => "zipf",
        Accounts::HotPair => "hot-pair",
    };
    let accounts = ACCOUNTS.to_string();
    let arguments = ["--mix", mix, "--in-flight", &in_flight, "--accounts", &accounts];
    // Each stream has a connection of its own.
    let connections = if mix == "stream" { "16" } else { "8" };
    let further = ["--accounts-distribution", distribution, "--connections", connections];
    let arguments = [&arguments[..], &further].concat();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let loaded: Vec<_> =
            banks.iter().map(|bank| scope.spawn(|| bench(bank, times, &arguments))).collect();
        loaded.into_iter().map(|one| one.join().expect("it was measured")).collect()
    });
    load.per_second.push(outcomes.iter().map(|outcome| outcome.per_second).sum());
    load.p50_us.push(outcomes.iter().map(|outcome| outcome.p50_us).fold(0.0, f64::max));
    load.p99_us.push(outcomes.iter().map(|outcome| outcome.p99_us).fold(0.0, f64::max));
}

/// A statement that loses money would be no reference.
fn check_statement(cluster: &Cluster) {
    for database in [STATEMENT, BARE] {
        let total = cluster.sql(database, "SELECT sum(balance) FROM accounts");
        let put_in = (INITIAL_BALANCE * u64::from(ACCOUNTS)).to_string();
        assert_eq!(total, put_in, "the statement's total, {database}");
    }
}

/// The best median of some, over accounts that are taken in one way.
fn best(loads: &[Load], accounts: Accounts, is_one: impl Fn(Who) -> bool) -> f64 {
    let of = loads.iter().filter(|load| load.accounts == accounts && is_one(load.who));
    let best = of.map(|load| load.per_second.median()).fold(0.0, f64::max);
    assert!(best > 0.0, "{}: there is no figure", accounts.name());
    best
}

fn goal(figure: f64, reference: f64) -> Goal {
    let ratio = figure / reference;
    Goal {
        what: "PostgreSQL store, one process, transfers/s".to_owned(),
        wanted: format!("{WANTED:.1} x"),
        figure: count(figure),
        reference: format!("one statement a transfer: {}", count(reference)),
        comes_to: format!("{ratio:.2} x"),
        verdict: Verdict::of(ratio >= WANTED),
    }
}

fn row(load: &Load, loads: &[Load]) -> Vec<String> {
    let reference = best(loads, load.accounts, Who::is_pgbench);
    let latency = |series: &Series| {
        if load.who.is_pgbench() { String::new() } else { millis(series.median()) }
    };
    vec![
        load.accounts.name().to_owned(),
        load.who.name(),
        load.at_once.to_string(),
        load.per_second.text(),
        format!("{:.2}", load.per_second.median() / reference),
        latency(&load.p50_us),
        latency(&load.p99_us),
    ]
}
