//! Answers to operations, read as far as it takes to count what failed: what isn't declared here is skipped.

use prost::Message;
use tonic::{Code, Status};

use super::tally::Cause;

/// `bank.v1.ExecuteBatchResponse`
#[derive(Clone, PartialEq, Message)]
struct Batch {
    #[prost(message, repeated, tag = "1")]
    results: Vec<OperationResult>,
}

/// `bank.v1.ExecuteStreamResponse`
#[derive(Clone, PartialEq, Message)]
struct Streamed {
    #[prost(message, optional, tag = "2")]
    result: Option<OperationResult>,
}

/// `bank.v1.OperationResult`
#[derive(Clone, PartialEq, Message)]
struct OperationResult {
    #[prost(message, optional, tag = "3")]
    error: Option<tonic_types::Status>,
}

/// Why operations of a batch failed, an item for each of them.
pub(super) fn failures_of_batch(answer: &[u8], operations: u32) -> Vec<Cause> {
    match Batch::decode(answer) {
        Ok(batch) => batch.results.into_iter().filter_map(|it| it.error).map(cause).collect(),
        Err(_) => vec![Cause::unreadable(); operations as usize],
    }
}

/// Why an operation of a stream failed, if it did.
pub(super) fn failure_of_streamed(answer: &[u8]) -> Option<Cause> {
    match Streamed::decode(answer) {
        Ok(streamed) => streamed.result?.error.map(cause),
        Err(_) => Some(Cause::unreadable()),
    }
}

fn cause(error: tonic_types::Status) -> Cause {
    let code = Code::from_i32(error.code);
    let details = error.encode_to_vec().into();
    Cause::of(&Status::with_details(code, error.message, details))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto;
    use crate::grpc::proto::operation_result::Result as Outcome;

    fn results() -> [proto::OperationResult; 3] {
        let error = tonic_types::Status {
            code: Code::NotFound.into(),
            message: "no such account".to_owned(),
            details: Vec::new(),
        };
        let outcomes = [
            Outcome::Transaction(proto::Transaction::default()),
            Outcome::Error(error),
            Outcome::Hold(proto::Hold::default()),
        ];
        outcomes.map(|outcome| proto::OperationResult { result: Some(outcome), replayed: true })
    }

    #[test]
    fn failures_are_found() {
        let batch = proto::ExecuteBatchResponse { results: results().into() };
        let failures = failures_of_batch(&batch.encode_to_vec(), 3);
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].code(), Code::NotFound);

        let failed = results().map(|result| {
            let streamed = proto::ExecuteStreamResponse { correlation_id: 7, result: Some(result) };
            failure_of_streamed(&streamed.encode_to_vec()).is_some()
        });
        assert_eq!(failed, [false, true, false]);
        assert_eq!(failures_of_batch(b"\xff", 2), [Cause::unreadable(), Cause::unreadable()]);
        assert_eq!(failure_of_streamed(b"\xff"), Some(Cause::unreadable()));
    }
}
