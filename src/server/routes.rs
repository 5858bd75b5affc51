//! Which service answers a call.
//!
//! The bank's own calls go straight to it; tonic's router, which matches paths as axum does, is asked about the
//! others alone.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response};
use tonic::body::Body;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};
use tower::Service;

use crate::grpc::BySize;
use crate::grpc::proto::FILE_DESCRIPTOR_SET;
use crate::grpc::proto::bank_service_server::BankService;

/// Everything that is served once the books are known.
#[derive(Debug)]
pub(super) struct All<T> {
    bank: BySize<T>,
    others: Routes,
}

impl<T: BankService> All<T> {
    /// The bank, health and reflection.
    ///
    /// # Errors
    ///
    /// When the descriptors of the API can't be served.
    pub(super) fn new(
        bank: BySize<T>,
        health: HealthServer<impl Health>,
    ) -> Result<Self, tonic_reflection::server::Error> {
        let others = Routes::new(health)
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?)
            .prepare();
        Ok(Self { bank, others })
    }
}

/// Whatever `T` is: the service is shared.
impl<T> Clone for All<T> {
    fn clone(&self) -> Self {
        Self { bank: self.bank.clone(), others: self.others.clone() }
    }
}

impl<T: BankService> Service<Request<Body>> for All<T> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<
        <BySize<T> as Service<Request<Body>>>::Future,
        <Routes as Service<Request<Body>>>::Future,
    >;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // All are ready at any time.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if BySize::<T>::serves(request.uri().path()) {
            Either::Left(self.bank.call(request))
        } else {
            Either::Right(self.others.call(request))
        }
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // The details of an operation's error are packed: who has no stubs needs their types to read
        // the answer at all.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
