//! Answers that nobody takes.
//!
//! HTTP/2 lets a client withhold an answer from itself for as long as it likes, and hyper waits for it. What
//! isn't taken in time is dropped here, and its stream reset: it would keep its memory and its place among the
//! calls in flight. **Invariant:** a stream that has nothing to send is not cut off, and neither is one whose
//! reader takes a message now and then.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

/// Runs the calls of a connection, each until it has ended or its answer wasn't taken in time.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    /// The call that was begun and isn't run yet: hyper runs each as soon as it has begun.
    begun: Arc<Mutex<Option<oneshot::Receiver<Arc<Taking>>>>>,
    timeout: Duration,
}

/// Tells a call's runner that there is an answer to be taken.
#[derive(Debug)]
pub(super) struct Answering(oneshot::Sender<Arc<Taking>>);

impl Answering {
    /// From now on it must be taken in time.
    pub(super) fn begin(self) -> Arc<Taking> {
        let taking = Arc::new(Taking { began: Instant::now(), waits_since: AtomicU64::new(0) });
        // The call may have ended.
        let _ = self.0.send(taking.clone());
        taking
    }
}

/// How far an answer is taken.
#[derive(Debug)]
pub(super) struct Taking {
    began: Instant,
    /// In microseconds after it began: since when it has waited for the client. [`NOTHING_WAITS`] while
    /// there is nothing to be taken.
    waits_since: AtomicU64,
}

const NOTHING_WAITS: u64 = u64::MAX;

impl Taking {
    /// There is a part to be taken, or none yet.
    pub(super) fn waits(&self, is_waiting: bool) {
        let since = if is_waiting {
            u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
        } else {
            NOTHING_WAITS
        };
        self.waits_since.store(since, Ordering::Relaxed);
    }

    /// Waits until a part has waited for so long.
    async fn overdue(&self, timeout: Duration) {
        loop {
            let since = match self.waits_since.load(Ordering::Relaxed) {
                NOTHING_WAITS => Instant::now(),
                since => self.began + Duration::from_micros(since),
            };
            if since.elapsed() >= timeout {
                return;
            }
            // Whatever is taken meanwhile only moves the end further off.
            sleep_until(since + timeout).await;
        }
    }
}

impl Runner {
    /// Gives each part of an answer so much time.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { begun: Arc::default(), timeout }
    }

    /// Begins a call, which is the next to be run.
    pub(super) fn begin(&self) -> Answering {
        let (answering, told) = oneshot::channel();
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
        Answering(answering)
    }
}

impl<F> Executor<F> for Runner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, call: F) {
        let told = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take();
        let timeout = self.timeout;
        tokio::spawn(async move {
            let Some(told) = told else { return call.await };
            let untaken = async {
                match told.await {
                    Ok(taking) => taking.overdue(timeout).await,
                    // It ends without an answer.
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = call => {}
                () = untaken => tracing::debug!("an answer was not taken"),
            }
        });
    }
}
