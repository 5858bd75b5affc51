//! What was refused, and why.

use crate::ledger::{
    AccountId, Amount, Currency, HoldEnd, HoldId, Refusal, RequestId, TransactionId,
};

use super::{DecodeError, stored};

pub(super) fn store_refusal(refusal: &Refusal) -> stored::Refusal {
    use stored::refusal::Refusal as Stored;
    stored::Refusal {
        refusal: Some(match refusal {
            Refusal::RequestIdReused { request_id, field } => {
                Stored::RequestIdReused(stored::RequestIdReused {
                    request_id: request_id.as_str().to_owned(),
                    field: field.clone(),
                })
            }
            Refusal::AccountNotFound { account_id } => {
                Stored::AccountNotFound(account_id.to_string())
            }
            Refusal::AccountAlreadyExists { account_id } => {
                Stored::AccountAlreadyExists(account_id.to_string())
            }
            Refusal::EtagMismatch { account_id, current_etag } => {
                Stored::EtagMismatch(stored::EtagMismatch {
                    account_id: account_id.to_string(),
                    current_etag: current_etag.clone(),
                })
            }
            Refusal::AccountClosed { account_id } => Stored::AccountClosed(account_id.to_string()),
            Refusal::AccountFrozen { account_id } => Stored::AccountFrozen(account_id.to_string()),
            Refusal::CurrencyMismatch { account_id, account_currency, requested_currency } => {
                Stored::CurrencyMismatch(stored::CurrencyMismatch {
                    account_id: account_id.to_string(),
                    account_currency_code: account_currency.code().to_owned(),
                    requested_currency_code: requested_currency.code().to_owned(),
                })
            }
            Refusal::AccountNotEmpty { account_id, posted, held } => {
                Stored::AccountNotEmpty(stored::AccountNotEmpty {
                    account_id: account_id.to_string(),
                    posted: *posted,
                    held: *held,
                })
            }
            Refusal::InsufficientFunds { account_id, available, requested, currency } => {
                Stored::InsufficientFunds(stored::InsufficientFunds {
                    account_id: account_id.to_string(),
                    available: *available,
                    requested: requested.minor_units(),
                    currency_code: currency.code().to_owned(),
                })
            }
            Refusal::BalanceOutOfRange { account_id } => {
                Stored::BalanceOutOfRange(account_id.to_string())
            }
            Refusal::TransactionNotFound { transaction_id } => {
                Stored::TransactionNotFound(transaction_id.to_string())
            }
            Refusal::HoldNotFound { hold_id } => Stored::HoldNotFound(hold_id.to_string()),
            Refusal::HoldNotActive { hold_id, state } => {
                Stored::HoldNotActive(stored::HoldNotActive {
                    hold_id: hold_id.to_string(),
                    end: match state {
                        HoldEnd::Captured => stored::HoldEnd::Captured,
                        HoldEnd::Released => stored::HoldEnd::Released,
                        HoldEnd::Expired => stored::HoldEnd::Expired,
                    }
                    .into(),
                })
            }
            Refusal::CaptureExceedsHold { hold_id, held, requested } => {
                Stored::CaptureExceedsHold(stored::CaptureExceedsHold {
                    hold_id: hold_id.to_string(),
                    held: held.minor_units(),
                    requested: requested.minor_units(),
                })
            }
            Refusal::ReversalOfReversal { transaction_id } => {
                Stored::ReversalOfReversal(transaction_id.to_string())
            }
            Refusal::ReversalExceedsRest { transaction_id, left } => {
                Stored::ReversalExceedsRest(stored::ReversalExceedsRest {
                    transaction_id: transaction_id.to_string(),
                    left: *left,
                })
            }
        }),
    }
}

pub(super) fn read_refusal(refusal: stored::Refusal) -> Result<Refusal, DecodeError> {
    use stored::refusal::Refusal as Stored;
    Ok(match refusal.refusal.ok_or(DecodeError::Missing("the refusal"))? {
        Stored::RequestIdReused(reused) => Refusal::RequestIdReused {
            request_id: RequestId::parse(&reused.request_id)?,
            field: reused.field,
        },
        Stored::AccountNotFound(id) => {
            Refusal::AccountNotFound { account_id: AccountId::parse(&id)? }
        }
        Stored::AccountAlreadyExists(id) => {
            Refusal::AccountAlreadyExists { account_id: AccountId::parse(&id)? }
        }
        Stored::EtagMismatch(mismatch) => Refusal::EtagMismatch {
            account_id: AccountId::parse(&mismatch.account_id)?,
            current_etag: mismatch.current_etag,
        },
        Stored::AccountClosed(id) => Refusal::AccountClosed { account_id: AccountId::parse(&id)? },
        Stored::AccountFrozen(id) => Refusal::AccountFrozen { account_id: AccountId::parse(&id)? },
        Stored::CurrencyMismatch(mismatch) => Refusal::CurrencyMismatch {
            account_id: AccountId::parse(&mismatch.account_id)?,
            account_currency: Currency::parse(&mismatch.account_currency_code)?,
            requested_currency: Currency::parse(&mismatch.requested_currency_code)?,
        },
        Stored::AccountNotEmpty(not_empty) => Refusal::AccountNotEmpty {
            account_id: AccountId::parse(&not_empty.account_id)?,
            posted: not_empty.posted,
            held: not_empty.held,
        },
        Stored::InsufficientFunds(insufficient) => Refusal::InsufficientFunds {
            account_id: AccountId::parse(&insufficient.account_id)?,
            available: insufficient.available,
            requested: Amount::new(insufficient.requested)?,
            currency: Currency::parse(&insufficient.currency_code)?,
        },
        Stored::BalanceOutOfRange(id) => {
            Refusal::BalanceOutOfRange { account_id: AccountId::parse_any(&id)? }
        }
        Stored::TransactionNotFound(id) => {
            Refusal::TransactionNotFound { transaction_id: TransactionId::parse(&id)? }
        }
        Stored::HoldNotFound(id) => Refusal::HoldNotFound { hold_id: HoldId::parse(&id)? },
        Stored::HoldNotActive(ended) => Refusal::HoldNotActive {
            hold_id: HoldId::parse(&ended.hold_id)?,
            state: match ended.end() {
                stored::HoldEnd::Unspecified => {
                    return Err(DecodeError::Missing("the hold's end"));
                }
                stored::HoldEnd::Captured => HoldEnd::Captured,
                stored::HoldEnd::Released => HoldEnd::Released,
                stored::HoldEnd::Expired => HoldEnd::Expired,
            },
        },
        Stored::CaptureExceedsHold(exceeds) => Refusal::CaptureExceedsHold {
            hold_id: HoldId::parse(&exceeds.hold_id)?,
            held: Amount::new(exceeds.held)?,
            requested: Amount::new(exceeds.requested)?,
        },
        Stored::ReversalOfReversal(id) => {
            Refusal::ReversalOfReversal { transaction_id: TransactionId::parse(&id)? }
        }
        Stored::ReversalExceedsRest(exceeds) => Refusal::ReversalExceedsRest {
            transaction_id: TransactionId::parse(&exceeds.transaction_id)?,
            left: exceeds.left,
        },
    })
}
