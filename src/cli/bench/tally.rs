//! What came of calls: how many, how fast, and which errors.
//!
//! **Invariant:** a latency counts from the time at which its call was due. In an open loop that is its
//! place in the schedule, so a bank that stalls is charged with the wait of every call that was due
//! meanwhile, also of those that could not even be sent (the correction for coordinated omission).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::plan::Kind;

/// When there is load, and what of it is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// When the load begins.
    pub(super) start: Instant,
    /// From when on it is measured.
    pub(super) measured_from: Instant,
    /// When no further call begins.
    pub(super) end: Instant,
}

impl Window {
    fn has(&self, time: Instant) -> bool {
        (self.measured_from..self.end).contains(&time)
    }
}

/// What came of calls of one kind, within the window.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    /// How many were answered.
    pub(super) calls: u64,
    /// How many operations they had.
    pub(super) operations: u64,
    /// How long the answers took, in microseconds.
    pub(super) latencies: Histogram<u64>,
}

impl Default for Figures {
    fn default() -> Self {
        let latencies = Histogram::new(3).expect("it can keep 3 digits");
        Self { calls: 0, operations: 0, latencies }
    }
}

impl Figures {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.operations += other.operations;
        self.latencies.add(&other.latencies).expect("it grows as it must");
    }
}

/// Why a call or an operation failed: the bank's code and reason, or what this side says instead of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cause {
    code: i32,
    /// Empty where the bank gave none.
    pub(super) reason: String,
}

impl Cause {
    /// The bank's own.
    pub(super) fn of(status: &Status) -> Self {
        let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
        Self { code: status.code().into(), reason: reason.unwrap_or_default() }
    }

    /// The connection broke before there was an answer.
    pub(super) fn broken() -> Self {
        Self { code: Code::Unavailable.into(), reason: "CONNECTION_BROKEN".to_owned() }
    }

    /// The answer says nothing that makes sense.
    pub(super) fn unreadable() -> Self {
        Self { code: Code::Unknown.into(), reason: "UNREADABLE".to_owned() }
    }

    /// No answer came when the time was over.
    pub(super) fn unanswered() -> Self {
        Self { code: Code::DeadlineExceeded.into(), reason: "UNANSWERED".to_owned() }
    }

    pub(super) fn code(&self) -> Code {
        Code::from_i32(self.code)
    }
}

/// What came of calls.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    window: Window,
    by_kind: BTreeMap<Kind, Figures>,
    /// Within the window.
    errors: BTreeMap<Cause, u64>,
    /// All transactions that the bank has acknowledged, before and after the window too.
    acknowledged: u64,
    /// Calls that were due within the window, and were never sent.
    unsent: u64,
}

impl Tally {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            by_kind: BTreeMap::new(),
            errors: BTreeMap::new(),
            acknowledged: 0,
            unsent: 0,
        }
    }

    /// Notes an answer that came now, to a call that was due then.
    pub(super) fn answered(&mut self, kind: Kind, operations: u32, due: Instant, now: Instant) {
        let operations = u64::from(operations);
        if kind.posts() {
            self.acknowledged += operations;
        }
        let figures = self.by_kind.entry(kind).or_default();
        if self.window.has(now) {
            figures.calls += 1;
            figures.operations += operations;
        }
        if self.window.has(due) {
            let latency = micros(now.saturating_duration_since(due));
            figures.latencies.record(latency).expect("it grows as it must");
        }
    }

    /// Notes calls or operations that failed now.
    pub(super) fn failed(&mut self, cause: Cause, count: u64, now: Instant) {
        if count > 0 && now >= self.window.measured_from {
            *self.errors.entry(cause).or_default() += count;
        }
    }

    /// Notes calls that were due and never sent.
    pub(super) fn left_unsent(&mut self, count: u64) {
        self.unsent += count;
    }

    /// Gives what was noted, and begins anew.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.window))
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (kind, figures) in &other.by_kind {
            self.by_kind.entry(*kind).or_default().add(figures);
        }
        for (cause, count) in &other.errors {
            *self.errors.entry(cause.clone()).or_default() += count;
        }
        self.acknowledged += other.acknowledged;
        self.unsent += other.unsent;
    }

    pub(super) fn window(&self) -> Window {
        self.window
    }

    pub(super) fn by_kind(&self) -> &BTreeMap<Kind, Figures> {
        &self.by_kind
    }

    /// All kinds together.
    pub(super) fn all(&self) -> Figures {
        let mut all = Figures::default();
        self.by_kind.values().for_each(|figures| all.add(figures));
        all
    }

    pub(super) fn errors(&self) -> &BTreeMap<Cause, u64> {
        &self.errors
    }

    pub(super) fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(super) fn unsent(&self) -> u64 {
        self.unsent
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
