//! An audit adds up what records say: it finds what can't be, however well formed it is, and nothing wrong
//! with what a store has decided (`properties` looks into that).

use bank::ledger::{
    Account, AccountId, AccountState, Amount, Audit, Balance, Change, Command, Currency,
    Description, DisplayName, Hold, HoldId, HoldParties, HoldState, Labels, Money, NewAccountId,
    OverdraftLimit, Posting, Record, Request, Sequence, Time, TransactionId,
};
use bank::store::MemoryStore;
use bank::store::Store;
use bank::store::journal::VolatileJournal;

use crate::support::history::{everything, small_history};
use crate::support::{LEDGER, ManualClock};

/// Alice and bob are opened, she gets 10.50 and pays him 3.00; a payment is refused; 0.40 are held and 0.30
/// of them captured; the 3.00 are moved back; bob is frozen.
async fn records() -> Vec<Record> {
    let store = MemoryStore::new(LEDGER, VolatileJournal::default(), ManualClock::new());
    for request in small_history() {
        let _ = store.execute(request).await.expect("it is kept");
    }
    let all = everything(&store).await.expect("it can be read").records;
    all.into_iter().map(|it| it.expect("it is there").record).collect()
}

fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units).expect("it is above 0")
}

fn change(record: &mut Record) -> &mut Change {
    record.outcome.as_mut().expect("it was not refused")
}

fn posting(record: &mut Record) -> &mut Posting {
    match change(record) {
        Change::Posted(posting)
        | Change::HoldCaptured { posting, .. }
        | Change::Reversed { posting, .. } => posting,
        other => panic!("{other:?}"),
    }
}

fn payer(record: &mut Record) -> &mut Balance {
    &mut posting(record).from_balance
}

fn standing(record: &mut Record) -> &mut Balance {
    match change(record) {
        Change::AccountOpened { account, .. } | Change::AccountChanged { account } => {
            &mut account.balance
        }
        Change::HoldPlaced { balance, .. } => balance,
        other => panic!("{other:?}"),
    }
}

fn hold(record: &mut Record) -> &mut Hold {
    match change(record) {
        Change::HoldPlaced { hold, .. } | Change::HoldCaptured { hold, .. } => hold,
        other => panic!("{other:?}"),
    }
}

fn reverse(record: &mut Record, of: u64) {
    match change(record) {
        Change::Reversed { original, .. } => *original = Sequence::new(of),
        other => panic!("{other:?}"),
    }
}

/// What is changed in which record, and what is said of it.
type Lie<'a> = (usize, &'a dyn Fn(&mut Record), &'a str);

/// Every lie is told in a history that is true up to it.
fn check_lies(records: &[Record], lies: &[Lie]) {
    for (number, lie, phrase) in lies {
        let mut audit = Audit::new(LEDGER);
        for record in &records[..number - 1] {
            audit.check(record).expect("nothing is wrong with it");
        }
        let mut record = records[number - 1].clone();
        lie(&mut record);
        let wrong = audit.check(&record).expect_err(phrase);
        assert!(wrong.contains(phrase), "not {phrase}: {wrong}");
    }
}

#[tokio::test]
async fn what_does_not_follow_is_found() {
    let records = records().await;
    let of = |number: usize| records[number - 1].outcome.clone();
    check_lies(
        &records,
        &[
            (4, &|it| it.time = Time::from_micros(0), "its time is not after"),
            (4, &|it| it.sequence = Sequence::new(9), "it stands where record 4 belongs"),
            (4, &|it| payer(it).posted += 1, "had 751 after 2 entries, and it had 750"),
            (4, &|it| payer(it).version += 1, "had 750 after 3 entries, and it had 750 after 2"),
            (4, &|it| payer(it).held += 1, "had 1 held, and it had 0"),
            (
                4,
                &|it| payer(it).overdraft_limit = OverdraftLimit::default(),
                "had a limit of 0, and it had one of 100",
            ),
            (
                4,
                &|it| posting(it).movement.amount = amount(299),
                "not as it was asked: what it moves",
            ),
            (1, &|it| standing(it).posted = 5, "had 5 after 0 entries, and it had 0"),
            (2, &|it| it.outcome = of(1), "account alice was there already"),
            (6, &|it| standing(it).held += 1, "had 41 held, and it had 40"),
            (9, &|it| standing(it).posted += 1, "it says that account bob had 31 after"),
        ],
    );
}

#[tokio::test]
async fn what_may_not_be_is_found() {
    let records = records().await;
    let of = |number: usize| records[number - 1].outcome.clone();
    let capture = |record: &mut Record, captured: i64| {
        let captured = amount(captured);
        hold(record).state = HoldState::Captured { captured, transaction: Sequence::new(7) };
        posting(record).movement.amount = captured;
    };
    let overdraw = |record: &mut Record| {
        if let Command::Transfer { amount: asked, .. } = &mut record.request.command {
            asked.amount = amount(2000);
        }
        posting(record).movement.amount = amount(2000);
        payer(record).posted = 1050 - 2000;
        posting(record).to_balance.posted = 2000;
    };
    let close = |record: &mut Record| match change(record) {
        Change::AccountChanged { account } => account.state = AccountState::Closed,
        other => panic!("{other:?}"),
    };
    check_lies(
        &records,
        &[
            (4, &overdraw, "account alice was drawn beyond its limit, by 850"),
            (7, &|it| capture(it, 41), "something else than its hold has set aside"),
            (7, &|it| posting(it).movement.amount = amount(29), "another when it was placed"),
            (7, &|it| hold(it).amount.amount = amount(50), "another when it was placed"),
            (8, &|it| it.outcome = of(7), "was over already"),
            (6, &|it| it.outcome = of(7), "there is no hold"),
            (5, &|it| it.outcome = of(6), "the hold that it places is another's"),
            (8, &|it| posting(it).movement.amount = amount(301), "more than record 4 moved"),
            (8, &|it| reverse(it, 3), "it is not what record 3 moved"),
            (8, &|it| reverse(it, 5), "nothing to move back of record 5"),
            (8, &|it| reverse(it, 8), "nothing to move back of record 8"),
            (9, &close, "it closes account bob, which was not empty"),
        ],
    );

    let mut audit = Audit::new(LEDGER);
    for record in &records {
        audit.check(record).expect("nothing is wrong with it");
    }
    assert_eq!(audit.end(), Ok(4), "a deposit, a transfer, a capture and a reversal");
    let last = records.last().expect("there is one");
    let mut to_frozen = Record {
        sequence: last.sequence.next(),
        time: Time::from_micros(last.time.micros() + 1),
        ..records[3].clone()
    };
    *payer(&mut to_frozen) = Balance { posted: 1020 - 300, version: 5, ..*payer(&mut to_frozen) };
    let wrong = audit.check(&to_frozen).expect_err("bob is frozen");
    assert!(wrong.contains("no money could move on account bob"), "{wrong}");
}

/// After the small history: 10 alice is changed; 11 bob is active again; 12 and 13, a hold is placed and
/// released; 14 carol is opened with 5.00; 15 and 16, dave is opened and closed; 17 of the capture 0.10 are moved
/// back; 18 and 19, a hold is placed and captured as a whole; 20 the rest of the capture is moved back.
async fn more_records() -> Vec<Record> {
    let account = |id: &str| AccountId::parse(id).expect("it is well formed");
    let text = |text: &str| Description::parse(text).expect("it is short");
    let hold_id = |number| HoldId::new(LEDGER, Sequence::new(number));
    let usd = || Currency::parse("USD").expect("it is known");
    let open = |id: &str, initial_balance| Command::CreateAccount {
        account_id: NewAccountId::ByClient(account(id)),
        currency: usd(),
        display_name: DisplayName::parse("somebody").expect("it is short"),
        overdraft_limit: OverdraftLimit::new(7).expect("it is not below 0"),
        labels: Labels::parse([("k", "v")]).expect("they are well formed"),
        initial_balance,
    };
    let place = || Command::PlaceHold {
        parties: HoldParties::new(account("alice"), Some(account("bob"))).expect("they are two"),
        amount: Money { currency: usd(), amount: amount(20) },
        ttl: None,
        description: text("hotel"),
        labels: Labels::default(),
    };
    let back = |amount| Command::ReverseTransaction {
        transaction_id: TransactionId::new(LEDGER, Sequence::new(7)),
        amount,
        description: text(""),
    };
    let update = Command::UpdateAccount {
        account_id: account("alice"),
        display_name: Some(DisplayName::parse("Alice").expect("it is short")),
        overdraft_limit: Some(OverdraftLimit::new(200).expect("it is not below 0")),
        labels: None,
        etag: None,
    };
    let commands = [
        update,
        Command::UnfreezeAccount { account_id: account("bob"), reason: text("") },
        place(),
        Command::ReleaseHold { hold_id: hold_id(12) },
        open("carol", Some(amount(500))),
        open("dave", None),
        Command::CloseAccount { account_id: account("dave"), reason: text("") },
        back(Some(amount(10))),
        place(),
        Command::CaptureHold { hold_id: hold_id(18), amount: None },
        back(None),
    ];
    let store = MemoryStore::new(LEDGER, VolatileJournal::default(), ManualClock::new());
    for request in small_history() {
        let _ = store.execute(request).await.expect("it is kept");
    }
    for command in commands {
        let request = Request { id: None, caller: None, command };
        store.execute(request).await.expect("it is kept").expect("it is not refused");
    }
    let all = everything(&store).await.expect("it can be read").records;
    all.into_iter().map(|it| it.expect("it is there").record).collect()
}

fn account(record: &mut Record) -> &mut Account {
    match change(record) {
        Change::AccountOpened { account, .. } | Change::AccountChanged { account } => account,
        other => panic!("{other:?}"),
    }
}

fn name() -> DisplayName {
    DisplayName::parse("another").expect("it is short")
}

fn labels() -> Labels {
    Labels::parse([("other", "one")]).expect("they are well formed")
}

fn never() -> Time {
    Time::from_micros(1)
}

#[tokio::test]
async fn an_account_is_opened_as_it_was_asked() {
    let usd = || Currency::parse("USD").expect("it is known");
    let drop_deposit = |record: &mut Record| {
        let Change::AccountOpened { account, deposit } = change(record) else { panic!() };
        (account.balance.posted, account.balance.version, *deposit) = (0, 0, None);
    };
    check_lies(
        &more_records().await,
        &[
            (14, &|it| account(it).display_name = name(), "not as it was asked: its display name"),
            (14, &|it| account(it).labels = labels(), "not as it was asked: its labels"),
            (14, &|it| account(it).id = AccountId::external(&usd()), "was there already"),
            (
                15,
                &|it| standing(it).overdraft_limit = limit(8),
                "not as it was asked: its overdraft limit",
            ),
            (
                15,
                &|it| account(it).create_time = never(),
                "not as it was asked: its time of creation",
            ),
            (
                15,
                &|it| account(it).update_time = never(),
                "not as it was asked: its time of change",
            ),
            (15, &|it| account(it).revision = 9, "not as it was asked: its etag"),
            (15, &|it| account(it).state = AccountState::Frozen, "not as it was asked: its state"),
            (14, &drop_deposit, "not as it was asked: what it moves"),
        ],
    );
}

#[tokio::test]
async fn an_account_is_changed_as_it_was_asked() {
    let records = more_records().await;
    let state = |state| move |it: &mut Record| account(it).state = state;
    check_lies(
        &records,
        &[
            (10, &|it| account(it).display_name = name(), "not as it was asked: its display name"),
            (10, &|it| account(it).labels = labels(), "not as it was asked: its labels"),
            (
                10,
                &|it| standing(it).overdraft_limit = limit(201),
                "not as it was asked: its overdraft limit",
            ),
            (
                10,
                &|it| account(it).id = AccountId::parse("bob").expect("it is one"),
                "not as it was asked: its account",
            ),
            (10, &|it| account(it).revision = 1, "not as it was asked: its etag"),
            (
                10,
                &|it| account(it).create_time = never(),
                "not as it was asked: its time of creation",
            ),
            (10, &state(AccountState::Frozen), "not as it was asked: its state"),
            (9, &state(AccountState::Active), "not as it was asked: its state"),
            (9, &|it| account(it).labels = labels(), "not as it was asked: its labels"),
            (
                9,
                &|it| standing(it).overdraft_limit = limit(1),
                "not as it was asked: its overdraft limit",
            ),
            (11, &state(AccountState::Frozen), "not as it was asked: its state"),
            (16, &state(AccountState::Active), "not as it was asked: its state"),
        ],
    );
}

#[tokio::test]
async fn a_hold_is_what_was_asked() {
    let records = more_records().await;
    let of = |number: usize| records[number - 1].outcome.clone();
    let release = |it: &mut Record| {
        it.request.command = Command::ReleaseHold { hold_id: HoldId::new(LEDGER, it.sequence) };
    };
    let more = |it: &mut Record| {
        hold(it).amount.amount = amount(21);
        standing(it).held += 1;
    };
    check_lies(
        &records,
        &[
            (12, &more, "not as it was asked: its amount"),
            (12, &|it| hold(it).to_account_id = None, "not as it was asked: who it pays"),
            (12, &|it| hold(it).expire_time = never(), "not as it was asked: its time of expiry"),
            (12, &|it| hold(it).labels = labels(), "not as it was asked: its labels"),
            (
                12,
                &|it| hold(it).description = Description::default(),
                "not as it was asked: its description",
            ),
            (12, &|it| hold(it).create_time = never(), "not as it was asked: its time of creation"),
            (
                12,
                &|it| it.request.id = records[0].request.id.clone(),
                "not as it was asked: its request id",
            ),
            (13, &release, "not as it was asked: its hold"),
            (9, &|it| it.request = records[3].request.clone(), "it did something else"),
            (11, &|it| it.outcome = of(4), "it did something else"),
        ],
    );
}

#[tokio::test]
async fn a_capture_moves_what_was_asked() {
    let capture = |record: &mut Record, captured: i64| {
        let (captured, transaction) = (amount(captured), record.sequence);
        hold(record).state = HoldState::Captured { captured, transaction };
        posting(record).movement.amount = captured;
    };
    let another = |it: &mut Record| {
        let hold_id = HoldId::new(LEDGER, Sequence::new(12));
        it.request.command = Command::CaptureHold { hold_id, amount: None };
    };
    check_lies(
        &more_records().await,
        &[
            (7, &|it| capture(it, 29), "not as it was asked: its amount"),
            (7, &|it| capture(it, 40), "not as it was asked: its amount"),
            (19, &|it| capture(it, 19), "not as it was asked: its amount"),
            (19, &another, "not as it was asked: its hold"),
        ],
    );
}

#[tokio::test]
async fn a_reversal_moves_what_was_asked() {
    let another = |it: &mut Record| {
        let Command::ReverseTransaction { transaction_id, .. } = &mut it.request.command else {
            panic!()
        };
        *transaction_id = TransactionId::new(LEDGER, Sequence::new(3));
    };
    let part = |it: &mut Record, part| posting(it).movement.amount = amount(part);
    let records = more_records().await;
    check_lies(
        &records,
        &[
            (8, &|it| part(it, 299), "not as it was asked: its amount"),
            (8, &another, "not as it was asked: its transaction"),
            (17, &|it| part(it, 11), "not as it was asked: its amount"),
            (20, &|it| part(it, 19), "not as it was asked: its amount"),
        ],
    );

    let mut audit = Audit::new(LEDGER);
    for record in &records {
        audit.check(record).expect("nothing is wrong with it");
    }
    assert_eq!(audit.end(), Ok(8));
}

fn limit(minor_units: i64) -> OverdraftLimit {
    OverdraftLimit::new(minor_units).expect("it is not below 0")
}
