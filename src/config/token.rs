//! Tokens: how a new one is asked for, and where the commands that call a bank have theirs from.
//!
//! **Invariant:** a token never stands on a command line, where everybody on the machine could read it.

use std::path::Path;

use clap::{Args, Subcommand};

use super::Secret;
use crate::auth::{Reach, Role};
use crate::ledger::CallerName;

/// The variable that may hold a token.
pub(super) const VARIABLE: &str = "BANK_TOKEN";

/// The largest file that is read as a token, in bytes.
const MAX_BYTES: u64 = 16 << 10;

/// `bank token`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a random token, show it once, and the entry for the file of --auth-tokens that it is known by
    New(NewToken),
}

/// What a new token is for.
#[derive(Debug, Args)]
pub struct NewToken {
    /// Who it is for: the name that will stand in every record
    #[arg(long, value_name = "NAME", default_value = "new-caller", value_parser = parse_name)]
    pub name: CallerName,

    /// What it allows: reader, teller or admin
    #[arg(long, value_name = "ROLE", default_value = "reader", value_parser = parse_role)]
    pub role: Role,

    /// Only accounts whose ids begin with this; may be given several times
    #[arg(long = "account-prefix", value_name = "PREFIX", value_parser = parse_prefix)]
    pub account_prefixes: Vec<String>,
}

fn parse_name(text: &str) -> Result<CallerName, String> {
    CallerName::parse(text).map_err(|malformed| malformed.to_string())
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "must be reader, teller or admin".to_owned())
}

fn parse_prefix(text: &str) -> Result<String, String> {
    Reach::within([text]).map(|_| text.to_owned())
}

/// Reads a token from a file.
pub(super) fn read(path: &str) -> Result<Secret, String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(Path::new(path))
        .and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
        .map_err(|error| format!("it can't be read: {error}"))?;
    parse(text.trim())
}

fn parse(text: &str) -> Result<Secret, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it holds no token: one word of visible ASCII characters".to_owned());
    }
    Ok(Secret::from(text.to_owned()))
}

/// The token in the environment, if there is one and it could be one.
#[allow(clippy::disallowed_methods, reason = "clap has no setting that is in the environment only")]
pub(super) fn of_environment() -> Option<Secret> {
    std::env::var(VARIABLE).ok().and_then(|text| parse(&text).ok())
}

/// Whether what the environment holds as a token could be one.
#[allow(clippy::disallowed_methods, reason = "clap has no setting that is in the environment only")]
pub(super) fn check_environment() -> Result<(), String> {
    let Some(text) = std::env::var_os(VARIABLE) else { return Ok(()) };
    let parsed = text.to_str().map(parse);
    parsed
        .is_some_and(|it| it.is_ok())
        .then_some(())
        .ok_or_else(|| format!("{VARIABLE} must be one word of visible ASCII characters"))
}
