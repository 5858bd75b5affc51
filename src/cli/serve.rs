//! `bank serve`: binds the port, brings the books back, serves until a signal comes, drains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::auth::Authentication;
use crate::clock::SystemClock;
use crate::config::{Collector, ServeSettings};
use crate::grpc::{Access, Observer};
use crate::ledger::LedgerId;
use crate::server::{self, Drained, Options};
use crate::store::journal::{SqliteJournal, VolatileJournal};
use crate::store::{EngineSettings, MemoryStore, PostgresStore, SchemaError, Store};
use crate::telemetry::{self, AuditLog, http, metrics::Metrics, traces::Traces};

/// How often the log tells how far the books are read.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// Runs the bank until SIGTERM or SIGINT; a second signal ends the draining at once.
///
/// # Errors
///
/// One line that says why it can't run.
pub(super) async fn serve(
    settings: ServeSettings,
    engine: Option<EngineSettings>,
    authentication: Option<Authentication>,
    collector: Option<Collector>,
) -> Result<(), String> {
    let audit_log = settings.auth.audit_log.as_deref().map(AuditLog::open).transpose()?;
    telemetry::start(settings.log_format, &settings.log_level, audit_log.clone());
    if settings.is_open_to_anybody() {
        tracing::warn!("anybody who can reach the bank can read and move money");
    }
    let signals = Signals::watch()?;
    let listener = listen(settings.listen).await?;
    let eyes = Eyes {
        metrics: match settings.metrics {
            Some(address) => Some(listen(address).await?),
            None => None,
        },
        traces: match collector {
            Some(collector) => Some(Traces::start(collector, settings.trace_ratio)?),
            None => None,
        },
    };
    let address = address_of(&listener)?;
    let version = env!("CARGO_PKG_VERSION");
    let access = Access {
        authentication: authentication.map(Authentication::start),
        rates: settings.auth.rates().map(Arc::new),
        audits_everybody: audit_log.is_some(),
    };
    let _reopening = audit_log.map(reopen_on_hangup).transpose()?;
    let options = Options {
        threads: settings.threads(),
        access,
        limits: settings.connections.limits(),
        tls: settings.tls.load()?,
        capacity: settings.capacity.capacity(),
        ..Options::default()
    };
    if let Some(engine) = engine {
        tracing::info!(%address, version, database = %engine, "listening");
        let opening = connect(&engine);
        let never = CancellationToken::new();
        return run(listener, eyes, options, opening, signals, settings.drain_timeout, never).await;
    }
    let bounds = settings.bounds.bounds();
    match &settings.data {
        None => {
            tracing::info!(
                %address,
                version,
                "listening; the books are kept in memory only and are gone when the process ends"
            );
            let store = MemoryStore::new(new_ledger(), VolatileJournal::default(), SystemClock);
            let opening = std::future::ready(Ok(Arc::new(store.within(bounds))));
            let never = CancellationToken::new();
            run(listener, eyes, options, opening, signals, settings.drain_timeout, never).await
        }
        Some(path) => {
            let journal = SqliteJournal::open(path, new_ledger(), settings.min_free_space.as_u64())
                .map_err(|error| error.to_string())?;
            tracing::info!(%address, version, data = %path.display(), "listening");
            let failure = journal.failure();
            let opening = async {
                let fail = |error| format!("{} can't be served: {error}", path.display());
                let store = recover(journal).await.map_err(fail)?;
                Ok(Arc::new(store.within(bounds)))
            };
            run(listener, eyes, options, opening, signals, settings.drain_timeout, failure).await
        }
    }
}

/// Who watches over the bank.
struct Eyes {
    metrics: Option<TcpListener>,
    traces: Option<Traces>,
}

async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| format!("can't listen on {address}: {error}"))
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr, String> {
    listener.local_addr().map_err(|error| format!("can't tell where it listens: {error}"))
}

/// How long a database that can't be reached at the start is left alone before the next try.
const CONNECT_INTERVAL: Duration = Duration::from_secs(1);

/// Opens the books in a database, as soon as it can be reached.
async fn connect(engine: &EngineSettings) -> Result<Arc<PostgresStore<SystemClock>>, String> {
    loop {
        match PostgresStore::open(engine, SystemClock).await {
            Ok(store) => {
                tracing::info!("ready");
                return Ok(Arc::new(store));
            }
            Err(SchemaError::Unreachable(why)) => {
                tracing::warn!(why, "the database can't be reached; trying again");
                tokio::time::sleep(CONNECT_INTERVAL).await;
            }
            Err(error) => return Err(format!("{engine} can't be served: {error}")),
        }
    }
}

type Recovered = Result<MemoryStore<SqliteJournal, SystemClock>, crate::store::Error>;

/// Reads the books on a thread of its own, which the end of the process doesn't wait for.
async fn recover(journal: SqliteJournal) -> Recovered {
    let (done, result) = oneshot::channel();
    thread::spawn(move || {
        let (ledger_id, all) = (journal.ledger_id(), journal.opened_at());
        let began = Instant::now();
        let mut told = began;
        let recovered = MemoryStore::recover(ledger_id, journal, SystemClock, |sequence| {
            // Looking at the clock for every record would take as long as reading it.
            if sequence.number().is_multiple_of(1024) && told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                tracing::info!(records = sequence.number(), of = all.number(), "reading the books");
            }
        });
        if recovered.is_ok() {
            tracing::info!(
                records = all.number(),
                seconds = began.elapsed().as_secs_f32(),
                "ready"
            );
        }
        // Nobody waits for it any more when the process was told to end.
        let _ = done.send(recovered);
    });
    match result.await {
        Ok(recovered) => recovered,
        // The thread has panicked, which ends the process.
        Err(_) => std::future::pending().await,
    }
}

/// Serves a store, once it is open, until a signal comes or it fails, and drains.
async fn run(
    listener: TcpListener,
    eyes: Eyes,
    options: Options,
    opening: impl Future<Output = Result<Arc<impl Store>, String>>,
    mut signals: Signals,
    drain_timeout: Duration,
    failure: CancellationToken,
) -> Result<(), String> {
    let spans = eyes.traces.as_ref().map(Traces::spans);
    let observer = Arc::new(Observer { spans, ..Observer::default() });
    let options = Options { observer, ..options };
    let watched = Arc::new(Metrics::new(options.observer.clone(), options.readiness.subscribe()));
    let opening = async {
        let store = opening.await?;
        watched.look_at(&store);
        Ok(store)
    };
    // It answers to the last: until then it tells that the bank is draining.
    let _telling = match eyes.metrics {
        None => None,
        Some(metrics) => {
            tracing::info!(address = %address_of(&metrics)?, "metrics are served");
            Some(AbortOnDropHandle::new(tokio::spawn(http::serve(metrics, watched.clone()))))
        }
    };
    // The shutdown hands the signals over to the deadline, so that a second one can cut it short.
    let (handover, taken_over) = oneshot::channel();
    let shutdown = async {
        tokio::select! {
            signal = signals.next() => tracing::info!(signal, ?drain_timeout, "draining"),
            () = failure.cancelled() => {
                tracing::error!(?drain_timeout, "the store has failed; draining");
            }
        }
        // The receiver waits as long as the server does.
        let _ = handover.send(signals);
    };
    let deadline = async {
        let Ok(mut signals) = taken_over.await else { return };
        tokio::select! {
            () = tokio::time::sleep(drain_timeout) => {}
            _ = signals.next() => {}
        }
    };
    // It is large, and what waits for it would be as large again.
    let ended = Box::pin(server::run_opening(listener, options, opening, shutdown, deadline)).await;
    if let Some(traces) = eyes.traces {
        traces.end().await;
    }
    match ended {
        Ok(Drained::Fully) => tracing::info!("ended; every call was answered"),
        Ok(Drained::CutOff) => {
            tracing::warn!("ended; connections that were still open were cut off");
        }
        Err(error) => return Err(error.to_string()),
    }
    // It may have failed while the calls were ending, or at its own end.
    if failure.is_cancelled() {
        return Err("the store has failed; see the log".to_owned());
    }
    Ok(())
}

/// Opens the audit log anew at every SIGHUP, as programs that rotate logs ask for it.
fn reopen_on_hangup(audit_log: AuditLog) -> Result<AbortOnDrop, String> {
    let mut hangups = signal(SignalKind::hangup())
        .map_err(|error| format!("can't watch for signals: {error}"))?;
    let reopening = tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            match audit_log.reopen() {
                Ok(()) => tracing::info!("the audit log was opened anew"),
                Err(why) => tracing::error!(why, "the audit log stays as it is"),
            }
        }
    });
    Ok(AbortOnDrop(reopening.abort_handle()))
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A number for a new ledger.
pub(super) fn new_ledger() -> LedgerId {
    // Each half of a random UUID has fixed bits, where the other half has random ones.
    let (upper, lower) = Uuid::new_v4().as_u64_pair();
    LedgerId::new(upper ^ lower)
}

/// The signals that end the bank.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watch() -> Result<Self, String> {
        let watch =
            |kind| signal(kind).map_err(|error| format!("can't watch for signals: {error}"));
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
