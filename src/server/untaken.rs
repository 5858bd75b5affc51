//! Answers that nobody takes.
//!
//! HTTP/2 lets a client withhold an answer from itself for as long as it likes, and hyper waits for it. What
//! isn't taken in time is dropped here, and its stream reset: it would keep its memory and its place among the
//! calls in flight. **Invariant:** a stream that has nothing to send is not cut off, and neither is one whose
//! reader takes a message now and then.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::sync::oneshot;

use super::since::{Since, lasting};

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
        let taking = Arc::new(Taking(Since::now()));
        // The call may have ended.
        let _ = self.0.send(taking.clone());
        taking
    }
}

/// How far an answer is taken: since when a part of it has waited for the client.
#[derive(Debug)]
pub(super) struct Taking(Since);

impl Taking {
    /// There is a part to be taken, or none yet.
    pub(super) fn waits(&self, is_waiting: bool) {
        self.0.set(is_waiting);
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
                    Ok(taking) => lasting(timeout, || taking.0.get()).await,
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
