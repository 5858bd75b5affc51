//! Records in their stored form, and back.
//!
//! **Invariant:** reading gives exactly what was written. A posting leaves its movement out where it
//! is the one that the command asks for; reading puts it back.

mod command;
mod outcome;
mod plain;
mod read;
mod refusal;
mod write;

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::ledger::{
    Account, AccountId, AccountState, Amount, CallerName, Change, Currency, Hold, Labels,
    Malformed, Money, Posting, Record, Request, RequestId, Sequence, Time, TransactionType,
};

use command::{read_command, store_command};
use outcome::{
    read_account, read_balance, read_hold, read_posting, store_account, store_balance, store_hold,
    store_posting, store_state, store_type,
};
use refusal::{read_refusal, store_refusal};
use stored::record::Outcome as StoredOutcome;

#[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
mod stored {
    include!(concat!(env!("OUT_DIR"), "/bank.journal.v1.rs"));
}

pub use plain::PlainPosting;
pub(super) use plain::decode_plain;
use read::read_plain;
use stored::Record as StoredRecord;
use write::write_plain;

/// Why bytes are no record.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("{0}")]
    Bytes(#[from] prost::DecodeError),
    #[error("a value {0}")]
    Value(#[from] Malformed),
    #[error("{0} is missing")]
    Missing(&'static str),
}

/// A record in its stored form, and the hash in it of the record before.
pub(super) struct Linked {
    pub(super) record: Record,
    pub(super) previous_hash: Vec<u8>,
}

/// Writes a record, without the hash of the one before it, behind what the buffer has.
pub(super) fn encode(record: &Record, buffer: &mut Vec<u8>) {
    if !write_plain(record, buffer) {
        to_stored(record).encode(buffer).expect("a Vec grows as needed");
    }
}

/// Adds the hash of the record before to what [`encode`] has written. The fields of a message may stand in
/// any order, so it is put at the end.
pub(super) fn encode_previous_hash(hash: &[u8; 32], buffer: &mut Vec<u8>) {
    const PREVIOUS_HASH: u32 = 5;
    encode_key(PREVIOUS_HASH, WireType::LengthDelimited, buffer);
    encode_varint(hash.len() as u64, buffer);
    buffer.extend_from_slice(hash);
}

/// Reads a record, and the hash in it.
pub(super) fn decode(bytes: &[u8]) -> Result<Linked, DecodeError> {
    read_plain(bytes).map_or_else(|| decode_stored(bytes), Ok)
}

/// Reads a record of any kind.
fn decode_stored(bytes: &[u8]) -> Result<Linked, DecodeError> {
    let mut stored = StoredRecord::decode(bytes)?;
    let previous_hash = std::mem::take(&mut stored.previous_hash);
    Ok(Linked { record: from_stored(stored)?, previous_hash })
}

/// Writes an account by itself.
pub(super) fn encode_account(account: &Account) -> Vec<u8> {
    store_account(account).encode_to_vec()
}

/// Reads what [`encode_account`] has written.
pub(super) fn decode_account(bytes: &[u8]) -> Result<Account, DecodeError> {
    read_account(&stored::Account::decode(bytes)?)
}

/// Writes a hold by itself.
pub(super) fn encode_hold(hold: &Hold) -> Vec<u8> {
    store_hold(hold).encode_to_vec()
}

/// Reads what [`encode_hold`] has written.
pub(super) fn decode_hold(bytes: &[u8]) -> Result<Hold, DecodeError> {
    read_hold(&stored::Hold::decode(bytes)?)
}

/// The number that stands for a kind of movement.
pub(super) fn number_of_type(kind: TransactionType) -> i32 {
    store_type(kind).into()
}

/// The number that stands for the state of an account.
pub(super) fn number_of_account_state(state: AccountState) -> i32 {
    store_state(state).into()
}

/// The number that stands for the state of a hold.
pub(super) fn number_of_hold_state(hold: &Hold) -> i32 {
    store_hold(hold).state
}

fn to_stored(record: &Record) -> StoredRecord {
    let movement = record.request.command.movement();
    let posting = |posting: &Posting| store_posting(posting, movement.as_ref());
    StoredRecord {
        previous_hash: Vec::new(),
        sequence: record.sequence.number(),
        time_us: record.time.micros(),
        request_id: record.request.id.as_ref().map_or("", RequestId::as_str).to_owned(),
        caller: record.request.caller.as_ref().map_or("", CallerName::as_str).to_owned(),
        command: Some(store_command(&record.request.command)),
        outcome: Some(match &record.outcome {
            Ok(Change::Posted(one)) => StoredOutcome::Posted(posting(one)),
            Ok(Change::AccountOpened { account, deposit }) => {
                StoredOutcome::AccountOpened(stored::AccountOpened {
                    account: Some(store_account(account)),
                    deposit: deposit.as_ref().map(posting),
                })
            }
            Ok(Change::AccountChanged { account }) => {
                StoredOutcome::AccountChanged(store_account(account))
            }
            Ok(Change::HoldPlaced { hold, balance }) => {
                StoredOutcome::HoldPlaced(stored::HoldPlaced {
                    hold: Some(store_hold(hold)),
                    balance: Some(store_balance(*balance)),
                })
            }
            Ok(Change::HoldCaptured { hold, posting: one }) => {
                StoredOutcome::HoldCaptured(stored::HoldCaptured {
                    hold: Some(store_hold(hold)),
                    posting: Some(posting(one)),
                })
            }
            Ok(Change::HoldReleased { hold }) => StoredOutcome::HoldReleased(store_hold(hold)),
            Ok(Change::Reversed { original, posting: one }) => {
                StoredOutcome::Reversed(stored::Reversed {
                    original_sequence: original.number(),
                    posting: Some(posting(one)),
                })
            }
            Err(refusal) => StoredOutcome::Refused(store_refusal(refusal)),
        }),
    }
}

fn from_stored(record: StoredRecord) -> Result<Record, DecodeError> {
    let id = match record.request_id.as_str() {
        "" => None,
        id => Some(RequestId::parse(id)?),
    };
    let caller = match record.caller.as_str() {
        "" => None,
        name => Some(CallerName::parse(name)?),
    };
    let command = read_command(record.command.ok_or(DecodeError::Missing("the command"))?)?;
    let outcome = match record.outcome.ok_or(DecodeError::Missing("the outcome"))? {
        StoredOutcome::Posted(posting) => Ok(Change::Posted(read_posting(posting, &command)?)),
        StoredOutcome::AccountOpened(opened) => Ok(Change::AccountOpened {
            account: read_account(&opened.account.ok_or(DecodeError::Missing("the account"))?)?,
            deposit: opened.deposit.map(|posting| read_posting(posting, &command)).transpose()?,
        }),
        StoredOutcome::AccountChanged(account) => {
            Ok(Change::AccountChanged { account: read_account(&account)? })
        }
        StoredOutcome::HoldPlaced(placed) => Ok(Change::HoldPlaced {
            hold: read_hold(&placed.hold.ok_or(DecodeError::Missing("the hold"))?)?,
            balance: read_balance(&placed.balance.ok_or(DecodeError::Missing("the balance"))?)?,
        }),
        StoredOutcome::HoldCaptured(captured) => Ok(Change::HoldCaptured {
            hold: read_hold(&captured.hold.ok_or(DecodeError::Missing("the hold"))?)?,
            posting: read_posting(
                captured.posting.ok_or(DecodeError::Missing("the posting"))?,
                &command,
            )?,
        }),
        StoredOutcome::HoldReleased(hold) => Ok(Change::HoldReleased { hold: read_hold(&hold)? }),
        StoredOutcome::Reversed(reversed) => Ok(Change::Reversed {
            original: Sequence::new(reversed.original_sequence),
            posting: read_posting(
                reversed.posting.ok_or(DecodeError::Missing("the posting"))?,
                &command,
            )?,
        }),
        StoredOutcome::Refused(refusal) => Err(read_refusal(refusal)?),
    };
    Ok(Record {
        sequence: Sequence::new(record.sequence),
        time: Time::from_micros(record.time_us),
        request: Request { id, caller, command },
        outcome,
    })
}

fn read_optional_account(id: &str) -> Result<Option<AccountId>, DecodeError> {
    Ok(if id.is_empty() { None } else { Some(AccountId::parse(id)?) })
}

fn store_labels(labels: &Labels) -> Vec<stored::Label> {
    labels
        .iter()
        .map(|(key, value)| stored::Label { key: key.to_owned(), value: value.to_owned() })
        .collect()
}

fn read_labels(labels: &[stored::Label]) -> Result<Labels, DecodeError> {
    Ok(Labels::parse(labels.iter().map(|label| (label.key.as_str(), label.value.as_str())))?)
}

fn read_money(amount: i64, currency_code: &str) -> Result<Money, DecodeError> {
    Ok(Money { currency: Currency::parse(currency_code)?, amount: Amount::new(amount)? })
}
