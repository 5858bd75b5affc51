//! From protobuf to what the ledger understands, with everything that is wrong noted at once.
//!
//! Past this file nothing is checked for shape again.

use prost_types::Timestamp;
use uuid::Uuid;

use crate::ledger::{
    AccountId, AccountState, Amount, Command, Currency, Description, DisplayName, Etag,
    HoldDuration, HoldId, HoldParties, Labels, LedgerId, Malformed, Money, NewAccountId,
    OverdraftLimit, Parties, Refusal, Request, RequestId, Sequence, Time, TransactionId,
    TransactionType,
};
use crate::store::{AccountQuery, HoldFilter, HoldQuery, RecordKey, TransactionQuery};

use super::page_token::PageTokens;
use super::proto;
use super::status::{Error, Noted, Violations};

type LabelMap = std::collections::HashMap<String, String>;

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z: the range of `google.protobuf.Timestamp`.
const TIMESTAMP_SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

const DEFAULT_PAGE_SIZE: usize = 50;
const MAX_PAGE_SIZE: usize = 1000;

const MAX_OPERATIONS: usize = 8192;

/// 30 days.
const MAX_HOLD_SECONDS: i64 = 30 * 86_400;

pub(super) fn create_account(request: &proto::CreateAccountRequest) -> Result<Request, Violations> {
    let mut violations = Violations::default();
    let id = request_id(&mut violations, &request.request_id);
    let account_id = if request.account_id.is_empty() {
        // A random UUID matches the pattern of account ids and can't be guessed beforehand.
        AccountId::parse(&Uuid::new_v4().to_string()).map(NewAccountId::ByServer)
    } else {
        AccountId::parse(&request.account_id).map(NewAccountId::ByClient)
    };
    let account_id = violations.take("account_id", account_id);
    let currency = violations.take("currency_code", Currency::parse(&request.currency_code));
    let display_name = violations.take("display_name", DisplayName::parse(&request.display_name));
    let overdraft_limit =
        violations.take("overdraft_limit", OverdraftLimit::new(request.overdraft_limit));
    let labels = labels(&mut violations, "labels", &request.labels);
    let initial_balance = match request.initial_balance {
        0 => Ok(None),
        minor_units => violations
            .take("initial_balance", Amount::new(minor_units).map_err(|_| Malformed::BELOW_ZERO))
            .map(Some),
    };
    let (
        Ok(id),
        Ok(account_id),
        Ok(currency),
        Ok(display_name),
        Ok(overdraft_limit),
        Ok(labels),
        Ok(initial_balance),
    ) = (id, account_id, currency, display_name, overdraft_limit, labels, initial_balance)
    else {
        return Err(violations);
    };
    let command = Command::CreateAccount {
        account_id,
        currency,
        display_name,
        overdraft_limit,
        labels,
        initial_balance,
    };
    Ok(Request { id, command })
}

pub(super) fn update_account(request: &proto::UpdateAccountRequest) -> Result<Request, Violations> {
    let mut violations = Violations::default();
    let id = request_id(&mut violations, &request.request_id);
    let Some(account) = &request.account else {
        violations.add("account", "must be set");
        return Err(violations);
    };
    let account_id = violations.take("account.account_id", AccountId::parse(&account.account_id));
    let etag = match account.etag.as_str() {
        "" => Ok(None),
        etag => violations.take("account.etag", Etag::parse(etag)).map(Some),
    };

    let mask = UpdateMask::of(request.update_mask.as_ref(), account, &mut violations);
    let display_name = optional(mask.display_name, || {
        violations.take("account.display_name", DisplayName::parse(&account.display_name))
    });
    let overdraft_limit = optional(mask.overdraft_limit, || {
        violations.take("account.overdraft_limit", OverdraftLimit::new(account.overdraft_limit))
    });
    let new_labels =
        optional(mask.labels, || labels(&mut violations, "account.labels", &account.labels));
    let (Ok(id), Ok(account_id), Ok(etag), Ok(display_name), Ok(overdraft_limit), Ok(labels)) =
        (id, account_id, etag, display_name, overdraft_limit, new_labels)
    else {
        return Err(violations);
    };
    violations.check()?;
    let command =
        Command::UpdateAccount { account_id, display_name, overdraft_limit, labels, etag };
    Ok(Request { id, command })
}

/// Which fields of an account are to be changed (AIP-134, AIP-161).
#[derive(Default)]
struct UpdateMask {
    display_name: bool,
    overdraft_limit: bool,
    labels: bool,
}

impl UpdateMask {
    /// What the mask names; without one, the fields that are populated. Output-only fields may be
    /// populated, as they are in an account that was read, and are ignored (AIP-203).
    fn of(
        mask: Option<&prost_types::FieldMask>,
        account: &proto::Account,
        violations: &mut Violations,
    ) -> Self {
        let paths = mask.map_or(&[][..], |mask| mask.paths.as_slice());
        if paths.is_empty() {
            return Self {
                display_name: !account.display_name.is_empty(),
                overdraft_limit: account.overdraft_limit != 0,
                labels: !account.labels.is_empty(),
            };
        }
        let mut named = Self::default();
        for path in paths {
            match path.as_str() {
                "display_name" => named.display_name = true,
                "overdraft_limit" => named.overdraft_limit = true,
                "labels" => named.labels = true,
                "*" => named = Self { display_name: true, overdraft_limit: true, labels: true },
                _ => {
                    violations.add(
                        "update_mask",
                        "must name display_name, overdraft_limit, labels or * only",
                    );
                    break;
                }
            }
        }
        named
    }
}

/// A field that is only there when it is wanted.
fn optional<T>(
    is_wanted: bool,
    parse: impl FnOnce() -> Result<T, Noted>,
) -> Result<Option<T>, Noted> {
    if is_wanted { parse().map(Some) } else { Ok(None) }
}

pub(super) fn freeze_account(request: &proto::FreezeAccountRequest) -> Result<Request, Violations> {
    let (id, account_id, reason) =
        change_of_state(&request.request_id, &request.account_id, &request.reason)?;
    Ok(Request { id, command: Command::FreezeAccount { account_id, reason } })
}

pub(super) fn unfreeze_account(
    request: &proto::UnfreezeAccountRequest,
) -> Result<Request, Violations> {
    let (id, account_id, reason) =
        change_of_state(&request.request_id, &request.account_id, &request.reason)?;
    Ok(Request { id, command: Command::UnfreezeAccount { account_id, reason } })
}

pub(super) fn close_account(request: &proto::CloseAccountRequest) -> Result<Request, Violations> {
    let (id, account_id, reason) =
        change_of_state(&request.request_id, &request.account_id, &request.reason)?;
    Ok(Request { id, command: Command::CloseAccount { account_id, reason } })
}

fn change_of_state(
    id: &str,
    account_id: &str,
    reason: &str,
) -> Result<(Option<RequestId>, AccountId, Description), Violations> {
    let mut violations = Violations::default();
    let id = request_id(&mut violations, id);
    let account_id = violations.take("account_id", AccountId::parse(account_id));
    let reason = violations.take("reason", Description::parse(reason));
    match (id, account_id, reason) {
        (Ok(id), Ok(account_id), Ok(reason)) => Ok((id, account_id, reason)),
        _ => Err(violations),
    }
}

pub(super) fn deposit(request: &proto::DepositRequest) -> Result<Request, Violations> {
    let mut violations = Violations::default();
    let id = request_id(&mut violations, &request.request_id);
    let account_id = violations.take("account_id", AccountId::parse(&request.account_id));
    let amount = money(&mut violations, request.amount.as_ref());
    let description = violations.take("description", Description::parse(&request.description));
    let labels = labels(&mut violations, "labels", &request.labels);
    match (id, account_id, amount, description, labels) {
        (Ok(id), Ok(account_id), Ok(amount), Ok(description), Ok(labels)) => Ok(Request {
            id,
            command: Command::Deposit { account_id, amount, description, labels },
        }),
        _ => Err(violations),
    }
}

pub(super) fn withdraw(request: &proto::WithdrawRequest) -> Result<Request, Violations> {
    let mut violations = Violations::default();
    let id = request_id(&mut violations, &request.request_id);
    let account_id = violations.take("account_id", AccountId::parse(&request.account_id));
    let amount = money(&mut violations, request.amount.as_ref());
    let description = violations.take("description", Description::parse(&request.description));
    let labels = labels(&mut violations, "labels", &request.labels);
    match (id, account_id, amount, description, labels) {
        (Ok(id), Ok(account_id), Ok(amount), Ok(description), Ok(labels)) => {
            let command = Command::Withdraw { account_id, amount, description, labels };
            Ok(Request { id, command })
        }
        _ => Err(violations),
    }
}

pub(super) fn transfer(request: &proto::TransferRequest) -> Result<Request, Violations> {
    let mut violations = Violations::default();
    let id = request_id(&mut violations, &request.request_id);
    let from = violations.take("from_account_id", AccountId::parse(&request.from_account_id));
    let to = violations.take("to_account_id", AccountId::parse(&request.to_account_id));
    let parties = match (from, to) {
        (Ok(from), Ok(to)) => violations.take("to_account_id", Parties::new(from, to)),
        (Err(noted), _) | (_, Err(noted)) => Err(noted),
    };
    let amount = money(&mut violations, request.amount.as_ref());
    let description = violations.take("description", Description::parse(&request.description));
    let labels = labels(&mut violations, "labels", &request.labels);
    match (id, parties, amount, description, labels) {
        (Ok(id), Ok(parties), Ok(amount), Ok(description), Ok(labels)) => {
            Ok(Request { id, command: Command::Transfer { parties, amount, description, labels } })
        }
        _ => Err(violations),
    }
}

pub(super) fn place_hold(request: &proto::PlaceHoldRequest) -> Result<Request, Violations> {
    let mut violations = Violations::default();
    let id = request_id(&mut violations, &request.request_id);
    let account_id = violations.take("account_id", AccountId::parse(&request.account_id));
    let to = optional(!request.to_account_id.is_empty(), || {
        violations.take("to_account_id", AccountId::parse(&request.to_account_id))
    });
    let parties = match (account_id, to) {
        (Ok(account_id), Ok(to)) => {
            violations.take("to_account_id", HoldParties::new(account_id, to))
        }
        (Err(noted), _) | (_, Err(noted)) => Err(noted),
    };
    let amount = money(&mut violations, request.amount.as_ref());
    let ttl = hold_duration(&mut violations, request.ttl.as_ref());
    let description = violations.take("description", Description::parse(&request.description));
    let labels = labels(&mut violations, "labels", &request.labels);
    let (Ok(id), Ok(parties), Ok(amount), Ok(ttl), Ok(description), Ok(labels)) =
        (id, parties, amount, ttl, description, labels)
    else {
        return Err(violations);
    };
    Ok(Request { id, command: Command::PlaceHold { parties, amount, ttl, description, labels } })
}

pub(super) fn capture_hold(request: &proto::CaptureHoldRequest) -> Result<Request, Violations> {
    let mut violations = Violations::default();
    let id = request_id(&mut violations, &request.request_id);
    let hold_id = violations.take("hold_id", HoldId::parse(&request.hold_id));
    let amount = optional_amount(&mut violations, request.amount);
    match (id, hold_id, amount) {
        (Ok(id), Ok(hold_id), Ok(amount)) => {
            Ok(Request { id, command: Command::CaptureHold { hold_id, amount } })
        }
        _ => Err(violations),
    }
}

pub(super) fn release_hold(request: &proto::ReleaseHoldRequest) -> Result<Request, Violations> {
    let mut violations = Violations::default();
    let id = request_id(&mut violations, &request.request_id);
    let hold_id = violations.take("hold_id", HoldId::parse(&request.hold_id));
    match (id, hold_id) {
        (Ok(id), Ok(hold_id)) => Ok(Request { id, command: Command::ReleaseHold { hold_id } }),
        _ => Err(violations),
    }
}

pub(super) fn reverse_transaction(
    request: &proto::ReverseTransactionRequest,
) -> Result<Request, Violations> {
    let mut violations = Violations::default();
    let id = request_id(&mut violations, &request.request_id);
    let transaction_id =
        violations.take("transaction_id", TransactionId::parse(&request.transaction_id));
    let amount = optional_amount(&mut violations, request.amount);
    let description = violations.take("description", Description::parse(&request.description));
    match (id, transaction_id, amount, description) {
        (Ok(id), Ok(transaction_id), Ok(amount), Ok(description)) => {
            let command = Command::ReverseTransaction { transaction_id, amount, description };
            Ok(Request { id, command })
        }
        _ => Err(violations),
    }
}

/// The operations of a batch: for each, the request or what is wrong with it.
///
/// # Errors
///
/// A violation when there are too few or too many.
pub(super) fn operations(
    request: &proto::ExecuteBatchRequest,
) -> Result<Vec<Result<Request, Violations>>, Violations> {
    if !(1..=MAX_OPERATIONS).contains(&request.operations.len()) {
        let mut violations = Violations::default();
        violations.add("operations", "must be 1 to 8192");
        return Err(violations);
    }
    let each = request.operations.iter().enumerate();
    Ok(each
        .map(|(index, one)| {
            operation(one)
                .map_err(|(kind, wrong)| wrong.within(&format!("operations[{index}].{kind}")))
        })
        .collect())
}

fn operation(operation: &proto::Operation) -> Result<Request, (&'static str, Violations)> {
    use proto::operation::Operation as Kind;
    match &operation.operation {
        None => {
            let mut violations = Violations::default();
            violations.add("", "must be set");
            Err(("operation", violations))
        }
        Some(Kind::Deposit(request)) => deposit(request).map_err(|it| ("deposit", it)),
        Some(Kind::Withdraw(request)) => withdraw(request).map_err(|it| ("withdraw", it)),
        Some(Kind::Transfer(request)) => transfer(request).map_err(|it| ("transfer", it)),
        Some(Kind::PlaceHold(request)) => place_hold(request).map_err(|it| ("place_hold", it)),
        Some(Kind::CaptureHold(request)) => {
            capture_hold(request).map_err(|it| ("capture_hold", it))
        }
        Some(Kind::ReleaseHold(request)) => {
            release_hold(request).map_err(|it| ("release_hold", it))
        }
        Some(Kind::ReverseTransaction(request)) => {
            reverse_transaction(request).map_err(|it| ("reverse_transaction", it))
        }
    }
}

/// One operation of a stream.
pub(super) fn streamed_operation(
    request: &proto::ExecuteStreamRequest,
) -> Result<Request, Violations> {
    let unset = proto::Operation::default();
    operation(request.operation.as_ref().unwrap_or(&unset)).map_err(|(kind, it)| it.within(kind))
}

/// What to watch, and after which record; `None` is from now on.
pub(super) fn watch_transactions(
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

pub(super) fn get_hold(request: &proto::GetHoldRequest) -> Result<HoldId, Violations> {
    let mut violations = Violations::default();
    violations.take("hold_id", HoldId::parse(&request.hold_id)).map_err(|Noted| violations)
}

pub(super) fn list_holds(
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

pub(super) fn get_account(request: &proto::GetAccountRequest) -> Result<AccountId, Violations> {
    let mut violations = Violations::default();
    violations
        .take("account_id", AccountId::parse_any(&request.account_id))
        .map_err(|Noted| violations)
}

pub(super) fn get_balance(
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

pub(super) fn get_transaction(
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

pub(super) fn get_trial_balance(
    request: &proto::GetTrialBalanceRequest,
) -> Result<Option<Currency>, Violations> {
    let mut violations = Violations::default();
    optional_currency(&mut violations, &request.currency_code).map_err(|Noted| violations)
}

pub(super) fn list_accounts(
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

pub(super) fn list_transactions(
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

fn request_id(violations: &mut Violations, id: &str) -> Result<Option<RequestId>, Noted> {
    optional(!id.is_empty(), || violations.take("request_id", RequestId::parse(id)))
}

fn money(violations: &mut Violations, money: Option<&proto::Money>) -> Result<Money, Noted> {
    let money = money.ok_or_else(|| violations.add("amount", "must be set"))?;
    let currency = violations.take("amount.currency_code", Currency::parse(&money.currency_code));
    let amount = violations.take("amount.minor_units", Amount::new(money.minor_units));
    Ok(Money { currency: currency?, amount: amount? })
}

fn optional_amount(
    violations: &mut Violations,
    minor_units: Option<i64>,
) -> Result<Option<Amount>, Noted> {
    let Some(minor_units) = minor_units else { return Ok(None) };
    violations.take("amount", Amount::new(minor_units)).map(Some)
}

fn hold_duration(
    violations: &mut Violations,
    ttl: Option<&prost_types::Duration>,
) -> Result<Option<HoldDuration>, Noted> {
    let Some(ttl) = ttl else { return Ok(None) };
    let micros = match (ttl.seconds, ttl.nanos) {
        (seconds @ 0..=MAX_HOLD_SECONDS, nanos @ 0..=999_999_999) => {
            seconds * 1_000_000 + ceiling(i64::from(nanos))
        }
        // Below 0, far too long, or with nanos that are none: out of range like a duration of 0.
        _ => 0,
    };
    violations.take("ttl", HoldDuration::from_micros(micros)).map(Some)
}

fn labels(violations: &mut Violations, field: &str, labels: &LabelMap) -> Result<Labels, Noted> {
    let pairs = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    violations.take(field, Labels::parse(pairs))
}

fn optional_currency(violations: &mut Violations, code: &str) -> Result<Option<Currency>, Noted> {
    optional(!code.is_empty(), || violations.take("currency_code", Currency::parse(code)))
}

fn page_size(violations: &mut Violations, page_size: i32) -> Result<usize, Noted> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(DEFAULT_PAGE_SIZE),
        Ok(size) => Ok(size.min(MAX_PAGE_SIZE)),
        Err(_) => Err(violations.add("page_size", "must not be negative")),
    }
}

fn page_token<T>(
    violations: &mut Violations,
    token: &str,
    open: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Noted> {
    if token.is_empty() {
        return Ok(None);
    }
    let description = "must be a next_page_token of this listing, with the same filters";
    open(token).map(Some).ok_or_else(|| violations.add("page_token", description))
}

fn optional_time(
    violations: &mut Violations,
    field: &str,
    timestamp: Option<&Timestamp>,
    round: fn(i64) -> i64,
) -> Result<Option<Time>, Noted> {
    match timestamp.map(|timestamp| time(timestamp, round)) {
        None => Ok(None),
        Some(Ok(time)) => Ok(Some(time)),
        Some(Err(description)) => Err(violations.add(field, description)),
    }
}

fn time(timestamp: &Timestamp, round: fn(i64) -> i64) -> Result<Time, &'static str> {
    if !TIMESTAMP_SECONDS.contains(&timestamp.seconds) {
        return Err("must be from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z");
    }
    if !(0..1_000_000_000).contains(&timestamp.nanos) {
        return Err("must have nanos from 0 to 999999999");
    }
    let micros = timestamp.seconds * 1_000_000 + round(i64::from(timestamp.nanos));
    Ok(Time::from_micros(micros))
}

/// Nanoseconds to the whole microsecond at or before them.
fn floor(nanos: i64) -> i64 {
    nanos / 1000
}

/// Nanoseconds to the whole microsecond at or after them.
fn ceiling(nanos: i64) -> i64 {
    (nanos + 999) / 1000
}
