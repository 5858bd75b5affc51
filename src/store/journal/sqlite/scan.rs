//! Walks all records of a file in order, and along their chain.
//!
//! Three threads share the work: one reads rows and hashes them, one decodes them and checks the chain,
//! and the caller's takes the records over. Each hands on chunks in order, so nothing comes out of turn.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use bytes::Bytes;
use rusqlite::Connection;

use crate::ledger::{LedgerId, Sequence};
use crate::store::chain::ChainHash;
use crate::store::journal::Scanned;
use crate::store::{Error, codec};

use super::archive::Head;
use super::file;

/// How many records are handed on at once.
const CHUNK: usize = 1024;
/// How many chunks may wait for the next thread.
const WAITING: usize = 4;

/// How much of each record is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Depth {
    /// What the books need to know.
    Books,
    /// All of it; and a record that was noted down must be there, and be the same.
    Whole { noted: Option<Head> },
}

/// Rows as they stand in the file.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

struct Row {
    number: i64,
    record: Range<usize>,
    hash: ChainHash,
    checksum: i64,
}

/// What the file says is its newest record, and its hash.
type FileHead = (Sequence, Option<ChainHash>);

enum Raw {
    Chunk(Chunk),
    Head(FileHead),
}

/// Goes through all records: where it ends, which is the file's head.
///
/// # Errors
///
/// The error of `each`, or [`Error::Damaged`] with the first record that is missing, can't be read, or
/// doesn't fit the chain.
pub(super) fn records(
    connection: Connection,
    ledger_id: LedgerId,
    depth: Depth,
    each: &mut dyn FnMut(Scanned) -> Result<(), Error>,
) -> Result<Head, Error> {
    let (send_raw, raw) = sync_channel(WAITING);
    let (send_decoded, decoded) = sync_channel::<Vec<Scanned>>(WAITING);
    thread::scope(|scope| {
        let reading = scope.spawn(move || read(&connection, ledger_id, &send_raw));
        let walking = scope.spawn(move || Walk::along(ledger_id, depth, &raw, &send_decoded));
        for record in decoded.into_iter().flatten() {
            // The other two end when nobody takes their chunks any more.
            each(record)?;
        }
        // Every record before the one that is damaged has been taken over by now.
        let walked = join(walking)?;
        join(reading)?;
        Ok(walked)
    })
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn damaged(sequence: Sequence, cause: impl std::fmt::Display) -> Error {
    Error::Damaged { sequence, cause: cause.to_string() }
}

/// Reads all rows, and then the head of the same moment.
fn read(connection: &Connection, ledger_id: LedgerId, send: &SyncSender<Raw>) -> Result<(), Error> {
    let mut last = Sequence::default();
    let mut read = || -> rusqlite::Result<()> {
        // One read transaction: the head is that of these records, also while a bank is writing.
        let snapshot = connection.unchecked_transaction()?;
        let mut statement =
            snapshot.prepare("SELECT sequence, record, checksum FROM records ORDER BY sequence")?;
        let mut rows = statement.query([])?;
        let mut chunk = Chunk::default();
        while let Some(row) = rows.next()? {
            let record = row.get_ref(1)?.as_blob()?;
            let (number, hash, checksum) = (row.get(0)?, ChainHash::of(record), row.get(2)?);
            let start = chunk.bytes.len();
            chunk.bytes.extend_from_slice(record);
            let record = start..chunk.bytes.len();
            chunk.rows.push(Row { number, record, hash, checksum });
            last = last.next();
            if chunk.rows.len() == CHUNK {
                // The next one will be about as large.
                let empty = Chunk {
                    bytes: Vec::with_capacity(chunk.bytes.len() * 5 / 4),
                    rows: Vec::with_capacity(CHUNK),
                };
                let full = std::mem::replace(&mut chunk, empty);
                if send.send(Raw::Chunk(full)).is_err() {
                    return Ok(());
                }
            }
        }
        // Whoever doesn't take it has found some damage already.
        if send.send(Raw::Chunk(chunk)).is_ok() {
            let _ = send.send(Raw::Head(file::head(&snapshot, ledger_id)?));
        }
        Ok(())
    };
    read().map_err(|error| file::unread(last.next(), &error))
}

/// A walk along the chain.
struct Walk {
    depth: Depth,
    last: Sequence,
    hash: ChainHash,
}

impl Walk {
    fn along(
        ledger_id: LedgerId,
        depth: Depth,
        raw: &Receiver<Raw>,
        send: &SyncSender<Vec<Scanned>>,
    ) -> Result<Head, Error> {
        let mut walk =
            Self { depth, last: Sequence::default(), hash: ChainHash::before_all(ledger_id) };
        for raw in raw {
            let chunk = match raw {
                Raw::Chunk(chunk) => chunk,
                Raw::Head(head) => return walk.end(head),
            };
            let mut records = Vec::with_capacity(chunk.rows.len());
            let bytes = Bytes::from(chunk.bytes);
            let mut take = |row: &Row| {
                records.push(walk.step(row, &bytes.slice(row.record.clone()))?);
                Ok(())
            };
            let taken: Result<(), Error> = chunk.rows.iter().try_for_each(&mut take);
            // What came before the damage is handed on all the same.
            if send.send(records).is_err() {
                break;
            }
            taken?;
        }
        // The reader has failed and says so itself, or nobody wants to know.
        Ok(Head { sequence: walk.last, hash: walk.hash })
    }

    fn step(&mut self, row: &Row, bytes: &Bytes) -> Result<Scanned, Error> {
        let sequence = self.last.next();
        if row.number != sequence.number().cast_signed() {
            return Err(damaged(sequence, "it is not there"));
        }
        let (found, scanned, previous_hash) =
            decode(bytes, self.depth).map_err(|it| damaged(sequence, it))?;
        if found != sequence {
            return Err(damaged(sequence, "another record stands in its place"));
        }
        if previous_hash != self.hash.as_bytes()[..] {
            return Err(damaged(sequence, "it does not fit the record before it"));
        }
        self.hash = row.hash;
        if self.hash.checksum() != row.checksum {
            return Err(damaged(sequence, "it does not match its checksum"));
        }
        if let Depth::Whole { noted: Some(noted) } = self.depth
            && noted.sequence == sequence
            && noted.hash != self.hash
        {
            return Err(damaged(sequence, "its hash is not the one that was noted down"));
        }
        self.last = sequence;
        Ok(scanned)
    }

    fn end(self, (head, hash): FileHead) -> Result<Head, Error> {
        if head > self.last {
            return Err(damaged(self.last.next(), "it is not there"));
        }
        if (head, hash) != (self.last, Some(self.hash)) {
            let cause = "it is not the newest record that the file says it is";
            return Err(damaged(self.last, cause));
        }
        if let Depth::Whole { noted: Some(noted) } = self.depth
            && noted.sequence > self.last
        {
            return Err(damaged(
                self.last.next(),
                "it is not there, and a later one was noted down",
            ));
        }
        Ok(Head { sequence: self.last, hash: self.hash })
    }
}

fn decode(bytes: &Bytes, depth: Depth) -> Result<(Sequence, Scanned, Bytes), codec::DecodeError> {
    if let Depth::Books = depth
        && let Some((posting, previous_hash)) = codec::decode_plain(bytes.clone())?
    {
        return Ok((posting.sequence, Scanned::Posting(posting), previous_hash));
    }
    let linked = codec::decode(bytes)?;
    let sequence = linked.record.sequence;
    Ok((sequence, Scanned::Record(Box::new(linked.record)), linked.previous_hash.into()))
}
