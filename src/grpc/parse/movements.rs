//! Requests that move money or hold it, alone and in batches.

use crate::grpc::proto;
use crate::grpc::status::Violations;
use crate::ledger::{
    AccountId, Command, Description, HoldId, HoldParties, Parties, Request, TransactionId,
};

use super::fields::{hold_duration, labels, money, optional, optional_amount, request_id};

const MAX_OPERATIONS: usize = 8192;

pub(in crate::grpc) fn deposit(request: &proto::DepositRequest) -> Result<Request, Violations> {
    let mut violations = Violations::default();
    let id = request_id(&mut violations, &request.request_id);
    let account_id = violations.take("account_id", AccountId::parse(&request.account_id));
    let amount = money(&mut violations, request.amount.as_ref());
    let description = violations.take("description", Description::parse(&request.description));
    let labels = labels(&mut violations, "labels", &request.labels);
    match (id, account_id, amount, description, labels) {
        (Ok(id), Ok(account_id), Ok(amount), Ok(description), Ok(labels)) => Ok(Request {
            id,
            caller: None,
            command: Command::Deposit { account_id, amount, description, labels },
        }),
        _ => Err(violations),
    }
}

pub(in crate::grpc) fn withdraw(request: &proto::WithdrawRequest) -> Result<Request, Violations> {
    let mut violations = Violations::default();
    let id = request_id(&mut violations, &request.request_id);
    let account_id = violations.take("account_id", AccountId::parse(&request.account_id));
    let amount = money(&mut violations, request.amount.as_ref());
    let description = violations.take("description", Description::parse(&request.description));
    let labels = labels(&mut violations, "labels", &request.labels);
    match (id, account_id, amount, description, labels) {
        (Ok(id), Ok(account_id), Ok(amount), Ok(description), Ok(labels)) => {
            let command = Command::Withdraw { account_id, amount, description, labels };
            Ok(Request { id, caller: None, command })
        }
        _ => Err(violations),
    }
}

pub(in crate::grpc) fn transfer(request: &proto::TransferRequest) -> Result<Request, Violations> {
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
        (Ok(id), Ok(parties), Ok(amount), Ok(description), Ok(labels)) => Ok(Request {
            id,
            caller: None,
            command: Command::Transfer { parties, amount, description, labels },
        }),
        _ => Err(violations),
    }
}

pub(in crate::grpc) fn place_hold(
    request: &proto::PlaceHoldRequest,
) -> Result<Request, Violations> {
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
    Ok(Request {
        id,
        caller: None,
        command: Command::PlaceHold { parties, amount, ttl, description, labels },
    })
}

pub(in crate::grpc) fn capture_hold(
    request: &proto::CaptureHoldRequest,
) -> Result<Request, Violations> {
    let mut violations = Violations::default();
    let id = request_id(&mut violations, &request.request_id);
    let hold_id = violations.take("hold_id", HoldId::parse(&request.hold_id));
    let amount = optional_amount(&mut violations, request.amount);
    match (id, hold_id, amount) {
        (Ok(id), Ok(hold_id), Ok(amount)) => {
            Ok(Request { id, caller: None, command: Command::CaptureHold { hold_id, amount } })
        }
        _ => Err(violations),
    }
}

pub(in crate::grpc) fn release_hold(
    request: &proto::ReleaseHoldRequest,
) -> Result<Request, Violations> {
    let mut violations = Violations::default();
    let id = request_id(&mut violations, &request.request_id);
    let hold_id = violations.take("hold_id", HoldId::parse(&request.hold_id));
    match (id, hold_id) {
        (Ok(id), Ok(hold_id)) => {
            Ok(Request { id, caller: None, command: Command::ReleaseHold { hold_id } })
        }
        _ => Err(violations),
    }
}

pub(in crate::grpc) fn reverse_transaction(
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
            Ok(Request { id, caller: None, command })
        }
        _ => Err(violations),
    }
}

/// The operations of a batch: for each, the request or what is wrong with it.
///
/// # Errors
///
/// A violation when there are too few or too many.
pub(in crate::grpc) fn operations(
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
pub(in crate::grpc) fn streamed_operation(
    request: &proto::ExecuteStreamRequest,
) -> Result<Request, Violations> {
    let unset = proto::Operation::default();
    operation(request.operation.as_ref().unwrap_or(&unset))
        .map_err(|(kind, it)| it.within(&format!("operation.{kind}")))
}
