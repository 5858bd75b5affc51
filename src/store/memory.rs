//! The locked in-memory store: one mutex over all books, taken in one private function.
//!
//! **Invariants:** no `await` while the lock is held; a record is appended to the journal before the
//! lock is let go, so sequences, times and the journal agree; nothing is answered before the journal
//! says that what the answer rests on is durable. Records live in the journal; here are the accounts,
//! and for each account and each request id the sequences of their records.

use std::ops::{Bound, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::ledger::{
    AccountId, AccountNumber, Balance, Books, Currency, LedgerId, Record, Refusal, Request,
    RequestId, Sequence, Time, Totals, decide,
};

use super::request_index::RequestIndex;
use super::{
    AccountPage, AccountQuery, AccountView, Cursor, Error, Executed, Journal, PastBalance,
    RecordKey, Store, TransactionPage, TransactionQuery,
};

/// How many accounts one page of a listing looks at, at the most: it does so under the lock.
const ACCOUNTS_PER_PAGE: usize = 4_000;
/// How many records one page of a listing reads, at the most.
const RECORDS_PER_PAGE: usize = 10_000;

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

    fn page_of_accounts(&self, query: &AccountQuery) -> (AccountPage, Sequence) {
        let mut state = self.lock();
        let time = state.present(self.clock.now());
        let start = match &query.after {
            Some(after) => Bound::Excluded(after.as_str()),
            None => Bound::Included(query.id_prefix.as_str()),
        };
        let mut candidates = state
            .books
            .accounts_from(start)
            .take_while(|account| account.id.as_str().starts_with(&query.id_prefix))
            .peekable();
        let mut accounts = Vec::new();
        let mut last_looked_at = None;
        for account in candidates.by_ref().take(ACCOUNTS_PER_PAGE) {
            last_looked_at = Some(account.id.clone());
            let is_wanted = query.currency.as_ref().is_none_or(|one| *one == account.currency)
                && query.state.is_none_or(|one| one == account.state);
            if is_wanted {
                accounts.push(AccountView { account: account.clone(), time });
            }
            if accounts.len() == query.page_size {
                break;
            }
        }
        let next = last_looked_at.filter(|_| candidates.peek().is_some());
        (AccountPage { accounts, next }, state.last_sequence)
    }

    /// The first record at or after a time, among those up to `last`; the one after `last` when all
    /// are earlier. Reads as many records as a search by halves takes.
    fn first_at_or_after(&self, time: Time, last: Sequence) -> Result<Sequence, Error> {
        let mut low = 1;
        let mut high = last.next().number();
        while low < high {
            let middle = low + (high - low) / 2;
            if self.journal.read(Sequence::new(middle))?.time < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Sequence::new(low))
    }

    fn find_balance_at(
        &self,
        id: &AccountId,
        time: Time,
    ) -> Result<(Result<PastBalance, Refusal>, Sequence), Error> {
        let (found, last) = {
            let state = self.lock();
            let account = state.books.account(id);
            let currency = account.map(|account| account.currency.clone());
            (currency.zip(state.books.number(id)), state.last_sequence)
        };
        let Some((currency, number)) = found else { return Ok((Err(not_found(id)), last)) };
        let later = self.first_at_or_after(time.next(), last)?;
        let newest = {
            let state = self.lock();
            let entries = state.entries_of(number);
            let earlier = entries.partition_point(|sequence| *sequence < later);
            earlier.checked_sub(1).map(|index| entries[index])
        };
        let balance = match newest {
            None => Balance::default(),
            Some(sequence) => self.journal.read(sequence)?.balance_of(id).ok_or_else(|| {
                Error::Damaged { sequence, cause: format!("it has no entry on account {id}") }
            })?,
        };
        Ok((Ok(PastBalance { currency, balance }), last))
    }

    fn page_of_transactions(
        &self,
        query: &TransactionQuery,
    ) -> Result<(Result<TransactionPage, Refusal>, Sequence), Error> {
        let (number, last) = {
            let state = self.lock();
            let number = query.account_id.as_ref().map(|id| (id, state.books.number(id)));
            (number, state.last_sequence)
        };
        let until = query.cursor.map_or(last, |cursor| cursor.until);
        let range = self.range_of(query, until)?;
        let candidates = match number {
            None => Candidates::Ledger(range),
            Some((id, None)) => return Ok((Err(not_found(id)), last)),
            Some((_, Some(number))) => self.lock().candidates(number, &range, query),
        };
        let page = self.read_page(candidates, query, until)?;
        Ok((Ok(page), last))
    }

    /// The sequences that a page can be taken from: from the start time or where the page before
    /// ended, to the end time or where the listing began.
    fn range_of(&self, query: &TransactionQuery, until: Sequence) -> Result<Range<u64>, Error> {
        let mut start = match query.start_time {
            Some(time) => self.first_at_or_after(time, until)?.number(),
            None => 1,
        };
        let mut end = match query.end_time {
            Some(time) => self.first_at_or_after(time, until)?.number(),
            None => until.next().number(),
        };
        if let Some(cursor) = query.cursor {
            if query.oldest_first {
                start = start.max(cursor.after.next().number());
            } else {
                end = end.min(cursor.after.number());
            }
        }
        Ok(start..end)
    }

    fn read_page(
        &self,
        candidates: Candidates,
        query: &TransactionQuery,
        until: Sequence,
    ) -> Result<TransactionPage, Error> {
        let mut records = Vec::new();
        let mut last_looked_at = None;
        for (looked_at, sequence) in candidates.in_order(query.oldest_first).enumerate() {
            if records.len() == query.page_size || looked_at == RECORDS_PER_PAGE {
                let next = last_looked_at.map(|after| Cursor { after, until });
                return Ok(TransactionPage { records, next });
            }
            last_looked_at = Some(sequence);
            let record = self.journal.read(sequence)?;
            let is_wanted = record.posting().is_some_and(|posting| {
                query.types.is_empty() || query.types.contains(&posting.movement.kind)
            });
            if is_wanted {
                records.push(record);
            }
        }
        Ok(TransactionPage { records, next: None })
    }
}

/// The records that a page of a statement is taken from, oldest first.
enum Candidates {
    /// Those of the whole ledger.
    Ledger(Range<u64>),
    /// Those with an entry on one account: one more than a page can look at.
    Account(Vec<Sequence>),
}

impl Candidates {
    fn in_order(self, oldest_first: bool) -> Box<dyn Iterator<Item = Sequence>> {
        match (self, oldest_first) {
            (Self::Ledger(range), true) => Box::new(range.map(Sequence::new)),
            (Self::Ledger(range), false) => Box::new(range.rev().map(Sequence::new)),
            (Self::Account(sequences), true) => Box::new(sequences.into_iter()),
            (Self::Account(sequences), false) => Box::new(sequences.into_iter().rev()),
        }
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

    fn entries_of(&self, number: AccountNumber) -> &[Sequence] {
        self.entries.get(number).map_or(&[], Vec::as_slice)
    }

    /// Copies so many of an account's entries in the range as a page can look at, and one more, which
    /// tells whether there is another page.
    fn candidates(
        &self,
        number: AccountNumber,
        range: &Range<u64>,
        query: &TransactionQuery,
    ) -> Candidates {
        let entries = self.entries_of(number);
        let start = entries.partition_point(|sequence| sequence.number() < range.start);
        let end = entries.partition_point(|sequence| sequence.number() < range.end);
        let entries = entries.get(start..end).unwrap_or(&[]);
        let budget = if query.types.is_empty() { query.page_size } else { RECORDS_PER_PAGE };
        let count = entries.len().min(budget + 1);
        let copied =
            if query.oldest_first { &entries[..count] } else { &entries[entries.len() - count..] };
        Candidates::Account(copied.to_vec())
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
