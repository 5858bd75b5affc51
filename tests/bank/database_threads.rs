//! An account's records in a database hang on a thread, and are found along it.

use bank::ledger::{Command, Request, Sequence, Time, TransactionType};
use bank::store::{Cursor, Error, PostgresStore, Store, TransactionQuery, migrate};

use crate::database_checks::rich_books;
use crate::postgres::check_tables;
use crate::support::cluster::{Cluster, apply, database_of, postgres_store, settings};
use crate::support::commands::{account, first_page, open, pay, plain, put};
use crate::support::{LEDGER, ManualClock, START_MICROS, memory_store};

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];
const ASKED: [&str; 5] = ["alice", "bob", "carol", "dave", "@external:USD"];

/// Much of it is alice's, and little dave's.
fn history(random: &mut fastrand::Rng) -> Vec<Request> {
    let mut commands: Vec<Command> = NAMES.map(|name| open(name, 1_000_000)).to_vec();
    for _ in 0..1500 {
        let other = NAMES[1 + random.usize(..30) / 14];
        commands.push(match random.u8(..4) {
            0 => put("alice", 1),
            1 => pay("alice", other, 2),
            2 => pay(other, "alice", 1),
            _ => put(other, 1),
        });
    }
    commands.into_iter().map(plain).collect()
}

fn any_query(random: &mut fastrand::Rng) -> TransactionQuery {
    let time = |random: &mut fastrand::Rng| {
        random.bool().then(|| Time::from_micros(START_MICROS + random.i64(-10..1600)))
    };
    TransactionQuery {
        start_time: time(random),
        end_time: time(random),
        types: if random.bool() { vec![TransactionType::Transfer] } else { Vec::new() },
        oldest_first: random.bool(),
        page_size: [1, 3, 50, 500][random.usize(..4)],
        ..first_page(Some(ASKED[random.usize(..ASKED.len())]))
    }
}

/// The pages of a walk, three at the most: which records are on them.
async fn pages(store: &impl Store, mut query: TransactionQuery) -> Vec<Vec<u64>> {
    let mut pages = Vec::new();
    while pages.len() < 3 {
        let page = store.transactions(&query).await.expect("it answers").expect("it is there");
        pages.push(page.records.iter().map(|one| one.record.sequence.number()).collect());
        query.cursor = page.next;
        if page.next.is_none() {
            break;
        }
    }
    pages
}

/// Every page is that of the bank in memory, wherever it begins and ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_those_of_the_bank_in_memory() {
    let seed = fastrand::u64(..);
    println!("seed {seed:#x}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let (store, memory) = (postgres_store(&url, &clock).await, memory_store(&clock));
    let requests = history(&mut random);
    for group in requests.chunks(250) {
        let kept = store.execute_each(group.to_vec()).await.expect("it answers");
        assert_eq!(kept, memory.execute_each(group.to_vec()).await.expect("it answers"));
    }
    let (database, head) = (database_of(&url), requests.len() as u64);
    let knots =
        "SELECT count(*) > 4 FROM bank_records WHERE checksum % 64 = 0 AND kind IS NOT NULL";
    assert_eq!(cluster.sql(database, knots), "t");
    let mut found = 0;
    for _ in 0..150 {
        let mut query = any_query(&mut random);
        if random.bool() {
            let after = Sequence::new(random.u64(1..=head));
            query.cursor = Some(Cursor { after, until: Sequence::new(head) });
        }
        let expected = pages(&memory, query.clone()).await;
        assert_eq!(pages(&store, query.clone()).await, expected, "{query:?}");
        found += expected.iter().map(Vec::len).sum::<usize>();
    }
    assert!(found > 0, "some pages aren't empty");
    for name in NAMES {
        let time = Time::from_micros(START_MICROS + random.i64(0..1600));
        let past = store.balance_at(&account(name), time).await.expect("it answers");
        assert_eq!(past, memory.balance_at(&account(name), time).await.expect("it answers"));
    }
    check_tables(&cluster, &url);
}

/// A page that is far back doesn't cost the way from the end: the thread is taken up at the next knot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_pages_are_found_without_the_end_of_the_thread() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let database = database_of(&url);
    let store = postgres_store(&url, &clock).await;
    apply(&store, open("alice", 0)).await;
    for _ in 0..4 {
        let group = (0..250).map(|_| plain(put("alice", 1))).collect();
        store.execute_each(group).await.expect("it answers");
    }
    let knot = "SELECT max(sequence) FROM bank_records WHERE checksum % 64 = 0";
    let knot: u64 = cluster.sql(database, knot).parse().expect("there is one");
    // A part that ends with a knot ends there.
    let until = Sequence::new(knot);
    let cursor = Some(Cursor { after: Sequence::new(knot - 10), until });
    let part = TransactionQuery { cursor, oldest_first: true, ..first_page(Some("alice")) };
    let expected: Vec<u64> = (knot - 9..=knot).collect();
    assert_eq!(pages(&store, part).await, [expected]);
    cluster.sql(database, "UPDATE bank_accounts SET newest = 0 WHERE account_id = 'alice'");
    let cursor = Some(Cursor { after: Sequence::new(knot), until: Sequence::new(1001) });
    let old = TransactionQuery { cursor, ..first_page(Some("alice")) };
    let expected: Vec<u64> = (knot - 50..knot).rev().collect();
    assert_eq!(pages(&store, old).await[0], expected);
    let oldest = TransactionQuery { oldest_first: true, ..first_page(Some("alice")) };
    let expected: Vec<u64> = (2..52).collect();
    assert_eq!(pages(&store, oldest).await[0], expected);
}

/// A record that a thread leads to and that isn't there is named, wherever on the way it is missed: nothing is told
/// without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_that_is_broken_is_damage() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let url = cluster.new_books().await;
    let store = postgres_store(&url, &clock).await;
    apply(&store, open("alice", 10)).await;
    apply(&store, open("bob", 0)).await;
    for _ in 0..4 {
        apply(&store, pay("alice", "bob", 1)).await;
    }
    cluster.sql(database_of(&url), "DELETE FROM bank_records WHERE sequence = 4");
    let is_named =
        |error| matches!(error, Error::Damaged { sequence, .. } if sequence.number() == 4);
    for (oldest_first, page_size) in [(false, 50), (true, 50), (true, 1)] {
        let query = TransactionQuery { oldest_first, page_size, ..first_page(Some("bob")) };
        assert!(is_named(store.transactions(&query).await.expect_err("it is damaged")));
    }
    let time = Time::from_micros(START_MICROS + 2);
    assert!(is_named(store.balance_at(&account("bob"), time).await.expect_err("it is damaged")));
    let newest = TransactionQuery { page_size: 1, ..first_page(Some("bob")) };
    let newest = store.transactions(&newest).await.expect("it answers").expect("it is there");
    assert_eq!(newest.records[0].record.sequence.number(), 6, "what is newer can be read");
}

/// Records that were there before there were threads are threaded by the migration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_an_earlier_version_are_threaded() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let database = rich_books(&cluster, &clock).await;
    let url = cluster.url(&database);
    let threads = |database: &str| {
        let records = "SELECT string_agg(concat_ws(',', sequence, debit_before, credit_before), ';' \
                       ORDER BY sequence) FROM bank_records";
        let accounts = "SELECT string_agg(concat_ws(',', number, newest), ';' ORDER BY number) \
                        FROM bank_accounts";
        [cluster.sql(database, records), cluster.sql(database, accounts)]
    };
    let before = threads(&database);
    cluster.sql(
        &database,
        "DROP INDEX bank_records_debit_knot; DROP INDEX bank_records_credit_knot; \
         ALTER TABLE bank_records DROP COLUMN debit_before, DROP COLUMN credit_before; \
         ALTER TABLE bank_accounts DROP COLUMN newest; \
         CREATE INDEX bank_records_debit ON bank_records (debit, sequence); \
         CREATE INDEX bank_records_credit ON bank_records (credit, sequence); \
         UPDATE bank_schema SET version = 2",
    );
    let (found, _) = migrate(&settings(&url), LEDGER).await.expect("it can be done");
    assert_eq!(found, 2);
    assert_eq!(threads(&database), before);
    check_tables(&cluster, &url);
    let store: PostgresStore<_> = postgres_store(&url, &clock).await;
    apply(&store, put("alice", 1)).await;
    check_tables(&cluster, &url);
}
