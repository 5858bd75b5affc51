//! `bank export --records` and `bank import --records`: whole books, with every record and their chain, from
//! one place to another. On their way they are a file of the bank like any other, which can be verified,
//! served and kept.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Failure;
use super::upkeep::{self, wrong};
use crate::config::{DatabaseSettings, Form};
use crate::store::journal::{Archive, Head, NewArchive, OpenError, UnnamedArchive};
use crate::store::{DatabaseArchive, EngineSettings, Error, Import, Wrong};

/// How many records go into a database at once.
const GROUP: usize = 1000;
/// How many groups may wait for the database.
const WAITING: usize = 4;

/// Writes the books of a file or a database to a new file.
pub(super) async fn export(
    to: &Path,
    data: Option<&Path>,
    database: &DatabaseSettings,
    form: Form,
) -> Result<(), Failure> {
    let made = match place(data, database)? {
        Place::File(from) => Archive::open(from)?.copy(to)?,
        Place::Database(engine) => {
            let archive = DatabaseArchive::open(&engine).await;
            let archive = archive.map_err(|error| wrong(&engine, &error))?;
            write_file(&archive, &engine, to).await?
        }
    };
    upkeep::keep(made, to, form)
}

async fn write_file(
    archive: &DatabaseArchive,
    engine: &EngineSettings,
    to: &Path,
) -> Result<UnnamedArchive, Failure> {
    let mut file = NewArchive::begin(to, archive.ledger_id())?;
    let all = archive.head().await.map_err(|error| wrong(engine, &error))?;
    let progress = upkeep::progress_of(all.sequence)?;
    let mut unwritten: Option<OpenError> = None;
    let scanned = archive
        .scan(|sequence, stored| {
            upkeep::show(&progress, sequence);
            file.append(stored).map_err(|error| {
                unwritten = Some(error);
                // It only ends the scan; what is told is the failure.
                Wrong::Record(Error::Unavailable)
            })
        })
        .await;
    progress.finish_and_clear();
    match (unwritten, scanned) {
        (Some(error), _) => Err(error.into()),
        (None, Err(error)) => Err(wrong(engine, &error)),
        (None, Ok(_)) => Ok(file.finish()?),
    }
}

/// Brings the books of a file into a new file, or into an empty database.
pub(super) async fn import(
    from: &Path,
    data: Option<&Path>,
    database: &DatabaseSettings,
    form: Form,
) -> Result<(), Failure> {
    match place(data, database)? {
        Place::File(to) => upkeep::keep(Archive::open(from)?.copy(to)?, to, form),
        Place::Database(engine) => {
            let archive = Archive::open(from)?;
            let ledger_id = archive.ledger_id();
            let import = Import::begin(&engine, ledger_id).await;
            let import = import.map_err(|error| wrong(&engine, &error))?;
            let (head, transactions) = fill(import, archive, from.to_owned(), &engine).await?;
            upkeep::tell(form, ledger_id, head, Some(transactions))
        }
    }
}

async fn fill(
    mut import: Import,
    archive: Archive,
    from: PathBuf,
    engine: &EngineSettings,
) -> Result<(Head, u64), Failure> {
    let progress = upkeep::progress_of(archive.head()?.sequence)?;
    let (send, mut groups) = mpsc::channel(WAITING);
    // A file is read on threads of its own.
    let reading = tokio::task::spawn_blocking(move || read(&archive, &send));
    let mut count = 0;
    while let Some(group) = groups.recv().await {
        count += group.len() as u64;
        import.take(group).await.map_err(|error| wrong(engine, &error))?;
        progress.set_position(count);
    }
    let read = reading.await.map_err(|error| Failure::Failed(error.to_string()))?;
    let end = read.map_err(|error| wrong(&from.display(), &error))?;
    progress.set_position(0);
    let checked = import.finish(end, |sequence| upkeep::show(&progress, sequence)).await;
    progress.finish_and_clear();
    checked.map_err(|error| wrong(engine, &error))
}

/// Reads all records in groups: where they end.
fn read(archive: &Archive, send: &mpsc::Sender<Vec<Bytes>>) -> Result<Head, Error> {
    let mut group = Vec::with_capacity(GROUP);
    // Whoever doesn't take them any more has a failure to tell.
    let send = |group| send.blocking_send(group).map_err(|_| Error::Unavailable);
    let end = archive.scan_stored(None, &mut |_, stored| {
        group.push(stored);
        if group.len() < GROUP { Ok(()) } else { send(std::mem::take(&mut group)) }
    })?;
    send(group)?;
    Ok(end)
}

/// Where books are, or are to be.
enum Place<'a> {
    File(&'a Path),
    Database(Box<EngineSettings>),
}

fn place<'a>(data: Option<&'a Path>, database: &DatabaseSettings) -> Result<Place<'a>, Failure> {
    match (data, database.engine().map_err(Failure::Misused)?) {
        (Some(path), None) => Ok(Place::File(path)),
        (None, Some(engine)) => Ok(Place::Database(Box::new(engine))),
        _ => {
            let text = "--records needs one of --data, --database-url and --database-url-file";
            Err(Failure::Misused(text.to_owned()))
        }
    }
}
