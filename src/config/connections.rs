//! The settings of `bank serve` for what a connection may use.

use std::num::{NonZeroU32, ParseIntError};
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use crate::server::Limits;

/// What a connection may use.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits of connections")]
pub struct ConnectionSettings {
    /// How many connections there may be; further ones are closed at once
    #[arg(
        long,
        env = "BANK_MAX_CONNECTIONS",
        value_name = "N",
        default_value = "1024",
        value_parser = parse_count,
        hide_env_values = true
    )]
    pub max_connections: u32,

    /// How long a new connection may take for the handshakes of TLS and HTTP/2
    #[arg(
        long,
        env = "BANK_HANDSHAKE_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = parse_duration,
        hide_env_values = true
    )]
    pub handshake_timeout: Duration,

    /// How long a connection may be without a call
    #[arg(
        long,
        env = "BANK_MAX_CONNECTION_IDLE",
        value_name = "DURATION",
        default_value = "5m",
        value_parser = parse_duration,
        hide_env_values = true
    )]
    pub max_connection_idle: Duration,

    /// How old a connection may get, give or take a tenth
    #[arg(
        long,
        env = "BANK_MAX_CONNECTION_AGE",
        value_name = "DURATION",
        default_value = "1h",
        value_parser = parse_duration,
        hide_env_values = true
    )]
    pub max_connection_age: Duration,

    /// How long its calls may go on then; streams end with UNAVAILABLE after that
    #[arg(
        long,
        env = "BANK_MAX_CONNECTION_AGE_GRACE",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = parse_duration,
        hide_env_values = true
    )]
    pub max_connection_age_grace: Duration,

    /// How long a connection may be silent before it is asked for a sign of life
    #[arg(
        long,
        env = "BANK_KEEPALIVE_INTERVAL",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = parse_duration,
        hide_env_values = true
    )]
    pub keepalive_interval: Duration,

    /// How long the sign of life may take
    #[arg(
        long,
        env = "BANK_KEEPALIVE_TIMEOUT",
        value_name = "DURATION",
        default_value = "20s",
        value_parser = parse_duration,
        hide_env_values = true
    )]
    pub keepalive_timeout: Duration,

    /// How long an answer, or a message of a stream, may wait for its client to take it
    #[arg(
        long,
        env = "BANK_ANSWER_TIMEOUT",
        value_name = "DURATION",
        default_value = "1m",
        value_parser = parse_duration,
        hide_env_values = true
    )]
    pub answer_timeout: Duration,

    /// How many calls a connection may have open
    #[arg(
        long,
        env = "BANK_MAX_STREAMS",
        value_name = "N",
        default_value = "1024",
        value_parser = parse_count,
        hide_env_values = true
    )]
    pub max_streams: u32,

    /// How many calls a connection may have taken back before the bank saw them
    #[arg(
        long,
        env = "BANK_MAX_PENDING_RESETS",
        value_name = "N",
        default_value = "20",
        value_parser = parse_count,
        hide_env_values = true
    )]
    pub max_pending_resets: u32,

    /// The largest headers of a call, 1KiB to 1MiB
    #[arg(
        long,
        env = "BANK_MAX_HEADER_SIZE",
        value_name = "SIZE",
        default_value = "16KiB",
        value_parser = parse_header_size,
        hide_env_values = true
    )]
    pub max_header_size: u32,

    /// The largest message, unpacked, 1KiB to 1GiB
    #[arg(
        long,
        env = "BANK_MAX_MESSAGE_SIZE",
        value_name = "SIZE",
        default_value = "16MiB",
        value_parser = parse_message_size,
        hide_env_values = true
    )]
    pub max_message_size: u32,
}

impl ConnectionSettings {
    /// The limits that a server keeps to.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Limits {
            max_message_bytes: count(self.max_message_size),
            max_header_bytes: self.max_header_size,
            max_connections: count(self.max_connections),
            handshake_timeout: self.handshake_timeout,
            max_connection_idle: self.max_connection_idle,
            max_connection_age: self.max_connection_age,
            max_connection_age_grace: self.max_connection_age_grace,
            answer_timeout: self.answer_timeout,
            max_streams: self.max_streams,
            max_pending_resets: count(self.max_pending_resets),
            keepalive_interval: self.keepalive_interval,
            keepalive_timeout: self.keepalive_timeout,
        }
    }
}

fn parse_count(text: &str) -> Result<u32, String> {
    let count: NonZeroU32 = text.parse().map_err(|error: ParseIntError| error.to_string())?;
    Ok(count.get())
}

/// A timer can't be set further off than some hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration < Duration::from_millis(1) || duration > LONGEST {
        return Err("must be 1ms to 100years".to_owned());
    }
    Ok(duration)
}

fn parse_header_size(text: &str) -> Result<u32, String> {
    parse_size(text, ByteSize::kib(1), ByteSize::mib(1))
}

fn parse_message_size(text: &str) -> Result<u32, String> {
    parse_size(text, ByteSize::kib(1), ByteSize::gib(1))
}

fn parse_size(text: &str, smallest: ByteSize, largest: ByteSize) -> Result<u32, String> {
    let size: ByteSize = text.parse()?;
    let bytes = u32::try_from(size.as_u64()).ok();
    bytes
        .filter(|_| (smallest..=largest).contains(&size))
        .ok_or_else(|| format!("must be {smallest} to {largest}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        connections: ConnectionSettings,
    }

    fn read(arguments: &[&str]) -> Result<Limits, String> {
        let line = ["bank"].iter().chain(arguments);
        match Line::try_parse_from(line) {
            Ok(line) => Ok(line.connections.limits()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn defaults_are_those_of_the_server() {
        assert_eq!(read(&[]), Ok(Limits::default()));
    }

    #[test]
    fn each_flag_sets_its_own_limit() {
        let seconds = Duration::from_secs;
        let usual = Limits::default;
        for (flag, expected) in [
            ("--max-connections=2", Limits { max_connections: 2, ..usual() }),
            ("--handshake-timeout=2s", Limits { handshake_timeout: seconds(2), ..usual() }),
            ("--max-connection-idle=2s", Limits { max_connection_idle: seconds(2), ..usual() }),
            ("--max-connection-age=2s", Limits { max_connection_age: seconds(2), ..usual() }),
            (
                "--max-connection-age-grace=2s",
                Limits { max_connection_age_grace: seconds(2), ..usual() },
            ),
            ("--keepalive-interval=2s", Limits { keepalive_interval: seconds(2), ..usual() }),
            ("--keepalive-timeout=2s", Limits { keepalive_timeout: seconds(2), ..usual() }),
            ("--answer-timeout=2s", Limits { answer_timeout: seconds(2), ..usual() }),
            ("--max-streams=2", Limits { max_streams: 2, ..usual() }),
            ("--max-pending-resets=2", Limits { max_pending_resets: 2, ..usual() }),
            ("--max-header-size=2KiB", Limits { max_header_bytes: 2048, ..usual() }),
            ("--max-message-size=2KiB", Limits { max_message_bytes: 2048, ..usual() }),
        ] {
            assert_eq!(read(&[flag]), Ok(expected), "{flag}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (flag, values) in [
            ("--max-connections", &["0", "-1", "many", "4294967296"][..]),
            ("--handshake-timeout", &["0s", "10", "soon"]),
            ("--max-connection-age", &["0s", "1000years"]),
            ("--max-header-size", &["0", "1023B", "2MiB", "big"]),
            ("--max-message-size", &["0", "2GiB", "10TiB"]),
        ] {
            for value in values {
                let said = read(&[&format!("{flag}={value}")]).expect_err(value);
                assert!(said.contains(flag), "{said}");
            }
        }
    }
}
