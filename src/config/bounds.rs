//! The settings of `bank serve` that say how much it keeps in memory.

use clap::Args;

use crate::store::Bounds;

/// How much the bank keeps in memory at the most.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Capacity")]
pub struct BoundSettings {
    /// How many accounts may be opened, those of the outside world included; each has some 500 bytes
    #[arg(
        long,
        env = "BANK_MAX_ACCOUNTS",
        value_name = "COUNT",
        default_value = "10000000",
        value_parser = clap::value_parser!(u64).range(1..),
        hide_env_values = true,
        conflicts_with_all = ["database_url", "database_url_file"]
    )]
    max_accounts: u64,

    /// How many records there may be: transactions, holds, changes of accounts and kept refusals; each has
    /// some 60 bytes with --data, and some 180 without
    #[arg(
        long,
        env = "BANK_MAX_RECORDS",
        value_name = "COUNT",
        default_value = "100000000",
        value_parser = clap::value_parser!(u64).range(1..),
        hide_env_values = true,
        conflicts_with_all = ["database_url", "database_url_file"]
    )]
    max_records: u64,
}

impl BoundSettings {
    /// The same, for the store.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        let accounts = usize::try_from(self.max_accounts).unwrap_or(usize::MAX);
        Bounds { accounts, records: self.max_records }
    }
}
