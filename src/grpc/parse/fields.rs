//! Single fields: each gives its value, or notes what is wrong with it.

use prost_types::Timestamp;

use crate::grpc::proto;
use crate::grpc::status::{Noted, Violations};
use crate::ledger::{Amount, Currency, HoldDuration, Labels, Money, RequestId, Time};

type LabelMap = std::collections::HashMap<String, String>;

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z: the range of `google.protobuf.Timestamp`.
pub(super) const TIMESTAMP_SECONDS: std::ops::RangeInclusive<i64> =
    -62_135_596_800..=253_402_300_799;

pub(super) const DEFAULT_PAGE_SIZE: usize = 50;
pub(super) const MAX_PAGE_SIZE: usize = 1000;

/// 30 days.
pub(super) const MAX_HOLD_SECONDS: i64 = 30 * 86_400;

/// A field that is only there when it is wanted.
pub(super) fn optional<T>(
    is_wanted: bool,
    parse: impl FnOnce() -> Result<T, Noted>,
) -> Result<Option<T>, Noted> {
    if is_wanted { parse().map(Some) } else { Ok(None) }
}

pub(super) fn request_id(
    violations: &mut Violations,
    id: &str,
) -> Result<Option<RequestId>, Noted> {
    optional(!id.is_empty(), || violations.take("request_id", RequestId::parse(id)))
}

pub(super) fn money(
    violations: &mut Violations,
    money: Option<&proto::Money>,
) -> Result<Money, Noted> {
    let money = money.ok_or_else(|| violations.add("amount", "must be set"))?;
    let currency = violations.take("amount.currency_code", Currency::parse(&money.currency_code));
    let amount = violations.take("amount.minor_units", Amount::new(money.minor_units));
    Ok(Money { currency: currency?, amount: amount? })
}

pub(super) fn optional_amount(
    violations: &mut Violations,
    minor_units: Option<i64>,
) -> Result<Option<Amount>, Noted> {
    let Some(minor_units) = minor_units else { return Ok(None) };
    violations.take("amount", Amount::new(minor_units)).map(Some)
}

pub(super) fn hold_duration(
    violations: &mut Violations,
    ttl: Option<&prost_types::Duration>,
) -> Result<Option<HoldDuration>, Noted> {
    let Some(ttl) = ttl else { return Ok(None) };
    let micros = match (ttl.seconds, ttl.nanos) {
        (seconds @ 0..=MAX_HOLD_SECONDS, nanos @ 0..=999_999_999) => {
            seconds * 1_000_000 + ceiling(i64::from(nanos))
        }
        // Below 0, far too long, or with nanos that are none: out of range like a duration of 0.
        _ => 0,
    };
    violations.take("ttl", HoldDuration::from_micros(micros)).map(Some)
}

pub(super) fn labels(
    violations: &mut Violations,
    field: &str,
    labels: &LabelMap,
) -> Result<Labels, Noted> {
    let pairs = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    violations.take(field, Labels::parse(pairs))
}

pub(super) fn optional_currency(
    violations: &mut Violations,
    code: &str,
) -> Result<Option<Currency>, Noted> {
    optional(!code.is_empty(), || violations.take("currency_code", Currency::parse(code)))
}

pub(super) fn page_size(violations: &mut Violations, page_size: i32) -> Result<usize, Noted> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(DEFAULT_PAGE_SIZE),
        Ok(size) => Ok(size.min(MAX_PAGE_SIZE)),
        Err(_) => Err(violations.add("page_size", "must not be negative")),
    }
}

pub(super) fn page_token<T>(
    violations: &mut Violations,
    token: &str,
    open: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Noted> {
    if token.is_empty() {
        return Ok(None);
    }
    let description = "must be a next_page_token of this listing, with the same filters";
    open(token).map(Some).ok_or_else(|| violations.add("page_token", description))
}

pub(super) fn optional_time(
    violations: &mut Violations,
    field: &str,
    timestamp: Option<&Timestamp>,
    round: fn(i64) -> i64,
) -> Result<Option<Time>, Noted> {
    match timestamp.map(|timestamp| time(timestamp, round)) {
        None => Ok(None),
        Some(Ok(time)) => Ok(Some(time)),
        Some(Err(description)) => Err(violations.add(field, description)),
    }
}

pub(super) fn time(timestamp: &Timestamp, round: fn(i64) -> i64) -> Result<Time, &'static str> {
    if !TIMESTAMP_SECONDS.contains(&timestamp.seconds) {
        return Err("must be from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z");
    }
    if !(0..1_000_000_000).contains(&timestamp.nanos) {
        return Err("must have nanos from 0 to 999999999");
    }
    let micros = timestamp.seconds * 1_000_000 + round(i64::from(timestamp.nanos));
    Ok(Time::from_micros(micros))
}

/// Nanoseconds to the whole microsecond at or before them.
pub(super) fn floor(nanos: i64) -> i64 {
    nanos / 1000
}

/// Nanoseconds to the whole microsecond at or after them.
pub(super) fn ceiling(nanos: i64) -> i64 {
    (nanos + 999) / 1000
}
