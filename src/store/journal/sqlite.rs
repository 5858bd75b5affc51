//! The journal in an SQLite file: what it calls durable survives any end of the process or the machine.
//!
//! Records are appended by one thread, in groups; see `writer`. Until they are durable they are read from
//! its queue, and then from the file. **Invariant:** a record that is read is what was written, or an
//! error: each bears a checksum, and the hash of the one before it.

mod announcer;
mod archive;
mod checkpoints;
mod file;
mod new_archive;
mod scan;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, OptionalExtension};
use tokio_util::sync::CancellationToken;

use crate::ledger::{LedgerId, Record, Sequence};
use crate::store::chain::ChainHash;
use crate::store::{Error, Writing, codec};

use super::{Journal, Scanned};
use announcer::Announcer;
use checkpoints::Checkpointer;
use file::Ownership;
use writer::{Queue, Writer};

pub use archive::Archive;
pub use file::OpenError;
pub use new_archive::{NewArchive, UnnamedArchive};

/// Keeps records in an SQLite file.
#[derive(Debug)]
pub struct SqliteJournal {
    path: PathBuf,
    ledger_id: LedgerId,
    opened_at: Sequence,
    queue: Arc<Queue>,
    announcer: Arc<Announcer>,
    failure: CancellationToken,
    writing: Arc<Writing>,
    /// Connections that nobody reads with at the moment.
    readers: Mutex<Vec<Connection>>,
    threads: Option<Threads>,
    #[allow(dead_code, reason = "it is held as long as the file is open")]
    ownership: Ownership,
}

impl SqliteJournal {
    /// Opens the file of a ledger, or makes one for a new ledger.
    ///
    /// Writes are refused while the file system has less free bytes than `min_free_bytes`.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when the file is in use, is not the bank's, or can't be opened.
    pub fn open(path: &Path, new: LedgerId, min_free_bytes: u64) -> Result<Self, OpenError> {
        let path = &file::resolve(path)?;
        let ownership = Ownership::take(path)?;
        let (connection, ledger_id) = file::open_to_write(path, new)?;
        let sqlite = |error| file::sqlite(path, error);
        let (last, hash) = file::head(&connection, ledger_id).map_err(sqlite)?;
        let damaged = || OpenError::Damaged {
            path: path.to_owned(),
            cause: "the hash of its newest record is no hash".to_owned(),
        };
        let last_hash = hash.ok_or_else(damaged)?;

        let queue = Arc::new(Queue::after(last));
        let announcer = Arc::new(Announcer::after(last));
        let failure = CancellationToken::new();
        let writing = Arc::new(Writing::default());
        let (checkpointer, checkpoints) = Checkpointer::new(path)?;
        let writer = Writer {
            connection,
            queue: queue.clone(),
            last_hash,
            announcer: announcer.clone(),
            failure: failure.clone(),
            writing: writing.clone(),
            checkpoints,
            path: path.to_owned(),
            min_free_bytes,
            bytes_since_checkpoint: 0,
            bytes_since_look: 0,
        };
        writer.look_at_space();
        let threads = Threads {
            writer: spawn("journal", move || writer.run()),
            checkpointer: spawn("checkpoints", move || checkpointer.run()),
        };
        let readers = Mutex::default();
        Ok(Self {
            path: path.to_owned(),
            ledger_id,
            opened_at: last,
            queue,
            announcer,
            failure,
            writing,
            readers,
            threads: Some(threads),
            ownership,
        })
    }

    /// The ledger whose records they are.
    #[must_use]
    pub fn ledger_id(&self) -> LedgerId {
        self.ledger_id
    }

    /// The newest record that the file had when it was opened.
    #[must_use]
    pub fn opened_at(&self) -> Sequence {
        self.opened_at
    }

    /// Is cancelled when records can't be written any more; also by the end of the journal, when its last ones
    /// can't.
    #[must_use]
    pub fn failure(&self) -> CancellationToken {
        self.failure.clone()
    }

    fn with_reader<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => file::reader(&self.path)?,
        };
        let result = read(&connection)?;
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(result)
    }
}

#[derive(Debug)]
struct Threads {
    writer: JoinHandle<()>,
    checkpointer: JoinHandle<File>,
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread can be started")
}

impl Journal for SqliteJournal {
    fn admit(&self) -> Result<(), Error> {
        if self.announcer.has_failed() {
            return Err(Error::Unavailable);
        }
        self.queue.admit()
    }

    fn append(&self, record: &Record) {
        self.queue.push(|bytes| codec::encode(record, bytes));
    }

    fn read(&self, sequence: Sequence) -> Result<Record, Error> {
        let damaged = |cause: String| Error::Damaged { sequence, cause };
        let decode = |bytes: &[u8]| {
            let linked = codec::decode(bytes).map_err(|error| damaged(error.to_string()))?;
            if linked.record.sequence == sequence {
                Ok(linked.record)
            } else {
                Err(damaged("another record stands in its place".to_owned()))
            }
        };
        if let Some(pending) = self.queue.find(sequence) {
            return decode(&pending);
        }
        let stored = self.with_reader(|connection| {
            connection
                .prepare_cached("SELECT record, checksum FROM records WHERE sequence = ?1")?
                .query_row([sequence.number().cast_signed()], |row| {
                    let bytes = row.get_ref(0)?.as_blob()?;
                    let is_whole = ChainHash::of(bytes).checksum() == row.get::<_, i64>(1)?;
                    Ok(is_whole.then(|| decode(bytes)))
                })
                .optional()
        });
        match stored {
            Ok(Some(Some(record))) => record,
            Ok(Some(None)) => Err(damaged("it does not match its checksum".to_owned())),
            Ok(None) => Err(damaged("it is not there".to_owned())),
            Err(error) => Err(file::unread(sequence, &error)),
        }
    }

    fn scan(&self, each: &mut dyn FnMut(Scanned) -> Result<(), Error>) -> Result<(), Error> {
        let connection =
            file::reader(&self.path).map_err(|error| file::unread(Sequence::new(1), &error))?;
        let each = &mut |scanned, _| each(scanned);
        scan::records(connection, self.ledger_id, scan::Depth::Books, each).map(|_| ())
    }

    fn undurable(&self, last: Sequence) -> u64 {
        self.queue.waiting(last)
    }

    fn writing(&self) -> Option<Arc<Writing>> {
        Some(self.writing.clone())
    }

    async fn durable(&self, sequence: Sequence) -> Result<(), Error> {
        self.announcer.wait_for(sequence).await
    }
}

impl Drop for SqliteJournal {
    /// Writes what is left. A connection that may write is the last to close, so that SQLite moves the WAL
    /// into the database and removes it.
    fn drop(&mut self) {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.queue.close();
        let Some(Threads { writer, checkpointer }) = self.threads.take() else { return };
        // The writer ends first; then nobody asks for checkpoints any more. What the second one gives back is
        // closed when no connection is left.
        if writer.join().is_err() | checkpointer.join().is_err() {
            tracing::error!("a thread of the journal has ended by a panic");
        }
    }
}
