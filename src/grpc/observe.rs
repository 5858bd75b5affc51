//! One log line a call: its method, code, duration and request id; never an amount or a label.
//!
//! Health checks and reflection are logged at debug, so that probes don't drown the calls. The line is
//! written when the answer's last byte is handed over, or when the call is dropped before.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tonic::Code;

use crate::ledger::RequestId;

use super::proto::bank_service_server::SERVICE_NAME;

/// What is known of a call while it runs.
#[derive(Debug)]
pub(super) struct CallLog {
    path: String,
    started: Instant,
    request_id: OnceLock<RequestId>,
}

impl CallLog {
    /// A call that begins now.
    pub(super) fn begin(path: &str) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            started: Instant::now(),
            request_id: OnceLock::new(),
        })
    }

    /// Whether it is of `bank.v1.BankService`, and not of health or reflection.
    pub(super) fn is_of_the_bank(&self) -> bool {
        method_of(&self.path).is_some()
    }

    /// Notes the client's name for the request.
    pub(super) fn note_request_id(&self, id: &RequestId) {
        self.request_id.get_or_init(|| id.clone());
    }

    fn write(&self, code: Code) {
        let method = self.path.trim_start_matches('/');
        let duration_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let request_id = self.request_id.get().map(RequestId::as_str);
        let code = code_name(code);
        if self.is_of_the_bank() {
            tracing::info!(method, code, duration_us, request_id, "call");
        } else {
            tracing::debug!(method, code, duration_us, request_id, "call");
        }
    }
}

/// The method that a path names, of `bank.v1.BankService` alone.
pub(super) fn method_of(path: &str) -> Option<&str> {
    path.strip_prefix('/')?.strip_prefix(SERVICE_NAME)?.strip_prefix('/')
}

/// Writes the line of a call when it is dropped: as CANCELLED, until it is told another code.
#[derive(Debug)]
pub(super) struct Outcome {
    call: Arc<CallLog>,
    code: Code,
}

impl Outcome {
    pub(super) fn of(call: Arc<CallLog>) -> Self {
        Self { call, code: Code::Cancelled }
    }

    pub(super) fn is(&mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.call.write(self.code);
    }
}

/// The names of the gRPC specification: `NOT_FOUND`.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
