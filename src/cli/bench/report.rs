//! What is told of a load: a table for people, a JSON document for programs.

use std::time::{Duration, Instant};

use serde::Serialize;
use tonic::transport::Uri;

use super::super::Failure;
use super::super::output::Output;
use super::load::{Job, Until};
use super::plan::Kind;
use super::tally::{Figures, Tally};
use super::usage::Watched;
use crate::config::Form;
use crate::grpc::code_name;

/// The whole of it. Names that are given to programs are never changed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    bank: Bank,
    load: Load,
    /// How long was measured.
    measured_seconds: f64,
    #[serde(flatten)]
    all: Measured,
    /// Each kind of call on its own.
    by_call: Vec<OfKind>,
    errors: Vec<Failed>,
    /// Calls that were due before the end and never sent, because too many were on their way.
    unsent: u64,
    /// The bank's process, when it was started for the load and the system tells.
    server: Option<Process>,
    /// The load generator's own process.
    generator: Option<Process>,
    /// None where the bank tells nothing of the load's asset.
    books: Option<Books>,
}

#[derive(Debug, Serialize)]
struct Bank {
    endpoint: String,
    /// Whether it was started for the load.
    is_own: bool,
    /// The file of a bank that was started for the load.
    data: Option<String>,
}

#[derive(Debug, Serialize)]
struct Load {
    mix: Vec<Share>,
    /// Calls a second of an open loop.
    rate: Option<u32>,
    in_flight: u32,
    connections: u32,
    threads: u32,
    accounts: u32,
    accounts_distribution: String,
    batch_size: u32,
    request_ids: bool,
    warm_up_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Share {
    call: Kind,
    weight: u32,
}

#[derive(Debug, Serialize)]
struct OfKind {
    call: Kind,
    #[serde(flatten)]
    measured: Measured,
}

#[derive(Debug, Serialize)]
struct Measured {
    calls: u64,
    calls_per_second: f64,
    /// What moves money counts each movement, in batches too.
    operations: u64,
    operations_per_second: f64,
    latency: Latency,
}

/// From the time at which a call was due to the end of its answer.
#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names, reason = "the unit is part of what programs read")]
struct Latency {
    mean_us: u64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p99_9_us: u64,
    max_us: u64,
}

#[derive(Debug, Serialize)]
struct Failed {
    code: &'static str,
    /// The bank's, or `CONNECTION_BROKEN` and `UNANSWERED`, which this side says.
    reason: String,
    count: u64,
}

#[derive(Debug, Serialize)]
struct Process {
    /// How many processors it kept busy.
    cpu_cores: f64,
    /// What an operation cost it.
    cpu_us_per_operation: f64,
    /// What it had resident when measuring began, and ended.
    memory_bytes_before: u64,
    memory_bytes_after: u64,
}

/// What the trial balance of the load's asset says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Books {
    /// Transactions that the bank has acknowledged, in the warm-up and after the end too.
    pub(super) acknowledged: u64,
    /// Transactions that it has posted meanwhile, of whomever.
    pub(super) posted: u64,
    /// The sum of all postings: 0, or the books are broken.
    pub(super) difference: i64,
}

impl Books {
    /// What can't be, whoever else uses the bank.
    pub(super) fn fault(self) -> Option<String> {
        let Self { acknowledged, posted, difference } = self;
        if difference != 0 {
            Some(format!("the books are broken: they differ by {difference}"))
        } else if posted < acknowledged {
            Some(format!("{acknowledged} transactions were acknowledged, but {posted} posted"))
        } else {
            None
        }
    }
}

/// What a report is made of.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) endpoint: &'a Uri,
    pub(super) is_own: bool,
    pub(super) data: Option<String>,
    pub(super) job: &'a Job,
    pub(super) tally: &'a Tally,
    /// When it ended: before its time, if it was interrupted.
    pub(super) ended: Instant,
    pub(super) server: Option<Watched>,
    pub(super) generator: Watched,
    pub(super) books: Option<Books>,
}

impl Report {
    pub(super) fn new(source: &Source<'_>) -> Self {
        let Source { job, tally, .. } = source;
        let window = tally.window();
        let time = window.end.min(source.ended).saturating_duration_since(window.measured_from);
        let what = &job.what;
        let all = Measured::new(&tally.all(), time);
        let process = |watched: &Watched| Process::new(watched, all.operations_per_second);
        let warm_up = match job.until {
            Until::Time { warm_up, .. } => warm_up,
            Until::Count(_) => Duration::ZERO,
        };
        Self {
            bank: Bank {
                endpoint: source.endpoint.to_string().trim_end_matches('/').to_owned(),
                is_own: source.is_own,
                data: source.data.clone(),
            },
            load: Load {
                mix: what.mix.iter().map(|&(call, weight)| Share { call, weight }).collect(),
                rate: job.rate,
                in_flight: job.in_flight,
                connections: job.used_connections(),
                threads: job.used_threads(),
                accounts: what.accounts,
                accounts_distribution: what.distribution_name(),
                batch_size: what.batch_size,
                request_ids: what.with_request_ids,
                warm_up_seconds: warm_up.as_secs_f64(),
            },
            measured_seconds: time.as_secs_f64(),
            by_call: tally
                .by_kind()
                .iter()
                .map(|(call, figures)| OfKind {
                    call: *call,
                    measured: Measured::new(figures, time),
                })
                .collect(),
            errors: tally
                .errors()
                .iter()
                .map(|(cause, count)| Failed {
                    code: code_name(cause.code()),
                    reason: cause.reason.clone(),
                    count: *count,
                })
                .collect(),
            unsent: tally.unsent(),
            server: source.server.as_ref().and_then(process),
            generator: process(&source.generator),
            books: source.books,
            all,
        }
    }

    pub(super) fn show(&self, form: Form) -> Result<(), Failure> {
        let mut output = Output::new(form);
        match form {
            Form::Json => output.document(self)?,
            Form::Ndjson => output.line(self)?,
            Form::Table => {
                output.pairs(&self.lines())?;
                output.line_break()?;
                let titles = [
                    "CALL",
                    ">CALLS",
                    ">A SECOND",
                    ">OPERATIONS A SECOND",
                    ">P50",
                    ">P90",
                    ">P99",
                    ">P99.9",
                    ">MAX",
                ];
                output.grid(&titles, self.by_call.iter().map(OfKind::cells))?;
                if !self.errors.is_empty() {
                    output.line_break()?;
                    let errors = self.errors.iter().map(|error| {
                        vec![error.code.to_owned(), error.reason.clone(), error.count.to_string()]
                    });
                    output.grid(&["ERROR", "REASON", ">COUNT"], errors)?;
                }
            }
        }
        output.flush()
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let Self { bank, load, .. } = self;
        let books = match (&bank.data, bank.is_own) {
            (Some(data), _) => format!(" (its own, {data})"),
            (None, true) => " (its own, in memory)".to_owned(),
            (None, false) => String::new(),
        };
        let mix = load.mix.iter().map(|share| match load.mix.len() {
            1 => share.call.name().to_owned(),
            _ => format!("{}={}", share.call.name(), share.weight),
        });
        let has_batches = load.mix.iter().any(|share| share.call == Kind::Batch);
        let batches = if has_batches { format!(" of {}", load.batch_size) } else { String::new() };
        let pace = match load.rate {
            Some(rate) => format!("open loop, {rate} a second, at most"),
            None => "closed loop,".to_owned(),
        };
        let ids = if load.request_ids { "" } else { ", without request ids" };
        let mut lines = vec![
            ("bank", format!("{}{books}", bank.endpoint)),
            ("calls", mix.collect::<Vec<_>>().join(",") + &batches + ids),
            (
                "pace",
                format!(
                    "{pace} {} in flight over {} connections",
                    load.in_flight, load.connections
                ),
            ),
            ("accounts", format!("{} ({})", load.accounts, load.accounts_distribution)),
            (
                "time",
                format!("{:.1} s, after {:.1} s", self.measured_seconds, load.warm_up_seconds),
            ),
        ];
        let failed: u64 = self.errors.iter().map(|error| error.count).sum();
        lines.push(("errors", failed.to_string()));
        if self.unsent > 0 {
            let text = format!("{} calls that were due: too many were in flight", self.unsent);
            lines.push(("not sent", text));
        }
        for (name, process) in [("server", &self.server), ("generator", &self.generator)] {
            if let Some(process) = process {
                lines.push((name, process.text()));
            }
        }
        if let Some(books) = self.books {
            let Books { acknowledged, posted, difference } = books;
            let text =
                format!("{acknowledged} acknowledged, {posted} posted, difference {difference}");
            lines.push(("books", text));
        }
        lines
    }
}

impl OfKind {
    fn cells(&self) -> Vec<String> {
        let Measured { calls, calls_per_second, operations_per_second, latency, .. } =
            &self.measured;
        let times =
            [latency.p50_us, latency.p90_us, latency.p99_us, latency.p99_9_us, latency.max_us];
        let rates = [calls_per_second, operations_per_second];
        [self.call.name().to_owned(), calls.to_string()]
            .into_iter()
            .chain(rates.map(|rate| format!("{rate:.0}")))
            .chain(times.map(millis))
            .collect()
    }
}

impl Measured {
    fn new(figures: &Figures, time: Duration) -> Self {
        let Figures { calls, operations, latencies } = figures;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is a time above 0"
        )]
        let mean_us = latencies.mean().round() as u64;
        Self {
            calls: *calls,
            calls_per_second: per_second(*calls, time),
            operations: *operations,
            operations_per_second: per_second(*operations, time),
            latency: Latency {
                mean_us,
                p50_us: latencies.value_at_quantile(0.5),
                p90_us: latencies.value_at_quantile(0.9),
                p99_us: latencies.value_at_quantile(0.99),
                p99_9_us: latencies.value_at_quantile(0.999),
                max_us: latencies.max(),
            },
        }
    }
}

impl Process {
    fn new(watched: &Watched, operations_per_second: f64) -> Option<Self> {
        let cpu_cores = watched.cores()?;
        let (memory_bytes_before, memory_bytes_after) = watched.memory_bytes()?;
        let cpu_us_per_operation =
            if operations_per_second > 0.0 { cpu_cores * 1e6 / operations_per_second } else { 0.0 };
        Some(Self { cpu_cores, cpu_us_per_operation, memory_bytes_before, memory_bytes_after })
    }

    fn text(&self) -> String {
        let Self { cpu_cores, cpu_us_per_operation, memory_bytes_after, .. } = self;
        let memory = bytesize::ByteSize::b(*memory_bytes_after);
        format!("{cpu_cores:.2} processors, {cpu_us_per_operation:.1} us an operation, {memory}")
    }
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn millis(micros: u64) -> String {
    format!("{:.2} ms", micros as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_that_can_not_be_are_a_fault() {
        let books = |acknowledged, posted, difference| Books { acknowledged, posted, difference };
        assert_eq!(books(5, 5, 0).fault(), None);
        // Others post too, and what was not answered may have been.
        assert_eq!(books(5, 6, 0).fault(), None);
        assert!(books(5, 4, 0).fault().is_some());
        assert!(books(5, 5, -1).fault().is_some());
    }
}
