//! What became of the lines: a progress bar, every line that was refused, and the sum of it.

use std::path::Path;

use indicatif::{HumanCount, ProgressBar};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::super::Failure;
use super::super::failure::explain;
use super::super::output::{Output, tell};
use crate::config::Form;
use crate::grpc::proto::OperationResult;
use crate::grpc::proto::operation_result::Result as Outcome;

/// How many lines are answered between two looks of the progress bar.
const STEP: u64 = 512;

pub(super) struct Report {
    file: String,
    form: Form,
    output: Output,
    progress: ProgressBar,
    sum: Sum,
    refusals: Vec<Refused>,
}

/// What became of all lines.
#[derive(Debug, Default, Serialize)]
struct Sum {
    /// The name by which the lines are recognised.
    import_id: String,
    /// How many lines were looked at.
    lines: u64,
    /// How many took effect now.
    done: u64,
    /// How many had taken effect in an earlier import.
    done_before: u64,
    /// How many were malformed or refused.
    refused: u64,
}

/// A line that was malformed or refused.
#[derive(Debug, Serialize)]
struct Refused {
    line: u64,
    reason: String,
    message: String,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    sum: &'a Sum,
    refusals: &'a [Refused],
}

impl Report {
    pub(super) fn new(file: &Path, import_id: &str, form: Form, progress: ProgressBar) -> Self {
        Self {
            file: file.display().to_string(),
            form,
            output: Output::new(form),
            progress,
            sum: Sum { import_id: import_id.to_owned(), ..Sum::default() },
            refusals: Vec::new(),
        }
    }

    /// A line that says nothing that could be sent.
    pub(super) fn malformed(&mut self, number: u64, text: String) -> Result<(), Failure> {
        let line = format!("malformed: {text}");
        self.refuse(Refused { line: number, reason: "MALFORMED".to_owned(), message: text }, &line)
    }

    /// A line that the bank refused.
    pub(super) fn refused(&mut self, number: u64, status: &Status) -> Result<(), Failure> {
        let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
        let text = explain(status);
        let reason = reason.unwrap_or_default();
        let message = text.strip_prefix(&format!("{reason}: ")).unwrap_or(&text).to_owned();
        self.refuse(Refused { line: number, reason, message }, &text)
    }

    /// What the bank made of a line.
    pub(super) fn result(&mut self, number: u64, result: OperationResult) -> Result<(), Failure> {
        match result.result {
            Some(Outcome::Error(error)) => {
                let code = Code::from_i32(error.code);
                let message = error.message.clone();
                let details = prost::Message::encode_to_vec(&error).into();
                self.refused(number, &Status::with_details(code, message, details))
            }
            Some(Outcome::Transaction(_) | Outcome::Hold(_)) => {
                if result.replayed {
                    self.sum.done_before += 1;
                } else {
                    self.sum.done += 1;
                }
                self.count();
                Ok(())
            }
            None => Err(Failure::Failed(format!("the bank said nothing of line {number}"))),
        }
    }

    /// Lines that were good, and were not sent because others were not.
    pub(super) fn left_out(&mut self, lines: usize) {
        self.sum.lines += lines as u64;
    }

    fn refuse(&mut self, refused: Refused, text: &str) -> Result<(), Failure> {
        self.sum.refused += 1;
        self.count();
        match self.form {
            Form::Table => {
                let line = format!("{}:{}: {text}", self.file, refused.line);
                self.progress.suspend(|| tell(&line));
                Ok(())
            }
            Form::Ndjson => self.output.line(&refused),
            Form::Json => {
                self.refusals.push(refused);
                Ok(())
            }
        }
    }

    fn count(&mut self) {
        self.sum.lines += 1;
        if self.sum.lines.is_multiple_of(STEP) {
            self.progress.set_message(format!("{} lines", HumanCount(self.sum.lines)));
        }
    }

    /// Tells the sum, also of an import that could not go on.
    pub(super) fn end(mut self, done: Result<(), Failure>) -> Result<(), Failure> {
        self.progress.finish_and_clear();
        if let Err(Failure::Misused(_)) = done {
            return done;
        }
        match self.form {
            Form::Table => self.output.pairs(&[
                ("lines", self.sum.lines.to_string()),
                ("done", self.sum.done.to_string()),
                ("done before", self.sum.done_before.to_string()),
                ("refused", self.sum.refused.to_string()),
                ("import id", self.sum.import_id.clone()),
            ])?,
            Form::Json => {
                self.output.document(&Document { sum: &self.sum, refusals: &self.refusals })?;
            }
            Form::Ndjson => self.output.line(&self.sum)?,
        }
        self.output.flush()?;
        match done {
            Err(Failure::OutputClosed) => Err(Failure::OutputClosed),
            Err(failure) => {
                tell("the import did not come to its end; run the same command again to go on");
                Err(failure)
            }
            Ok(()) if self.sum.refused > 0 => Err(Failure::SomeRefused),
            Ok(()) => Ok(()),
        }
    }
}
