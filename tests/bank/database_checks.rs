//! Books in a database are checked: whatever was changed behind the bank's back is found and named, and
//! nothing is said of books that are right, also while banks go on writing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bank::ledger::{Command, OverdraftLimit, Sequence};
use bank::store::journal::{ChainHash, Head};
use bank::store::{DatabaseArchive, Store, Wrong};

use crate::support::cluster::{Cluster, database_of, postgres_store, settings};
use crate::support::commands::{account, open, pay, plain, set_aside};
use crate::support::history::small_history;
use crate::support::process::{bank, run};
use crate::support::{LEDGER, ManualClock};

/// Books with something in every table: beside the small history a hold that has expired and was swept, one
/// that is held, and an account that is below zero because its limit was lowered. The database's name.
pub(crate) async fn rich_books(cluster: &Cluster, clock: &ManualClock) -> String {
    let url = cluster.new_books().await;
    let database = database_of(&url).to_owned();
    let store = postgres_store(&url, clock).await;
    for request in small_history() {
        let _ = store.execute(request).await.expect("it is kept");
    }
    let apply = async |command| {
        store.execute(plain(command)).await.expect("it answers").expect("it is not refused")
    };
    apply(open("carol", 500)).await;
    apply(set_aside("carol", "alice", 100)).await;
    clock.set(10_000_000);
    store.account(&account("carol")).await.expect("it answers").expect("she is there");
    cluster.until(&database, "SELECT count(*) FROM bank_holds WHERE state = 4", "1").await;
    apply(set_aside("carol", "alice", 50)).await;
    let limit = |limit| Command::UpdateAccount {
        account_id: account("carol"),
        display_name: None,
        overdraft_limit: Some(OverdraftLimit::new(limit).expect("not below 0")),
        labels: None,
        etag: None,
    };
    apply(limit(1000)).await;
    apply(pay("carol", "alice", 1200)).await;
    apply(limit(0)).await;
    database
}

async fn verify(url: &str, noted: Option<Head>) -> Result<(Head, u64), Wrong> {
    let archive = DatabaseArchive::open(&settings(url)).await.expect("it can be opened");
    archive.verify(noted, |_| {}).await
}

/// The tables that say what the books are.
const TABLES: [&str; 6] = [
    "bank_head",
    "bank_records",
    "bank_accounts",
    "bank_holds",
    "bank_reversals",
    "bank_currencies",
];

/// Each change to books that are right, and what is said of it.
const CHANGES: [(&str, &str); 47] = [
    (
        "UPDATE bank_accounts SET posted = posted + 1 WHERE account_id = 'alice'",
        "bank_accounts: posted of account alice of record 1 is 2221, and should be 2220",
    ),
    (
        "UPDATE bank_accounts SET posted = posted - 1 WHERE account_id = '@external:USD'",
        "posted of account @external:USD of record 1 is",
    ),
    ("UPDATE bank_accounts SET version = 2 WHERE account_id = 'bob'", "version of account bob"),
    ("UPDATE bank_accounts SET newest = 1 WHERE account_id = 'bob'", "newest of account bob"),
    ("UPDATE bank_accounts SET held = 0 WHERE account_id = 'carol'", "held of account carol"),
    ("UPDATE bank_accounts SET overdraft_limit = 1 WHERE account_id = 'carol'", "overdraft_limit"),
    ("UPDATE bank_accounts SET floor = -9999 WHERE account_id = 'carol'", "floor of account carol"),
    ("UPDATE bank_accounts SET state = 1 WHERE account_id = 'bob'", "state of account bob"),
    ("UPDATE bank_accounts SET currency_code = 'EUR' WHERE account_id = 'bob'", "currency_code of"),
    (
        "UPDATE bank_accounts SET details = (SELECT details FROM bank_accounts \
         WHERE account_id = 'alice') WHERE account_id = 'bob'",
        "bank_accounts: account bob of record 2 is another than its records say",
    ),
    ("UPDATE bank_accounts SET number = 99 WHERE account_id = 'bob'", "number of account bob"),
    (
        "DELETE FROM bank_accounts WHERE account_id = 'bob'",
        "bank_accounts: account bob of record 2 is not there",
    ),
    ("DELETE FROM bank_accounts WHERE account_id = 'carol'", "account carol of record 10 is not"),
    (
        "INSERT INTO bank_accounts SELECT 99, 'aaron', currency_code, state, posted, held, \
         overdraft_limit, version, floor, details FROM bank_accounts WHERE account_id = 'alice'",
        "bank_accounts: no record has opened \"aaron\"",
    ),
    (
        "INSERT INTO bank_accounts SELECT 99, 'zoe', currency_code, state, posted, held, \
         overdraft_limit, version, floor, details FROM bank_accounts WHERE account_id = 'alice'",
        "bank_accounts: no record has opened \"zoe\"",
    ),
    ("DELETE FROM bank_records WHERE sequence = 4", "record 4 is damaged: it is not there"),
    ("DELETE FROM bank_records WHERE sequence = 15", "record 15 is damaged: it is not there"),
    ("DELETE FROM bank_records WHERE sequence > 11", "record 12 is damaged: it is not there"),
    ("TRUNCATE bank_records", "record 1 is damaged: it is not there"),
    (
        "UPDATE bank_records AS a SET record = b.record, checksum = b.checksum \
         FROM bank_records AS b WHERE (a.sequence, b.sequence) IN ((4, 5), (5, 4))",
        "record 4 is damaged: another record stands in its place",
    ),
    (
        "UPDATE bank_records SET sequence = 99 WHERE sequence = 4; \
         UPDATE bank_records SET sequence = 4 WHERE sequence = 5; \
         UPDATE bank_records SET sequence = 5 WHERE sequence = 99",
        "record 4 is damaged: another record stands in its place",
    ),
    (
        "UPDATE bank_records SET record = set_byte(record, 12, get_byte(record, 12) # 1) \
         WHERE sequence = 4",
        "record 4 is damaged: ",
    ),
    ("UPDATE bank_records SET record = '' WHERE sequence = 7", "record 7 is damaged: "),
    (
        "UPDATE bank_records SET checksum = checksum + 1 WHERE sequence = 5",
        "record 5 is damaged: it does not match its checksum",
    ),
    (
        "INSERT INTO bank_records SELECT 16, time_us, NULL, kind, debit, credit, record, checksum \
         FROM bank_records WHERE sequence = 15",
        "record 16 is damaged: another record stands in its place",
    ),
    (
        "UPDATE bank_records SET request_id = NULL WHERE sequence = 4",
        "record 4 is damaged: its row says something else",
    ),
    (
        "UPDATE bank_records SET request_id = 'r99' WHERE sequence = 5",
        "record 5 is damaged: its row",
    ),
    ("UPDATE bank_records SET time_us = time_us - 1 WHERE sequence = 6", "record 6 is damaged"),
    ("UPDATE bank_records SET kind = 1 WHERE sequence = 7", "record 7 is damaged: its row"),
    ("UPDATE bank_records SET kind = NULL WHERE sequence = 8", "record 8 is damaged: its row"),
    ("UPDATE bank_records SET debit = credit WHERE sequence = 14", "record 14 is damaged: its row"),
    (
        "UPDATE bank_records SET credit = NULL, credit_before = NULL WHERE sequence = 3",
        "record 3 is damaged: its row",
    ),
    (
        "UPDATE bank_records SET debit_before = 0 WHERE sequence = 14",
        "record 14 is damaged: its row",
    ),
    (
        "UPDATE bank_records SET credit_before = 1 WHERE sequence = 3",
        "record 3 is damaged: its row",
    ),
    ("UPDATE bank_holds SET amount = 41 WHERE placed = 6", "amount of the hold of record 6 is 41"),
    ("UPDATE bank_holds SET state = 1 WHERE placed = 6", "state of the hold of record 6 is 1"),
    ("UPDATE bank_holds SET state = 4 WHERE placed = 12", "state of the hold of record 12 is 4"),
    (
        "UPDATE bank_holds SET expire_us = expire_us + 1 WHERE placed = 12",
        "expire_us of the hold of",
    ),
    (
        "UPDATE bank_holds SET hold = (SELECT hold FROM bank_holds WHERE placed = 11) \
         WHERE placed = 12",
        "bank_holds: the hold of record 12 is another than its records say",
    ),
    ("UPDATE bank_holds SET credit = debit WHERE placed = 12", "credit of the hold of record 12"),
    ("DELETE FROM bank_holds WHERE placed = 11", "bank_holds: the hold of record 11 is not there"),
    ("UPDATE bank_holds SET placed = 13 WHERE placed = 12", "record 13 has placed no hold"),
    ("UPDATE bank_reversals SET total = 299", "bank_reversals: record 8 has moved 300 of record 4"),
    ("DELETE FROM bank_reversals", "bank_reversals: it is not what"),
    (
        "UPDATE bank_currencies SET accounts_posted = accounts_posted + 1, \
         external_posted = external_posted - 1",
        "bank_currencies: accounts_posted of USD is",
    ),
    (
        "UPDATE bank_currencies SET transaction_count = transaction_count + 1",
        "bank_currencies: transaction_count of USD is",
    ),
    ("DELETE FROM bank_currencies", "bank_currencies: USD is not there"),
];

/// What is done to the head row.
const HEADS: [(&str, &str); 5] = [
    ("UPDATE bank_head SET sequence = 14", "record 15 is damaged: it is not the newest record"),
    ("UPDATE bank_head SET sequence = 16", "record 16 is damaged: it is not there"),
    (
        "UPDATE bank_head SET hash = decode(repeat('00', 32), 'hex')",
        "record 15 is damaged: it is not",
    ),
    ("UPDATE bank_head SET time_us = 0", "bank_head: its time is before that of the newest record"),
    (
        "UPDATE bank_head SET ledger_id = 7",
        "record 1 is damaged: it does not fit the record before it",
    ),
];

// Connections are closed in the background, while the test waits for SQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_changed_in_a_database_is_found() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let database = rich_books(&cluster, &clock).await;
    let (head, transactions) = verify(&cluster.url(&database), None).await.expect("all is right");
    assert_eq!((head.sequence, transactions), (Sequence::new(15), 6));
    let each = |sql: &dyn Fn(&str) -> String| TABLES.map(sql).join(";");
    let save = each(&|table| format!("CREATE TABLE saved.{table} AS SELECT * FROM {table}"));
    let save = format!("CREATE SCHEMA saved; {save}");
    let refill = each(&|table| format!("INSERT INTO {table} SELECT * FROM saved.{table}"));
    let restore = format!("TRUNCATE {}; {refill};", TABLES.join(", "));
    cluster.sql(&database, &save);
    let url = cluster.url(&database);
    for (change, phrase) in CHANGES.iter().chain(&HEADS) {
        cluster.sql(&database, &format!("{restore} {change}"));
        let wrong = verify(&url, None).await.expect_err(change).to_string();
        assert!(wrong.contains(phrase), "{change}\nnot {phrase}: {wrong}");
    }

    // A record that is changed with its checksum is given away by the one after it.
    cluster.sql(&database, &restore);
    let hex =
        cluster.sql(&database, "SELECT encode(record, 'hex') FROM bank_records WHERE sequence = 4");
    let mut record = data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("it is one");
    let place = record.windows(4).position(|it| it == b"rent").expect("it says rent");
    record[place + 3] = b'd';
    let checksum = blake3::hash(&record).as_bytes().first_chunk().copied();
    let checksum = i64::from_le_bytes(checksum.expect("it has 32 bytes"));
    let hex = data_encoding::HEXLOWER.encode(&record);
    cluster.sql(
        &database,
        &format!(
            "UPDATE bank_records SET record = '\\x{hex}', checksum = {checksum} WHERE sequence = 4"
        ),
    );
    let wrong = verify(&url, None).await.expect_err("it is found").to_string();
    assert_eq!(wrong, "record 5 is damaged: it does not fit the record before it");

    // Other books than those that were noted down.
    cluster.sql(&database, &restore);
    verify(&url, Some(head)).await.expect("it is the same");
    let other = ChainHash::parse(&"0".repeat(64)).expect("it is a hash");
    for (sequence, record) in [(15, 15), (4, 4), (99, 16)] {
        let noted = Head { sequence: Sequence::new(sequence), hash: other };
        let wrong = verify(&url, Some(noted)).await.expect_err("it is found").to_string();
        assert!(wrong.contains(&format!("record {record} is damaged")), "{wrong}");
    }
}

/// Books are checked again and again while two banks write to them, and are right at every look.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_check_is_of_one_moment_while_banks_write() {
    const ROUNDS: u64 = 4;
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let stores = [postgres_store(&url, &clock).await, postgres_store(&url, &clock).await];
    let stores = stores.map(Arc::new);
    for command in [open("alice", 1_000_000), open("bob", 0)] {
        stores[0].execute(plain(command)).await.expect("it answers").expect("it is opened");
    }
    let is_done = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for store in stores {
        let is_done = is_done.clone();
        writers.spawn(async move {
            let mut count = 0;
            while !is_done.load(Ordering::SeqCst) {
                let each = (0..100).map(|number| {
                    plain(match number % 10 {
                        0 => set_aside("alice", "bob", 1),
                        _ => pay("alice", "bob", 1),
                    })
                });
                let answers = store.execute_each(each.collect()).await.expect("it answers");
                count += answers.into_iter().flatten().count();
            }
            count
        });
    }
    let mut last = 0;
    for _ in 0..ROUNDS {
        let (head, _) = verify(&url, None).await.expect("all is right");
        // The next look is at books that have grown by several pages.
        let enough = head.sequence.number() + 2500;
        let archive = DatabaseArchive::open(&settings(&url)).await.expect("it can be opened");
        while archive.head().await.expect("it answers").sequence.number() < enough {
            tokio::task::yield_now().await;
        }
        assert!(head.sequence.number() > last);
        last = head.sequence.number();
    }
    is_done.store(true, Ordering::SeqCst);
    let written: usize = writers.join_all().await.into_iter().sum();
    let (head, transactions) = verify(&url, None).await.expect("all is right");
    assert_eq!(head.sequence.number(), 2 + written as u64);
    assert_eq!(transactions, 1 + (written - written / 10) as u64);
}

#[tokio::test]
async fn people_check_a_database() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let database = rich_books(&cluster, &clock).await;
    let url = cluster.url(&database);
    let folder = crate::support::quick_folder();
    let file = folder.path().join("url");
    std::fs::write(&file, format!("{url}\n")).expect("it can be written");
    let file = file.to_str().expect("its name is UTF-8");

    let head = run(&mut bank(&["head", "--database-url", &url]));
    assert_eq!(head.status.code(), Some(0));
    let head = String::from_utf8(head.stdout).expect("it is UTF-8");
    let noted = head.split_whitespace().last().expect("it ends with the head");
    assert!(head.contains(&format!("{:016x}", LEDGER.number())) && noted.starts_with("15:"));

    let checked = run(&mut bank(&["verify", "--database-url-file", file, "--head", noted]));
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
    let told = String::from_utf8(checked.stdout).expect("it is UTF-8");
    assert!(told.contains(noted) && told.contains("transactions  6"), "{told}");

    cluster.sql(&database, "UPDATE bank_accounts SET posted = 0 WHERE account_id = 'alice'");
    let wrong = run(bank(&["verify"]).env("BANK_DATABASE_URL", &url));
    assert_eq!(wrong.status.code(), Some(1));
    let port = cluster.port;
    assert_eq!(
        String::from_utf8_lossy(&wrong.stderr),
        format!(
            "bank: postgres://postgres@127.0.0.1:{port}/{database}: bank_accounts: posted of \
             account alice of record 1 is 0, and should be 2220\n"
        )
    );
    for (arguments, phrase) in [
        (vec!["verify"], "FILE"),
        (vec!["head", "x.db", "--database-url", &url], "cannot be used with"),
        (vec!["verify", "--database-url", "nonsense"], "must be a URL"),
    ] {
        let output = run(&mut bank(&arguments));
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(phrase), "{text}");
    }
}
