//! Listings and balances in the past: what is read a page at a time.
//!
//! **Invariant:** a page costs the page and not the history. Accounts are looked at under the lock, so few
//! at a time; records are read without it, by sequences that were copied under it. Times are found in the
//! journal by halving, since sequences and times grow together.

use std::ops::{Bound, Range};

use crate::clock::Clock;
use crate::ledger::{AccountId, AccountNumber, Balance, Refusal, Sequence, Time};
use crate::store::{
    AccountPage, AccountQuery, AccountView, Cursor, Error, HoldPage, HoldQuery, Journal,
    LinkedRecord, PastBalance, TransactionPage, TransactionQuery,
};

use super::{MemoryStore, State, not_found};

/// How many accounts one page of a listing looks at, at the most: it does so under the lock.
const ACCOUNTS_PER_PAGE: usize = 4_000;
/// How many holds one page of a listing looks at, at the most: it does so under the lock.
const HOLDS_PER_PAGE: usize = 4_000;
/// How many records one page of a listing reads, at the most.
const RECORDS_PER_PAGE: usize = 10_000;

impl<J: Journal, C: Clock> MemoryStore<J, C> {
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

    pub(super) fn find_balance_at(
        &self,
        id: &AccountId,
        time: Time,
    ) -> Result<(Result<PastBalance, Refusal>, Sequence), Error> {
        let (found, last, time) = {
            let mut state = self.lock();
            // What is yet to come can't be told: the answer is of the present at the latest.
            let time = time.min(state.desk.present(&self.clock));
            let standing = state.desk.books.account(id, time);
            let currency = standing.map(|standing| standing.account.currency.clone());
            (currency.zip(state.desk.books.number(id)), state.desk.last_sequence, time)
        };
        let Some((currency, number)) = found else { return Ok((Err(not_found(id)), last)) };
        let later = self.first_at_or_after(time.next(), last)?;
        let newest = {
            let state = self.lock();
            let entries = state.index.entries_of(number);
            let earlier = entries.partition_point(|sequence| *sequence < later);
            earlier.checked_sub(1).map(|index| entries[index])
        };
        let balance = match newest {
            None => Balance::default(),
            Some(sequence) => self.journal.read(sequence)?.balance_of(id).ok_or_else(|| {
                Error::Damaged { sequence, cause: format!("it has no entry on account {id}") }
            })?,
        };
        Ok((Ok(PastBalance { currency, balance, time }), last))
    }

    pub(super) fn page_of_transactions(
        &self,
        query: &TransactionQuery,
    ) -> Result<(Result<TransactionPage, Refusal>, Sequence), Error> {
        let (number, last) = {
            let state = self.lock();
            let number = query.account_id.as_ref().map(|id| (id, state.desk.books.number(id)));
            (number, state.desk.last_sequence)
        };
        // Tokens can be made up.
        let until = query.cursor.map_or(last, |cursor| cursor.until.min(last));
        let range = self.range_of(query, until)?;
        let candidates = match number {
            None => Candidates::Ledger(range),
            Some((id, None)) => return Ok((Err(not_found(id)), last)),
            Some((_, Some(number))) => self.lock().candidates(number, &range, query),
        };
        let page = self.read_page(candidates, query, until, last)?;
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
        last: Sequence,
    ) -> Result<TransactionPage, Error> {
        let candidates = candidates.in_order(query.oldest_first);
        let mut records = Vec::with_capacity(candidates.size_hint().0.min(query.page_size));
        let mut last_looked_at = None;
        for (looked_at, sequence) in candidates.enumerate() {
            if records.len() == query.page_size || looked_at == RECORDS_PER_PAGE {
                let next = last_looked_at.map(|after| Cursor { after, until });
                return Ok(self.linked(records, next, last));
            }
            last_looked_at = Some(sequence);
            let record = self.journal.read(sequence)?;
            let is_wanted = record.posting().is_some_and(|posting| {
                query.types.is_empty() || query.types.contains(&posting.movement.kind)
            });
            if is_wanted {
                records.push(LinkedRecord { record, reversed_by: Vec::new() });
            }
        }
        Ok(self.linked(records, None, last))
    }

    /// A page of these records, with what later ones, up to the last that the page waits for, say of them.
    fn linked(
        &self,
        mut records: Vec<LinkedRecord>,
        next: Option<Cursor>,
        last: Sequence,
    ) -> TransactionPage {
        let state = self.lock();
        for linked in &mut records {
            linked.reversed_by = state.reversals_of(linked.record.sequence, last);
        }
        TransactionPage { records, next }
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
    pub(super) fn page_of_accounts(
        &mut self,
        query: &AccountQuery,
        clock: &impl Clock,
    ) -> AccountPage {
        let time = self.desk.present(clock);
        let start = match &query.after {
            Some(after) => Bound::Excluded(after.as_str()),
            None => Bound::Included(query.id_prefix.as_str()),
        };
        let mut candidates = self
            .desk
            .books
            .accounts_from(start, time)
            .take_while(|one| one.account.id.as_str().starts_with(&query.id_prefix))
            .peekable();
        let mut accounts = Vec::new();
        let mut last_looked_at = None;
        for standing in candidates.by_ref().take(ACCOUNTS_PER_PAGE) {
            let account = standing.account;
            last_looked_at = Some(account.id.clone());
            let is_wanted = query.currency.as_ref().is_none_or(|one| *one == account.currency)
                && query.state.is_none_or(|one| one == account.state);
            if is_wanted {
                accounts.push(AccountView { account: standing.to_account(), time });
            }
            if accounts.len() == query.page_size {
                break;
            }
        }
        let next = last_looked_at.filter(|_| candidates.peek().is_some());
        AccountPage { accounts, next }
    }

    pub(super) fn page_of_holds(
        &mut self,
        query: &HoldQuery,
        clock: &impl Clock,
    ) -> Result<HoldPage, Refusal> {
        let now = self.desk.present(clock);
        if let Some(id) = &query.account_id
            && self.desk.books.number(id).is_none()
        {
            return Err(not_found(id));
        }
        let before = query.before.unwrap_or_else(|| self.desk.last_sequence.next());
        let account_id = query.account_id.as_ref();
        let mut candidates = self.desk.books.holds_before(account_id, before).peekable();
        let mut holds = Vec::new();
        let mut last_looked_at = None;
        for hold in candidates.by_ref().take(HOLDS_PER_PAGE) {
            last_looked_at = Some(hold.placed);
            if query.state.is_none_or(|filter| filter.fits(hold.state_at(now))) {
                holds.push(hold.seen_at(now));
            }
            if holds.len() == query.page_size {
                break;
            }
        }
        let next = last_looked_at.filter(|_| candidates.peek().is_some());
        Ok(HoldPage { holds, next })
    }

    /// Copies so many of an account's entries in the range as a page can look at, and one more, which
    /// tells whether there is another page.
    fn candidates(
        &self,
        number: AccountNumber,
        range: &Range<u64>,
        query: &TransactionQuery,
    ) -> Candidates {
        let entries = self.index.entries_of(number);
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
