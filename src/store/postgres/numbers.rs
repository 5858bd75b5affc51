//! The numbers by which the tables name accounts: that of the record that opened it, and for the outside
//! world of a currency, that of the first account's with its sign turned. And where an account's thread
//! through the records ends.

use ahash::HashMap;

use super::engine::Trouble;
use crate::ledger::{Account, AccountId, Movement};

/// An account's number, and the newest record that has moved its money; 0 before the first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Thread {
    pub(super) number: i64,
    pub(super) newest: i64,
}

/// What the row of a record says of an account whose money it moves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Side {
    /// The account's number.
    pub(super) number: i64,
    /// The record before it on the account's thread; 0 when there is none.
    pub(super) before: i64,
}

/// The numbers of accounts, as far as they are known here.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(HashMap<AccountId, Thread>);

impl Numbers {
    /// Notes an account: whether it wasn't known yet.
    pub(super) fn insert(&mut self, id: AccountId, thread: Thread) -> bool {
        self.0.insert(id, thread).is_none()
    }

    /// Numbers an account that a record opens, and the outside world with the first account of its currency.
    pub(super) fn open(&mut self, account: &Account, sequence: i64) {
        self.insert(account.id.clone(), Thread { number: sequence, newest: 0 });
        let external = Thread { number: -sequence, newest: 0 };
        self.0.entry(AccountId::external(&account.currency)).or_insert(external);
    }

    /// What was opened with an account, by the record with this number.
    pub(super) fn opened_by(&self, account: &Account, sequence: i64) -> Vec<AccountId> {
        let external = AccountId::external(&account.currency);
        let is_first = self.get(&external) == Some(-sequence);
        [account.id.clone()].into_iter().chain(is_first.then_some(external)).collect()
    }

    /// Threads a record through both accounts of its movement: who paid, and who received. None when one of them
    /// isn't known.
    pub(super) fn thread(&mut self, movement: &Movement, sequence: i64) -> Option<[Side; 2]> {
        let mut side = |id| {
            let thread: &mut Thread = self.0.get_mut(id)?;
            let before = std::mem::replace(&mut thread.newest, sequence);
            Some(Side { number: thread.number, before })
        };
        Some([side(&movement.from)?, side(&movement.to)?])
    }

    /// Each account that is known here.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&AccountId, Thread)> {
        self.0.iter().map(|(id, thread)| (id, *thread))
    }

    pub(super) fn get(&self, id: &AccountId) -> Option<i64> {
        self.0.get(id).map(|thread| thread.number)
    }

    /// The number of an account that must be known.
    pub(super) fn of(&self, id: &AccountId) -> Result<i64, Trouble> {
        Ok(self.thread_of(id)?.number)
    }

    /// The number of an account that must be known, and where its thread ends.
    pub(super) fn thread_of(&self, id: &AccountId) -> Result<Thread, Trouble> {
        let thread = self.0.get(id).copied();
        thread.ok_or_else(|| Trouble::Broken(format!("account {id} was not loaded")))
    }
}
