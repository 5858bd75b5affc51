//! One call, as its handler knows it: its log line, its permit, and when it must end.

use std::sync::Arc;

use http::Extensions;

use super::access::Permit;
use super::edge::Ending;
use super::observe::{CallLog, Part};
use super::status::Error;
use crate::ledger::RequestId;

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    log: Option<Arc<CallLog>>,
    ending: Option<Ending>,
    pub(super) permit: Arc<Permit>,
}

impl Call {
    /// The call that these extensions came with.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] when it was not let in.
    pub(super) fn of(extensions: &Extensions) -> Result<Self, Error> {
        Ok(Self {
            log: extensions.get().cloned(),
            ending: extensions.get().cloned(),
            permit: Permit::of(extensions)?,
        })
    }

    /// Notes the client's name for the request in the log line.
    pub(super) fn note_request_id(&self, id: Option<&RequestId>) {
        if let (Some(log), Some(id)) = (&self.log, id) {
            log.note_request_id(id);
        }
    }

    /// The span of a part of it, which ends when it is dropped; none when the call has none.
    pub(super) fn part(&self, name: &'static str) -> Option<Part> {
        self.log.as_ref()?.part(name)
    }

    /// Asked just before something is done that is never taken back, because the request may have been long
    /// on its way.
    ///
    /// # Errors
    ///
    /// Why nothing may begin any more.
    pub(super) fn may_begin(&self) -> Result<(), Error> {
        self.ending.as_ref().map_or(Ok(()), Ending::check)
    }

    /// Waits until the call must end, and tells why.
    pub(super) async fn must_end(&self) -> Error {
        match &self.ending {
            Some(ending) => ending.reached().await,
            None => std::future::pending().await,
        }
    }
}
