//! Where the store in memory keeps what leads to its records: the journal, and the indexes over it.

use crate::ledger::{AccountNumber, Books, Record, RequestId, Sequence};
use crate::store::execute::Files;
use crate::store::request_index::RequestIndex;
use crate::store::watchers::Watchers;
use crate::store::{Error, Journal};

/// What leads to records.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// For each account, the records that have an entry on it, in order.
    pub(super) entries: Vec<Vec<Sequence>>,
    pub(super) requests: RequestIndex,
    pub(super) watchers: Watchers<AccountNumber>,
}

impl Index {
    /// Notes where a record is found again: the accounts on which it has entries.
    pub(super) fn note(&mut self, books: &Books, record: &Record) -> [Option<AccountNumber>; 2] {
        if let Some(id) = &record.request.id {
            self.requests.insert(id.as_str(), record.sequence);
        }
        self.entries.resize_with(books.account_count(), Vec::new);
        let Some(posting) = record.posting() else { return [None; 2] };
        let sides = [&posting.movement.from, &posting.movement.to];
        let numbers = sides.map(|id| books.number(id));
        for number in numbers.into_iter().flatten() {
            self.entries[number].push(record.sequence);
        }
        numbers
    }

    /// The entries of an account, in order.
    pub(super) fn entries_of(&self, number: AccountNumber) -> &[Sequence] {
        self.entries.get(number).map_or(&[], Vec::as_slice)
    }
}

/// A journal and the index over it.
pub(super) struct Cabinet<'a, J> {
    pub(super) journal: &'a J,
    pub(super) index: &'a mut Index,
}

impl<J: Journal> Files for Cabinet<'_, J> {
    fn record_of(&self, id: &RequestId) -> Result<Option<Record>, Error> {
        let mut found = None;
        self.index.requests.find(id, |sequence| {
            let record = self.journal.read(sequence)?;
            let is_match = record.request.id.as_ref() == Some(id);
            found = is_match.then_some(record);
            Ok(is_match)
        })?;
        Ok(found)
    }

    fn read(&self, sequence: Sequence) -> Result<Record, Error> {
        self.journal.read(sequence)
    }

    /// Tells those who wait for it, too.
    fn file(&mut self, books: &Books, record: &Record) {
        self.journal.append(record);
        let sides = self.index.note(books, record);
        if record.posting().is_some() {
            self.index.watchers.wake(sides.into_iter().flatten());
        }
    }
}
