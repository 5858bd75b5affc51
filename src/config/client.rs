//! The settings of the commands that call a running bank.
//!
//! What is typed is read here as far as its shape goes. What depends on the bank (is there such an
//! account, does it hold this currency) is the bank's to say.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;
use prost_types::Timestamp;
use rust_decimal::Decimal;
use tonic::transport::Uri;

use super::DatabaseSettings;
use super::Secret;
use super::client_tls::{ClientTls, Secured};
use crate::ledger::Currency;

/// How to ask a running bank for its health.
#[derive(Debug, Args)]
pub struct HealthcheckSettings {
    /// Where the bank is.
    #[command(flatten)]
    pub target: Target,

    /// How long to wait for the answer
    #[arg(
        long,
        env = "BANK_HEALTHCHECK_TIMEOUT",
        value_name = "DURATION",
        default_value = "3s",
        value_parser = humantime::parse_duration,
        hide_env_values = true
    )]
    pub timeout: Duration,
}

/// Where a running bank is.
#[derive(Debug, Args)]
pub struct Target {
    /// The bank to call
    #[arg(
        long,
        env = "BANK_ENDPOINT",
        value_name = "URL",
        default_value = "http://127.0.0.1:50051",
        value_parser = parse_endpoint,
        hide_env_values = true
    )]
    pub endpoint: Uri,

    #[command(flatten)]
    tls: ClientTls,
}

impl Target {
    /// How it is called with TLS; `None` where it is called in plain text.
    ///
    /// # Errors
    ///
    /// One line that says which file or setting can't be used.
    pub fn secured(&self) -> Result<Option<Secured>, String> {
        self.tls.secured(&self.endpoint)
    }
}

/// How to call a running bank, and how to show what it says.
#[derive(Debug, Args)]
pub struct CallSettings {
    /// Where the bank is.
    #[command(flatten)]
    pub target: Target,

    /// How long to try; while the bank is unavailable, the same request is sent again and again
    #[arg(
        long,
        env = "BANK_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = parse_timeout,
        hide_env_values = true
    )]
    pub timeout: Duration,

    /// The file with the token that proves who calls; the token itself may stand in BANK_TOKEN
    #[arg(
        long,
        env = "BANK_TOKEN_FILE",
        value_name = "FILE",
        value_parser = super::token::read,
        hide_env_values = true
    )]
    #[allow(clippy::doc_markdown, reason = "people read it as help")]
    token_file: Option<Secret>,

    /// The form of what is printed
    #[arg(
        long,
        short,
        env = "BANK_OUTPUT",
        value_name = "FORM",
        default_value = "table",
        hide_env_values = true
    )]
    pub output: Form,
}

impl CallSettings {
    /// The token that proves who calls, from the file or the environment.
    #[must_use]
    pub fn token(&self) -> Option<Secret> {
        self.token_file.clone().or_else(super::token::of_environment)
    }
}

/// The form of what a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A table for people
    Table,
    /// One JSON document: protobuf's JSON form of the answer
    Json,
    /// One JSON object a line
    Ndjson,
}

/// A command that calls a running bank: how, and what it asks for.
#[derive(Debug, Args)]
pub struct Call<T: Args> {
    /// What it asks for.
    #[command(flatten)]
    pub what: T,
    /// How it calls.
    #[command(flatten)]
    pub how: CallSettings,
}

/// The id under which a mutation takes effect once.
#[derive(Debug, Args)]
pub struct OnceOnly {
    /// The id of the request: with the same id, it takes effect once only [default: a random one,
    /// which is shown]
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
}

/// What a movement of money is said to be.
#[derive(Debug, Args)]
pub struct Remarks {
    /// What it is for, at most 512 bytes
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub description: String,

    /// A label to go with it; may be given again for further ones
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
}

/// An amount as people type it: `10.50 USD`, in two arguments or in one.
#[derive(Debug, Args)]
pub struct TypedAmount {
    /// How much: a decimal number
    #[arg(value_name = "AMOUNT", allow_negative_numbers = true)]
    pub amount: String,

    /// Of which currency; may stand in one argument with the amount
    #[arg(value_name = "CURRENCY")]
    pub currency: Option<String>,
}

/// An amount that may be left out.
#[derive(Debug, Args)]
pub struct TypedPart {
    /// How much: a decimal number [default: all of it]
    #[arg(value_name = "AMOUNT", allow_negative_numbers = true)]
    pub amount: Option<String>,

    /// Of which currency; may stand in one argument with the amount
    #[arg(value_name = "CURRENCY", requires = "amount")]
    pub currency: Option<String>,
}

/// How many items of a listing are shown.
#[derive(Debug, Args)]
pub struct Limit {
    /// How many to show at the most; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: usize,
}

/// `bank account ...`
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Open an account
    Create(Call<CreateAccount>),
    /// Show an account with its balance
    Get(Call<OneAccount>),
    /// List accounts by their ids
    List(Call<ListAccounts>),
    /// Change the name, the overdraft limit or the labels of an account
    Update(Call<UpdateAccount>),
    /// Stop all money in and out of an account
    Freeze(Call<ChangeState>),
    /// Let money in and out of a frozen account again
    Unfreeze(Call<ChangeState>),
    /// Close an empty account for good
    Close(Call<ChangeState>),
}

/// One account.
#[derive(Debug, Args)]
pub struct OneAccount {
    /// The account
    #[arg(value_name = "ACCOUNT")]
    pub account_id: String,
}

/// `bank account create`
#[derive(Debug, Args)]
pub struct CreateAccount {
    /// The id of the account [default: the bank chooses one]
    #[arg(value_name = "ACCOUNT", default_value = "", hide_default_value = true)]
    pub account_id: String,

    /// The currency that the account will hold: an ISO 4217 code (USD) or NAME/SCALE (BTC/8)
    #[arg(long, value_parser = parse_currency)]
    pub currency: Currency,

    /// A name for people, at most 256 bytes
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub display_name: String,

    /// How far below zero the account may be drawn, in its currency: 100.00
    #[arg(long, value_name = "AMOUNT", value_parser = parse_decimal, default_value = "0", allow_negative_numbers = true)]
    pub overdraft_limit: Decimal,

    /// What is deposited in the same step, in its currency: 10.50
    #[arg(long, value_name = "AMOUNT", value_parser = parse_decimal, default_value = "0", allow_negative_numbers = true)]
    pub initial_balance: Decimal,

    /// A label of the account; may be given again for further ones
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,

    /// Once only.
    #[command(flatten)]
    pub once: OnceOnly,
}

/// `bank account list`
#[derive(Debug, Args)]
pub struct ListAccounts {
    /// Only accounts whose id begins with this
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub prefix: String,

    /// Only accounts of this currency
    #[arg(long, value_parser = parse_currency)]
    pub currency: Option<Currency>,

    /// Only accounts in this state
    #[arg(long)]
    pub state: Option<AccountStateName>,

    /// How many.
    #[command(flatten)]
    pub limit: Limit,
}

/// The state of an account, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AccountStateName {
    Active,
    Frozen,
    Closed,
}

/// `bank account update`
#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["display_name", "overdraft_limit", "labels", "no_labels"])]
pub struct UpdateAccount {
    /// The account
    #[arg(value_name = "ACCOUNT")]
    pub account_id: String,

    /// A new name for people, at most 256 bytes; may be empty
    #[arg(long, value_name = "TEXT")]
    pub display_name: Option<String>,

    /// How far below zero the account may be drawn from now on, in its currency: 100.00
    #[arg(long, value_name = "AMOUNT", value_parser = parse_decimal, allow_negative_numbers = true)]
    pub overdraft_limit: Option<Decimal>,

    /// A label; all labels that are given replace those that the account has
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,

    /// Take all labels off the account
    #[arg(long, conflicts_with = "labels")]
    pub no_labels: bool,

    /// Only if the account still has this etag
    #[arg(long, default_value = "", hide_default_value = true)]
    pub etag: String,

    /// Once only.
    #[command(flatten)]
    pub once: OnceOnly,
}

/// `bank account freeze`, `unfreeze` and `close`
#[derive(Debug, Args)]
pub struct ChangeState {
    /// The account
    #[arg(value_name = "ACCOUNT")]
    pub account_id: String,

    /// Why, for the record; at most 512 bytes
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,

    /// Once only.
    #[command(flatten)]
    pub once: OnceOnly,
}

/// `bank deposit` and `bank withdraw`
#[derive(Debug, Args)]
pub struct OneSided {
    /// The account
    #[arg(value_name = "ACCOUNT")]
    pub account_id: String,

    /// How much.
    #[command(flatten)]
    pub amount: TypedAmount,

    /// What for.
    #[command(flatten)]
    pub remarks: Remarks,

    /// Once only.
    #[command(flatten)]
    pub once: OnceOnly,
}

/// `bank transfer`
#[derive(Debug, Args)]
pub struct Transfer {
    /// The account that pays
    #[arg(value_name = "FROM")]
    pub from_account_id: String,

    /// The account that receives the money
    #[arg(value_name = "TO")]
    pub to_account_id: String,

    /// How much.
    #[command(flatten)]
    pub amount: TypedAmount,

    /// What for.
    #[command(flatten)]
    pub remarks: Remarks,

    /// Once only.
    #[command(flatten)]
    pub once: OnceOnly,
}

/// `bank reverse`
#[derive(Debug, Args)]
pub struct Reverse {
    /// The transaction whose money moves back
    #[arg(value_name = "TRANSACTION")]
    pub transaction_id: String,

    /// How much.
    #[command(flatten)]
    pub part: TypedPart,

    /// What it is for, at most 512 bytes
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub description: String,

    /// Once only.
    #[command(flatten)]
    pub once: OnceOnly,
}

/// `bank transaction`
#[derive(Debug, Args)]
#[group(id = "key", required = true, multiple = false, args = ["transaction_id", "request_id"])]
pub struct FindTransaction {
    /// The transaction
    #[arg(value_name = "TRANSACTION")]
    pub transaction_id: Option<String>,

    /// Find what this request made, whose answer was lost
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
}

/// `bank hold ...`
#[derive(Debug, Subcommand)]
pub enum HoldCommand {
    /// Set money aside for a payment that may come
    Place(Call<PlaceHold>),
    /// Pay what was set aside, or a part of it, and let the rest go
    Capture(Call<CaptureHold>),
    /// Let go what was set aside
    Release(Call<ReleaseHold>),
    /// Show a hold
    Get(Call<OneHold>),
    /// List holds, the newest first
    List(Call<ListHolds>),
}

/// `bank hold place`
#[derive(Debug, Args)]
pub struct PlaceHold {
    /// The account whose money is set aside
    #[arg(value_name = "ACCOUNT")]
    pub account_id: String,

    /// How much.
    #[command(flatten)]
    pub amount: TypedAmount,

    /// Who is paid when it is captured [default: the outside world]
    #[arg(long, value_name = "ACCOUNT", default_value = "", hide_default_value = true)]
    pub to: String,

    /// How long it lasts, 1s to 30days [default: 7days]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub ttl: Option<Duration>,

    /// What for.
    #[command(flatten)]
    pub remarks: Remarks,

    /// Once only.
    #[command(flatten)]
    pub once: OnceOnly,
}

/// `bank hold capture`
#[derive(Debug, Args)]
pub struct CaptureHold {
    /// The hold
    #[arg(value_name = "HOLD")]
    pub hold_id: String,

    /// How much.
    #[command(flatten)]
    pub part: TypedPart,

    /// Once only.
    #[command(flatten)]
    pub once: OnceOnly,
}

/// `bank hold release`
#[derive(Debug, Args)]
pub struct ReleaseHold {
    /// The hold
    #[arg(value_name = "HOLD")]
    pub hold_id: String,

    /// Once only.
    #[command(flatten)]
    pub once: OnceOnly,
}

/// `bank hold get`
#[derive(Debug, Args)]
pub struct OneHold {
    /// The hold
    #[arg(value_name = "HOLD")]
    pub hold_id: String,
}

/// `bank hold list`
#[derive(Debug, Args)]
pub struct ListHolds {
    /// Only holds of this account's money
    #[arg(value_name = "ACCOUNT", default_value = "", hide_default_value = true)]
    pub account_id: String,

    /// Only holds that stand so
    #[arg(long)]
    pub state: Option<HoldStateName>,

    /// How many.
    #[command(flatten)]
    pub limit: Limit,
}

/// The state of a hold, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum HoldStateName {
    Held,
    Captured,
    Released,
    Expired,
}

/// `bank balance`
#[derive(Debug, Args)]
pub struct BalanceOf {
    /// The account
    #[arg(value_name = "ACCOUNT")]
    pub account_id: String,

    /// What was posted at this time: 2026-05-01 or 2026-05-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub as_of: Option<Timestamp>,
}

/// `bank statement`
#[derive(Debug, Args)]
pub struct Statement {
    /// The account [default: the whole ledger]
    #[arg(value_name = "ACCOUNT", default_value = "", hide_default_value = true)]
    pub account_id: String,

    /// Only transactions at or after this time: 2026-05-01 or 2026-05-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub from: Option<Timestamp>,

    /// Only transactions before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub to: Option<Timestamp>,

    /// Only transactions of this type; may be given again for further ones
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<TransactionTypeName>,

    /// The oldest first [default: the newest first]
    #[arg(long)]
    pub oldest_first: bool,

    /// How many.
    #[command(flatten)]
    pub limit: Limit,
}

/// The type of a transaction, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum TransactionTypeName {
    Deposit,
    Withdrawal,
    Transfer,
    Reversal,
}

/// `bank watch`
#[derive(Debug, Args)]
pub struct Watch {
    /// The account [default: the whole ledger]
    #[arg(value_name = "ACCOUNT", default_value = "", hide_default_value = true)]
    pub account_id: String,

    /// Begin after the message that bore this token [default: from now on]
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    pub resume_token: String,
}

/// `bank trial-balance`
#[derive(Debug, Args)]
pub struct TrialBalance {
    /// Only this currency
    #[arg(value_name = "CURRENCY", value_parser = parse_currency)]
    pub currency: Option<Currency>,
}

/// `bank import`
#[derive(Debug, Args)]
pub struct Import {
    /// The file, .csv or .ndjson; - reads standard input
    #[arg(value_name = "FILE", required_unless_present = "records")]
    pub file: Option<PathBuf>,

    /// The form of the file [default: by the ending of its name]
    #[arg(long, value_name = "FORM")]
    pub format: Option<FileForm>,

    /// Lines are recognised by their content and this name when the file is imported again
    /// [default: the file's name]
    #[arg(long, value_name = "NAME")]
    pub import_id: Option<String>,

    /// All lines or none; the file has 8192 lines at the most
    #[arg(long)]
    pub atomic: bool,

    /// Bring whole books from a file of the bank into a new file (--data) or into an empty database,
    /// instead of calling a bank
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["file", "format", "import_id", "atomic"]
    )]
    pub records: Option<PathBuf>,

    /// The file to make of --records; nothing of that name may be there
    #[arg(long, value_name = "FILE", requires = "records", conflicts_with = "file")]
    pub data: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub database: DatabaseSettings,
}

/// `bank export`
#[derive(Debug, Args)]
pub struct Export {
    /// Read a file of the bank, instead of calling one
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,

    /// The file to write, .csv or .ndjson [default: standard output]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// The form of the file [default: by the ending of its name; ndjson on standard output]
    #[arg(long, value_name = "FORM")]
    pub format: Option<FileForm>,

    /// Only transactions of this account
    #[arg(long, value_name = "ACCOUNT", default_value = "", hide_default_value = true)]
    pub account: String,

    /// Only transactions at or after this time: 2026-05-01 or 2026-05-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub from: Option<Timestamp>,

    /// Only transactions before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub to: Option<Timestamp>,

    /// Write whole books, every record and their chain, to a file of the bank: from --data, or from a database
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["file", "format", "account", "from", "to"]
    )]
    pub records: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub database: DatabaseSettings,
}

/// The form of a file of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileForm {
    /// Comma-separated values with a line of column names
    Csv,
    /// One JSON object a line
    Ndjson,
}

/// `bank completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

pub(super) fn parse_endpoint(text: &str) -> Result<Uri, String> {
    let endpoint: Uri = text.parse().map_err(|error| format!("{error}"))?;
    if matches!(endpoint.scheme_str(), Some("http" | "https")) && endpoint.authority().is_some() {
        Ok(endpoint)
    } else {
        Err("must be http://HOST:PORT or https://HOST:PORT".to_owned())
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if timeout.is_zero() { Err("must be above 0".to_owned()) } else { Ok(timeout) }
}

fn parse_currency(text: &str) -> Result<Currency, String> {
    Currency::parse(text).map_err(|malformed| malformed.to_string())
}

fn parse_decimal(text: &str) -> Result<Decimal, String> {
    Decimal::from_str_exact(text).map_err(|_| "must be a decimal number such as 10.50".to_owned())
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| {
        "must be a date or a time as RFC 3339 has it: 2026-05-01, 2026-05-01T12:00:00Z".to_owned()
    })
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_name_a_host() {
        for text in ["http://127.0.0.1:50051", "http://bank", "http://[::1]:1"] {
            assert!(parse_endpoint(text).is_ok(), "{text}");
        }
        for text in ["", "127.0.0.1:50051", "http://", "https://", "ftp://bank", "/"] {
            assert!(parse_endpoint(text).is_err(), "{text:?}");
        }
    }
}
