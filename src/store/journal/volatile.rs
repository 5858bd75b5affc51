//! The journal of books that are kept in memory only: everything is gone when the process ends.
//!
//! Records are kept in their stored form, one after the other in chunks that never move, because that
//! takes a fraction of what the values take. Nothing is ever removed.

use std::sync::{PoisonError, RwLock};

use crate::ledger::{Record, Sequence};
use crate::store::{Error, codec};

use super::{Journal, Scanned};

/// Large enough that a record never fills one (16 KiB of labels and texts at most), small enough that
/// an empty bank takes little.
const CHUNK_BYTES: usize = 1 << 20;

/// Keeps records in memory.
#[derive(Debug, Default)]
pub struct VolatileJournal {
    arena: RwLock<Arena>,
}

#[derive(Debug, Default)]
struct Arena {
    chunks: Vec<Vec<u8>>,
    /// Where each record begins, by sequence; it ends where its own length says.
    places: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    chunk: u32,
    offset: u32,
}

impl Arena {
    fn append(&mut self, record: &Record) {
        let stored = codec::to_stored(record);
        let length = codec::delimited_length(&stored);
        let has_room =
            self.chunks.last().is_some_and(|chunk| chunk.capacity() - chunk.len() >= length);
        if !has_room {
            self.chunks.push(Vec::with_capacity(CHUNK_BYTES.max(length)));
        }
        let number = self.chunks.len() - 1;
        let chunk = &mut self.chunks[number];
        self.places.push(Place {
            chunk: u32::try_from(number).expect("2^32 chunks are 4 PiB, more than memory holds"),
            offset: u32::try_from(chunk.len()).expect("a chunk is far below 4 GiB"),
        });
        codec::encode_delimited(&stored, chunk);
    }

    fn bytes_from(&self, sequence: Sequence) -> Option<&[u8]> {
        let index = usize::try_from(sequence.number()).ok()?.checked_sub(1)?;
        let place = self.places.get(index)?;
        self.chunks.get(place.chunk as usize)?.get(place.offset as usize..)
    }
}

impl Journal for VolatileJournal {
    fn append(&self, record: &Record) {
        self.arena.write().unwrap_or_else(PoisonError::into_inner).append(record);
    }

    fn read(&self, sequence: Sequence) -> Result<Record, Error> {
        let arena = self.arena.read().unwrap_or_else(PoisonError::into_inner);
        let damaged = |cause: &str| Error::Damaged { sequence, cause: cause.to_owned() };
        let bytes = arena.bytes_from(sequence).ok_or_else(|| damaged("it is not there"))?;
        codec::decode_delimited(bytes).map_err(|error| damaged(&error.to_string()))
    }

    fn scan(&self, each: &mut dyn FnMut(Scanned) -> Result<(), Error>) -> Result<(), Error> {
        let count = self.arena.read().unwrap_or_else(PoisonError::into_inner).places.len() as u64;
        (1..=count)
            .map(Sequence::new)
            .try_for_each(|sequence| each(Scanned::Record(Box::new(self.read(sequence)?))))
    }

    async fn durable(&self, _sequence: Sequence) -> Result<(), Error> {
        Ok(())
    }
}
