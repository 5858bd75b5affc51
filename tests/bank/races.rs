//! Many callers at once: one effect for one request id, money conserved at every look.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bank::ledger::{Command, HoldId, HoldState, Refusal, RequestId, Sequence, Time};
use bank::store::{
    AccountQuery, Executed, HoldQuery, MemoryStore, RecordKey, Store, TransactionQuery,
};
use tokio::task::JoinSet;

use crate::support::commands::{account, named, open, pay, plain, put, set_aside};
use crate::support::{GatedJournal, LEDGER, ManualClock, memory_store};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_request_id_from_64_tasks_takes_effect_once() {
    for round in 0..50 {
        let store = Arc::new(memory_store(&ManualClock::new()));
        apply(&*store, open("alice", 1000)).await;
        apply(&*store, open("bob", 0)).await;

        let mut tasks = JoinSet::new();
        for _ in 0..64 {
            let store = store.clone();
            tasks.spawn(async move {
                let request = named(&format!("round-{round}"), pay("alice", "bob", 10));
                store.execute(request).await.expect("it answers").expect("it is not refused")
            });
        }
        let answers: Vec<Executed> = tasks.join_all().await;

        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
        let sequences: HashSet<_> = answers.iter().map(|answer| answer.record.sequence).collect();
        assert_eq!(sequences.len(), 1, "all have the same answer");
        assert_eq!(posted(&*store, "bob").await, 10);
    }
}

/// Two transfers that together want more than there is: exactly one of them is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_money_is_spent_once() {
    for _ in 0..200 {
        let store = Arc::new(memory_store(&ManualClock::new()));
        for (id, initial) in [("alice", 100), ("bob", 0), ("carol", 0)] {
            apply(&*store, open(id, initial)).await;
        }
        let mut tasks = JoinSet::new();
        for to in ["bob", "carol"] {
            let store = store.clone();
            tasks.spawn(async move {
                store.execute(plain(pay("alice", to, 60))).await.expect("it answers")
            });
        }
        let answers = tasks.join_all().await;
        let refused = answers
            .iter()
            .filter(|it| matches!(it, Err(Refusal::InsufficientFunds { available: 40, .. })))
            .count();
        assert_eq!((refused, posted(&*store, "alice").await), (1, 40));
    }
}

/// Transfers in all directions between few accounts, in rings and against each other, while totals and
/// balances are read: no lock order to get wrong, and no sum that is off at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_total_is_conserved_at_every_look() {
    const ACCOUNTS: [&str; 4] = ["a", "b", "c", "d"];
    const TRANSFERS: usize = 5_000;
    let store = Arc::new(memory_store(&ManualClock::new()));
    for id in ACCOUNTS {
        apply(&*store, open(id, 500)).await;
    }
    let is_done = Arc::new(AtomicBool::new(false));

    let looking = {
        let (store, is_done) = (store.clone(), is_done.clone());
        tokio::spawn(async move {
            let mut looks = 0;
            while !is_done.load(Ordering::SeqCst) || looks == 0 {
                let totals = store.totals(None).await.expect("it answers");
                assert_eq!(totals[0].1.accounts_posted, 2000);
                assert_eq!(totals[0].1.external_posted, -2000);
                for id in ACCOUNTS {
                    assert!(posted(&*store, id).await >= 0);
                }
                looks += 1;
                tokio::task::yield_now().await;
            }
        })
    };

    let mut payers = JoinSet::new();
    for (payer, from) in ACCOUNTS.into_iter().enumerate() {
        let store = store.clone();
        payers.spawn(async move {
            let mut done = 0;
            for number in 0..TRANSFERS {
                let to = ACCOUNTS[(payer + 1 + number % 3) % 4];
                let request = plain(pay(from, to, [1, 5, 2, 7, 3][number % 5]));
                done += usize::from(store.execute(request).await.expect("it answers").is_ok());
            }
            done
        });
    }
    let transferred: usize = payers.join_all().await.into_iter().sum();
    is_done.store(true, Ordering::SeqCst);
    looking.await.expect("no look was off");

    let mut sum = 0;
    for id in ACCOUNTS {
        sum += posted(&*store, id).await;
    }
    assert_eq!(sum, 2000);
    let totals = store.totals(None).await.expect("it answers");
    assert_eq!(totals[0].1.transaction_count, 4 + transferred as u64);
}

/// A capture, a release and the end of its time come at once: one of them wins, and the money is where
/// the winner has put it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hold_ends_once() {
    let mut ends = HashSet::new();
    for _ in 0..300 {
        let clock = ManualClock::new();
        let store = Arc::new(memory_store(&clock));
        apply(&*store, open("alice", 100)).await;
        apply(&*store, open("bob", 0)).await;
        let placed = store.execute(plain(set_aside("alice", "bob", 60))).await.expect("it answers");
        let hold_id = HoldId::new(LEDGER, placed.expect("it is not refused").record.sequence);

        let mut tasks = JoinSet::new();
        for command in [
            Command::CaptureHold { hold_id: hold_id.clone(), amount: None },
            Command::ReleaseHold { hold_id: hold_id.clone() },
        ] {
            let store = store.clone();
            tasks.spawn(
                async move { store.execute(plain(command)).await.expect("it answers").is_ok() },
            );
        }
        let expiring = tokio::spawn(async move { clock.set(1_000_000) });
        let successes = tasks.join_all().await.into_iter().filter(|is_ok| *is_ok).count();
        expiring.await.expect("it does not panic");

        let state = store.hold(&hold_id).await.expect("it answers").expect("it is there").state;
        let expected = match state {
            HoldState::Captured { .. } => (1, 40, 60),
            HoldState::Released => (1, 100, 0),
            HoldState::Expired => (0, 100, 0),
            HoldState::Held => panic!("its time was up"),
        };
        let alice = store.account(&account("alice")).await.expect("it answers").expect("there");
        assert_eq!(alice.account.balance.held, 0);
        assert_eq!(
            (successes, posted(&*store, "alice").await, posted(&*store, "bob").await),
            expected
        );
        ends.insert(std::mem::discriminant(&state));
    }
    assert!(ends.len() > 1, "they did not race");
}

/// Nobody ever sees a part of a batch that is all or none, refused or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_batch_is_seen_whole_or_not_at_all() {
    let store = Arc::new(memory_store(&ManualClock::new()));
    for (id, initial) in [("alice", 1000), ("bob", 1000)] {
        apply(&*store, open(id, initial)).await;
    }
    let is_done = Arc::new(AtomicBool::new(false));
    let looking = {
        let (store, is_done) = (store.clone(), is_done.clone());
        tokio::spawn(async move {
            let mut looks = 0;
            while !is_done.load(Ordering::SeqCst) || looks == 0 {
                assert_eq!(posted(&*store, "alice").await % 100, 0);
                looks += 1;
                tokio::task::yield_now().await;
            }
        })
    };
    for round in 0..2_000 {
        // 100 in steps of 1; every second time a step too many takes all of it back.
        let mut steps = vec![plain(pay("alice", "bob", 1)); 100];
        if round % 2 == 0 {
            steps.push(plain(pay("alice", "bob", 1_000_000)));
        } else {
            steps.push(plain(pay("bob", "alice", 100)));
        }
        let answer = store.execute_all(steps).await.expect("it answers");
        assert_eq!(answer.is_err(), round % 2 == 0);
    }
    is_done.store(true, Ordering::SeqCst);
    looking.await.expect("no look was off");
    assert_eq!((posted(&*store, "alice").await, posted(&*store, "bob").await), (1000, 1000));
}

/// What one caller has seen, the next one sees: a read that begins after an answer includes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_sees_every_answer_before_it() {
    let store = Arc::new(memory_store(&ManualClock::new()));
    apply(&*store, open("alice", 0)).await;
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..2_000 {
                let answer = store.execute(plain(put("alice", 1))).await.expect("it answers");
                let record = answer.expect("it is not refused").record;
                let told = record.balance_of(&account("alice")).expect("it is its own").posted;
                assert!(posted(&*store, "alice").await >= told);
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(posted(&*store, "alice").await, 8_000);
}

/// Whoever stops waiting takes nothing back: the work was done when it was asked for.
#[tokio::test]
async fn a_caller_that_leaves_changes_nothing_about_the_effect() {
    let (journal, gate) = GatedJournal::closed();
    let store = MemoryStore::new(LEDGER, journal, ManualClock::new());
    gate.open_to(1);
    apply(&store, open("alice", 100)).await;

    let request = named("gone", put("alice", 5));
    {
        let mut waiting = Box::pin(store.execute(request.clone()));
        assert!(poll_once(&mut waiting).await.is_none(), "it waits for the journal");
    }
    gate.open();

    let answer = store.execute(request).await.expect("it answers").expect("it is not refused");
    assert!(answer.replayed);
    assert_eq!(posted(&store, "alice").await, 105);
}

/// Nothing is shown that is not durable yet: not by a read, not by a repeat, not by a refusal.
#[tokio::test]
async fn nothing_undurable_is_shown() {
    let (journal, gate) = GatedJournal::closed();
    let store = MemoryStore::new(LEDGER, journal, ManualClock::new());
    gate.open_to(2);
    apply(&store, open("alice", 100)).await;
    apply(&store, open("bob", 0)).await;

    let alice = account("alice");
    let by_name = RecordKey::RequestId(RequestId::parse("once").expect("it is one"));
    let placed = HoldId::new(LEDGER, Sequence::new(4));
    let all_accounts = AccountQuery {
        currency: None,
        state: None,
        id_prefix: String::new(),
        after: None,
        page_size: 10,
    };
    let all_holds = HoldQuery { account_id: None, state: None, before: None, page_size: 10 };
    let all_transactions = TransactionQuery {
        account_id: None,
        start_time: None,
        end_time: None,
        types: Vec::new(),
        oldest_first: false,
        cursor: None,
        page_size: 10,
    };
    let mut first = Box::pin(store.execute(named("once", put("alice", 5))));
    assert!(poll_once(&mut first).await.is_none());
    let mut second = Box::pin(store.execute(plain(set_aside("alice", "bob", 1))));
    assert!(poll_once(&mut second).await.is_none());
    let mut repeat = Box::pin(store.execute(named("once", put("alice", 5))));
    let mut refusal = Box::pin(store.execute(plain(pay("alice", "nobody", 1))));
    let mut each = Box::pin(store.execute_each(vec![plain(pay("alice", "nobody", 1))]));
    let mut all = Box::pin(store.execute_all(vec![plain(pay("alice", "nobody", 1))]));
    let mut read = Box::pin(store.account(&alice));
    let mut accounts = Box::pin(store.accounts(&all_accounts));
    let mut past = Box::pin(store.balance_at(&alice, Time::from_micros(i64::MAX)));
    let mut hold = Box::pin(store.hold(&placed));
    let mut holds = Box::pin(store.holds(&all_holds));
    let mut record = Box::pin(store.record(&by_name));
    let mut transactions = Box::pin(store.transactions(&all_transactions));
    let mut head = Box::pin(store.head());
    let mut changes = Box::pin(store.changes(Some(&alice)));
    let mut totals = Box::pin(store.totals(None));
    for _ in 0..2 {
        assert!(poll_once(&mut repeat).await.is_none(), "a repeat");
        assert!(poll_once(&mut refusal).await.is_none(), "a refusal");
        assert!(poll_once(&mut each).await.is_none(), "a row of requests");
        assert!(poll_once(&mut all).await.is_none(), "a batch");
        assert!(poll_once(&mut read).await.is_none(), "an account");
        assert!(poll_once(&mut accounts).await.is_none(), "a listing of accounts");
        assert!(poll_once(&mut past).await.is_none(), "a balance of the past");
        assert!(poll_once(&mut hold).await.is_none(), "a hold");
        assert!(poll_once(&mut holds).await.is_none(), "a listing of holds");
        assert!(poll_once(&mut record).await.is_none(), "a record");
        assert!(poll_once(&mut transactions).await.is_none(), "a listing of transactions");
        assert!(poll_once(&mut head).await.is_none(), "the newest record");
        assert!(poll_once(&mut changes).await.is_none(), "a feed");
        assert!(poll_once(&mut totals).await.is_none(), "the totals");
    }

    gate.open();
    assert!(!first.await.expect("it answers").expect("it is not refused").replayed);
    let read = read.await.expect("it answers").expect("it is there");
    assert_eq!(read.account.balance.posted, 105);
    assert!(repeat.await.expect("it answers").expect("it is not refused").replayed);
    assert!(refusal.await.expect("it answers").is_err());
    assert_eq!(past.await.expect("it answers").expect("it is there").balance.posted, 105);
    assert!(record.await.expect("it answers").is_some());
    assert!(second.await.expect("it answers").is_ok());
    assert!(hold.await.expect("it answers").is_ok());
    let page = transactions.await.expect("it answers").expect("it is not refused");
    assert_eq!(page.records.len(), 2);
    assert_eq!(totals.await.expect("it answers")[0].1.accounts_posted, 105);
}

/// Polls a future once: `None` when it is not ready.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    use std::task::Poll;
    std::future::poll_fn(|context| {
        Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

async fn apply<S: Store>(store: &S, command: bank::ledger::Command) {
    store.execute(plain(command)).await.expect("it answers").expect("it is not refused");
}

async fn posted<S: Store>(store: &S, id: &str) -> i64 {
    let view = store.account(&account(id)).await.expect("it answers").expect("it is there");
    view.account.balance.posted
}
