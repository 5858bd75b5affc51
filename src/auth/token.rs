//! Tokens: random, and known to the bank by their hashes alone.
//!
//! A token has 256 random bits, so a plain hash of it can't be turned round by guessing; one with a salt or
//! many rounds would add nothing.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// What every token begins with, so that people and scanners of leaked secrets know one when they see it.
const BEGINNING: &str = "bank_";

/// A token, as its caller has it.
pub struct Token(String);

impl Token {
    /// A new token, of 256 bits of the system's randomness.
    ///
    /// # Errors
    ///
    /// What the system says when it has none.
    pub fn random() -> Result<Self, String> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| format!("no randomness: {error}"))?;
        Ok(Self(format!("{BEGINNING}{}", BASE64URL_NOPAD.encode(&secret))))
    }

    /// The token itself, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the bank knows it by.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The SHA-256 hash of a token. It is compared in the same time whether it is the same or not.
#[derive(Clone, Copy, Debug)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of what somebody presents as a token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Its bytes.
    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads a hash: 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl ConstantTimeEq for TokenHash {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_recognisable_and_never_the_same() {
        let (one, other) =
            (Token::random().expect("there is randomness"), Token::random().expect("there is"));
        assert!(one.reveal().starts_with("bank_"));
        assert_eq!(one.reveal().len(), "bank_".len() + 43);
        assert_ne!(one.reveal(), other.reveal());
        assert_eq!(format!("{one:?}"), "***");
        let same = |hash: TokenHash| bool::from(hash.ct_eq(&one.hash()));
        assert!(same(TokenHash::of(one.reveal())) && !same(other.hash()));
        assert!(TokenHash::parse(&one.hash().to_string()).is_some_and(same));
    }

    /// Of the standard's own example (FIPS 180-2, B.1), so that other programs make the same hash.
    #[test]
    fn hashes_are_sha_256() {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(TokenHash::of("abc").to_string(), hash);
        for text in ["", "ba78", &hash[1..], &format!("{hash}00"), &hash.replace('b', "g")] {
            assert!(TokenHash::parse(text).is_none(), "{text:?}");
        }
        assert!(TokenHash::parse(&hash.to_ascii_uppercase()).is_some());
    }
}
