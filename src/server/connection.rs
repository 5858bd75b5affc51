//! One connection, from its first call to its end.
//!
//! **Invariant:** every connection ends by itself: when it has had no call for too long, when it is too old,
//! or when the server ends. It is told so first (GOAWAY), so that its client makes a new one and loses no
//! call; when the time for that is up its streams end with UNAVAILABLE, and after as much time again
//! whatever is left is cut off. One that takes nothing of what it is sent is cut off without a word. What was
//! handed to HTTP/2 can't be taken back, so an answer is handed over in pieces, as its client takes them.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::time::sleep;
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use super::Limits;
use super::opening::Opened;
use super::since::{Since, lasting};
use super::untaken::{Runner, Taking};

/// How a server tells its connections that it ends.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    /// Streams are to end, and calls that come later to be refused.
    pub(super) draining: CancellationToken,
    /// Connections are to end when their calls are answered.
    pub(super) stop: CancellationToken,
}

/// Serves calls on a connection until it ends.
pub(super) async fn serve<C, F, B>(opened: Opened, calls: C, limits: Limits, ending: Ending)
where
    C: Fn(Request<Body>, CancellationToken) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Opened { seat: _seat, peer, stream } = opened;
    let address = peer.address;
    let draining = ending.draining.child_token();
    let activity = Arc::new(Activity::begin());
    let runner = Runner::new(limits.answer_timeout);
    let service = service_fn({
        let (activity, draining, runner) = (activity.clone(), draining.clone(), runner.clone());
        move |request: Request<Incoming>| {
            let (call, answering) = (activity.call(), runner.begin());
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer.clone());
            // Hyper and tokio hand the call on several times, which copies it as often: a pointer is copied instead.
            let response = Box::pin(calls(request, draining.clone()));
            async move {
                let response = response.await?;
                let taking = answering.begin();
                let counted = |inner| Counted { inner, rest: Bytes::new(), taking, _call: call };
                Ok::<_, Infallible>(response.map(counted))
            }
        }
    });
    // Who reads nothing can't be told of its end either: hyper would wait until it is.
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(limits.answer_timeout));
    let stream = TokioIo::new(Box::pin(stream));
    let connection = http2(&limits, runner).serve_connection(stream, service);
    let mut connection = pin!(connection);

    let why = tokio::select! {
        ended = &mut connection => return tell_end(address, ended),
        () = ending.stop.cancelled() => Why::Stopping,
        () = sleep(give_or_take_a_tenth(limits.max_connection_age)) => Why::Old,
        () = activity.idle_for(limits.max_connection_idle) => Why::Idle,
    };
    tracing::debug!(?address, ?why, "a connection is to end");
    connection.as_mut().graceful_shutdown();
    // A server that ends has a limit of its own for all that is open.
    let grace = async {
        match why {
            Why::Stopping => std::future::pending().await,
            Why::Old | Why::Idle => sleep(limits.max_connection_age_grace).await,
        }
    };
    tokio::select! {
        ended = &mut connection => return tell_end(address, ended),
        () = grace => draining.cancel(),
    }
    tokio::select! {
        ended = &mut connection => tell_end(address, ended),
        () = sleep(limits.max_connection_age_grace) => {
            tracing::debug!(?address, "a connection was cut off");
        }
    }
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug)]
enum Why {
    /// The server ends.
    Stopping,
    /// It is too old.
    Old,
    /// It has had no call for too long.
    Idle,
}

fn tell_end(address: Option<std::net::SocketAddr>, ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(?address, error = &error as &dyn std::error::Error, "a connection failed");
    }
}

/// How many streams of a connection may end by an error of the client's, as h2 sees it. A call that is turned
/// away while its request is on its way counts as one, and an overload must not end a connection that others
/// use; but what is queued for a client that doesn't read must have an end (RUSTSEC-2024-0003).
const MAX_LOCAL_RESETS: usize = 16_384;

/// How much of an answer is handed over at once: what fits into a frame.
const PIECE: usize = 16 << 10;
/// How much of each answer HTTP/2 may keep for the network, beside the last piece.
const MAX_SEND_BUFFER: usize = 4 * PIECE;

fn http2(limits: &Limits, runner: Runner) -> http2::Builder<Runner> {
    let mut builder = http2::Builder::new(runner);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(limits.max_header_bytes)
        .max_pending_accept_reset_streams(limits.max_pending_resets)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout);
    builder
}

fn give_or_take_a_tenth(duration: Duration) -> Duration {
    duration.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// Which calls a connection has, and since when it has none.
#[derive(Debug)]
struct Activity {
    running: AtomicUsize,
    /// Since when the last call has ended, whatever has begun since.
    ended: Since,
}

impl Activity {
    fn begin() -> Self {
        Self { running: AtomicUsize::new(0), ended: Since::now() }
    }

    /// A call that runs until what comes out is dropped.
    fn call(self: &Arc<Self>) -> Call {
        self.running.fetch_add(1, Ordering::Relaxed);
        Call(self.clone())
    }

    /// Waits until there has been no call for so long.
    async fn idle_for(&self, limit: Duration) {
        lasting(limit, || match self.running.load(Ordering::Acquire) {
            0 => self.ended.get(),
            _ => None,
        })
        .await;
    }
}

/// A call that runs.
#[derive(Debug)]
struct Call(Arc<Activity>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.ended.set(true);
        self.0.running.fetch_sub(1, Ordering::Release);
    }
}

pin_project! {
    /// The body of an answer: its call runs until it is told or dropped.
    struct Counted<B> {
        #[pin]
        inner: B,
        // Of a message that was begun.
        rest: Bytes,
        taking: Arc<Taking>,
        _call: Call,
    }
}

impl<B: http_body::Body<Data = Bytes>> http_body::Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // It is asked for when what came before was taken.
        let this = self.project();
        if this.rest.is_empty() {
            let frame = this.inner.poll_frame(context);
            this.taking.waits(frame.is_ready());
            match frame {
                Poll::Ready(Some(Ok(frame)))
                    if frame.data_ref().is_some_and(|data| data.len() > PIECE) =>
                {
                    *this.rest = frame.into_data().unwrap_or_default();
                }
                other => return other,
            }
        }
        // Copied, since a part keeps all that it is a part of.
        let piece = this.rest.split_to(PIECE.min(this.rest.len()));
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest.len() {
            0 => self.inner.size_hint(),
            _ => SizeHint::default(),
        }
    }
}
