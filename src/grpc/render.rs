//! From what the ledger says to protobuf.
//!
//! An answer is rendered from its record, so a repeat gets what the first request got, balances
//! included. Rendering decides nothing; a record that lacks what its answer needs is damaged.

use prost::Message;
use prost_types::Timestamp;
use tonic::Status;

use crate::ledger::{
    Account, AccountId, AccountState, Balance, Change, Currency, Hold, HoldId, HoldState, LedgerId,
    Posting, Record, Time, Totals, TransactionId, TransactionType,
};
use crate::store::{self, AccountView, Executed, LinkedRecord, PastBalance};

use super::proto;

pub(super) fn timestamp(time: Time) -> Timestamp {
    let micros = time.micros();
    let nanos = micros.rem_euclid(1_000_000) * 1000;
    Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(nanos).expect("below 10^9"),
    }
}

pub(super) fn account(account: &Account, time: Time) -> proto::Account {
    proto::Account {
        account_id: account.id.as_str().to_owned(),
        currency_code: account.currency.code().to_owned(),
        display_name: account.display_name.as_str().to_owned(),
        state: match account.state {
            AccountState::Active => proto::AccountState::Active,
            AccountState::Frozen => proto::AccountState::Frozen,
            AccountState::Closed => proto::AccountState::Closed,
        }
        .into(),
        overdraft_limit: account.balance.overdraft_limit.minor_units(),
        balance: Some(balance(&account.currency, &account.balance, time)),
        labels: owned(account.labels.iter()),
        create_time: Some(timestamp(account.create_time)),
        update_time: Some(timestamp(account.update_time)),
        etag: account.etag(),
    }
}

pub(super) fn account_view(view: &AccountView) -> proto::Account {
    account(&view.account, view.time)
}

pub(super) fn balance(currency: &Currency, balance: &Balance, time: Time) -> proto::Balance {
    proto::Balance {
        currency_code: currency.code().to_owned(),
        posted: balance.posted,
        held: balance.held,
        available: balance.available(),
        version: count(balance.version),
        as_of_time: Some(timestamp(time)),
    }
}

/// The balance of a moment in the past: what was held and available then is not kept.
pub(super) fn past_balance(past: &PastBalance) -> proto::Balance {
    proto::Balance { held: 0, available: 0, ..balance(&past.currency, &past.balance, past.time) }
}

/// The account that a mutation left.
pub(super) fn changed_account(executed: &Executed) -> Result<proto::Account, store::Error> {
    match &executed.record.outcome {
        Ok(
            Change::AccountOpened { account: one, .. } | Change::AccountChanged { account: one },
        ) => Ok(account(one, executed.record.time)),
        _ => Err(damaged(&executed.record, "an account")),
    }
}

/// The posting that a mutation made.
pub(super) fn made_posting(record: &Record) -> Result<&Posting, store::Error> {
    record.posting().ok_or_else(|| damaged(record, "a posting"))
}

/// A balance that a posting left on one of its sides.
pub(super) fn left_balance(record: &Record, posting: &Posting, left: &Balance) -> proto::Balance {
    balance(&posting.movement.currency, left, record.time)
}

/// The transaction of a record; `asked_about` is the account whose balance it tells.
pub(super) fn transaction(
    ledger: LedgerId,
    record: &Record,
    asked_about: Option<&AccountId>,
) -> Result<proto::Transaction, store::Error> {
    let posting = made_posting(record)?;
    let movement = &posting.movement;
    let (description, labels) = record.annotations();
    Ok(proto::Transaction {
        transaction_id: TransactionId::new(ledger, record.sequence).as_str().to_owned(),
        r#type: transaction_type(movement.kind).into(),
        amount: Some(proto::Money {
            currency_code: movement.currency.code().to_owned(),
            minor_units: movement.amount.minor_units(),
        }),
        from_account_id: movement.from.as_str().to_owned(),
        to_account_id: movement.to.as_str().to_owned(),
        create_time: Some(timestamp(record.time)),
        request_id: record.request.id.as_ref().map_or("", |id| id.as_str()).to_owned(),
        description: description.map_or("", |description| description.as_str()).to_owned(),
        labels: labels.map(|labels| owned(labels.iter())).unwrap_or_default(),
        sequence: count(record.sequence.number()),
        hold_id: match &record.outcome {
            Ok(Change::HoldCaptured { hold, .. }) => {
                HoldId::new(ledger, hold.placed).as_str().to_owned()
            }
            _ => String::new(),
        },
        reverses_transaction_id: match &record.outcome {
            Ok(Change::Reversed { original, .. }) => {
                TransactionId::new(ledger, *original).as_str().to_owned()
            }
            _ => String::new(),
        },
        reversed_by_transaction_ids: Vec::new(),
        balance_after: asked_about
            .and_then(|account| posting.balance_of(account))
            .map(|balance| balance.posted),
    })
}

pub(super) fn transaction_type(kind: TransactionType) -> proto::TransactionType {
    match kind {
        TransactionType::Deposit => proto::TransactionType::Deposit,
        TransactionType::Withdrawal => proto::TransactionType::Withdrawal,
        TransactionType::Transfer => proto::TransactionType::Transfer,
        TransactionType::Reversal => proto::TransactionType::Reversal,
    }
}

/// A transaction as it is seen later, with those that have moved its money back since.
pub(crate) fn linked_transaction(
    ledger: LedgerId,
    linked: &LinkedRecord,
    asked_about: Option<&AccountId>,
) -> Result<proto::Transaction, store::Error> {
    let mut transaction = transaction(ledger, &linked.record, asked_about)?;
    let reversed_by = linked.reversed_by.iter();
    transaction.reversed_by_transaction_ids = reversed_by
        .map(|sequence| TransactionId::new(ledger, *sequence).as_str().to_owned())
        .collect();
    Ok(transaction)
}

pub(super) fn hold(ledger: LedgerId, hold: &Hold) -> proto::Hold {
    let (state, captured, transaction_id) = match hold.state {
        HoldState::Held => (proto::HoldState::Held, 0, String::new()),
        HoldState::Captured { captured, transaction } => (
            proto::HoldState::Captured,
            captured.minor_units(),
            TransactionId::new(ledger, transaction).as_str().to_owned(),
        ),
        HoldState::Released => (proto::HoldState::Released, 0, String::new()),
        HoldState::Expired => (proto::HoldState::Expired, 0, String::new()),
    };
    proto::Hold {
        hold_id: HoldId::new(ledger, hold.placed).as_str().to_owned(),
        account_id: hold.account_id.as_str().to_owned(),
        to_account_id: hold.to_account_id.as_ref().map_or("", AccountId::as_str).to_owned(),
        amount: Some(proto::Money {
            currency_code: hold.amount.currency.code().to_owned(),
            minor_units: hold.amount.amount.minor_units(),
        }),
        state: state.into(),
        captured,
        transaction_id,
        create_time: Some(timestamp(hold.create_time)),
        expire_time: Some(timestamp(hold.expire_time)),
        update_time: Some(timestamp(hold.update_time)),
        request_id: hold.request_id.as_ref().map_or("", |id| id.as_str()).to_owned(),
        description: hold.description.as_str().to_owned(),
        labels: owned(hold.labels.iter()),
    }
}

/// The hold that a mutation left.
pub(super) fn changed_hold(ledger: LedgerId, record: &Record) -> Result<proto::Hold, store::Error> {
    let change = record.outcome.as_ref().ok();
    let left = change.and_then(Change::hold).ok_or_else(|| damaged(record, "a hold"))?;
    Ok(hold(ledger, left))
}

/// The balance that setting money aside left.
pub(super) fn balance_after_hold(record: &Record) -> Result<proto::Balance, store::Error> {
    match &record.outcome {
        Ok(Change::HoldPlaced { hold, balance: left }) => {
            Ok(balance(&hold.amount.currency, left, record.time))
        }
        _ => Err(damaged(record, "a balance")),
    }
}

/// What came of an operation of a batch.
pub(super) fn operation_result(
    ledger: LedgerId,
    executed: &Executed,
) -> Result<proto::OperationResult, store::Error> {
    use proto::operation_result::Result as Kind;
    let record = &executed.record;
    let asked_about = record.request.command.asked_about();
    let result = match record.posting() {
        Some(_) => Kind::Transaction(transaction(ledger, record, asked_about)?),
        None => Kind::Hold(changed_hold(ledger, record)?),
    };
    Ok(proto::OperationResult { result: Some(result), replayed: executed.replayed })
}

/// What an operation of a batch failed with: the status that its RPC would have failed with.
pub(super) fn operation_error(status: &Status) -> proto::OperationResult {
    let decoded = tonic_types::pb::Status::decode(status.details());
    let error = decoded.unwrap_or_else(|_| tonic_types::pb::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    });
    let result = proto::operation_result::Result::Error(error);
    proto::OperationResult { result: Some(result), replayed: false }
}

pub(super) fn totals(currency: &Currency, totals: &Totals) -> proto::CurrencyTotals {
    // Every sum is within 64 bits as long as the books are right; if they are not, the largest
    // number still says so.
    let shown = |sum: i128| i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX });
    proto::CurrencyTotals {
        currency_code: currency.code().to_owned(),
        accounts_posted: shown(totals.accounts_posted),
        external_posted: shown(totals.external_posted),
        difference: shown(totals.accounts_posted + totals.external_posted),
        account_count: count(totals.account_count),
        transaction_count: count(totals.transaction_count),
    }
}

/// Counts are signed on the wire, where 2^63 of anything never fits anyway.
pub(super) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn owned<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> std::collections::HashMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn damaged(record: &Record, lacks: &str) -> store::Error {
    store::Error::Damaged {
        sequence: record.sequence,
        cause: format!("it answers the request without {lacks}"),
    }
}
