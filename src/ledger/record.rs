//! What was asked and what came of it: the single currency of the bank.
//!
//! A store keeps records, recovery applies their outcomes again, a repeat is answered from the first
//! one, and every answer is rendered from one. Outcomes are kept beside the requests, so that a later
//! change of the rules never rewrites what has happened.

use super::{
    Account, AccountId, Balance, Command, Description, Hold, Labels, Posting, Refusal, Request,
    RequestId, Sequence, Time,
};

/// What a command that was not refused has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An account was opened, with its initial balance posted if there was one.
    AccountOpened {
        /// The account, its initial balance included.
        account: Account,
        /// The deposit of the initial balance.
        deposit: Option<Posting>,
    },
    /// An account itself was changed: its name, limit, labels or state.
    AccountChanged {
        /// The account after the change.
        account: Account,
    },
    /// Money moved.
    Posted(Posting),
    /// Money was set aside.
    HoldPlaced {
        /// The hold.
        hold: Hold,
        /// What its account holds after it.
        balance: Balance,
    },
    /// Money that was set aside, or a part of it, moved; the rest was let go.
    HoldCaptured {
        /// The hold after it.
        hold: Hold,
        /// The movement.
        posting: Posting,
    },
    /// Money that was set aside was let go.
    HoldReleased {
        /// The hold after it.
        hold: Hold,
    },
    /// The money of a transaction, or a part of it, moved back.
    Reversed {
        /// The record of the transaction.
        original: Sequence,
        /// The movement.
        posting: Posting,
    },
}

impl Change {
    /// The movement of money in it, if there is one.
    #[must_use]
    pub fn posting(&self) -> Option<&Posting> {
        match self {
            Self::AccountOpened { deposit, .. } => deposit.as_ref(),
            Self::AccountChanged { .. } | Self::HoldPlaced { .. } | Self::HoldReleased { .. } => {
                None
            }
            Self::Posted(posting)
            | Self::HoldCaptured { posting, .. }
            | Self::Reversed { posting, .. } => Some(posting),
        }
    }

    /// The hold after it, if it is about one.
    #[must_use]
    pub fn hold(&self) -> Option<&Hold> {
        match self {
            Self::HoldPlaced { hold, .. }
            | Self::HoldCaptured { hold, .. }
            | Self::HoldReleased { hold } => Some(hold),
            Self::AccountOpened { .. }
            | Self::AccountChanged { .. }
            | Self::Posted(_)
            | Self::Reversed { .. } => None,
        }
    }
}

/// A request, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the ledger's one order.
    pub sequence: Sequence,
    /// When it was decided: later than the record before it.
    pub time: Time,
    /// What was asked.
    pub request: Request,
    /// What came of it.
    pub outcome: Result<Change, Refusal>,
}

impl Record {
    /// The movement of money in it, if there is one.
    #[must_use]
    pub fn posting(&self) -> Option<&Posting> {
        self.outcome.as_ref().ok().and_then(Change::posting)
    }

    /// The description and labels that its transaction bears: those of the request, or of the hold
    /// that was captured; none for an initial balance.
    #[must_use]
    pub fn annotations(&self) -> (Option<&Description>, Option<&Labels>) {
        match (&self.request.command, &self.outcome) {
            (
                Command::Deposit { description, labels, .. }
                | Command::Withdraw { description, labels, .. }
                | Command::Transfer { description, labels, .. },
                _,
            ) => (Some(description), Some(labels)),
            (Command::ReverseTransaction { description, .. }, _) => (Some(description), None),
            (_, Ok(Change::HoldCaptured { hold, .. })) => {
                (Some(&hold.description), Some(&hold.labels))
            }
            _ => (None, None),
        }
    }

    /// The balance that its posting left on an account.
    #[must_use]
    pub fn balance_of(&self, account: &AccountId) -> Option<Balance> {
        self.posting().and_then(|posting| posting.balance_of(account))
    }

    /// Whether a later request with this record's request id is a repeat of it.
    ///
    /// # Errors
    ///
    /// [`Refusal::RequestIdReused`] when it asks for anything else.
    pub fn check_repeat(&self, request_id: &RequestId, again: &Request) -> Result<(), Refusal> {
        match self.request.command.first_difference(&again.command) {
            None => Ok(()),
            Some(field) => Err(Refusal::RequestIdReused {
                request_id: request_id.clone(),
                field: field.to_owned(),
            }),
        }
    }
}
