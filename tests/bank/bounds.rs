//! Books that are full: nothing is added, and everything else goes on.

use bank::ledger::{Command, Currency, Refusal, Request};
use bank::store::{AccountQuery, Bound, Bounds, Error, Executed, RecordKey, Store};
use tonic::Code;

use crate::support::commands::{account, named, open, pay, plain, put};
use crate::support::{
    Details, ManualClock, TestServer, create, deposit, file_store, memory_store, quick_folder,
};

fn records(records: u64) -> Bounds {
    Bounds { records, ..Bounds::default() }
}

fn accounts(accounts: usize) -> Bounds {
    Bounds { accounts, ..Bounds::default() }
}

const FULL: Result<Result<Executed, Refusal>, Error> = Err(Error::AtBound(Bound::Records));

async fn done(store: &impl Store, request: Request) -> Executed {
    store.execute(request).await.expect("it answers").expect("it is not refused")
}

async fn head(store: &impl Store) -> u64 {
    store.head().await.expect("it answers").number()
}

/// What is refused for want of room leaves no trace; what was answered before is answered again.
#[tokio::test]
async fn full_books_answer_repeats_and_reads() {
    let store = memory_store(&ManualClock::new()).within(records(3));
    done(&store, plain(open("alice", 10))).await;
    let deposit = named("deposit", put("alice", 5));
    let first = done(&store, deposit.clone()).await;
    let refused = named("refused", pay("alice", "nobody", 1));
    let refusal = store.execute(refused.clone()).await.expect("it answers");
    assert!(refusal.is_err(), "it is kept, and the third");

    for request in [plain(put("alice", 1)), named("new", put("alice", 1)), plain(open("bob", 0))] {
        assert_eq!(store.execute(request).await, FULL);
    }
    // What is refused anyway is not told apart: it might be kept.
    assert_eq!(store.execute(named("other", pay("alice", "nobody", 1))).await, FULL);
    assert_eq!(head(&store).await, 3);
    for id in ["new", "other"] {
        let key = RecordKey::RequestId(named(id, put("alice", 1)).id.expect("it has one"));
        assert_eq!(store.record(&key).await, Ok(None), "{id}");
    }

    let again = done(&store, deposit).await;
    assert_eq!((again.record, again.replayed), (first.record, true));
    assert_eq!(store.execute(refused).await, Ok(refusal));
    let other = store.execute(named("deposit", put("alice", 6))).await.expect("it answers");
    assert!(matches!(other, Err(Refusal::RequestIdReused { .. })));
    let alice = store.account(&account("alice")).await.expect("it answers").expect("it is there");
    assert_eq!(alice.account.balance.posted, 15);
}

/// A batch has room as a whole, or has no effect. What is a repeat takes none.
#[tokio::test]
async fn a_batch_that_does_not_fit_does_nothing() {
    let store = memory_store(&ManualClock::new()).within(records(6));
    done(&store, plain(open("alice", 10))).await;
    let old = named("old", put("alice", 1));
    done(&store, old.clone()).await;
    let new = |id: &str| named(id, put("alice", 1));

    let five = vec![new("a"), new("b"), new("c"), new("d"), new("e")];
    assert_eq!(store.execute_each(five.clone()).await, Err(Error::AtBound(Bound::Records)));
    assert_eq!(store.execute_all(five).await, Err(Error::AtBound(Bound::Records)));
    assert_eq!(head(&store).await, 2);
    let alice = store.account(&account("alice")).await.expect("it answers").expect("it is there");
    assert_eq!(alice.account.balance.posted, 11, "what was begun was taken back");

    let with_repeats = vec![old.clone(), new("a"), new("b"), new("a"), plain(put("alice", 1))];
    let answers = store.execute_each(with_repeats).await.expect("there are three of four places");
    let replayed: Vec<bool> =
        answers.iter().map(|it| it.as_ref().expect("it is posted").replayed).collect();
    assert_eq!(replayed, [true, false, false, true, false]);
    let all = store.execute_all(vec![old.clone(), new("c")]).await.expect("there is one place");
    assert_eq!(all.expect("it is posted").len(), 2);
    assert_eq!(head(&store).await, 6);
    assert_eq!(
        store.execute_each(vec![old.clone(), new("d")]).await,
        Err(Error::AtBound(Bound::Records))
    );
    let repeats = store.execute_each(vec![old.clone(), new("a"), old]).await.expect("no more");
    assert_eq!(repeats.len(), 3);
}

/// A batch that is refused keeps the refusal, for which there was room.
#[tokio::test]
async fn a_batch_that_is_refused_fills_the_last_place() {
    let store = memory_store(&ManualClock::new()).within(records(2));
    done(&store, plain(open("alice", 10))).await;
    let requests = vec![named("too-much", pay("alice", "nobody", 1)), plain(put("alice", 1))];
    let refused = store.execute_all(requests.clone()).await.expect("it answers");
    assert_eq!(refused.clone().expect_err("nobody is not there").index, 0);
    assert_eq!(head(&store).await, 2);
    assert_eq!(store.execute_all(requests).await, Ok(refused));
}

fn in_euros(mut command: Command) -> Command {
    if let Command::CreateAccount { currency, .. } = &mut command {
        *currency = Currency::parse("EUR").expect("a currency");
    }
    command
}

#[tokio::test]
async fn no_currency_comes_in_beyond_the_bound() {
    let bounds = Bounds { currencies: 1, ..Bounds::default() };
    let store = memory_store(&ManualClock::new()).within(bounds);
    done(&store, plain(open("alice", 10))).await;
    let refused = store.execute(named("bob", in_euros(open("bob", 0)))).await;
    assert_eq!(refused, Err(Error::AtBound(Bound::Currencies)));
    done(&store, named("bob", open("bob", 0))).await;
    assert_eq!(store.totals(None).await.expect("it answers").len(), 1);
}

/// The outside world's accounts are counted: each new currency has one.
#[tokio::test]
async fn no_account_is_opened_beyond_the_bound() {
    let full = Err(Error::AtBound(Bound::Accounts));
    let store = memory_store(&ManualClock::new()).within(accounts(3));
    done(&store, plain(open("alice", 10))).await;
    assert_eq!(store.execute(plain(in_euros(open("bob", 0)))).await, full);
    done(&store, named("bob", open("bob", 0))).await;
    for request in [plain(open("carol", 0)), named("carol", open("carol", 0))] {
        assert_eq!(store.execute(request).await, full);
    }
    done(&store, plain(pay("alice", "bob", 1))).await;
    assert!(done(&store, named("bob", open("bob", 0))).await.replayed);
    let query = AccountQuery {
        currency: None,
        state: None,
        id_prefix: String::new(),
        after: None,
        page_size: 10,
    };
    assert_eq!(store.accounts(&query).await.expect("it answers").accounts.len(), 3);
}

/// A file that has more than may be is served, and takes on when the bounds are wider.
#[tokio::test]
async fn a_file_beyond_its_bounds_is_read_all_the_same() {
    let folder = quick_folder();
    let (path, clock) = (folder.path().join("bank.db"), ManualClock::new());
    let store = file_store(&path, &clock).expect("it opens");
    for id in ["alice", "bob", "carol"] {
        done(&store, named(id, open(id, 10))).await;
    }
    drop(store);

    let narrow = Bounds { accounts: 1, currencies: 1, records: 2 };
    let store = file_store(&path, &clock).expect("it opens").within(narrow);
    assert_eq!(head(&store).await, 3);
    assert_eq!(store.execute(named("late", pay("alice", "bob", 1))).await, FULL);
    assert!(done(&store, named("carol", open("carol", 10))).await.replayed);
    assert!(store.account(&account("carol")).await.expect("it answers").is_ok());
    drop(store);

    let store = file_store(&path, &clock).expect("it opens").within(records(4));
    assert!(!done(&store, named("late", pay("alice", "bob", 1))).await.replayed);
    assert_eq!(store.execute(plain(put("alice", 1))).await, FULL);
}

#[tokio::test]
async fn a_client_hears_what_there_is_too_much_of() {
    for (bounds, of) in [(accounts(2), "accounts"), (records(1), "records")] {
        let clock = ManualClock::new();
        let server = TestServer::over(memory_store(&clock).within(bounds), clock).await;
        let mut client = server.client().await;
        client.create_account(create("alice", "USD")).await.expect("there is room");
        let status = client.create_account(create("bob", "USD")).await.expect_err("there is none");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        let details = Details::of(&status);
        assert_eq!(details.reason, "STORE_FULL");
        let failure = details.all.quota_failure().expect("a QuotaFailure");
        let [violation] = &failure.violations[..] else { panic!("{failure:?}") };
        assert_eq!(violation.subject, of);
        let is_open = client.deposit(deposit("alice", 1, "USD")).await.is_ok();
        assert_eq!(is_open, of == "accounts");
    }
}
