//! Amounts as people type and read them: `10.50 USD`, exactly, by the currency's exponent.

use rust_decimal::Decimal;

use super::Failure;
use crate::grpc::proto::Money;
use crate::ledger::Currency;

/// Reads `10.50 USD`, given in two arguments or in one.
///
/// # Errors
///
/// [`Failure::Misused`] when it isn't an amount, or not one that the currency can express.
pub(super) fn typed(amount: &str, currency: Option<&str>) -> Result<Money, Failure> {
    let text = format!("{amount} {}", currency.unwrap_or_default());
    let mut parts = text.split_whitespace();
    let (Some(number), Some(code), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Failure::Misused(format!(
            "{:?} is not an amount: it must be a number and a currency, such as 10.50 USD",
            text.trim()
        )));
    };
    let currency = Currency::parse(code)
        .map_err(|malformed| Failure::Misused(format!("currency {code:?} {malformed}")))?;
    let number = read(number).map_err(Failure::Misused)?;
    let minor_units = minor_units(number, &currency).map_err(Failure::Misused)?;
    Ok(Money { currency_code: currency.code().to_owned(), minor_units })
}

/// Reads a decimal number.
///
/// # Errors
///
/// One phrase that says what is wrong.
pub(super) fn read(number: &str) -> Result<Decimal, String> {
    Decimal::from_str_exact(number)
        .map_err(|_| format!("{number:?} is not a decimal number such as 10.50"))
}

/// The minor units of a decimal number of a currency; never rounded.
///
/// # Errors
///
/// One phrase, when it has more decimal places than the currency, or too many digits.
pub(super) fn minor_units(number: Decimal, currency: &Currency) -> Result<i64, String> {
    let exponent = u32::from(currency.exponent());
    // 10.500 is 10.50; 10.505 is not.
    let number = number.normalize();
    let Some(places) = exponent.checked_sub(number.scale()) else {
        let noun = if exponent == 1 { "place" } else { "places" };
        return Err(format!("{number} has more than the {exponent} decimal {noun} of {currency}"));
    };
    10_i128
        .checked_pow(places)
        .and_then(|factor| number.mantissa().checked_mul(factor))
        .and_then(|minor_units| i64::try_from(minor_units).ok())
        .ok_or_else(|| format!("{number} {currency} is more than 64 bits of its minor unit hold"))
}

/// Writes minor units of a currency as people read them: `10.50`. Of a currency that this program
/// doesn't know, the minor units themselves.
pub(super) fn decimal(minor_units: i64, currency_code: &str) -> String {
    let exponent = Currency::parse(currency_code).map_or(0, |currency| currency.exponent());
    Decimal::from_i128_with_scale(minor_units.into(), exponent.into()).to_string()
}

/// Writes an amount with its currency: `10.50 USD`.
pub(super) fn money(minor_units: i64, currency_code: &str) -> String {
    format!("{} {currency_code}", decimal(minor_units, currency_code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read_typed(amount: &str, currency: Option<&str>) -> Result<(String, i64), String> {
        match typed(amount, currency) {
            Ok(money) => Ok((money.currency_code, money.minor_units)),
            Err(Failure::Misused(line)) => Err(line),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn amounts_are_exact() {
        for (text, minor_units, code) in [
            ("10.50 USD", 1050, "USD"),
            ("10.5 USD", 1050, "USD"),
            ("10.5000 USD", 1050, "USD"),
            ("10 USD", 1000, "USD"),
            ("0.01 USD", 1, "USD"),
            ("1050 JPY", 1050, "JPY"),
            ("1050.0 JPY", 1050, "JPY"),
            ("1.234 KWD", 1234, "KWD"),
            ("0.00000001 BTC/8", 1, "BTC/8"),
            ("9.223372036854775807 ETH/18", i64::MAX, "ETH/18"),
            ("92233720368547758.07 USD", i64::MAX, "USD"),
            ("9223372036854775807 POINTS/0", i64::MAX, "POINTS/0"),
            ("-3 USD", -300, "USD"),
            ("0 USD", 0, "USD"),
        ] {
            let expected = Ok((code.to_owned(), minor_units));
            assert_eq!(read_typed(text, None), expected, "{text}");
            let (number, currency) = text.split_once(' ').expect("it has two words");
            assert_eq!(read_typed(number, Some(currency)), expected, "{text}");
        }
    }

    #[test]
    fn what_the_currency_can_not_express_is_refused() {
        for (text, phrase) in [
            ("10.505 USD", "more than the 2 decimal places of USD"),
            ("0.5 JPY", "more than the 0 decimal places"),
            ("0.000000001 BTC/8", "more than the 8 decimal places"),
            ("92233720368547758.08 USD", "64 bits"),
            ("9.223372036854775808 ETH/18", "64 bits"),
            ("79228162514264337593543950335 ETH/18", "64 bits"),
            ("79228162514264337593543950336 USD", "not a decimal"),
            ("10,50 USD", "not a decimal"),
            ("1e3 USD", "not a decimal"),
            ("ten USD", "not a decimal"),
            ("10.50 usd", "currency \"usd\" must be"),
            ("10.50", "number and a currency"),
            ("USD 10.50 x", "number and a currency"),
            ("", "number and a currency"),
        ] {
            let line = read_typed(text, None).expect_err(text);
            assert!(line.contains(phrase), "{text}: {line}");
        }
    }

    #[test]
    fn amounts_are_written_with_all_their_places() {
        for (minor_units, code, text) in [
            (1050, "USD", "10.50 USD"),
            (-1, "USD", "-0.01 USD"),
            (0, "USD", "0.00 USD"),
            (7, "JPY", "7 JPY"),
            (i64::MIN, "ETH/18", "-9.223372036854775808 ETH/18"),
            (i64::MAX, "USD", "92233720368547758.07 USD"),
        ] {
            assert_eq!(money(minor_units, code), text);
        }
    }
}
