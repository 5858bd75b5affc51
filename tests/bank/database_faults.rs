//! What may go wrong between banks and their database at one certain moment: each test brings that moment
//! about, by locks of its own.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bank::grpc::proto;
use bank::ledger::LedgerId;
use bank::store::{DatabaseArchive, Error, PostgresStore, Store};
use rustix::process::Signal;

use crate::postgres::check_tables;
use crate::support::cluster::{
    Cluster, database_of, named_store, posted, postgres_store, settings,
};
use crate::support::commands::{account, named, open, plain, put};
use crate::support::own_book::client;
use crate::support::process::{Running, bank};
use crate::support::{ManualClock, create, deposit};

type Books = Arc<PostgresStore<ManualClock>>;

const LONG: Duration = Duration::from_secs(600);

/// Whoever comes while a group stands before the lock belongs to the next one, all together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_become_one_group() {
    const MANY: u64 = 50;
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let store = named_store(&url, "patient", LONG, &clock).await;
    store.execute(plain(open("alice", 0))).await.expect("it answers").expect("it is opened");
    let groups = || {
        let seen = store.writing().expect("it tells").group_sizes.observed();
        (seen.count(), seen.sum)
    };
    let (count, sum) = groups();
    let gate = cluster.connect(database_of(&url)).await;
    gate.batch_execute("BEGIN; SELECT FROM bank_head FOR UPDATE").await.expect("it is free");
    let deposit = || {
        let store = store.clone();
        tokio::spawn(async move { store.execute(plain(put("alice", 1))).await })
    };
    let mut waiting = vec![deposit()];
    cluster.until_blocked("patient").await;
    waiting.extend((0..MANY).map(|_| deposit()));
    while store.figures().await.expect("it answers").undurable <= MANY {}
    gate.batch_execute("COMMIT").await.expect("it is held");
    for one in waiting {
        one.await.expect("no panic").expect("it answers").expect("not refused");
    }
    assert_eq!(groups(), (count + 2, sum + MANY + 1));
}

/// A commit is lost, and in its place another bank writes the very same, at the same time, since both their
/// clocks are behind. Each of the two deposits is done, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_commit_is_not_taken_for_another_that_says_the_same() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let database = database_of(&url);
    let first = named_store(&url, "first", LONG, &clock).await;
    let second = named_store(&url, "second", LONG, &clock).await;
    first.execute(plain(open("alice", 0))).await.expect("it answers").expect("it is opened");
    cluster.sql(
        database,
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF current_setting('application_name') = 'first' THEN \
         PERFORM pg_advisory_xact_lock(1); END IF; RETURN NULL; END $$; \
         CREATE TRIGGER wait AFTER INSERT ON bank_records EXECUTE FUNCTION wait()",
    );
    let gate = cluster.connect(database).await;
    gate.execute("SELECT pg_advisory_lock(1)", &[]).await.expect("it is free");

    let deposit = |store: &Books| {
        let store = store.clone();
        tokio::spawn(async move { store.execute(plain(put("alice", 5))).await })
    };
    let lost = deposit(&first);
    cluster.until_blocked("first").await;
    let other = deposit(&second);
    cluster.until_blocked("second").await;
    cluster.sql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name = 'first' AND wait_event_type = 'Lock'",
    );
    let other = other.await.expect("no panic").expect("it answers").expect("not refused");
    gate.execute("SELECT pg_advisory_unlock(1)", &[]).await.expect("it is held");
    let lost = lost.await.expect("no panic").expect("it answers").expect("not refused");
    assert_ne!(lost.record.sequence, other.record.sequence);
    assert_eq!(posted(&first, "alice").await, 10);
    check_tables(&cluster, &url);
}

/// A bank stands still in the middle of a transaction, and its connection stays open, as when its machine has
/// gone without a word. The others wait for as long as a transaction may take, and go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bank_that_has_gone_without_a_word_holds_up_nobody_for_ever() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let database = database_of(&url);
    let other = named_store(&url, "other", LONG, &clock).await;
    let named = format!("{url}?application_name=gone");
    let mut command = bank(&["serve", "--listen", "127.0.0.1:0", "--database-url", &named]);
    let gone = Running::start(command.args(["--database-timeout", "5s"]).stdin(Stdio::null()));
    let mut calls = client(&gone).await;
    calls.create_account(create("alice", "USD")).await.expect("it opens");

    let mut gate = cluster.connect(database).await;
    let lock = gate.transaction().await.expect("it begins");
    lock.batch_execute("LOCK TABLE bank_accounts").await.expect("it is free");
    let request =
        proto::DepositRequest { request_id: "d".to_owned(), ..deposit("alice", 1, "USD") };
    let call = tokio::spawn(async move { (calls.deposit(request.clone()).await, calls, request) });
    cluster.until_blocked("gone").await;
    gone.stop();
    lock.rollback().await.expect("it ends");
    cluster
        .until(
            "postgres",
            "SELECT count(*) FROM pg_stat_activity \
             WHERE application_name = 'gone' AND state = 'idle in transaction'",
            "1",
        )
        .await;

    let paid = other.execute(plain(put("alice", 10))).await;
    paid.expect("it is done in the end").expect("not refused");
    gone.signal(Signal::CONT);
    let (_, mut calls, request) = call.await.expect("no panic");
    // Whatever it was told: the same again is done once.
    while calls.deposit(request.clone()).await.is_err() {}
    assert_eq!(posted(&other, "alice").await, 11);
    check_tables(&cluster, &url);
}

/// What waits for a standby is not acknowledged while that is away, however long a transaction may take.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_acknowledged_that_a_standby_does_not_have() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let store = named_store(&url, "bank", Duration::from_millis(700), &clock).await;
    store.execute(plain(open("alice", 0))).await.expect("it answers").expect("it is opened");
    let set = async |names: &str| {
        cluster.sql("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"));
        cluster.sql("postgres", "SELECT pg_reload_conf()");
        cluster.until("postgres", "SHOW synchronous_standby_names", names).await;
    };
    set("nobody").await;
    for _ in 0..3 {
        let told = store.execute(named("d", put("alice", 5))).await;
        assert_eq!(told, Err(Error::Unreachable));
    }
    set("").await;
    let told = loop {
        // The one that has waited all along may still be in the way.
        match store.execute(named("d", put("alice", 5))).await {
            Ok(told) => break told,
            Err(error) => assert_eq!(error, Error::Unreachable),
        }
    };
    assert!(told.is_ok());
    assert_eq!(posted(&store, "alice").await, 5);
}

/// Reads that take long are no sign that the engine has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_connections_are_no_outage() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let mut how = settings(&url);
    how.connections = 1;
    how.timeout = Duration::from_secs(2);
    let store = PostgresStore::open(&how, clock).await.expect("it can be opened");
    store.execute(plain(open("alice", 0))).await.expect("it answers").expect("it is opened");
    let mut gate = cluster.connect(database_of(&url)).await;
    let lock = gate.transaction().await.expect("it begins");
    lock.batch_execute("LOCK TABLE bank_accounts").await.expect("it is free");
    let late = store.account(&account("alice")).await;
    assert_eq!(late, Err(Error::Unreachable), "it has taken too long");
    let reachable = store.reachable().expect("it depends on the engine");
    assert!(!reachable.has_changed().expect("it is told of") && *reachable.borrow());
    lock.rollback().await.expect("it ends");
    store.account(&account("alice")).await.expect("it answers").expect("she is there");
}

/// A role that may read and not write: writes fail, nothing is half done, reads go on; and so do writes once
/// it may, without a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_write_reads() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let database = database_of(&url);
    let owner = postgres_store(&url, &clock).await;
    owner.execute(plain(open("alice", 100))).await.expect("it answers").expect("it is opened");
    cluster.sql(
        database,
        "CREATE ROLE teller LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO teller; \
         GRANT UPDATE ON bank_head TO teller",
    );
    let teller = url.replace("postgres@", "teller@");
    let store = named_store(&teller, "teller", LONG, &clock).await;
    let told = store.execute(named("d", put("alice", 5))).await;
    assert_eq!(told, Err(Error::Unreachable));
    assert_eq!(posted(&store, "alice").await, 100);
    cluster.sql(
        database,
        "GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO teller; \
         REVOKE INSERT, UPDATE ON bank_schema FROM teller",
    );
    let told = store.execute(named("d", put("alice", 5))).await.expect("it answers");
    assert!(!told.expect("not refused").replayed);
    assert_eq!(posted(&store, "alice").await, 105);
    check_tables(&cluster, &url);
}

/// The tables are filled with another ledger's while a bank runs: it writes nothing into that, and shows
/// nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_ledger_in_the_same_tables_is_left_alone() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let database = database_of(&url);
    let store = named_store(&url, "bank", LONG, &clock).await;
    store.execute(plain(open("alice", 100))).await.expect("it answers").expect("it is opened");
    cluster.sql(database, "UPDATE bank_head SET ledger_id = ledger_id + 1");
    let told = store.execute(plain(put("alice", 5))).await;
    assert_eq!(told, Err(Error::Unreachable));
    let mut reachable = store.reachable().expect("it depends on the engine");
    reachable.wait_for(|is_reachable| !*is_reachable).await.expect("it is told of");
    assert_eq!(store.account(&account("alice")).await, Err(Error::Unreachable));
    let archive = DatabaseArchive::open(&settings(&url)).await.expect("it can be opened");
    assert_eq!(archive.ledger_id(), LedgerId::new(store.ledger_id().number() + 1));
    assert_eq!(archive.head().await.expect("it answers").sequence.number(), 1);
    cluster.sql(database, "UPDATE bank_head SET ledger_id = ledger_id - 1");
    reachable.wait_for(|is_reachable| *is_reachable).await.expect("it is told of");
    store.execute(plain(put("alice", 5))).await.expect("it answers").expect("not refused");
}

/// Two processes, and nothing between them but the database: who watches at the one hears at once of what
/// was done at the other, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_at_one_process_sees_what_another_does() {
    let cluster = Cluster::start();
    let url = cluster.new_books().await;
    let serve = || {
        let mut command = bank(&["serve", "--listen", "127.0.0.1:0", "--database-url", &url]);
        Running::start(command.stdin(Stdio::null()))
    };
    let (doing, watching) = (serve(), serve());
    let (mut doer, mut watcher) = (client(&doing).await, client(&watching).await);
    doer.create_account(create("alice", "USD")).await.expect("it opens");
    let request =
        proto::WatchTransactionsRequest { account_id: "alice".to_owned(), ..Default::default() };
    let feed = watcher.watch_transactions(request).await.expect("she is there");
    let mut feed = feed.into_inner();
    for amount in 1..=20 {
        let made = doer.deposit(deposit("alice", amount, "USD")).await.expect("it is done");
        let made = made.into_inner().transaction.expect("it has one");
        let seen = loop {
            let message = feed.message().await.expect("it goes on").expect("it has no end");
            if let Some(transaction) = message.transaction {
                break transaction;
            }
        };
        assert_eq!((seen.transaction_id, seen.amount), (made.transaction_id, made.amount));
    }
}
