//! A clock that moves only when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bank::clock::Clock;
use bank::ledger::Time;

/// 2026-01-01T00:00:00Z, where every manual clock begins.
pub(crate) const START_MICROS: i64 = 1_767_225_600_000_000;

#[derive(Clone, Debug)]
pub(crate) struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(START_MICROS)))
    }

    /// Sets it to so many microseconds after its beginning; backwards too.
    pub(crate) fn set(&self, micros_after_start: i64) {
        self.0.store(START_MICROS + micros_after_start, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        Time::from_micros(self.0.load(Ordering::SeqCst))
    }
}
