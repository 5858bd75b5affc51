//! Since when something has been so, and waiting until that has lasted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Since when something has been so, which several threads may change.
#[derive(Debug)]
pub(super) struct Since {
    origin: Instant,
    /// In microseconds after the origin, or [`NOT_SO`].
    micros: AtomicU64,
}

const NOT_SO: u64 = u64::MAX;

impl Since {
    /// It is so from now on.
    pub(super) fn now() -> Self {
        Self { origin: Instant::now(), micros: AtomicU64::new(0) }
    }

    /// It is so from now on, whatever was before; or it isn't so any more.
    pub(super) fn set(&self, is_so: bool) {
        let micros = if is_so {
            u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(NOT_SO)
        } else {
            NOT_SO
        };
        self.micros.store(micros, Ordering::Relaxed);
    }

    /// Since when; none when it isn't so.
    pub(super) fn get(&self) -> Option<Instant> {
        match self.micros.load(Ordering::Relaxed) {
            NOT_SO => None,
            micros => Some(self.origin + Duration::from_micros(micros)),
        }
    }
}

/// Waits until what `since` tells of has been so for so long; with none, it isn't so for the moment.
pub(super) async fn lasting(limit: Duration, since: impl Fn() -> Option<Instant>) {
    loop {
        let since = since().unwrap_or_else(Instant::now);
        if since.elapsed() >= limit {
            return;
        }
        // Whatever changes meanwhile only moves the end further off.
        sleep_until(since + limit).await;
    }
}
