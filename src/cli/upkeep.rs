//! `bank verify`, `backup` and `head`: what operators do with a file.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::Failure;
use super::output::{self, Output};
use super::serve::new_ledger;
use crate::config::{Backup, Form, HeadOf, Migrate, Verify};
use crate::ledger::Audit;
use crate::store::journal::{Archive, Head, OpenError};
use crate::store::{self, Error};

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

pub(super) fn verify(what: &Verify) -> Result<(), Failure> {
    let archive = Archive::open(&what.file)?;
    let (head, transactions) = check(&archive, &what.file, what.head)?;
    tell(what.output, &archive, head, Some(transactions))
}

pub(super) fn backup(what: &Backup) -> Result<(), Failure> {
    Archive::open(&what.file)?.copy(&what.to)?;
    let copy = Archive::open(&what.to)?;
    let (head, transactions) = check(&copy, &what.to, None)?;
    tell(what.output, &copy, head, Some(transactions))
}

pub(super) fn head(what: &HeadOf) -> Result<(), Failure> {
    let archive = Archive::open(&what.file)?;
    let head = archive.head()?;
    tell(what.output, &archive, head, None)
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

/// Looks into every record: the newest one, and how many transactions there are.
fn check(archive: &Archive, path: &Path, noted: Option<Head>) -> Result<(Head, u64), Failure> {
    let all = archive.head()?.sequence.number();
    let style = "{bar:30} {percent:>3} %  {human_pos} records  {elapsed} (left: {eta})";
    let style = ProgressStyle::with_template(style);
    let style = style.map_err(|error| Failure::Failed(error.to_string()))?;
    let progress = ProgressBar::new(all).with_style(style);
    let mut audit = Audit::new(archive.ledger_id());
    let checked = archive.scan(noted, &mut |record| {
        let sequence = record.sequence;
        if sequence.number().is_multiple_of(STEP) {
            progress.set_position(sequence.number());
        }
        audit.check(&record).map_err(|cause| Error::Damaged { sequence, cause })
    });
    progress.finish_and_clear();
    let wrong =
        |text: &dyn std::fmt::Display| Failure::Failed(format!("{}: {text}", path.display()));
    let head = checked.map_err(|error| wrong(&error))?;
    let transactions = audit.end().map_err(|text| wrong(&text))?;
    Ok((head, transactions))
}

fn tell(
    form: Form,
    archive: &Archive,
    head: Head,
    transactions: Option<u64>,
) -> Result<(), Failure> {
    let told = Told {
        ledger: format!("{:016x}", archive.ledger_id().number()),
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
