//! The journal of books that are kept in memory only: everything is gone when the process ends.
//!
//! Records are kept in their stored form, one after the other in chunks that never move, because that
//! takes a fraction of what the values take. Nothing is ever removed. The chunk that follows is made before the
//! books are locked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use crate::ledger::{Record, Sequence};
use crate::store::{Error, codec};

use super::{Journal, Scanned};

/// Large enough that few begin, small enough that an empty bank takes little.
const CHUNK_BYTES: usize = 1 << 20;
/// What most records take at the least, so that a chunk has a place for the end of each.
const RECORD_BYTES: usize = 100;

/// Keeps records in memory.
#[derive(Debug, Default)]
pub struct VolatileJournal {
    arena: RwLock<Arena>,
    next: Next,
}

/// The chunk that follows.
#[derive(Debug, Default)]
struct Next {
    /// Whether it is there, or somebody makes it.
    is_made: AtomicBool,
    chunk: Mutex<Option<Chunk>>,
}

impl Next {
    /// Makes it, if nobody has.
    fn make(&self) {
        // Looked at by everybody, and written by few.
        if !self.is_made.load(Ordering::Relaxed) && !self.is_made.swap(true, Ordering::Relaxed) {
            let chunk = Chunk::with_room(CHUNK_BYTES);
            *self.chunk.lock().unwrap_or_else(PoisonError::into_inner) = Some(chunk);
        }
    }

    /// None while it is being made.
    fn take(&self) -> Option<Chunk> {
        let chunk = self.chunk.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        self.is_made.store(false, Ordering::Relaxed);
        Some(chunk)
    }
}

#[derive(Debug, Default)]
struct Arena {
    chunks: Vec<Chunk>,
    /// Where a record is written at first, since only then its length is known.
    written: Vec<u8>,
}

/// Records, one after the other.
#[derive(Debug)]
struct Chunk {
    /// How many records there are before it.
    before: usize,
    bytes: Vec<u8>,
    /// Where each record ends.
    ends: Vec<u32>,
}

impl Chunk {
    /// An empty one, all of whose memory is there: the system clears a page when something is written to it for the
    /// first time, which takes as long as thousands of records do.
    fn with_room(bytes: usize) -> Self {
        // Not zeros, which may be had without a page being there.
        let (mut bytes, mut ends) = (vec![u8::MAX; bytes], vec![u32::MAX; bytes / RECORD_BYTES]);
        bytes.clear();
        ends.clear();
        Self { before: 0, bytes, ends }
    }

    fn has_room_for(&self, length: usize) -> bool {
        self.bytes.capacity() - self.bytes.len() >= length
    }
}

impl Arena {
    fn count(&self) -> usize {
        self.chunks.last().map_or(0, |chunk| chunk.before + chunk.ends.len())
    }

    fn append(&mut self, record: &Record, next: &Next) {
        self.written.clear();
        codec::encode(record, &mut self.written);
        let length = self.written.len();
        let has_room = |chunk: &Chunk| chunk.has_room_for(length);
        if !self.chunks.last().is_some_and(has_room) {
            let chunk = next.take().filter(has_room);
            let chunk = chunk.unwrap_or_else(|| Chunk::with_room(CHUNK_BYTES.max(length)));
            self.chunks.push(Chunk { before: self.count(), ..chunk });
        }
        let number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[number];
        chunk.bytes.extend_from_slice(&self.written);
        chunk.ends.push(u32::try_from(chunk.bytes.len()).expect("a chunk is far below 4 GiB"));
    }

    fn bytes_of(&self, sequence: Sequence) -> Option<&[u8]> {
        let index = usize::try_from(sequence.number()).ok()?.checked_sub(1)?;
        let number = self.chunks.partition_point(|chunk| chunk.before <= index).checked_sub(1)?;
        let chunk = &self.chunks[number];
        let index = index - chunk.before;
        let end = *chunk.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |previous| chunk.ends[previous]);
        chunk.bytes.get(start as usize..end as usize)
    }
}

impl Journal for VolatileJournal {
    fn admit(&self) -> Result<(), Error> {
        self.next.make();
        Ok(())
    }

    fn append(&self, record: &Record) {
        self.arena.write().unwrap_or_else(PoisonError::into_inner).append(record, &self.next);
    }

    fn read(&self, sequence: Sequence) -> Result<Record, Error> {
        let arena = self.arena.read().unwrap_or_else(PoisonError::into_inner);
        let damaged = |cause: &str| Error::Damaged { sequence, cause: cause.to_owned() };
        let bytes = arena.bytes_of(sequence).ok_or_else(|| damaged("it is not there"))?;
        let linked = codec::decode(bytes).map_err(|error| damaged(&error.to_string()))?;
        Ok(linked.record)
    }

    fn scan(&self, each: &mut dyn FnMut(Scanned) -> Result<(), Error>) -> Result<(), Error> {
        let count = self.arena.read().unwrap_or_else(PoisonError::into_inner).count() as u64;
        (1..=count)
            .map(Sequence::new)
            .try_for_each(|sequence| each(Scanned::Record(Box::new(self.read(sequence)?))))
    }

    async fn durable(&self, _sequence: Sequence) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{AccountId, Command, Description, Refusal, Request, Time};

    fn record(number: u64) -> Record {
        let account_id = AccountId::parse("alice").expect("it is one");
        let reason = "x".repeat(usize::try_from(number % 512).expect("it is small"));
        let reason = Description::parse(&reason).expect("it fits");
        Record {
            sequence: Sequence::new(number),
            time: Time::from_micros(0),
            request: Request {
                id: None,
                caller: None,
                command: Command::FreezeAccount { account_id: account_id.clone(), reason },
            },
            outcome: Err(Refusal::AccountNotFound { account_id }),
        }
    }

    /// Of all lengths, over more than one chunk.
    #[test]
    fn each_record_is_read_as_it_was_written() {
        let journal = VolatileJournal::default();
        let count = 20_000;
        for number in 1..=count {
            // Some chunks are made when they are needed, some before.
            if number > count / 2 {
                journal.admit().expect("it takes all");
            }
            journal.append(&record(number));
        }
        assert!(journal.arena.read().expect("nobody panics").chunks.len() > 4);
        for number in 1..=count {
            assert_eq!(journal.read(Sequence::new(number)), Ok(record(number)));
        }
        for number in [0, count + 1] {
            assert!(journal.read(Sequence::new(number)).is_err(), "{number}");
        }
    }

    #[test]
    fn the_next_chunk_is_made_once_and_before_it_is_needed() {
        let journal = VolatileJournal::default();
        let admit = || journal.admit().expect("it takes all");
        let next = || {
            let chunk = journal.next.chunk.lock().expect("nobody panics");
            chunk.as_ref().map(|chunk| chunk.bytes.as_ptr())
        };
        assert_eq!(next(), None);
        admit();
        let first = next();
        assert!(first.is_some());
        admit();
        assert_eq!(next(), first);

        journal.append(&record(1));
        assert_eq!(next(), None);
        let arena = journal.arena.read().expect("nobody panics");
        assert_eq!(arena.chunks.first().map(|chunk| chunk.bytes.as_ptr()), first);
        admit();
        assert!(next().is_some());
    }
}
