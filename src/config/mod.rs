//! What can be set: the command line, and `BANK_...` in the environment.
//!
//! Everything is read and checked before a port is bound. Whatever is unknown or malformed ends the
//! process with one line and exit code 64 (`EX_USAGE` of sysexits.h). Only this module reads the
//! environment.

mod client;
mod serve;

use std::ffi::OsString;

use clap::{CommandFactory, Parser, Subcommand};

pub use client::HealthcheckSettings;
pub use serve::{LogFilter, LogFormat, ServeSettings};

/// The exit code for a command line or a setting that can't be understood.
pub const EXIT_USAGE: u8 = 64;

/// A bank core that a program can call: double-entry accounts over gRPC.
#[derive(Debug, Parser)]
#[command(name = "bank", version, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 64 a setting is unknown or malformed.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the bank
    Serve(ServeSettings),
    /// Ask a running bank whether it is serving: exit 0 if it is, 1 if not
    Healthcheck(HealthcheckSettings),
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
    let known: Vec<OsString> = command
        .get_subcommands()
        .flat_map(|command| command.get_arguments().filter_map(|argument| argument.get_env()))
        .map(ToOwned::to_owned)
        .collect();
    for name in names {
        let Some(text) = name.to_str() else { continue };
        if text.starts_with("BANK_") && !known.contains(&name) && !is_service_link(text) {
            return Err(Stop::Misused(format!(
                "unknown setting {text} in the environment; 'bank serve --help' lists them"
            )));
        }
    }
    Ok(())
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
    use super::*;

    fn check(name: &str) -> Result<(), Stop> {
        check_environment([OsString::from(name)].into_iter())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
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
