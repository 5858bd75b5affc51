//! An audit adds up what records say: it finds what can't be, however well formed it is, and nothing wrong
//! with what a store has decided (`properties` looks into that).

use bank::ledger::{
    AccountState, Amount, Audit, Balance, Change, Command, Hold, HoldState, OverdraftLimit,
    Posting, Record, Sequence, Time,
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
            (4, &|it| posting(it).movement.amount = amount(299), "than what was asked"),
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
