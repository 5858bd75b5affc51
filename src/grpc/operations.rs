//! Operations that are executed together: batches, and what has arrived of a stream.
//!
//! **Invariant:** each has its result in its place, and its line in the audit; what is denied or malformed
//! concerns nobody else, unless it is all or none.

use tokio::time::sleep;
use tonic::{Code, Status};

use crate::ledger;
use crate::store::{BatchRefused, Store};

use super::access::{Line, Lines, method_of};
use super::call::Call;
use super::observe::tally::Reason;
use super::service::Service;
use super::status::{Error, Violations, is_unreadable};
use super::{parse, proto, render};

impl<S: Store> Service<S> {
    pub(super) async fn execute_batch(
        &self,
        call: &Call,
        request: proto::ExecuteBatchRequest,
    ) -> Result<proto::ExecuteBatchResponse, Error> {
        let operations = &request.operations;
        let mut audit = call.permit.audit(|| lines(operations));
        let result = self.try_execute_batch(call, &request, &mut audit).await;
        if let Err(error) = &result {
            audit.note_failed_batch(error);
        }
        Ok(proto::ExecuteBatchResponse { results: result? })
    }

    async fn try_execute_batch(
        &self,
        call: &Call,
        request: &proto::ExecuteBatchRequest,
        audit: &mut Lines,
    ) -> Result<Vec<proto::OperationResult>, Error> {
        let denied = request.operations.iter().map(|it| call.permit.check(it)).collect::<Vec<_>>();
        if request.atomic
            && let Some((index, Err(Error::Denied(why)))) =
                denied.iter().enumerate().find(|(_, it)| it.is_err())
        {
            return Err(Error::DeniedOperation { index, why: why.clone() });
        }
        call.permit.spend(request.operations.len().max(1))?;
        let parsed = parse::operations(request)?;
        let operations = denied.into_iter().zip(parsed);
        let operations = operations.map(|(denied, parsed)| denied.and(parsed.map_err(Error::from)));
        if request.atomic {
            self.execute_all(call, operations.collect(), audit).await
        } else {
            self.execute_each(call, operations.collect(), audit).await
        }
    }

    async fn execute_all(
        &self,
        call: &Call,
        operations: Vec<Result<ledger::Request, Error>>,
        audit: &mut Lines,
    ) -> Result<Vec<proto::OperationResult>, Error> {
        let mut malformed = None;
        let mut requests = Vec::with_capacity(operations.len());
        for (index, operation) in operations.into_iter().enumerate() {
            match operation {
                Ok(request) => requests.push(request),
                Err(Error::Invalid(others)) => {
                    let (_, violations) = malformed.get_or_insert((index, Violations::default()));
                    violations.extend(others);
                }
                Err(other) => return Err(other),
            }
        }
        if let Some((index, violations)) = malformed {
            return Err(Error::InvalidOperation { index, violations });
        }
        let permit = &call.permit;
        for (index, request) in requests.iter_mut().enumerate() {
            permit.check_command(&*self.store, &request.command).await.map_err(
                |error| match error {
                    Error::Denied(why) => Error::DeniedOperation { index, why },
                    Error::Hidden(refusal) => Error::HiddenOperation { index, refusal },
                    Error::Refused(refusal) => Error::Operation { index, refusal },
                    other => other,
                },
            )?;
            request.caller = permit.caller_name();
        }
        call.may_begin()?;
        let executed = match self.store.execute_all(requests).await? {
            Ok(executed) => executed,
            Err(BatchRefused { index, refusal }) => {
                let refusal = permit.told(&*self.store, refusal).await?;
                return Err(Error::Operation { index, refusal });
            }
        };
        let ledger = self.store.ledger_id();
        let mut results = Vec::with_capacity(executed.len());
        for (index, executed) in executed.iter().enumerate() {
            self.observer.tally.execute(executed);
            audit.note(index, Ok(executed));
            results.push(render::operation_result(ledger, executed)?);
        }
        Ok(results)
    }

    /// What is denied or malformed is told in its place; the others go through.
    async fn execute_each(
        &self,
        call: &Call,
        operations: Vec<Result<ledger::Request, Error>>,
        audit: &mut Lines,
    ) -> Result<Vec<proto::OperationResult>, Error> {
        let (permit, tally) = (&call.permit, &self.observer.tally);
        let mut requests = Vec::with_capacity(operations.len());
        let mut places = Vec::with_capacity(operations.len());
        let mut results = vec![proto::OperationResult::default(); operations.len()];
        for (index, operation) in operations.into_iter().enumerate() {
            let checked = match operation {
                Ok(request) => {
                    let checked = permit.check_command(&*self.store, &request.command).await;
                    checked.map(|()| request)
                }
                Err(error) => Err(error),
            };
            match checked {
                Ok(request) => {
                    places.push(index);
                    requests.push(ledger::Request { caller: permit.caller_name(), ..request });
                }
                Err(error @ Error::Store(_)) => return Err(error),
                Err(error) => {
                    tally.refuse(Reason::new(error.reason()));
                    audit.note(index, Err(&error));
                    results[index] = render::operation_error(&error.into());
                }
            }
        }
        call.may_begin()?;
        let ledger = self.store.ledger_id();
        for (index, answer) in places.into_iter().zip(self.store.execute_each(requests).await?) {
            results[index] = match answer {
                Ok(executed) => {
                    tally.execute(&executed);
                    audit.note(index, Ok(&executed));
                    render::operation_result(ledger, &executed)?
                }
                Err(refusal) => {
                    let error = Error::from(permit.told(&*self.store, refusal).await?);
                    tally.refuse(Reason::new(error.reason()));
                    audit.note(index, Err(&error));
                    render::operation_error(&error.into())
                }
            };
        }
        Ok(results)
    }

    /// Executes what has come together, as fast as its caller may ask, and gives a result for each, in order.
    /// What can't be read any more ends the stream, after the results of what came before it.
    pub(super) async fn execute_arrived(
        &self,
        call: &Call,
        arrived: Vec<Result<proto::ExecuteStreamRequest, Status>>,
    ) -> Vec<Result<proto::ExecuteStreamResponse, Status>> {
        let mut messages = Vec::with_capacity(arrived.len());
        let mut end = None;
        for message in arrived {
            match message {
                Ok(message) => messages.push(message),
                Err(status) => {
                    end = Some(status);
                    break;
                }
            }
        }
        let results = self.execute_streamed(call, &messages).await;
        let end = end.map(|status| Err(in_our_words(call, status)));
        match results {
            Err(error) => vec![Err(error.into())],
            Ok(results) => {
                let numbered = messages.iter().map(|message| message.correlation_id).zip(results);
                let results = numbered.map(|(correlation_id, result)| {
                    Ok(proto::ExecuteStreamResponse { correlation_id, result: Some(result) })
                });
                results.chain(end).collect()
            }
        }
    }

    async fn execute_streamed(
        &self,
        call: &Call,
        messages: &[proto::ExecuteStreamRequest],
    ) -> Result<Vec<proto::OperationResult>, Error> {
        let unset = proto::Operation::default();
        let each = || messages.iter().map(|it| it.operation.as_ref().unwrap_or(&unset));
        let mut audit = call.permit.audit(|| lines(each()));
        let result = async {
            pace(call, messages.len()).await?;
            call.permit.check_still().await?;
            let checked = each().map(|operation| call.permit.check(operation));
            let parsed = messages.iter().map(parse::streamed_operation);
            let operations =
                checked.zip(parsed).map(|(denied, parsed)| denied.and(parsed.map_err(Error::from)));
            self.execute_each(call, operations.collect(), &mut audit).await
        }
        .await;
        if let Err(error) = &result {
            audit.note_all(error);
        }
        result
    }
}

/// Waits until the caller may ask for so many operations more, unless the call must end: a stream that comes
/// faster than its caller may is slowed down instead of refused, which keeps its order.
async fn pace(call: &Call, operations: usize) -> Result<(), Error> {
    loop {
        let delay = match call.permit.spend(operations) {
            Err(Error::RateLimited { delay: Some(delay), .. }) => delay,
            other => return other,
        };
        tokio::select! {
            biased;
            error = call.must_end() => return Err(error),
            () = sleep(delay) => {}
        }
    }
}

/// What ends a stream. The audit log is told, too, of a message that can't be read.
fn in_our_words(call: &Call, status: Status) -> Status {
    let status =
        if is_unreadable(&status) { Violations::of_message(status.message()) } else { status };
    if status.code() == Code::InvalidArgument {
        let error = Error::Invalid(Violations::default());
        call.permit.audit(|| vec![Line::unread()]).note_all(&error);
    }
    status
}

fn lines<'a>(operations: impl IntoIterator<Item = &'a proto::Operation>) -> Vec<Line> {
    operations.into_iter().map(|it| Line::of(it, method_of(it))).collect()
}
