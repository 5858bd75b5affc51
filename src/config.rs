//! What can be set: the command line, and `BANK_...` in the environment.
//!
//! Everything is read and checked before a port is bound. Whatever is unknown or malformed ends the
//! process with one line and exit code 64 (`EX_USAGE` of sysexits.h). Only this file reads the
//! environment.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use tonic::transport::Uri;
use tracing_subscriber::EnvFilter;

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

/// How to run the bank.
#[derive(Debug, Args)]
pub struct ServeSettings {
    /// The address to listen on; port 0 takes any free one
    #[arg(
        long,
        env = "BANK_LISTEN",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:50051",
        hide_env_values = true
    )]
    pub listen: SocketAddr,

    /// How long running calls may take to finish when the bank is told to end
    #[arg(
        long,
        env = "BANK_DRAIN_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = humantime::parse_duration,
        hide_env_values = true
    )]
    pub drain_timeout: Duration,

    /// The form of the log, which goes to standard error
    #[arg(
        long,
        env = "BANK_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        hide_env_values = true
    )]
    pub log_format: LogFormat,

    /// What to log: error, warn, info, debug, trace, or tracing directives such as `info,h2=debug`
    #[arg(
        long,
        env = "BANK_LOG_LEVEL",
        value_name = "FILTER",
        default_value = "info",
        value_parser = LogFilter::parse,
        hide_env_values = true
    )]
    pub log_level: LogFilter,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// How to ask a running bank for its health.
#[derive(Debug, Args)]
pub struct HealthcheckSettings {
    /// The bank to ask
    #[arg(
        long,
        env = "BANK_ENDPOINT",
        value_name = "URL",
        default_value = "http://127.0.0.1:50051",
        value_parser = parse_endpoint,
        hide_env_values = true
    )]
    pub endpoint: Uri,

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

/// A filter of log lines that was checked.
#[derive(Clone, Debug)]
pub struct LogFilter(String);

impl LogFilter {
    /// Its directives.
    #[must_use]
    pub fn directives(&self) -> &str {
        &self.0
    }

    fn parse(directives: &str) -> Result<Self, String> {
        // An empty filter would silence the log altogether, which nobody means by an empty variable.
        if directives.trim().is_empty() {
            return Err("must not be empty".to_owned());
        }
        EnvFilter::try_new(directives)
            .map(|_| Self(directives.to_owned()))
            .map_err(|error| error.to_string())
    }
}

fn parse_endpoint(text: &str) -> Result<Uri, String> {
    let endpoint: Uri = text.parse().map_err(|error| format!("{error}"))?;
    if endpoint.scheme_str() == Some("http") && endpoint.authority().is_some() {
        Ok(endpoint)
    } else {
        Err("must be http://HOST:PORT".to_owned())
    }
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

    #[test]
    fn endpoints_name_a_host() {
        for text in ["http://127.0.0.1:50051", "http://bank", "http://[::1]:1"] {
            assert!(parse_endpoint(text).is_ok(), "{text}");
        }
        for text in ["", "127.0.0.1:50051", "https://bank", "http://", "ftp://bank", "/"] {
            assert!(parse_endpoint(text).is_err(), "{text:?}");
        }
    }
}
