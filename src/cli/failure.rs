//! Why a command fails: what is said of it, and the exit code by which scripts tell classes apart.

use std::error::Error;

use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{amount, json};
use crate::config::{EXIT_USAGE, Form};
use crate::grpc::code_name;

/// Why a command fails.
#[derive(Debug)]
pub enum Failure {
    /// Something of this machine, or an answer that makes no sense: exit code 1.
    Failed(String),
    /// The command line, or a file that it names, is malformed: exit code 64.
    Misused(String),
    /// The bank said no, or said nothing: the exit code goes by the status, and it is told in a form.
    Call(Box<Status>, Form),
    /// Some lines of an import were refused, each of which was told: exit code 7.
    SomeRefused,
    /// Nobody reads the output any more. That is how `| head` ends, and no fault.
    OutputClosed,
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Failed(format!("can't write: {error}"))
        }
    }
}

impl Failure {
    /// The exit code of its class, as `bank --help` lists them.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed(_) => 1,
            Self::Misused(_) => EXIT_USAGE,
            Self::SomeRefused => 7,
            Self::Call(status, _) if is_unavailable(status) => 4,
            Self::Call(status, _) => match status.code() {
                Code::InvalidArgument => EXIT_USAGE,
                Code::NotFound => 2,
                Code::FailedPrecondition
                | Code::AlreadyExists
                | Code::Aborted
                | Code::OutOfRange => 3,
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => 4,
                Code::Unauthenticated | Code::PermissionDenied => 5,
                Code::ResourceExhausted => 6,
                Code::Ok
                | Code::Unknown
                | Code::Unimplemented
                | Code::Internal
                | Code::DataLoss => 1,
            },
        }
    }

    /// What is said of it on standard error: lines for people, or for programs the bank's status as JSON.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self {
            Self::OutputClosed | Self::SomeRefused => None,
            Self::Failed(line) | Self::Misused(line) => Some(format!("bank: {line}")),
            Self::Call(status, form) => Some(match form {
                Form::Table => format!("bank: {}", explain(status)),
                Form::Json | Form::Ndjson => json_of(status),
            }),
        }
    }
}

/// Whether the bank said that it is unavailable, or the connection broke before it said anything: in both
/// cases the same request may be sent again. What the bank says itself bears details; a status without
/// them was made on this side.
pub(super) fn is_unavailable(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        Code::Unknown | Code::Internal | Code::Cancelled => status.details().is_empty(),
        _ => false,
    }
}

/// What a status says, for people: its reason, its sentence, and every field that is wrong.
pub(super) fn explain(status: &Status) -> String {
    let details = status.get_error_details();
    let Some(info) = details.error_info() else {
        return format!("{}: {}", code_name(status.code()), cause_of(status));
    };
    let violations = details.bad_request().map_or(&[][..], |it| &it.field_violations);
    match violations {
        [] => format!("{}: {}", info.reason, sentence(status, &details)),
        [one] => format!("{}: {} {}", info.reason, one.field, one.description),
        several => {
            let lines = several.iter().map(|it| format!("\n  {} {}", it.field, it.description));
            format!("{}:{}", info.reason, lines.collect::<String>())
        }
    }
}

/// The sentence of a refusal; where it speaks of minor units, in the decimals that people type.
fn sentence(status: &Status, details: &ErrorDetails) -> String {
    let in_decimals = || {
        let info = details.error_info().filter(|info| info.reason == "INSUFFICIENT_FUNDS")?;
        let text = |key| info.metadata.get(key).map(String::as_str);
        let number = |key| text(key)?.parse::<i64>().ok();
        let currency = text("currency_code")?;
        let available = amount::money(number("available")?, currency);
        let requested = amount::money(number("requested")?, currency);
        Some(format!("account {} has {available} available, not {requested}", text("account_id")?))
    };
    in_decimals().unwrap_or_else(|| status.message().to_owned())
}

/// What a status that was made on this side says: the error behind it, or its own text.
pub(super) fn cause_of(status: &Status) -> String {
    match status.source() {
        Some(error) => root_cause(error),
        None => status.message().to_owned(),
    }
}

/// tonic's own text says "transport error" for everything; what people need is at the bottom.
pub(super) fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match cause.to_string().as_str() {
        // A bank without TLS ends such a connection at once; so does one that has too many.
        "tls handshake eof" => {
            "it broke off the handshake of TLS; is its address http://HOST:PORT?".to_owned()
        }
        text => text.to_owned(),
    }
}

fn json_of(status: &Status) -> String {
    let bare = || tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    };
    let message = tonic_types::Status::decode(status.details())
        .ok()
        .filter(|message| message.code != 0)
        .unwrap_or_else(bare);
    json::named("google.rpc.Status", &message)
        .map_or_else(|_| status.message().to_owned(), |json| json.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// A status as the bank makes them.
    fn said(code: Code) -> Status {
        let details = ErrorDetails::with_error_info("REASON", "bank.v1", HashMap::new());
        Status::with_error_details(code, "text", details)
    }

    #[test]
    fn only_what_the_bank_can_not_have_refused_is_sent_again() {
        for code in [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled] {
            assert!(is_unavailable(&Status::new(code, "the connection broke")), "{code:?}");
        }
        assert!(is_unavailable(&said(Code::Unavailable)));
        for code in [
            Code::Internal,
            Code::Unknown,
            Code::DataLoss,
            Code::ResourceExhausted,
            Code::DeadlineExceeded,
            Code::FailedPrecondition,
        ] {
            assert!(!is_unavailable(&said(code)), "{code:?}");
        }
        assert!(!is_unavailable(&Status::new(Code::Unimplemented, "there is no such method")));
    }

    #[test]
    fn a_status_without_details_is_told_all_the_same() {
        let status = Status::new(Code::Unimplemented, "there is no such method");
        assert_eq!(explain(&status), "UNIMPLEMENTED: there is no such method");
    }

    #[test]
    fn codes_that_no_command_meets_yet_have_their_exit_codes() {
        for (code, exit_code) in [
            (Code::Unauthenticated, 5),
            (Code::PermissionDenied, 5),
            (Code::ResourceExhausted, 6),
            (Code::DataLoss, 1),
            (Code::DeadlineExceeded, 4),
            (Code::Unavailable, 4),
        ] {
            let failure = Failure::Call(Box::new(said(code)), Form::Table);
            assert_eq!(failure.exit_code(), exit_code, "{code:?}");
        }
    }
}
