//! The locked in-memory store: one mutex over all books, taken in one private function.
//!
//! **Invariants:** no `await` while the lock is held; a record is appended to the journal before the
//! lock is let go, so sequences, times and the journal agree; nothing is answered before the journal
//! says that what the answer rests on is durable. Records live in the journal; here are the accounts,
//! and for each account and each request id the sequences of their records.

mod pages;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::ledger::{
    AccountId, Books, Currency, LedgerId, Record, Refusal, Request, RequestId, Sequence, Time,
    Totals, decide,
};

use super::request_index::RequestIndex;
use super::{
    AccountPage, AccountQuery, AccountView, Error, Executed, Journal, PastBalance, RecordKey,
    Store, TransactionPage, TransactionQuery,
};

/// Keeps the books in memory, and every record in a journal.
#[derive(Debug)]
pub struct MemoryStore<J, C> {
    ledger_id: LedgerId,
    journal: J,
    clock: C,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    books: Books,
    /// For each account, the records that have an entry on it, in order.
    entries: Vec<Vec<Sequence>>,
    requests: RequestIndex,
    last_sequence: Sequence,
    last_time: Time,
}

impl<J: Journal, C: Clock> MemoryStore<J, C> {
    /// Empty books over an empty journal.
    pub fn new(ledger_id: LedgerId, journal: J, clock: C) -> Self {
        Self {
            ledger_id,
            journal,
            clock,
            state: Mutex::new(State {
                books: Books::default(),
                entries: Vec::new(),
                requests: RequestIndex::new(),
                last_sequence: Sequence::default(),
                last_time: Time::from_micros(i64::MIN),
            }),
        }
    }

    /// The one place that takes the lock. A panic ends the process, so it is never found poisoned.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a repeat, or decides the request and takes its outcome over. Gives the answer, and the
    /// sequence that must be durable before anyone sees it.
    fn decide(&self, request: Request) -> Result<(Result<Executed, Refusal>, Sequence), Error> {
        let mut state = self.lock();
        if let Some(id) = &request.id
            && let Some(first) = self.record_of(&state, id)?
        {
            let seen = state.last_sequence;
            drop(state);
            return Ok((repeat(first, id, &request), seen));
        }

        let time = state.last_time.next().max(self.clock.now());
        let outcome = decide(&state.books, &request.command, time);
        if let Err(refusal) = &outcome
            && !(refusal.is_kept() && request.id.is_some())
        {
            return Ok((Err(refusal.clone()), state.last_sequence));
        }
        let record = Record { sequence: state.last_sequence.next(), time, request, outcome };
        self.journal.append(&record);
        state.apply(&record);
        drop(state);

        let seen = record.sequence;
        Ok((executed(record, false), seen))
    }

    /// The record that answers a request id.
    fn record_of(&self, state: &State, id: &RequestId) -> Result<Option<Record>, Error> {
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
    /// The present moment, as far as a reader may know it: no later record gets this time.
    fn present(&mut self, clock: Time) -> Time {
        self.last_time = self.last_time.max(clock);
        self.last_time
    }

    /// Takes over what was decided.
    fn apply(&mut self, record: &Record) {
        self.last_sequence = record.sequence;
        self.last_time = record.time;
        if let Some(id) = &record.request.id {
            self.requests.insert(id, record.sequence);
        }
        if let Ok(change) = &record.outcome {
            self.books.apply(change, record.time);
            self.entries.resize_with(self.books.account_count(), Vec::new);
        }
        if let Some(posting) = record.posting() {
            for id in [&posting.movement.from, &posting.movement.to] {
                if let Some(number) = self.books.number(id) {
                    self.entries[number].push(record.sequence);
                }
            }
        }
    }
}

fn not_found(account_id: &AccountId) -> Refusal {
    Refusal::AccountNotFound { account_id: account_id.clone() }
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

impl<J: Journal, C: Clock> Store for MemoryStore<J, C> {
    fn ledger_id(&self) -> LedgerId {
        self.ledger_id
    }

    async fn execute(&self, request: Request) -> Result<Result<Executed, Refusal>, Error> {
        let (answer, seen) = self.decide(request)?;
        self.journal.durable(seen).await?;
        Ok(answer)
    }

    async fn account(&self, id: &AccountId) -> Result<Result<AccountView, Refusal>, Error> {
        let (view, seen) = {
            let mut state = self.lock();
            let time = state.present(self.clock.now());
            let account = state.books.account(id).cloned().ok_or_else(|| not_found(id));
            (account.map(|account| AccountView { account, time }), state.last_sequence)
        };
        self.journal.durable(seen).await?;
        Ok(view)
    }

    async fn accounts(&self, query: &AccountQuery) -> Result<AccountPage, Error> {
        let (page, seen) = self.page_of_accounts(query);
        self.journal.durable(seen).await?;
        Ok(page)
    }

    async fn balance_at(
        &self,
        id: &AccountId,
        time: Time,
    ) -> Result<Result<PastBalance, Refusal>, Error> {
        let (balance, seen) = self.find_balance_at(id, time)?;
        self.journal.durable(seen).await?;
        Ok(balance)
    }

    async fn record(&self, key: &RecordKey) -> Result<Option<Record>, Error> {
        let (record, seen) = {
            let state = self.lock();
            let record = match key {
                RecordKey::Sequence(sequence) => {
                    let exists = (1..=state.last_sequence.number()).contains(&sequence.number());
                    if exists { Some(self.journal.read(*sequence)?) } else { None }
                }
                RecordKey::RequestId(id) => self.record_of(&state, id)?,
            };
            (record, state.last_sequence)
        };
        self.journal.durable(seen).await?;
        Ok(record)
    }

    async fn transactions(
        &self,
        query: &TransactionQuery,
    ) -> Result<Result<TransactionPage, Refusal>, Error> {
        let (page, seen) = self.page_of_transactions(query)?;
        self.journal.durable(seen).await?;
        Ok(page)
    }

    async fn totals(&self, currency: Option<&Currency>) -> Result<Vec<(Currency, Totals)>, Error> {
        let (totals, seen) = {
            let state = self.lock();
            let totals = state
                .books
                .totals()
                .filter(|(one, _)| currency.is_none_or(|wanted| wanted == *one))
                .map(|(one, totals)| (one.clone(), *totals))
                .collect();
            (totals, state.last_sequence)
        };
        self.journal.durable(seen).await?;
        Ok(totals)
    }
}
