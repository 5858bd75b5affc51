//! The file: an SQLite database in WAL mode, with one owner.
//!
//! `records` holds every record by its sequence, in its stored form, with a checksum by which a record
//! that is read alone is checked. `head` repeats the newest sequence and its hash: without it, damage to
//! the tree that hides the last records would look like books that are a little shorter. `ledger` holds
//! the number of the ledger.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::ledger::{LedgerId, Sequence};
use crate::store::Error;
use crate::store::chain::ChainHash;

/// What makes an SQLite file one of the bank's: "BANK".
const APPLICATION_ID: i64 = 0x4241_4e4b;

/// The steps from an empty file to the present form, in order. The version of a file is how many of them
/// it has gone through; a step is never changed once it was released.
const STEPS: [&str; 1] = ["
    CREATE TABLE ledger (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        ledger_id INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE records (
        sequence INTEGER PRIMARY KEY,
        record BLOB NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE head (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        sequence INTEGER NOT NULL,
        hash BLOB NOT NULL
    ) STRICT;
"];

/// The length of the header of an SQLite file, in bytes (<https://sqlite.org/fileformat.html>).
const MIN_LENGTH: u64 = 100;
/// How long a statement waits for another process that reads or copies the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a file can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another bank{}", path.display(), process_of(process))]
    InUse {
        /// The file.
        path: PathBuf,
        /// The other's process id, as far as it can be told.
        process: String,
    },
    /// It doesn't exist, and was not to be made.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// Its WAL can't be moved into it yet.
    #[error(
        "{} can't be opened while another process has it open, since the last bank did not end well: \
         end that process, or try again when it is done",
        .0.display()
    )]
    Pinned(PathBuf),
    /// It is something else.
    #[error("{} is not a file of the bank", .0.display())]
    Foreign(PathBuf),
    /// A later version of the bank has written it.
    #[error(
        "{} has format version {found}, and this bank knows versions up to {known}: use a newer bank",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// It was damaged.
    #[error("{} is damaged: {cause}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The operating system says no.
    #[error("{} can't be opened: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        error: std::io::Error,
    },
    /// SQLite says no.
    #[error("{} can't be opened: {error}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it says.
        error: rusqlite::Error,
    },
}

fn process_of(process: &str) -> String {
    if process.is_empty() { String::new() } else { format!(", process {process}") }
}

/// Keeps others from opening the file, as long as it lives. The operating system lets go of it when the
/// process ends, however it ends.
#[derive(Debug)]
pub(super) struct Ownership(#[allow(dead_code, reason = "it is held, not used")] File);

impl Ownership {
    /// Takes a file for this process. The lock is on a file beside it: locks on the database itself
    /// would get in the way of SQLite's own.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let io = |error| OpenError::Io { path: path.to_owned(), error };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(beside(path, ".lock"))
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(io(error)),
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                // Who it is helps, and is not needed.
                let _ = file.read_to_string(&mut process);
                let process = process.trim().to_owned();
                return Err(OpenError::InUse { path: path.to_owned(), process });
            }
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self(file))
    }
}

/// The path of a file that belongs to the database.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// A new file that is being made. It has its name only once it is whole, and is removed if it never is.
#[derive(Debug)]
pub(super) struct Part {
    /// Its name when it is whole, and until then.
    to: PathBuf,
    path: PathBuf,
}

impl Part {
    /// Begins one; nothing of its name may be there.
    pub(super) fn of(to: &Path) -> Result<Self, OpenError> {
        let io = |error| OpenError::Io { path: to.to_owned(), error };
        if to.exists() {
            return Err(io(std::io::ErrorKind::AlreadyExists.into()));
        }
        let path = beside(to, ".part");
        // Somebody who was killed may have left one.
        for old in &written_for(&path) {
            match std::fs::remove_file(old) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io(error));
                }
                _ => {}
            }
        }
        Ok(Self { to: to.to_owned(), path })
    }

    /// Where it is until it is whole.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, once all of it is on the disk.
    ///
    /// # Errors
    ///
    /// When it can't be synced, or something has that name by now.
    pub(super) fn finish(self) -> Result<(), OpenError> {
        let finish = || {
            File::open(&self.path)?.sync_all()?;
            rename_to_new(&self.path, &self.to)?;
            // A new name is not there for certain before its folder is synced.
            let folder = self.to.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        finish().map_err(|error| OpenError::Io { path: self.to.clone(), error })
    }
}

/// Gives a file a name that nothing has, however little time there is between asking and doing.
fn rename_to_new(path: &Path, to: &Path) -> std::io::Result<()> {
    match renameat_with(CWD, path, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can tell: there it is asked for first.
        Err(Errno::INVAL | Errno::NOSYS) if to.exists() => {
            Err(std::io::ErrorKind::AlreadyExists.into())
        }
        Err(Errno::INVAL | Errno::NOSYS) => std::fs::rename(path, to),
        result => Ok(result?),
    }
}

/// What is there of a file that is being made: itself, and the journal that SQLite keeps of it.
fn written_for(path: &Path) -> [PathBuf; 2] {
    [path.to_owned(), beside(path, "-journal")]
}

/// What was not finished is removed.
impl Drop for Part {
    fn drop(&mut self) {
        for left in written_for(&self.path) {
            // It isn't there once it has its name; what can't be removed is by the next that is begun.
            let _ = std::fs::remove_file(left);
        }
    }
}

/// Opens the file to write to it; makes it, or brings it to the present form, if need be.
pub(super) fn open_to_write(
    path: &Path,
    new: LedgerId,
) -> Result<(Connection, LedgerId), OpenError> {
    let sqlite = |error| sqlite(path, error);
    if is_missing(path)? {
        make(path, new)?;
    }
    settle_wal(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(sqlite)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(sqlite)?;
    connection.pragma_update(None, "cell_size_check", true).map_err(sqlite)?;
    // Looked at before anything is changed: a file of somebody else must stay as it is.
    check_identity(&connection, path)?;
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(sqlite)?;
    if mode != "wal" {
        let error = std::io::Error::other("its file system has no shared memory for SQLite's WAL");
        return Err(OpenError::Io { path: path.to_owned(), error });
    }
    // Checkpoints are made on another connection, off the commit path.
    connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(sqlite)?;
    migrate(&mut connection, new).map_err(sqlite)?;
    let ledger_id = read_ledger_id(&connection, path)?;
    Ok((connection, ledger_id))
}

/// Moves what an earlier process has left in the WAL into the file, synced. That it can be read does not
/// mean that it is on the disk: the process may have been killed before its sync, or a sync may have failed,
/// of the WAL or of the file, after which the system's cache shows what the disk does not have. Nobody else
/// may have the file open: what was copied before is known to them, and would not be copied again.
fn settle_wal(path: &Path) -> Result<(), OpenError> {
    if length(&beside(path, "-wal"))?.is_none_or(|length| length == 0) {
        return Ok(());
    }
    let sqlite = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            OpenError::Pinned(path.to_owned())
        }
        _ => sqlite(path, error),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
    // The WAL of a file of somebody else stays as it is.
    keep_wal(&connection).map_err(sqlite)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(sqlite)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(sqlite)?;
    check_identity(&connection, path)?;
    let is_busy = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
        .map_err(sqlite)?;
    if is_busy { Err(OpenError::Pinned(path.to_owned())) } else { Ok(()) }
}

/// Leaves the WAL as it is when a connection closes.
pub(super) fn keep_wal(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(|_| ())
}

/// The file that a path leads to, by which it is known from here on: SQLite follows links as well, and what
/// belongs to a file lies beside it.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    let io = |error| OpenError::Io { path: path.to_owned(), error };
    match path.canonicalize() {
        // By another name it would have another WAL.
        Ok(file) if std::fs::metadata(&file).map_err(io)?.nlink() > 1 => {
            let error = std::io::Error::other("it has a second name (a hard link)");
            Err(io(error))
        }
        Ok(file) => Ok(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.is_symlink() => {
            Ok(path.to_owned())
        }
        Err(error) => Err(io(error)),
    }
}

/// The length of a file; none when it is not there.
fn length(path: &Path) -> Result<Option<u64>, OpenError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::Io { path: path.to_owned(), error }),
    }
}

/// Makes the file of a new ledger. It has its name only once it is whole, so that an empty one is never the
/// beginning of a bank.
fn make(path: &Path, ledger: LedgerId) -> Result<(), OpenError> {
    let part = Part::of(path)?;
    let sqlite = |error| sqlite(path, error);
    let mut connection = Connection::open(part.path()).map_err(sqlite)?;
    migrate(&mut connection, ledger).map_err(sqlite)?;
    connection.close().map_err(|(_, error)| sqlite(error))?;
    part.finish()
}

/// Whether the file is still to be made. SQLite takes a file that is cut down to less than its header for a
/// new one, and would throw the WAL of such a file away.
fn is_missing(path: &Path) -> Result<bool, OpenError> {
    let damaged =
        |cause: &str| Err(OpenError::Damaged { path: path.to_owned(), cause: cause.to_owned() });
    match (length(path)?, length(&beside(path, "-wal"))?) {
        (None, None | Some(0)) => Ok(true),
        (None, Some(_)) => damaged("its WAL is there, and it is not"),
        (Some(0), _) => damaged("it is empty; remove it if a new bank is meant"),
        (Some(1..MIN_LENGTH), _) => damaged("it is shorter than its header"),
        _ => Ok(false),
    }
}

/// Opens the file to read from it, also while a bank is writing to it.
pub(super) fn open_to_read(path: &Path) -> Result<(Connection, LedgerId), OpenError> {
    let sqlite = |error| sqlite(path, error);
    if !path.exists() {
        return Err(OpenError::Missing(path.to_owned()));
    }
    let connection = reader(path).map_err(sqlite)?;
    let version = check_identity(&connection, path)?;
    if version == 0 {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    let ledger_id = read_ledger_id(&connection, path)?;
    Ok((connection, ledger_id))
}

/// A further connection that reads.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

/// A connection that makes checkpoints.
pub(super) fn checkpointer(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// Copies what it can from the WAL into the database; keeps nobody from writing. How many pages are left
/// over.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let (in_wal, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(in_wal.saturating_sub(copied))
    })
}

/// The newest record that the file has, and its hash.
pub(super) fn head(
    connection: &Connection,
    ledger_id: LedgerId,
) -> rusqlite::Result<(Sequence, Option<ChainHash>)> {
    let head = connection
        .query_row("SELECT sequence, hash FROM head", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
        })
        .optional()?;
    Ok(match head {
        None => (Sequence::default(), Some(ChainHash::before_all(ledger_id))),
        Some((sequence, hash)) => (Sequence::new(sequence.cast_unsigned()), ChainHash::read(&hash)),
    })
}

/// The version of a file's form; 0 of an empty one.
fn check_identity(connection: &Connection, path: &Path) -> Result<i64, OpenError> {
    let number = |pragma: &str| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .map_err(|error| sqlite(path, error))
    };
    let (application_id, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| sqlite(path, error))?;
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    if (application_id, version, tables) == (0, 0, 0) {
        return Ok(0);
    }
    if application_id != APPLICATION_ID || version < 1 {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    if version > known {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known });
    }
    Ok(version)
}

/// Takes the steps that the file has not gone through, all or none.
pub(super) fn migrate(connection: &mut Connection, new: LedgerId) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: usize = transaction
        .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?
        .try_into()
        .unwrap_or(0);
    for step in STEPS.iter().skip(version) {
        transaction.execute_batch(step)?;
    }
    if version == 0 {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.execute(
            "INSERT INTO ledger (one, ledger_id) VALUES (1, ?1)",
            [new.number().cast_signed()],
        )?;
    }
    if version < STEPS.len() {
        transaction.pragma_update(None, "user_version", i64::try_from(STEPS.len()).unwrap_or(0))?;
    }
    transaction.commit()
}

fn read_ledger_id(connection: &Connection, path: &Path) -> Result<LedgerId, OpenError> {
    let number: i64 = connection
        .query_row("SELECT ledger_id FROM ledger", [], |row| row.get(0))
        .map_err(|error| sqlite(path, error))?;
    Ok(LedgerId::new(number.cast_unsigned()))
}

/// What it means that a record can't be read: it is damaged, or the system has failed to read it.
pub(super) fn unread(sequence: Sequence, error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let cause = error.to_string();
    match error.sqlite_error_code() {
        None | Some(DatabaseCorrupt | NotADatabase) => Error::Damaged { sequence, cause },
        Some(_) => Error::Unreadable { cause },
    }
}

pub(super) fn sqlite(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::Foreign(path),
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, cause: error.to_string() },
        _ if matches!(error, rusqlite::Error::QueryReturnedNoRows) => {
            OpenError::Damaged { path, cause: "the ledger's number is missing".to_owned() }
        }
        _ => OpenError::Sqlite { path, error },
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn only_what_was_read_can_be_damaged() {
        let failed = |code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        let sequence = Sequence::new(7);
        for (code, is_damaged) in [
            (ffi::SQLITE_CORRUPT, true),
            (ffi::SQLITE_NOTADB, true),
            (ffi::SQLITE_IOERR_READ, false),
            (ffi::SQLITE_IOERR_SHORT_READ, false),
            (ffi::SQLITE_BUSY, false),
            (ffi::SQLITE_CANTOPEN, false),
            (ffi::SQLITE_NOMEM, false),
        ] {
            let is_said = matches!(unread(sequence, &failed(code)), Error::Damaged { .. });
            assert_eq!(is_said, is_damaged, "{code}");
        }
        let of_another_type =
            rusqlite::Error::InvalidColumnType(0, "record".to_owned(), rusqlite::types::Type::Text);
        assert!(matches!(unread(sequence, &of_another_type), Error::Damaged { .. }));
    }
}
