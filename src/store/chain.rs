//! The chain: every stored record bears the hash of the one before it.
//!
//! So a record that was changed, taken out, put in or swapped is found by whoever walks the chain, and the
//! hash of the newest record stands for all of them.

use crate::ledger::LedgerId;

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
