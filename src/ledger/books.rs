//! The books: every account with its balance, and the totals of each currency.
//!
//! They change in one place, [`Books::apply`], which can't fail: what it is given was decided. The
//! totals are summed side by side from what each account's balance changed by, so that
//! accounts + external = 0 is a check and not a definition.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use super::{Account, AccountId, Balance, Change, Currency, Time};

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

/// Every account with its balance.
#[derive(Clone, Debug, Default)]
pub struct Books {
    accounts: Vec<Account>,
    numbers: HashMap<AccountId, AccountNumber>,
    order: BTreeSet<AccountId>,
    totals: BTreeMap<Currency, Totals>,
}

impl Books {
    /// The account with this id.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<&Account> {
        self.accounts.get(self.number(id)?)
    }

    /// The number of the account with this id.
    #[must_use]
    pub fn number(&self, id: &AccountId) -> Option<AccountNumber> {
        self.numbers.get(id).copied()
    }

    /// The accounts in order of their ids, from the given text on.
    pub fn accounts_from(&self, start: Bound<&str>) -> impl Iterator<Item = &Account> {
        self.order.range::<str, _>((start, Bound::Unbounded)).filter_map(|id| self.account(id))
    }

    /// How many accounts there are, the outside world's included.
    #[must_use]
    pub fn account_count(&self) -> usize {
        self.accounts.len()
    }

    /// The totals of each currency that has an account, by currency.
    pub fn totals(&self) -> impl Iterator<Item = (&Currency, &Totals)> {
        self.totals.iter()
    }

    /// The totals of one currency.
    #[must_use]
    pub fn totals_of(&self, currency: &Currency) -> Option<&Totals> {
        self.totals.get(currency)
    }

    /// Takes over what was decided at the given moment.
    pub fn apply(&mut self, change: &Change, now: Time) {
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
                if let Some(deposit) = deposit {
                    self.post(deposit);
                }
            }
            Change::AccountChanged { account } => {
                if let Some(present) = self.account_mut(&account.id) {
                    present.clone_from(account);
                }
            }
            Change::Posted(posting) => self.post(posting),
        }
    }

    fn post(&mut self, posting: &super::Posting) {
        let movement = &posting.movement;
        self.set_balance(&movement.from, posting.from_balance);
        self.set_balance(&movement.to, posting.to_balance);
        if let Some(totals) = self.totals.get_mut(&movement.currency) {
            totals.transaction_count = totals.transaction_count.saturating_add(1);
        }
    }

    fn set_balance(&mut self, id: &AccountId, balance: Balance) {
        let Some(account) = self.account_mut(id) else { return };
        let before = i128::from(account.balance.posted);
        account.balance = balance;
        let added = i128::from(balance.posted).saturating_sub(before);
        let currency = account.currency.clone();
        if let Some(totals) = self.totals.get_mut(&currency) {
            let side = if id.is_external() {
                &mut totals.external_posted
            } else {
                &mut totals.accounts_posted
            };
            *side = side.saturating_add(added);
        }
    }

    fn account_mut(&mut self, id: &AccountId) -> Option<&mut Account> {
        self.accounts.get_mut(self.numbers.get(id).copied()?)
    }

    fn insert(&mut self, account: Account) {
        self.totals.entry(account.currency.clone()).or_default();
        self.numbers.insert(account.id.clone(), self.accounts.len());
        self.order.insert(account.id.clone());
        self.accounts.push(account);
    }
}

/// The balance of an account that was just opened, before its initial balance was posted.
fn unposted(balance: Balance) -> Balance {
    Balance { posted: 0, version: 0, ..balance }
}
