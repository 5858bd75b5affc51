//! The body of a request, as it arrives: in time, and within what all of them may have together.
//!
//! **Invariant:** a request of one message is there, or has failed, when its time is up or the server is told
//! to end; nobody holds a place by sending slowly. Pipes are not limited here: they may be silent for hours,
//! and watch for their ending by themselves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

use super::admission::Place;
use super::status::Error;

type End = Pin<Box<dyn Future<Output = Error> + Send>>;

pin_project! {
    /// A body that fails when it takes too long or too much.
    pub(super) struct Arriving {
        #[pin]
        inner: Body,
        place: Arc<Place>,
        arrived: usize,
        draining: CancellationToken,
        deadline: Option<Instant>,
        // Made when it is first waited for, since most bodies are there at once.
        end: Option<End>,
    }
}

impl Arriving {
    /// The body of a call that begins now.
    pub(super) fn new(inner: Body, place: Arc<Place>, draining: CancellationToken) -> Self {
        // A time too far off to be told is as good as none.
        let deadline = place.arrival().and_then(|arrival| Instant::now().checked_add(arrival));
        Self { inner, place, arrived: 0, draining, deadline, end: None }
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        if let Poll::Ready(frame) = this.inner.poll_frame(context) {
            if let Some(part) = frame.as_ref().and_then(|it| it.as_ref().ok()?.data_ref()) {
                if let Err(error) = this.place.count_request(*this.arrived, part.len()) {
                    return Poll::Ready(Some(Err(error.into())));
                }
                *this.arrived += part.len();
            }
            return Poll::Ready(frame);
        }
        let Some(deadline) = *this.deadline else { return Poll::Pending };
        let end = this.end.get_or_insert_with(|| {
            let draining = this.draining.clone();
            Box::pin(async move {
                tokio::select! {
                    () = draining.cancelled() => Error::Draining,
                    () = sleep_until(deadline) => Error::NotInTime,
                }
            })
        });
        let error = ready!(end.as_mut().poll(context));
        Poll::Ready(Some(Err(error.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
