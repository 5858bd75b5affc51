//! The settings of the commands that look at a file of the bank, or at its database.

use std::path::PathBuf;

use clap::Args;

use super::{DatabaseSettings, Form};
use crate::ledger::Sequence;
use crate::store::journal::{ChainHash, Head};

/// Books that are looked at, in a file or in a database.
#[derive(Debug, Args)]
pub struct BooksIn {
    /// The file, which a bank may be writing to
    #[arg(
        value_name = "FILE",
        required_unless_present_any = ["database_url", "database_url_file"],
        conflicts_with_all = ["database_url", "database_url_file"]
    )]
    pub file: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub database: DatabaseSettings,
}

/// `bank verify`
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub books: BooksIn,

    /// A record that must be there unchanged, as `bank head` has printed it: SEQUENCE:HASH
    #[arg(long, value_name = "SEQUENCE:HASH", value_parser = parse_head)]
    pub head: Option<Head>,

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

/// `bank backup`
#[derive(Debug, Args)]
pub struct Backup {
    /// The file, which a bank may be writing to
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The copy to make; nothing of that name may be there
    #[arg(value_name = "TO")]
    pub to: PathBuf,

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

/// `bank head`
#[derive(Debug, Args)]
pub struct HeadOf {
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub books: BooksIn,

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

/// `bank migrate`
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub database: DatabaseSettings,
}

fn parse_head(text: &str) -> Result<Head, String> {
    let head = || {
        let (sequence, hash) = text.split_once(':')?;
        Some(Head {
            sequence: Sequence::new(sequence.parse().ok()?),
            hash: ChainHash::parse(hash)?,
        })
    };
    head().ok_or_else(|| "must be SEQUENCE:HASH, as `bank head` prints it".to_owned())
}
