//! How much a store in memory keeps, at the most.
//!
//! Every record leaves something in memory for good, kept refusals included, so only their number bounds it.
//! **Invariants:** what is there is served whatever the bounds are, and a file that has more is read all the
//! same; a repeat is answered; a request that there is no room for leaves no trace, so its id is free.

use std::collections::HashSet;
use std::sync::Once;

use super::Error;
use crate::ledger::{AccountId, Books, Command, Request, RequestId, Sequence};

/// How much is kept at the most. The default is as much as there is memory for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many accounts, closed ones and those of the outside world included.
    pub accounts: usize,
    /// How many currencies: a trial balance tells all of them at once.
    pub currencies: usize,
    /// How many records: transactions, openings and changes of accounts, holds, refusals that are kept.
    pub records: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { accounts: usize::MAX, currencies: usize::MAX, records: u64::MAX }
    }
}

/// Of what there is as much as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// [`Bounds::accounts`].
    Accounts,
    /// [`Bounds::currencies`].
    Currencies,
    /// [`Bounds::records`].
    Records,
}

impl Bound {
    /// The plural of what it bounds.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Currencies => "currencies",
            Self::Records => "records",
        }
    }
}

/// What room there is within the bounds.
#[derive(Debug)]
pub(super) struct Room {
    bounds: Bounds,
    /// The log is told once: room never comes back.
    told: Once,
}

impl Room {
    pub(super) fn within(bounds: Bounds) -> Self {
        Self { bounds, told: Once::new() }
    }

    /// Whether a request that is no repeat may leave a record after the last.
    ///
    /// # Errors
    ///
    /// [`Error::AtBound`] when it may not.
    pub(super) fn check(
        &self,
        books: &Books,
        last: Sequence,
        command: &Command,
    ) -> Result<(), Error> {
        if last.number() >= self.bounds.records {
            return Err(self.reached(Bound::Records));
        }
        if let Command::CreateAccount { currency, .. } = command {
            let is_first = books.number(&AccountId::external(currency)).is_none();
            let accounts = books.account_count() + 1 + usize::from(is_first);
            if accounts > self.bounds.accounts {
                return Err(self.reached(Bound::Accounts));
            }
            if is_first && books.totals().len() >= self.bounds.currencies {
                return Err(self.reached(Bound::Currencies));
            }
        }
        Ok(())
    }

    /// Whether all of these may leave a record, but for repeats; so that a batch is not done in part.
    ///
    /// # Errors
    ///
    /// [`Error::AtBound`] when they may not, or the first error of `is_known`.
    pub(super) fn check_all(
        &self,
        last: Sequence,
        requests: &[Request],
        mut is_known: impl FnMut(&RequestId) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut room = self.bounds.records.saturating_sub(last.number());
        if requests.len() as u64 <= room {
            return Ok(());
        }
        let mut seen = HashSet::new();
        for request in requests {
            let is_repeat = match &request.id {
                Some(id) => !seen.insert(id) || is_known(id)?,
                None => false,
            };
            if !is_repeat {
                room = room.checked_sub(1).ok_or_else(|| self.reached(Bound::Records))?;
            }
        }
        Ok(())
    }

    fn reached(&self, bound: Bound) -> Error {
        self.told.call_once(|| {
            let of = bound.name();
            tracing::error!(of, bounds = ?self.bounds, "the bank is full: there are as many as may be");
        });
        Error::AtBound(bound)
    }
}
