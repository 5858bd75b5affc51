//! Floor 3: puts the server together, and takes it apart again.
//!
//! [`run`] serves on a listener until it is told to end, and is the same for the binary and for the
//! tests. What it is to be like is said by [`Options`].

mod certificate;
mod connection;
mod limits;
mod listen;
mod opening;
mod routes;
mod since;
mod tls;
mod untaken;
mod workers;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::util::Either;

use crate::grpc::edge::{Around, Stage};
use crate::grpc::proto::bank_service_server::{BankServiceServer, SERVICE_NAME};
use crate::grpc::{Access, Admission, BySize, Capacity, Observer, Service, compressing, edge};
use crate::store::Store;

use connection::Ending;
pub use limits::Limits;
use routes::All;
pub use tls::{Tls, TlsFiles};
use workers::Workers;

/// What a server is to be like.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How many threads serve connections, each with a runtime of its own; with 0, the runtime that is there
    /// does.
    pub threads: usize,
    /// What one client may use.
    pub limits: Limits,
    /// How it shows who it is; without, all is plain text.
    pub tls: Option<Tls>,
    /// Who may call what.
    pub access: Access,
    /// What is taken on at once, of all clients together.
    pub capacity: Capacity,
    /// Who watches what calls come to.
    pub observer: Arc<Observer>,
    /// Told how far the server is, whenever that changes.
    pub readiness: watch::Sender<Readiness>,
}

/// How far a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// It does not know its books yet.
    #[default]
    Starting,
    /// It serves.
    Ready,
    /// What keeps its books can't be reached.
    Unreachable,
    /// It is about to end.
    Draining,
}

/// Why the server could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The descriptors of the API can't be served.
    #[error("the reflection service can't be built: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// There are no threads to serve with.
    #[error("the threads can't be started: {0}")]
    Threads(std::io::Error),
    /// The store can't be opened.
    #[error("{0}")]
    Opening(String),
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every call was answered and every connection closed.
    Fully,
    /// The time was up before that, or somebody could not wait: what was open was cut off.
    CutOff,
}

/// Serves a store that is there, as [`run_opening`] does.
///
/// # Errors
///
/// [`Error`] when the server can't be put together or can't go on.
pub async fn run<S: Store>(
    listener: TcpListener,
    options: Options,
    store: Arc<S>,
    shutdown: impl Future<Output = ()>,
    deadline: impl Future<Output = ()>,
) -> Result<Drained, Error> {
    run_opening(listener, options, std::future::ready(Ok(store)), shutdown, deadline).await
}

/// Serves the bank, health and reflection on a listener until `shutdown` comes, then drains: health
/// says NOT_SERVING, no connection and no call is accepted any more, streams end with UNAVAILABLE, and
/// calls that are running get their answers. Draining ends when they have, or when `deadline` comes.
///
/// Until `opening` gives the store, health says NOT_SERVING and every other call gets UNAVAILABLE. Health says
/// so, too, as long as the store can't be reached.
///
/// # Errors
///
/// [`Error`] when the store can't be opened, or the server can't be put together or can't go on.
pub async fn run_opening<S: Store>(
    listener: TcpListener,
    options: Options,
    opening: impl Future<Output = Result<Arc<S>, String>>,
    shutdown: impl Future<Output = ()>,
    deadline: impl Future<Output = ()>,
) -> Result<Drained, Error> {
    let Options { threads, limits, tls, access, capacity, observer, readiness } = options;
    let workers = Workers::start(threads).map_err(Error::Threads)?;
    let admission = Admission::new(&capacity);
    let (health, health_service) = tonic_health::server::health_reporter();
    set(&health, ServingStatus::NotServing).await;
    let health_only = Routes::new(health_service.clone()).prepare();
    let all: Arc<OnceLock<All<Service<S>>>> = Arc::default();

    let draining = CancellationToken::new();
    let calls = {
        let (all, watching) = (all.clone(), observer.clone());
        move |request, draining| {
            let (routes, stage) = match all.get() {
                Some(all) => (Either::Left(all.clone()), Stage::Ready),
                None => (Either::Right(health_only.clone()), Stage::Starting),
            };
            let around = Around {
                stage,
                access: access.clone(),
                admission: &admission,
                draining,
                observer: watching.clone(),
            };
            edge::serve(routes, around, request)
        }
    };
    let stop = CancellationToken::new();
    let max_message_bytes = limits.max_message_bytes;
    let (renewed, watching) = (tls.clone(), observer.clone());
    let when = Ending { draining: draining.clone(), stop: stop.clone() };
    let renewing = async {
        match &renewed {
            Some(tls) => tls.keep_renewing().await,
            None => std::future::pending().await,
        }
    };
    let serving = async {
        tokio::select! {
            () = listen::serve(listener, workers, limits, tls, calls, watching, when) => {}
            () = renewing => {}
        }
    };

    let ending = AtomicBool::new(false);
    let open = async {
        let store = opening.await.map_err(Error::Opening)?;
        let reachable = store.reachable();
        let service = Service::new(store).watched_by(observer);
        let bank = BySize::new(compressing(BankServiceServer::new(service)), max_message_bytes);
        // It is set here alone, once.
        let _ = all.set(All::new(bank, health_service)?);
        let tell = async |is_reachable: bool| {
            let (status, how_far) = if is_reachable {
                (ServingStatus::Serving, Readiness::Ready)
            } else {
                (ServingStatus::NotServing, Readiness::Unreachable)
            };
            if !ending.load(Ordering::Relaxed) {
                readiness.send_replace(how_far);
            }
            set(&health, status).await;
            // It may have been told to end meanwhile.
            if ending.load(Ordering::Relaxed) {
                set(&health, ServingStatus::NotServing).await;
            }
        };
        let Some(mut reachable) = reachable else {
            tell(true).await;
            return Ok::<(), Error>(());
        };
        loop {
            let is_reachable = *reachable.borrow_and_update();
            tell(is_reachable).await;
            if reachable.changed().await.is_err() {
                return Ok(());
            }
        }
    };
    let drain = async {
        shutdown.await;
        ending.store(true, Ordering::Relaxed);
        readiness.send_replace(Readiness::Draining);
        // Told before the streams end, those that watch the health among them.
        set(&health, ServingStatus::NotServing).await;
        draining.cancel();
        stop.cancel();
        deadline.await;
    };
    let mut open = pin!(open);
    let mut is_done = false;
    let mut serving = pin!(serving);
    let mut drain = pin!(drain);
    loop {
        tokio::select! {
            // What is there is open before anybody is told to end.
            biased;
            opened = &mut open, if !is_done => {
                opened?;
                is_done = true;
            }
            () = &mut serving => return Ok(Drained::Fully),
            () = &mut drain => return Ok(Drained::CutOff),
        }
    }
}

async fn set(health: &HealthReporter, status: ServingStatus) {
    for name in ["", SERVICE_NAME] {
        health.set_service_status(name, status).await;
    }
}
