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
use crate::store::chain::{ChainHash, Head, Link, Walk};
use crate::store::journal::Scanned;
use crate::store::{Error, codec};

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
    record: Range<usize>,
    link: Link,
}

/// What the file says is its newest record, and its hash.
type FileHead = (Sequence, Option<ChainHash>);

enum Raw {
    Chunk(Chunk),
    Head(FileHead),
}

/// Goes through all records, each with its stored form: where it ends, which is the file's head.
///
/// # Errors
///
/// The error of `each`, or [`Error::Damaged`] with the first record that is missing, can't be read, or
/// doesn't fit the chain.
pub(super) fn records(
    connection: Connection,
    ledger_id: LedgerId,
    depth: Depth,
    each: &mut dyn FnMut(Scanned, Bytes) -> Result<(), Error>,
) -> Result<Head, Error> {
    let (send_raw, raw) = sync_channel(WAITING);
    let (send_decoded, decoded) = sync_channel::<Vec<(Scanned, Bytes)>>(WAITING);
    thread::scope(|scope| {
        let reading = scope.spawn(move || read(&connection, ledger_id, &send_raw));
        let walking = scope.spawn(move || walk(ledger_id, depth, &raw, &send_decoded));
        for (record, stored) in decoded.into_iter().flatten() {
            // The other two end when nobody takes their chunks any more.
            each(record, stored)?;
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
            let (number, checksum) = (row.get(0)?, row.get(2)?);
            let link = Link { number, hash: ChainHash::of(record), checksum };
            let start = chunk.bytes.len();
            chunk.bytes.extend_from_slice(record);
            let record = start..chunk.bytes.len();
            chunk.rows.push(Row { record, link });
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

/// Goes along the chain, and hands on what is wanted of each record.
fn walk(
    ledger_id: LedgerId,
    depth: Depth,
    raw: &Receiver<Raw>,
    send: &SyncSender<Vec<(Scanned, Bytes)>>,
) -> Result<Head, Error> {
    let noted = match depth {
        Depth::Books => None,
        Depth::Whole { noted } => noted,
    };
    let mut walk = Walk::new(ledger_id, noted);
    for raw in raw {
        let chunk = match raw {
            Raw::Chunk(chunk) => chunk,
            Raw::Head((head, hash)) => return walk.end(head, hash),
        };
        let mut records = Vec::with_capacity(chunk.rows.len());
        let bytes = Bytes::from(chunk.bytes);
        let mut take = |row: &Row| {
            let stored = bytes.slice(row.record.clone());
            let record = walk.step(row.link, || decode(&stored, depth))?;
            records.push((record, stored));
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
    Ok(walk.head())
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
