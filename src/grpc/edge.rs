//! What stands around every call: its log line, its deadline, the end of the server, and our own words
//! for what tonic finds wrong with a request before it reaches the service.
//!
//! **Invariants:** no mutation begins once its deadline has passed or the server is draining; a stream
//! ends with UNAVAILABLE when the server drains, so none of them keeps it from ending.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Service, ServiceExt};

use super::deadline;
use super::observe::{CallLog, Outcome};
use super::proto::bank_service_server::SERVICE_NAME;
use super::status::{Error, Violations};

/// Whether a path is of `bank.v1.BankService`, and not of health or reflection.
pub(super) fn is_bank_call(path: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|path| path.strip_prefix(SERVICE_NAME))
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Serves one call by the given routes, until it answers, its time is up, or the caller leaves.
///
/// # Errors
///
/// None: whatever goes wrong is a status in the response.
///
/// The deadline is set before the future is first polled: tonic sets one of its own when it has the
/// future, and ours must come first.
pub fn serve<R>(
    routes: R,
    draining: CancellationToken,
    mut request: Request<Body>,
) -> impl Future<Output = Result<Response<CallBody>, Infallible>>
where
    R: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let call = CallLog::begin(request.uri().path());
    let is_bank_call = is_bank_call(request.uri().path());
    let mut outcome = Outcome::of(call.clone());
    request.extensions_mut().insert(call);

    let admitted = admit(&request, is_bank_call, &draining);
    async move {
        let response = match admitted {
            Err(error) => Status::from(error).into_http(),
            Ok(deadline) => match deadline::within(deadline, routes.oneshot(request)).await {
                Err(error) => Status::from(error).into_http(),
                Ok(Ok(response)) if is_bank_call => in_our_words(response),
                Ok(Ok(response)) => response,
            },
        };
        // An error comes as headers alone; whatever else has come so far is well.
        outcome.is(code_in(response.headers()).unwrap_or(Code::Ok));
        let body = |inner| CallBody { inner, outcome, draining, drained: None, is_cut: false };
        Ok(response.map(body))
    }
}

fn admit(
    request: &Request<Body>,
    is_bank_call: bool,
    draining: &CancellationToken,
) -> Result<Option<Instant>, Error> {
    // Health must still be told while the server drains.
    if is_bank_call && draining.is_cancelled() {
        return Err(Error::Draining);
    }
    Ok(deadline::of(request.headers())?)
}

/// tonic answers a message that is too large, cut off or missing with OUT_OF_RANGE or INTERNAL, and
/// without details. All of these are invalid requests; the service itself never answers so.
fn in_our_words(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.details().is_empty() => match status.code() {
            Code::Internal | Code::OutOfRange | Code::Unknown => {
                Violations::of_message(status.message()).into_http()
            }
            _ => response,
        },
        _ => response,
    }
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}

pin_project! {
    /// The body of an answer, which ends when the server drains and has nothing more to send.
    #[derive(Debug)]
    pub struct CallBody {
        #[pin]
        inner: Body,
        outcome: Outcome,
        draining: CancellationToken,
        drained: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
        is_cut: bool,
    }
}

impl http_body::Body for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        if *this.is_cut {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = this.inner.poll_frame(context) {
            match &frame {
                Some(Ok(frame)) => {
                    if let Some(code) = frame.trailers_ref().and_then(code_in) {
                        this.outcome.is(code);
                    }
                }
                Some(Err(status)) => this.outcome.is(status.code()),
                None => {}
            }
            return Poll::Ready(frame);
        }
        let drained =
            this.drained.get_or_insert_with(|| Box::pin(this.draining.clone().cancelled_owned()));
        ready!(drained.as_mut().poll(context));

        *this.is_cut = true;
        this.outcome.is(Code::Unavailable);
        let mut trailers = HeaderMap::new();
        let status = Status::from(Error::Draining);
        Poll::Ready(Some(match status.add_header(&mut trailers) {
            Ok(()) => Ok(Frame::trailers(trailers)),
            Err(status) => Err(status),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.is_cut || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
