//! The commands of the binary.
//!
//! `serve` runs the bank; most others call a running one, as any client would, and some look at a file. They print what they were
//! asked for on standard output, and everything else on standard error.

mod accounts;
mod amount;
mod bearer;
mod bench;
mod connect;
mod export;
mod failure;
mod healthcheck;
mod holds;
mod import;
mod json;
mod movements;
mod output;
mod paging;
mod reads;
mod records;
mod remote;
mod serve;
mod tables;
mod token;
mod trust;
mod upkeep;
mod watch;

use std::io::Write;

use clap::CommandFactory;

use crate::config::{Cli, Command, Completions, TokenCommand};

pub use failure::Failure;

/// Does what the command line asks for.
///
/// # Errors
///
/// [`Failure`], which has its text and its exit code.
pub async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(settings) => {
            settings.may_listen().map_err(Failure::Misused)?;
            let engine = settings.database.engine().map_err(Failure::Misused)?;
            let authentication = settings.auth.authentication().map_err(Failure::Misused)?;
            let collector = settings.collector().map_err(Failure::Misused)?;
            let served = serve::serve(*settings, engine, authentication, collector).await;
            served.map_err(Failure::Failed)
        }
        Command::Healthcheck(settings) => {
            healthcheck::healthcheck(settings).await.map_err(Failure::Failed)
        }
        Command::Account(command) => accounts::run(command).await,
        Command::Deposit(call) => movements::deposit(call).await,
        Command::Withdraw(call) => movements::withdraw(call).await,
        Command::Transfer(call) => movements::transfer(call).await,
        Command::Reverse(call) => movements::reverse(call).await,
        Command::Transaction(call) => movements::transaction(call).await,
        Command::Hold(command) => holds::run(command).await,
        Command::Balance(call) => reads::balance(call).await,
        Command::Statement(call) => reads::statement(call).await,
        Command::TrialBalance(call) => reads::trial_balance(call).await,
        Command::Watch(call) => watch::watch(call).await,
        Command::Import(call) => import::import(call).await,
        Command::Export(call) => export::export(call).await,
        Command::Verify(what) => upkeep::verify(&what).await,
        Command::Backup(what) => upkeep::backup(&what),
        Command::Head(what) => upkeep::head(&what).await,
        Command::Migrate(what) => upkeep::migrate(&what).await,
        Command::Bench(what) => bench::bench(what).await,
        Command::Token(TokenCommand::New(what)) => token::new(&what),
        Command::Completions(what) => completions(&what),
    }
}

fn completions(what: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(what.shell, &mut Cli::command(), "bank", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}
