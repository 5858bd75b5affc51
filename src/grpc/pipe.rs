//! What is taken in from a pipe of operations at once.
//!
//! **Invariant:** only what has arrived already, and only so much that all pipes together have room for it;
//! nothing once the call must end, so that nothing is done whose result is never told.

use futures_util::{FutureExt, Stream, StreamExt};
use prost::Message;
use tonic::Status;

use super::call::Call;
use super::status::Error;

/// How many operations are executed together, at the most.
const MAX_ARRIVED: usize = 1024;
/// How many bytes they have, but for the last: some hundred operations with every label that is allowed.
const MAX_BYTES: usize = 1 << 20;

/// What has arrived next, in order: waits for one message, and takes what else is there. `None` at the end.
///
/// # Errors
///
/// Why the call must end.
pub(super) async fn next<T: Message>(
    arriving: &mut (impl Stream<Item = Result<T, Status>> + Unpin),
    call: &Call,
) -> Result<Option<Vec<Result<T, Status>>>, Error> {
    let first = tokio::select! {
        biased;
        error = call.must_end() => return Err(error),
        arrived = arriving.next() => arrived,
    };
    let Some(first) = first else { return Ok(None) };
    // No more together than the caller may ask at once.
    let most = call.permit.burst().map_or(MAX_ARRIVED, |burst| burst.min(MAX_ARRIVED));
    let size = |message: &Result<T, Status>| message.as_ref().map_or(0, Message::encoded_len);
    let mut bytes = size(&first);
    let mut arrived = vec![first];
    while arrived.len() < most
        && bytes < MAX_BYTES
        && let Some(Some(message)) = arriving.next().now_or_never()
    {
        bytes += size(&message);
        arrived.push(message);
    }
    Ok(Some(arrived))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;
    use crate::grpc::Access;

    fn anyone() -> Call {
        let request = Access::let_in(tonic::Request::new(()));
        Call::of(request.extensions()).expect("it is let in")
    }

    /// How many are taken in at once, each time, of messages that are all there.
    async fn taken(messages: Vec<String>) -> Vec<usize> {
        let mut arriving = stream::iter(messages.into_iter().map(Ok)).fuse();
        let mut counts = Vec::new();
        while let Ok(Some(arrived)) = next(&mut arriving, &anyone()).await {
            counts.push(arrived.len());
        }
        counts
    }

    #[tokio::test]
    async fn what_is_there_is_taken_in_by_number_and_by_bytes() {
        assert!(taken(vec![]).await.is_empty());
        assert_eq!(taken(vec!["small".to_owned(); 2500]).await, [1024, 1024, 452]);
        let quarter = "x".repeat(MAX_BYTES / 4);
        assert_eq!(taken(vec![quarter; 10]).await, [4, 4, 2]);
        assert_eq!(taken(vec!["x".repeat(2 * MAX_BYTES); 3]).await, [1, 1, 1]);
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_waited_for() {
        let messages = ["one", "two"].map(|text| Ok(text.to_owned()));
        let mut arriving = Box::pin(stream::iter(messages).chain(stream::pending()));
        let arrived = next(&mut arriving, &anyone()).await.expect("it goes on");
        assert_eq!(arrived.map(|arrived| arrived.len()), Some(2));
    }
}
