//! The chain: every stored record bears the hash of the one before it.
//!
//! So a record that was changed, taken out, put in or swapped is found by whoever walks the chain, and the
//! hash of the newest record stands for all of them.

use super::Error;
use super::codec::DecodeError;
use crate::ledger::{LedgerId, Sequence};

/// The BLAKE3 hash of a stored record, which stands for it and all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// What the first record of a ledger bears.
    pub(super) fn before_all(ledger: LedgerId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("bank.journal.v1 ledger");
        hasher.update(&ledger.number().to_le_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The hash of a stored record.
    pub(super) fn of(stored: &[u8]) -> Self {
        Self(*blake3::hash(stored).as_bytes())
    }

    /// Reads a hash; none when it isn't of its length.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Reads a hash as it is printed: 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        data_encoding::HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .ok()
            .and_then(|it| Self::read(&it))
    }

    /// Its bytes.
    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A part of it, by which a record that is read alone is checked.
    pub(super) fn checksum(self) -> i64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        i64::from_le_bytes(first)
    }
}

impl std::fmt::Display for ChainHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// The place and the hash of a record, which stand for it and all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The record; 0 when there is none.
    pub sequence: Sequence,
    /// Its hash.
    pub hash: ChainHash,
}

/// What stands beside a stored record, and the hash of what is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) number: i64,
    pub(super) hash: ChainHash,
    pub(super) checksum: i64,
}

/// A walk along the chain, the first record of a ledger first. **Invariant:** nothing is taken that doesn't
/// fit what was taken before.
#[derive(Debug)]
pub(super) struct Walk {
    /// A record that was noted down, which must be there and be the same.
    noted: Option<Head>,
    last: Sequence,
    hash: ChainHash,
}

impl Walk {
    pub(super) fn new(ledger_id: LedgerId, noted: Option<Head>) -> Self {
        Self { noted, last: Sequence::default(), hash: ChainHash::before_all(ledger_id) }
    }

    /// A walk that goes on after a record.
    pub(super) fn after(head: Head) -> Self {
        Self { noted: None, last: head.sequence, hash: head.hash }
    }

    /// Where it is.
    pub(super) fn head(&self) -> Head {
        Head { sequence: self.last, hash: self.hash }
    }

    /// Takes the next record. Reading it says which one it is, what is wanted of it, and the hash in it of
    /// the record before.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when it isn't the next record, can't be read, or doesn't fit.
    pub(super) fn step<T, H: AsRef<[u8]>>(
        &mut self,
        link: Link,
        read: impl FnOnce() -> Result<(Sequence, T, H), DecodeError>,
    ) -> Result<T, Error> {
        let sequence = self.last.next();
        if link.number != sequence.number().cast_signed() {
            return Err(damaged(sequence, "it is not there"));
        }
        let (found, wanted, previous_hash) = read().map_err(|error| damaged(sequence, error))?;
        if found != sequence {
            return Err(damaged(sequence, "another record stands in its place"));
        }
        if previous_hash.as_ref() != self.hash.as_bytes() {
            return Err(damaged(sequence, "it does not fit the record before it"));
        }
        self.hash = link.hash;
        if self.hash.checksum() != link.checksum {
            return Err(damaged(sequence, "it does not match its checksum"));
        }
        if self.noted.is_some_and(|it| it.sequence == sequence && it.hash != self.hash) {
            return Err(damaged(sequence, "its hash is not the one that was noted down"));
        }
        self.last = sequence;
        Ok(wanted)
    }

    /// Ends where the head is said to be: there.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when it is not where the walk has come to, or a later record was noted down.
    pub(super) fn end(&self, head: Sequence, hash: Option<ChainHash>) -> Result<Head, Error> {
        if head > self.last {
            return Err(damaged(self.last.next(), "it is not there"));
        }
        if (head, hash) != (self.last, Some(self.hash)) {
            return Err(damaged(self.last, "it is not the newest record that the head says it is"));
        }
        if self.noted.is_some_and(|noted| noted.sequence > self.last) {
            let cause = "it is not there, and a later one was noted down";
            return Err(damaged(self.last.next(), cause));
        }
        Ok(self.head())
    }
}

fn damaged(sequence: Sequence, cause: impl std::fmt::Display) -> Error {
    Error::Damaged { sequence, cause: cause.to_string() }
}
