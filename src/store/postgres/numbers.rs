//! The numbers by which the tables name accounts: that of the record that opened it, and for the outside
//! world of a currency, that of the first account's with its sign turned.

use ahash::HashMap;

use super::engine::Trouble;
use crate::ledger::{Account, AccountId};

/// The numbers of accounts, as far as they are known here.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(HashMap<AccountId, i64>);

impl Numbers {
    /// Notes the number of an account: whether it wasn't known yet.
    pub(super) fn insert(&mut self, id: AccountId, number: i64) -> bool {
        self.0.insert(id, number).is_none()
    }

    /// Numbers an account that a record opens, and the outside world with the first account of its currency.
    pub(super) fn open(&mut self, account: &Account, sequence: i64) {
        self.insert(account.id.clone(), sequence);
        self.0.entry(AccountId::external(&account.currency)).or_insert(-sequence);
    }

    /// What was opened with an account, by the record with this number.
    pub(super) fn opened_by(&self, account: &Account, sequence: i64) -> Vec<AccountId> {
        let external = AccountId::external(&account.currency);
        let is_first = self.get(&external) == Some(-sequence);
        [account.id.clone()].into_iter().chain(is_first.then_some(external)).collect()
    }

    /// Each account that is known here, with its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&AccountId, i64)> {
        self.0.iter().map(|(id, number)| (id, *number))
    }

    pub(super) fn get(&self, id: &AccountId) -> Option<i64> {
        self.0.get(id).copied()
    }

    /// The number of an account that must be known.
    pub(super) fn of(&self, id: &AccountId) -> Result<i64, Trouble> {
        self.get(id).ok_or_else(|| Trouble::Broken(format!("account {id} was not loaded")))
    }
}
