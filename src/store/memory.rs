//! The locked in-memory store: one mutex over all books, taken in one private function.
//!
//! **Invariants:** no `await` while the lock is held; a record is appended to the journal before the
//! lock is let go, so sequences, times and the journal agree; nothing is answered before the journal
//! says that what the answer rests on is durable. Records live in the journal; here are the accounts
//! and holds, and for each account and each request id the sequences of their records.

mod execute;
mod pages;
mod watchers;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::ledger::{
    AccountId, Books, Currency, Hold, HoldId, LedgerId, Record, Refusal, Request, Sequence, Time,
    Totals,
};

use self::watchers::Watchers;
use super::journal::Scanned;
use super::request_index::RequestIndex;
use super::{
    AccountPage, AccountQuery, AccountView, BatchRefused, Changes, EachAnswer, Error, Executed,
    HoldPage, HoldQuery, Journal, LinkedRecord, PastBalance, RecordKey, Store, TransactionPage,
    TransactionQuery,
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
    watchers: Watchers,
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
                books: Books::new(ledger_id),
                entries: Vec::new(),
                requests: RequestIndex::new(),
                watchers: Watchers::default(),
                last_sequence: Sequence::default(),
                last_time: Time::from_micros(i64::MIN),
            }),
        }
    }

    /// The books that a journal holds. `progress` is told of every record that was taken over.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when a record isn't what it should be.
    pub fn recover(
        ledger_id: LedgerId,
        journal: J,
        clock: C,
        mut progress: impl FnMut(Sequence),
    ) -> Result<Self, Error> {
        let store = Self::new(ledger_id, journal, clock);
        {
            let mut state = store.lock();
            store.journal.scan(&mut |scanned| {
                match scanned {
                    Scanned::Posting(posting) => state.restore(&posting)?,
                    Scanned::Record(record) => {
                        state.take(&record);
                        state.index(&record);
                    }
                }
                progress(state.last_sequence);
                Ok(())
            })?;
            state.requests.settle();
        }
        Ok(store)
    }

    /// What keeps its records.
    pub fn journal(&self) -> &J {
        &self.journal
    }

    /// The one place that takes the lock. A panic ends the process, so it is never found poisoned.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does some work under the lock, and gives its result once all that it can rest on is durable.
    async fn with<T>(&self, work: impl FnOnce(&mut State) -> Result<T, Error>) -> Result<T, Error> {
        let (result, seen) = {
            let mut state = self.lock();
            (work(&mut state)?, state.last_sequence)
        };
        self.journal.durable(seen).await?;
        Ok(result)
    }

    /// The time of the next record: later than the last, and than whatever a reader was told.
    fn next_time(&self, state: &State) -> Time {
        state.last_time.next().max(self.clock.now())
    }
}

impl State {
    /// The present moment, as far as a reader may know it: no later record gets this time.
    fn present(&mut self, clock: &impl Clock) -> Time {
        self.last_time = self.last_time.max(clock.now());
        self.last_time
    }

    /// Whether there is a record at this place.
    fn has(&self, sequence: Sequence) -> bool {
        (1..=self.last_sequence.number()).contains(&sequence.number())
    }

    /// Adds what later records, up to one that will be durable when this is shown, say of it.
    fn link(&self, record: Record, until: Sequence) -> LinkedRecord {
        let reversals = self.books.reversals_of(record.sequence);
        let known = &reversals[..reversals.partition_point(|reversal| *reversal <= until)];
        let newest = &known[known.len().saturating_sub(LinkedRecord::MAX_REVERSALS)..];
        LinkedRecord { record, reversed_by: newest.to_vec() }
    }
}

fn not_found(account_id: &AccountId) -> Refusal {
    Refusal::AccountNotFound { account_id: account_id.clone() }
}

impl<J: Journal, C: Clock> Store for MemoryStore<J, C> {
    fn ledger_id(&self) -> LedgerId {
        self.ledger_id
    }

    async fn execute(&self, request: Request) -> Result<Result<Executed, Refusal>, Error> {
        self.journal.admit()?;
        self.with(|state| self.execute_in(state, request)).await
    }

    async fn execute_each(&self, requests: Vec<Request>) -> Result<EachAnswer, Error> {
        self.journal.admit()?;
        let each = |state: &mut State| {
            requests.into_iter().map(|request| self.execute_in(state, request)).collect()
        };
        self.with(each).await
    }

    async fn execute_all(
        &self,
        requests: Vec<Request>,
    ) -> Result<Result<Vec<Executed>, BatchRefused>, Error> {
        self.journal.admit()?;
        self.with(|state| self.execute_all_in(state, requests)).await
    }

    async fn account(&self, id: &AccountId) -> Result<Result<AccountView, Refusal>, Error> {
        self.with(|state| {
            let time = state.present(&self.clock);
            let standing = state.books.account(id, time).ok_or_else(|| not_found(id));
            Ok(standing.map(|standing| AccountView { account: standing.to_account(), time }))
        })
        .await
    }

    async fn accounts(&self, query: &AccountQuery) -> Result<AccountPage, Error> {
        self.with(|state| Ok(state.page_of_accounts(query, &self.clock))).await
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

    async fn hold(&self, id: &HoldId) -> Result<Result<Hold, Refusal>, Error> {
        self.with(|state| {
            let now = state.present(&self.clock);
            let hold = state.books.hold(id).map(|hold| hold.seen_at(now));
            Ok(hold.ok_or_else(|| Refusal::HoldNotFound { hold_id: id.clone() }))
        })
        .await
    }

    async fn holds(&self, query: &HoldQuery) -> Result<Result<HoldPage, Refusal>, Error> {
        self.with(|state| Ok(state.page_of_holds(query, &self.clock))).await
    }

    async fn record(&self, key: &RecordKey) -> Result<Option<LinkedRecord>, Error> {
        self.with(|state| {
            let record = match key {
                RecordKey::Sequence(sequence) if !state.has(*sequence) => None,
                RecordKey::Sequence(sequence) => Some(self.journal.read(*sequence)?),
                RecordKey::RequestId(id) => self.record_of(state, id)?,
            };
            Ok(record.map(|record| state.link(record, state.last_sequence)))
        })
        .await
    }

    async fn transactions(
        &self,
        query: &TransactionQuery,
    ) -> Result<Result<TransactionPage, Refusal>, Error> {
        let (page, seen) = self.page_of_transactions(query)?;
        self.journal.durable(seen).await?;
        Ok(page)
    }

    async fn head(&self) -> Result<Sequence, Error> {
        self.with(|state| Ok(state.last_sequence)).await
    }

    fn changes(&self, account_id: Option<&AccountId>) -> Result<Changes, Refusal> {
        let mut state = self.lock();
        let Some(id) = account_id else { return Ok(state.watchers.of_ledger()) };
        let number = state.books.number(id).ok_or_else(|| not_found(id))?;
        Ok(state.watchers.of_account(number))
    }

    async fn totals(&self, currency: Option<&Currency>) -> Result<Vec<(Currency, Totals)>, Error> {
        self.with(|state| {
            let totals = state
                .books
                .totals()
                .filter(|(one, _)| currency.is_none_or(|wanted| wanted == *one))
                .map(|(one, totals)| (one.clone(), *totals));
            Ok(totals.collect())
        })
        .await
    }
}
