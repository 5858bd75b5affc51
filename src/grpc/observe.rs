//! What is told of every call: one log line, a place in the [`tally`], and its span ([`Spans`]).
//!
//! The line has the method, caller, code, duration and request id; never an amount or a label. Health checks and
//! reflection are logged at debug, so that probes don't drown the calls. All is told before a client learns
//! how its call has ended, or when the call is dropped.

mod spans;
pub mod tally;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::ledger::{CallerName, RequestId};

use super::proto::bank_service_server::SERVICE_NAME;
use spans::CallSpan;
use tally::{Method, OTHER, Reason, Tally};

pub(super) use spans::Part;
pub use spans::Spans;

/// Who watches what calls come to.
#[derive(Debug, Default)]
pub struct Observer {
    /// The counts.
    pub tally: Tally,
    /// What begins spans; without it there are none.
    pub spans: Option<Spans>,
}

/// What is known of a call while it runs.
#[derive(Debug)]
pub(super) struct CallLog {
    path: String,
    started: Instant,
    request_id: OnceLock<RequestId>,
    caller: OnceLock<CallerName>,
    span: Option<CallSpan>,
}

impl CallLog {
    /// A call that begins now.
    pub(super) fn begin(observer: &Observer, path: &str, headers: &HeaderMap) -> Arc<Self> {
        let spans = observer.spans.as_ref().filter(|_| method_of(path).is_some());
        Arc::new(Self {
            path: path.to_owned(),
            started: Instant::now(),
            request_id: OnceLock::new(),
            caller: OnceLock::new(),
            span: spans.map(|spans| spans.begin(path, headers)),
        })
    }

    /// Whether it is of `bank.v1.BankService`, and not of health or reflection.
    pub(super) fn is_of_the_bank(&self) -> bool {
        method_of(&self.path).is_some()
    }

    /// The span of a part of it, which ends when it is dropped; none when the call has none.
    pub(super) fn part(&self, name: &'static str) -> Option<Part> {
        self.span.as_ref()?.part(name)
    }

    /// Notes the client's name for the request.
    pub(super) fn note_request_id(&self, id: &RequestId) {
        self.request_id.get_or_init(|| id.clone());
    }

    /// Notes who calls.
    pub(super) fn note_caller(&self, caller: &CallerName) {
        self.caller.get_or_init(|| caller.clone());
    }

    fn write(&self, code: Code) {
        let method = self.path.trim_start_matches('/');
        let duration_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let request_id = self.request_id.get().map(RequestId::as_str);
        let caller = self.caller.get().map(CallerName::as_str);
        let code = code_name(code);
        let trace_id = self.span.as_ref().map(|span| span.trace_id().to_string());
        if self.is_of_the_bank() {
            tracing::info!(method, caller, code, duration_us, request_id, trace_id, "call");
        } else {
            tracing::debug!(method, caller, code, duration_us, request_id, "call");
        }
    }
}

/// The method that a path names, of `bank.v1.BankService` alone.
pub(super) fn method_of(path: &str) -> Option<&str> {
    path.strip_prefix('/')?.strip_prefix(SERVICE_NAME)?.strip_prefix('/')
}

/// Tells of a call, once: when its status is about to go out, or as CANCELLED when it is dropped before.
#[derive(Debug)]
pub(super) struct Outcome {
    call: Arc<CallLog>,
    observer: Arc<Observer>,
    method: Method,
    is_told: bool,
}

impl Outcome {
    pub(super) fn of(call: Arc<CallLog>, observer: Arc<Observer>) -> Self {
        let method = Method::at(&call.path);
        observer.tally.begin(method);
        Self { call, observer, method, is_told: false }
    }

    /// The call ends, if these headers or trailers say so.
    pub(super) fn is_in(&mut self, headers: &HeaderMap) {
        let Some(code) = headers.get(Status::GRPC_STATUS) else { return };
        let code = Code::from_bytes(code.as_bytes());
        self.tell(code, (code != Code::Ok).then(|| reason_in(headers)));
    }

    /// The call ends with this code.
    pub(super) fn is(&mut self, code: Code) {
        self.tell(code, None);
    }

    fn tell(&mut self, code: Code, refused: Option<Reason>) {
        if !std::mem::replace(&mut self.is_told, true) {
            self.call.write(code);
            if let Some(span) = &self.call.span {
                span.end(code, refused, self.call.request_id.get());
            }
            self.observer.tally.end(self.method, code, self.call.started.elapsed(), refused);
        }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.is(Code::Cancelled);
    }
}

/// The reason of a status in headers. tonic's own statuses have none.
fn reason_in(headers: &HeaderMap) -> Reason {
    let info = Status::from_header_map(headers).and_then(|status| status.get_details_error_info());
    Reason::new(info.as_ref().map_or(OTHER, |info| &info.reason))
}

/// The codes that OpenTelemetry's conventions call errors of a server; the others tell a client of its own.
pub(crate) fn is_servers_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
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
