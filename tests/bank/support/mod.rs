//! What the tests share: a clock that stands still, a reference store, a server of one's own, a journal
//! that can be held up, the binary as a process, a
//! connection that breaks.

pub(crate) mod callers;
pub(crate) mod certificates;
mod clock;
pub(crate) mod cluster;
mod details;
mod gated;
pub(crate) mod history;
pub(crate) mod methods;
pub(crate) mod own_book;
pub(crate) mod postgresql;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod raw;
mod reference;
mod requests;
mod server;

pub(crate) use clock::{ManualClock, START_MICROS};
pub(crate) use details::Details;
pub(crate) use gated::{Gate, GatedJournal};
pub(crate) use reference::ReferenceStore;
pub(crate) use requests::*;
pub(crate) use server::TestServer;

use std::path::Path;

use bank::ledger::LedgerId;
use bank::store::MemoryStore;
use bank::store::journal::{SqliteJournal, VolatileJournal};
use tempfile::TempDir;

pub(crate) const LEDGER: LedgerId = LedgerId::new(0x5eed);

/// An empty bank in memory.
pub(crate) fn memory_store(clock: &ManualClock) -> MemoryStore<VolatileJournal, ManualClock> {
    MemoryStore::new(LEDGER, VolatileJournal::default(), clock.clone())
}

/// A bank in a file.
pub(crate) type FileStore = MemoryStore<SqliteJournal, ManualClock>;

/// The bank in a file, which is made if need be.
pub(crate) fn file_store(path: &Path, clock: &ManualClock) -> Result<FileStore, String> {
    let journal = SqliteJournal::open(path, LEDGER, 0).map_err(|error| error.to_string())?;
    let ledger_id = journal.ledger_id();
    MemoryStore::recover(ledger_id, journal, clock.clone(), |_| {})
        .map_err(|error| error.to_string())
}

/// A folder in memory where there is one: a test that restarts often shouldn't wait for a disk.
pub(crate) fn quick_folder() -> TempDir {
    let in_memory = Path::new("/dev/shm");
    let folder = if in_memory.is_dir() { in_memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(folder).expect("a folder can be made")
}
