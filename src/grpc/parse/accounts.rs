//! Requests that open, change and close accounts.

use uuid::Uuid;

use crate::grpc::proto;
use crate::grpc::status::Violations;
use crate::ledger::{
    AccountId, Amount, Command, Currency, Description, DisplayName, Etag, Malformed, NewAccountId,
    OverdraftLimit, Request, RequestId,
};

use super::fields::{labels, optional, request_id};

pub(in crate::grpc) fn create_account(
    request: &proto::CreateAccountRequest,
) -> Result<Request, Violations> {
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
    Ok(Request { id, caller: None, command })
}

pub(in crate::grpc) fn update_account(
    request: &proto::UpdateAccountRequest,
) -> Result<Request, Violations> {
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
    Ok(Request { id, caller: None, command })
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

pub(in crate::grpc) fn freeze_account(
    request: &proto::FreezeAccountRequest,
) -> Result<Request, Violations> {
    let (id, account_id, reason) =
        change_of_state(&request.request_id, &request.account_id, &request.reason)?;
    Ok(Request { id, caller: None, command: Command::FreezeAccount { account_id, reason } })
}

pub(in crate::grpc) fn unfreeze_account(
    request: &proto::UnfreezeAccountRequest,
) -> Result<Request, Violations> {
    let (id, account_id, reason) =
        change_of_state(&request.request_id, &request.account_id, &request.reason)?;
    Ok(Request { id, caller: None, command: Command::UnfreezeAccount { account_id, reason } })
}

pub(in crate::grpc) fn close_account(
    request: &proto::CloseAccountRequest,
) -> Result<Request, Violations> {
    let (id, account_id, reason) =
        change_of_state(&request.request_id, &request.account_id, &request.reason)?;
    Ok(Request { id, caller: None, command: Command::CloseAccount { account_id, reason } })
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
