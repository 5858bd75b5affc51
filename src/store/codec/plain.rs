//! Plain postings, read in a hurry.
//!
//! Nearly all records of a ledger are deposits, withdrawals and transfers that took place. Whoever reads
//! millions of them to know the books needs little of each: when it was, its request id, and what it left
//! on which accounts. The messages here are those fields of the stored form, with the same numbers, and
//! leave bytes where they are. The chain vouches for what isn't looked at.

use bytes::Bytes;
use compact_str::{CompactString, format_compact};
use prost::Message;

use crate::ledger::{Balance, Sequence, Time};

use super::outcome::read_balance;
use super::{DecodeError, stored};

/// A posting that its command says all about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainPosting {
    /// The place of its record.
    pub sequence: Sequence,
    /// When it was decided.
    pub time: Time,
    /// The account that paid, and what it had then.
    pub(in crate::store) from: (CompactString, Balance),
    /// The account that received, and what it had then.
    pub(in crate::store) to: (CompactString, Balance),
    request_id: Bytes,
}

impl PlainPosting {
    /// The id of the request; none when it had none.
    pub(in crate::store) fn request_id(&self) -> Option<&str> {
        str::from_utf8(&self.request_id).ok().filter(|id| !id.is_empty())
    }
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(int64, tag = "2")]
    time_us: i64,
    #[prost(bytes = "bytes", tag = "3")]
    request_id: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    previous_hash: Bytes,
    #[prost(message, optional, tag = "6")]
    deposit: Option<MoveCommand>,
    #[prost(message, optional, tag = "7")]
    withdraw: Option<MoveCommand>,
    #[prost(message, optional, tag = "8")]
    transfer: Option<MoveCommand>,
    #[prost(message, optional, tag = "9")]
    posted: Option<Posting>,
}

#[derive(Clone, PartialEq, Message)]
struct MoveCommand {
    #[prost(bytes = "bytes", tag = "1")]
    account_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    to_account_id: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    currency_code: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Posting {
    #[prost(message, optional, tag = "1")]
    from_balance: Option<stored::Balance>,
    #[prost(message, optional, tag = "2")]
    to_balance: Option<stored::Balance>,
    /// Set when the command doesn't say all.
    #[prost(bytes = "bytes", optional, tag = "3")]
    movement: Option<Bytes>,
}

/// Reads a record if it is a plain posting, and the hash in it of the record before.
pub(in crate::store) fn decode_plain(
    bytes: Bytes,
) -> Result<Option<(PlainPosting, Bytes)>, DecodeError> {
    let record = Record::decode(bytes)?;
    let Some(posting) = record.posted.filter(|posting| posting.movement.is_none()) else {
        return Ok(None);
    };
    let (from, to) = match (record.deposit, record.withdraw, record.transfer) {
        (Some(moved), None, None) => (external(&moved)?, text(&moved.account_id)?),
        (None, Some(moved), None) => (text(&moved.account_id)?, external(&moved)?),
        (None, None, Some(moved)) => (text(&moved.account_id)?, text(&moved.to_account_id)?),
        _ => return Ok(None),
    };
    let balance = |balance: Option<stored::Balance>| {
        read_balance(&balance.ok_or(DecodeError::Missing("a balance"))?)
    };
    let plain = PlainPosting {
        sequence: Sequence::new(record.sequence),
        time: Time::from_micros(record.time_us),
        from: (from, balance(posting.from_balance)?),
        to: (to, balance(posting.to_balance)?),
        request_id: record.request_id,
    };
    Ok(Some((plain, record.previous_hash)))
}

fn external(moved: &MoveCommand) -> Result<CompactString, DecodeError> {
    Ok(format_compact!("@external:{}", text(&moved.currency_code)?))
}

fn text(bytes: &Bytes) -> Result<CompactString, DecodeError> {
    CompactString::from_utf8(bytes).map_err(|_| DecodeError::Missing("text that can be read"))
}
