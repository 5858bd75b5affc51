//! Where a command's result goes: standard output, as a table or as JSON.
//!
//! Colours and bold type come out on a terminal only, and not where `NO_COLOR` is set; `anstream` sees
//! to that. Whatever else there is to say goes to standard error.

use std::io::{BufWriter, Stdout, Write};

use anstream::AutoStream;
use comfy_table::{Attribute, Cell, CellAlignment, ColumnConstraint, Table, Width};
use prost::{Message, Name};

use super::{Failure, json};
use crate::config::Form;

/// A message that can be shown as a list of what it says, a line each.
pub(super) trait Sheet: Message + Name {
    /// Names and values, in order.
    fn lines(&self) -> Vec<(&'static str, String)>;
}

/// A message that can be shown as a row of a table.
pub(super) trait Row: Message + Name {
    /// The titles of the columns; one that begins with `>` is aligned to the right.
    const TITLES: &'static [&'static str];

    /// The cells, one for each title.
    fn cells(&self) -> Vec<String>;
}

/// Standard output, in the form that was asked for.
#[derive(Debug)]
pub(super) struct Output {
    form: Form,
    to: BufWriter<AutoStream<Stdout>>,
}

impl Output {
    pub(super) fn new(form: Form) -> Self {
        Self { form, to: BufWriter::new(anstream::stdout()) }
    }

    /// Shows one answer.
    pub(super) fn sheet(&mut self, message: &impl Sheet) -> Result<(), Failure> {
        self.answer(message, &message.lines())
    }

    /// Shows one answer, to people in these lines.
    pub(super) fn answer(
        &mut self,
        message: &impl Name,
        lines: &[(&str, String)],
    ) -> Result<(), Failure> {
        match self.form {
            Form::Table => self.pairs(lines)?,
            Form::Json => self.document(&json::of(message)?)?,
            Form::Ndjson => self.line(&json::of(message)?)?,
        }
        self.flush()
    }

    /// Shows names and values, a line each.
    pub(super) fn pairs(&mut self, pairs: &[(&str, String)]) -> Result<(), Failure> {
        let mut table = plain();
        for (name, value) in pairs {
            table.add_row([bold(name), Cell::new(printable(value))]);
        }
        self.table(table)
    }

    /// Shows a list.
    pub(super) fn rows<T: Row>(&mut self, messages: &[T]) -> Result<(), Failure> {
        match self.form {
            Form::Table => self.grid(T::TITLES, messages.iter().map(Row::cells))?,
            Form::Json => {
                let all = messages.iter().map(json::of).collect::<Result<Vec<_>, _>>()?;
                self.document(&all)?;
            }
            Form::Ndjson => {
                for message in messages {
                    self.line(&json::of(message)?)?;
                }
            }
        }
        self.flush()
    }

    /// Shows rows of cells below their titles; a column whose title begins with `>` is aligned to the right.
    pub(super) fn grid(
        &mut self,
        titles: &[&str],
        rows: impl Iterator<Item = Vec<String>>,
    ) -> Result<(), Failure> {
        let mut table = plain();
        table.set_header(titles.iter().map(|title| bold(title.trim_start_matches('>'))));
        table.add_rows(rows.map(|cells| cells.into_iter().map(|cell| printable(&cell))));
        for (column, title) in table.column_iter_mut().zip(titles) {
            if title.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self.table(table)
    }

    /// Leaves a line empty.
    pub(super) fn line_break(&mut self) -> Result<(), Failure> {
        writeln!(self.to)?;
        Ok(())
    }

    /// Shows one item of a list without end: a line in columns of the given widths, or JSON.
    pub(super) fn live<T: Row>(
        &mut self,
        message: &T,
        line: &impl Name,
        widths: &[u16],
    ) -> Result<(), Failure> {
        match self.form {
            Form::Table => {
                let mut table = plain();
                table.add_row(message.cells().iter().map(|cell| printable(cell)));
                for ((column, title), width) in table.column_iter_mut().zip(T::TITLES).zip(widths) {
                    column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*width)));
                    if title.starts_with('>') {
                        column.set_cell_alignment(CellAlignment::Right);
                    }
                }
                self.table(table)?;
            }
            Form::Json => self.document(&json::of(line)?)?,
            Form::Ndjson => self.line(&json::of(line)?)?,
        }
        self.flush()
    }

    fn table(&mut self, mut table: Table) -> Result<(), Failure> {
        let last = table.column_count().saturating_sub(1);
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if index == last { 0 } else { 2 }));
        }
        writeln!(self.to, "{}", table.trim_fmt())?;
        Ok(())
    }

    /// Hands over what was shown.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.to.flush()?;
        Ok(())
    }

    /// Writes one JSON document over several lines.
    pub(super) fn document(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut self.to, value).map_err(std::io::Error::from)?;
        writeln!(self.to)?;
        Ok(())
    }

    /// Writes one JSON document on one line.
    pub(super) fn line(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.to, value).map_err(std::io::Error::from)?;
        writeln!(self.to)?;
        Ok(())
    }
}

/// Says something on standard error. Where that is closed nobody wants to hear it.
pub(super) fn tell(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// A table without lines: it can be read, and cut into fields by programs as well.
fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    // What is bold is taken out again where nobody can see it.
    table.enforce_styling();
    table
}

fn bold(text: &str) -> Cell {
    Cell::new(text).add_attribute(Attribute::Bold)
}

/// Text of others must not move the cursor of whoever reads it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
