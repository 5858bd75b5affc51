//! The threads that serve connections.
//!
//! Each has a runtime of its own, and a connection stays with the one that took it in, which has the fewest:
//! nothing that a call touches on its way is handed from one core to another. One runtime for all threads hands
//! over nearly every call, and sends answers nearly one by one. **Invariant:** a connection is counted from when
//! it is accepted until it has ended.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// The threads, which end when this is dropped: what runs on them is dropped with them.
#[derive(Debug)]
pub(super) struct Workers {
    workers: Vec<Worker>,
    ending: CancellationToken,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// None when the runtime is not its own.
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// So many threads; with 0, connections are served where this is called.
    ///
    /// # Errors
    ///
    /// When the system has no more threads or files.
    ///
    /// # Panics
    ///
    /// When it is not called within a tokio runtime.
    pub(super) fn start(threads: usize) -> io::Result<Self> {
        let ending = CancellationToken::new();
        let workers = if threads == 0 {
            vec![Worker { runtime: Handle::current(), connections: Arc::default(), thread: None }]
        } else {
            let start = |number| Worker::start(number, ending.clone().cancelled_owned());
            (0..threads).map(start).collect::<io::Result<_>>()?
        };
        Ok(Self { workers, ending })
    }

    /// A seat for a connection, with the worker that has the fewest.
    pub(super) fn seat(&self) -> Seat {
        let fewest =
            self.workers.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed));
        let Worker { runtime, connections, .. } = fewest.expect("there is always one");
        connections.fetch_add(1, Ordering::Relaxed);
        Seat { runtime: runtime.clone(), connections: connections.clone() }
    }
}

impl Worker {
    fn start(number: usize, ending: impl Future<Output = ()> + Send + 'static) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = thread::Builder::new().name(format!("worker-{number}"));
        let thread = thread.spawn(move || runtime.block_on(ending))?;
        Ok(Self { runtime: handle, connections: Arc::default(), thread: Some(thread) })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.ending.cancel();
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            // A panic ends the process, or was told to whoever waited for the task.
            let _ = thread.join();
        }
    }
}

/// A connection's seat with its worker, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl Seat {
    /// Where the connection is to be served.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_connection_goes_to_the_worker_that_has_the_fewest() {
        let workers = Workers::start(3).expect("there are threads");
        let counts = || {
            let count = |worker: &Worker| worker.connections.load(Ordering::Relaxed);
            workers.workers.iter().map(count).collect::<Vec<_>>()
        };
        let mut seats: Vec<_> = (0..7).map(|_| workers.seat()).collect();
        assert_eq!(counts(), [3, 2, 2]);
        let second = seats.remove(1);
        let runtime = second.runtime().id();
        drop(second);
        assert_eq!(counts(), [3, 1, 2]);
        let next = workers.seat();
        assert_eq!(next.runtime().id(), runtime);
        let thread = next.runtime().spawn(async { thread::current().id() });
        assert_ne!(thread.await.expect("it does not panic"), thread::current().id());
    }

    #[tokio::test]
    async fn whatever_runs_on_a_worker_is_dropped_with_it() {
        let workers = Workers::start(1).expect("there are threads");
        let held = Arc::new(());
        let task = {
            let held = held.clone();
            workers.seat().runtime().spawn(async move {
                std::future::pending::<()>().await;
                drop(held);
            })
        };
        assert_eq!(Arc::strong_count(&held), 2);
        drop(workers);
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(task.await.expect_err("it was cut off").is_cancelled());
    }

    #[tokio::test]
    async fn without_threads_connections_are_served_here() {
        let workers = Workers::start(0).expect("there is nothing to start");
        assert_eq!(workers.seat().runtime().id(), Handle::current().id());
    }
}
