//! `bank verify`, `backup`, `head` and `migrate`: what operators do with a file or a database.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::Failure;
use super::output::{self, Output};
use super::serve::new_ledger;
use crate::config::{Backup, BooksIn, Form, HeadOf, Migrate, Verify};
use crate::ledger::{Audit, LedgerId, Sequence};
use crate::store::journal::{Archive, Head, OpenError, UnnamedArchive};
use crate::store::{self, DatabaseArchive, EngineSettings, Error};

/// How many records are looked into between two looks of the progress bar.
const STEP: u64 = 4096;

/// What is told of a file.
#[derive(Serialize)]
struct Told {
    ledger: String,
    sequence: u64,
    hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    transactions: Option<u64>,
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Books that are looked at, and what they are called.
enum Books {
    File(Archive, PathBuf),
    Database(Box<DatabaseArchive>, Box<EngineSettings>),
}

impl Books {
    async fn open(what: &BooksIn) -> Result<Self, Failure> {
        if let Some(path) = &what.file {
            return Ok(Self::File(Archive::open(path)?, path.clone()));
        }
        let engine = what.database.engine().map_err(Failure::Misused)?;
        let engine = engine.ok_or_else(|| {
            let text = "give a FILE, --database-url or --database-url-file";
            Failure::Misused(text.to_owned())
        })?;
        let archive = DatabaseArchive::open(&engine).await;
        let archive = archive.map_err(|error| wrong(&engine, &error))?;
        Ok(Self::Database(Box::new(archive), Box::new(engine)))
    }
}

pub(super) fn wrong(books: &dyn Display, error: &dyn Display) -> Failure {
    Failure::Failed(format!("{books}: {error}"))
}

pub(super) async fn verify(what: &Verify) -> Result<(), Failure> {
    let (ledger_id, head, transactions) = match Books::open(&what.books).await? {
        Books::File(archive, path) => {
            let (head, transactions) = check_file(&archive, &path.display(), what.head)?;
            (archive.ledger_id(), head, transactions)
        }
        Books::Database(archive, engine) => {
            let (head, transactions) = check_database(&archive, &engine, what.head).await?;
            (archive.ledger_id(), head, transactions)
        }
    };
    tell(what.output, ledger_id, head, Some(transactions))
}

pub(super) fn backup(what: &Backup) -> Result<(), Failure> {
    keep(Archive::open(&what.file)?.copy(&what.to)?, &what.to, what.output)
}

/// Looks into a file that was just made, and gives it its name if nothing is wrong with it.
pub(super) fn keep(made: UnnamedArchive, to: &Path, form: Form) -> Result<(), Failure> {
    let name = format!("{} was not made: the copy", to.display());
    let (head, transactions) = check_file(made.archive(), &name, None)?;
    let ledger_id = made.archive().ledger_id();
    made.finish()?;
    tell(form, ledger_id, head, Some(transactions))
}

pub(super) async fn head(what: &HeadOf) -> Result<(), Failure> {
    let (ledger_id, head) = match Books::open(&what.books).await? {
        Books::File(archive, _) => (archive.ledger_id(), archive.head()?),
        Books::Database(archive, engine) => {
            let head = archive.head().await.map_err(|error| wrong(&engine, &error))?;
            (archive.ledger_id(), head)
        }
    };
    tell(what.output, ledger_id, head, None)
}

pub(super) async fn migrate(what: &Migrate) -> Result<(), Failure> {
    let engine = what.database.engine().map_err(Failure::Misused)?;
    let engine = engine.ok_or_else(|| {
        let text =
            "give --database-url or --database-url-file: a file is migrated when it is served";
        Failure::Misused(text.to_owned())
    })?;
    let (from, to) = store::migrate(&engine, new_ledger())
        .await
        .map_err(|error| Failure::Failed(format!("{engine}: {error}")))?;
    if from == to {
        output::tell(&format!("{engine} has version {to} already"));
    } else {
        output::tell(&format!("{engine} was brought from version {from} to {to}"));
    }
    Ok(())
}

/// Tells on standard error how far a walk along so many records is.
pub(super) fn progress_of(all: Sequence) -> Result<ProgressBar, Failure> {
    let style = "{bar:30} {percent:>3} %  {human_pos} records  {elapsed} (left: {eta})";
    let style = ProgressStyle::with_template(style);
    let style = style.map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(ProgressBar::new(all.number()).with_style(style))
}

pub(super) fn show(progress: &ProgressBar, sequence: Sequence) {
    if sequence.number().is_multiple_of(STEP) {
        progress.set_position(sequence.number());
    }
}

/// Looks into every record: the newest one, and how many transactions there are.
fn check_file(
    archive: &Archive,
    name: &dyn Display,
    noted: Option<Head>,
) -> Result<(Head, u64), Failure> {
    let progress = progress_of(archive.head()?.sequence)?;
    let mut audit = Audit::new(archive.ledger_id());
    let checked = archive.scan(noted, &mut |record| {
        let sequence = record.sequence;
        show(&progress, sequence);
        audit.check(&record).map_err(|cause| Error::Damaged { sequence, cause })
    });
    progress.finish_and_clear();
    let head = checked.map_err(|error| wrong(name, &error))?;
    let transactions = audit.end().map_err(|text| wrong(name, &text))?;
    Ok((head, transactions))
}

/// Looks into every record and every table: the newest record, and how many transactions there are.
async fn check_database(
    archive: &DatabaseArchive,
    engine: &EngineSettings,
    noted: Option<Head>,
) -> Result<(Head, u64), Failure> {
    let head = archive.head().await.map_err(|error| wrong(engine, &error))?;
    let progress = progress_of(head.sequence)?;
    let checked = archive.verify(noted, |sequence| show(&progress, sequence)).await;
    progress.finish_and_clear();
    checked.map_err(|error| wrong(engine, &error))
}

/// Tells of books: where they end and, if they were counted, how many transactions there are.
pub(super) fn tell(
    form: Form,
    ledger_id: LedgerId,
    head: Head,
    transactions: Option<u64>,
) -> Result<(), Failure> {
    let told = Told {
        ledger: format!("{:016x}", ledger_id.number()),
        sequence: head.sequence.number(),
        hash: head.hash.to_string(),
        transactions,
    };
    let mut output = Output::new(form);
    match form {
        Form::Table => {
            let mut pairs =
                vec![("ledger", told.ledger), ("head", format!("{}:{}", told.sequence, told.hash))];
            pairs.extend(transactions.map(|count| ("transactions", count.to_string())));
            output.pairs(&pairs)?;
        }
        Form::Json => output.document(&told)?,
        Form::Ndjson => output.line(&told)?,
    }
    output.flush()
}
