//! Callers: each calls, waits for the answer, and calls again when its pace says so.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::sync::Notify;
use tonic::Status;

use super::http2::{self, Messages};
use super::outline::{failure_of_streamed, failures_of_batch};
use super::pace::Pace;
use super::plan::{Kind, Plan, Prepared};
use super::tally::{Cause, Tally};

/// What the callers of one thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: RefCell<Plan>,
    pub(super) pace: Pace,
    pub(super) tally: RefCell<Tally>,
    /// The headers of each kind of call.
    pub(super) requests: BTreeMap<Kind, Request<()>>,
    /// How many calls, or operations of streams, are on their way.
    pub(super) on_their_way: Cell<u64>,
}

impl Shared {
    fn sent(&self, count: usize) {
        self.on_their_way.set(self.on_their_way.get() + count as u64);
    }

    fn came_back(&self, count: usize) {
        self.on_their_way.set(self.on_their_way.get() - count as u64);
    }

    fn failed(&self, cause: Cause, count: usize) {
        self.tally.borrow_mut().failed(cause, count as u64, Instant::now());
    }
}

/// Calls until its time is over or the connection breaks.
pub(super) async fn call(shared: Rc<Shared>, mut sender: SendRequest<Bytes>) {
    while let Some(due) = shared.pace.turn().await {
        let prepared = shared.plan.borrow_mut().next();
        shared.sent(1);
        let answer = ask(&shared, &mut sender, &prepared).await;
        shared.came_back(1);
        match answer {
            Ok(Ok(answer)) => note(&shared, &prepared, due, &answer),
            Ok(Err(status)) => shared.failed(Cause::of(&status), 1),
            Err(error) => {
                shared.failed(Cause::broken(), 1);
                // A reset concerns one call alone.
                if !error.is_reset() {
                    return;
                }
            }
        }
    }
}

async fn ask(
    shared: &Shared,
    sender: &mut SendRequest<Bytes>,
    prepared: &Prepared,
) -> Result<Result<Bytes, Status>, h2::Error> {
    poll_fn(|context| sender.poll_ready(context)).await?;
    let request = shared.requests[&prepared.kind].clone();
    let response = http2::send(sender, request, prepared.body.clone())?;
    http2::answer(response, prepared.kind == Kind::Batch).await
}

fn note(shared: &Shared, prepared: &Prepared, due: Instant, answer: &[u8]) {
    let now = Instant::now();
    let mut tally = shared.tally.borrow_mut();
    let mut done = prepared.operations;
    if prepared.kind == Kind::Batch {
        for cause in failures_of_batch(answer, done) {
            done = done.saturating_sub(1);
            tally.failed(cause, 1, now);
        }
    }
    tally.answered(prepared.kind, done, due, now);
}

/// Sends operations through one stream, so many at a time, until its time is over or the stream ends.
pub(super) async fn stream(shared: Rc<Shared>, mut sender: SendRequest<Bytes>, window: u32) {
    let waiting = RefCell::new(VecDeque::new());
    if let Err(cause) = pipe(&shared, &mut sender, window as usize, &waiting).await {
        let lost = waiting.borrow().len();
        shared.came_back(lost);
        shared.failed(cause, lost.max(1));
    }
}

/// Drives a stream to its end; what has no result yet is left in the queue.
async fn pipe(
    shared: &Shared,
    sender: &mut SendRequest<Bytes>,
    window: usize,
    waiting: &RefCell<VecDeque<Instant>>,
) -> Result<(), Cause> {
    let broken = |_: h2::Error| Cause::broken();
    poll_fn(|context| sender.poll_ready(context)).await.map_err(broken)?;
    let request = shared.requests[&Kind::Stream].clone();
    let (response, mut send) = http2::open(sender, request).map_err(broken)?;
    let has_room = Notify::new();
    let sending = async {
        loop {
            while waiting.borrow().len() >= window {
                has_room.notified().await;
            }
            let Some(due) = shared.pace.turn().await else { break };
            let room = window - waiting.borrow().len();
            let turns = shared.pace.further_turns(room - 1);
            let count = turns.len() + 1;
            let messages = shared.plan.borrow_mut().messages(count);
            waiting.borrow_mut().push_back(due);
            waiting.borrow_mut().extend(turns);
            shared.sent(count);
            send.send_data(messages, false).map_err(broken)?;
        }
        send.send_data(Bytes::new(), true).map_err(broken)?;
        // The answer's end is the end.
        pending::<Result<Infallible, Cause>>().await
    };
    let receiving = async {
        let (mut results, status) = http2::begin(response.await.map_err(broken)?);
        if let Some(status) = status {
            return Err(Cause::of(&status));
        }
        let mut messages = Messages::default();
        while let Some(data) = results.data().await {
            let data = data.map_err(broken)?;
            results.flow_control().release_capacity(data.len()).map_err(broken)?;
            messages.add(&data);
            let now = Instant::now();
            let mut tally = shared.tally.borrow_mut();
            while let Some(message) = messages.next() {
                let Some(due) = waiting.borrow_mut().pop_front() else { break };
                shared.came_back(1);
                match failure_of_streamed(&message) {
                    None => tally.answered(Kind::Stream, 1, due, now),
                    Some(cause) => tally.failed(cause, 1, now),
                }
            }
            drop(tally);
            has_room.notify_one();
        }
        let trailers = results.trailers().await.map_err(broken)?;
        http2::ended(trailers.as_ref()).map_err(|status| Cause::of(&status))
    };
    tokio::select! {
        ended = receiving => ended,
        Err(cause) = sending => Err(cause),
    }
}
