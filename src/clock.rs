//! Where the time comes from: the only place that reads the system's clock.
//!
//! A store makes times strictly increasing by itself; a clock may stand still or run backwards.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::ledger::Time;

/// A source of the present moment.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Time;
}

/// The system's clock (UTC), in whole microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Time {
        let now = SystemTime::now();
        let micros = match now.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros)
            }
        };
        Time::from_micros(micros)
    }
}
