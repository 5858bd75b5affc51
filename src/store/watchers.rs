//! Who waits for new transactions: of one account, or of the whole ledger.
//!
//! **Invariant:** a writer wakes only those that wait for what it wrote, and hands them nothing: they read
//! for themselves from where they are, so that nobody is ever buffered for.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use super::Changes;

/// Who waits, by the names `K` that the store has for accounts.
#[derive(Debug)]
pub(super) struct Watchers<K> {
    ledger: Arc<Notify>,
    accounts: HashMap<K, Weak<Notify>>,
}

impl<K> Default for Watchers<K> {
    fn default() -> Self {
        Self { ledger: Arc::default(), accounts: HashMap::new() }
    }
}

impl<K: Eq + Hash> Watchers<K> {
    /// Tells of every new transaction.
    pub(super) fn of_ledger(&self) -> Changes {
        Changes::new(self.ledger.clone())
    }

    /// Tells of every new transaction with an entry on an account.
    pub(super) fn of_account(&mut self, number: K) -> Changes {
        self.accounts.retain(|_, waiting| waiting.strong_count() > 0);
        let waiting = self.accounts.get(&number).and_then(Weak::upgrade).unwrap_or_else(|| {
            let waiting = Arc::default();
            self.accounts.insert(number, Arc::downgrade(&waiting));
            waiting
        });
        Changes::new(waiting)
    }

    /// Wakes everybody.
    pub(super) fn wake_all(&self) {
        self.ledger.notify_waiters();
        for waiting in self.accounts.values().filter_map(Weak::upgrade) {
            waiting.notify_waiters();
        }
    }

    /// Whether anybody waits.
    pub(super) fn is_waited_for(&mut self) -> bool {
        self.accounts.retain(|_, waiting| waiting.strong_count() > 0);
        !self.accounts.is_empty() || Arc::strong_count(&self.ledger) > 1
    }

    /// Wakes whoever waits for a transaction with entries on these accounts.
    pub(super) fn wake(&self, numbers: impl IntoIterator<Item = K>) {
        // Most of the time nobody waits, and telling nobody takes a lock all the same.
        if Arc::strong_count(&self.ledger) > 1 {
            self.ledger.notify_waiters();
        }
        if self.accounts.is_empty() {
            return;
        }
        for number in numbers {
            if let Some(waiting) = self.accounts.get(&number).and_then(Weak::upgrade) {
                waiting.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn whoever_waits_alone_is_woken() {
        let mut watchers = Watchers::default();
        let (ledger, account) = (watchers.of_ledger(), watchers.of_account(1));
        for (changes, numbers) in [(ledger, [2, 3]), (account, [0, 1])] {
            let mut next = pin!(changes.next());
            assert!(!next.as_mut().enable());
            watchers.wake(numbers);
            assert!(next.now_or_never().is_some());
        }
    }
}
