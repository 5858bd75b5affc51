//! Rows of the tables, read into things of the ledger.

use std::error::Error as StdError;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::engine::Trouble;
use crate::ledger::{
    Account, Balance, Hold, HoldState, LedgerId, OverdraftLimit, Record, Sequence, Time,
};
use crate::store::chain::ChainHash;
use crate::store::{Error, codec};

/// Why something could not be done.
#[derive(Debug)]
pub(super) enum Failure {
    /// The engine is in trouble.
    Trouble(Trouble),
    /// What it keeps is not right.
    Store(Error),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// A number of a record as it stands in a column.
pub(super) fn sequence(number: i64) -> Sequence {
    Sequence::new(number.unsigned_abs())
}

/// A column of a row.
pub(super) fn column<'a, T: FromSql<'a>>(row: &'a Row, name: &str) -> Result<T, Failure> {
    row.try_get(name).map_err(|error| Failure::Trouble(Trouble::Broken(error.to_string())))
}

fn damaged(number: i64, cause: impl Into<Box<dyn StdError>>) -> Failure {
    Failure::Store(Error::Damaged { sequence: sequence(number), cause: cause.into().to_string() })
}

/// A record, from the columns `sequence`, `record` and `checksum`.
pub(super) fn record(row: &Row) -> Result<Record, Failure> {
    let number: i64 = column(row, "sequence")?;
    let bytes: &[u8] = column(row, "record")?;
    if ChainHash::of(bytes).checksum() != column::<i64>(row, "checksum")? {
        return Err(damaged(number, "its checksum is that of something else"));
    }
    let record = codec::decode(bytes).map_err(|error| damaged(number, error))?.record;
    if record.sequence != sequence(number) {
        return Err(damaged(number, "it stands in another's place"));
    }
    Ok(record)
}

/// An account with what is posted on it, from the columns `number`, `posted`, `overdraft_limit`, `version`
/// and `details`; nothing is held on it yet.
pub(super) fn account(row: &Row) -> Result<Account, Failure> {
    let number: i64 = column(row, "number")?;
    let account = codec::decode_account(column(row, "details")?);
    let account = account.map_err(|error| damaged(number, error))?;
    let limit = OverdraftLimit::new(column(row, "overdraft_limit")?);
    let balance = Balance {
        posted: column(row, "posted")?,
        held: 0,
        overdraft_limit: limit.map_err(|error| damaged(number, error))?,
        version: column::<i64>(row, "version")?.unsigned_abs(),
    };
    Ok(Account { balance, ..account })
}

/// A hold, from the columns `placed` and `hold`.
pub(super) fn hold(row: &Row) -> Result<Hold, Failure> {
    let number: i64 = column(row, "placed")?;
    codec::decode_hold(column(row, "hold")?).map_err(|error| damaged(number, error))
}

/// Whether the head row, by its columns `ledger_id` and `importing`, is that of a ledger, and is being filled
/// or not. Tables may be filled with another one's records while banks run.
pub(super) fn check_ledger(
    head: &Row,
    ledger_id: LedgerId,
    importing: bool,
) -> Result<(), Failure> {
    let found = (column::<i64>(head, "ledger_id")?, column::<bool>(head, "importing")?);
    if found == (ledger_id.number().cast_signed(), importing) {
        return Ok(());
    }
    let cause = "the database keeps, or is given, other books now: start the bank again";
    Err(Trouble::Broken(cause.to_owned()).into())
}

/// Whether a hold counts in its account's sum, from the column `state`.
pub(super) fn is_counted(row: &Row, hold: &Hold) -> Result<bool, Failure> {
    Ok(hold.state == HoldState::Held && column::<i16>(row, "state")? == HELD)
}

/// The state of a hold that is held.
pub(super) const HELD: i16 = 1;
/// The state of a hold that has expired and was taken off its account's sum.
pub(super) const SWEPT: i16 = 4;

/// A time, from a column of microseconds.
pub(super) fn time(row: &Row, name: &str) -> Result<Time, Failure> {
    Ok(Time::from_micros(column(row, name)?))
}

/// A sum that may be wider than 64 bits, from a column of text.
pub(super) fn wide(row: &Row, name: &str) -> Result<i128, Failure> {
    let text: &str = column(row, name)?;
    text.parse().map_err(|_| Failure::Trouble(Trouble::Broken(format!("{name} is no number"))))
}
