//! The metrics of a bank, as OpenMetrics text: under which names what was counted is shown.
//!
//! Calls bear the names of OpenTelemetry's conventions for RPC (<https://opentelemetry.io/docs/specs/semconv/rpc/>),
//! the process those of Prometheus's own clients, and the rest begins with `bank_`. **Invariant:** what a
//! client sends is never a label. What is counted, and where, is not here; neither is who reads it.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Code;

use crate::grpc::{Observer, code_name, is_servers_fault};
use crate::histogram::{Histogram, Observed};
use crate::ledger::TransactionType;
use crate::server::Readiness;
use crate::store::{Figures, Store, Writing};

use super::process::{self, Process};

/// How long the store may take to tell how much it keeps: less than any scraper waits.
const FIGURES_TIMEOUT: Duration = Duration::from_secs(2);

/// What the metrics are of.
pub struct Metrics {
    observer: Arc<Observer>,
    readiness: watch::Receiver<Readiness>,
    store: OnceLock<Box<dyn Watched>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("readiness", &*self.readiness.borrow())
            .finish_non_exhaustive()
    }
}

/// A store that is looked at, and isn't kept from ending.
trait Watched: Send + Sync {
    /// How much it keeps, and how writing goes; nothing of what can't be told now.
    fn look(&self) -> BoxFuture<'_, (Option<Figures>, Option<Arc<Writing>>)>;
}

impl<S: Store> Watched for Weak<S> {
    fn look(&self) -> BoxFuture<'_, (Option<Figures>, Option<Arc<Writing>>)> {
        Box::pin(async {
            let Some(store) = self.upgrade() else { return (None, None) };
            let figures = timeout(FIGURES_TIMEOUT, store.figures()).await;
            (figures.ok().and_then(Result::ok), store.writing())
        })
    }
}

impl Metrics {
    /// The metrics of a server that is watched so, before its store is open.
    #[must_use]
    pub fn new(observer: Arc<Observer>, readiness: watch::Receiver<Readiness>) -> Self {
        Self { observer, readiness, store: OnceLock::new() }
    }

    /// Looks at the store as well, from now on.
    pub fn look_at<S: Store>(&self, store: &Arc<S>) {
        // A server has one store.
        let _ = self.store.set(Box::new(Arc::downgrade(store)));
    }

    /// How far the server is.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        *self.readiness.borrow()
    }

    /// All of them as they are now.
    ///
    /// # Errors
    ///
    /// [`fmt::Error`] when they can't be written as text.
    pub async fn text(&self) -> Result<String, fmt::Error> {
        let (figures, writing) = match self.store.get() {
            Some(store) => store.look().await,
            None => (None, None),
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Look {
            observer: self.observer.clone(),
            readiness: self.readiness(),
            figures,
            writing,
            process: process::look().await,
        }));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// The bank at one moment.
#[derive(Debug)]
struct Look {
    observer: Arc<Observer>,
    readiness: Readiness,
    figures: Option<Figures>,
    writing: Option<Arc<Writing>>,
    process: Option<Process>,
}

impl Collector for Look {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        self.calls(&mut page)?;
        self.operations(&mut page)?;
        self.store(&mut page)?;
        self.writing(&mut page)?;
        self.process(&mut page)
    }
}

impl Look {
    fn calls(&self, page: &mut Page) -> fmt::Result {
        let tally = &self.observer.tally;
        let mut family = page.family(
            "rpc_server_call_duration",
            "How long calls took that have ended, from their headers to the last byte of the answer",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (method, calls) in tally.calls() {
            for (code, durations) in calls.durations() {
                // A method that nobody has called yet is shown all the same, so that its rate begins at 0.
                if durations.is_empty() && code != Code::Ok {
                    continue;
                }
                let mut labels = vec![
                    ("rpc_system_name", "grpc"),
                    ("rpc_method", method),
                    ("rpc_response_status_code", code_name(code)),
                ];
                if is_servers_fault(code) {
                    labels.push(("error_type", code_name(code)));
                }
                histogram(&mut family.encode_family(&labels)?, durations, MICROS)?;
            }
        }
        let help = "Calls that are running";
        let mut family = page.family("bank_calls_in_flight", help, None, MetricType::Gauge)?;
        for (method, calls) in tally.calls() {
            let labels = [("rpc_method", method)];
            family.encode_family(&labels)?.encode_gauge(&calls.in_flight())?;
        }
        page.gauge("bank_watchers", "Readers of the live feed", None, &tally.watchers())?;
        page.gauge("bank_connections", "Open connections", None, &tally.connections())
    }

    fn operations(&self, page: &mut Page) -> fmt::Result {
        let tally = &self.observer.tally;
        let help = "Transactions that this process has made, by type";
        let mut family = page.family("bank_transactions", help, None, MetricType::Counter)?;
        for (kind, count) in tally.transactions() {
            let labels = [("type", type_name(kind))];
            counter(&mut family.encode_family(&labels)?, &count)?;
        }
        let help = "Errors that clients were told, of calls and of operations, by the reason in their ErrorInfo";
        let mut family = page.family("bank_refusals", help, None, MetricType::Counter)?;
        for (reason, count) in tally.refusals() {
            counter(&mut family.encode_family(&[("reason", reason)])?, &count)?;
        }
        let help = "Requests that were repeats, answered from the record of the first";
        page.counter("bank_replays", help, None, &tally.replays())
    }

    fn store(&self, page: &mut Page) -> fmt::Result {
        let is_ready = u64::from(self.readiness == Readiness::Ready);
        page.gauge("bank_ready", "1 while the bank serves, and 0 otherwise", None, &is_ready)?;
        let Some(figures) = &self.figures else { return Ok(()) };
        for (name, help, value) in [
            ("bank_accounts", "Accounts, closed ones included", figures.accounts),
            ("bank_holds", "Holds that set money aside", figures.holds),
            ("bank_records", "Records, which is the sequence of the newest", figures.records),
            (
                "bank_durable_lag_records",
                "Records, or requests to a database, that are not durable yet",
                figures.undurable,
            ),
        ] {
            page.gauge(name, help, None, &value)?;
        }
        Ok(())
    }

    fn writing(&self, page: &mut Page) -> fmt::Result {
        let Some(writing) = &self.writing else { return Ok(()) };
        let help = "How many records became durable together; over a database, requests";
        let mut family = page.family("bank_group_size", help, None, MetricType::Histogram)?;
        histogram(&mut family, &writing.group_sizes, 1.0)?;
        let mut family = page.family(
            "bank_sync_duration",
            "How long a sync took; over a database, the statements and the commit of a group",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        histogram(&mut family, &writing.sync_micros, MICROS)?;
        let help = "Groups that had to be written to a database again";
        page.counter("bank_group_retries", help, None, &writing.retries())?;
        let Some(free) = writing.free_bytes() else { return Ok(()) };
        let help = "What the file system of the books has left";
        page.gauge("bank_store_free", help, Some(&Unit::Bytes), &free)
    }

    fn process(&self, page: &mut Page) -> fmt::Result {
        let mut family =
            page.family("bank_build", "What this bank was built from", None, MetricType::Info)?;
        family.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let Some(process) = &self.process else { return Ok(()) };
        let (bytes, seconds) = (Some(&Unit::Bytes), Some(&Unit::Seconds));
        let help = "Processor time, of users and of the system";
        page.counter("process_cpu", help, seconds, &process.cpu_seconds)?;
        let help = "When the process began, since the Unix epoch";
        page.gauge("process_start_time", help, seconds, &process.start_time_seconds)?;
        let help = "Memory that is in use";
        page.gauge("process_resident_memory", help, bytes, &process.resident_bytes)?;
        let help = "Address space that is taken";
        page.gauge("process_virtual_memory", help, bytes, &process.virtual_bytes)?;
        page.gauge("process_open_fds", "Open file descriptors", None, &process.open_fds)?;
        let help = "How many file descriptors may be open";
        process.max_fds.map_or(Ok(()), |max| page.gauge("process_max_fds", help, None, &max))
    }
}

/// Where families of metrics are written, one after the other.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, unit, kind)
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: &impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.family(name, help, unit, MetricType::Gauge)?.encode_gauge(value)
    }

    /// `_total` comes after the name and the unit.
    fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: &impl EncodeCounterValue,
    ) -> fmt::Result {
        counter(&mut self.family(name, help, unit, MetricType::Counter)?, value)
    }
}

fn counter(metric: &mut MetricEncoder, value: &impl EncodeCounterValue) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, _, f64>(value, None)
}

/// One millionth.
const MICROS: f64 = 1e-6;

#[allow(clippy::cast_precision_loss, reason = "nobody counts beyond 2^53 of anything here")]
fn histogram(metric: &mut MetricEncoder, histogram: &Histogram, unit: f64) -> fmt::Result {
    let observed: Observed = histogram.observed();
    // Divided, since one millionth has no exact form, and 0.0025 should be shown as just that.
    let scaled = |value: u64| value as f64 / unit.recip().round();
    let buckets: Vec<(f64, u64)> = observed
        .ranges
        .iter()
        .map(|(bound, count)| (bound.map_or(f64::INFINITY, scaled), *count))
        .collect();
    metric.encode_histogram::<NoLabelSet>(scaled(observed.sum), observed.count(), &buckets, None)
}

fn type_name(kind: TransactionType) -> &'static str {
    match kind {
        TransactionType::Deposit => "deposit",
        TransactionType::Withdrawal => "withdrawal",
        TransactionType::Transfer => "transfer",
        TransactionType::Reversal => "reversal",
    }
}
