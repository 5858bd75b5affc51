//! Whether what a record says was done is what its request asked for, in every field.
//!
//! Figures that follow from other records, balances above all, are none of this: the audit adds them up.

use super::Moved;
use crate::ledger::{
    Account, AccountId, AccountState, Amount, Balance, Books, Change, Command, Hold, HoldDuration,
    HoldId, HoldState, Record, Time, TransactionId,
};

/// Compares a change with what was asked, given the books before it, and what the transaction moved that it
/// moves back, if it does.
pub(super) fn check(
    change: &Change,
    record: &Record,
    books: &Books,
    first: Option<Moved>,
) -> Result<(), String> {
    let command = &record.request.command;
    match (command, change) {
        (Command::CreateAccount { .. }, Change::AccountOpened { account, deposit }) => {
            check_opened(account, command, record.time)?;
            let deposited = deposit.as_ref().map(|posting| &posting.movement);
            same("what it moves", deposited == command.movement().as_ref())
        }
        (
            Command::UpdateAccount { .. }
            | Command::FreezeAccount { .. }
            | Command::UnfreezeAccount { .. }
            | Command::CloseAccount { .. },
            Change::AccountChanged { account },
        ) => check_changed(account, command, books, record.time),
        (
            Command::Deposit { .. } | Command::Withdraw { .. } | Command::Transfer { .. },
            Change::Posted(posting),
        ) => same("what it moves", Some(&posting.movement) == command.movement().as_ref()),
        (Command::PlaceHold { .. }, Change::HoldPlaced { hold, .. }) => check_placed(hold, record),
        (Command::CaptureHold { hold_id, amount }, Change::HoldCaptured { hold, posting }) => {
            let asked = amount.unwrap_or(hold.amount.amount);
            all_same(&[
                ("its hold", HoldId::new(books.ledger(), hold.placed) == *hold_id),
                ("its amount", posting.movement.amount == asked),
            ])
        }
        (Command::ReleaseHold { hold_id }, Change::HoldReleased { hold }) => {
            same("its hold", HoldId::new(books.ledger(), hold.placed) == *hold_id)
        }
        (
            Command::ReverseTransaction { transaction_id, amount, description: _ },
            Change::Reversed { original, posting },
        ) => {
            let whole = first.map_or(0, |first| first.amount);
            let left = whole.saturating_sub(books.reversed(*original));
            let asked = amount.map_or(left, Amount::minor_units);
            let id = TransactionId::new(books.ledger(), *original);
            all_same(&[
                ("its transaction", id == *transaction_id),
                ("its amount", posting.movement.amount.minor_units() == asked),
            ])
        }
        _ => Err(something_else()),
    }
}

fn check_opened(account: &Account, command: &Command, now: Time) -> Result<(), String> {
    let Command::CreateAccount {
        account_id, currency, display_name, overdraft_limit, labels, ..
    } = command
    else {
        return Err(something_else());
    };
    let asked = Account {
        id: account_id.id().clone(),
        currency: currency.clone(),
        display_name: display_name.clone(),
        state: AccountState::Active,
        balance: Balance { overdraft_limit: *overdraft_limit, ..account.balance },
        labels: labels.clone(),
        create_time: now,
        update_time: now,
        revision: 1,
    };
    check_account(account, &asked)
}

fn check_changed(
    account: &Account,
    command: &Command,
    books: &Books,
    now: Time,
) -> Result<(), String> {
    let before = |id: &AccountId| {
        let standing = books.account(id, now).ok_or_else(|| format!("there is no account {id}"))?;
        let limit = standing.account.balance.overdraft_limit;
        let balance = Balance { overdraft_limit: limit, ..account.balance };
        Ok::<_, String>(Account { balance, ..standing.account.clone() })
    };
    let in_state = |id, state| -> Result<Account, String> {
        let before = before(id)?;
        if before.state == state {
            return Ok(before);
        }
        let revision = before.revision.saturating_add(1);
        Ok(Account { state, update_time: now, revision, ..before })
    };
    let asked = match command {
        Command::UpdateAccount { account_id, display_name, overdraft_limit, labels, .. } => {
            let before = before(account_id)?;
            let limit = overdraft_limit.unwrap_or(before.balance.overdraft_limit);
            Account {
                display_name: display_name.clone().unwrap_or(before.display_name),
                balance: Balance { overdraft_limit: limit, ..before.balance },
                labels: labels.clone().unwrap_or(before.labels),
                update_time: now,
                revision: before.revision.saturating_add(1),
                ..before
            }
        }
        Command::FreezeAccount { account_id, .. } => in_state(account_id, AccountState::Frozen)?,
        Command::UnfreezeAccount { account_id, .. } => in_state(account_id, AccountState::Active)?,
        Command::CloseAccount { account_id, .. } => in_state(account_id, AccountState::Closed)?,
        _ => return Err(something_else()),
    };
    check_account(account, &asked)
}

fn check_account(account: &Account, asked: &Account) -> Result<(), String> {
    let limits = (account.balance.overdraft_limit, asked.balance.overdraft_limit);
    all_same(&[
        ("its account", account.id == asked.id),
        ("its currency", account.currency == asked.currency),
        ("its display name", account.display_name == asked.display_name),
        ("its state", account.state == asked.state),
        ("its overdraft limit", limits.0 == limits.1),
        ("its labels", account.labels == asked.labels),
        ("its time of creation", account.create_time == asked.create_time),
        ("its time of change", account.update_time == asked.update_time),
        ("its etag", account.revision == asked.revision),
    ])
}

fn check_placed(hold: &Hold, record: &Record) -> Result<(), String> {
    let Command::PlaceHold { parties, amount, ttl, description, labels } = &record.request.command
    else {
        return Err(something_else());
    };
    let expire_time = record.time.after(ttl.unwrap_or(HoldDuration::DEFAULT));
    all_same(&[
        ("its hold", hold.placed == record.sequence && hold.state == HoldState::Held),
        ("its account", hold.account_id == *parties.account()),
        ("who it pays", hold.to_account_id.as_ref() == parties.to()),
        ("its amount", hold.amount == *amount),
        ("its time of creation", hold.create_time == record.time),
        ("its time of expiry", hold.expire_time == expire_time),
        ("its time of change", hold.update_time == record.time),
        ("its request id", hold.request_id == record.request.id),
        ("its description", hold.description == *description),
        ("its labels", hold.labels == *labels),
    ])
}

fn something_else() -> String {
    "it did something else than what was asked".to_owned()
}

fn same(what: &str, is_same: bool) -> Result<(), String> {
    if is_same { Ok(()) } else { Err(format!("not as it was asked: {what}")) }
}

fn all_same(fields: &[(&str, bool)]) -> Result<(), String> {
    fields.iter().try_for_each(|(what, is_same)| same(what, *is_same))
}
