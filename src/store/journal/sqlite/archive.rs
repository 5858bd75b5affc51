//! A file that is looked at, also while a bank is writing to it: nothing in it is changed.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::ledger::{LedgerId, Record, Sequence};
use crate::store::Error;
use crate::store::chain::Head;
use crate::store::journal::Scanned;

use super::file::{self, OpenError, Part};
use super::new_archive::UnnamedArchive;
use super::scan::{self, Depth};

/// A file of the bank.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    connection: Connection,
    ledger_id: LedgerId,
}

impl Archive {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when it isn't there, isn't the bank's, or can't be opened.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (connection, ledger_id) = file::open_to_read(path)?;
        Ok(Self { path: path.to_owned(), connection, ledger_id })
    }

    /// The ledger whose records they are.
    #[must_use]
    pub fn ledger_id(&self) -> LedgerId {
        self.ledger_id
    }

    /// The newest record, as the file says. Nothing else was looked at.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when it can't be read.
    pub fn head(&self) -> Result<Head, OpenError> {
        let (sequence, hash) = file::head(&self.connection, self.ledger_id)
            .map_err(|error| file::sqlite(&self.path, error))?;
        let hash = hash.ok_or_else(|| OpenError::Damaged {
            path: self.path.clone(),
            cause: "the hash of its newest record is no hash".to_owned(),
        })?;
        Ok(Head { sequence, hash })
    }

    /// Goes through all records and along their chain: where it ends. A record that was noted down must
    /// be among them.
    ///
    /// # Errors
    ///
    /// The error of `each`, or [`Error::Damaged`] with the first record that is wrong.
    pub fn scan(
        &self,
        noted: Option<Head>,
        each: &mut dyn FnMut(Record) -> Result<(), Error>,
    ) -> Result<Head, Error> {
        self.scan_stored(noted, &mut |record, _| each(record))
    }

    /// Goes through all records as [`Self::scan`] does, each with its stored form.
    ///
    /// # Errors
    ///
    /// As [`Self::scan`].
    pub fn scan_stored(
        &self,
        noted: Option<Head>,
        each: &mut dyn FnMut(Record, Bytes) -> Result<(), Error>,
    ) -> Result<Head, Error> {
        let connection =
            file::reader(&self.path).map_err(|error| file::unread(Sequence::new(1), &error))?;
        let depth = Depth::Whole { noted };
        scan::records(connection, self.ledger_id, depth, &mut |scanned, stored| match scanned {
            Scanned::Record(record) => each(*record, stored),
            // It was asked for whole.
            Scanned::Posting(_) => Ok(()),
        })
    }

    /// Copies the file as it stands at one moment. The copy is one file, and has no name yet.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when the copy can't be made; also when there is something of its name already.
    pub fn copy(&self, to: &Path) -> Result<UnnamedArchive, OpenError> {
        let part = Part::of(to)?;
        self.copy_pages(part.path()).map_err(|error| file::sqlite(to, error))?;
        UnnamedArchive::of(part)
    }

    fn copy_pages(&self, to: &Path) -> rusqlite::Result<()> {
        let mut copy = Connection::open(to)?;
        let backup = Backup::new(&self.connection, &mut copy)?;
        // All pages in one step, under one read transaction: in several, a bank that goes on writing
        // would make it begin again each time.
        while backup.step(-1)? != StepResult::Done {}
        drop(backup);
        // Without a WAL the copy is one file, also when somebody has looked at it.
        copy.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))
    }
}
