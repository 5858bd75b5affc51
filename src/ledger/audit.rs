//! The books worked out from nothing: whether records make sense one after the other.
//!
//! Balances are added up anew from the amounts that moved, and compared with what each record says that it
//! left; what is held comes from the holds alone; all else is compared with what was asked (`asked.rs`).
//! Nothing of [`super::decide()`] is used: what it decided is what is looked into.

mod asked;

use std::collections::HashMap;

use super::{
    Account, AccountId, AccountNumber, AccountState, Balance, Books, Change, Currency, Hold,
    HoldId, HoldState, LedgerId, Movement, OverdraftLimit, Posting, Record, Sequence, Time,
    TransactionType,
};

/// A walk along records, the first of a ledger first.
#[derive(Debug)]
pub struct Audit {
    books: Books,
    accounts: HashMap<AccountId, Tally>,
    /// What every record moved, in order.
    moved: Vec<Option<Moved>>,
    last: Option<(Sequence, Time)>,
    transactions: u64,
}

/// What was added up of an account.
#[derive(Debug)]
struct Tally {
    currency: Currency,
    state: AccountState,
    posted: i64,
    overdraft_limit: OverdraftLimit,
    version: u64,
}

/// A movement, as little of it as a reversal needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moved {
    from: AccountNumber,
    to: AccountNumber,
    amount: i64,
    is_reversal: bool,
}

impl Audit {
    /// A walk that has not begun.
    #[must_use]
    pub fn new(ledger: LedgerId) -> Self {
        Self {
            books: Books::new(ledger),
            accounts: HashMap::new(),
            moved: Vec::new(),
            last: None,
            transactions: 0,
        }
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
        let Ok(change) = &record.outcome else {
            self.moved.push(None);
            return Ok(());
        };
        self.check_before(change, record)?;
        let first = match change {
            Change::Reversed { original, .. } => self.moved_in(*original),
            _ => None,
        };
        asked::check(change, record, &self.books, first)?;
        self.books.apply(change, record.sequence, record.time);
        let moved = change.posting().map(|posting| self.moved_by(&posting.movement)).transpose()?;
        self.moved.push(moved);
        if let Some(posting) = change.posting() {
            self.check_posting(posting, record)?;
        }
        self.check_after(change, record)
    }

    /// Looks at what there was before a change: whether it could be made at all.
    fn check_before(&mut self, change: &Change, record: &Record) -> Result<(), String> {
        match change {
            Change::AccountOpened { account, .. } => {
                let external = AccountId::external(&account.currency);
                self.accounts.entry(external).or_insert_with(|| Tally::of(&account.currency));
                let tally = Tally {
                    overdraft_limit: account.balance.overdraft_limit,
                    ..Tally::of(&account.currency)
                };
                if self.accounts.insert(account.id.clone(), tally).is_some() {
                    return Err(format!("account {} was there already", account.id));
                }
                Ok(())
            }
            Change::AccountChanged { account } => self.change_account(account),
            Change::Posted(_) => Ok(()),
            Change::HoldPlaced { hold, .. } => {
                if hold.placed != record.sequence || hold.state != HoldState::Held {
                    return Err("the hold that it places is another's".to_owned());
                }
                Ok(())
            }
            Change::HoldCaptured { hold, posting } => {
                let captured = posting.movement.amount;
                let state = HoldState::Captured { captured, transaction: record.sequence };
                self.check_end(hold, state, record.time)?;
                if captured > hold.amount.amount || posting.movement != hold.movement(captured) {
                    return Err("it moves something else than its hold has set aside".to_owned());
                }
                Ok(())
            }
            Change::HoldReleased { hold } => self.check_end(hold, HoldState::Released, record.time),
            Change::Reversed { original, posting } => self.check_reversal(*original, posting),
        }
    }

    fn change_account(&mut self, account: &Account) -> Result<(), String> {
        let tally = self.tally(&account.id)?;
        if tally.currency != account.currency {
            return Err(format!("account {} holds {}", account.id, tally.currency));
        }
        if tally.state == AccountState::Closed && account.state != AccountState::Closed {
            return Err(format!("account {} was closed", account.id));
        }
        tally.overdraft_limit = account.balance.overdraft_limit;
        tally.state = account.state;
        let Balance { posted, held, .. } = account.balance;
        if account.state == AccountState::Closed && (posted, held) != (0, 0) {
            return Err(format!("it closes account {}, which was not empty", account.id));
        }
        Ok(())
    }

    /// Whether a hold was still held, and is the one that it was but for how it ends.
    fn check_end(&self, hold: &Hold, state: HoldState, time: Time) -> Result<(), String> {
        let id = HoldId::new(self.books.ledger(), hold.placed);
        let before = self.books.hold(&id).ok_or_else(|| format!("there is no hold {id}"))?;
        if before.state_at(time) != HoldState::Held {
            return Err(format!("hold {id} was over already"));
        }
        if *hold != (Hold { state, update_time: time, ..before.clone() }) {
            return Err(format!("hold {id} was another when it was placed"));
        }
        Ok(())
    }

    fn check_reversal(&self, original: Sequence, posting: &Posting) -> Result<(), String> {
        let first = self.moved_in(original);
        let first = first.filter(|first| !first.is_reversal).ok_or_else(|| {
            format!("there is nothing to move back of record {}", original.number())
        })?;
        let back = self.moved_by(&posting.movement)?;
        if !back.is_reversal || (back.from, back.to) != (first.to, first.from) {
            return Err(format!("it is not what record {} moved", original.number()));
        }
        let all = self.books.reversed(original).checked_add(back.amount);
        if all.is_none_or(|all| all > first.amount) {
            return Err(format!("it moves back more than record {} moved", original.number()));
        }
        Ok(())
    }

    /// What an earlier record moved.
    fn moved_in(&self, sequence: Sequence) -> Option<Moved> {
        let index = usize::try_from(sequence.number()).ok()?.checked_sub(1)?;
        self.moved.get(index).copied().flatten()
    }

    fn moved_by(&self, movement: &Movement) -> Result<Moved, String> {
        let number = |id| self.books.number(id).ok_or_else(|| format!("there is no account {id}"));
        Ok(Moved {
            from: number(&movement.from)?,
            to: number(&movement.to)?,
            amount: movement.amount.minor_units(),
            is_reversal: movement.kind == TransactionType::Reversal,
        })
    }

    /// Adds up what moved, and compares it with what the record says that it left.
    fn check_posting(&mut self, posting: &Posting, record: &Record) -> Result<(), String> {
        let movement = &posting.movement;
        let amount = movement.amount.minor_units();
        self.transactions = self.transactions.saturating_add(1);
        for (id, left, moved) in [
            (&movement.from, posting.from_balance, amount.checked_neg()),
            (&movement.to, posting.to_balance, Some(amount)),
        ] {
            let tally = self.tally(id)?;
            if tally.currency != movement.currency {
                return Err(format!("account {id} holds {}", tally.currency));
            }
            if tally.state != AccountState::Active {
                return Err(format!("no money could move on account {id}"));
            }
            tally.posted = moved
                .and_then(|moved| tally.posted.checked_add(moved))
                .ok_or_else(|| format!("account {id} would leave the range of 64 bits"))?;
            tally.version = tally.version.saturating_add(1);
            self.check_balance(id, left, record.time)?;
        }
        // What was held was available when it was set aside, and may be paid whatever there is now.
        let is_captured = matches!(record.outcome, Ok(Change::HoldCaptured { .. }));
        if !movement.from.is_external() && !is_captured {
            check_available(&movement.from, posting.from_balance)?;
        }
        Ok(())
    }

    /// Compares what a record says of an account that moved no money.
    fn check_after(&mut self, change: &Change, record: &Record) -> Result<(), String> {
        match change {
            Change::AccountOpened { account, .. } | Change::AccountChanged { account } => {
                self.check_balance(&account.id, account.balance, record.time)
            }
            Change::HoldPlaced { hold, balance } => {
                self.check_balance(&hold.account_id, *balance, record.time)?;
                check_available(&hold.account_id, *balance)
            }
            Change::Posted(_)
            | Change::HoldCaptured { .. }
            | Change::HoldReleased { .. }
            | Change::Reversed { .. } => Ok(()),
        }
    }

    fn check_balance(&mut self, id: &AccountId, said: Balance, time: Time) -> Result<(), String> {
        let held = self.books.account(id, time).map(|standing| standing.balance.held);
        let held = held.unwrap_or_default();
        let tally = self.tally(id)?;
        if (said.posted, said.version) != (tally.posted, tally.version) {
            return Err(format!(
                "it says that account {id} had {} after {} entries, and it had {} after {}",
                said.posted, said.version, tally.posted, tally.version
            ));
        }
        if said.held != held {
            return Err(format!(
                "it says that account {id} had {} held, and it had {held}",
                said.held
            ));
        }
        if said.overdraft_limit != tally.overdraft_limit {
            return Err(format!(
                "it says that account {id} had a limit of {}, and it had one of {}",
                said.overdraft_limit.minor_units(),
                tally.overdraft_limit.minor_units()
            ));
        }
        Ok(())
    }

    fn tally(&mut self, id: &AccountId) -> Result<&mut Tally, String> {
        self.accounts.get_mut(id).ok_or_else(|| format!("there is no account {id}"))
    }

    /// The books as the records so far have left them.
    #[must_use]
    pub fn books(&self) -> &Books {
        &self.books
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
            for sum in [sum, kept] {
                if sum != 0 {
                    return Err(format!("the accounts of {currency} add up to {sum}, not to 0"));
                }
            }
        }
        Ok(self.transactions)
    }
}

fn check_available(id: &AccountId, left: Balance) -> Result<(), String> {
    if left.available() >= 0 {
        return Ok(());
    }
    Err(format!("account {id} was drawn beyond its limit, by {}", left.available().unsigned_abs()))
}

impl Tally {
    fn of(currency: &Currency) -> Self {
        Self {
            currency: currency.clone(),
            state: AccountState::Active,
            posted: 0,
            overdraft_limit: OverdraftLimit::default(),
            version: 0,
        }
    }
}
