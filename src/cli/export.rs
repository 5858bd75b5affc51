//! `bank export`: all transactions, the oldest first, to a file or to standard output; from a running bank,
//! or from its file.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use prost_types::Timestamp;

use super::amount::decimal;
use super::import::form_of;
use super::output::tell;
use super::remote::Remote;
use super::tables::{time, transaction_type};
use super::{Failure, json, records};
use crate::config::{Call, Export, FileForm, Form};
use crate::grpc::proto::{ListTransactionsRequest, Transaction};
use crate::grpc::{linked_transaction, refused};
use crate::ledger::{AccountId, Change, Refusal, Sequence};
use crate::store::journal::Archive;
use crate::store::{Error, LinkedRecord};

/// The columns of a CSV file.
const COLUMNS: [&str; 13] = [
    "transaction_id",
    "sequence",
    "create_time",
    "type",
    "from_account_id",
    "to_account_id",
    "amount",
    "currency_code",
    "request_id",
    "description",
    "labels",
    "hold_id",
    "reverses_transaction_id",
];
const PAGE: i32 = 1000;

pub(super) async fn export(Call { what, how }: Call<Export>) -> Result<(), Failure> {
    if let Some(to) = &what.records {
        return records::export(to, what.data.as_deref(), &what.database, how.output).await;
    }
    let form = what.format.or_else(|| what.file.as_deref().and_then(form_of));
    let form = match (form, &what.file) {
        (Some(form), _) => form,
        (None, None) => FileForm::Ndjson,
        (None, Some(_)) => {
            let text = "--format must say csv or ndjson: the file's name does not";
            return Err(Failure::Misused(text.to_owned()));
        }
    };
    let source = match &what.data {
        Some(path) => Source::File(Archive::open(path)?),
        None => Source::Bank(Remote::new(&how)?),
    };
    let request = ListTransactionsRequest {
        account_id: what.account,
        start_time: what.from,
        end_time: what.to,
        page_size: PAGE,
        oldest_first: true,
        ..ListTransactionsRequest::default()
    };
    let Some(path) = what.file else {
        write_all(&source, request, Sink::new(form, std::io::stdout())?).await?;
        return Ok(());
    };
    // A file that was begun is not taken for one that is whole.
    let part = part_of(&path);
    let fail = |error| Failure::Failed(format!("{} can't be written: {error}", path.display()));
    let file = File::create(&part).map_err(fail)?;
    let written = write_all(&source, request, Sink::new(form, &file)?).await;
    let renamed = match written {
        Ok(count) => file.sync_all().and_then(|()| fs::rename(&part, &path)).map(|()| count),
        Err(failure) => {
            // What is left of it is of no use; that it failed is what matters.
            let _ = fs::remove_file(&part);
            return Err(failure);
        }
    };
    let count = renamed.map_err(fail)?;
    tell(&format!("{count} transactions were written to {}", path.display()));
    Ok(())
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Where the transactions come from.
enum Source {
    /// A running bank.
    Bank(Remote),
    /// A file of the bank.
    File(Archive),
}

/// Writes every transaction that is asked for: how many there were.
async fn write_all(
    source: &Source,
    request: ListTransactionsRequest,
    mut sink: Sink<impl Write>,
) -> Result<u64, Failure> {
    let count = match source {
        Source::Bank(bank) => write_from_bank(bank, request, &mut sink).await?,
        Source::File(archive) => write_from_file(archive, &request, &mut sink)?,
    };
    sink.flush()?;
    Ok(count)
}

async fn write_from_bank(
    bank: &Remote,
    mut request: ListTransactionsRequest,
    sink: &mut Sink<impl Write>,
) -> Result<u64, Failure> {
    let mut count = 0;
    loop {
        let page = bank
            .call(request.clone(), async |mut bank, request| bank.list_transactions(request).await)
            .await?;
        for transaction in &page.transactions {
            sink.write(transaction)?;
            count += 1;
        }
        if page.next_page_token.is_empty() {
            return Ok(count);
        }
        request.page_token = page.next_page_token;
    }
}

fn write_from_file(
    archive: &Archive,
    request: &ListTransactionsRequest,
    sink: &mut Sink<impl Write>,
) -> Result<u64, Failure> {
    let damaged = |error: Error| Failure::Failed(error.to_string());
    let account_id = match request.account_id.as_str() {
        "" => None,
        id => Some(
            AccountId::parse_any(id)
                .map_err(|malformed| Failure::Misused(format!("--account {malformed}")))?,
        ),
    };
    // Later records say of a transaction that it was reversed, so they are looked for first.
    let mut reversals: HashMap<Sequence, Vec<Sequence>> = HashMap::new();
    let mut is_there = account_id.is_none();
    archive
        .scan(None, &mut |record| {
            match &record.outcome {
                Ok(Change::Reversed { original, .. }) => {
                    reversals.entry(*original).or_default().push(record.sequence);
                }
                Ok(Change::AccountOpened { account, .. }) => {
                    is_there |= account_id.as_ref().is_some_and(|id| {
                        *id == account.id || *id == AccountId::external(&account.currency)
                    });
                }
                _ => {}
            }
            Ok(())
        })
        .map_err(damaged)?;
    if let Some(account_id) = &account_id
        && !is_there
    {
        let status = refused(&Refusal::AccountNotFound { account_id: account_id.clone() }, None);
        return Err(Failure::Call(Box::new(status), Form::Table));
    }
    let mut count = 0;
    let mut failure = None;
    let scanned = archive.scan(None, &mut |record| {
        if record.posting().is_none() {
            return Ok(());
        }
        let mut reversed_by = reversals.remove(&record.sequence).unwrap_or_default();
        reversed_by.drain(..reversed_by.len().saturating_sub(LinkedRecord::MAX_REVERSALS));
        let linked = LinkedRecord { record, reversed_by };
        let transaction = linked_transaction(archive.ledger_id(), &linked, account_id.as_ref())?;
        if is_wanted(&transaction, request) {
            count += 1;
            if let Err(error) = sink.write(&transaction) {
                failure = Some(error);
                // It only ends the scan; what is told is the failure.
                return Err(Error::Unavailable);
            }
        }
        Ok(())
    });
    match (failure, scanned) {
        (Some(failure), _) => Err(failure),
        (None, scanned) => scanned.map(|_| count).map_err(damaged),
    }
}

fn is_wanted(transaction: &Transaction, request: &ListTransactionsRequest) -> bool {
    let moment = |time: &Timestamp| (time.seconds, time.nanos);
    let time = transaction.create_time.as_ref().map(moment);
    let id = &request.account_id;
    (id.is_empty() || [&transaction.from_account_id, &transaction.to_account_id].contains(&id))
        && request.start_time.as_ref().is_none_or(|start| time >= Some(moment(start)))
        && request.end_time.as_ref().is_none_or(|end| time < Some(moment(end)))
}

enum Sink<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Ndjson(BufWriter<W>),
}

impl<W: Write> Sink<W> {
    fn new(form: FileForm, to: W) -> Result<Self, Failure> {
        match form {
            FileForm::Csv => {
                let mut writer = csv::Writer::from_writer(to);
                writer.write_record(COLUMNS).map_err(unwritten)?;
                Ok(Self::Csv(Box::new(writer)))
            }
            FileForm::Ndjson => Ok(Self::Ndjson(BufWriter::new(to))),
        }
    }

    fn write(&mut self, transaction: &Transaction) -> Result<(), Failure> {
        match self {
            Self::Csv(writer) => {
                writer.write_record(fields(transaction)?).map_err(unwritten)?;
            }
            Self::Ndjson(writer) => {
                serde_json::to_writer(&mut *writer, &json::of(transaction)?)
                    .map_err(std::io::Error::from)?;
                writeln!(writer)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Self::Csv(writer) => writer.flush()?,
            Self::Ndjson(writer) => writer.flush()?,
        }
        Ok(())
    }
}

/// The error below one of the CSV writer, which says whether anybody reads what is written.
fn unwritten(error: csv::Error) -> std::io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => std::io::Error::other(format!("{other:?}")),
    }
}

fn fields(transaction: &Transaction) -> Result<[String; 13], Failure> {
    let amount = transaction.amount.clone().unwrap_or_default();
    let labels = if transaction.labels.is_empty() {
        String::new()
    } else {
        let sorted: std::collections::BTreeMap<_, _> = transaction.labels.iter().collect();
        serde_json::to_string(&sorted).map_err(|error| Failure::Failed(error.to_string()))?
    };
    Ok([
        transaction.transaction_id.clone(),
        transaction.sequence.to_string(),
        time(transaction.create_time.as_ref()),
        transaction_type(transaction.r#type()).to_owned(),
        transaction.from_account_id.clone(),
        transaction.to_account_id.clone(),
        decimal(amount.minor_units, &amount.currency_code),
        amount.currency_code,
        transaction.request_id.clone(),
        transaction.description.clone(),
        labels,
        transaction.hold_id.clone(),
        transaction.reverses_transaction_id.clone(),
    ])
}
