//! What a status says beyond its code.

use std::collections::HashMap;

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

/// The details of a status of the API: every one has an `ErrorInfo` of the bank's domain.
#[derive(Debug)]
pub(crate) struct Details {
    pub(crate) reason: String,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) all: ErrorDetails,
}

impl Details {
    #[track_caller]
    pub(crate) fn of(status: &Status) -> Self {
        let all = status.get_error_details();
        let info = all.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}")).clone();
        assert_eq!(info.domain, "bank.v1", "{status:?}");
        Self { reason: info.reason, metadata: info.metadata, all }
    }

    /// The fields that are wrong, sorted.
    pub(crate) fn violated_fields(&self) -> Vec<&str> {
        let violations = self.all.bad_request().map_or(&[][..], |it| &it.field_violations);
        let mut fields: Vec<&str> = violations.iter().map(|it| it.field.as_str()).collect();
        fields.sort_unstable();
        fields
    }
}
