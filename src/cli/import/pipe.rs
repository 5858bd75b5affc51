//! Lines through `ExecuteStream`, each on its own, over any number of connections.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::super::Failure;
use super::super::remote::{Patience, Remote};
use super::report::Report;
use super::source::Lines;
use crate::grpc::proto::{ExecuteStreamRequest, Operation};

/// How many lines may be on their way at once. What has not been answered is kept, to be sent again when
/// the connection breaks.
const WINDOW: usize = 4096;

/// A line whose result has not been told.
enum Waiting {
    /// It was sent, or will be.
    Sent(ExecuteStreamRequest),
    /// It is malformed, and waits for its turn in the report.
    Malformed { number: u64, text: String },
}

/// Executes the lines in order, and reports them in order.
pub(super) async fn execute(
    bank: &Remote,
    mut lines: Lines,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut waiting = VecDeque::new();
    let mut patience = Patience::new(bank);
    loop {
        match connection(bank, &mut lines, &mut waiting, report, &mut patience).await? {
            None => return Ok(()),
            Some(broken) => patience.wait(broken).await?,
        }
    }
}

/// Sends what has not been answered, and then further lines, until all are answered, or the connection
/// breaks: why it did.
async fn connection(
    bank: &Remote,
    lines: &mut Lines,
    waiting: &mut VecDeque<Waiting>,
    report: &mut Report,
    patience: &mut Patience,
) -> Result<Option<Status>, Failure> {
    // Whatever is in the channel waits for its result as well, so there is always room in it.
    let (send, sending) = mpsc::channel(WINDOW);
    for line in waiting.iter() {
        if let Waiting::Sent(request) = line {
            // The receiver stands just here.
            let _ = send.try_send(request.clone());
        }
    }
    let mut results = match bank.client().execute_stream(ReceiverStream::new(sending)).await {
        Ok(results) => results.into_inner(),
        Err(status) => return Ok(Some(status)),
    };
    let mut more = true;
    loop {
        while more && waiting.len() < WINDOW {
            let Some(line) = lines.next()? else {
                more = false;
                break;
            };
            match line.operation {
                Ok(operation) => {
                    let request = request(line.number, operation);
                    waiting.push_back(Waiting::Sent(request.clone()));
                    if send.try_send(request).is_err() {
                        // The stream is gone; what it ended with comes with its next message.
                        break;
                    }
                }
                Err(text) => {
                    waiting.push_back(Waiting::Malformed { number: line.number, text });
                }
            }
        }
        tell_malformed(waiting, report)?;
        if waiting.is_empty() && !more {
            return Ok(None);
        }
        if waiting.is_empty() {
            continue;
        }
        let answer = match results.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(Some(Status::unavailable("the stream has ended"))),
            Err(status) => return Ok(Some(status)),
        };
        patience.renew();
        match waiting.pop_front() {
            Some(Waiting::Sent(request)) if request.correlation_id == answer.correlation_id => {
                report.result(answer.correlation_id, answer.result.unwrap_or_default())?;
            }
            _ => {
                let text = format!("a result came out of turn, of line {}", answer.correlation_id);
                return Err(Failure::Failed(text));
            }
        }
    }
}

/// Tells the malformed lines that are next in turn.
fn tell_malformed(waiting: &mut VecDeque<Waiting>, report: &mut Report) -> Result<(), Failure> {
    while let Some(Waiting::Malformed { .. }) = waiting.front() {
        if let Some(Waiting::Malformed { number, text }) = waiting.pop_front() {
            report.malformed(number, text)?;
        }
    }
    Ok(())
}

fn request(number: u64, operation: Operation) -> ExecuteStreamRequest {
    ExecuteStreamRequest { operation: Some(operation), correlation_id: number }
}
