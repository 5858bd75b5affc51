//! Executing requests: alone, in a row, or all or none.
//!
//! **Invariants:** a record is in the books, in the journal and in the indexes, or in none of them, when
//! the lock is let go; a batch that is refused leaves the books as they were.

use std::collections::HashMap;

use crate::clock::Clock;
use crate::ledger::{
    AccountNumber, Record, Refusal, Request, RequestId, Sequence, TransactionId, Turn, decide,
};
use crate::store::journal::PlainPosting;
use crate::store::{BatchRefused, Error, Executed, Journal};

use super::{MemoryStore, State};

/// What a request comes to.
enum Decision {
    /// Something that leaves no record: a repeat, or a refusal that isn't kept.
    Answered(Result<Executed, Refusal>),
    /// Something new, which may be a refusal that is kept.
    New(Record),
}

/// Why a batch has no effect.
enum Failure {
    /// A request was refused; a refusal that must be kept comes with its request.
    Refused(BatchRefused, Option<Box<Request>>),
    /// The store can't go on.
    Store(Error),
}

/// What was decided in a batch: in the books already, but not in the journal yet.
#[derive(Default)]
struct Pending {
    records: Vec<Record>,
    by_id: HashMap<RequestId, usize>,
}

impl Pending {
    fn push(&mut self, record: Record) {
        if let Some(id) = &record.request.id {
            self.by_id.insert(id.clone(), self.records.len());
        }
        self.records.push(record);
    }

    fn find(&self, id: &RequestId) -> Option<&Record> {
        self.by_id.get(id).map(|index| &self.records[*index])
    }

    fn at(&self, sequence: Sequence) -> Option<&Record> {
        let index = self.records.binary_search_by_key(&sequence, |record| record.sequence);
        index.ok().map(|index| &self.records[index])
    }
}

impl<J: Journal, C: Clock> MemoryStore<J, C> {
    /// Answers a repeat, or decides a request and takes its outcome over.
    pub(super) fn execute_in(
        &self,
        state: &mut State,
        request: Request,
    ) -> Result<Result<Executed, Refusal>, Error> {
        match self.decide(state, request, &Pending::default())? {
            Decision::Answered(answer) => Ok(answer),
            Decision::New(record) => {
                state.take(&record);
                self.file(state, &record);
                Ok(executed(record, false))
            }
        }
    }

    /// Executes requests, all or none.
    pub(super) fn execute_all_in(
        &self,
        state: &mut State,
        requests: Vec<Request>,
    ) -> Result<Result<Vec<Executed>, BatchRefused>, Error> {
        let before = state.last_sequence;
        let mut pending = Pending::default();
        let mut answers = Vec::with_capacity(requests.len());
        for (index, request) in requests.into_iter().enumerate() {
            match self.execute_pending(state, request, index, &mut pending) {
                Ok(executed) => answers.push(executed),
                Err(failure) => {
                    state.take_back(&pending.records);
                    // The time stays: it has been used to see which holds have expired.
                    state.last_sequence = before;
                    return self.fail(state, failure).map(Err);
                }
            }
        }
        for record in &pending.records {
            self.file(state, record);
        }
        Ok(Ok(answers))
    }

    fn execute_pending(
        &self,
        state: &mut State,
        request: Request,
        index: usize,
        pending: &mut Pending,
    ) -> Result<Executed, Failure> {
        let refused = |refusal, request| Failure::Refused(BatchRefused { index, refusal }, request);
        let record = match self.decide(state, request, pending).map_err(Failure::Store)? {
            Decision::Answered(answer) => return answer.map_err(|refusal| refused(refusal, None)),
            Decision::New(record) => record,
        };
        if let Err(refusal) = record.outcome {
            return Err(refused(refusal, Some(Box::new(record.request))));
        }
        state.take(&record);
        pending.push(record.clone());
        Ok(Executed { record, replayed: false })
    }

    /// Keeps the refusal that a batch failed with, if it must be kept.
    fn fail(&self, state: &mut State, failure: Failure) -> Result<BatchRefused, Error> {
        let (refused, to_keep) = match failure {
            Failure::Store(error) => return Err(error),
            Failure::Refused(refused, to_keep) => (refused, to_keep),
        };
        if let Some(request) = to_keep {
            let sequence = state.last_sequence.next();
            let time = self.next_time(state);
            let outcome = Err(refused.refusal.clone());
            let record = Record { sequence, time, request: *request, outcome };
            state.take(&record);
            self.file(state, &record);
        }
        Ok(refused)
    }

    /// Decides what a request comes to; changes nothing.
    fn decide(
        &self,
        state: &State,
        request: Request,
        pending: &Pending,
    ) -> Result<Decision, Error> {
        if let Some(id) = &request.id {
            let first = match pending.find(id) {
                Some(first) => Some(first.clone()),
                None => self.record_of(state, id)?,
            };
            if let Some(first) = first {
                return Ok(Decision::Answered(repeat(first, id, &request)));
            }
        }
        let original = match request.command.original() {
            Some(id) => self.original(state, id, pending)?,
            None => None,
        };
        let sequence = state.last_sequence.next();
        let time = self.next_time(state);
        let turn = Turn { sequence, time, original: original.as_ref() };
        match decide(&state.books, &request, turn) {
            Err(refusal) if !refusal.is_kept() || request.id.is_none() => {
                Ok(Decision::Answered(Err(refusal)))
            }
            outcome => Ok(Decision::New(Record { sequence, time, request, outcome })),
        }
    }

    /// The record that a transaction's name leads to, also when it was made earlier in the same batch.
    fn original(
        &self,
        state: &State,
        id: &TransactionId,
        pending: &Pending,
    ) -> Result<Option<Record>, Error> {
        match id.sequence_in(self.ledger_id).filter(|sequence| state.has(*sequence)) {
            None => Ok(None),
            Some(sequence) => match pending.at(sequence) {
                Some(record) => Ok(Some(record.clone())),
                None => self.journal.read(sequence).map(Some),
            },
        }
    }

    /// Puts a record that the books have taken over into the journal and the indexes, and tells those
    /// who wait for it.
    fn file(&self, state: &mut State, record: &Record) {
        self.journal.append(record);
        let sides = state.index(record);
        if record.posting().is_some() {
            state.watchers.wake(sides.into_iter().flatten());
        }
    }

    /// The record that answers a request id.
    pub(super) fn record_of(&self, state: &State, id: &RequestId) -> Result<Option<Record>, Error> {
        let mut found = None;
        state.requests.find(id, |sequence| {
            let record = self.journal.read(sequence)?;
            let is_match = record.request.id.as_ref() == Some(id);
            found = is_match.then_some(record);
            Ok(is_match)
        })?;
        Ok(found)
    }
}

impl State {
    /// Takes over what was decided.
    pub(super) fn take(&mut self, record: &Record) {
        self.last_sequence = record.sequence;
        self.last_time = record.time;
        if let Ok(change) = &record.outcome {
            self.books.apply(change, record.sequence, record.time);
        }
    }

    /// Takes back the records that were taken over last, the newest first.
    fn take_back(&mut self, records: &[Record]) {
        for record in records.iter().rev() {
            if let Ok(change) = &record.outcome {
                self.books.revert(change, record.time);
            }
        }
    }

    /// Takes over a posting of the past, and notes where it is found again: what [`State::take`] and
    /// [`State::index`] do of a whole record.
    pub(super) fn restore(&mut self, posting: &PlainPosting) -> Result<(), Error> {
        let sequence = posting.sequence;
        self.last_sequence = sequence;
        self.last_time = posting.time;
        let sides = [&posting.from, &posting.to].map(|(id, balance)| (id.as_str(), *balance));
        let numbers = self.books.restore(sides).ok_or_else(|| {
            let cause = "it has an entry on an account that there is not".to_owned();
            Error::Damaged { sequence, cause }
        })?;
        if let Some(id) = posting.request_id() {
            self.requests.insert_later(id, sequence);
        }
        self.entries.resize_with(self.books.account_count(), Vec::new);
        for number in numbers {
            self.entries[number].push(sequence);
        }
        Ok(())
    }

    /// Notes where a record is found again: the accounts on which it has entries.
    pub(super) fn index(&mut self, record: &Record) -> [Option<AccountNumber>; 2] {
        if let Some(id) = &record.request.id {
            self.requests.insert(id.as_str(), record.sequence);
        }
        self.entries.resize_with(self.books.account_count(), Vec::new);
        let Some(posting) = record.posting() else { return [None; 2] };
        let sides = [&posting.movement.from, &posting.movement.to];
        let numbers = sides.map(|id| self.books.number(id));
        for number in numbers.into_iter().flatten() {
            self.entries[number].push(record.sequence);
        }
        numbers
    }
}

fn repeat(first: Record, id: &RequestId, again: &Request) -> Result<Executed, Refusal> {
    first.check_repeat(id, again)?;
    executed(first, true)
}

fn executed(record: Record, replayed: bool) -> Result<Executed, Refusal> {
    match &record.outcome {
        Ok(_) => Ok(Executed { record, replayed }),
        Err(refusal) => Err(refusal.clone()),
    }
}
