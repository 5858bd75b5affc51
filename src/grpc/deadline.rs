//! The caller's deadline, from the header `grpc-timeout`.
//!
//! tonic ends a call whose time is up as CANCELLED; the gRPC specification has DEADLINE_EXCEEDED for
//! it. A call whose time is up before it begins does nothing at all.

use std::future::Future;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::time::{Instant, timeout_at};

use super::status::{Error, Violations};

static HEADER: HeaderName = HeaderName::from_static("grpc-timeout");

/// When the caller stops waiting: `None` when it waits as long as it takes. Must be asked when the call
/// comes in, so that the time it waits for its turn counts.
///
/// # Errors
///
/// A violation when the header is not of the specification's form: at most 8 digits and a unit, one of
/// `H M S m u n`.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Instant>, Violations> {
    let Some(value) = headers.get(&HEADER) else { return Ok(None) };
    let Some(timeout) = value.to_str().ok().and_then(parse) else {
        let mut violations = Violations::default();
        violations.add(HEADER.as_str(), "must be 1 to 8 digits and one of H, M, S, m, u, n");
        return Err(violations);
    };
    // A time too far off to be told is as good as none.
    Ok(Instant::now().checked_add(timeout))
}

/// Runs a call until it answers or its time is up; not at all when its time is up already.
pub(super) async fn within<T>(
    deadline: Option<Instant>,
    call: impl Future<Output = T>,
) -> Result<T, Error> {
    match deadline {
        None => Ok(call.await),
        Some(deadline) if deadline <= Instant::now() => Err(Error::NotInTime),
        Some(deadline) => timeout_at(deadline, call).await.map_err(|_| Error::DeadlineExceeded),
    }
}

fn parse(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit() {
        for (value, expected) in [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("4S", Duration::from_secs(4)),
            ("5m", Duration::from_millis(5)),
            ("6u", Duration::from_micros(6)),
            ("7n", Duration::from_nanos(7)),
            ("0n", Duration::ZERO),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(parse(value), Some(expected), "{value}");
        }
    }

    #[test]
    fn refuses_every_other_form() {
        for value in ["", "S", "5", "123456789S", "-1S", "+1S", "1 S", "1s", "1.5S", "1ä", "SS"] {
            assert_eq!(parse(value), None, "{value:?}");
        }
    }
}
