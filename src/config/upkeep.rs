//! The settings of the commands that look at a file of the bank.

use std::path::PathBuf;

use clap::Args;

use super::{DatabaseSettings, Form};
use crate::ledger::Sequence;
use crate::store::journal::{ChainHash, Head};

/// `bank verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// The file, which a bank may be writing to
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

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
    /// The file, which a bank may be writing to
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

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
