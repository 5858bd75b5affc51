//! Random histories: the store must agree with the bare ledger after every step, and the rules of money
//! must hold at every moment.
//!
//! proptest prints the history that fails, shrunk, and the seed that makes it again.

use bank::ledger::{
    AccountId, AccountState, Amount, Audit, CallerName, Command, Currency, Description,
    DisplayName, Etag, Hold, HoldDuration, HoldId, HoldParties, Labels, Money, NewAccountId,
    OverdraftLimit, Parties, Request, RequestId, Sequence, Time, TransactionId, TransactionType,
};
use bank::store::journal::Archive;
use bank::store::{
    AccountQuery, AccountView, Cursor, Executed, HoldFilter, HoldQuery, RecordKey, Store,
    TransactionQuery,
};
use proptest::prelude::*;

use crate::support::cluster::{Cluster, postgres_store};
use crate::support::{
    LEDGER, ManualClock, ReferenceStore, START_MICROS, file_store, memory_store, quick_folder,
};

/// What may happen to a bank.
#[derive(Clone, Debug)]
enum Step {
    Execute(Request),
    ExecuteEach(Vec<Request>),
    ExecuteAll(Vec<Request>),
    SetClock(i64),
    ReadBalanceAt(AccountId, i64),
    WalkStatement(TransactionQuery),
    WalkAccounts(AccountQuery),
    WalkHolds(HoldQuery),
    FindRequest(RequestId),
    /// Of a bank in a file: it ends, and is started again.
    Restart,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_store_agrees_with_the_bare_ledger(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let clock = ManualClock::new();
        let store = memory_store(&clock);
        // What is in memory only has no restarts.
        let reference = ReferenceStore::new(&clock);
        runtime.block_on(compare(steps, &clock, store, reference, async |store, _| store))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_store_in_a_file_agrees_across_restarts(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let folder = quick_folder();
        let path = folder.path().join("bank.db");
        let clock = ManualClock::new();
        let store = file_store(&path, &clock).expect("it can be made");
        let reference = ReferenceStore::new(&clock);
        runtime.block_on(compare(steps, &clock, store, reference, async |store, reference| {
            drop(store);
            reference.restart();
            file_store(&path, &clock).expect("it can be opened again")
        }))?;
        audit(&path);
    }
}

#[test]
fn a_store_in_postgresql_agrees_across_restarts() {
    let cluster = Cluster::start();
    // Each is some hundred round trips.
    let config = ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..60))| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let clock = ManualClock::new();
        let url = runtime.block_on(cluster.new_books());
        let store = runtime.block_on(postgres_store(&url, &clock));
        let reference = ReferenceStore::shared(&clock);
        runtime.block_on(compare(steps, &clock, store, reference, async |store, _| {
            drop(store);
            postgres_store(&url, &clock).await
        }))?;
    });
}

/// What was decided is found right by whoever works it out from nothing.
fn audit(path: &std::path::Path) {
    let archive = Archive::open(path).expect("it is there");
    let mut audit = Audit::new(archive.ledger_id());
    archive
        .scan(None, &mut |record| {
            audit.check(&record).unwrap_or_else(|wrong| panic!("{wrong}: {record:?}"));
            Ok(())
        })
        .expect("it is whole");
    audit.end().expect("it adds up");
}

async fn compare<S: Store>(
    steps: Vec<Step>,
    clock: &ManualClock,
    mut store: S,
    reference: ReferenceStore,
    restart: impl AsyncFn(S, &ReferenceStore) -> S,
) -> Result<(), TestCaseError> {
    for step in steps {
        match step {
            Step::Restart => store = restart(store, &reference).await,
            Step::Execute(request) => {
                let expected = reference.execute(request.clone()).await;
                let came = store.execute(request.clone()).await;
                prop_assert_eq!(&came, &expected);
                let executed = came.ok().and_then(Result::ok);
                if let Some(executed) = &executed {
                    check_limits(&executed.record);
                    check_sides(&store, executed).await?;
                }
                let replayed = executed.map(|executed| executed.replayed);
                if request.id.is_some() && replayed.is_some() {
                    let again = store.execute(request.clone()).await;
                    prop_assert_eq!(&again, &reference.execute(request).await);
                    let replayed = again.ok().and_then(Result::ok).map(|it| it.replayed);
                    prop_assert_eq!(replayed, Some(true));
                }
            }
            Step::ExecuteEach(requests) => {
                let expected = reference.execute_each(requests.clone()).await;
                prop_assert_eq!(store.execute_each(requests).await, expected);
            }
            Step::ExecuteAll(requests) => {
                let expected = reference.execute_all(requests.clone()).await;
                prop_assert_eq!(store.execute_all(requests).await, expected);
            }
            Step::SetClock(micros) => clock.set(micros),
            Step::ReadBalanceAt(id, micros) => {
                let time = Time::from_micros(START_MICROS + micros);
                let expected = reference.balance_at(&id, time).await;
                prop_assert_eq!(store.balance_at(&id, time).await, expected);
            }
            Step::WalkStatement(query) => {
                let expected = walk_statement(&reference, query.clone()).await;
                prop_assert_eq!(walk_statement(&store, query).await, expected);
            }
            Step::WalkAccounts(query) => {
                let expected = walk_accounts(&reference, query.clone()).await;
                prop_assert_eq!(walk_accounts(&store, query).await, expected);
            }
            Step::WalkHolds(query) => {
                let expected = walk_holds(&reference, query.clone()).await;
                prop_assert_eq!(walk_holds(&store, query).await, expected);
            }
            Step::FindRequest(id) => {
                let key = RecordKey::RequestId(id);
                prop_assert_eq!(store.record(&key).await, reference.record(&key).await);
            }
        }
        check_books(&store, &reference).await?;
    }
    check_records(&store, &reference).await
}

/// Whoever paid could pay: nothing is available below zero after it has gone out.
fn check_limits(record: &bank::ledger::Record) {
    if let Some(posting) = record.posting()
        && !posting.movement.from.is_external()
        // What is held was paid for when it was set aside, whatever the limit is now.
        && !matches!(record.request.command, Command::CaptureHold { .. })
    {
        assert!(posting.from_balance.available() >= 0, "{record:?}");
    }
}

/// What a record says that a posting left on its sides is what is read right after it, held included.
async fn check_sides<S: Store>(store: &S, executed: &Executed) -> Result<(), TestCaseError> {
    let Some(posting) = executed.record.posting().filter(|_| !executed.replayed) else {
        return Ok(());
    };
    let movement = &posting.movement;
    for (id, left) in [(&movement.from, posting.from_balance), (&movement.to, posting.to_balance)] {
        let view = store.account(id).await.expect("it can be read").expect("it has an entry");
        prop_assert_eq!(view.account.balance, left, "{}", id);
    }
    Ok(())
}

/// The totals of the store, kept as it goes, are those of the reference, added up anew; and they add up
/// to zero.
async fn check_books<A: Store, B: Store>(store: &A, reference: &B) -> Result<(), TestCaseError> {
    let totals = store.totals(None).await.expect("they can be read");
    prop_assert_eq!(&totals, &reference.totals(None).await.expect("they can be read"));
    for (currency, totals) in &totals {
        prop_assert_eq!(totals.accounts_posted + totals.external_posted, 0, "{}", currency);
    }
    let figures = store.figures().await.expect("they can be told");
    prop_assert_eq!(figures, reference.figures().await.expect("they can be told"));
    for id in ["a", "b", "c", "d"] {
        let id = AccountId::parse(id).expect("an account id");
        let view = store.account(&id).await.expect("it can be read");
        prop_assert_eq!(&view, &reference.account(&id).await.expect("it can be read"));
        let Ok(AccountView { account, .. }) = view else { continue };

        let query = HoldQuery {
            account_id: Some(id),
            state: Some(HoldFilter::Held),
            before: None,
            page_size: 1000,
        };
        let live = store.holds(&query).await.expect("it can be read").expect("it is there");
        let held: i64 = live.holds.iter().map(|hold| hold.amount.amount.minor_units()).sum();
        let balance = account.balance;
        prop_assert_eq!(balance.held, held);
        let limit = balance.overdraft_limit.minor_units();
        prop_assert_eq!(balance.available(), balance.posted - held + limit);
    }
    Ok(())
}

/// Every record reads back from its stored form as it was decided, and times strictly increase.
async fn check_records<A: Store, B: Store>(store: &A, reference: &B) -> Result<(), TestCaseError> {
    let mut last_time = None;
    for number in 1.. {
        let key = RecordKey::Sequence(Sequence::new(number));
        let record = store.record(&key).await.expect("it can be read");
        prop_assert_eq!(&record, &reference.record(&key).await.expect("it can be read"));
        let Some(record) = record else { break };
        prop_assert!(last_time < Some(record.record.time));
        last_time = Some(record.record.time);
    }
    Ok(())
}

/// Every transaction of a listing, page by page. `None` without the account.
async fn walk_statement<S: Store>(store: &S, mut query: TransactionQuery) -> Option<Vec<Sequence>> {
    let mut sequences = Vec::new();
    loop {
        let page = store.transactions(&query).await.expect("it can be read").ok()?;
        assert!(page.records.len() <= query.page_size);
        sequences.extend(page.records.iter().map(|linked| linked.record.sequence));
        let next: Option<Cursor> = page.next;
        if next.is_none() {
            return Some(sequences);
        }
        query.cursor = next;
    }
}

async fn walk_holds<S: Store>(store: &S, mut query: HoldQuery) -> Option<Vec<Hold>> {
    let mut holds = Vec::new();
    loop {
        let page = store.holds(&query).await.expect("it can be read").ok()?;
        assert!(page.holds.len() <= query.page_size);
        holds.extend(page.holds);
        if page.next.is_none() {
            return Some(holds);
        }
        query.before = page.next;
    }
}

async fn walk_accounts<S: Store>(store: &S, mut query: AccountQuery) -> Vec<AccountId> {
    let mut ids = Vec::new();
    loop {
        let page = store.accounts(&query).await.expect("it can be read");
        assert!(page.accounts.len() <= query.page_size);
        ids.extend(page.accounts.into_iter().map(|view| view.account.id));
        if page.next.is_none() {
            return ids;
        }
        query.after = page.next;
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        16 => request().prop_map(Step::Execute),
        2 => prop::collection::vec(operation_request(), 1..8).prop_map(Step::ExecuteEach),
        4 => prop::collection::vec(operation_request(), 1..8).prop_map(Step::ExecuteAll),
        3 => micros().prop_map(Step::SetClock),
        1 => (account(), micros()).prop_map(|(id, micros)| Step::ReadBalanceAt(id, micros - 10)),
        1 => statement().prop_map(Step::WalkStatement),
        1 => listing().prop_map(Step::WalkAccounts),
        1 => hold_listing().prop_map(Step::WalkHolds),
        1 => request_id().prop_map(Step::FindRequest),
        2 => Just(Step::Restart),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    // Few ids, so that many are used again, by the same request and by others.
    (prop::option::weighted(0.5, request_id()), caller(), command())
        .prop_map(|(id, caller, command)| Request { id, caller, command })
}

/// Close together, so that records meet, and seconds apart, so that holds expire.
fn micros() -> impl Strategy<Value = i64> {
    prop_oneof![2 => 0..200_i64, 3 => 900_000..4_000_000_i64]
}

fn operation_request() -> impl Strategy<Value = Request> {
    (prop::option::weighted(0.5, request_id()), caller(), operation())
        .prop_map(|(id, caller, command)| Request { id, caller, command })
}

/// Some have none; repeats come from others too.
fn caller() -> impl Strategy<Value = Option<CallerName>> {
    let name = (0..3_u8).prop_map(|n| CallerName::parse(&format!("c{n}")).expect("a name"));
    prop::option::weighted(0.7, name)
}

fn request_id() -> impl Strategy<Value = RequestId> {
    (0..12_u8).prop_map(|n| RequestId::parse(&format!("r{n}")).expect("a request id"))
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![1 => account_command(), 2 => operation()]
}

fn account_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => (client_account(), any::<bool>(), currency(), limit(), prop::option::of(amount()), labels())
            .prop_map(|(id, by_client, currency, overdraft_limit, initial_balance, labels)| {
                // The ids of the server are fixed here, so that both stores draw the same.
                let account_id = if by_client {
                    NewAccountId::ByClient(id)
                } else {
                    NewAccountId::ByServer(id)
                };
                let display_name = DisplayName::default();
                Command::CreateAccount {
                    account_id, currency, display_name, overdraft_limit, labels, initial_balance,
                }
            }),
        2 => (
            client_account(),
            prop::option::of("[a-z]{0,3}"),
            prop::option::of(limit()),
            prop::option::of(labels()),
            prop::option::of("[1-4]"),
        )
            .prop_map(|(account_id, name, overdraft_limit, labels, etag)| Command::UpdateAccount {
                account_id,
                display_name: name.map(|name| DisplayName::parse(&name).expect("short")),
                overdraft_limit,
                labels,
                etag: etag.map(|etag| Etag::parse(&etag).expect("short")),
            }),
        1 => (client_account(), description())
            .prop_map(|(account_id, reason)| Command::FreezeAccount { account_id, reason }),
        2 => (client_account(), description())
            .prop_map(|(account_id, reason)| Command::UnfreezeAccount { account_id, reason }),
        1 => (client_account(), description())
            .prop_map(|(account_id, reason)| Command::CloseAccount { account_id, reason }),
    ]
}

/// What a batch may do.
fn operation() -> impl Strategy<Value = Command> {
    let moving = || (money(), description(), labels());
    prop_oneof![
        6 => (client_account(), moving()).prop_map(|(account_id, (amount, description, labels))| {
            Command::Deposit { account_id, amount, description, labels }
        }),
        4 => (client_account(), moving()).prop_map(|(account_id, (amount, description, labels))| {
            Command::Withdraw { account_id, amount, description, labels }
        }),
        4 => (hold_parties(), moving(), prop::option::of(1_000_000..3_000_000_i64)).prop_map(
            |(parties, (amount, description, labels), ttl)| Command::PlaceHold {
                parties,
                amount,
                ttl: ttl.map(|micros| HoldDuration::from_micros(micros).expect("in range")),
                description,
                labels,
            }
        ),
        4 => (made(), prop::option::of(amount())).prop_map(|(sequence, amount)| {
            Command::CaptureHold { hold_id: HoldId::new(LEDGER, sequence), amount }
        }),
        2 => made().prop_map(|sequence| Command::ReleaseHold {
            hold_id: HoldId::new(LEDGER, sequence),
        }),
        5 => (made(), prop::option::of(amount()), description()).prop_map(
            |(sequence, amount, description)| Command::ReverseTransaction {
                transaction_id: TransactionId::new(LEDGER, sequence),
                amount,
                description,
            }
        ),
        8 => (parties(), moving()).prop_map(|(parties, (amount, description, labels))| {
            Command::Transfer { parties, amount, description, labels }
        }),
    ]
}

fn client_account() -> impl Strategy<Value = AccountId> {
    prop::sample::select(vec!["a", "b", "c", "d"])
        .prop_map(|id| AccountId::parse(id).expect("an account id"))
}

fn account() -> impl Strategy<Value = AccountId> {
    prop_oneof![
        4 => client_account(),
        1 => currency().prop_map(|currency| AccountId::external(&currency)),
    ]
}

fn parties() -> impl Strategy<Value = Parties> {
    (client_account(), client_account())
        .prop_filter_map("one account", |(from, to)| Parties::new(from, to).ok())
}

fn hold_parties() -> impl Strategy<Value = HoldParties> {
    (client_account(), prop::option::of(client_account()))
        .prop_filter_map("one account", |(account, to)| HoldParties::new(account, to).ok())
}

/// A record that may have been made by then.
fn made() -> impl Strategy<Value = Sequence> {
    (1..60_u64).prop_map(Sequence::new)
}

fn hold_listing() -> impl Strategy<Value = HoldQuery> {
    let filter = prop::sample::select(vec![
        HoldFilter::Held,
        HoldFilter::Captured,
        HoldFilter::Released,
        HoldFilter::Expired,
    ]);
    (prop::option::of(account()), prop::option::of(filter), 1..4_usize).prop_map(
        |(account_id, state, page_size)| HoldQuery { account_id, state, before: None, page_size },
    )
}

fn currency() -> impl Strategy<Value = Currency> {
    prop_oneof![9 => Just("USD"), 1 => Just("BTC/8")]
        .prop_map(|code| Currency::parse(code).expect("a currency"))
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![9 => 1..200_i64, 1 => i64::MAX - 200..=i64::MAX]
        .prop_map(|minor_units| Amount::new(minor_units).expect("above 0"))
}

fn money() -> impl Strategy<Value = Money> {
    (currency(), amount()).prop_map(|(currency, amount)| Money { currency, amount })
}

fn limit() -> impl Strategy<Value = OverdraftLimit> {
    prop_oneof![5 => Just(0), 4 => 0..200_i64, 1 => i64::MAX - 200..=i64::MAX]
        .prop_map(|minor_units| OverdraftLimit::new(minor_units).expect("not below 0"))
}

fn description() -> impl Strategy<Value = Description> {
    prop_oneof![Just(""), Just("x")].prop_map(|text| Description::parse(text).expect("short"))
}

fn labels() -> impl Strategy<Value = Labels> {
    prop_oneof![
        Just(Labels::default()),
        Just(Labels::parse([("k", "v"), ("l", "")]).expect("well formed")),
    ]
}

fn statement() -> impl Strategy<Value = TransactionQuery> {
    let time = || prop::option::of(micros().prop_map(|it| Time::from_micros(START_MICROS + it)));
    let kind = prop::sample::select(vec![
        TransactionType::Deposit,
        TransactionType::Withdrawal,
        TransactionType::Transfer,
        TransactionType::Reversal,
    ]);
    (
        prop::option::of(account()),
        time(),
        time(),
        prop::collection::vec(kind, 0..2),
        any::<bool>(),
        prop::option::of(cursor()),
        1..6_usize,
    )
        .prop_map(
            |(account_id, start_time, end_time, types, oldest_first, cursor, page_size)| {
                TransactionQuery {
                    account_id,
                    start_time,
                    end_time,
                    types,
                    oldest_first,
                    cursor,
                    page_size,
                }
            },
        )
}

/// Any that a client may make up: it is their own, but for what it says.
fn cursor() -> impl Strategy<Value = Cursor> {
    let number = || prop_oneof![8 => 0..100_u64, 1 => Just(u64::MAX), 1 => Just(i64::MAX as u64)];
    (number(), number()).prop_map(|(after, until)| Cursor {
        after: Sequence::new(after),
        until: Sequence::new(until),
    })
}

fn listing() -> impl Strategy<Value = AccountQuery> {
    let state = prop::sample::select(vec![
        AccountState::Active,
        AccountState::Frozen,
        AccountState::Closed,
    ]);
    (
        prop::option::of(currency()),
        prop::option::of(state),
        prop::sample::select(vec!["", "a", "@", "zz"]),
        1..4_usize,
    )
        .prop_map(|(currency, state, prefix, page_size)| AccountQuery {
            currency,
            state,
            id_prefix: prefix.to_owned(),
            after: None,
            page_size,
        })
}
