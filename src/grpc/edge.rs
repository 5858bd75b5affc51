//! What stands around every call: who watches it, its place among those in flight, its deadline, the end of
//! the server, and our own words for what tonic finds wrong with a request before it reaches the service.
//!
//! **Invariants:** no mutation begins once its deadline has passed or the server is draining; a stream
//! ends with UNAVAILABLE when the server drains, so none of them keeps it from ending.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;
use tower::{Service, ServiceExt};

use super::access::Access;
use super::admission::{Admission, Place};
use super::arriving::Arriving;
use super::by_size::Packed;
use super::observe::{CallLog, Observer, Outcome};
use super::status::{Error, Violations, is_unreadable};
use super::{compression, deadline, form};

/// When a call that goes on must end. A handler that takes in work as it goes watches for it by itself, so
/// that nothing is done whose result is never told; any other stream is cut off.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    draining: CancellationToken,
    deadline: Option<Instant>,
}

impl Ending {
    /// Nothing, as long as the call may go on.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        match self.deadline {
            Some(deadline) if deadline <= Instant::now() => Err(Error::NotInTime),
            Some(_) | None => Ok(()),
        }
    }

    /// Waits until the call must end, and tells why.
    pub(super) async fn reached(&self) -> Error {
        let deadline = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.draining.cancelled() => Error::Draining,
            () = deadline => Error::DeadlineExceeded,
        }
    }
}

/// Marks the response of a handler that watches for its ending by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndsItself;

/// How far the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It doesn't know its books yet: only health is told.
    Starting,
    /// It has all its routes.
    Ready,
}

/// What a call meets on its way to the routes.
#[derive(Debug)]
pub struct Around<'a> {
    /// How far the server is.
    pub stage: Stage,
    /// Who may call what.
    pub access: Access,
    /// The places that there are.
    pub admission: &'a Admission,
    /// Cancelled when calls are to end.
    pub draining: CancellationToken,
    /// Who watches what becomes of it.
    pub observer: Arc<Observer>,
}

/// Serves one call by the given routes, if there is a place for it, until it answers, its time is up, or the caller leaves.
///
/// # Errors
///
/// None: whatever goes wrong is a status in the response.
///
/// The deadline is set before the future is first polled: tonic sets one of its own when it has the
/// future, and ours must come first.
pub fn serve<R>(
    routes: R,
    around: Around<'_>,
    mut request: Request<Body>,
) -> impl Future<Output = Result<Response<CallBody>, Infallible>> + use<R>
where
    R: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let Around { stage, access, admission, draining, observer } = around;
    let call = CallLog::begin(&observer, request.uri().path(), request.headers());
    let is_bank_call = call.is_of_the_bank();
    let mut outcome = Outcome::of(call.clone(), observer);
    request.extensions_mut().insert(call.clone());
    compression::answer_alike(request.headers_mut());

    let attempt = access.attempt(&request);
    let (http_status, form) = form::check(&request);
    let admitted = admit(&request, stage, is_bank_call, admission, &draining);
    let deadline = admitted.as_ref().ok().and_then(|(_, deadline)| *deadline);
    request.extensions_mut().insert(Ending { draining: draining.clone(), deadline });
    async move {
        // The audit log is told of what never comes to be read.
        let mut unread = None;
        // Who calls is settled first: nobody else is told how the server is, or what is wrong.
        let let_in = async {
            let permit = attempt.permit(&call).await?;
            unread = permit.unread();
            form?;
            let (place, _) = admitted?;
            permit.spend_call()?;
            request.extensions_mut().insert(permit);
            Ok::<_, Error>(place)
        };
        let mut first = None;
        let (mut response, place) = match let_in.await {
            Err(error) => (Status::from(error).into_http(), None),
            Ok(place) => {
                // Health is told to the last.
                let ends = if is_bank_call { draining.clone() } else { CancellationToken::new() };
                let mut request =
                    request.map(|body| Body::new(Arriving::new(body, place.clone(), ends)));
                if compression::is_packed(request.headers()) {
                    request.extensions_mut().insert(Packed(place.clone()));
                }
                let mut response = match deadline::within(deadline, routes.oneshot(request)).await {
                    Err(error) => Status::from(error).into_http(),
                    Ok(Ok(response)) if is_bank_call => in_our_words(response),
                    Ok(Ok(response)) => response,
                };
                if place.is_of_one_answer() {
                    match take_answer(response.body_mut(), &place) {
                        Ok(answer) => first = answer,
                        Err(error) => response = Status::from(error).into_http(),
                    }
                }
                // A status alone goes out with the headers: there is no last byte to wait for.
                let goes_on = !response.body().is_end_stream();
                (response, goes_on.then_some(place))
            }
        };
        if http_status != StatusCode::OK {
            *response.status_mut() = http_status;
        }
        if let Some(unread) = unread {
            unread.answered(response.headers());
        }
        // An error comes as headers alone. Everything else ends with trailers, or is cancelled.
        outcome.is_in(response.headers());
        let ends_itself = response.extensions().get::<EndsItself>().is_some();
        let body = |inner| CallBody {
            inner,
            first,
            ends_itself,
            outcome,
            place,
            draining,
            drained: None,
            deadline: deadline.map(|deadline| Box::pin(sleep_until(deadline))),
            is_bank_call,
            has_data: false,
            is_cut: false,
        };
        Ok(response.map(body))
    }
}

fn admit(
    request: &Request<Body>,
    stage: Stage,
    is_bank_call: bool,
    admission: &Admission,
    draining: &CancellationToken,
) -> Result<(Arc<Place>, Option<Instant>), Error> {
    // Health must still be told while the server drains.
    if is_bank_call && draining.is_cancelled() {
        return Err(Error::Draining);
    }
    if stage == Stage::Starting && !request.uri().path().starts_with("/grpc.health.v1.Health/") {
        return Err(Error::Starting);
    }
    let place = admission.admit(request.uri().path())?;
    Ok((place, deadline::of(request.headers())?))
}

/// What tonic finds wrong with a message before the service sees it, in the words of the API.
fn in_our_words(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if is_unreadable(&status) => {
            Violations::of_message(status.message()).into_http()
        }
        Some(_) | None => response,
    }
}

/// Takes an answer that is there, and counts it: its client may not let it come for long.
fn take_answer(body: &mut Body, place: &Place) -> Result<Option<Part>, Error> {
    let first = body.frame().now_or_never().flatten();
    if let Some(Ok(frame)) = &first
        && let Some(data) = frame.data_ref()
    {
        place.count_answer(data.len())?;
    }
    Ok(first)
}

/// A part of an answer.
type Part = Result<Frame<Bytes>, Status>;

/// The last frame of a stream that ends before it is done.
fn cut(
    outcome: &mut Outcome,
    place: &mut Option<Arc<Place>>,
    error: Error,
) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
    *place = None;
    let status = Status::from(error);
    let mut trailers = HeaderMap::new();
    Poll::Ready(Some(match status.add_header(&mut trailers) {
        Ok(()) => {
            outcome.is_in(&trailers);
            Ok(Frame::trailers(trailers))
        }
        Err(status) => {
            outcome.is(status.code());
            Err(status)
        }
    }))
}

pin_project! {
    /// The body of an answer. A stream ends when the server drains, or when its deadline comes and it has
    /// nothing to send; a single answer is always sent.
    #[derive(Debug)]
    pub struct CallBody {
        #[pin]
        inner: Body,
        // What was taken of it already, and counted.
        first: Option<Part>,
        ends_itself: bool,
        outcome: Outcome,
        place: Option<Arc<Place>>,
        draining: CancellationToken,
        drained: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
        deadline: Option<Pin<Box<Sleep>>>,
        is_bank_call: bool,
        has_data: bool,
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
        let first = this.first.take();
        let is_counted = first.is_some();
        let next = match first {
            Some(first) => Poll::Ready(Some(first)),
            None => this.inner.poll_frame(context),
        };
        if let Poll::Ready(frame) = next {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            let is_data = data.is_some();
            // A stream of ours that always has more to send ends as well; health is told to the last.
            let must_end = *this.is_bank_call && !*this.ends_itself;
            if is_data && *this.has_data && must_end && this.draining.is_cancelled() {
                *this.is_cut = true;
                return cut(this.outcome, this.place, Error::Draining);
            }
            *this.has_data |= is_data;
            if let (Some(data), Some(place), false) = (data, &*this.place, is_counted)
                && let Err(error) = place.count_answer(data.len())
            {
                *this.is_cut = true;
                return cut(this.outcome, this.place, error);
            }
            if !is_data {
                // The caller may send its next call as soon as it has this.
                *this.place = None;
            }
            match &frame {
                Some(Ok(frame)) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        this.outcome.is_in(trailers);
                    }
                }
                Some(Err(status)) => this.outcome.is(status.code()),
                None => {}
            }
            return Poll::Ready(frame);
        }
        if *this.ends_itself {
            return Poll::Pending;
        }
        let drained =
            this.drained.get_or_insert_with(|| Box::pin(this.draining.clone().cancelled_owned()));
        if drained.as_mut().poll(context).is_ready() {
            *this.is_cut = true;
            return cut(this.outcome, this.place, Error::Draining);
        }
        let Some(deadline) = this.deadline else { return Poll::Pending };
        ready!(deadline.as_mut().poll(context));
        *this.is_cut = true;
        cut(this.outcome, this.place, Error::DeadlineExceeded)
    }

    fn is_end_stream(&self) -> bool {
        self.is_cut || (self.first.is_none() && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self.first {
            None => self.inner.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}
