//! The books worked out from nothing: whether records make sense one after the other.
//!
//! Balances are added up anew from the amounts that moved, and compared with what each record says that it
//! left; what is held comes from the holds alone. Nothing of [`super::decide()`] is used: what it decided
//! is what is looked into.

use std::collections::HashMap;

use super::{AccountId, Books, Change, Currency, LedgerId, Posting, Record, Sequence, Time};

/// A walk along records, the first of a ledger first.
#[derive(Debug)]
pub struct Audit {
    books: Books,
    accounts: HashMap<AccountId, Tally>,
    last: Option<(Sequence, Time)>,
    transactions: u64,
}

/// What was added up of an account.
#[derive(Debug)]
struct Tally {
    currency: Currency,
    posted: i64,
    version: u64,
}

impl Audit {
    /// A walk that has not begun.
    #[must_use]
    pub fn new(ledger: LedgerId) -> Self {
        Self { books: Books::new(ledger), accounts: HashMap::new(), last: None, transactions: 0 }
    }

    /// Looks into the next record.
    ///
    /// # Errors
    ///
    /// One phrase that says what is wrong with it.
    pub fn check(&mut self, record: &Record) -> Result<(), String> {
        let expected = self.last.map_or(Sequence::new(1), |(sequence, _)| sequence.next());
        if record.sequence != expected {
            return Err(format!("it stands where record {} belongs", expected.number()));
        }
        if self.last.is_some_and(|(_, time)| record.time <= time) {
            return Err("its time is not after that of the record before it".to_owned());
        }
        self.last = Some((record.sequence, record.time));
        let Ok(change) = &record.outcome else { return Ok(()) };
        if let Change::AccountOpened { account, .. } = change {
            let external = AccountId::external(&account.currency);
            self.accounts.entry(external).or_insert_with(|| Tally::of(&account.currency));
            if self.accounts.insert(account.id.clone(), Tally::of(&account.currency)).is_some() {
                return Err(format!("account {} was there already", account.id));
            }
        }
        self.books.apply(change, record.sequence, record.time);
        match change.posting() {
            None => Ok(()),
            Some(posting) => self.check_posting(posting, record.time),
        }
    }

    fn check_posting(&mut self, posting: &Posting, time: Time) -> Result<(), String> {
        let movement = &posting.movement;
        let amount = movement.amount.minor_units();
        self.transactions = self.transactions.saturating_add(1);
        for (id, left, moved) in [
            (&movement.from, posting.from_balance, amount.checked_neg()),
            (&movement.to, posting.to_balance, Some(amount)),
        ] {
            let tally =
                self.accounts.get_mut(id).ok_or_else(|| format!("there is no account {id}"))?;
            if tally.currency != movement.currency {
                return Err(format!("account {id} holds {}", tally.currency));
            }
            tally.posted = moved
                .and_then(|moved| tally.posted.checked_add(moved))
                .ok_or_else(|| format!("account {id} would leave the range of 64 bits"))?;
            tally.version = tally.version.saturating_add(1);
            if (left.posted, left.version) != (tally.posted, tally.version) {
                return Err(format!(
                    "it says that account {id} had {} after {} entries, and it had {} after {}",
                    left.posted, left.version, tally.posted, tally.version
                ));
            }
            let held = self.books.account(id, time).map(|standing| standing.balance.held);
            if held != Some(left.held) {
                return Err(format!(
                    "it says that account {id} had {} held, and it had {}",
                    left.held,
                    held.unwrap_or_default()
                ));
            }
        }
        Ok(())
    }

    /// Compares the totals of each currency, once all records were looked into: how many transactions
    /// there were.
    ///
    /// # Errors
    ///
    /// One phrase that says which currency doesn't add up.
    pub fn end(&self) -> Result<u64, String> {
        for (currency, totals) in self.books.totals() {
            let sum: i128 = self
                .accounts
                .values()
                .filter(|tally| tally.currency == *currency)
                .map(|tally| i128::from(tally.posted))
                .fold(0, i128::saturating_add);
            let kept = totals.accounts_posted.saturating_add(totals.external_posted);
            if sum != 0 || kept != 0 {
                return Err(format!("the accounts of {currency} add up to {sum}, not to 0"));
            }
        }
        Ok(self.transactions)
    }
}

impl Tally {
    fn of(currency: &Currency) -> Self {
        Self { currency: currency.clone(), posted: 0, version: 0 }
    }
}
