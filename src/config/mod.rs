//! What can be set: the command line, and `BANK_...` in the environment.
//!
//! Everything is read and checked before a port is bound. Whatever is unknown or malformed ends the
//! process with one line and exit code 64 (`EX_USAGE` of sysexits.h). Only this module reads the
//! environment.

mod auth;
mod bench;
mod bounds;
mod capacity;
mod client;
mod client_tls;
mod connections;
mod database;
mod serve;
mod tls;
mod token;
mod upkeep;

use std::ffi::OsString;

use clap::{CommandFactory, Parser, Subcommand};

pub use auth::AuthSettings;
pub use bench::{AccountsDistribution, Aim, Bench, BenchCall, Mix};
pub use bounds::BoundSettings;
pub use capacity::CapacitySettings;
pub use client::{
    AccountCommand, AccountStateName, BalanceOf, Call, CallSettings, CaptureHold, ChangeState,
    Completions, CreateAccount, Export, FileForm, FindTransaction, Form, HealthcheckSettings,
    HoldCommand, HoldStateName, Import, Limit, ListAccounts, ListHolds, OnceOnly, OneAccount,
    OneHold, OneSided, PlaceHold, ReleaseHold, Remarks, Reverse, Statement, Target,
    TransactionTypeName, Transfer, TrialBalance, TypedAmount, TypedPart, UpdateAccount, Watch,
};
pub use client_tls::Secured;
pub use connections::ConnectionSettings;
pub use database::{DatabaseSettings, Secret};
pub use serve::{Collector, LogFilter, LogFormat, ServeSettings};
pub use tls::TlsSettings;
pub use token::{NewToken, TokenCommand};
pub use upkeep::{Backup, BooksIn, HeadOf, Migrate, Verify};

/// The exit code for a command line or a setting that can't be understood.
pub const EXIT_USAGE: u8 = 64;

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed: damaged data, a broken answer, a file or port that can't be used
  2   there is no such account, transaction or hold
  3   the bank refused it
  4   the bank is unavailable or the time was up: it may have taken effect
  5   not allowed
  6   over a limit
  7   imported, but some lines were refused
  64  the command line, a setting or the request is malformed";

const IMPORT_HELP: &str = "\
Each line is one operation. A .csv file begins with the names of its columns; a line of an .ndjson file
is an object with the same names, and strings for values. Empty is as good as left out.

  operation           deposit, withdraw, transfer, place_hold, capture_hold, release_hold,
                      reverse_transaction
  account_id          the account of deposit, withdraw and place_hold
  from_account_id     who pays, of transfer
  to_account_id       who receives, of transfer; of place_hold it may be left out
  amount              10.50
  currency_code       USD
  ttl                 how long a hold lasts: 7days
  hold_id             the hold of capture_hold and release_hold, which take all of it
  transaction_id      the transaction of reverse_transaction, which moves all of it back
  description
  labels              a JSON object of strings
  request_id          [default: made from the line, so that the file can be imported again]

Lines are executed in order, each on its own; those that are malformed or refused are named by their
numbers, and the others go in. After an interruption run the same command again: what had gone in is
recognised and not done twice. So it is with a file in which some lines were corrected.

With --records the file is one of the bank: that of 'bank serve --data', or one that 'bank export --records'
has made. All its records go as they are into a new file (--data) or into an empty database, for which
'bank migrate' has made the tables, and in the end everything is checked. After an interruption run the same
command again; no bank serves a database before all is there.";

const BENCH_HELP: &str = "\
Accounts are named bench-0000000 and so on and hold BENCH/0, an asset of their own; what is posted between
them stays in the books of the bank that is loaded.

In a closed loop a latency is that of a caller who waits for each answer; a bank that stalls isn't called
meanwhile, so little is seen of it. In an open loop calls are due at fixed times, and a latency counts from
the time at which the call was due, whether or not it could be sent then.

In the end the trial balance is read: the bank has posted what it has acknowledged, or the command fails.

  bank bench                                           its own bank, 64 callers
  bank bench --data new.db --mix batch --batch-size 8192 --in-flight 2
  bank bench --rate 20000 --mix transfer=60,balance=30,statement=10 --duration 1min
  bank bench --endpoint http://127.0.0.1:50051 --accounts-distribution hot-pair -o json";

const COMPLETIONS_HELP: &str = "\
For bash: bank completions bash > /etc/bash_completion.d/bank";

/// A bank core that a program can call: double-entry accounts over gRPC.
#[derive(Debug, Parser)]
#[command(name = "bank", version, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the bank
    Serve(Box<ServeSettings>),
    /// Ask a running bank whether it is serving: exit 0 if it is, 1 if not
    Healthcheck(HealthcheckSettings),
    /// Open, show, list, change, freeze and close accounts
    #[command(subcommand)]
    Account(AccountCommand),
    /// Move money from the outside world onto an account
    Deposit(Call<OneSided>),
    /// Move money from an account to the outside world
    Withdraw(Call<OneSided>),
    /// Move money from one account to another
    Transfer(Call<Transfer>),
    /// Move the money of a transaction back, in part or whole
    Reverse(Call<Reverse>),
    /// Set money aside, and pay it or let it go later
    #[command(subcommand)]
    Hold(HoldCommand),
    /// Show the balance of an account, now or in the past
    Balance(Call<BalanceOf>),
    /// List the transactions of an account or of the whole ledger
    Statement(Call<Statement>),
    /// Show one transaction, or what became of a request
    Transaction(Call<FindTransaction>),
    /// Show transactions as they happen
    Watch(Call<Watch>),
    /// Add up all accounts: the difference is 0, or the books are broken
    TrialBalance(Call<TrialBalance>),
    /// Execute the operations of a file, or bring in whole books; safe to run again
    #[command(after_long_help = IMPORT_HELP)]
    Import(Call<Import>),
    /// Write all transactions to a file, the oldest first, or whole books
    Export(Call<Export>),
    /// Check every record of a file or a database, and work out the books from nothing
    Verify(Verify),
    /// Copy a file, also while a bank is writing to it, and check the copy
    Backup(Backup),
    /// Print the newest record's place and hash, to be noted down elsewhere
    Head(HeadOf),
    /// Make tokens, by which callers prove who they are
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make the tables of the bank in a database, or bring them up to date
    Migrate(Migrate),
    /// Measure how fast a bank is, one of its own or a running one
    #[command(after_long_help = BENCH_HELP)]
    Bench(Bench),
    /// Print the completions of a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(Completions),
}

/// Why the process ends before it does anything.
#[derive(Debug)]
pub enum Stop {
    /// Help or the version was asked for: the text, for standard output.
    Shown(String),
    /// Nothing was asked for: the help, for standard error.
    NothingAsked(String),
    /// A setting is unknown or malformed: one line that says which.
    Misused(String),
}

/// Reads the command line and the environment of this process.
///
/// # Errors
///
/// [`Stop`] when there is nothing to do but to print something and end.
pub fn read() -> Result<Cli, Stop> {
    check_environment(std::env::vars_os().map(|(name, _)| name))?;
    token::check_environment().map_err(Stop::Misused)?;
    Cli::try_parse().map_err(|error| stop(&error))
}

fn stop(error: &clap::Error) -> Stop {
    use clap::error::ErrorKind;
    let text = error.render();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Shown(text.to_string()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Stop::NothingAsked(text.to_string()),
        _ => {
            // clap's first paragraph says what is wrong; the rest is its usage.
            let text = text.to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            let line = first.split_whitespace().collect::<Vec<_>>().join(" ");
            Stop::Misused(line.trim_start_matches("error: ").to_owned())
        }
    }
}

/// Refuses a variable `BANK_...` that sets nothing: a misspelt setting must not be ignored.
fn check_environment(names: impl Iterator<Item = OsString>) -> Result<(), Stop> {
    let command = Cli::command();
    let known = settings_of(&command);
    for name in names {
        let Some(text) = name.to_str() else { continue };
        let is_known = known.contains(&name) || text == token::VARIABLE;
        if text.starts_with("BANK_") && !is_known && !is_service_link(text) {
            return Err(Stop::Misused(format!(
                "unknown setting {text} in the environment; 'bank serve --help' lists them"
            )));
        }
    }
    Ok(())
}

/// The variables that set something, of a command and those below it.
fn settings_of(command: &clap::Command) -> Vec<OsString> {
    let own = command.get_arguments().filter_map(|argument| argument.get_env());
    let below = command.get_subcommands().flat_map(settings_of);
    own.map(ToOwned::to_owned).chain(below).collect()
}

/// Kubernetes tells every container of the services around it: a service named `bank` puts
/// `BANK_SERVICE_HOST`, `BANK_PORT` and more of that kind into the environment.
fn is_service_link(name: &str) -> bool {
    ["BANK_SERVICE_HOST", "BANK_SERVICE_PORT", "BANK_PORT"].iter().any(|link| {
        name.strip_prefix(link).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::grpc::Capacity;
    use crate::store::Bounds;

    fn check(name: &str) -> Result<(), Stop> {
        check_environment([OsString::from(name)].into_iter())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_limit_is_what_its_setting_says() {
        let settings = "bank serve --max-in-flight 1 --max-in-flight-bytes 2B --body-timeout 3s \
            --max-watchers 4 --max-execute-streams 5 --max-accounts 6 --max-currencies 7 --max-records 8";
        let settings = Cli::try_parse_from(settings.split_whitespace()).expect("they are known");
        let Command::Serve(settings) = settings.command else { panic!("{settings:?}") };
        let arrival = Duration::from_secs(3);
        let capacity = Capacity { calls: 1, bytes: 2, arrival, watchers: 4, pipes: 5 };
        assert_eq!(settings.capacity.capacity(), capacity);
        let bounds = Bounds { accounts: 6, currencies: 7, records: 8 };
        assert_eq!(settings.bounds.bounds(), bounds);

        let settings = Cli::try_parse_from(["bank", "serve"]).expect("nothing must be set");
        let Command::Serve(settings) = settings.command else { panic!("{settings:?}") };
        assert_eq!(settings.capacity.capacity(), Capacity::default());
    }

    #[test]
    fn misspelt_settings_are_refused() {
        for name in ["BANK_LISTN", "BANK_", "BANK_listen", "BANK_PORTS", "BANK_SERVICE"] {
            assert!(
                matches!(check(name), Err(Stop::Misused(line)) if line.contains(name)),
                "{name}"
            );
        }
    }

    #[test]
    fn known_settings_foreign_variables_and_service_links_pass() {
        for name in [
            "BANK_LISTEN",
            "BANK_ENDPOINT",
            "BANK_TOKEN",
            "BANK_TOKEN_FILE",
            "PATH",
            "BANKRUPT",
            "BANK_SERVICE_HOST",
            "BANK_PORT",
            "BANK_SERVICE_PORT",
            "BANK_SERVICE_PORT_GRPC",
            "BANK_PORT_50051_TCP_ADDR",
        ] {
            assert!(check(name).is_ok(), "{name}");
        }
    }
}
