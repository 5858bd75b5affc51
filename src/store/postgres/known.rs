//! What this process has left behind: what need not be loaded under the lock as long as nobody else has written.
//!
//! **Invariants:** nothing that rests on what is known is committed before the head row, under its lock, was seen to
//! bear the hash at which it was so; a hash stands for all records before it. An account is known only while nothing
//! is held on it: then nothing changes it without a record. What isn't known is foreseen to be as it is in the table
//! if the group at work doesn't work on it. So nothing hangs on what is known: a process that knows nothing decides the same.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::{HashMap, HashSet};
use tokio::sync::watch;

use super::numbers::Thread;
use super::sheet::{HeadRow, Sheet};
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
    /// The head row at its end; none before the first.
    at: Option<HeadRow>,
    /// Whether the group before was the last to write when this process's next one came.
    is_alone: bool,
    /// As they stood at its end, all that it worked on among them; none of one that has to be loaded under the lock.
    accounts: HashMap<AccountId, Option<Threaded>>,
    /// The groups that have not ended yet, in their order.
    at_work: Vec<AtWork>,
}

/// A group that was decided and has not ended yet.
#[derive(Debug)]
struct AtWork {
    /// The request ids that it brings.
    requests: HashSet<RequestId>,
    progress: Progress,
}

/// How far a group is, for the one that comes after it.
#[derive(Clone, Debug)]
pub(super) struct Progress(watch::Receiver<bool>);

impl Progress {
    /// The progress of a group that is about to begin. The sender says true once the group has the lock of the head
    /// row and has written its records, and so waits for nobody's; it is dropped when the group has ended: when it
    /// is committed, or nothing that rests on it is known any more.
    pub(super) fn begin() -> (watch::Sender<bool>, Self) {
        let (group, progress) = watch::channel(false);
        (group, Self(progress))
    }

    fn has_ended(&self) -> bool {
        self.0.has_changed().is_err()
    }

    /// Waits until the group has the lock and has written its records, or has ended.
    pub(super) async fn until_in_place(&mut self) {
        let _ = self.0.wait_for(|is_in_place| *is_in_place).await;
    }

    /// Waits until the group has ended, whatever has come of it.
    pub(super) async fn until_ended(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// An account with its number and the end of its thread.
pub(super) type Threaded = (Thread, Account);

/// What is known of what is wanted.
#[derive(Debug, Default)]
pub(super) struct Recalled {
    /// The hash at which it is right; none as long as others write too, or a group of this process is at work.
    at: Option<ChainHash>,
    pub(super) accounts: Vec<Threaded>,
}

impl Recalled {
    /// Whether this process seems to be the only one that writes, and to have no group at work.
    pub(super) fn is_alone(&self) -> bool {
        self.at.is_some()
    }

    /// Whether nobody else has written, as the head row's hash tells.
    pub(super) fn holds_at(&self, hash: &ChainHash) -> bool {
        self.at.as_ref() == Some(hash)
    }
}

/// All that is wanted, as a group that is still at work will leave it.
#[derive(Debug)]
pub(super) struct Foreseen {
    pub(super) head: HeadRow,
    pub(super) accounts: Vec<Threaded>,
    /// Those that it leaves as they are in the table.
    pub(super) untouched: Vec<AccountId>,
    /// That of the group.
    pub(super) before: Progress,
}

impl Known {
    /// Whether this process seems to be the only one that writes.
    pub(super) fn is_alone(&self) -> bool {
        self.lock().is_alone
    }

    /// Waits until a group may begin that isn't ahead: who is alone waits until the groups at work have ended, and need
    /// not load what those leave; where others write too, it stands at the lock as soon as nobody is ahead of it.
    pub(super) async fn until_next(&self) {
        let (is_alone, at_work) = {
            let left = self.lock();
            let at_work = left.at_work.iter().map(|group| group.progress.clone());
            (left.is_alone, at_work.collect::<Vec<_>>())
        };
        for mut group in at_work {
            if is_alone {
                group.until_ended().await;
            } else {
                group.until_in_place().await;
            }
        }
    }

    /// All that is wanted, as the last group will leave it. Nothing when that has ended, when a part of it has to be
    /// loaded under the lock, or when it may be the repeat of a request that isn't committed yet.
    pub(super) fn foresee(&self, wanted: &Wanted) -> Option<Foreseen> {
        let Left { at, is_alone, accounts, at_work } = &*self.lock();
        let mut before = at_work.iter().map(|group| &group.progress).filter(|it| !it.has_ended());
        // What isn't known of the last one's end may be at work in another.
        let (Some(before), None) = (before.next(), before.next()) else { return None };
        let is_new = |id| !at_work.iter().any(|group| group.requests.contains(id));
        let can = *is_alone && wanted.is_named() && wanted.requests.iter().all(is_new);
        if !can {
            return None;
        }
        let (mut known, mut untouched) = (Vec::with_capacity(wanted.accounts.len()), Vec::new());
        for id in &wanted.accounts {
            match accounts.get(id) {
                Some(account) => known.push(account.clone()?),
                None => untouched.push(id.clone()),
            }
        }
        Some(Foreseen { head: (*at)?, accounts: known, untouched, before: before.clone() })
    }

    /// What is known of these. Nothing as long as others write too: who is wrong has to ask once more. And nothing
    /// while a group is at work: repeats of what it brings can't be found yet.
    pub(super) fn recall(&self, wanted: &Wanted) -> Recalled {
        let Left { at, is_alone, accounts, at_work } = &*self.lock();
        if !is_alone || at_work.iter().any(|group| !group.progress.has_ended()) {
            return Recalled::default();
        }
        Recalled {
            at: at.map(|at| at.hash),
            accounts: wanted.accounts.iter().filter_map(|id| accounts.get(id)?.clone()).collect(),
        }
    }

    /// The head row was seen to bear this hash by who loads what it works on.
    pub(super) fn see(&self, hash: &ChainHash) {
        let mut left = self.lock();
        left.is_alone = left.at.is_some_and(|at| at.hash == *hash);
        if !left.is_alone {
            left.accounts.clear();
        }
    }

    /// How a sheet leaves the books, should it be committed.
    pub(super) fn note(&self, sheet: &Sheet, progress: Progress) {
        let Left { at, accounts, at_work, .. } = &mut *self.lock();
        let papers = &sheet.papers;
        // Another group may have been here since this one had the lock: one that has lost it and doesn't know yet.
        if at.is_none_or(|at| at.hash != sheet.loaded.hash) || accounts.len() > MOST {
            accounts.clear();
        }
        *at = Some(sheet.head());
        let ids = papers.new.iter().filter_map(|new| new.record.request.id.clone());
        at_work.retain(|group| !group.progress.has_ended());
        at_work.push(AtWork { requests: ids.collect(), progress });
        for (id, thread) in papers.numbers.iter() {
            if let Some(standing) = sheet.desk.books.account(id, sheet.desk.last_time) {
                let account = standing.account;
                let labels = account.labels.iter().map(|(key, value)| key.len() + value.len());
                let is_small = labels.sum::<usize>() <= MOST_LABELS;
                accounts.insert(id.clone(), is_small.then(|| (thread, account.clone())));
            }
        }
        for id in &sheet.reserved {
            accounts.insert(id.clone(), None);
        }
        for new in &papers.new {
            if let Ok(
                Change::HoldPlaced { hold, .. }
                | Change::HoldCaptured { hold, .. }
                | Change::HoldReleased { hold },
            ) = &new.record.outcome
            {
                accounts.insert(hold.account_id.clone(), None);
            }
        }
    }

    /// A group has failed: nothing is known any more of how groups leave the books.
    pub(super) fn forget(&self) {
        let left = &mut *self.lock();
        let at_work = std::mem::take(&mut left.at_work);
        *left = Left { at_work, ..Left::default() };
    }

    /// Nothing that is done under the lock can leave it half done.
    fn lock(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
