//! `bank import`: the operations of a file, through the pipe for bulk load.
//!
//! Every line has a request id, its own or one made of its content, so a file that is imported again
//! moves no money twice.

mod atomic;
mod line;
mod pipe;
mod report;
mod source;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use self::line::Identities;
use self::report::Report;
use self::source::Lines;
use super::Failure;
use super::records;
use super::remote::Remote;
use crate::config::{Call, FileForm, Import};

pub(super) async fn import(Call { what, how }: Call<Import>) -> Result<(), Failure> {
    if let Some(from) = &what.records {
        return records::import(from, what.data.as_deref(), &what.database, how.output).await;
    }
    let file = what.file.unwrap_or_default();
    let from_stdin = file == Path::new("-");
    let form = what.format.or_else(|| form_of(&file)).ok_or_else(|| {
        Failure::Misused("--format must say csv or ndjson: the file's name does not".to_owned())
    })?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    let import_id = match what.import_id {
        Some(id) => id,
        None if from_stdin => {
            return Err(Failure::Misused(
                "standard input has no name to recognise its lines by: give --import-id".to_owned(),
            ));
        }
        None => name.unwrap_or_default(),
    };

    let (input, progress) = if from_stdin { stdin() } else { open(&file)? };
    let lines = Lines::read(form, input, Identities::new(&import_id))?;
    let bank = Remote::new(&how)?;
    let mut report = Report::new(&file, &import_id, how.output, progress);
    let done = if what.atomic {
        atomic::execute(&bank, lines, &mut report).await
    } else {
        pipe::execute(&bank, lines, &mut report).await
    };
    report.end(done)
}

/// The form that the ending of a file's name says.
pub(super) fn form_of(file: &Path) -> Option<FileForm> {
    match file.extension()?.to_str()? {
        "csv" => Some(FileForm::Csv),
        "ndjson" | "jsonl" => Some(FileForm::Ndjson),
        _ => None,
    }
}

fn open(path: &Path) -> Result<(Box<dyn Read>, ProgressBar), Failure> {
    let fail = |error: std::io::Error| {
        Failure::Failed(format!("{} can't be read: {error}", path.display()))
    };
    let file = File::open(path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    let style = "{bar:30} {percent:>3} %  {msg}  {elapsed} (left: {eta})";
    let progress = ProgressBar::new(length).with_style(styled(style)?);
    Ok((Box::new(progress.wrap_read(file)), progress))
}

fn stdin() -> (Box<dyn Read>, ProgressBar) {
    (Box::new(std::io::stdin()), ProgressBar::new_spinner())
}

fn styled(template: &str) -> Result<ProgressStyle, Failure> {
    ProgressStyle::with_template(template).map_err(|error| Failure::Failed(error.to_string()))
}
