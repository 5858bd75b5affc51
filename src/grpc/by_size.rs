//! How large a request may be: only a batch needs more than 64 KiB.
//!
//! Everything else is a single operation or a question, which with all its labels has 13 KiB. **Invariant:**
//! what is larger is refused as soon as it says so, before it is read.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::admission::Place;
use super::observe::method_of;
use super::proto::bank_service_server::{BankService, BankServiceServer};
use super::status::Error;
use super::whole::Whole;

/// How many bytes a request that is no batch may have, and each message of a pipe.
pub(super) const SMALL: usize = 64 << 10;

/// Marks a request whose messages may be packed, with its place.
#[derive(Clone, Debug)]
pub(super) struct Packed(pub(super) Arc<Place>);

/// The bank's service, with a size for each of its methods.
#[derive(Debug)]
pub struct BySize<T> {
    max_bytes: usize,
    batches: BankServiceServer<T>,
    others: BankServiceServer<T>,
}

impl<T: BankService> BySize<T> {
    /// The same service, in which a batch may have so many bytes.
    #[must_use]
    pub fn new(service: BankServiceServer<T>, max_bytes: usize) -> Self {
        let others = service.clone().max_decoding_message_size(max_bytes.min(SMALL));
        Self { max_bytes, batches: service.max_decoding_message_size(max_bytes), others }
    }

    /// Counts what a packed batch may unfold to: what arrives of it says nothing about that.
    fn count_packed(&self, request: &Request<Body>) -> Result<(), Error> {
        let packed = request.extensions().get::<Packed>();
        packed.map_or(Ok(()), |Packed(place)| place.count_packed(self.max_bytes))
    }

    /// Whether a call of this path is one of its own.
    #[must_use]
    pub fn serves(path: &str) -> bool {
        method_of(path).is_some()
    }
}

/// Whatever `T` is: the service is shared.
impl<T> Clone for BySize<T> {
    fn clone(&self) -> Self {
        Self {
            max_bytes: self.max_bytes,
            batches: self.batches.clone(),
            others: self.others.clone(),
        }
    }
}

impl<T: BankService> Service<Request<Body>> for BySize<T> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <BankServiceServer<T> as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Both are ready at any time.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if method_of(request.uri().path()) != Some("ExecuteBatch") {
            return self.others.call(request);
        }
        if let Err(error) = self.count_packed(&request) {
            return Box::pin(ready(Ok(Status::from(error).into_http())));
        }
        let max_bytes = self.max_bytes;
        self.batches.call(request.map(|body| Body::new(Whole::new(body, max_bytes))))
    }
}
