//! Where records go once they are decided, in order and for good.
//!
//! A store appends every record under its lock, so the journal sees them in order of their sequences,
//! without gaps, from 1 on. **Invariant:** a record that was appended can be read at once; it may be
//! shown to anyone only once [`Journal::durable`] has said so.

mod sqlite;
mod volatile;

use std::future::Future;
use std::sync::Arc;

use crate::ledger::{Record, Sequence};

use super::{Error, Writing};

pub use super::chain::{ChainHash, Head};
pub use super::codec::PlainPosting;
pub use sqlite::{Archive, NewArchive, OpenError, SqliteJournal, UnnamedArchive};
pub use volatile::VolatileJournal;

/// A record that a scan has come to.
#[derive(Clone, Debug)]
pub enum Scanned {
    /// A whole record.
    Record(Box<Record>),
    /// What the books need to know of a record that is nothing but a posting.
    Posting(PlainPosting),
}

/// Keeps records.
pub trait Journal: Send + Sync + 'static {
    /// Whether it can take records now. Asked before anything is decided; what is being decided then is
    /// taken all the same.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] or [`Error::Unavailable`].
    fn admit(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Takes the next record. Must not block: it is called with the books locked.
    fn append(&self, record: &Record);

    /// Reads a record that was appended.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when it is not there or not readable.
    fn read(&self, sequence: Sequence) -> Result<Record, Error>;

    /// Goes through all records in order, until there are no more or `each` fails.
    ///
    /// # Errors
    ///
    /// The error of `each`, or [`Error::Damaged`] at the first record that isn't what it should be.
    fn scan(&self, each: &mut dyn FnMut(Scanned) -> Result<(), Error>) -> Result<(), Error>;

    /// How many of the records up to this one, the newest that was appended, are not durable yet.
    fn undurable(&self, _last: Sequence) -> u64 {
        0
    }

    /// How writing goes; none for a journal in which records are durable as soon as they are appended.
    fn writing(&self) -> Option<Arc<Writing>> {
        None
    }

    /// Waits until every record up to this one would survive whatever the journal promises to survive.
    fn durable(&self, sequence: Sequence) -> impl Future<Output = Result<(), Error>> + Send;
}
