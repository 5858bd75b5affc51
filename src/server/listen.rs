//! The door: takes connections in, as many as there may be, until the server ends.
//!
//! **Invariants:** a connection counts once it has said what it wants; until then it is half open, of which
//! there are only so many for only so long. So nobody who doesn't get through the handshake keeps others out.
//!
//! tonic's own server isn't used: it waits for ever for a connection that says nothing, counts none of them,
//! and cuts calls off without a word when their connection gets too old.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use super::Limits;
use super::connection::{self, Ending};
use super::opening::{self, Opened};
use crate::grpc::edge::CallBody;

/// How many connections may be half open. One more, and the oldest of them ends: an honest one takes no
/// longer than some round trips.
const MAX_HALF_OPEN: usize = 256;
/// How long nothing is accepted when the process can't have another file.
const NO_FILES_PAUSE: Duration = Duration::from_millis(100);
/// How often the log tells that there are too many connections.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// Serves calls on all connections that come in, until `ending` says to stop; then no connection is taken in
/// any more, and it waits until those that are open have ended.
pub(super) async fn serve<C, F>(listener: TcpListener, limits: Limits, calls: C, ending: Ending)
where
    C: Fn(Request<Body>, CancellationToken) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<CallBody>, Infallible>> + Send + 'static,
{
    let mut half_open = HalfOpen::default();
    let mut connections = JoinSet::new();
    let mut full = Full::default();
    loop {
        tokio::select! {
            biased;
            () = ending.stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            Some(opened) = half_open.tasks.join_next() => {
                let Ok(Some(opened)) = opened else { continue };
                // It may have filled up meanwhile.
                if connections.len() >= limits.max_connections {
                    full.tell(opened.peer.address, &limits);
                } else {
                    connections.spawn(connection::serve(
                        opened,
                        calls.clone(),
                        limits.clone(),
                        ending.clone(),
                    ));
                }
            }
            accepted = listener.accept() => match accepted {
                // At once, and not when there is room again: a client that waits can't tell this from a bank
                // that hangs, one that is turned away tries again later or elsewhere.
                Ok((_, address)) if connections.len() >= limits.max_connections => {
                    full.tell(Some(address), &limits);
                }
                Ok((stream, address)) => half_open.begin(stream, address, &limits),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted; trying again");
                    sleep(NO_FILES_PAUSE).await;
                }
            },
        }
    }
    drop((listener, half_open));
    while connections.join_next().await.is_some() {}
}

/// Connections that have not said yet what they want, the oldest first.
#[derive(Default)]
struct HalfOpen {
    tasks: JoinSet<Option<Opened>>,
    oldest_first: VecDeque<AbortHandle>,
}

impl HalfOpen {
    fn begin(&mut self, stream: TcpStream, address: SocketAddr, limits: &Limits) {
        if self.tasks.len() >= MAX_HALF_OPEN {
            self.oldest_first.retain(|task| !task.is_finished());
            if let Some(oldest) = self.oldest_first.pop_front() {
                oldest.abort();
            }
        }
        let task = self.tasks.spawn(opening::open(stream, address, limits.clone()));
        self.oldest_first.push_back(task);
    }
}

/// Tells now and then that there are too many connections.
#[derive(Default)]
struct Full {
    told_at: Option<Instant>,
}

impl Full {
    fn tell(&mut self, address: Option<SocketAddr>, limits: &Limits) {
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_INTERVAL) {
            self.told_at = Some(Instant::now());
            let max_connections = limits.max_connections;
            tracing::warn!(max_connections, ?address, "too many connections; new ones are closed");
        }
    }
}

/// Whether it ended before it was taken in, which is no trouble of ours.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
