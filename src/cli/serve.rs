//! `bank serve`: binds the port, serves until a signal comes, drains.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use uuid::Uuid;

use crate::clock::SystemClock;
use crate::config::ServeSettings;
use crate::ledger::LedgerId;
use crate::server::{self, Drained};
use crate::store::MemoryStore;
use crate::store::journal::VolatileJournal;
use crate::telemetry;

/// Runs the bank until SIGTERM or SIGINT; a second signal ends the draining at once.
///
/// # Errors
///
/// One line that says why it can't run.
pub(super) async fn serve(settings: ServeSettings) -> Result<(), String> {
    telemetry::start(settings.log_format, &settings.log_level);
    let mut terminate = watch(SignalKind::terminate())?;
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut next_signal = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };

    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|error| format!("can't listen on {}: {error}", settings.listen))?;
    let address =
        listener.local_addr().map_err(|error| format!("can't tell where it listens: {error}"))?;
    // Each half of a random UUID has fixed bits, where the other half has random ones.
    let (upper, lower) = Uuid::new_v4().as_u64_pair();
    let ledger_id = LedgerId::new(upper ^ lower);
    let store = Arc::new(MemoryStore::new(ledger_id, VolatileJournal::default(), SystemClock));
    tracing::info!(
        %address,
        version = env!("CARGO_PKG_VERSION"),
        "listening; the books are kept in memory only and are gone when the process ends"
    );

    // The shutdown hands the signals over to the deadline, so that a second one can cut it short.
    let (handover, taken_over) = tokio::sync::oneshot::channel();
    let shutdown = async move {
        let signal = next_signal().await;
        tracing::info!(signal, drain_timeout = ?settings.drain_timeout, "draining");
        // The receiver waits as long as the server does.
        let _ = handover.send(next_signal);
    };
    let deadline = async {
        let Ok(mut next_signal) = taken_over.await else { return };
        tokio::select! {
            () = tokio::time::sleep(settings.drain_timeout) => {}
            _ = next_signal() => {}
        }
    };
    match server::run(listener, store, shutdown, deadline).await {
        Ok(Drained::Fully) => tracing::info!("ended; every call was answered"),
        Ok(Drained::CutOff) => {
            tracing::warn!("ended; connections that were still open were cut off");
        }
        Err(error) => return Err(error.to_string()),
    }
    Ok(())
}

fn watch(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("can't watch for signals: {error}"))
}
