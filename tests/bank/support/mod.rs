//! What the tests share: a clock that stands still, a reference store, a server of one's own, a journal
//! that can be held up, the binary as a process, a
//! connection that breaks.

mod clock;
mod details;
mod gated;
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

use bank::ledger::LedgerId;
use bank::store::MemoryStore;
use bank::store::journal::VolatileJournal;

pub(crate) const LEDGER: LedgerId = LedgerId::new(0x5eed);

/// An empty bank in memory.
pub(crate) fn memory_store(clock: &ManualClock) -> MemoryStore<VolatileJournal, ManualClock> {
    MemoryStore::new(LEDGER, VolatileJournal::default(), clock.clone())
}
