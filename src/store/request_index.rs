//! Which record answers a request id.
//!
//! Millions of ids are kept, so an entry is a hash and a sequence, 16 bytes; the id itself stands in
//! the record. **Invariant:** a lookup is exact: where a hash matches, the record is asked.

use ahash::RandomState;
use hashbrown::HashTable;

use crate::ledger::{RequestId, Sequence};

/// A table grows by moving all that it holds; many small ones do so a little at a time, so that no
/// request has to wait for one large move.
const SHARDS: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    sequence: Sequence,
}

/// Finds the record of a request id.
#[derive(Debug)]
pub(super) struct RequestIndex {
    hasher: RandomState,
    shards: Box<[HashTable<Entry>]>,
    /// What is to be inserted, by shard; empty but for the time of recovery.
    later: Vec<Vec<Entry>>,
}

impl Default for RequestIndex {
    /// An index without entries. The hash is seeded at random, so that no client can choose ids that
    /// collide.
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
            later: Vec::new(),
        }
    }
}

impl RequestIndex {
    /// The sequence that is kept for an id: the first for which `is_match` holds among those with the
    /// id's hash.
    ///
    /// # Errors
    ///
    /// The first error of `is_match`.
    pub(super) fn find<E>(
        &self,
        id: &RequestId,
        mut is_match: impl FnMut(Sequence) -> Result<bool, E>,
    ) -> Result<Option<Sequence>, E> {
        let hash = self.hasher.hash_one(id.as_str());
        let mut failure = None;
        let found = self.shards[shard(hash)].find(hash, |entry| {
            entry.hash == hash
                && failure.is_none()
                && is_match(entry.sequence).unwrap_or_else(|error| {
                    failure = Some(error);
                    false
                })
        });
        match failure {
            Some(error) => Err(error),
            None => Ok(found.map(|entry| entry.sequence)),
        }
    }

    /// Keeps the sequence of an id that has none yet, from [`Self::settle`] on.
    ///
    /// A table of millions is far larger than a processor's caches, so every insertion waits for memory.
    /// Filled one shard after the other, each in the cache, they take a fraction of that.
    pub(super) fn insert_later(&mut self, id: &str, sequence: Sequence) {
        let hash = self.hasher.hash_one(id);
        self.later.resize_with(SHARDS, Vec::new);
        self.later[shard(hash)].push(Entry { hash, sequence });
    }

    /// Inserts what was left for later.
    pub(super) fn settle(&mut self) {
        for (shard, entries) in self.shards.iter_mut().zip(std::mem::take(&mut self.later)) {
            shard.reserve(entries.len(), |entry| entry.hash);
            for entry in entries {
                shard.insert_unique(entry.hash, entry, |entry| entry.hash);
            }
        }
    }

    /// Keeps the sequence of an id that has none yet.
    pub(super) fn insert(&mut self, id: &str, sequence: Sequence) {
        let hash = self.hasher.hash_one(id);
        let entry = Entry { hash, sequence };
        self.shards[shard(hash)].insert_unique(hash, entry, |entry| entry.hash);
    }
}

/// The tables use a hash's highest and lowest bits themselves, so the shard comes from the middle.
#[allow(clippy::cast_possible_truncation, reason = "the remainder is below 1024")]
fn shard(hash: u64) -> usize {
    ((hash >> 32) % SHARDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn id(number: u64) -> RequestId {
        RequestId::parse(&format!("r{number}")).expect("visible")
    }

    #[test]
    fn finds_what_was_inserted_and_nothing_else() {
        let mut index = RequestIndex::default();
        for number in 1..=10_000 {
            index.insert(id(number).as_str(), Sequence::new(number));
        }
        for number in 1..=10_000 {
            let found = index.find(&id(number), |sequence| {
                Ok::<_, Infallible>(sequence == Sequence::new(number))
            });
            assert_eq!(found, Ok(Some(Sequence::new(number))));
        }
        assert_eq!(index.find(&id(10_001), |_| Ok::<_, Infallible>(true)), Ok(None));
    }

    #[test]
    fn what_is_inserted_later_is_found_once_it_is_settled() {
        let mut index = RequestIndex::default();
        index.insert(id(1).as_str(), Sequence::new(1));
        index.insert_later(id(2).as_str(), Sequence::new(2));
        index.settle();
        index.insert(id(3).as_str(), Sequence::new(3));
        index.settle();
        for number in 1..=3 {
            let found = index.find(&id(number), |_| Ok::<_, Infallible>(true));
            assert_eq!(found, Ok(Some(Sequence::new(number))));
        }
    }

    #[test]
    fn two_ids_with_one_hash_are_told_apart_by_their_records() {
        let mut index = RequestIndex::default();
        let hash = index.hasher.hash_one(id(1).as_str());
        let other = Entry { hash, sequence: Sequence::new(7) };
        index.shards[shard(hash)].insert_unique(hash, other, |entry| entry.hash);
        index.insert(id(1).as_str(), Sequence::new(1));

        let found = index.find(&id(1), |sequence| Ok::<_, Infallible>(sequence.number() == 1));
        assert_eq!(found, Ok(Some(Sequence::new(1))));
    }

    #[test]
    fn an_unreadable_record_is_an_error_not_a_miss() {
        let mut index = RequestIndex::default();
        index.insert(id(1).as_str(), Sequence::new(1));
        assert_eq!(index.find(&id(1), |_| Err("unreadable")), Err("unreadable"));
    }
}
