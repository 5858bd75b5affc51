//! The settings of `bank serve` that say how much it keeps in memory.

use clap::Args;

use crate::store::Bounds;

/// How much the bank keeps in memory at the most.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Capacity")]
#[allow(clippy::struct_field_names, reason = "they are the names of the flags")]
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

    /// How many currencies the accounts may have
    #[arg(
        long,
        env = "BANK_MAX_CURRENCIES",
        value_name = "COUNT",
        default_value = "10000",
        value_parser = clap::value_parser!(u64).range(1..),
        hide_env_values = true,
        conflicts_with_all = ["database_url", "database_url_file"]
    )]
    max_currencies: u64,

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
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Bounds {
            accounts: count(self.max_accounts),
            currencies: count(self.max_currencies),
            records: self.max_records,
        }
    }
}
