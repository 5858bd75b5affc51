//! The lines of a file: CSV or NDJSON, one operation each, with their numbers.

use std::io::{BufRead, BufReader, Read};

use csv::{ByteRecord, ReaderBuilder, Terminator};
use serde_json::{Map, Value};

use super::super::Failure;
use super::line::{self, Fields, Identities};
use crate::config::FileForm;
use crate::grpc::proto::Operation;

/// A line of the file: its number, from 1, and its operation, or what is wrong with it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) operation: Result<Operation, String>,
}

/// The lines of a file, in order.
pub(super) struct Lines {
    source: Source,
    identities: Identities,
}

enum Source {
    Csv { reader: csv::Reader<Box<dyn Read>>, names: Vec<String> },
    Ndjson { reader: BufReader<Box<dyn Read>>, number: u64 },
}

type Raw = (u64, Result<Fields, String>);

impl Lines {
    /// Begins to read a file.
    ///
    /// # Errors
    ///
    /// [`Failure::Misused`] when the columns of a CSV file aren't what they should be.
    pub(super) fn read(
        form: FileForm,
        input: Box<dyn Read>,
        identities: Identities,
    ) -> Result<Self, Failure> {
        let source = match form {
            FileForm::Ndjson => Source::Ndjson { reader: BufReader::new(input), number: 0 },
            FileForm::Csv => {
                // Every line ends, the last one too, and only with a line feed: so lines can be counted.
                // The carriage return before it is trimmed away with all other space.
                let input: Box<dyn Read> = Box::new(input.chain(&b"\n"[..]));
                let mut reader = ReaderBuilder::new()
                    .terminator(Terminator::Any(b'\n'))
                    .flexible(true)
                    .from_reader(input);
                let names = reader.headers().map_err(|error| unreadable(&error))?;
                let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
                check_names(&names)?;
                Source::Csv { reader, names }
            }
        };
        Ok(Self { source, identities })
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`] when the file can't be read.
    pub(super) fn next(&mut self) -> Result<Option<Line>, Failure> {
        let raw = match &mut self.source {
            Source::Csv { reader, names } => next_csv(reader, names)?,
            Source::Ndjson { reader, number } => next_ndjson(reader, number)?,
        };
        Ok(raw.map(|(number, fields)| Line {
            number,
            operation: fields.and_then(|fields| line::operation(fields, &mut self.identities)),
        }))
    }
}

fn check_names(names: &[String]) -> Result<(), Failure> {
    let wrong = |text: String| Err(Failure::Misused(format!("the first line: {text}")));
    for (index, name) in names.iter().enumerate() {
        if !line::NAMES.contains(&name.as_str()) {
            let known = line::NAMES.join(", ");
            return wrong(format!("{name:?} is not the name of a column; they are {known}"));
        }
        if names[..index].contains(name) {
            return wrong(format!("two columns are named {name}"));
        }
    }
    if names.iter().any(|name| name == "operation") {
        Ok(())
    } else {
        wrong("there is no column named operation".to_owned())
    }
}

fn next_csv(
    reader: &mut csv::Reader<Box<dyn Read>>,
    names: &[String],
) -> Result<Option<Raw>, Failure> {
    let mut record = ByteRecord::new();
    loop {
        if !reader.read_byte_record(&mut record).map_err(|error| unreadable(&error))? {
            return Ok(None);
        }
        if record.iter().all(|field| field.trim_ascii().is_empty()) && record.len() == 1 {
            continue;
        }
        return Ok(Some((number_of(&record, reader.position()), csv_fields(&record, names))));
    }
}

/// The number of the line on which a record begins. The position that the record has itself is that of
/// the blank lines before it, so it is counted back from where the reader stands now.
fn number_of(record: &ByteRecord, end: &csv::Position) -> u64 {
    let inside = record.iter().flatten().filter(|byte| **byte == b'\n').count();
    end.line().saturating_sub(1 + inside as u64)
}

fn csv_fields(record: &ByteRecord, names: &[String]) -> Result<Fields, String> {
    if record.len() != names.len() {
        return Err(format!("it has {} fields, not {}", record.len(), names.len()));
    }
    let fields = names.iter().zip(record).map(|(name, field)| {
        let field = str::from_utf8(field).map_err(|_| "it is not UTF-8".to_owned())?;
        Ok((name.clone(), field.trim().to_owned()))
    });
    fields.collect()
}

fn next_ndjson(
    reader: &mut BufReader<Box<dyn Read>>,
    number: &mut u64,
) -> Result<Option<Raw>, Failure> {
    let mut text = Vec::new();
    loop {
        text.clear();
        if reader.read_until(b'\n', &mut text).map_err(|error| unreadable(&error))? == 0 {
            return Ok(None);
        }
        *number += 1;
        if !text.trim_ascii().is_empty() {
            return Ok(Some((*number, fields_of(&text))));
        }
    }
}

fn fields_of(text: &[u8]) -> Result<Fields, String> {
    let object: Map<String, Value> = serde_json::from_slice(text)
        .map_err(|error| format!("it is not a JSON object: {error}"))?;
    object
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| match value {
            Value::String(text) => Ok((name, text)),
            Value::Object(labels) if name == "labels" => {
                Ok((name, Value::Object(labels).to_string()))
            }
            _ => Err(format!("{name} must be a string")),
        })
        .collect()
}

fn unreadable(error: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("the file can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn lines(form: FileForm, text: &[u8]) -> Result<Vec<Line>, Failure> {
        let input = Box::new(Cursor::new(text.to_owned()));
        let mut lines = Lines::read(form, input, Identities::new("test"))?;
        let mut all = Vec::new();
        while let Some(line) = lines.next()? {
            all.push(line);
        }
        Ok(all)
    }

    /// The numbers of the good lines, and those of the bad ones with what is wrong.
    fn told(form: FileForm, text: &[u8]) -> (Vec<u64>, Vec<(u64, String)>) {
        let lines = lines(form, text).expect("it can be read");
        let mut good = Vec::new();
        let mut bad = Vec::new();
        for line in lines {
            match line.operation {
                Ok(_) => good.push(line.number),
                Err(text) => bad.push((line.number, text)),
            }
        }
        (good, bad)
    }

    #[test]
    fn csv_lines_bear_the_numbers_of_the_file() {
        let text = b"\xef\xbb\xbfoperation,account_id,amount,currency_code,description\r\n\
            deposit,alice,10.50,USD,\"two\nlines\"\r\n\
            \r\n\
            deposit,alice,1,USD\r\n\
            deposit,alice,\xff,USD,\r\n\
            \n\
            withdraw , alice , 0.01 , USD ,";
        let (good, bad) = told(FileForm::Csv, text);
        assert_eq!(good, [2, 8]);
        let expected =
            [(5, "it has 4 fields, not 5".to_owned()), (6, "it is not UTF-8".to_owned())];
        assert_eq!(bad, expected);
    }

    #[test]
    fn columns_are_checked_before_anything_else() {
        for (text, phrase) in [
            ("", "no column named operation"),
            ("account_id,amount\n", "no column named operation"),
            ("operation,acount_id\n", "\"acount_id\" is not the name of a column"),
            ("operation,amount,amount\n", "two columns are named amount"),
        ] {
            match lines(FileForm::Csv, text.as_bytes()) {
                Err(Failure::Misused(line)) => assert!(line.contains(phrase), "{text:?}: {line}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn ndjson_lines_are_objects_of_strings() {
        let text = br#"{"operation":"deposit","account_id":"a","amount":"1","currency_code":"USD"}

{"operation":"deposit","account_id":"a","amount":1.5,"currency_code":"USD"}
{"operation":"deposit","account_id":"a","amount":"1","currency_code":"USD","labels":{"k":"v"},"ttl":null}
[1]
{"operation":
{"operation":"release_hold","hold_id":"h1"}"#;
        let (good, bad) = told(FileForm::Ndjson, text);
        assert_eq!(good, [1, 4, 7]);
        let numbers: Vec<u64> = bad.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [3, 5, 6]);
        assert_eq!(bad[0].1, "amount must be a string");
    }

    /// What the file says counts, not how: both forms give the same operations and ids.
    #[test]
    fn both_forms_say_the_same() {
        let csv = b"currency_code,operation,amount,account_id,labels\n\
            USD,deposit,1.00,a,\"{\"\"b\"\": \"\"2\"\", \"\"a\"\": \"\"1\"\"}\"\n";
        let ndjson =
            br#"{"operation":"deposit","account_id":"a","amount":"1.00","labels":{"a":"1","b":"2"},
            "currency_code":"USD"}"#;
        let ndjson: Vec<u8> = ndjson.iter().copied().filter(|byte| *byte != b'\n').collect();
        let one = |form, text: &[u8]| {
            let mut lines = lines(form, text).expect("it can be read");
            lines.remove(0).operation.expect("it is well formed")
        };
        assert_eq!(one(FileForm::Csv, csv), one(FileForm::Ndjson, &ndjson));
    }
}
