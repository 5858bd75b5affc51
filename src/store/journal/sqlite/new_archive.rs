//! A file that is made of records that there are already, whole or not at all: until it is named, nothing
//! stands under its name, and if it never is, nothing is left of it.

use std::path::Path;

use rusqlite::Connection;

use super::archive::Archive;
use super::file::{self, OpenError, Part};
use crate::ledger::{LedgerId, Sequence};
use crate::store::chain::ChainHash;

/// A file of the bank that is being made.
#[derive(Debug)]
pub struct NewArchive {
    part: Part,
    connection: Connection,
    last: Sequence,
    hash: ChainHash,
}

impl NewArchive {
    /// Begins a file for the records of a ledger. It has its name only once that was given to it.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when it can't be made; also when there is something of its name already.
    pub fn begin(path: &Path, ledger_id: LedgerId) -> Result<Self, OpenError> {
        let part = Part::of(path)?;
        let begin = || {
            let mut connection = Connection::open(part.path())?;
            // What is broken off is made anew, and all of it is synced in the end.
            connection.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
            connection.pragma_update(None, "synchronous", "OFF")?;
            file::migrate(&mut connection, ledger_id)?;
            connection.execute_batch("BEGIN")?;
            Ok(connection)
        };
        let connection = begin().map_err(|error| file::sqlite(path, error))?;
        let (last, hash) = (Sequence::default(), ChainHash::before_all(ledger_id));
        Ok(Self { part, connection, last, hash })
    }

    /// Takes the next record, in its stored form.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when it can't be written.
    pub fn append(&mut self, stored: &[u8]) -> Result<(), OpenError> {
        self.last = self.last.next();
        self.hash = ChainHash::of(stored);
        let insert = || {
            let number = self.last.number().cast_signed();
            self.connection
                .prepare_cached(
                    "INSERT INTO records (sequence, record, checksum) VALUES (?1, ?2, ?3)",
                )?
                .execute((number, stored, self.hash.checksum()))
        };
        insert().map(|_| ()).map_err(|error| file::sqlite(self.part.path(), error))
    }

    /// Makes the file whole. It has no name yet.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when it can't be written.
    pub fn finish(self) -> Result<UnnamedArchive, OpenError> {
        let end = || {
            if self.last > Sequence::default() {
                let number = self.last.number().cast_signed();
                self.connection.execute(
                    "INSERT INTO head (one, sequence, hash) VALUES (1, ?1, ?2)",
                    (number, self.hash.as_bytes().as_slice()),
                )?;
            }
            self.connection.execute_batch("COMMIT")
        };
        end().map_err(|error| file::sqlite(self.part.path(), error))?;
        self.connection.close().map_err(|(_, error)| file::sqlite(self.part.path(), error))?;
        UnnamedArchive::of(self.part)
    }
}

/// A file of the bank that is whole and has no name yet, so that it can be looked into before anybody
/// relies on it. It is removed unless it gets its name.
#[derive(Debug)]
pub struct UnnamedArchive {
    archive: Archive,
    part: Part,
}

impl UnnamedArchive {
    pub(super) fn of(part: Part) -> Result<Self, OpenError> {
        Ok(Self { archive: Archive::open(part.path())?, part })
    }

    /// What is in it.
    #[must_use]
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Gives it its name, once all of it is on the disk.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when it can't be synced or renamed.
    pub fn finish(self) -> Result<(), OpenError> {
        let Self { archive, part } = self;
        drop(archive);
        part.finish()
    }
}
