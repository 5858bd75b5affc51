//! The store over PostgreSQL where something goes wrong, and where several processes work on the same books.
//! The rules themselves are run on it by `cases.rs` and `properties.rs`.

use std::collections::HashSet;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bank::grpc::proto;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::ledger::{Command, Description, HoldState, OverdraftLimit, Refusal};
use bank::store::{
    EngineSettings, Error, PostgresStore, RecordKey, SchemaError, Store, TransactionQuery, migrate,
};
use rustix::process::Signal;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::cluster::{Cluster, apply, database_of, posted, postgres_store, settings};
use crate::support::commands::{account, first_page, named, open, pay, plain, put, set_aside};
use crate::support::own_book::{
    OwnBook, check_acknowledged, check_totals, check_whole_ledger, client, open_accounts,
    pay_until, settle,
};
use crate::support::postgresql::{as_postgres, free_port, hand_over};
use crate::support::process::{Running, bank, run};
use crate::support::proxy::{BreakingProxy, Cut};
use crate::support::{Details, LEDGER, ManualClock, deposit, quick_folder};

type Books = PostgresStore<ManualClock>;

/// New books, and a process over them: alice has so much, and bob nothing.
async fn books_of_two(clock: &ManualClock, alice: i64) -> (Cluster, String, Books) {
    let cluster = Cluster::start();
    let url = cluster.new_books().await;
    let store = postgres_store(&url, clock).await;
    apply(&store, open("alice", alice)).await;
    apply(&store, open("bob", 0)).await;
    (cluster, url, store)
}

/// Two processes, one request id sent to both by many: it takes effect once, and all are told the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_request_id_sent_to_two_processes_takes_effect_once() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let stores = [
        Arc::new(postgres_store(&url, &clock).await),
        Arc::new(postgres_store(&url, &clock).await),
    ];
    apply(&stores[0], open("alice", 1000)).await;
    apply(&stores[1], open("bob", 0)).await;
    for round in 0..20 {
        let mut tasks = JoinSet::new();
        for caller in 0..32 {
            let store = stores[caller % 2].clone();
            tasks.spawn(async move {
                let request = named(&format!("round-{round}"), pay("alice", "bob", 10));
                store.execute(request).await.expect("it answers").expect("it is not refused")
            });
        }
        let answers = tasks.join_all().await;
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
        let sequences: HashSet<_> = answers.iter().map(|answer| answer.record.sequence).collect();
        assert_eq!(sequences.len(), 1, "all have the same answer");
    }
    assert_eq!((posted(&stores[1], "alice").await, posted(&stores[0], "bob").await), (800, 200));
}

/// A process remembers how its last group left the accounts. Whatever another one has done since counts all the same,
/// and so does what its own group before did while the next one was made up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_done_since_counts_whoever_did_it() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let mine = Arc::new(postgres_store(&url, &clock).await);
    let other = postgres_store(&url, &clock).await;
    apply(&mine, open("alice", 1000)).await;
    apply(&mine, open("bob", 0)).await;
    let refused = async |command| {
        let answer = mine.execute(plain(command)).await.expect("it answers");
        answer.expect_err("what the other did is known")
    };
    // So often that it relies on being alone.
    let be_alone = async || {
        for _ in 0..3 {
            apply(&mine, pay("alice", "bob", 1)).await;
        }
    };

    be_alone().await;
    apply(&other, pay("alice", "bob", 900)).await;
    assert!(matches!(
        refused(pay("alice", "bob", 98)).await,
        Refusal::InsufficientFunds { available: 97, .. }
    ));
    be_alone().await;
    apply(&other, set_aside("alice", "bob", 90)).await;
    assert!(matches!(
        refused(pay("alice", "bob", 5)).await,
        Refusal::InsufficientFunds { available: 4, .. }
    ));
    be_alone().await;
    let first = other.execute(named("deposit", put("alice", 50))).await.expect("it answers");
    let again = mine.execute(named("deposit", put("alice", 50))).await.expect("it answers");
    let (first, again) = (first.expect("it is not refused"), again.expect("it is not refused"));
    assert!(again.replayed && again.record == first.record);
    be_alone().await;
    let reason = Description::parse("a closer look").expect("it is one");
    apply(&other, Command::FreezeAccount { account_id: account("bob"), reason }).await;
    assert!(matches!(refused(pay("alice", "bob", 1)).await, Refusal::AccountFrozen { .. }));
    // 1000, less 900 and 4 times 3, and 50 more; the other side's share is checked by the tables.
    assert_eq!((posted(&mine, "alice").await, posted(&other, "bob").await), (138, 912));

    for round in 0..20 {
        let calls = (0..32).map(|_| {
            let mine = mine.clone();
            async move {
                let request = named(&format!("round-{round}"), put("alice", 1));
                mine.execute(request).await.expect("it answers").expect("it is not refused")
            }
        });
        let answers = calls.collect::<JoinSet<_>>().join_all().await;
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    }
    assert_eq!(posted(&other, "alice").await, 158);
    check_tables(&cluster, &url);
}

/// Two processes spend the same money in all directions, the last of it too, while others read.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_conserve_the_total_at_every_look() {
    const ACCOUNTS: [&str; 4] = ["a", "b", "c", "d"];
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let stores = [
        Arc::new(postgres_store(&url, &clock).await),
        Arc::new(postgres_store(&url, &clock).await),
    ];
    for id in ACCOUNTS {
        apply(&stores[0], open(id, 100)).await;
    }
    let is_done = Arc::new(AtomicBool::new(false));
    let looking = {
        let (store, is_done) = (stores[1].clone(), is_done.clone());
        tokio::spawn(async move {
            let mut looks = 0;
            while !is_done.load(Ordering::SeqCst) || looks == 0 {
                let query = bank::store::AccountQuery {
                    currency: None,
                    state: None,
                    id_prefix: String::new(),
                    after: None,
                    page_size: 100,
                };
                let page = store.accounts(&query).await.expect("it answers");
                let sum: i64 = page.accounts.iter().map(|view| view.account.balance.posted).sum();
                assert_eq!(sum, 0, "with the outside world's");
                assert!(
                    page.accounts.iter().all(|view| view.account.id.is_external()
                        || view.account.balance.available() >= 0)
                );
                let totals = store.totals(None).await.expect("it answers");
                assert_eq!(totals[0].1.accounts_posted, 400);
                looks += 1;
            }
        })
    };
    let mut payers = JoinSet::new();
    for payer in 0..16_usize {
        let store = stores[payer % 2].clone();
        payers.spawn(async move {
            let mut random = fastrand::Rng::with_seed(payer as u64);
            let mut refused = 0;
            for _ in 0..100 {
                let from = random.usize(0..4);
                let to = (from + random.usize(1..4)) % 4;
                let payment = pay(ACCOUNTS[from], ACCOUNTS[to], random.i64(1..150));
                match store.execute(plain(payment)).await.expect("it answers") {
                    Ok(_) => {}
                    Err(Refusal::InsufficientFunds { .. }) => refused += 1,
                    Err(other) => panic!("{other:?}"),
                }
            }
            refused
        });
    }
    let refused: u64 = payers.join_all().await.into_iter().sum();
    is_done.store(true, Ordering::SeqCst);
    looking.await.expect("every look was right");
    let totals = stores[0].totals(None).await.expect("it answers");
    assert_eq!(totals[0].1.transaction_count, 4 + 1600 - refused);
    assert!(refused > 0, "somebody wanted more than there was");
    check_tables(&cluster, &url);
}

/// Whether the tables say what the records say.
pub(crate) fn check_tables(cluster: &Cluster, url: &str) {
    let verified = run(&mut bank(&["verify", "--database-url", url]));
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let database = database_of(url);
    let wrong = cluster.sql(
        database,
        "SELECT count(*) FROM bank_accounts AS a WHERE version <> \
         (SELECT count(*) FROM bank_records WHERE debit = a.number OR credit = a.number)",
    );
    assert_eq!(wrong, "0", "every entry is counted once");
    let gaps = cluster.sql(
        database,
        "SELECT (SELECT count(*) FROM bank_records) - (SELECT sequence FROM bank_head)",
    );
    assert_eq!(gaps, "0", "sequences have no gaps");
    let back = cluster.sql(
        database,
        "SELECT count(*) FROM bank_records AS r JOIN bank_records AS next \
         ON next.sequence = r.sequence + 1 WHERE next.time_us <= r.time_us",
    );
    assert_eq!(back, "0", "time never runs back");
}

/// A hold that one process has seen to be over is over for a process whose clock is behind, and time never
/// runs back.
#[tokio::test]
async fn clocks_that_differ_do_no_harm() {
    let cluster = Cluster::start();
    let url = cluster.new_books().await;
    let (ahead, behind) = (ManualClock::new(), ManualClock::new());
    let (early, late) = (postgres_store(&url, &ahead).await, postgres_store(&url, &behind).await);
    apply(&late, open("alice", 100)).await;
    apply(&late, open("bob", 0)).await;
    let hold = |executed: bank::store::Executed| match executed.record.outcome {
        Ok(bank::ledger::Change::HoldPlaced { hold, .. }) => {
            bank::ledger::HoldId::new(LEDGER, hold.placed)
        }
        other => panic!("{other:?}"),
    };
    let placed = late.execute(plain(set_aside("alice", "bob", 60))).await.expect("it answers");
    let first = hold(placed.expect("there is enough"));

    // A second later by one clock, which is not the other's.
    ahead.set(1_500_000);
    let seen = early.hold(&first).await.expect("it answers").expect("it is there");
    assert_eq!(seen.state, HoldState::Expired);
    let capture = plain(Command::CaptureHold { hold_id: first.clone(), amount: None });
    let refused = late.execute(capture).await.expect("it answers").expect_err("it is over");
    assert!(matches!(refused, Refusal::HoldNotActive { .. }), "{refused:?}");
    let seen = late.hold(&first).await.expect("it answers").expect("it is there");
    assert_eq!(seen.state, HoldState::Expired);
    let view = late.account(&account("alice")).await.expect("it answers").expect("it is there");
    assert_eq!(view.account.balance.held, 0);
    let spent = late.execute(plain(pay("alice", "bob", 100))).await.expect("it answers");
    assert!(spent.is_ok(), "all of it is free again");
    check_tables(&cluster, &url);
}

/// Holds that have expired are taken off their accounts' sums by whoever comes by, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_holds_are_swept_once() {
    let clock = ManualClock::new();
    let (cluster, url, store) = books_of_two(&clock, 10_000).await;
    let database = database_of(&url);
    let many = (0..700).map(|_| plain(set_aside("alice", "bob", 10))).collect();
    let placed = store.execute_each(many).await.expect("it answers");
    assert!(placed.iter().all(Result::is_ok));
    clock.set(2_000_000);
    let others = [postgres_store(&url, &clock).await, postgres_store(&url, &clock).await];
    let view = store.account(&account("alice")).await.expect("it answers").expect("it is there");
    assert_eq!((view.account.balance.held, view.account.balance.available()), (0, 10_000));
    cluster.until(database, "SELECT count(*) FROM bank_holds WHERE state = 1", "0").await;
    drop(others);
    let held = cluster.sql(database, "SELECT held FROM bank_accounts WHERE account_id = 'alice'");
    assert_eq!(held, "0");
    let view = store.account(&account("alice")).await.expect("it answers").expect("it is there");
    assert_eq!(view.account.balance.held, 0);
}

/// A transaction made by one process reaches those who watch at another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_hear_of_what_another_process_did() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let (writer, reader) = (postgres_store(&url, &clock).await, postgres_store(&url, &clock).await);
    for id in ["alice", "bob", "carol"] {
        apply(&writer, open(id, 100)).await;
    }
    let bob = account("bob");
    for number in 1..=5 {
        let of_bob = reader.changes(Some(&bob)).await.expect("it answers").expect("he is there");
        let of_all = reader.changes(None).await.expect("it answers").expect("always");
        let (bobs, all) = (of_bob.next(), of_all.next());
        tokio::pin!(bobs, all);
        bobs.as_mut().enable();
        all.as_mut().enable();
        apply(&writer, pay("alice", "bob", number)).await;
        bobs.await;
        all.await;
        let query = TransactionQuery { page_size: 1, ..first_page(Some("bob")) };
        let page = reader.transactions(&query).await.expect("it answers").expect("he is there");
        let moved = page.records[0].record.posting().expect("it moved money").movement.amount;
        assert_eq!(moved.minor_units(), number);
    }
    let nobody = reader.changes(Some(&account("nobody"))).await.expect("it answers");
    assert!(matches!(nobody, Err(Refusal::AccountNotFound { .. })));
}

fn serve(url: &str) -> Running {
    let mut command = bank(&["serve", "--listen", "127.0.0.1:0", "--database-url", url]);
    Running::start(command.args(["--log-level", "off,bank::cli=info"]).stdin(Stdio::null()))
}

/// Two processes under load; one of them is killed and PostgreSQL crashes, again and again. Everything that
/// was acknowledged is there, once; the rest is there whole or not at all, and takes effect once.
#[test]
fn killed_processes_and_a_crashed_engine_lose_and_double_nothing() {
    let seed = fastrand::u64(..);
    println!("seed {seed:#x}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut cluster = Cluster::start();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let url = runtime.block_on(cluster.new_books());
    let mut all = OwnBook::default();
    for round in 0..6 {
        let (mut first, second) = (serve(&url), serve(&url));
        let enough = random.u64(50..1500);
        let mut book = runtime.block_on(async {
            let mut clients = [client(&first).await, client(&second).await];
            if round == 0 {
                open_accounts(&mut clients[0]).await;
            }
            let crash = async || {
                first.kill_now();
                cluster.crash();
            };
            pay_until(&clients, enough, &mut random, crash).await
        });
        cluster.restart();
        // The one that lived on goes on by itself.
        runtime.block_on(async {
            let mut client = client(&second).await;
            check_acknowledged(&mut client, &book.acknowledged).await;
            let settled = settle(&mut client, std::mem::take(&mut book.unknown)).await;
            all.acknowledged.extend(std::mem::take(&mut book.acknowledged));
            all.acknowledged.extend(settled);
            check_totals(&mut client, all.acknowledged.len()).await;
        });
        first.kill();
        second.signal(Signal::TERM);
        assert_eq!(second.end().0, Some(0));
    }
    let running = serve(&url);
    runtime.block_on(async {
        let mut client = client(&running).await;
        check_whole_ledger(&mut client, &all.acknowledged).await;
    });
    check_tables(&cluster, &url);
}

/// A proxy breaks every connection after so many bytes, of the one side or the other: before, within and
/// after COMMIT. A request that was answered was done once, also one without an id; one whose answer was
/// lost was done once or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_anywhere_lose_and_double_nothing() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let direct = postgres_store(&url, &clock).await;
    apply(&direct, open("alice", 1_000_000)).await;
    apply(&direct, open("bob", 0)).await;
    let (mut answered, mut done, mut undone) = (0, 0, 0);
    // A connection prepares its statements first, of which the engine says some 2000 bytes and the bank some
    // 5000; then come a group's own, some hundred each.
    let cuts = (1000..4000).step_by(67).map(Cut::Heard as fn(usize) -> Cut);
    let cuts_sent = (3000..9000).step_by(131).map(Cut::Sent as fn(usize) -> Cut);
    for cut in cuts.chain(cuts_sent) {
        let proxy = BreakingProxy::start(format!("127.0.0.1:{}", cluster.port), cut);
        let database = database_of(&url);
        let broken = format!("postgres://postgres@{}/{database}", proxy.address);
        let store = PostgresStore::open(&settings(&broken), clock.clone()).await;
        let store = store.expect("connections break later");
        proxy.begin();
        let before = posted(&direct, "bob").await;
        let answer = store.execute(plain(pay("alice", "bob", 1))).await;
        drop(store);
        // Whoever locks the head row now knows that whatever was under way has ended.
        apply(&direct, put("bob", 1)).await;
        let came = posted(&direct, "bob").await - before - 1;
        match answer {
            Ok(told) => {
                answered += 1;
                assert_eq!(came, 1, "{cut:?}");
                let sequence = told.expect("there is enough").record.sequence;
                let found = direct.record(&RecordKey::Sequence(sequence)).await;
                assert!(found.expect("it answers").is_some());
            }
            Err(Error::Unreachable) if came == 0 => undone += 1,
            Err(Error::Unreachable) if came == 1 => done += 1,
            other => panic!("{cut:?}: {came} times, {other:?}"),
        }
    }
    println!("{answered} answered, {done} done and {undone} not done without an answer");
    assert!(answered > 0 && undone > 0, "{answered}, {undone}");
    check_tables(&cluster, &url);
}

/// The engine gives up transactions of its own accord, as distributed ones do often: they are run again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_the_engine_gives_up_are_run_again() {
    let (cluster, url, store) = books_of_two(&ManualClock::new(), 1000).await;
    let database = database_of(&url);
    let store = Arc::new(store);
    for code in ["40001", "40P01"] {
        // A sequence is not rolled back, so the count of attempts goes on.
        cluster.sql(
            database,
            &format!(
                "CREATE SEQUENCE IF NOT EXISTS attempts; \
                 CREATE OR REPLACE FUNCTION give_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF nextval('attempts') % 3 <> 0 THEN \
                 RAISE EXCEPTION 'given up' USING ERRCODE = '{code}'; END IF; RETURN NULL; END $$; \
                 DROP TRIGGER IF EXISTS give_up ON bank_records; \
                 CREATE TRIGGER give_up AFTER INSERT ON bank_records EXECUTE FUNCTION give_up()"
            ),
        );
        for number in 0..5 {
            let id = format!("{code}-{number}");
            let paid = store.execute(named(&id, pay("alice", "bob", 1))).await.expect("it answers");
            assert!(!paid.expect("there is enough").replayed);
        }
    }
    let attempts: i64 =
        cluster.sql(database, "SELECT last_value FROM attempts").parse().expect("a number");
    assert_eq!(attempts, 30, "each was run three times");
    assert_eq!(posted(&store, "bob").await, 10);
    check_tables(&cluster, &url);
}

/// What is posted and how far it may be drawn can change together, in one batch, either first: the CHECK of the
/// tables looks at both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_and_a_balance_change_in_one_batch() {
    let (cluster, url, store) = books_of_two(&ManualClock::new(), 100).await;
    let limit = |minor_units| Command::UpdateAccount {
        account_id: account("alice"),
        display_name: None,
        overdraft_limit: Some(OverdraftLimit::new(minor_units).expect("it is not below 0")),
        labels: None,
        etag: None,
    };
    for (batch, balance) in [
        ([limit(500), pay("alice", "bob", 600)], -500),
        ([put("alice", 400), limit(100)], -100),
        ([limit(10), put("alice", 50)], -50),
        ([put("alice", 200), limit(0)], 150),
    ] {
        let requests = batch.map(plain).to_vec();
        let done = store.execute_all(requests).await.expect("the engine takes it");
        done.expect("it is not refused");
        assert_eq!(posted(&store, "alice").await, balance);
    }
    check_tables(&cluster, &url);
}

/// A balance that isn't what a process takes it for is not overwritten: it is read anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_that_was_changed_by_hand_is_read_anew() {
    let (cluster, url, store) = books_of_two(&ManualClock::new(), 1000).await;
    let database = database_of(&url);
    for _ in 0..3 {
        apply(&store, pay("alice", "bob", 1)).await;
    }
    cluster.sql(
        database,
        "UPDATE bank_accounts SET posted = posted - 500, version = version + 1 \
         WHERE account_id = 'alice'",
    );
    apply(&store, pay("alice", "bob", 1)).await;
    assert_eq!((posted(&store, "alice").await, posted(&store, "bob").await), (496, 4));
}

/// One request that the engine won't take does not spoil those that came with it; a full disk is told as such.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_refused_concerns_its_request_alone() {
    let (cluster, url, store) = books_of_two(&ManualClock::new(), 1000).await;
    let database = database_of(&url);
    let store = Arc::new(store);
    cluster.sql(database, "ALTER TABLE bank_records ADD CHECK (request_id <> 'cursed')");
    let mut tasks = JoinSet::new();
    for number in 0..50 {
        let store = store.clone();
        let id = if number == 25 { "cursed".to_owned() } else { format!("fine-{number}") };
        tasks.spawn(
            async move { (number, store.execute(named(&id, pay("alice", "bob", 1))).await) },
        );
    }
    for (number, answer) in tasks.join_all().await {
        match answer {
            Ok(paid) => assert!(number != 25 && paid.is_ok()),
            Err(error) => assert_eq!((number, error), (25, Error::Unreachable)),
        }
    }
    assert_eq!(posted(&store, "bob").await, 49);

    cluster.sql(
        database,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END $$; \
         CREATE TRIGGER full_disk AFTER INSERT ON bank_records EXECUTE FUNCTION full_disk()",
    );
    let answer = store.execute(plain(put("alice", 1))).await;
    assert_eq!(answer, Err(Error::Full));
    assert_eq!(posted(&store, "alice").await, 951, "reads go on");
    cluster.sql(database, "DROP TRIGGER full_disk ON bank_records");
    apply(&store, put("alice", 1)).await;
    check_tables(&cluster, &url);
}

/// The last guard: what the bank would never write, the tables don't take.
#[tokio::test]
async fn the_tables_refuse_what_would_be_wrong() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let database = database_of(&url);
    let store = postgres_store(&url, &clock).await;
    apply(&store, open("alice", 100)).await;
    for wrong in [
        "UPDATE bank_accounts SET posted = -1 WHERE account_id = 'alice'",
        "UPDATE bank_accounts SET held = -1 WHERE account_id = 'alice'",
        "UPDATE bank_currencies SET accounts_posted = accounts_posted + 1",
        // As banks did it before records were on threads.
        "INSERT INTO bank_records (sequence, time_us, kind, debit, credit, record, checksum) \
         SELECT 99, time_us, kind, debit, credit, record, checksum FROM bank_records \
         WHERE kind IS NOT NULL",
        "INSERT INTO bank_records SELECT sequence + 1, time_us, request_id, kind, debit, credit, \
         record, checksum FROM bank_records; INSERT INTO bank_records SELECT * FROM bank_records",
    ] {
        let refused = std::panic::catch_unwind(|| cluster.sql(database, wrong));
        assert!(refused.is_err(), "{wrong}");
    }
    // Money that was drawn before the limit was lowered may stay so, and no more.
    let limit = |limit| Command::UpdateAccount {
        account_id: account("alice"),
        display_name: None,
        overdraft_limit: Some(bank::ledger::OverdraftLimit::new(limit).expect("not below 0")),
        labels: None,
        etag: None,
    };
    apply(&store, open("bob", 0)).await;
    apply(&store, limit(500)).await;
    apply(&store, pay("alice", "bob", 400)).await;
    apply(&store, limit(0)).await;
    apply(&store, put("alice", 10)).await;
    assert_eq!(posted(&store, "alice").await, -290);
    // Books that were altered behind the bank's back are not served.
    cluster.sql(database, "UPDATE bank_records SET record = record || '\\x00' WHERE sequence = 2");
    let key = RecordKey::Sequence(bank::ledger::Sequence::new(2));
    let damaged = store.record(&key).await;
    assert!(matches!(damaged, Err(Error::Damaged { .. })), "{damaged:?}");
}

async fn health(endpoint: &str) -> ServingStatus {
    let endpoint = tonic::transport::Endpoint::from_shared(endpoint.to_owned()).expect("a URL");
    let mut client = HealthClient::new(endpoint.connect().await.expect("it listens"));
    let request = HealthCheckRequest { service: String::new() };
    client.check(request).await.expect("it answers").into_inner().status()
}

/// An engine that is stopped, and one that is gone: UNAVAILABLE, health says so, and both are over when it is
/// back. Nobody has to do anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_engine_that_is_away_is_told_and_waited_for() {
    let mut cluster = Cluster::start();
    let url = cluster.new_books().await;
    let mut command = bank(&["serve", "--listen", "127.0.0.1:0", "--database-url", &url]);
    let running = Running::start(command.args([
        "--database-timeout",
        // Nobody waits as long as that for an engine that doesn't answer.
        "1h",
        "--log-level",
        "off,bank::cli=info",
    ]));
    let mut client = client(&running).await;
    open_accounts(&mut client).await;
    for is_paused in [true, false] {
        if is_paused {
            cluster.signal_all("-STOP");
        } else {
            cluster.crash();
        }
        let request =
            proto::DepositRequest { request_id: format!("{is_paused}"), ..deposit("a0", 5, "USD") };
        let status = client.deposit(request.clone()).await.expect_err("nobody is there");
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        let details = Details::of(&status);
        assert_eq!(details.reason, "STORE_UNAVAILABLE");
        assert!(details.all.retry_info().is_some());
        let read = proto::GetBalanceRequest { account_id: "a0".to_owned(), as_of_time: None };
        let status = client.get_balance(read.clone()).await.expect_err("nobody is there");
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        while health(&running.endpoint()).await == ServingStatus::Serving {
            tokio::task::yield_now().await;
        }
        if is_paused {
            cluster.signal_all("-CONT");
        } else {
            cluster.restart();
        }
        while health(&running.endpoint()).await != ServingStatus::Serving {
            tokio::task::yield_now().await;
        }
        let again = client.deposit(request).await.expect("it is back").into_inner();
        let balance = client.get_balance(read).await.expect("it is back").into_inner();
        let posted = balance.balance.expect("it has one").posted;
        assert_eq!(posted, 1_000_000 + if is_paused { 5 } else { 10 }, "{again:?}");
    }
}

/// Tables that an earlier bank has made are brought up to date, and are then what new ones are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_the_first_version_are_brought_up_to_date() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let made = cluster.new_books().await;
    let new = database_of(&made);
    let old = cluster.new_database();
    let hash = cluster.sql(new, "SELECT encode(hash, 'hex') FROM bank_head");
    cluster.sql(&old, include_str!("../../migrations/0001_books.sql"));
    cluster.sql(
        &old,
        &format!(
            "CREATE TABLE bank_schema \
                 (one SMALLINT PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL); \
             INSERT INTO bank_schema VALUES (1, 1); \
             INSERT INTO bank_head VALUES (1, {}, 0, 0, '\\x{hash}')",
            LEDGER.number().cast_signed(),
        ),
    );
    let url = cluster.url(&old);
    let opened = PostgresStore::open(&settings(&url), clock.clone()).await;
    assert!(matches!(opened, Err(SchemaError::TooOld { found: 1, .. })), "{opened:?}");
    let (found, now) = migrate(&settings(&url), LEDGER).await.expect("it can be done");
    assert_eq!((found, now.to_string()), (1, cluster.sql(new, "SELECT version FROM bank_schema")));
    let indexes = |database: &str| {
        let all = "SELECT string_agg(indexdef, ';' ORDER BY indexname) FROM pg_indexes \
                   WHERE tablename LIKE 'bank_%'";
        cluster.sql(database, all)
    };
    assert_eq!(indexes(&old), indexes(new));
    let store = postgres_store(&url, &clock).await;
    apply(&store, open("alice", 1000)).await;
    assert_eq!(posted(&store, "alice").await, 1000);
}

/// What an operator has got wrong is said at the start, with what to do; a password never is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_at_the_start() {
    let cluster = Cluster::start();
    let url = cluster.new_books().await;
    let database = database_of(&url).to_owned();
    let empty = cluster.url(&cluster.new_database());
    let refused = |url: &str| {
        let output = run(&mut bank(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--database-url",
            url,
            "--log-level",
            "off",
        ]));
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused(&empty).contains("run 'bank migrate' first"));

    cluster.sql(&database, "UPDATE bank_schema SET version = 99");
    assert!(refused(&url).contains("the tables have version 99"));
    assert!(matches!(
        migrate(&settings(&url), LEDGER).await,
        Err(SchemaError::TooNew { found: 99, .. })
    ));
    cluster.sql(&database, "UPDATE bank_schema SET version = 0");
    assert!(refused(&url).contains("the tables have version 0, and this bank needs version 3"));
    cluster.sql(&database, "UPDATE bank_schema SET version = 3");

    cluster.sql(&database, "CREATE ROLE reader LOGIN; GRANT SELECT ON bank_schema TO reader");
    let reader = url.replace("postgres@", "reader@");
    assert!(refused(&reader).contains("permission denied"), "{}", refused(&reader));

    cluster.require_password("guarded");
    cluster.sql(&database, "CREATE ROLE guarded LOGIN PASSWORD 'r1ght'");
    let wrong = url.replace("postgres@", "guarded:wr0ng@");
    let text = refused(&wrong);
    assert!(text.contains("password authentication failed"), "{text}");
    assert!(!text.contains("wr0ng"), "{text}");
    assert!(refused(&cluster.url("nowhere")).contains("does not exist"));

    // Several processes that bring the tables up to date at once do it once.
    let url = empty;
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let settings = settings(&url);
        tasks.spawn(async move { migrate(&settings, LEDGER).await.expect("they can be made") });
    }
    let steps = tasks.join_all().await;
    assert_eq!(steps.iter().filter(|(from, _)| *from == 0).count(), 1, "{steps:?}");
}

/// Through `PgBouncer` in transaction mode, where no two transactions need have the same connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_through_pgbouncer() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let database = database_of(&url);
    let bouncer = Bouncer::start(cluster.port);
    let mut how: EngineSettings =
        settings(&format!("postgres://postgres@127.0.0.1:{}/{database}", bouncer.port));
    how.prepared = false;
    let stores = [
        Arc::new(PostgresStore::open(&how, clock.clone()).await.expect("it can be opened")),
        Arc::new(PostgresStore::open(&how, clock.clone()).await.expect("it can be opened")),
    ];
    apply(&stores[0], open("alice", 1000)).await;
    apply(&stores[1], open("bob", 0)).await;
    let mut tasks = JoinSet::new();
    for number in 0..200_usize {
        let store = stores[number % 2].clone();
        tasks.spawn(async move {
            let paid = named(&format!("p-{}", number / 2), pay("alice", "bob", 1));
            store.execute(paid).await.expect("it answers").expect("there is enough");
            posted(&store, "bob").await
        });
    }
    tasks.join_all().await;
    assert_eq!(posted(&stores[0], "bob").await, 100);
    check_tables(&cluster, &url);
}

/// A `PgBouncer` of the test's own.
struct Bouncer {
    process: std::process::Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Bouncer {
    fn start(server_port: u16) -> Self {
        let folder = quick_folder();
        let port = free_port();
        let path = folder.path().join("pgbouncer.ini");
        // Anybody may come in, as the one whom PostgreSQL trusts.
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={server_port} user=postgres\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 4\n"
        );
        std::fs::write(&path, settings).expect("it can be written");
        hand_over(folder.path());
        let mut command = as_postgres("/usr/sbin/pgbouncer".as_ref());
        let process =
            command.arg(&path).stderr(Stdio::null()).spawn().expect("PgBouncer can be started");
        let bouncer = Self { process, port, _folder: folder };
        let limit = std::time::Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(std::time::Instant::now() < limit, "PgBouncer did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        bouncer
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client that nobody has told of the engine sees the rules' own errors, whatever keeps the books.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bank_over_postgresql_serves_as_any_other() {
    let cluster = Cluster::start();
    let running = serve(&cluster.new_books().await);
    let mut client: BankServiceClient<_> = client(&running).await;
    open_accounts(&mut client).await;
    let status = client
        .withdraw(crate::support::withdraw("a0", 2_000_000, "USD"))
        .await
        .expect_err("there is not so much");
    assert_eq!(Details::of(&status).reason, "INSUFFICIENT_FUNDS");
    assert_eq!(health(&running.endpoint()).await, ServingStatus::Serving);
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
}
