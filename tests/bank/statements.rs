//! The work for a page is that of the page, not of the history; and a walk sees everything once,
//! whatever is written meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bank::ledger::{Record, Sequence, Time, TransactionType};
use bank::store::journal::{Journal, Scanned, VolatileJournal};
use bank::store::{AccountQuery, Error, MemoryStore, Store, TransactionQuery};

use crate::support::commands::{account, first_page, open, pay, plain, put};
use crate::support::{LEDGER, ManualClock, START_MICROS, memory_store};

/// Counts how many records are read.
#[derive(Clone, Default)]
struct CountingJournal {
    inner: Arc<VolatileJournal>,
    reads: Arc<AtomicUsize>,
}

impl Journal for CountingJournal {
    fn append(&self, record: &Record) {
        self.inner.append(record);
    }

    fn read(&self, sequence: Sequence) -> Result<Record, Error> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.read(sequence)
    }

    fn scan(&self, each: &mut dyn FnMut(Scanned) -> Result<(), Error>) -> Result<(), Error> {
        self.inner.scan(each)
    }

    async fn durable(&self, sequence: Sequence) -> Result<(), Error> {
        self.inner.durable(sequence).await
    }
}

async fn with_history(
    length: u32,
) -> (MemoryStore<CountingJournal, ManualClock>, Arc<AtomicUsize>) {
    let journal = CountingJournal::default();
    let reads = journal.reads.clone();
    let store = MemoryStore::new(LEDGER, journal, ManualClock::new());
    apply(&store, open("alice", 0)).await;
    for _ in 0..length {
        apply(&store, put("alice", 1)).await;
    }
    reads.store(0, Ordering::SeqCst);
    (store, reads)
}

async fn apply<S: Store>(store: &S, command: bank::ledger::Command) {
    store.execute(plain(command)).await.expect("it answers").expect("it is not refused");
}

/// The records that are read for a page of 50, for a statement, with a time filter, and for a balance
/// in the past, with 100 times the history: only the search by time reads more, by its logarithm.
#[tokio::test]
async fn a_page_reads_the_page_and_not_the_history() {
    let mut counts = Vec::new();
    for length in [1_000, 100_000_u32] {
        let (store, reads) = with_history(length).await;
        let mut count = Vec::new();
        for query in [
            first_page(Some("alice")),
            first_page(None),
            TransactionQuery { oldest_first: true, ..first_page(Some("alice")) },
        ] {
            let page = store.transactions(&query).await.expect("it answers").expect("it is there");
            assert_eq!(page.records.len(), 50);
            count.push(reads.swap(0, Ordering::SeqCst));
        }
        assert_eq!(count, [50, 50, 50]);

        let middle = Time::from_micros(START_MICROS + i64::from(length) / 2);
        let query = TransactionQuery { start_time: Some(middle), ..first_page(Some("alice")) };
        store.transactions(&query).await.expect("it answers").expect("it is there");
        let filtered = reads.swap(0, Ordering::SeqCst);
        let balance = store.balance_at(&account("alice"), middle).await.expect("it answers");
        assert_eq!(balance.map(|past| past.balance.version), Ok(u64::from(length / 2)));
        let past = reads.swap(0, Ordering::SeqCst);
        counts.push((filtered, past));
    }
    let [(filtered, past), (filtered_long, past_long)] = counts[..] else { unreachable!() };
    // 100 times the records are 7 halvings more.
    assert!(filtered_long <= filtered + 8, "{counts:?}");
    assert!(past_long <= past + 8, "{counts:?}");
    assert!(past <= 12, "{counts:?}");
}

/// A filter that matches nothing must not read everything in one call: the page comes out empty, with a
/// token, and the walk still finds the one match.
#[tokio::test]
async fn a_page_that_finds_nothing_ends_after_a_bounded_search() {
    let (store, reads) = with_history(25_000).await;
    apply(&store, open("bob", 0)).await;
    let mut query =
        TransactionQuery { types: vec![TransactionType::Transfer], ..first_page(Some("alice")) };
    let mut pages = 0;
    loop {
        let page = store.transactions(&query).await.expect("it answers").expect("it is there");
        assert!(reads.swap(0, Ordering::SeqCst) <= 10_000);
        assert!(page.records.is_empty());
        pages += 1;
        match page.next {
            None => break,
            next => query.cursor = next,
        }
    }
    assert_eq!(pages, 3);

    apply(&store, pay("alice", "bob", 1)).await;
    for account_id in [None, Some("alice")] {
        let mut query = TransactionQuery {
            types: vec![TransactionType::Transfer],
            oldest_first: true,
            ..first_page(account_id)
        };
        let mut found = 0;
        loop {
            let page = store.transactions(&query).await.expect("it answers").expect("it is there");
            found += page.records.len();
            match page.next {
                None => break,
                next => query.cursor = next,
            }
        }
        assert_eq!(found, 1);
    }
}

#[tokio::test]
async fn a_listing_of_accounts_that_finds_nothing_ends_after_a_bounded_search() {
    let store = memory_store(&ManualClock::new());
    for number in 0..9_000 {
        apply(&store, open(&format!("a{number:05}"), 0)).await;
    }
    let mut query = AccountQuery {
        currency: None,
        state: Some(bank::ledger::AccountState::Frozen),
        id_prefix: "a".to_owned(),
        after: None,
        page_size: 50,
    };
    let mut pages = 0;
    loop {
        let page = store.accounts(&query).await.expect("it answers");
        assert!(page.accounts.is_empty());
        pages += 1;
        match page.next {
            None => break,
            next => query.after = next,
        }
    }
    assert_eq!(pages, 3, "4000 accounts are looked at for a page");
}

/// Everything that stood when the walk began comes exactly once, and nothing that came later.
#[tokio::test]
async fn a_walk_sees_what_stood_when_it_began() {
    for oldest_first in [false, true] {
        let store = memory_store(&ManualClock::new());
        apply(&store, open("alice", 0)).await;
        for _ in 0..100 {
            apply(&store, put("alice", 1)).await;
        }
        let mut query =
            TransactionQuery { oldest_first, page_size: 7, ..first_page(Some("alice")) };
        let mut seen = Vec::new();
        loop {
            let page = store.transactions(&query).await.expect("it answers").expect("it is there");
            seen.extend(page.records.iter().map(|linked| linked.record.sequence.number()));
            apply(&store, put("alice", 1)).await;
            match page.next {
                None => break,
                next => query.cursor = next,
            }
        }
        let mut expected: Vec<u64> = (2..=101).collect();
        if !oldest_first {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
}
