//! The journal of books that are kept in memory only: everything is gone when the process ends.
//!
//! Records are kept in their stored form, one after the other in chunks that never move, because that
//! takes a fraction of what the values take. Nothing is ever removed.

use std::sync::{PoisonError, RwLock};

use crate::ledger::{Record, Sequence};
use crate::store::{Error, codec};

use super::{Journal, Scanned};

/// Large enough that few begin, small enough that an empty bank takes little.
const CHUNK_BYTES: usize = 1 << 20;

/// Keeps records in memory.
#[derive(Debug, Default)]
pub struct VolatileJournal {
    arena: RwLock<Arena>,
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

impl Arena {
    fn count(&self) -> usize {
        self.chunks.last().map_or(0, |chunk| chunk.before + chunk.ends.len())
    }

    fn append(&mut self, record: &Record) {
        self.written.clear();
        codec::encode(record, &mut self.written);
        let length = self.written.len();
        let has_room = |chunk: &Chunk| chunk.bytes.capacity() - chunk.bytes.len() >= length;
        if !self.chunks.last().is_some_and(has_room) {
            self.chunks.push(Chunk {
                before: self.count(),
                bytes: Vec::with_capacity(CHUNK_BYTES.max(length)),
                ends: Vec::new(),
            });
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
    fn append(&self, record: &Record) {
        self.arena.write().unwrap_or_else(PoisonError::into_inner).append(record);
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

    /// Of all lengths, over more than one chunk.
    #[test]
    fn each_record_is_read_as_it_was_written() {
        let journal = VolatileJournal::default();
        let record = |number: u64| {
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
        };
        let count = 10_000;
        for number in 1..=count {
            journal.append(&record(number));
        }
        assert!(journal.arena.read().expect("nobody panics").chunks.len() > 2);
        for number in 1..=count {
            assert_eq!(journal.read(Sequence::new(number)), Ok(record(number)));
        }
        for number in [0, count + 1] {
            assert!(journal.read(Sequence::new(number)).is_err(), "{number}");
        }
    }
}
