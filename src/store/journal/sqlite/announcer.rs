//! Who waits for records to be durable, and how they are told.
//!
//! The thread that writes wakes each runtime once a group, and those who wait are woken there: a wake from
//! another thread goes through the runtime's one shared queue, which for every caller alone costs more than
//! writing its record. **Invariant:** nobody is told before what they wait for is durable, and nobody is left
//! waiting once it is, or will never be.

use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::ledger::Sequence;
use crate::store::Error;

/// In the place of the newest durable record: there will be none any more.
const FAILED: u64 = u64::MAX;

/// Tells how far the writing is.
#[derive(Debug)]
pub(super) struct Announcer {
    /// The newest durable record, or [`FAILED`]. Changed under the lock alone.
    durable: AtomicU64,
    rooms: Mutex<Vec<Room>>,
}

/// Where those wait that one runtime wakes.
#[derive(Debug)]
struct Room {
    runtime: Handle,
    waiting: BinaryHeap<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    sequence: u64,
    answer: oneshot::Sender<Result<(), Error>>,
}

/// The earliest record comes first out of the heap.
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.sequence.cmp(&self.sequence)
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Waiting {}

impl Announcer {
    /// Everything up to this record is durable.
    pub(super) fn after(last: Sequence) -> Self {
        Self { durable: AtomicU64::new(last.number()), rooms: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing will be durable any more.
    pub(super) fn has_failed(&self) -> bool {
        self.durable.load(Ordering::Acquire) == FAILED
    }

    /// What is to be said of a record; none before that is known.
    fn word(&self, sequence: u64) -> Option<Result<(), Error>> {
        match self.durable.load(Ordering::Acquire) {
            FAILED => Some(Err(Error::Unavailable)),
            durable => (sequence <= durable).then_some(Ok(())),
        }
    }

    /// Waits until every record up to this one is durable.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when it will not be.
    ///
    /// # Panics
    ///
    /// When it is not polled within a tokio runtime.
    pub(super) async fn wait_for(&self, sequence: Sequence) -> Result<(), Error> {
        let sequence = sequence.number();
        if let Some(word) = self.word(sequence) {
            return word;
        }
        let told = {
            let mut rooms = self.lock();
            // It may have become known before the lock was free.
            if let Some(word) = self.word(sequence) {
                return word;
            }
            let (answer, told) = oneshot::channel();
            let runtime = Handle::current();
            let room = rooms.iter().position(|room| room.runtime.id() == runtime.id());
            let room = room.unwrap_or_else(|| {
                rooms.push(Room { runtime, waiting: BinaryHeap::new() });
                rooms.len() - 1
            });
            rooms[room].waiting.push(Waiting { sequence, answer });
            told
        };
        told.await.unwrap_or(Err(Error::Unavailable))
    }

    /// Says that every record up to this one is durable.
    pub(super) fn announce(&self, last: Sequence) {
        self.tell(last.number(), &Ok(()));
    }

    /// Says that nothing more will be durable.
    pub(super) fn fail(&self) {
        self.tell(FAILED, &Err(Error::Unavailable));
    }

    fn tell(&self, last: u64, word: &Result<(), Error>) {
        let mut rooms = self.lock();
        self.durable.store(last, Ordering::Release);
        for room in rooms.iter_mut() {
            let mut told = Vec::new();
            while room.waiting.peek().is_some_and(|waiting| waiting.sequence <= last) {
                told.extend(room.waiting.pop());
            }
            if told.is_empty() {
                continue;
            }
            let word = word.clone();
            // A runtime that has ended drops this, and has nobody who waits.
            room.runtime.spawn(async move {
                for waiting in told {
                    // Whoever has gone away needs no answer.
                    let _ = waiting.answer.send(word.clone());
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
    }

    /// Callers of two runtimes, in no order: each is told once its own record is durable, and not before.
    #[test]
    fn each_is_told_of_its_own() {
        let announcer = Arc::new(Announcer::after(Sequence::new(10)));
        let runtimes = [runtime(), runtime()];
        let mut waiting = Vec::new();
        for sequence in [14, 11, 13, 12, 10] {
            for runtime in &runtimes {
                let announcer = announcer.clone();
                let wait = async move { announcer.wait_for(Sequence::new(sequence)).await };
                waiting.push((sequence, runtime.spawn(wait)));
            }
        }
        let run = || {
            for runtime in &runtimes {
                runtime.block_on(async {
                    for _ in 0..100 {
                        tokio::task::yield_now().await;
                    }
                });
            }
        };
        run();
        for last in 10..=14 {
            announcer.announce(Sequence::new(last));
            run();
            for (sequence, task) in &waiting {
                assert_eq!(task.is_finished(), *sequence <= last, "{sequence} at {last}");
            }
        }
        for (_, task) in waiting {
            assert_eq!(runtimes[0].block_on(task).expect("it does not panic"), Ok(()));
        }
        assert!(announcer.lock().iter().all(|room| room.waiting.is_empty()));
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_and_for_good() {
        let announcer = Arc::new(Announcer::after(Sequence::new(1)));
        let waiting = {
            let announcer = announcer.clone();
            tokio::spawn(async move { announcer.wait_for(Sequence::new(2)).await })
        };
        tokio::task::yield_now().await;
        announcer.fail();
        assert_eq!(waiting.await.expect("it does not panic"), Err(Error::Unavailable));
        // What was durable before is not told either: what the disk holds is not known any more.
        assert_eq!(announcer.wait_for(Sequence::new(1)).await, Err(Error::Unavailable));
        assert!(announcer.has_failed());
    }
}
