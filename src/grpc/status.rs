//! The one table from everything that can go wrong to `google.rpc.Status`.
//!
//! Every status carries an `ErrorInfo` and the detail that its row names. There is no `_` arm: a new
//! refusal doesn't compile until it has its row. Texts of the store never reach a client; they are
//! logged.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, QuotaViolation, StatusExt};

use crate::ledger::{AccountId, Malformed, Refusal, RequestId};
use crate::store;

/// The domain of every `ErrorInfo`.
pub(super) const DOMAIN: &str = "bank.v1";

/// How long a client should wait before it tries a draining server's name again: as long as it takes
/// a client to find another server, or this one to come back.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Why a call fails.
#[derive(Debug)]
pub(super) enum Error {
    /// It is not proved who calls; the phrase says why.
    Unauthenticated(&'static str),
    /// What callers are recognised by can't be had.
    KeysUnavailable,
    /// The caller may not do this; the phrase says why, and tells nothing of what it may not know.
    Denied(String),
    /// The same, of an operation of a batch that is all or none.
    DeniedOperation { index: usize, why: String },
    /// The caller may not know of this, and is told that it is not there.
    Hidden(Refusal),
    /// The same, of an operation of a batch that is all or none.
    HiddenOperation { index: usize, refusal: Refusal },
    /// The caller asks too fast: how long it should wait, if that helps, and how much it may ask at once.
    RateLimited { delay: Option<Duration>, burst: u32 },
    /// The server is about to end.
    Draining,
    /// The server has begun, and does not know its books yet.
    Starting,
    /// Too much is under way: as much as this limit allows.
    Overloaded(&'static str),
    /// The caller's deadline passed.
    DeadlineExceeded,
    /// The request was not there when its time was up.
    NotInTime,
    /// The request is malformed.
    Invalid(Violations),
    /// A batch is malformed as a whole, because of its operations: the first of them that is.
    InvalidOperation { index: usize, violations: Violations },
    /// The books say no.
    Refused(Refusal),
    /// No transaction was made by a request.
    NoTransactionOf(NoTransactionOf),
    /// A reader of the live feed has fallen too far behind.
    WatcherTooSlow,
    /// A batch is refused as a whole, because of one of its operations.
    Operation { index: usize, refusal: Refusal },
    /// The store can't answer.
    Store(store::Error),
}

/// A request that made no transaction, or never came.
#[derive(Debug)]
pub(super) struct NoTransactionOf {
    pub(super) request_id: RequestId,
    pub(super) became: Became,
}

/// What became of a request that made no transaction.
#[derive(Debug)]
pub(super) enum Became {
    /// It never came.
    Unknown,
    /// It was refused, for this reason.
    Refused(&'static str),
    /// It did what this method does, which is no transaction.
    Done(&'static str),
}

impl From<Violations> for Error {
    fn from(violations: Violations) -> Self {
        Self::Invalid(violations)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl Error {
    /// The reason in its `ErrorInfo`; of what is hidden, the true one, which the caller isn't told.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated(_) => "UNAUTHENTICATED",
            Self::KeysUnavailable => "KEYS_UNAVAILABLE",
            Self::Denied(_)
            | Self::DeniedOperation { .. }
            | Self::Hidden(_)
            | Self::HiddenOperation { .. } => "PERMISSION_DENIED",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::Draining => "DRAINING",
            Self::DeadlineExceeded | Self::NotInTime => "DEADLINE_EXCEEDED",
            Self::Invalid(_) | Self::InvalidOperation { .. } => "INVALID_REQUEST",
            Self::Refused(refusal) | Self::Operation { refusal, .. } => row(refusal).1,
            Self::NoTransactionOf(_) => "TRANSACTION_NOT_FOUND",
            Self::WatcherTooSlow => "WATCHER_TOO_SLOW",
            Self::Overloaded(_) | Self::Store(store::Error::Overloaded) => "OVERLOADED",
            Self::Store(store::Error::Full | store::Error::AtBound(_)) => "STORE_FULL",
            Self::Store(store::Error::Damaged { .. }) => "DATA_LOSS",
            Self::Starting
            | Self::Store(
                store::Error::Unavailable
                | store::Error::Unreachable
                | store::Error::Unreadable { .. },
            ) => "STORE_UNAVAILABLE",
        }
    }
}

impl From<Error> for Status {
    #[allow(clippy::too_many_lines, reason = "one table, which is read from top to bottom")]
    fn from(error: Error) -> Self {
        match error {
            Error::Unauthenticated(why) => {
                Status::with_error_details(Code::Unauthenticated, why, info("UNAUTHENTICATED", []))
            }
            Error::KeysUnavailable => {
                let mut details = info("KEYS_UNAVAILABLE", []);
                details.set_retry_info(Some(RETRY_DELAY));
                let message = "tokens can't be checked at the moment; try again later";
                Status::with_error_details(Code::Unavailable, message, details)
            }
            Error::Denied(why) => Status::with_error_details(
                Code::PermissionDenied,
                why,
                info("PERMISSION_DENIED", []),
            ),
            Error::DeniedOperation { index, why } => Status::with_error_details(
                Code::PermissionDenied,
                format!("operation {index}: {why}"),
                info("PERMISSION_DENIED", [("operation_index", index.to_string())]),
            ),
            Error::RateLimited { delay, burst } => rate_limited(delay, burst),
            Error::Draining => {
                let mut details = info("DRAINING", []);
                details.set_retry_info(Some(RETRY_DELAY));
                let message = "the server is shutting down; try another one, or again later";
                Status::with_error_details(Code::Unavailable, message, details)
            }
            Error::Starting => {
                let mut details = info("STORE_UNAVAILABLE", []);
                details.set_retry_info(Some(RETRY_DELAY));
                let message = "the bank is starting; try again later";
                Status::with_error_details(Code::Unavailable, message, details)
            }
            Error::Overloaded(limit) => {
                let mut details = info("OVERLOADED", [("limit", limit.to_owned())]);
                details.set_retry_info(Some(RETRY_DELAY));
                let message = "too much is under way already; nothing was done, try again later";
                Status::with_error_details(Code::Unavailable, message, details)
            }
            Error::DeadlineExceeded => Status::with_error_details(
                Code::DeadlineExceeded,
                "the deadline passed before there was an answer; a mutation may have taken effect",
                info("DEADLINE_EXCEEDED", []),
            ),
            Error::NotInTime => Status::with_error_details(
                Code::DeadlineExceeded,
                "the request did not arrive in time; nothing was done",
                info("DEADLINE_EXCEEDED", []),
            ),
            Error::Invalid(violations) => violations.into_status(None),
            Error::InvalidOperation { index, violations } => violations.into_status(Some(index)),
            Error::Hidden(refusal) | Error::Refused(refusal) => refused(&refusal, None),
            Error::HiddenOperation { index, refusal } | Error::Operation { index, refusal } => {
                refused(&refusal, Some(index))
            }
            Error::WatcherTooSlow => {
                let mut details = info("WATCHER_TOO_SLOW", []);
                details.set_retry_info(Some(RETRY_DELAY));
                let message = "the reader has fallen too far behind; resume with the last token";
                Status::with_error_details(Code::ResourceExhausted, message, details)
            }
            Error::NoTransactionOf(missing) => no_transaction_of(&missing),
            Error::Store(store::Error::Unavailable) => {
                let mut details = info("STORE_UNAVAILABLE", []);
                details.set_retry_info(Some(RETRY_DELAY));
                let message = "the bank can't write to its store until it is started again";
                Status::with_error_details(Code::Unavailable, message, details)
            }
            Error::Store(store::Error::Unreachable) => {
                let mut details = info("STORE_UNAVAILABLE", []);
                details.set_retry_info(Some(RETRY_DELAY));
                let message = "the database can't be reached; a mutation may have taken effect";
                Status::with_error_details(Code::Unavailable, message, details)
            }
            Error::Store(store::Error::Unreadable { cause }) => {
                tracing::error!(cause, "stored records can't be read");
                let mut details = info("STORE_UNAVAILABLE", []);
                details.set_retry_info(Some(RETRY_DELAY));
                let message = "the bank can't read its store at the moment; try again later";
                Status::with_error_details(Code::Unavailable, message, details)
            }
            Error::Store(store::Error::Overloaded) => {
                let mut details = info("OVERLOADED", []);
                details.set_retry_info(Some(RETRY_DELAY));
                let message = "too much waits to be written already; try again later";
                Status::with_error_details(Code::Unavailable, message, details)
            }
            Error::Store(store::Error::Full) => {
                let mut details = info("STORE_FULL", []);
                let message = "the store has too little free space for further records";
                details.set_quota_failure(vec![QuotaViolation::new("store", message)]);
                Status::with_error_details(Code::ResourceExhausted, message, details)
            }
            Error::Store(store::Error::AtBound(bound)) => {
                let mut details = info("STORE_FULL", []);
                let message =
                    format!("the bank keeps as many {} as it may; reads go on", bound.name());
                details.set_quota_failure(vec![QuotaViolation::new(bound.name(), &message)]);
                Status::with_error_details(Code::ResourceExhausted, message, details)
            }
            Error::Store(store::Error::Damaged { sequence, cause }) => {
                tracing::error!(sequence = sequence.number(), cause, "a stored record is damaged");
                Status::with_error_details(
                    Code::DataLoss,
                    "stored data is damaged",
                    info("DATA_LOSS", []),
                )
            }
        }
    }
}

/// Whether a status is tonic's own for a message that is too large, packed or not, cut off or missing:
/// OUT_OF_RANGE, RESOURCE_EXHAUSTED or INTERNAL, without details. All of these are invalid requests; the service
/// itself never answers so.
pub(super) fn is_unreadable(status: &Status) -> bool {
    status.details().is_empty()
        && matches!(
            status.code(),
            Code::Internal | Code::OutOfRange | Code::ResourceExhausted | Code::Unknown
        )
}

/// The code and the reason of a refusal.
pub(super) fn row(refusal: &Refusal) -> (Code, &'static str) {
    match refusal {
        Refusal::RequestIdReused { .. } => (Code::FailedPrecondition, "REQUEST_ID_REUSED"),
        Refusal::AccountNotFound { .. } => (Code::NotFound, "ACCOUNT_NOT_FOUND"),
        Refusal::TransactionNotFound { .. } => (Code::NotFound, "TRANSACTION_NOT_FOUND"),
        Refusal::HoldNotFound { .. } => (Code::NotFound, "HOLD_NOT_FOUND"),
        Refusal::AccountAlreadyExists { .. } => (Code::AlreadyExists, "ACCOUNT_ALREADY_EXISTS"),
        Refusal::EtagMismatch { .. } => (Code::Aborted, "ETAG_MISMATCH"),
        Refusal::AccountClosed { .. } => (Code::FailedPrecondition, "ACCOUNT_CLOSED"),
        Refusal::AccountFrozen { .. } => (Code::FailedPrecondition, "ACCOUNT_FROZEN"),
        Refusal::CurrencyMismatch { .. } => (Code::FailedPrecondition, "CURRENCY_MISMATCH"),
        Refusal::HoldNotActive { .. } => (Code::FailedPrecondition, "HOLD_NOT_ACTIVE"),
        Refusal::CaptureExceedsHold { .. } => (Code::FailedPrecondition, "CAPTURE_EXCEEDS_HOLD"),
        Refusal::ReversalOfReversal { .. } | Refusal::ReversalExceedsRest { .. } => {
            (Code::FailedPrecondition, "NOT_REVERSIBLE")
        }
        Refusal::AccountNotEmpty { .. } => (Code::FailedPrecondition, "ACCOUNT_NOT_EMPTY"),
        Refusal::InsufficientFunds { .. } => (Code::FailedPrecondition, "INSUFFICIENT_FUNDS"),
        Refusal::BalanceOutOfRange { .. } => (Code::OutOfRange, "BALANCE_OUT_OF_RANGE"),
    }
}

/// `operation_index` tells which operation of a batch was refused.
pub(crate) fn refused(refusal: &Refusal, operation_index: Option<usize>) -> Status {
    let (code, reason) = row(refusal);
    let message = refusal.to_string();
    let mut details = details_of(refusal, reason, &message);
    let Some(index) = operation_index else {
        return Status::with_error_details(code, message, details);
    };
    let mut metadata = details.error_info().map_or_else(HashMap::new, |it| it.metadata.clone());
    metadata.insert("operation_index".to_owned(), index.to_string());
    details.set_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, format!("operation {index}: {message}"), details)
}

fn details_of(refusal: &Refusal, reason: &str, message: &str) -> ErrorDetails {
    match refusal {
        Refusal::RequestIdReused { request_id, field } => precondition(
            info(
                reason,
                [("request_id", request_id.as_str().to_owned()), ("field", field.clone())],
            ),
            reason,
            &format!("requests/{}", request_id.as_str()),
            message,
        ),
        Refusal::AccountNotFound { account_id } | Refusal::AccountAlreadyExists { account_id } => {
            resource(about(reason, account_id), "Account", account_id.as_str(), message)
        }
        Refusal::TransactionNotFound { transaction_id } => resource(
            info(reason, [("transaction_id", transaction_id.to_string())]),
            "Transaction",
            transaction_id.as_str(),
            message,
        ),
        Refusal::HoldNotFound { hold_id } => resource(
            info(reason, [("hold_id", hold_id.to_string())]),
            "Hold",
            hold_id.as_str(),
            message,
        ),
        Refusal::HoldNotActive { hold_id, state } => {
            let state = state.to_string().to_ascii_uppercase();
            let info = info(reason, [("hold_id", hold_id.to_string()), ("state", state)]);
            precondition(info, reason, &format!("holds/{hold_id}"), message)
        }
        Refusal::CaptureExceedsHold { hold_id, held, requested } => {
            let metadata = [
                ("hold_id", hold_id.to_string()),
                ("held", held.minor_units().to_string()),
                ("requested", requested.minor_units().to_string()),
            ];
            precondition(info(reason, metadata), reason, &format!("holds/{hold_id}"), message)
        }
        Refusal::ReversalOfReversal { transaction_id } => {
            let info = info(reason, [("transaction_id", transaction_id.to_string())]);
            precondition(info, reason, &format!("transactions/{transaction_id}"), message)
        }
        Refusal::ReversalExceedsRest { transaction_id, left } => {
            let metadata =
                [("transaction_id", transaction_id.to_string()), ("left", left.to_string())];
            let subject = format!("transactions/{transaction_id}");
            precondition(info(reason, metadata), reason, &subject, message)
        }
        Refusal::EtagMismatch { account_id, current_etag } => info(
            reason,
            [("account_id", account_id.to_string()), ("current_etag", current_etag.clone())],
        ),
        Refusal::BalanceOutOfRange { account_id } => about(reason, account_id),
        Refusal::AccountClosed { account_id } | Refusal::AccountFrozen { account_id } => {
            precondition(about(reason, account_id), reason, &subject(account_id), message)
        }
        Refusal::CurrencyMismatch { account_id, account_currency, requested_currency } => {
            precondition(
                info(
                    reason,
                    [
                        ("account_id", account_id.to_string()),
                        ("account_currency_code", account_currency.to_string()),
                        ("requested_currency_code", requested_currency.to_string()),
                    ],
                ),
                reason,
                &subject(account_id),
                message,
            )
        }
        Refusal::AccountNotEmpty { account_id, posted, held } => precondition(
            info(
                reason,
                [
                    ("account_id", account_id.to_string()),
                    ("posted", posted.to_string()),
                    ("held", held.to_string()),
                ],
            ),
            reason,
            &subject(account_id),
            message,
        ),
        Refusal::InsufficientFunds { account_id, available, requested, currency } => precondition(
            info(
                reason,
                [
                    ("account_id", account_id.to_string()),
                    ("available", available.to_string()),
                    ("requested", requested.minor_units().to_string()),
                    ("currency_code", currency.to_string()),
                ],
            ),
            reason,
            &subject(account_id),
            message,
        ),
    }
}

fn no_transaction_of(missing: &NoTransactionOf) -> Status {
    const REASON: &str = "TRANSACTION_NOT_FOUND";
    let id = missing.request_id.as_str().to_owned();
    let mut metadata = vec![("request_id", id.clone())];
    let message = match missing.became {
        Became::Unknown => format!("there was no request {id}"),
        Became::Refused(reason) => {
            metadata.push(("refused_with", reason.to_owned()));
            format!("request {id} was refused with {reason}: it made no transaction")
        }
        Became::Done(method) => {
            metadata.push(("done_by", method.to_owned()));
            format!("request {id} was done by {method}, which made no transaction")
        }
    };
    let details = resource(info(REASON, metadata), "Transaction", &id, &message);
    Status::with_error_details(Code::NotFound, message, details)
}

fn rate_limited(delay: Option<Duration>, burst: u32) -> Status {
    let mut details = info("RATE_LIMITED", [("burst", burst.to_string())]);
    let message = match delay {
        Some(delay) => {
            details.set_retry_info(Some(delay));
            "the caller asks faster than it may; nothing was done".to_owned()
        }
        None => format!("the caller may ask {burst} operations at once and no more: send fewer"),
    };
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

fn info(reason: &str, metadata: impl IntoIterator<Item = (&'static str, String)>) -> ErrorDetails {
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

fn about(reason: &str, account_id: &AccountId) -> ErrorDetails {
    info(reason, [("account_id", account_id.to_string())])
}

fn subject(account_id: &AccountId) -> String {
    format!("accounts/{account_id}")
}

fn precondition(
    mut details: ErrorDetails,
    kind: &str,
    subject: &str,
    description: &str,
) -> ErrorDetails {
    details.add_precondition_failure_violation(kind, subject, description);
    details
}

fn resource(mut details: ErrorDetails, kind: &str, name: &str, description: &str) -> ErrorDetails {
    details.set_resource_info(format!("{DOMAIN}.{kind}"), name, "", description);
    details
}

/// How many violations of one request are told: more than any request but a batch can have.
const MAX_VIOLATIONS: usize = 20;

/// In place of a field's value: it is wrong, and that is noted among the [`Violations`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted;

/// Everything that is wrong with the form of a request, field by field.
#[derive(Debug, Default)]
pub(super) struct Violations(Vec<FieldViolation>);

impl Violations {
    /// Keeps the value, or notes what is wrong with its field.
    pub(super) fn take<T>(&mut self, field: &str, value: Result<T, Malformed>) -> Result<T, Noted> {
        value.map_err(|malformed| self.add(field, &malformed.to_string()))
    }

    /// Notes that a field is wrong.
    pub(super) fn add(&mut self, field: &str, description: &str) -> Noted {
        self.0.push(FieldViolation::new(field, description));
        Noted
    }

    /// The same, of a part of a request: its place stands before each field.
    pub(super) fn within(mut self, place: &str) -> Self {
        for violation in &mut self.0 {
            let path = format!("{place}.{}", violation.field);
            path.trim_end_matches('.').clone_into(&mut violation.field);
        }
        self
    }

    /// Takes over everything that is wrong with something else.
    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Nothing, when nothing is wrong.
    pub(super) fn check(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// The status for a message that can't be read at all.
    pub(super) fn of_message(description: &str) -> Status {
        let mut violations = Self::default();
        violations.add("", description);
        violations.into_status(None)
    }

    /// A status travels in headers, which clients limit to 8 KiB or so: a batch with thousands of wrong
    /// fields is told the first ones, and how many more there are.
    fn into_status(mut self, operation_index: Option<usize>) -> Status {
        let more = self.0.len().saturating_sub(MAX_VIOLATIONS);
        self.0.truncate(MAX_VIOLATIONS);
        if more > 0 {
            self.add("", &format!("{more} more violations are not listed"));
        }
        let message = self
            .0
            .iter()
            .map(|violation| match violation.field.as_str() {
                "" => violation.description.clone(),
                field => format!("{field} {}", violation.description),
            })
            .collect::<Vec<_>>()
            .join("; ");
        let index = operation_index.map(|index| ("operation_index", index.to_string()));
        let mut details = info("INVALID_REQUEST", index);
        details.set_bad_request(self.0);
        Status::with_error_details(Code::InvalidArgument, message, details)
    }
}
