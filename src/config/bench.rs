//! The settings of `bank bench`.
//!
//! A load is aimed on purpose: the endpoint is read from the command line alone, never from the
//! environment that other commands share, and everything has a limit.

use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches, ValueEnum};

use super::CallSettings;

/// The longest time under load.
const MAX_DURATION: Duration = Duration::from_secs(60 * 60);
/// The shortest time that says anything.
const MIN_DURATION: Duration = Duration::from_millis(100);

/// `bank bench`
#[derive(Debug, Args)]
pub struct Bench {
    /// The new file in which its own bank keeps the books [default: in memory]
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,

    /// What is called, each with its weight: transfer, deposit, batch, balance, statement; or stream, which
    /// goes alone
    #[arg(long, value_name = "CALL[=WEIGHT],...", default_value = "transfer", value_parser = Mix::parse)]
    pub mix: Mix,

    /// Calls that begin each second, whether or not those before them were answered (open loop); of a
    /// stream, operations [default: each caller waits for its answer before it calls again (closed loop)]
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub rate: Option<u32>,

    /// How many calls, or operations of streams, are on their way at the most [default: 64; with --rate,
    /// 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub in_flight: Option<u32>,

    /// Over how many connections
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub connections: u32,

    /// How many threads make the load
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub threads: u32,

    /// Between how many accounts; they are opened first, as far as they aren't there
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    pub accounts: u32,

    /// Which of the accounts are taken
    #[arg(long, value_name = "HOW", default_value = "uniform")]
    pub accounts_distribution: AccountsDistribution,

    /// How many transfers are posted before anything is measured [default: 0; 50 entries an account when
    /// statements of its own bank are read]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000_000))]
    pub fill: Option<u32>,

    /// How many transfers a batch has
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=8192))]
    pub batch_size: u32,

    /// Send movements of money without request ids, as no client should
    #[arg(long)]
    pub no_request_id: bool,

    /// How long is measured: 100ms to 1h
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub duration: Duration,

    /// How long there is load before anything is measured, 1h at the most
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_warm_up)]
    pub warm_up: Duration,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub aim: Aim,
}

/// The bank that is loaded: one that is named on the command line, or one of the load's own.
#[derive(Debug)]
pub struct Aim {
    /// How to call it; whatever the environment names is no aim.
    pub how: CallSettings,
    /// Whether it is named.
    pub is_named: bool,
}

impl Args for Aim {
    fn augment_args(command: clap::Command) -> clap::Command {
        CallSettings::augment_args(command)
            .mut_arg("endpoint", |argument| {
                argument.help(
                    "The bank to load, whose books keep what is posted [default: one of its own, which is \
                     started for it and ended afterwards, whatever BANK_ENDPOINT says]",
                )
                .hide_default_value(true)
                .hide_env(true)
            })
            .mut_arg("timeout", |argument| {
                argument.help("How long an answer is waited for when the time is over")
            })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Aim {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let source = matches.value_source("endpoint");
        let is_named = source == Some(ValueSource::CommandLine);
        Ok(Self { how: CallSettings::from_arg_matches(matches)?, is_named })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Which accounts are taken, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccountsDistribution {
    /// Each as often as any other
    Uniform,
    /// By Zipf's law: the second half as often as the first, the third a third as often
    Zipf,
    /// Two of them alone, in both directions
    HotPair,
}

/// A call of a load, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum BenchCall {
    /// `Transfer`
    Transfer,
    /// `Deposit`
    Deposit,
    /// `ExecuteBatch`, of transfers
    Batch,
    /// `GetBalance`
    Balance,
    /// `ListTransactions` of an account, 50 on the page
    Statement,
    /// `ExecuteStream`, of transfers
    Stream,
}

/// What is called, and how often each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix(Vec<(BenchCall, u32)>);

impl Mix {
    /// The calls with their weights: each call once, weights above 0; a stream is alone.
    #[must_use]
    pub fn calls(&self) -> &[(BenchCall, u32)] {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut calls = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let call = BenchCall::from_str(name.trim(), false).map_err(|_| {
                format!("{name:?} is none of transfer, deposit, batch, balance, statement, stream")
            })?;
            let weight =
                weight.trim().parse().ok().filter(|weight| (1..=1_000_000).contains(weight));
            let weight =
                weight.ok_or_else(|| format!("the weight of {name} must be 1 to 1000000"))?;
            if calls.iter().any(|(other, _)| *other == call) {
                return Err(format!("{name} is there twice"));
            }
            calls.push((call, weight));
        }
        if calls.len() > 1 && calls.iter().any(|(call, _)| *call == BenchCall::Stream) {
            return Err("stream goes alone".to_owned());
        }
        Ok(Self(calls))
    }
}

impl From<BenchCall> for Mix {
    fn from(call: BenchCall) -> Self {
        Self(vec![(call, 1)])
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (MIN_DURATION..=MAX_DURATION).contains(&duration) {
        Ok(duration)
    } else {
        Err("must be 100ms to 1h".to_owned())
    }
}

fn parse_warm_up(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration <= MAX_DURATION { Ok(duration) } else { Err("must be 1h or less".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_calls_with_weights() {
        use BenchCall::{Balance, Statement, Transfer};
        let parsed = |text| Mix::parse(text).map(|mix| mix.0);
        assert_eq!(parsed("transfer"), Ok(vec![(Transfer, 1)]));
        assert_eq!(
            parsed("transfer=60, balance=30,statement=10"),
            Ok(vec![(Transfer, 60), (Balance, 30), (Statement, 10)])
        );
        for text in [
            "",
            "transfers",
            "transfer,",
            "transfer=0",
            "transfer=-1",
            "transfer=x",
            "transfer=1000001",
            "transfer,transfer=2",
            "stream,transfer",
        ] {
            assert!(parsed(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn times_have_limits() {
        for text in ["100ms", "10s", "1h"] {
            assert!(parse_duration(text).is_ok(), "{text}");
        }
        for text in ["", "0s", "99ms", "61min", "-1s", "soon"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(parse_warm_up("0s"), Ok(Duration::ZERO));
        assert!(parse_warm_up("2h").is_err());
    }
}
