//! Money: currencies, and exact amounts in their minor units.
//!
//! An [`Amount`] is above 0 always; what may be 0 or negative is a balance, not an amount. There is
//! no floating point here, and no arithmetic on amounts: sums are made in [`super::Balance`], checked.

use std::collections::HashMap;
use std::sync::LazyLock;

use compact_str::CompactString;
use iso_currency::IntoEnumIterator;

use super::Malformed;

/// A currency: an ISO 4217 alphabetic code (`USD`), or a custom asset `NAME/SCALE` (`BTC/8`).
///
/// The table of ISO codes and their minor units is that of the crate `iso_currency`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency(CompactString);

impl Currency {
    /// Reads a currency code.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is neither in the ISO 4217 table nor `NAME/SCALE` with NAME
    /// `[A-Z][A-Z0-9]{1,15}` and SCALE 0 to 18 without a leading zero.
    pub fn parse(code: &str) -> Result<Self, Malformed> {
        let is_asset = || {
            let parts = code.split_once('/');
            parts.is_some_and(|(name, scale)| is_asset_name(name) && asset_scale(scale).is_some())
        };
        if iso_exponent(code).is_some() || is_asset() {
            Ok(Self(CompactString::new(code)))
        } else {
            Err(Malformed(
                "must be an ISO 4217 alphabetic code (USD) or a custom asset NAME/SCALE (BTC/8): \
                 NAME is [A-Z][A-Z0-9]{1,15}, SCALE is 0 to 18",
            ))
        }
    }

    /// The code as it is written: `USD`, `BTC/8`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0
    }

    /// How many decimal places the minor unit stands for: 2 for USD, 0 for JPY, 8 for BTC/8.
    /// 0 for the ISO codes that have no minor unit, such as XAU.
    #[must_use]
    pub fn exponent(&self) -> u16 {
        match self.0.split_once('/') {
            None => iso_exponent(&self.0),
            Some((_, scale)) => asset_scale(scale),
        }
        .unwrap_or(0)
    }
}

impl std::fmt::Display for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn iso_exponent(code: &str) -> Option<u16> {
    // The crate compares a code with one of its own after the other.
    static EXPONENTS: LazyLock<HashMap<&str, u16, ahash::RandomState>> = LazyLock::new(|| {
        let all = iso_currency::Currency::iter();
        all.map(|currency| (currency.code(), currency.exponent().unwrap_or(0))).collect()
    });
    EXPONENTS.get(code).copied()
}

fn is_asset_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    (2..=16).contains(&name.len())
        && bytes.next().is_some_and(|first| first.is_ascii_uppercase())
        && bytes.all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

fn asset_scale(scale: &str) -> Option<u16> {
    let value = scale.parse::<u16>().ok()?;
    // Comparing with the canonical form keeps "+8" and "08" from being other names of "8".
    (value <= 18 && scale == value.to_string()).then_some(value)
}

/// A movement of money in minor units: 1 to 2^63 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Amount(i64);

impl Amount {
    /// One minor unit.
    pub const ONE: Self = Self(1);

    /// Takes a number of minor units.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is 0 or below.
    pub fn new(minor_units: i64) -> Result<Self, Malformed> {
        if minor_units > 0 { Ok(Self(minor_units)) } else { Err(Malformed("must be above 0")) }
    }

    /// The number of minor units.
    #[must_use]
    pub fn minor_units(self) -> i64 {
        self.0
    }
}

/// How far below zero an account may be drawn, in minor units: 0 to 2^63 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OverdraftLimit(i64);

impl OverdraftLimit {
    /// Takes a number of minor units.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is below 0.
    pub fn new(minor_units: i64) -> Result<Self, Malformed> {
        if minor_units >= 0 { Ok(Self(minor_units)) } else { Err(Malformed::BELOW_ZERO) }
    }

    /// The number of minor units.
    #[must_use]
    pub fn minor_units(self) -> i64 {
        self.0
    }
}

/// An amount of a currency.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    /// Of what.
    pub currency: Currency,
    /// How much, in the currency's minor unit.
    pub amount: Amount,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn exponent_of(code: &str) -> Option<u16> {
        Currency::parse(code).ok().map(|currency| {
            assert_eq!(currency.code(), code);
            currency.exponent()
        })
    }

    #[test]
    fn currencies_of_the_iso_table_have_its_exponents() {
        for (code, exponent) in
            [("USD", 2), ("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("XAU", 0)]
        {
            assert_eq!(exponent_of(code), Some(exponent), "{code}");
        }
    }

    #[test]
    fn custom_assets_carry_their_exponent() {
        for (code, exponent) in [
            ("BTC/8", 8),
            ("POINTS/0", 0),
            ("ETH/18", 18),
            ("A1/3", 3),
            ("ABCDEFGHIJKLMNOP/10", 10),
        ] {
            assert_eq!(exponent_of(code), Some(exponent), "{code}");
        }
    }

    #[test]
    fn anything_else_is_no_currency() {
        for code in [
            "",
            "usd",
            "US",
            "ZZZ",
            "USDX",
            "USD ",
            "/2",
            "A/2",
            "1A/2",
            "BTC/",
            "BTC/19",
            "BTC/08",
            "BTC/+8",
            "BTC/-1",
            "btc/8",
            "BTC/8/8",
            "BT C/8",
            "ABCDEFGHIJKLMNOPQ/2",
            "ÄÖ/2",
        ] {
            assert_eq!(exponent_of(code), None, "{code:?}");
        }
    }

    #[test]
    fn amounts_are_above_zero_and_limits_not_below() {
        assert!(Amount::new(0).is_err());
        assert!(Amount::new(-1).is_err());
        assert!(Amount::new(i64::MIN).is_err());
        assert_eq!(Amount::new(1).map(Amount::minor_units), Ok(1));
        assert_eq!(Amount::new(i64::MAX).map(Amount::minor_units), Ok(i64::MAX));
        assert!(OverdraftLimit::new(-1).is_err());
        assert_eq!(OverdraftLimit::new(0).map(OverdraftLimit::minor_units), Ok(0));
    }
}
