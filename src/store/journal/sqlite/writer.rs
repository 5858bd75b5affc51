//! The thread that writes: everything that is queued, in one transaction, with one sync, and then one
//! announcement.
//!
//! **Invariant:** what failed to be written is never tried again. After a failed sync nobody knows what
//! the disk holds; only a new start, which reads it, can tell.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tokio_util::sync::CancellationToken;

use crate::ledger::Sequence;
use crate::store::chain::ChainHash;
use crate::store::{Error, Writing, codec};

use super::announcer::Announcer;
use super::checkpoints::{self, Checkpoints, Failure};

/// How many records one transaction takes, at the most: beyond some thousands a sync costs next to
/// nothing a record, and those who wait first should not wait for those who came last.
const GROUP: usize = 8192;
/// How many bytes are written between checkpoints, about.
const CHECKPOINT_BYTES: u64 = 16 << 20;
/// How many pages a checkpoint may leave over to be copied and synced on the commit path: 16 MiB.
const LITTLE: i64 = 4096;
/// How many bytes of records may wait to be written. A disk that stalls would else be told by the memory
/// running out.
const QUEUE_BYTES: usize = 64 << 20;
/// What a transaction writes to the WAL beside its records, about: the pages that it begins and ends in,
/// and those of the head.
const COMMIT_BYTES: u64 = 4 * 4096;
/// How often the free space is looked at.
const SPACE_INTERVAL: Duration = Duration::from_millis(200);

/// What the writer shares with those who give it records.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Records that are not durable yet, in order, in the groups in which they are written. The first one stays
    /// here while it is written, as it is; all but the last are full otherwise.
    groups: VecDeque<Arc<Group>>,
    /// How many bytes they have.
    bytes: usize,
    /// The sequence of the first of them.
    first: Sequence,
    /// Whether no more will come.
    closed: bool,
    /// Whether there is room for more.
    has_room: bool,
}

/// Records without their links, one after the other.
#[derive(Debug, Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    /// Where each record ends.
    ends: Vec<usize>,
}

impl Group {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |previous| self.ends[previous]);
        self.bytes.get(start..end)
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl Queue {
    /// An empty queue after a record.
    pub(super) fn after(last: Sequence) -> Self {
        let state = State {
            groups: VecDeque::new(),
            bytes: 0,
            first: last.next(),
            closed: false,
            has_room: true,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next record, which is written behind those before it.
    pub(super) fn push(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let State { groups, bytes, .. } = &mut *state;
        let was_empty = groups.is_empty();
        // Nobody adds to a group that is being written.
        let is_open = |group: &mut Arc<Group>| group.len() < GROUP && Arc::get_mut(group).is_some();
        if !groups.back_mut().is_some_and(is_open) {
            groups.push_back(Arc::default());
        }
        let group = groups.back_mut().and_then(Arc::get_mut).expect("it is open");
        let start = group.bytes.len();
        write(&mut group.bytes);
        group.ends.push(group.bytes.len());
        *bytes += group.bytes.len() - start;
        if was_empty {
            self.changed.notify_one();
        }
    }

    /// A record that is not durable yet.
    pub(super) fn find(&self, sequence: Sequence) -> Option<Vec<u8>> {
        let state = self.lock();
        let index = sequence.number().checked_sub(state.first.number())?;
        let mut index = usize::try_from(index).ok()?;
        for group in &state.groups {
            match index.checked_sub(group.len()) {
                None => return group.get(index).map(<[u8]>::to_vec),
                Some(further) => index = further,
            }
        }
        None
    }

    /// How many records up to this one wait to be durable.
    pub(super) fn waiting(&self, last: Sequence) -> u64 {
        (last.number() + 1).saturating_sub(self.lock().first.number())
    }

    /// Whether more records can be taken.
    pub(super) fn admit(&self) -> Result<(), Error> {
        let state = self.lock();
        match state.has_room {
            false => Err(Error::Full),
            true if state.bytes > QUEUE_BYTES => Err(Error::Overloaded),
            true => Ok(()),
        }
    }

    /// Lets the writer end once it has written all that was pushed.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits for records: the next group, which stays in the queue; empty when the time is up, none at the
    /// end.
    fn next_group(&self, time: Duration) -> Option<(Sequence, Arc<Group>)> {
        let state = self.lock();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, time, |state| state.groups.is_empty() && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        match state.groups.front() {
            None if state.closed => None,
            group => Some((state.first, group.cloned().unwrap_or_default())),
        }
    }

    /// Forgets the first group, whose records are durable now. Whoever calls has it still, so that its memory is
    /// let go of without the lock.
    fn forget_group(&self) {
        let mut state = self.lock();
        if let Some(group) = state.groups.pop_front() {
            state.bytes -= group.bytes.len();
            state.first = Sequence::new(state.first.number() + group.len() as u64);
        }
    }
}

/// Writes what is queued.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) queue: Arc<Queue>,
    pub(super) last_hash: ChainHash,
    pub(super) announcer: Arc<Announcer>,
    /// Cancelled when writing has failed.
    pub(super) failure: CancellationToken,
    pub(super) writing: Arc<Writing>,
    pub(super) checkpoints: Checkpoints,
    pub(super) path: PathBuf,
    pub(super) min_free_bytes: u64,
    pub(super) bytes_since_checkpoint: u64,
    pub(super) bytes_since_look: u64,
}

impl Writer {
    /// Writes until the queue is closed, or writing fails.
    pub(super) fn run(mut self) {
        if let Err(error) = self.write() {
            tracing::error!(
                %error,
                "records can't be written; nothing more is taken until a new start"
            );
            checkpoints::keep_wal(&self.connection);
            self.announcer.fail();
            self.failure.cancel();
        }
    }

    fn write(&mut self) -> Result<(), Failure> {
        let mut looked_at = Instant::now();
        while let Some((first, group)) = self.queue.next_group(SPACE_INTERVAL) {
            if group.len() > 0 {
                let last = self.commit(first, &group)?;
                self.writing.group_sizes.observe(group.len() as u64);
                self.queue.forget_group();
                self.announcer.announce(last);
                self.ask_for_checkpoint();
            }
            self.finish_checkpoint()?;
            // A fast writer could use up all that must be kept free between two looks.
            let has_written_much = self.bytes_since_look > self.min_free_bytes / 16;
            if has_written_much || looked_at.elapsed() >= SPACE_INTERVAL {
                looked_at = Instant::now();
                self.bytes_since_look = 0;
                self.look_at_space();
            }
        }
        Ok(())
    }

    /// Begins a transaction. Nobody else should write to the file; who does so all the same is waited for,
    /// since nothing was written yet.
    fn begin(&self) -> rusqlite::Result<()> {
        loop {
            match self.connection.execute_batch("BEGIN IMMEDIATE") {
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                        && !self.queue.is_closed() =>
                {
                    tracing::warn!("another process is writing to the file; waiting for it");
                }
                begun => return begun,
            }
        }
    }

    fn commit(&mut self, first: Sequence, group: &Group) -> rusqlite::Result<Sequence> {
        self.begin()?;
        let mut hash = self.last_hash;
        let mut sequence = first;
        let mut stored = Vec::new();
        {
            let mut insert = self.connection.prepare_cached(
                "INSERT INTO records (sequence, record, checksum) VALUES (?1, ?2, ?3)",
            )?;
            for (sequence_number, record) in (first.number()..).zip(group.iter()) {
                sequence = Sequence::new(sequence_number);
                stored.clear();
                stored.extend_from_slice(record);
                codec::encode_previous_hash(hash.as_bytes(), &mut stored);
                hash = ChainHash::of(&stored);
                let number = sequence.number().cast_signed();
                insert.execute((number, stored.as_slice(), hash.checksum()))?;
                self.bytes_since_checkpoint += stored.len() as u64;
                self.bytes_since_look += stored.len() as u64;
            }
            self.connection
                .prepare_cached(
                    "INSERT INTO head (one, sequence, hash) VALUES (1, ?1, ?2)
                     ON CONFLICT (one) DO UPDATE SET sequence = ?1, hash = ?2",
                )?
                .execute((sequence.number().cast_signed(), hash.as_bytes().as_slice()))?;
        }
        let began = Instant::now();
        self.connection.execute_batch("COMMIT")?;
        self.writing.sync_micros.observe_micros(began.elapsed());
        self.bytes_since_checkpoint += COMMIT_BYTES;
        self.bytes_since_look += COMMIT_BYTES;
        self.last_hash = hash;
        Ok(sequence)
    }

    fn ask_for_checkpoint(&mut self) {
        // One may be under way.
        if self.bytes_since_checkpoint >= CHECKPOINT_BYTES && self.checkpoints.ask() {
            self.bytes_since_checkpoint = 0;
        }
    }

    /// Most of a checkpoint is made by another thread. What was written meanwhile is left over, and the
    /// WAL would grow on behind it for ever, so that little rest is copied here, where nothing is written
    /// meanwhile: then the WAL begins anew.
    fn finish_checkpoint(&self) -> Result<(), Failure> {
        match self.checkpoints.outcome()? {
            // What is left was written meanwhile, unless somebody reads an old state, which keeps more.
            Some(left) if left <= LITTLE => checkpoints::finish(&self.connection),
            Some(_) | None => Ok(()),
        }
    }

    /// Sees whether there is room for more.
    pub(super) fn look_at_space(&self) {
        let free = match free_bytes(&self.path) {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(%error, "the free space can't be told");
                return;
            }
        };
        self.writing.note_free_bytes(free);
        let has_room = free >= self.min_free_bytes;
        let before = std::mem::replace(&mut self.queue.lock().has_room, has_room);
        if before && !has_room {
            let needed = self.min_free_bytes;
            tracing::error!(free, needed, "too little free space: writes are refused");
        } else if has_room && !before {
            tracing::info!(free, "there is free space again: writes go on");
        }
    }
}

/// How many bytes the file system of a file has left for this process.
pub(super) fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_to_be_written_is_bounded() {
        const RECORD: usize = 1 << 20;
        let queue = Queue::after(Sequence::default());
        let push = || queue.push(|bytes| bytes.resize(bytes.len() + RECORD, 0));
        push();
        let (_, first) = queue.next_group(Duration::ZERO).expect("it is open");
        let mut count = 1;
        while queue.admit() == Ok(()) {
            push();
            count += 1;
        }
        assert_eq!(queue.admit(), Err(Error::Overloaded));
        assert_eq!(count, QUEUE_BYTES / RECORD + 1);
        queue.forget_group();
        drop(first);
        assert_eq!(queue.admit(), Ok(()));
        queue.forget_group();
        queue.lock().has_room = false;
        assert_eq!(queue.admit(), Err(Error::Full));
    }

    /// A record is found wherever it is, and is in one group, however many there are.
    #[test]
    fn what_waits_is_found_and_comes_in_groups_in_order() {
        let queue = Queue::after(Sequence::new(10));
        let push = |numbers: std::ops::Range<u64>| {
            for number in numbers {
                queue.push(|bytes| bytes.extend_from_slice(number.to_string().as_bytes()));
            }
        };
        let found = |number: u64| queue.find(Sequence::new(number));
        let end = 14 + 2 * GROUP as u64;
        push(11..14);
        let (first, group) = queue.next_group(Duration::ZERO).expect("it is open");
        assert_eq!((first, group.len()), (Sequence::new(11), 3));
        // They come while that is written.
        push(14..end);
        for number in 11..end {
            assert_eq!(found(number), Some(number.to_string().into_bytes()));
        }
        assert_eq!((found(10), found(end)), (None, None));

        let mut next = 11;
        for size in [3, GROUP, GROUP] {
            let (first, group) = queue.next_group(Duration::ZERO).expect("it is open");
            assert_eq!((first, group.len()), (Sequence::new(next), size));
            for record in group.iter() {
                assert_eq!(record, next.to_string().as_bytes());
                next += 1;
            }
            queue.forget_group();
            assert_eq!((found(next - 1), found(next).is_some()), (None, next < end));
        }
        let (_, group) = queue.next_group(Duration::ZERO).expect("it is open");
        assert_eq!(group.len(), 0);
        queue.close();
        assert!(queue.next_group(Duration::ZERO).is_none());
    }
}
