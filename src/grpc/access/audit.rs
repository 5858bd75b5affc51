//! The audit log: a line for every mutation that was asked for, and for every attempt that was denied.
//!
//! The lines go to a log target of their own, [`TARGET`]. **Invariants:** an operation leaves one line,
//! whatever becomes of it, also when nobody waits for its answer any more; so does a mutation that was never
//! read, because it can't be, has not come, or was turned away before; no line holds an amount, a label, a
//! description or a credential.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::HeaderMap;
use tonic::Status;
use tonic_types::StatusExt;

use super::{Asked, Permit};
use crate::grpc::observe::code_name;
use crate::grpc::status::Error;
use crate::ledger::{CallerName, RequestId, Sequence};
use crate::store::Executed;

/// The target of the audit log, for filters.
pub(crate) const TARGET: &str = "audit";

/// An attempt that was denied.
pub(super) fn denied(method: &str, caller: Option<&str>, peer: Option<SocketAddr>, error: &Error) {
    tracing::info!(
        target: TARGET,
        method = method.trim_start_matches('/'),
        caller,
        result = error.reason(),
        peer = peer.map(display),
        "denied"
    );
}

/// What is told of one operation.
#[derive(Debug)]
pub(in crate::grpc) struct Line {
    /// The method that it would be on its own, where it is part of something else.
    operation: Option<&'static str>,
    request_id: Option<RequestId>,
    result: Cow<'static, str>,
    sequence: Option<Sequence>,
    replayed: bool,
}

impl Line {
    /// An operation that is asked for. What is no request id is not told: it could be anything.
    pub(in crate::grpc) fn of(asked: &impl Asked, operation: Option<&'static str>) -> Self {
        let request_id = RequestId::parse(asked.request_id()).ok();
        Self { operation, request_id, ..Self::unread() }
    }

    /// What is asked for in a message that nobody could read.
    pub(in crate::grpc) fn unread() -> Self {
        let result = Cow::Borrowed("CANCELLED");
        Self { operation: None, request_id: None, result, sequence: None, replayed: false }
    }

    /// It was done, now or before.
    fn done(&mut self, executed: &Executed) {
        self.result = Cow::Borrowed("OK");
        self.sequence = Some(executed.record.sequence);
        self.replayed = executed.replayed;
    }

    /// It was not done, for this reason.
    fn failed(&mut self, reason: &'static str) {
        self.result = Cow::Borrowed(reason);
    }
}

/// The lines of the operations that are asked for together: written when this is dropped, with what is
/// known of them by then. Empty where no audit is kept.
#[derive(Debug)]
pub(in crate::grpc) struct Lines {
    permit: Arc<Permit>,
    lines: Vec<Line>,
}

impl Lines {
    pub(super) fn of(permit: Arc<Permit>, lines: impl FnOnce() -> Vec<Line>) -> Self {
        let lines = if permit.audits { lines() } else { Vec::new() };
        Self { permit, lines }
    }

    /// Notes what came of an operation.
    pub(in crate::grpc) fn note(&mut self, index: usize, result: Result<&Executed, &Error>) {
        let Some(line) = self.lines.get_mut(index) else { return };
        match result {
            Ok(executed) => line.done(executed),
            Err(error) => line.failed(error.reason()),
        }
    }

    /// Notes why a batch as a whole has failed: at the operation that is to blame, if one is.
    pub(in crate::grpc) fn note_failed_batch(&mut self, error: &Error) {
        match error {
            Error::Operation { index, .. }
            | Error::InvalidOperation { index, .. }
            | Error::DeniedOperation { index, .. }
            | Error::HiddenOperation { index, .. } => {
                for line in &mut self.lines {
                    line.failed("BATCH_REFUSED");
                }
                self.note(*index, Err(error));
            }
            _ => self.note_all(error),
        }
    }

    /// Notes that nothing was done, for one reason.
    pub(in crate::grpc) fn note_all(&mut self, error: &Error) {
        for line in &mut self.lines {
            line.failed(error.reason());
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let Permit { caller, peer, method, .. } = &*self.permit;
        let caller = caller.as_ref().map(|caller| CallerName::as_str(&caller.name));
        for line in &self.lines {
            tracing::info!(
                target: TARGET,
                method = method.trim_start_matches('/'),
                operation = line.operation,
                caller,
                request_id = line.request_id.as_ref().map(RequestId::as_str),
                result = &*line.result,
                sequence = line.sequence.map(Sequence::number),
                replayed = line.replayed.then_some(true),
                peer = peer.map(display),
                "mutation"
            );
        }
    }
}

/// A mutation that no handler has read yet. When none ever does, it leaves a line.
#[derive(Debug)]
pub(in crate::grpc) struct Unread {
    permit: Arc<Permit>,
    line: Line,
}

impl Unread {
    pub(super) fn of(permit: Arc<Permit>) -> Self {
        Self { permit, line: Line::unread() }
    }

    /// It is answered, with these headers.
    pub(in crate::grpc) fn answered(mut self, headers: &HeaderMap) {
        if !self.permit.is_read.load(Ordering::Relaxed)
            && let Some(status) = Status::from_header_map(headers)
        {
            let code = code_name(status.code());
            let info = status.get_details_error_info();
            self.line.result = info.map_or(Cow::Borrowed(code), |info| Cow::Owned(info.reason));
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if !self.permit.is_read.load(Ordering::Relaxed) {
            let line = std::mem::replace(&mut self.line, Line::unread());
            drop(Lines::of(self.permit.clone(), || vec![line]));
        }
    }
}
