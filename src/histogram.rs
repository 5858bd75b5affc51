//! How often values have fallen into which ranges, counted without a lock.
//!
//! **Invariant:** observing neither waits nor allocates. A reader may see an observation in its range and not
//! yet in the sum, or the other way round; each of them only grows. How it is shown to anybody is not here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts of values by range, and their sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for what lies above them all.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The sum of all values.
    pub sum: u64,
    /// How many values lie above the bound before and not above this one; `None` is above them all.
    pub ranges: Vec<(Option<u64>, u64)>,
}

impl Observed {
    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|(_, count)| count).sum()
    }
}

impl Histogram {
    /// An empty one with these upper bounds, which rise.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn observe(&self, value: u64) {
        let range = self.bounds.partition_point(|bound| *bound < value);
        self.counts[range].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a duration in whole microseconds: in 64 bits a thousand endless streams add up for centuries.
    pub fn observe_micros(&self, duration: Duration) {
        self.observe(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Whether nothing was observed yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }

    /// What was observed so far.
    #[must_use]
    pub fn observed(&self) -> Observed {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        Observed { sum: self.sum.load(Ordering::Relaxed), ranges: bounds.zip(counts).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_in_the_first_range_that_reaches_it() {
        let histogram = Histogram::new(&[1, 10, 100]);
        assert!(histogram.is_empty());
        for value in [0, 1, 2, 10, 11, 100, 101, 5_000] {
            histogram.observe(value);
        }
        let observed = histogram.observed();
        assert_eq!(observed.ranges, [(Some(1), 2), (Some(10), 2), (Some(100), 2), (None, 2)]);
        assert_eq!((observed.count(), observed.sum), (8, 5_225));
        assert!(!histogram.is_empty());
    }

    #[test]
    fn a_duration_counts_in_microseconds() {
        let histogram = Histogram::new(&[1_000]);
        histogram.observe_micros(Duration::from_nanos(1_000_999));
        histogram.observe_micros(Duration::from_micros(1_001));
        assert_eq!(histogram.observed().ranges, [(Some(1_000), 1), (None, 1)]);
        assert_eq!(histogram.observed().sum, 2_001);
    }
}
