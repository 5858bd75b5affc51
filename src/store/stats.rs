//! What a store tells of itself to whoever watches over it: how much it keeps, and how its writing goes.
//!
//! Plain figures; who shows them, and under which names, is not the store's business.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::histogram::Histogram;

/// Upper bounds for the number of records that are written together.
const SIZES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192];
/// Upper bounds for the time of a sync, in microseconds: from a disk with a cache that keeps its word to one
/// that is about to fail.
const SYNC_MICROS: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000,
];

/// How much a store keeps, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How many accounts clients have opened, closed ones included.
    pub accounts: u64,
    /// How many holds set money aside.
    pub holds: u64,
    /// How many records there are: the sequence of the newest.
    pub records: u64,
    /// How much was asked for and is not durable yet: records that wait for their sync, or requests that
    /// wait for their group to be committed.
    pub undurable: u64,
}

/// How writing has gone since the store was opened.
#[derive(Debug)]
pub struct Writing {
    /// How many records became durable together; over an SQL engine, how many requests were decided
    /// together.
    pub group_sizes: Histogram,
    /// How long it took until they were durable once they were written, in microseconds; over an SQL engine,
    /// how long the engine took for the statements and the commit.
    pub sync_micros: Histogram,
    /// How often a group had to be written again, because the engine was away or somebody in the way.
    retries: AtomicU64,
    /// [`UNSEEN`] until somebody looks.
    free_bytes: AtomicU64,
}

/// In place of a number of bytes, since no file system has so many.
const UNSEEN: u64 = u64::MAX;

impl Writing {
    /// Notes that a group has to be written again.
    pub fn note_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a group had to be written again.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Notes how many bytes the file system of the books has left.
    pub fn note_free_bytes(&self, bytes: u64) {
        self.free_bytes.store(bytes, Ordering::Relaxed);
    }

    /// How many bytes it had left when it was last looked at; none where nobody looks.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        Some(self.free_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes != UNSEEN)
    }
}

impl Default for Writing {
    fn default() -> Self {
        Self {
            group_sizes: Histogram::new(SIZES),
            sync_micros: Histogram::new(SYNC_MICROS),
            retries: AtomicU64::new(0),
            free_bytes: AtomicU64::new(UNSEEN),
        }
    }
}
