//! What this process has left behind: what need not be loaded under the lock as long as nobody else has written.
//!
//! **Invariants:** what is known is used only under the lock of the head row, and only when that bears the hash at
//! which it was so; a hash stands for all records before it. An account is known only while nothing is held on it:
//! then nothing changes it without a record. So nothing hangs on what is known: a process that knows nothing
//! decides the same.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::sheet::Sheet;
use super::wanted::Wanted;
use crate::ledger::{Account, AccountId, Change, RequestId};
use crate::store::chain::ChainHash;

/// How many accounts are known at most, but for a group more.
const MOST: usize = 100_000;

/// How many bytes of labels an account may have and still be known: others would make it large.
const MOST_LABELS: usize = 512;

/// What this process knows.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Left>);

/// How the last group was left.
#[derive(Debug, Default)]
struct Left {
    /// The hash at its end; none before the first.
    at: Option<ChainHash>,
    /// Whether the group before was the last to write when this process's next one came.
    is_alone: bool,
    /// As they stood at that hash.
    accounts: HashMap<AccountId, Numbered>,
    /// The request ids that it brought.
    requests: HashSet<RequestId>,
}

/// An account with its number.
pub(super) type Numbered = (i64, Account);

/// What is known of what is wanted.
#[derive(Debug, Default)]
pub(super) struct Recalled {
    /// The hash at which it is right; none as long as others write too.
    at: Option<ChainHash>,
    pub(super) accounts: Vec<Numbered>,
    /// Request ids that the group before has brought, which may not be committed yet.
    pub(super) repeats: Vec<RequestId>,
}

impl Recalled {
    /// Whether this process seems to be the only one that writes.
    pub(super) fn is_alone(&self) -> bool {
        self.at.is_some()
    }

    /// Whether nobody else has written, as the head row's hash tells.
    pub(super) fn holds_at(&self, hash: &ChainHash) -> bool {
        self.at.as_ref() == Some(hash)
    }
}

impl Known {
    /// What is known of these. Nothing as long as others write too: who is wrong has to ask once more.
    pub(super) fn recall(&self, wanted: &Wanted) -> Recalled {
        let Left { at, is_alone, accounts, requests } = &*self.lock();
        if !is_alone {
            return Recalled::default();
        }
        Recalled {
            at: *at,
            accounts: wanted.accounts.iter().filter_map(|id| accounts.get(id).cloned()).collect(),
            repeats: wanted.requests.iter().filter(|id| requests.contains(*id)).cloned().collect(),
        }
    }

    /// The head row was seen to bear this hash.
    pub(super) fn see(&self, hash: &ChainHash) {
        let mut left = self.lock();
        left.is_alone = left.at.as_ref() == Some(hash);
        if !left.is_alone {
            left.accounts.clear();
        }
    }

    /// How a sheet leaves the books, should it be committed.
    pub(super) fn note(&self, sheet: &Sheet) {
        let Left { at, accounts, requests, .. } = &mut *self.lock();
        let papers = &sheet.papers;
        // Another group may have been here since this one had the lock: one that has lost it and doesn't know yet.
        if *at != Some(sheet.loaded_hash) || accounts.len() > MOST {
            accounts.clear();
        }
        *at = Some(papers.hash);
        requests.clear();
        requests.extend(papers.new.iter().filter_map(|new| new.record.request.id.clone()));
        for (id, number) in papers.numbers.iter() {
            if let Some(standing) = sheet.desk.books.account(id, sheet.desk.last_time) {
                let account = standing.account;
                let labels = account.labels.iter().map(|(key, value)| key.len() + value.len());
                if labels.sum::<usize>() <= MOST_LABELS {
                    accounts.insert(id.clone(), (number, account.clone()));
                } else {
                    accounts.remove(id);
                }
            }
        }
        for id in &sheet.reserved {
            accounts.remove(id);
        }
        for new in &papers.new {
            if let Ok(
                Change::HoldPlaced { hold, .. }
                | Change::HoldCaptured { hold, .. }
                | Change::HoldReleased { hold },
            ) = &new.record.outcome
            {
                accounts.remove(&hold.account_id);
            }
        }
    }

    /// A group has failed: nothing is known any more.
    pub(super) fn forget(&self) {
        *self.lock() = Left::default();
    }

    /// Nothing that is done under the lock can leave it half done.
    fn lock(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
