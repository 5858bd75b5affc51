//! What deciding some requests needs to know of the books.

use std::collections::BTreeSet;

use ahash::HashSet;

use crate::ledger::{AccountId, Command, HoldId, LedgerId, Request, RequestId, Sequence};

/// Names of accounts, requests, holds and transactions.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) accounts: HashSet<AccountId>,
    pub(super) requests: HashSet<RequestId>,
    pub(super) holds: BTreeSet<i64>,
    pub(super) originals: BTreeSet<i64>,
}

impl Wanted {
    /// Adds what a request needs.
    pub(super) fn add(&mut self, request: &Request, ledger: LedgerId) {
        if let Some(id) = &request.id {
            self.requests.insert(id.clone());
        }
        if let Some(movement) = request.command.movement() {
            self.accounts.extend([movement.from, movement.to]);
        }
        match &request.command {
            Command::CreateAccount { account_id, currency, .. } => {
                self.accounts.extend([account_id.id().clone(), AccountId::external(currency)]);
            }
            Command::UpdateAccount { account_id, .. }
            | Command::FreezeAccount { account_id, .. }
            | Command::UnfreezeAccount { account_id, .. }
            | Command::CloseAccount { account_id, .. } => {
                self.accounts.insert(account_id.clone());
            }
            Command::PlaceHold { parties, amount, .. } => {
                let to = parties.to().cloned();
                let to = to.unwrap_or_else(|| AccountId::external(&amount.currency));
                self.accounts.extend([parties.account().clone(), to]);
            }
            Command::CaptureHold { hold_id, .. } | Command::ReleaseHold { hold_id } => {
                self.holds.extend(placed(hold_id, ledger));
            }
            Command::ReverseTransaction { transaction_id, .. } => {
                let original = transaction_id.sequence_in(ledger);
                self.originals.extend(original.and_then(column));
            }
            // Their movements say it all.
            Command::Deposit { .. } | Command::Withdraw { .. } | Command::Transfer { .. } => {}
        }
    }

    /// Whether requests and accounts are all that is wanted.
    pub(super) fn is_named(&self) -> bool {
        self.holds.is_empty() && self.originals.is_empty()
    }
}

/// The record that placed a hold; none when the id can't be that of one.
pub(super) fn placed(id: &HoldId, ledger: LedgerId) -> Option<i64> {
    id.sequence_in(ledger).and_then(column)
}

/// A sequence as it stands in a column; none when it is beyond what one can hold, and so beyond all records.
pub(super) fn column(sequence: Sequence) -> Option<i64> {
    i64::try_from(sequence.number()).ok()
}
