//! The names of things: of accounts and requests, chosen by clients, and of transactions, chosen by
//! the bank.
//!
//! A [`TransactionId`] is the ledger's own id and the place of its record in that ledger, so that it
//! is unique for ever and its record is found without an index.

use compact_str::{CompactString, CompactStringExt, format_compact};

use super::{Currency, Malformed};

/// Whether a client's account id may have it, after the first. Looked up, since every call and every record has
/// such ids, and to compare takes nearly twice as long.
fn is_of_account_id(byte: u8) -> bool {
    #[allow(clippy::as_conversions, clippy::indexing_slicing, reason = "done by the compiler")]
    const FITS: [bool; 256] = {
        let mut fits = [false; 256];
        let mut rest = b"abcdefghijklmnopqrstuvwxyz0123456789._:-".as_slice();
        while let [byte, after @ ..] = rest {
            fits[*byte as usize] = true;
            rest = after;
        }
        fits
    };
    FITS.get(usize::from(byte)).is_some_and(|fits| *fits)
}

/// The name of an account: a client's (`alice`), or the bank's own for the outside world
/// (`@external:USD`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(CompactString);

const EXTERNAL: &str = "@external:";

impl AccountId {
    /// Reads the id of a client's account: `[a-z0-9][a-z0-9._:-]{0,63}`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is anything else; the bank's own ids, which begin with `@`, too.
    pub fn parse(id: &str) -> Result<Self, Malformed> {
        if id.starts_with('@') {
            return Err(Malformed("must not begin with @: such ids are the bank's own"));
        }
        let first = id.bytes().next();
        let first_fits = first.is_some_and(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
        if first_fits && id.len() <= 64 && id.bytes().all(is_of_account_id) {
            Ok(Self(CompactString::new(id)))
        } else {
            Err(Malformed("must be 1 to 64 characters: [a-z0-9][a-z0-9._:-]{0,63}"))
        }
    }

    /// Reads the id of any account, the bank's own included. For reading only: no command can name
    /// an account of the bank's own.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is neither a client's id nor `@external:` and a currency.
    pub fn parse_any(id: &str) -> Result<Self, Malformed> {
        match id.strip_prefix(EXTERNAL) {
            Some(code) => Currency::parse(code)
                .map(|currency| Self::external(&currency))
                .map_err(|_| Malformed("must name a currency after @external:")),
            None => Self::parse(id),
        }
    }

    /// The outside world of a currency: a deposit moves money from it, a withdrawal to it.
    #[must_use]
    pub fn external(currency: &Currency) -> Self {
        Self(format_compact!("{EXTERNAL}{currency}"))
    }

    /// Whether it is the outside world.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.0.starts_with('@')
    }

    /// The id as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Ids are ordered and hashed as their text is, so an ordered set can be searched by text.
impl std::borrow::Borrow<str> for AccountId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for AccountId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a request, chosen by the client: 1 to 128 visible ASCII characters (0x21 to 0x7e).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(CompactString);

impl RequestId {
    /// Reads a request id.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is empty, longer than 128 characters, or has a character that is not
    /// visible ASCII; a blank is not visible.
    pub fn parse(id: &str) -> Result<Self, Malformed> {
        // Without a way out at the first that isn't, many are looked at at once.
        let are_visible = || id.bytes().fold(true, |all, byte| all & byte.is_ascii_graphic());
        let fits = (1..=128).contains(&id.len()) && are_visible();
        if fits {
            Ok(Self(CompactString::new(id)))
        } else {
            Err(Malformed("must be 1 to 128 visible ASCII characters"))
        }
    }

    /// The id as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The place of a record in the ledger's one order: 1 for the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sequence(u64);

impl Sequence {
    /// The place with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number: 0 stands before the first record.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The name of a ledger: a random number, drawn when its first record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LedgerId(u64);

impl LedgerId {
    /// The ledger with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// The name of something that the bank made, as a client sends it: 1 to 64 characters. Any text of that
/// length is one; one that the bank never gave out just names nothing.
macro_rules! given_name {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name(CompactString);

        impl $name {
            /// The name of what this record of this ledger made.
            #[must_use]
            pub fn new(ledger: LedgerId, sequence: Sequence) -> Self {
                Self(given($prefix, ledger, sequence))
            }

            /// What the names of a ledger begin with: the number of a record follows.
            #[must_use]
            pub fn beginning(ledger: LedgerId) -> String {
                beginning($prefix, ledger).into()
            }

            /// Takes a name from a client.
            ///
            /// # Errors
            ///
            /// [`Malformed`] when it is empty or longer than 64 bytes.
            pub fn parse(text: &str) -> Result<Self, Malformed> {
                if (1..=64).contains(&text.len()) {
                    Ok(Self(CompactString::new(text)))
                } else {
                    Err(Malformed("must be 1 to 64 characters"))
                }
            }

            /// The place of the record that it names; `None` when it was not given by this ledger.
            #[must_use]
            pub fn sequence_in(&self, ledger: LedgerId) -> Option<Sequence> {
                let (_, number) = self.0.split_once('-')?;
                let sequence = Sequence(number.parse().ok()?);
                // Another spelling ("+1", a leading zero) names nothing.
                (Self::new(ledger, sequence) == *self).then_some(sequence)
            }

            /// The name as it is written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// `t0123456789abcdef-42`. Every transaction gets a name, and `format!` takes twenty times as long.
fn given(prefix: &str, ledger: LedgerId, sequence: Sequence) -> CompactString {
    let mut name = beginning(prefix, ledger);
    name.push_str(itoa::Buffer::new().format(sequence.0));
    name
}

fn beginning(prefix: &str, ledger: LedgerId) -> CompactString {
    let digit =
        |value: u8| b"0123456789abcdef".get(usize::from(value)).copied().unwrap_or_default();
    let digits = ledger.0.to_be_bytes().map(|byte| [byte >> 4, byte & 0xf].map(digit));
    let digits = std::str::from_utf8(digits.as_flattened()).unwrap_or_default();
    [prefix, digits, "-"].concat_compact()
}

given_name! {
    /// The name of a transaction: opaque for clients, unique for ever.
    TransactionId, "t"
}

given_name! {
    /// The name of a hold: opaque for clients, unique for ever.
    HoldId, "h"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_in_hexadecimal() {
        for ledger in [0, 1, 0xf, 0x0123_4567_89ab_cdef, u64::MAX] {
            for sequence in [0, 1, 42, u64::MAX] {
                let name = TransactionId::new(LedgerId(ledger), Sequence(sequence));
                assert_eq!(name.as_str(), format!("t{ledger:016x}-{sequence}"));
                let beginning = TransactionId::beginning(LedgerId(ledger));
                assert_eq!(name.as_str().strip_prefix(&beginning), Some(&*sequence.to_string()));
            }
        }
    }

    #[test]
    fn account_ids_follow_their_pattern() {
        let longest = "a".repeat(64);
        for id in ["a", "0", "alice", "a.b_c:d-e", "9-", longest.as_str()] {
            assert_eq!(AccountId::parse(id).as_ref().map(AccountId::as_str), Ok(id));
            assert_eq!(AccountId::parse_any(id).as_ref().map(AccountId::as_str), Ok(id));
        }
        let too_long = "a".repeat(65);
        for id in
            ["", "A", "-a", ".a", "_a", ":a", "a b", "a/b", "ä", "a\n", "a@", too_long.as_str()]
        {
            assert!(AccountId::parse(id).is_err(), "{id:?}");
            assert!(AccountId::parse_any(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn the_outside_world_is_for_reading_only() {
        for id in ["@external:USD", "@external:BTC/8"] {
            assert!(AccountId::parse(id).is_err(), "{id}");
            let read = AccountId::parse_any(id);
            assert_eq!(read.as_ref().map(AccountId::as_str), Ok(id));
            assert_eq!(read.as_ref().map(AccountId::is_external), Ok(true));
        }
        for id in ["@", "@external", "@external:", "@external:usd", "@internal:USD", "@alice"] {
            assert!(AccountId::parse_any(id).is_err(), "{id}");
        }
    }

    #[test]
    fn request_ids_are_visible_ascii() {
        let longest = "~".repeat(128);
        for id in ["!", "r-1", "6f0c3bd4-7e6a-4bfe-9d3e-6f8c4a8b1c11", longest.as_str()] {
            assert_eq!(RequestId::parse(id).as_ref().map(RequestId::as_str), Ok(id));
        }
        let too_long = "~".repeat(129);
        for id in ["", " ", "a b", "a\t", "\u{7f}", "é", too_long.as_str()] {
            assert!(RequestId::parse(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn given_names_have_one_spelling_in_one_ledger() {
        let ledger = LedgerId::new(0xab);
        let id = TransactionId::new(ledger, Sequence::new(42));
        assert_eq!(id.as_str(), "t00000000000000ab-42");
        assert_eq!(id.sequence_in(ledger), Some(Sequence::new(42)));
        assert_eq!(id.sequence_in(LedgerId::new(0xac)), None);

        let last = Sequence::new(u64::MAX);
        let longest = HoldId::new(LedgerId::new(u64::MAX), last);
        assert_eq!(HoldId::parse(longest.as_str()), Ok(longest.clone()));
        assert_eq!(longest.sequence_in(LedgerId::new(u64::MAX)), Some(last));

        for text in [
            "t",
            "tab-42",
            "t00000000000000AB-42",
            "t00000000000000ab-042",
            "t00000000000000ab-+42",
            "t00000000000000ab-",
            "t00000000000000ab--1",
            "h00000000000000ab-42",
            "t00000000000000ab-18446744073709551616",
        ] {
            let read = TransactionId::parse(text).map(|id| id.sequence_in(ledger));
            assert_eq!(read, Ok(None), "{text:?}");
        }
        assert!(TransactionId::parse("").is_err());
        assert!(TransactionId::parse(&"x".repeat(65)).is_err());
    }
}
