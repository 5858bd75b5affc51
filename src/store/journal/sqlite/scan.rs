//! Walks all records of a file in order, and along their chain.

use rusqlite::Connection;

use crate::ledger::{LedgerId, Record, Sequence};
use crate::store::{Error, codec};

use super::chain::ChainHash;
use super::file;

/// Goes through all records: where it ends, which is the file's head.
///
/// # Errors
///
/// [`Error::Damaged`] with the first record that is missing, can't be read, or doesn't fit the chain.
pub(super) fn records(
    connection: &Connection,
    ledger_id: LedgerId,
    each: &mut dyn FnMut(Record) -> Result<(), Error>,
) -> Result<(Sequence, ChainHash), Error> {
    let mut last = Sequence::default();
    let mut hash = ChainHash::before_all(ledger_id);
    let damaged = |sequence: Sequence, cause: &dyn std::fmt::Display| Error::Damaged {
        sequence,
        cause: cause.to_string(),
    };
    // One read transaction: the head is that of these records, also while a bank is writing.
    let snapshot = connection.unchecked_transaction().map_err(|error| damaged(last, &error))?;
    let mut statement = snapshot
        .prepare("SELECT sequence, record, checksum FROM records ORDER BY sequence")
        .map_err(|error| damaged(last, &error))?;
    let mut rows = statement.query([]).map_err(|error| damaged(last, &error))?;
    loop {
        let sequence = last.next();
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => break,
            Err(error) => return Err(damaged(sequence, &error)),
        };
        let read = || -> rusqlite::Result<(i64, &[u8], i64)> {
            Ok((row.get(0)?, row.get_ref(1)?.as_blob()?, row.get(2)?))
        };
        let (number, bytes, checksum) = read().map_err(|error| damaged(sequence, &error))?;
        if number != sequence.number().cast_signed() {
            return Err(damaged(sequence, &"it is not there"));
        }
        let linked = codec::decode(bytes).map_err(|error| damaged(sequence, &error))?;
        if linked.record.sequence != sequence {
            return Err(damaged(sequence, &"another record stands in its place"));
        }
        if linked.previous_hash != hash.as_bytes() {
            return Err(damaged(sequence, &"it does not fit the record before it"));
        }
        hash = ChainHash::of(bytes);
        if hash.checksum() != checksum {
            return Err(damaged(sequence, &"it does not match its checksum"));
        }
        each(linked.record)?;
        last = sequence;
    }
    let (head, head_hash) =
        file::head(&snapshot, ledger_id).map_err(|error| damaged(last, &error))?;
    if head > last {
        return Err(damaged(last.next(), &"it is not there"));
    }
    if (head, head_hash) != (last, Some(hash)) {
        return Err(damaged(last, &"it is not the newest record that the file says it is"));
    }
    Ok((last, hash))
}
