//! Where the store in memory keeps what leads to its records: the journal, and the indexes over it.

use crate::ledger::{AccountNumber, Books, Record, RequestId, Sequence};
use crate::store::execute::{Entries, Files};
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
    /// Notes where a record is found again.
    pub(super) fn note(&mut self, books: &Books, record: &Record, entries: Entries) {
        if let Some(id) = &record.request.id {
            self.requests.insert(id.as_str(), record.sequence);
        }
        self.note_entries(books, record.sequence, entries);
    }

    /// Notes a record under the accounts that have an entry of it.
    pub(super) fn note_entries(&mut self, books: &Books, sequence: Sequence, entries: Entries) {
        self.entries.resize_with(books.account_count(), Vec::new);
        for number in entries.into_iter().flatten() {
            let entries = &mut self.entries[number];
            if entries.len() == entries.capacity() {
                // By a quarter: most accounts have few entries, and all of them together are many.
                entries.reserve_exact((entries.len() / 4).max(2));
            }
            entries.push(sequence);
        }
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
    fn record_of(&self, id: &RequestId) -> Result<Option<Box<Record>>, Error> {
        let mut found = None;
        self.index.requests.find(id, |sequence| {
            let record = self.journal.read(sequence)?;
            let is_match = record.request.id.as_ref() == Some(id);
            found = is_match.then(|| Box::new(record));
            Ok(is_match)
        })?;
        Ok(found)
    }

    fn read(&self, sequence: Sequence) -> Result<Record, Error> {
        self.journal.read(sequence)
    }

    /// Tells those who wait for it, too.
    fn file(&mut self, books: &Books, record: &Record, entries: Entries) {
        self.journal.append(record);
        self.index.note(books, record, entries);
        if record.posting().is_some() {
            self.index.watchers.wake(entries.into_iter().flatten());
        }
    }
}
