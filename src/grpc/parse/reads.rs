//! Requests that read.

use crate::grpc::page_token::PageTokens;
use crate::grpc::proto;
use crate::grpc::status::{Error, Noted, Violations};
use crate::ledger::{
    AccountId, AccountState, Currency, HoldId, LedgerId, Refusal, RequestId, Sequence, Time,
    TransactionId, TransactionType,
};
use crate::store::{AccountQuery, HoldFilter, HoldQuery, RecordKey, TransactionQuery};

use super::fields::{
    ceiling, floor, optional, optional_currency, optional_time, page_size, page_token,
};

/// What to watch, and after which record; `None` is from now on.
pub(in crate::grpc) fn watch_transactions(
    request: &proto::WatchTransactionsRequest,
    tokens: &PageTokens,
    head: Sequence,
) -> Result<(Option<AccountId>, Sequence), Violations> {
    let mut violations = Violations::default();
    let account_id = optional(!request.account_id.is_empty(), || {
        violations.take("account_id", AccountId::parse_any(&request.account_id))
    });
    let after = if request.resume_token.is_empty() {
        Ok(head)
    } else {
        let opened = tokens.open_sequence(&request.resume_token).filter(|after| *after <= head);
        opened.ok_or_else(|| {
            violations.add("resume_token", "must be one of this feed, for the same account")
        })
    };
    match (account_id, after) {
        (Ok(account_id), Ok(after)) => Ok((account_id, after)),
        _ => Err(violations),
    }
}

pub(in crate::grpc) fn get_hold(request: &proto::GetHoldRequest) -> Result<HoldId, Violations> {
    let mut violations = Violations::default();
    violations.take("hold_id", HoldId::parse(&request.hold_id)).map_err(|Noted| violations)
}

pub(in crate::grpc) fn list_holds(
    request: &proto::ListHoldsRequest,
    tokens: &PageTokens,
) -> Result<HoldQuery, Violations> {
    let mut violations = Violations::default();
    let account_id = optional(!request.account_id.is_empty(), || {
        violations.take("account_id", AccountId::parse_any(&request.account_id))
    });
    let state = match proto::HoldState::try_from(request.state) {
        Ok(proto::HoldState::Unspecified) => Ok(None),
        Ok(proto::HoldState::Held) => Ok(Some(HoldFilter::Held)),
        Ok(proto::HoldState::Captured) => Ok(Some(HoldFilter::Captured)),
        Ok(proto::HoldState::Released) => Ok(Some(HoldFilter::Released)),
        Ok(proto::HoldState::Expired) => Ok(Some(HoldFilter::Expired)),
        Err(_) => Err(violations.add("state", "must be a known HoldState")),
    };
    let page_size = page_size(&mut violations, request.page_size);
    let before =
        page_token(&mut violations, &request.page_token, |token| tokens.open_sequence(token));
    match (account_id, state, page_size, before) {
        (Ok(account_id), Ok(state), Ok(page_size), Ok(before)) => {
            Ok(HoldQuery { account_id, state, before, page_size })
        }
        _ => Err(violations),
    }
}

pub(in crate::grpc) fn get_account(
    request: &proto::GetAccountRequest,
) -> Result<AccountId, Violations> {
    let mut violations = Violations::default();
    violations
        .take("account_id", AccountId::parse_any(&request.account_id))
        .map_err(|Noted| violations)
}

pub(in crate::grpc) fn get_balance(
    request: &proto::GetBalanceRequest,
) -> Result<(AccountId, Option<Time>), Violations> {
    let mut violations = Violations::default();
    let account_id = violations.take("account_id", AccountId::parse_any(&request.account_id));
    let time = optional_time(&mut violations, "as_of_time", request.as_of_time.as_ref(), floor);
    match (account_id, time) {
        (Ok(account_id), Ok(time)) => Ok((account_id, time)),
        _ => Err(violations),
    }
}

pub(in crate::grpc) fn get_transaction(
    request: &proto::GetTransactionRequest,
    ledger: LedgerId,
) -> Result<RecordKey, Error> {
    use proto::get_transaction_request::Key;
    let mut violations = Violations::default();
    match &request.key {
        None => {
            violations.add("key", "must be set: transaction_id or request_id");
        }
        Some(Key::TransactionId(id)) => {
            if let Ok(id) = violations.take("transaction_id", TransactionId::parse(id)) {
                return id
                    .sequence_in(ledger)
                    .map(RecordKey::Sequence)
                    .ok_or(Error::Refused(Refusal::TransactionNotFound { transaction_id: id }));
            }
        }
        Some(Key::RequestId(id)) => {
            if let Ok(id) = violations.take("request_id", RequestId::parse(id)) {
                return Ok(RecordKey::RequestId(id));
            }
        }
    }
    Err(violations.into())
}

pub(in crate::grpc) fn get_trial_balance(
    request: &proto::GetTrialBalanceRequest,
) -> Result<Option<Currency>, Violations> {
    let mut violations = Violations::default();
    optional_currency(&mut violations, &request.currency_code).map_err(|Noted| violations)
}

pub(in crate::grpc) fn list_accounts(
    request: &proto::ListAccountsRequest,
    tokens: &PageTokens,
) -> Result<AccountQuery, Violations> {
    let mut violations = Violations::default();
    let page_size = page_size(&mut violations, request.page_size);
    let after =
        page_token(&mut violations, &request.page_token, |token| tokens.open_account(token));
    let currency = optional_currency(&mut violations, &request.currency_code);
    let state = match proto::AccountState::try_from(request.state) {
        Ok(proto::AccountState::Unspecified) => Ok(None),
        Ok(proto::AccountState::Active) => Ok(Some(AccountState::Active)),
        Ok(proto::AccountState::Frozen) => Ok(Some(AccountState::Frozen)),
        Ok(proto::AccountState::Closed) => Ok(Some(AccountState::Closed)),
        Err(_) => Err(violations.add("state", "must be a known AccountState")),
    };
    if request.account_id_prefix.len() > 64 {
        violations.add("account_id_prefix", "must be at most 64 characters");
    }
    let (Ok(page_size), Ok(after), Ok(currency), Ok(state)) = (page_size, after, currency, state)
    else {
        return Err(violations);
    };
    violations.check()?;
    let id_prefix = request.account_id_prefix.clone();
    Ok(AccountQuery { currency, state, id_prefix, after, page_size })
}

pub(in crate::grpc) fn list_transactions(
    request: &proto::ListTransactionsRequest,
    tokens: &PageTokens,
) -> Result<TransactionQuery, Violations> {
    let mut violations = Violations::default();
    let account_id = optional(!request.account_id.is_empty(), || {
        violations.take("account_id", AccountId::parse_any(&request.account_id))
    });
    let page_size = page_size(&mut violations, request.page_size);
    let cursor =
        page_token(&mut violations, &request.page_token, |token| tokens.open_cursor(token));
    // Times of transactions are whole microseconds: at or after 1.5 us means at or after 2 us, and
    // before 1.5 us means before 2 us.
    let start_time =
        optional_time(&mut violations, "start_time", request.start_time.as_ref(), ceiling);
    let end_time = optional_time(&mut violations, "end_time", request.end_time.as_ref(), ceiling);
    if let (Ok(Some(start)), Ok(Some(end))) = (start_time, end_time)
        && end < start
    {
        violations.add("end_time", "must not be before start_time");
    }
    let types = transaction_types(&mut violations, &request.types);
    let (Ok(account_id), Ok(page_size), Ok(cursor), Ok(start_time), Ok(end_time), Ok(types)) =
        (account_id, page_size, cursor, start_time, end_time, types)
    else {
        return Err(violations);
    };
    violations.check()?;
    let oldest_first = request.oldest_first;
    Ok(TransactionQuery {
        account_id,
        start_time,
        end_time,
        types,
        oldest_first,
        cursor,
        page_size,
    })
}

fn transaction_types(
    violations: &mut Violations,
    types: &[i32],
) -> Result<Vec<TransactionType>, Noted> {
    let read = |kind: &i32| match proto::TransactionType::try_from(*kind) {
        Ok(proto::TransactionType::Deposit) => Some(TransactionType::Deposit),
        Ok(proto::TransactionType::Withdrawal) => Some(TransactionType::Withdrawal),
        Ok(proto::TransactionType::Transfer) => Some(TransactionType::Transfer),
        Ok(proto::TransactionType::Reversal) => Some(TransactionType::Reversal),
        Ok(proto::TransactionType::Unspecified) | Err(_) => None,
    };
    types
        .iter()
        .map(read)
        .collect::<Option<_>>()
        .ok_or_else(|| violations.add("types", "must be known types, and none unspecified"))
}
