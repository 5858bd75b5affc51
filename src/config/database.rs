//! Where an SQL engine is, for every command that can work with one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::store::EngineSettings;

/// A text that is never shown.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Under which heading help lists them.
const HEADING: &str = "Database";

/// The books over an SQL engine.
#[derive(Debug, Args)]
#[allow(clippy::struct_field_names, reason = "they are the names of the flags")]
#[allow(clippy::doc_markdown, reason = "people read it as help")]
pub struct DatabaseSettings {
    /// The PostgreSQL that keeps the books: postgres://USER:PASSWORD@HOST:PORT/DATABASE. Who may list
    /// processes sees it; a file or the environment keeps the password to itself
    #[arg(
        long,
        help_heading = HEADING,
        env = "BANK_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        conflicts_with = "database_url_file"
    )]
    database_url: Option<Secret>,

    /// The file with that URL
    #[arg(long, help_heading = HEADING, env = "BANK_DATABASE_URL_FILE", value_name = "FILE", hide_env_values = true)]
    database_url_file: Option<PathBuf>,

    /// The certificates that vouch for the database, PEM [default: those of the system]
    #[arg(long, help_heading = HEADING, env = "BANK_DATABASE_CA", value_name = "FILE", hide_env_values = true)]
    database_ca: Option<PathBuf>,

    /// How many connections reads may use; three more write, and look after the database
    #[arg(
        long,
        help_heading = HEADING,
        env = "BANK_DATABASE_CONNECTIONS",
        value_name = "COUNT",
        default_value = "8",
        value_parser = clap::value_parser!(u16).range(1..),
        hide_env_values = true
    )]
    database_connections: u16,

    /// How long a transaction or a read may take in the database
    #[arg(
        long,
        help_heading = HEADING,
        env = "BANK_DATABASE_TIMEOUT",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = parse_timeout,
        hide_env_values = true
    )]
    database_timeout: Duration,

    /// Use no named prepared statements: for PgBouncer before 1.21 in transaction mode
    #[arg(long, help_heading = HEADING, env = "BANK_DATABASE_UNPREPARED", hide_env_values = true)]
    database_unprepared: bool,
}

impl DatabaseSettings {
    /// The engine, if one is named.
    ///
    /// # Errors
    ///
    /// One line that says which setting is wrong; never a part of the URL.
    pub fn engine(&self) -> Result<Option<EngineSettings>, String> {
        let (url, setting) = match (&self.database_url, &self.database_url_file) {
            (Some(Secret(url)), _) => (url.clone(), "--database-url".to_owned()),
            (None, Some(path)) => {
                let text = String::from_utf8(read(path)?);
                let text = text.map_err(|_| format!("{} is no text", path.display()))?;
                (text.trim().to_owned(), path.display().to_string())
            }
            (None, None) => return Ok(None),
        };
        let mut engine =
            EngineSettings::parse(&url).map_err(|wrong| format!("{setting}: {wrong}"))?;
        engine.certificates = self.database_ca.as_deref().map(read).transpose()?;
        engine.connections = usize::from(self.database_connections);
        engine.timeout = self.database_timeout;
        engine.prepared = !self.database_unprepared;
        Ok(Some(engine))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{} can't be read: {error}", path.display()))
}

pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if timeout < Duration::from_millis(100) {
        return Err("must be 100ms or more".to_owned());
    }
    Ok(timeout)
}
