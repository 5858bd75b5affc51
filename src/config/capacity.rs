//! The settings of `bank serve` that say how much it takes on at once.

use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use super::database::parse_timeout;
use crate::grpc::Capacity;

/// How much the bank takes on at once, over all connections. What is beyond is turned away.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Capacity")]
pub struct CapacitySettings {
    /// How many calls may be in flight; health checks and streams are not counted
    #[arg(
        long,
        env = "BANK_MAX_IN_FLIGHT",
        value_name = "COUNT",
        default_value = "10000",
        value_parser = clap::value_parser!(u32).range(1..),
        hide_env_values = true
    )]
    max_in_flight: u32,

    /// How much memory the requests and answers in flight may take, beyond the first 64 KiB of each
    #[arg(
        long,
        env = "BANK_MAX_IN_FLIGHT_BYTES",
        value_name = "SIZE",
        default_value = "256MiB",
        hide_env_values = true
    )]
    max_in_flight_bytes: ByteSize,

    /// How long a request may take to arrive, from its headers to its last byte
    #[arg(
        long,
        env = "BANK_BODY_TIMEOUT",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = parse_timeout,
        hide_env_values = true
    )]
    body_timeout: Duration,

    /// How many readers the live feed may have
    #[arg(
        long,
        env = "BANK_MAX_WATCHERS",
        value_name = "COUNT",
        default_value = "1000",
        hide_env_values = true
    )]
    max_watchers: u32,

    /// How many pipes of operations may be open
    #[arg(
        long,
        env = "BANK_MAX_EXECUTE_STREAMS",
        value_name = "COUNT",
        default_value = "100",
        hide_env_values = true
    )]
    max_execute_streams: u32,
}

impl CapacitySettings {
    /// The same, for the server.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Capacity {
            calls: count(self.max_in_flight),
            bytes: usize::try_from(self.max_in_flight_bytes.as_u64()).unwrap_or(usize::MAX),
            arrival: self.body_timeout,
            watchers: count(self.max_watchers),
            pipes: count(self.max_execute_streams),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        capacity: CapacitySettings,
    }

    fn read(arguments: &[&str]) -> Capacity {
        let line = ["bank"].iter().chain(arguments);
        Line::try_parse_from(line).expect("it is well formed").capacity.capacity()
    }

    #[test]
    fn each_flag_sets_its_own_capacity() {
        let usual = Capacity::default;
        assert_eq!(read(&[]), usual());
        for (flag, expected) in [
            ("--max-in-flight=2", Capacity { calls: 2, ..usual() }),
            ("--max-in-flight-bytes=2KiB", Capacity { bytes: 2048, ..usual() }),
            ("--body-timeout=2s", Capacity { arrival: Duration::from_secs(2), ..usual() }),
            ("--max-watchers=2", Capacity { watchers: 2, ..usual() }),
            ("--max-execute-streams=2", Capacity { pipes: 2, ..usual() }),
        ] {
            assert_eq!(read(&[flag]), expected, "{flag}");
        }
    }
}
