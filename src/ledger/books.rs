//! The books: every account with its balance, every hold, and the totals of each currency.
//!
//! They change in one place, [`Books::apply`], which can't fail: what it is given was decided. What was
//! applied last can be taken back ([`Books::revert`]), so that a batch is all or nothing. The totals are
//! summed side by side from what each account's balance changed by, so that accounts + external = 0 is a
//! check and not a definition.

mod part;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use ahash::{AHashMap, RandomState};
use hashbrown::HashTable;

use super::hold::HoldSchedule;
use super::{
    Account, AccountId, Amount, Balance, Change, Currency, Hold, HoldId, HoldState, LedgerId,
    Posting, Sequence, Time,
};

/// All accounts of one currency, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The sum of the posted balances of clients' accounts, in minor units.
    pub accounts_posted: i128,
    /// The posted balance of the outside world, in minor units.
    pub external_posted: i128,
    /// How many clients' accounts there are, closed ones included.
    pub account_count: u64,
    /// How many transactions there are.
    pub transaction_count: u64,
}

/// The number of an account in the books: 0 for the first, without gaps.
pub type AccountNumber = usize;

/// An account, and what it holds at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The account.
    pub account: &'a Account,
    /// What it holds: holds that have expired by then are not held any more.
    pub balance: Balance,
}

impl Standing<'_> {
    /// The account, with that balance.
    #[must_use]
    pub fn to_account(&self) -> Account {
        Account { balance: self.balance, ..self.account.clone() }
    }
}

/// Every account with its balance, and every hold.
#[derive(Clone, Debug)]
pub struct Books {
    ledger: LedgerId,
    accounts: Vec<Entry>,
    numbers: Numbers,
    order: BTreeSet<AccountId>,
    holds: BTreeMap<Sequence, Hold>,
    /// All that set money aside, as 1 each, so that what is held is how many there are.
    held: HoldSchedule,
    reversals: AHashMap<Sequence, Reversals>,
    totals: BTreeMap<Currency, Totals>,
}

#[derive(Clone, Debug)]
struct Entry {
    account: Account,
    /// Most accounts never have a hold.
    holds: Option<Box<AccountHolds>>,
}

#[derive(Clone, Debug, Default)]
struct AccountHolds {
    schedule: HoldSchedule,
    /// The holds that were ever placed on the account, in order.
    placed: Vec<Sequence>,
}

impl Entry {
    fn standing(&self, now: Time) -> Standing<'_> {
        let held = self.holds.as_ref().map_or(0, |holds| holds.schedule.held_at(now));
        Standing { account: &self.account, balance: Balance { held, ..self.account.balance } }
    }
}

/// The numbers of accounts by their ids, which stand in the accounts alone.
#[derive(Clone, Debug, Default)]
struct Numbers {
    hasher: RandomState,
    table: HashTable<AccountNumber>,
}

impl Numbers {
    fn find(&self, id: &str, accounts: &[Entry]) -> Option<AccountNumber> {
        let is_it = |number: &AccountNumber| id_of(accounts, *number) == id;
        self.table.find(self.hasher.hash_one(id), is_it).copied()
    }

    /// Adds the last of the accounts, which has a new id.
    fn insert_last(&mut self, accounts: &[Entry]) {
        let hash = |number: &AccountNumber| self.hasher.hash_one(id_of(accounts, *number));
        let last = accounts.len().saturating_sub(1);
        self.table.insert_unique(hash(&last), last, hash);
    }
}

fn id_of(accounts: &[Entry], number: AccountNumber) -> &str {
    accounts.get(number).map_or("", |entry| entry.account.id.as_str())
}

/// What was moved back of a transaction.
#[derive(Clone, Debug, Default)]
struct Reversals {
    amount: i64,
    records: Vec<Sequence>,
}

impl Books {
    /// Empty books of a ledger.
    #[must_use]
    pub fn new(ledger: LedgerId) -> Self {
        Self {
            ledger,
            accounts: Vec::new(),
            numbers: Numbers::default(),
            order: BTreeSet::new(),
            holds: BTreeMap::new(),
            held: HoldSchedule::default(),
            reversals: AHashMap::new(),
            totals: BTreeMap::new(),
        }
    }

    /// The ledger whose books they are.
    #[must_use]
    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// The account with this id, as it stands at a moment.
    #[must_use]
    pub fn account(&self, id: &AccountId, now: Time) -> Option<Standing<'_>> {
        self.accounts.get(self.number(id)?).map(|entry| entry.standing(now))
    }

    /// The number of the account with this id.
    #[must_use]
    pub fn number(&self, id: &AccountId) -> Option<AccountNumber> {
        self.numbers.find(id.as_str(), &self.accounts)
    }

    /// The accounts in order of their ids, from the given text on.
    pub fn accounts_from(
        &self,
        start: Bound<&str>,
        now: Time,
    ) -> impl Iterator<Item = Standing<'_>> {
        let ids = self.order.range::<str, _>((start, Bound::Unbounded));
        ids.filter_map(move |id| self.account(id, now))
    }

    /// How many accounts there are, the outside world's included.
    #[must_use]
    pub fn account_count(&self) -> usize {
        self.accounts.len()
    }

    /// The hold with this id, and the record that placed it.
    #[must_use]
    pub fn hold(&self, id: &HoldId) -> Option<&Hold> {
        self.holds.get(&id.sequence_in(self.ledger)?)
    }

    /// The holds that were placed before a record, newest first: those of one account, or all.
    #[must_use]
    pub fn holds_before(
        &self,
        account: Option<&AccountId>,
        before: Sequence,
    ) -> Box<dyn Iterator<Item = &Hold> + '_> {
        let Some(id) = account else {
            return Box::new(self.holds.range(..before).rev().map(|(_, hold)| hold));
        };
        let entry = self.number(id).and_then(|number| self.accounts.get(number));
        let placed = entry
            .and_then(|entry| entry.holds.as_ref())
            .map_or(&[][..], |holds| holds.placed.as_slice());
        let count = placed.partition_point(|placed| *placed < before);
        let placed = placed.iter().take(count).rev();
        Box::new(placed.filter_map(|placed| self.holds.get(placed)))
    }

    /// How many holds set money aside at a moment.
    #[must_use]
    pub fn held_count(&self, now: Time) -> u64 {
        self.held.held_at(now).unsigned_abs()
    }

    /// How much of a transaction was moved back so far, in minor units.
    #[must_use]
    pub fn reversed(&self, original: Sequence) -> i64 {
        self.reversals.get(&original).map_or(0, |reversals| reversals.amount)
    }

    /// The records of the reversals of a transaction, in order.
    #[must_use]
    pub fn reversals_of(&self, original: Sequence) -> &[Sequence] {
        self.reversals.get(&original).map_or(&[], |reversals| &reversals.records)
    }

    /// The totals of each currency that has an account, by currency.
    #[must_use]
    pub fn totals(&self) -> impl ExactSizeIterator<Item = (&Currency, &Totals)> {
        self.totals.iter()
    }

    /// Takes over what was decided in the given turn: the numbers of the accounts that have an entry of it.
    pub fn apply(
        &mut self,
        change: &Change,
        sequence: Sequence,
        now: Time,
    ) -> [Option<AccountNumber>; 2] {
        match change {
            Change::AccountOpened { account, deposit } => {
                let external = AccountId::external(&account.currency);
                if self.number(&external).is_none() {
                    self.insert(Account::external(&account.currency, now));
                }
                // The balance comes with the posting, as for every other deposit.
                self.insert(Account { balance: unposted(account.balance), ..account.clone() });
                if let Some(totals) = self.totals.get_mut(&account.currency) {
                    totals.account_count = totals.account_count.saturating_add(1);
                }
                deposit.as_ref().map_or([None; 2], |deposit| self.post(deposit))
            }
            Change::AccountChanged { account } => {
                if let Some(entry) = self.entry_mut(&account.id) {
                    entry.account.clone_from(account);
                }
                [None; 2]
            }
            Change::Posted(posting) => self.post(posting),
            Change::HoldPlaced { hold, .. } => {
                self.hold_back(hold, now);
                if let Some(entry) = self.entry_mut(&hold.account_id) {
                    entry.holds.get_or_insert_default().placed.push(hold.placed);
                }
                self.holds.insert(hold.placed, hold.clone());
                [None; 2]
            }
            Change::HoldCaptured { hold, posting } => {
                self.let_go(hold);
                self.holds.insert(hold.placed, hold.clone());
                self.post(posting)
            }
            Change::HoldReleased { hold } => {
                self.let_go(hold);
                self.holds.insert(hold.placed, hold.clone());
                [None; 2]
            }
            Change::Reversed { original, posting } => {
                let reversals = self.reversals.entry(*original).or_default();
                let amount = posting.movement.amount.minor_units();
                reversals.amount = reversals.amount.saturating_add(amount);
                reversals.records.push(sequence);
                self.post(posting)
            }
        }
    }

    /// Takes back what was applied last. For what moves money or holds it; an account that was opened
    /// or changed stays so, since no batch does either.
    pub fn revert(&mut self, change: &Change, now: Time) {
        match change {
            Change::AccountOpened { .. } | Change::AccountChanged { .. } => {}
            Change::Posted(posting) => self.unpost(posting),
            Change::HoldPlaced { hold, .. } => {
                self.let_go(hold);
                self.holds.remove(&hold.placed);
                if let Some(holds) =
                    self.entry_mut(&hold.account_id).and_then(|entry| entry.holds.as_mut())
                {
                    holds.placed.pop();
                }
            }
            Change::HoldCaptured { hold, posting } => {
                self.unpost(posting);
                self.reopen(hold, now);
            }
            Change::HoldReleased { hold } => self.reopen(hold, now),
            Change::Reversed { original, posting } => {
                self.unpost(posting);
                if let Some(reversals) = self.reversals.get_mut(original) {
                    let amount = posting.movement.amount.minor_units();
                    reversals.amount = reversals.amount.saturating_sub(amount);
                    reversals.records.pop();
                    if reversals.records.is_empty() {
                        self.reversals.remove(original);
                    }
                }
            }
        }
    }

    /// Takes over a posting of the past, of which is known what it left on both its accounts: their
    /// numbers; `None` when one of them isn't there, and nothing is changed then.
    pub fn restore(&mut self, sides: [(&str, Balance); 2]) -> Option<[AccountNumber; 2]> {
        let [(from, from_balance), (to, to_balance)] = sides;
        let number = |id| self.numbers.find(id, &self.accounts);
        let numbers = [number(from)?, number(to)?];
        let there = numbers.map(Some);
        if let Some(totals) = self.set_balances(there, [from_balance, to_balance]) {
            totals.transaction_count = totals.transaction_count.saturating_add(1);
        }
        Some(numbers)
    }

    fn post(&mut self, posting: &Posting) -> [Option<AccountNumber>; 2] {
        let movement = &posting.movement;
        let numbers = [self.number(&movement.from), self.number(&movement.to)];
        let balances = [posting.from_balance, posting.to_balance];
        if let Some(totals) = self.set_balances(numbers, balances) {
            totals.transaction_count = totals.transaction_count.saturating_add(1);
        }
        numbers
    }

    fn unpost(&mut self, posting: &Posting) {
        let movement = &posting.movement;
        let amount = movement.amount.minor_units();
        let numbers = [self.number(&movement.from), self.number(&movement.to)];
        let before = |after: Balance, moved: i64| Balance {
            posted: after.posted.saturating_add(moved),
            version: after.version.saturating_sub(1),
            ..after
        };
        let balances = [
            before(posting.from_balance, amount),
            before(posting.to_balance, amount.saturating_neg()),
        ];
        if let Some(totals) = self.set_balances(numbers, balances) {
            totals.transaction_count = totals.transaction_count.saturating_sub(1);
        }
    }

    /// The totals of the accounts' one currency.
    fn set_balances(
        &mut self,
        numbers: [Option<AccountNumber>; 2],
        balances: [Balance; 2],
    ) -> Option<&mut Totals> {
        let [from, _] = numbers;
        let totals = self.totals.get_mut(&self.accounts.get(from?)?.account.currency)?;
        for (number, balance) in numbers.into_iter().zip(balances) {
            let account = &mut self.accounts.get_mut(number?)?.account;
            let added = i128::from(balance.posted).saturating_sub(account.balance.posted.into());
            account.balance = balance;
            let side = if account.id.is_external() {
                &mut totals.external_posted
            } else {
                &mut totals.accounts_posted
            };
            *side = side.saturating_add(added);
        }
        Some(totals)
    }

    fn hold_back(&mut self, hold: &Hold, now: Time) {
        self.held.insert(hold.expire_time, hold.placed, Amount::ONE, now);
        if let Some(entry) = self.entry_mut(&hold.account_id) {
            let schedule = &mut entry.holds.get_or_insert_default().schedule;
            schedule.insert(hold.expire_time, hold.placed, hold.amount.amount, now);
        }
    }

    fn let_go(&mut self, hold: &Hold) {
        self.held.remove(hold.expire_time, hold.placed);
        if let Some(holds) = self.entry_mut(&hold.account_id).and_then(|entry| entry.holds.as_mut())
        {
            holds.schedule.remove(hold.expire_time, hold.placed);
        }
    }

    /// Puts a hold back as it was before it was captured or released.
    fn reopen(&mut self, hold: &Hold, now: Time) {
        self.hold_back(hold, now);
        if let Some(hold) = self.holds.get_mut(&hold.placed) {
            hold.state = HoldState::Held;
            hold.update_time = hold.create_time;
        }
    }

    fn entry_mut(&mut self, id: &AccountId) -> Option<&mut Entry> {
        let number = self.number(id)?;
        self.accounts.get_mut(number)
    }

    fn insert(&mut self, account: Account) {
        self.totals.entry(account.currency.clone()).or_default();
        self.order.insert(account.id.clone());
        self.accounts.push(Entry { account, holds: None });
        self.numbers.insert_last(&self.accounts);
    }
}

/// The balance of an account that was just opened, before its initial balance was posted.
fn unposted(balance: Balance) -> Balance {
    Balance { posted: 0, version: 0, ..balance }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However often the table has grown.
    #[test]
    fn each_account_is_found_by_its_id() {
        let mut books = Books::new(LedgerId::new(1));
        let usd = Currency::parse("USD").expect("it is known");
        let id = |number: usize| AccountId::parse(&format!("a{number}")).expect("it is one");
        for number in 0..1000 {
            assert_eq!(books.number(&id(number)), None);
            let account = Account::external(&usd, Time::from_micros(1));
            books.put_account(Account { id: id(number), ..account });
        }
        for number in 0..1000 {
            assert_eq!(books.number(&id(number)), Some(number));
        }
    }
}
