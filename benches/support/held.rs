//! How long a store's lock is held, seen from its journal.
//!
//! The store asks its journal whether it takes records right before it takes the lock, and waits for it right
//! after it has let go. What lies between, with one caller at a time, is the lock and all the work under it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bank::ledger::{Record, Sequence};
use bank::store::journal::Scanned;
use bank::store::{Error, Journal};

/// A journal, and the time that passed between the two moments.
#[derive(Debug)]
pub(crate) struct Held<J> {
    journal: J,
    times: Mutex<Times>,
}

#[derive(Debug)]
struct Times {
    began: Instant,
    sum: Duration,
}

impl Times {
    fn end(&mut self, ended: Instant) {
        self.sum += ended - self.began;
    }
}

impl<J> Held<J> {
    pub(crate) fn over(journal: J) -> Self {
        let times = Times { began: Instant::now(), sum: Duration::ZERO };
        Self { journal, times: Mutex::new(times) }
    }

    /// All that passed since this was asked last.
    pub(crate) fn take(&self) -> Duration {
        std::mem::take(&mut self.times.lock().unwrap_or_else(PoisonError::into_inner).sum)
    }
}

impl<J: Journal> Journal for Held<J> {
    fn admit(&self) -> Result<(), Error> {
        self.journal.admit()?;
        self.times.lock().unwrap_or_else(PoisonError::into_inner).began = Instant::now();
        Ok(())
    }

    fn append(&self, record: &Record) {
        self.journal.append(record);
    }

    fn read(&self, sequence: Sequence) -> Result<Record, Error> {
        self.journal.read(sequence)
    }

    fn scan(&self, each: &mut dyn FnMut(Scanned) -> Result<(), Error>) -> Result<(), Error> {
        self.journal.scan(each)
    }

    async fn durable(&self, sequence: Sequence) -> Result<(), Error> {
        let ended = Instant::now();
        self.times.lock().unwrap_or_else(PoisonError::into_inner).end(ended);
        self.journal.durable(sequence).await
    }
}
