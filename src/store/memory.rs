//! The locked in-memory store: one mutex over all books, taken in one private function.
//!
//! **Invariants:** no `await` while the lock is held; a record is appended to the journal before the
//! lock is let go, so sequences, times and the journal agree; nothing is answered before the journal
//! says that what the answer rests on is durable. Records live in the journal; here are the accounts
//! and holds, and for each account and each request id the sequences of their records.

mod files;
mod pages;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::ledger::{
    AccountId, Currency, Hold, HoldId, LedgerId, Refusal, Request, Sequence, Time, Totals,
};

use self::files::{Cabinet, Index};
use super::bounds::Room;
use super::execute::{Desk, Files};
use super::journal::{PlainPosting, Scanned};
use super::{
    AccountPage, AccountQuery, AccountView, BatchRefused, Bounds, Changes, EachAnswer, Error,
    Executed, Figures, HoldPage, HoldQuery, Journal, LinkedRecord, PastBalance, RecordKey, Store,
    TransactionPage, TransactionQuery, Writing,
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
    desk: Desk,
    index: Index,
}

impl<J: Journal, C: Clock> MemoryStore<J, C> {
    /// Empty books over an empty journal.
    pub fn new(ledger_id: LedgerId, journal: J, clock: C) -> Self {
        Self {
            ledger_id,
            journal,
            clock,
            state: Mutex::new(State { desk: Desk::new(ledger_id), index: Index::default() }),
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
                        let State { desk, index } = &mut *state;
                        let entries = desk.take(&record);
                        index.note(&desk.books, &record, entries);
                    }
                }
                progress(state.desk.last_sequence);
                Ok(())
            })?;
            state.index.requests.settle();
        }
        Ok(store)
    }

    /// The same books, to which is added within these bounds only.
    #[must_use]
    pub fn within(mut self, bounds: Bounds) -> Self {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.desk.room = Room::within(bounds);
        self
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
            (work(&mut state)?, state.desk.last_sequence)
        };
        self.journal.durable(seen).await?;
        Ok(result)
    }

    /// The desk, and the files that it works with.
    fn open<'a>(&'a self, state: &'a mut State) -> (&'a mut Desk, Cabinet<'a, J>) {
        (&mut state.desk, Cabinet { journal: &self.journal, index: &mut state.index })
    }
}

impl State {
    /// Takes over a posting of the past, and notes where it is found again: what [`Desk::take`] and
    /// [`Index::note`] do of a whole record.
    fn restore(&mut self, posting: &PlainPosting) -> Result<(), Error> {
        let Self { desk, index } = self;
        let sequence = posting.sequence;
        desk.last_sequence = sequence;
        desk.last_time = posting.time;
        let sides = [&posting.from, &posting.to].map(|(id, balance)| (id.as_str(), *balance));
        let numbers = desk.books.restore(sides).ok_or_else(|| {
            let cause = "it has an entry on an account that there is not".to_owned();
            Error::Damaged { sequence, cause }
        })?;
        if let Some(id) = posting.request_id() {
            index.requests.insert_later(id, sequence);
        }
        index.note_entries(&desk.books, sequence, numbers.map(Some));
        Ok(())
    }

    /// What later records, up to one that will be durable when this is shown, say of a record.
    fn reversals_of(&self, sequence: Sequence, until: Sequence) -> Vec<Sequence> {
        let reversals = self.desk.books.reversals_of(sequence);
        let known = &reversals[..reversals.partition_point(|reversal| *reversal <= until)];
        known[known.len().saturating_sub(LinkedRecord::MAX_REVERSALS)..].to_vec()
    }
}

fn not_found(account_id: &AccountId) -> Refusal {
    Refusal::AccountNotFound { account_id: account_id.clone() }
}

impl<J: Journal, C: Clock> Store for MemoryStore<J, C> {
    fn ledger_id(&self) -> LedgerId {
        self.ledger_id
    }

    async fn figures(&self) -> Result<Figures, Error> {
        let state = self.lock();
        let Desk { books, last_sequence, last_time, .. } = &state.desk;
        Ok(Figures {
            accounts: books.totals().map(|(_, totals)| totals.account_count).sum(),
            holds: books.held_count(self.clock.now().max(*last_time)),
            records: last_sequence.number(),
            undurable: self.journal.undurable(*last_sequence),
        })
    }

    fn writing(&self) -> Option<Arc<Writing>> {
        self.journal.writing()
    }

    async fn execute(&self, request: Request) -> Result<Result<Executed, Refusal>, Error> {
        self.journal.admit()?;
        self.with(|state| {
            let (desk, mut files) = self.open(state);
            desk.execute(&mut files, self.clock.now(), request)
        })
        .await
    }

    async fn execute_each(&self, requests: Vec<Request>) -> Result<EachAnswer, Error> {
        self.journal.admit()?;
        self.with(|state| {
            let (desk, mut files) = self.open(state);
            desk.execute_each(&mut files, self.clock.now(), requests)
        })
        .await
    }

    async fn execute_all(
        &self,
        requests: Vec<Request>,
    ) -> Result<Result<Vec<Executed>, BatchRefused>, Error> {
        self.journal.admit()?;
        self.with(|state| {
            let (desk, mut files) = self.open(state);
            desk.execute_all(&mut files, self.clock.now(), requests)
        })
        .await
    }

    async fn account(&self, id: &AccountId) -> Result<Result<AccountView, Refusal>, Error> {
        self.with(|state| {
            let time = state.desk.present(&self.clock);
            let standing = state.desk.books.account(id, time).ok_or_else(|| not_found(id));
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
            let now = state.desk.present(&self.clock);
            let hold = state.desk.books.hold(id).map(|hold| hold.seen_at(now));
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
                RecordKey::Sequence(sequence) if !state.desk.has(*sequence) => None,
                RecordKey::Sequence(sequence) => Some(self.journal.read(*sequence)?),
                RecordKey::RequestId(id) => self.open(state).1.record_of(id)?.map(|record| *record),
            };
            Ok(record.map(|record| {
                let reversed_by = state.reversals_of(record.sequence, state.desk.last_sequence);
                LinkedRecord { record, reversed_by }
            }))
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
        self.with(|state| Ok(state.desk.last_sequence)).await
    }

    async fn changes(
        &self,
        account_id: Option<&AccountId>,
    ) -> Result<Result<Changes, Refusal>, Error> {
        self.with(|state| {
            let State { desk, index } = state;
            let Some(id) = account_id else { return Ok(Ok(index.watchers.of_ledger())) };
            let number = desk.books.number(id).ok_or_else(|| not_found(id));
            Ok(number.map(|number| index.watchers.of_account(number)))
        })
        .await
    }

    async fn totals(&self, currency: Option<&Currency>) -> Result<Vec<(Currency, Totals)>, Error> {
        self.with(|state| {
            let totals = state
                .desk
                .books
                .totals()
                .filter(|(one, _)| currency.is_none_or(|wanted| wanted == *one))
                .map(|(one, totals)| (one.clone(), *totals));
            Ok(totals.collect())
        })
        .await
    }
}
