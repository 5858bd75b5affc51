//! A server of a test's own, on a free port, which ends with the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bank::clock::Clock;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::server::{self, Drained, Options, Readiness};
use bank::store::{Journal, MemoryStore, Store};
use bank::telemetry::metrics::Metrics;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::{Gate, GatedJournal, LEDGER, ManualClock, memory_store};

#[derive(Debug)]
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) clock: ManualClock,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: watch::Receiver<Readiness>,
    shutdown: CancellationToken,
    deadline: CancellationToken,
    task: JoinHandle<Result<Drained, server::Error>>,
}

impl TestServer {
    /// Serves an empty bank in memory.
    pub(crate) async fn start() -> Self {
        let clock = ManualClock::new();
        Self::over(memory_store(&clock), clock).await
    }

    /// Serves an empty bank in which nothing is durable until the gate opens.
    pub(crate) async fn start_gated() -> (Self, Gate) {
        let clock = ManualClock::new();
        let (journal, gate) = GatedJournal::closed();
        (Self::over(gated_store(journal, clock.clone()), clock).await, gate)
    }

    /// Serves an empty bank in memory, as it is told to be.
    pub(crate) async fn start_with(options: Options) -> Self {
        let clock = ManualClock::new();
        Self::over_with(memory_store(&clock), clock, options).await
    }

    /// Serves a bank in which nothing is durable until the gate opens, as it is told to be.
    pub(crate) async fn start_gated_with(options: Options) -> (Self, Gate) {
        let clock = ManualClock::new();
        let (journal, gate) = GatedJournal::closed();
        (Self::over_with(gated_store(journal, clock.clone()), clock, options).await, gate)
    }

    pub(crate) async fn over<S: Store>(store: S, clock: ManualClock) -> Self {
        Self::over_with(store, clock, Options::default()).await
    }

    pub(crate) async fn over_with<S: Store>(
        store: S,
        clock: ManualClock,
        options: Options,
    ) -> Self {
        Self::with_shared(Arc::new(store), clock, options).await
    }

    /// Serves a store that the test looks into as well.
    pub(crate) async fn with_shared<S: Store>(
        store: Arc<S>,
        clock: ManualClock,
        options: Options,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shutdown = CancellationToken::new();
        let deadline = CancellationToken::new();
        let readiness = options.readiness.subscribe();
        let metrics = Metrics::new(options.observer.clone(), readiness.clone());
        metrics.look_at(&store);
        let task = tokio::spawn(server::run(
            listener,
            options,
            store,
            shutdown.clone().cancelled_owned(),
            deadline.clone().cancelled_owned(),
        ));
        Self { address, clock, metrics, readiness, shutdown, deadline, task }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.address)).expect("an address is a URL")
    }

    pub(crate) async fn channel(&self) -> Channel {
        self.endpoint().connect().await.expect("it listens")
    }

    pub(crate) async fn client(&self) -> BankServiceClient<Channel> {
        BankServiceClient::new(self.channel().await)
    }

    /// Tells it to end.
    pub(crate) fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Tells it that the time for draining is up.
    pub(crate) fn cut_off(&self) {
        self.deadline.cancel();
    }

    /// Waits until it has ended. The limit is there only so that a hang fails instead of hanging.
    pub(crate) async fn ended(mut self) -> Drained {
        let task = &mut self.task;
        tokio::time::timeout(Duration::from_secs(60), task)
            .await
            .expect("it ends")
            .expect("it does not panic")
            .expect("it serves")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn gated_store<C: Clock>(journal: GatedJournal, clock: C) -> MemoryStore<impl Journal, C> {
    MemoryStore::new(LEDGER, journal, clock)
}
