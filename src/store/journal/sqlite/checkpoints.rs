//! The thread that moves what was written from the WAL into the database, beside the writing.
//!
//! **Invariant:** what a checkpoint has copied is synced before anybody relies on it, and a sync that fails is
//! the end: the system then holds pages for clean that the disk does not have, and another checkpoint would
//! pass them over and let the WAL, which has them, begin anew.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rusqlite::{Connection, ErrorCode};

use super::file;

/// How often the copying is repeated for what came meanwhile, before the rest is left to the writer.
const ROUNDS: usize = 2;

/// Why the database can't be brought up to date any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// SQLite has failed to copy or to sync.
    #[error("a checkpoint has failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The system has failed to sync.
    #[error("the database can't be synced: {0}")]
    Sync(#[from] io::Error),
}

impl Failure {
    /// Whether nothing but room was missing. What was not copied then stays in the WAL.
    fn is_for_want_of_room(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull))
    }
}

/// How many pages a checkpoint has left over, since they came meanwhile or somebody reads an old state.
pub(super) type Outcome = Result<i64, Failure>;

/// What makes checkpoints when it is asked to.
pub(super) struct Checkpointer {
    connection: Connection,
    /// The database, to be synced. SQLite's locks on it end when any descriptor of it is closed (POSIX), so it
    /// outlives all connections.
    database: File,
    asked: Receiver<()>,
    outcomes: SyncSender<Outcome>,
}

/// The writer's side of it.
pub(super) struct Checkpoints {
    pub(super) ask: SyncSender<()>,
    pub(super) outcomes: Receiver<Outcome>,
}

impl Checkpointer {
    /// Makes ready, for an opened file.
    pub(super) fn new(path: &Path) -> Result<(Self, Checkpoints), file::OpenError> {
        let connection = file::checkpointer(path).map_err(|error| file::sqlite(path, error))?;
        let io = |error| file::OpenError::Io { path: path.to_owned(), error };
        let database = File::open(path).map_err(io)?;
        let (ask, asked) = sync_channel(1);
        // One is asked for at a time, so this never waits.
        let (told, outcomes) = sync_channel(2);
        Ok((Self { connection, database, asked, outcomes: told }, Checkpoints { ask, outcomes }))
    }

    /// Makes checkpoints until nobody asks for one any more, or one has failed: the database, which must be
    /// closed last.
    pub(super) fn run(self) -> File {
        while self.asked.recv().is_ok() {
            let outcome = self.checkpoint();
            let is_end = outcome.as_ref().is_err_and(|failure| !failure.is_for_want_of_room());
            if is_end {
                keep_wal(&self.connection);
            }
            // The writer may have ended meanwhile.
            if self.outcomes.send(outcome).is_err() || is_end {
                break;
            }
        }
        self.database
    }

    fn checkpoint(&self) -> Outcome {
        let mut left = 0;
        for _ in 0..ROUNDS {
            left = file::checkpoint(&self.connection)?;
            // SQLite has synced it only if nothing was written meanwhile.
            self.database.sync_data()?;
        }
        Ok(left)
    }
}

impl Checkpoints {
    /// Asks for a checkpoint: whether one will be made.
    pub(super) fn ask(&self) -> bool {
        self.ask.try_send(()).is_ok()
    }

    /// What came of the one that was asked for, once that is known.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the database can't be brought up to date any more.
    pub(super) fn outcome(&self) -> Result<Option<i64>, Failure> {
        match self.outcomes.try_recv() {
            Err(_) => Ok(None),
            Ok(Ok(left)) => Ok(Some(left)),
            Ok(Err(failure)) if failure.is_for_want_of_room() => {
                tracing::warn!(%failure, "the WAL is not moved into the database yet");
                Ok(None)
            }
            Ok(Err(failure)) => Err(failure),
        }
    }
}

/// Moves the rest, where nobody else writes, so that the WAL begins anew.
pub(super) fn finish(connection: &Connection) -> Result<(), Failure> {
    match file::checkpoint(connection).map_err(Failure::from) {
        Err(failure) if !failure.is_for_want_of_room() => Err(failure),
        Err(failure) => {
            tracing::warn!(%failure, "the WAL is not moved into the database yet");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

/// Leaves the WAL as it is when a connection closes: a new start moves all of it.
pub(super) fn keep_wal(connection: &Connection) {
    if let Err(error) = file::keep_wal(connection) {
        tracing::error!(%error, "the WAL may be moved although the disk has failed");
    }
}
