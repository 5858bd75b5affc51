//! Executing requests: alone, in a row, or all or none, whatever keeps the records.
//!
//! **Invariants:** a record is in the books and is filed, or neither, when an execution ends; a batch that
//! is refused leaves the books as they were; sequences have no gaps, and times grow with them.

use std::collections::HashMap;

use crate::clock::Clock;
use crate::ledger::{
    AccountNumber, Books, LedgerId, Record, Refusal, Request, RequestId, Sequence, Time,
    TransactionId, Turn, decide,
};

use super::bounds::{Bounds, Room};
use super::{BatchRefused, EachAnswer, Error, Executed};

/// The books, and where the ledger's one order stands.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) books: Books,
    /// The newest record; 0 before the first.
    pub(super) last_sequence: Sequence,
    /// The time of the newest record, or a later one that a reader was told.
    pub(super) last_time: Time,
    /// How much more there may be.
    pub(super) room: Room,
}

/// The records so far, and where new ones go.
pub(super) trait Files {
    /// The record that answers a request id; in a box, since nearly always there is none to be moved about.
    fn record_of(&self, id: &RequestId) -> Result<Option<Box<Record>>, Error>;

    /// A record that there is.
    fn read(&self, sequence: Sequence) -> Result<Record, Error>;

    /// Takes the next record, which the books have taken over, and the accounts that have an entry of it.
    fn file(&mut self, books: &Books, record: &Record, entries: Entries);
}

/// The numbers of the accounts that have an entry of a record.
pub(super) type Entries = [Option<AccountNumber>; 2];

/// What a request comes to.
enum Decision {
    /// Something that leaves no record: a repeat, or a refusal that isn't kept.
    Answered(Result<Executed, Refusal>),
    /// Something new, which may be a refusal that is kept.
    New(Box<Record>),
}

/// Why a batch has no effect.
enum Failure {
    /// A request was refused; a refusal that must be kept comes with its request.
    Refused(BatchRefused, Option<Box<Request>>),
    /// The store can't go on.
    Store(Error),
}

/// What was answered in a batch. What is new is in the books already, but not filed yet.
#[derive(Default)]
struct Pending {
    answers: Vec<Executed>,
    /// Which answers have new records, in order of their sequences, and the entries of each.
    new: Vec<(usize, Entries)>,
    by_id: HashMap<RequestId, usize>,
}

impl Pending {
    fn push(&mut self, record: Box<Record>, entries: Entries) {
        let index = self.answers.len();
        if let Some(id) = &record.request.id {
            self.by_id.insert(id.clone(), index);
        }
        self.new.push((index, entries));
        self.answers.push(Executed { record, replayed: false });
    }

    /// The new records, in order.
    fn records(&self) -> impl DoubleEndedIterator<Item = (&Record, Entries)> {
        self.new.iter().map(|(index, entries)| (&*self.answers[*index].record, *entries))
    }

    fn find(&self, id: &RequestId) -> Option<&Record> {
        self.by_id.get(id).map(|index| &*self.answers[*index].record)
    }

    fn at(&self, sequence: Sequence) -> Option<&Record> {
        let record = |index: usize| &*self.answers[index].record;
        let found = self.new.binary_search_by_key(&sequence, |(index, _)| record(*index).sequence);
        found.ok().map(|found| record(self.new[found].0))
    }
}

impl Desk {
    /// Empty books before the first record.
    pub(super) fn new(ledger: LedgerId) -> Self {
        Self {
            books: Books::new(ledger),
            last_sequence: Sequence::default(),
            last_time: Time::from_micros(i64::MIN),
            room: Room::within(Bounds::default()),
        }
    }

    /// Answers a repeat, or decides a request and takes its outcome over.
    pub(super) fn execute(
        &mut self,
        files: &mut impl Files,
        now: Time,
        request: Request,
    ) -> Result<Result<Executed, Refusal>, Error> {
        match self.decide(files, now, request, None)? {
            Decision::Answered(answer) => Ok(answer),
            Decision::New(record) => {
                let entries = self.take(&record);
                files.file(&self.books, &record, entries);
                Ok(executed(record, false))
            }
        }
    }

    /// Executes requests, each on its own; none when there is no room for all of them.
    pub(super) fn execute_each(
        &mut self,
        files: &mut impl Files,
        now: Time,
        requests: Vec<Request>,
    ) -> Result<EachAnswer, Error> {
        let is_known = |id: &RequestId| Ok(files.record_of(id)?.is_some());
        self.room.check_all(self.last_sequence, &requests, is_known)?;
        requests.into_iter().map(|request| self.execute(files, now, request)).collect()
    }

    /// Executes requests, all or none.
    pub(super) fn execute_all(
        &mut self,
        files: &mut impl Files,
        now: Time,
        requests: Vec<Request>,
    ) -> Result<Result<Vec<Executed>, BatchRefused>, Error> {
        let before = self.last_sequence;
        let mut pending = Pending::default();
        for request in requests {
            if let Err(failure) = self.execute_pending(files, now, request, &mut pending) {
                self.take_back(&pending);
                // The time stays: it has been used to see which holds have expired.
                self.last_sequence = before;
                return self.fail(files, now, failure).map(Err);
            }
        }
        for (record, entries) in pending.records() {
            files.file(&self.books, record, entries);
        }
        Ok(Ok(pending.answers))
    }

    fn execute_pending(
        &mut self,
        files: &impl Files,
        now: Time,
        request: Request,
        pending: &mut Pending,
    ) -> Result<(), Failure> {
        let index = pending.answers.len();
        let refused = |refusal, request| Failure::Refused(BatchRefused { index, refusal }, request);
        let decision = self.decide(files, now, request, Some(pending)).map_err(Failure::Store)?;
        match decision {
            Decision::Answered(answer) => {
                pending.answers.push(answer.map_err(|refusal| refused(refusal, None))?);
            }
            Decision::New(record) => {
                if let Err(refusal) = record.outcome {
                    return Err(refused(refusal, Some(Box::new(record.request))));
                }
                let entries = self.take(&record);
                pending.push(record, entries);
            }
        }
        Ok(())
    }

    /// Keeps the refusal that a batch failed with, if it must be kept.
    fn fail(
        &mut self,
        files: &mut impl Files,
        now: Time,
        failure: Failure,
    ) -> Result<BatchRefused, Error> {
        let (refused, to_keep) = match failure {
            Failure::Store(error) => return Err(error),
            Failure::Refused(refused, to_keep) => (refused, to_keep),
        };
        if let Some(request) = to_keep {
            let (sequence, time) = self.next(now);
            let outcome = Err(refused.refusal.clone());
            let record = Record { sequence, time, request: *request, outcome };
            let entries = self.take(&record);
            files.file(&self.books, &record, entries);
        }
        Ok(refused)
    }

    /// Decides what a request comes to, alone or after what is pending in its batch; changes nothing.
    fn decide(
        &self,
        files: &impl Files,
        now: Time,
        request: Request,
        pending: Option<&Pending>,
    ) -> Result<Decision, Error> {
        if let Some(id) = &request.id {
            let first = match pending.and_then(|pending| pending.find(id)) {
                Some(first) => Some(Box::new(first.clone())),
                None => files.record_of(id)?,
            };
            if let Some(first) = first {
                return Ok(Decision::Answered(repeat(first, id, &request)));
            }
        }
        self.room.check(&self.books, self.last_sequence, &request.command)?;
        let original = match request.command.original() {
            Some(id) => self.original(files, id, pending)?,
            None => None,
        };
        let (sequence, time) = self.next(now);
        let turn = Turn { sequence, time, original: original.as_ref() };
        let outcome = decide(&self.books, &request, turn);
        if let Err(refusal) = &outcome
            && (!refusal.is_kept() || request.id.is_none())
        {
            return Ok(Decision::Answered(Err(refusal.clone())));
        }
        Ok(Decision::New(Box::new(Record { sequence, time, request, outcome })))
    }

    /// The record that a transaction's name leads to, also when it was made earlier in the same batch.
    fn original(
        &self,
        files: &impl Files,
        id: &TransactionId,
        pending: Option<&Pending>,
    ) -> Result<Option<Record>, Error> {
        let there = id.sequence_in(self.books.ledger()).filter(|sequence| self.has(*sequence));
        match there {
            None => Ok(None),
            Some(sequence) => match pending.and_then(|pending| pending.at(sequence)) {
                Some(record) => Ok(Some(record.clone())),
                None => files.read(sequence).map(Some),
            },
        }
    }

    /// The place and the time of the next record: later than the last, and than whatever a reader was told.
    fn next(&self, now: Time) -> (Sequence, Time) {
        (self.last_sequence.next(), self.last_time.next().max(now))
    }

    /// The present moment, as far as a reader may know it: no later record gets this time.
    pub(super) fn present(&mut self, clock: &impl Clock) -> Time {
        self.last_time = self.last_time.max(clock.now());
        self.last_time
    }

    /// Whether there is a record at this place.
    pub(super) fn has(&self, sequence: Sequence) -> bool {
        (1..=self.last_sequence.number()).contains(&sequence.number())
    }

    /// Takes over what was decided.
    pub(super) fn take(&mut self, record: &Record) -> Entries {
        self.last_sequence = record.sequence;
        self.last_time = record.time;
        match &record.outcome {
            Ok(change) => self.books.apply(change, record.sequence, record.time),
            Err(_) => [None; 2],
        }
    }

    /// Takes back what is new, the newest first.
    fn take_back(&mut self, pending: &Pending) {
        for (record, _) in pending.records().rev() {
            if let Ok(change) = &record.outcome {
                self.books.revert(change, record.time);
            }
        }
    }
}

fn repeat(first: Box<Record>, id: &RequestId, again: &Request) -> Result<Executed, Refusal> {
    first.check_repeat(id, again)?;
    executed(first, true)
}

fn executed(record: Box<Record>, replayed: bool) -> Result<Executed, Refusal> {
    match &record.outcome {
        Ok(_) => Ok(Executed { record, replayed }),
        Err(refusal) => Err(refusal.clone()),
    }
}
