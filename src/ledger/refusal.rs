//! Every "no" of the bank, in order of precedence: when several apply, the one that stands higher is
//! the answer.
//!
//! A refusal is a fact about the books, with what a client needs to act on it. What a request looks
//! like on the wire is not in here: a malformed one never becomes a command.

use super::{AccountId, Amount, Currency, HoldId, RequestId, TransactionId};

/// Why a well-formed request has no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are named by the sentence of their variant")]
pub enum Refusal {
    /// The first request with this id asked for something else.
    #[error("request id {} was used for another request: {field} differs", request_id.as_str())]
    RequestIdReused { request_id: RequestId, field: String },
    /// No account has this id.
    #[error("there is no account {account_id}")]
    AccountNotFound { account_id: AccountId },
    /// No transaction has this id.
    #[error("there is no transaction {transaction_id}")]
    TransactionNotFound { transaction_id: TransactionId },
    /// No hold has this id.
    #[error("there is no hold {hold_id}")]
    HoldNotFound { hold_id: HoldId },
    /// An account with this id exists already.
    #[error("account {account_id} exists already")]
    AccountAlreadyExists { account_id: AccountId },
    /// The account was changed since the client saw it.
    #[error("account {account_id} was changed since: its etag is {current_etag:?} now")]
    EtagMismatch { account_id: AccountId, current_etag: String },
    /// The account is closed, for good.
    #[error("account {account_id} is closed")]
    AccountClosed { account_id: AccountId },
    /// No money moves in or out of the account.
    #[error("account {account_id} is frozen")]
    AccountFrozen { account_id: AccountId },
    /// The account holds another currency.
    #[error("account {account_id} holds {account_currency}, not {requested_currency}")]
    CurrencyMismatch {
        account_id: AccountId,
        account_currency: Currency,
        requested_currency: Currency,
    },
    /// The hold was captured, released, or has expired.
    #[error("hold {hold_id} is not held any more: it was {state}")]
    HoldNotActive { hold_id: HoldId, state: HoldEnd },
    /// More was to be captured than is held.
    #[error(
        "hold {hold_id} is of {} minor units, not {}",
        held.minor_units(),
        requested.minor_units()
    )]
    CaptureExceedsHold { hold_id: HoldId, held: Amount, requested: Amount },
    /// A reversal can't be reversed.
    #[error("transaction {transaction_id} is a reversal itself")]
    ReversalOfReversal { transaction_id: TransactionId },
    /// More was to be moved back than is left of the transaction.
    #[error("transaction {transaction_id} has {left} minor units left to reverse")]
    ReversalExceedsRest { transaction_id: TransactionId, left: i64 },
    /// An account can be closed only when nothing is posted or held on it.
    #[error("account {account_id} is not empty: {posted} posted, {held} held")]
    AccountNotEmpty { account_id: AccountId, posted: i64, held: i64 },
    /// The account can't pay so much.
    #[error(
        "account {account_id} has {available} minor units of {currency} available, not {}",
        requested.minor_units()
    )]
    InsufficientFunds {
        account_id: AccountId,
        available: i64,
        requested: Amount,
        currency: Currency,
    },
    /// A figure of the account's balance would leave the range of 64 bits.
    #[error("the balance of account {account_id} would leave the range of 64 bits")]
    BalanceOutOfRange { account_id: AccountId },
}

/// How a hold has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldEnd {
    /// It was captured.
    Captured,
    /// It was released.
    Released,
    /// Its time was up.
    Expired,
}

impl std::fmt::Display for HoldEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Captured => "captured",
            Self::Released => "released",
            Self::Expired => "expired",
        })
    }
}

impl Refusal {
    /// Whether a repeat of the request gets the same refusal again, whatever has happened since.
    ///
    /// A stale etag is not kept: the client reads the account again and sends what is then another
    /// request.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        match self {
            Self::AccountNotFound { .. }
            | Self::AccountAlreadyExists { .. }
            | Self::AccountClosed { .. }
            | Self::AccountFrozen { .. }
            | Self::CurrencyMismatch { .. }
            | Self::TransactionNotFound { .. }
            | Self::HoldNotFound { .. }
            | Self::HoldNotActive { .. }
            | Self::CaptureExceedsHold { .. }
            | Self::ReversalOfReversal { .. }
            | Self::ReversalExceedsRest { .. }
            | Self::AccountNotEmpty { .. }
            | Self::InsufficientFunds { .. }
            | Self::BalanceOutOfRange { .. } => true,
            Self::RequestIdReused { .. } | Self::EtagMismatch { .. } => false,
        }
    }
}
