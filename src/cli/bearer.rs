//! The token that goes with every call.

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::config::Secret;

/// Puts a token into every request, if there is one.
#[derive(Clone, Debug)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    pub(super) fn new(token: Option<&Secret>) -> Self {
        let value = token.and_then(|token| {
            // It is visible ASCII, which a value may be.
            MetadataValue::try_from(format!("Bearer {}", token.reveal())).ok()
        });
        Self(value.map(|mut value| {
            // So it isn't logged, and not kept in the connection's table of headers.
            value.set_sensitive(true);
            value
        }))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}
