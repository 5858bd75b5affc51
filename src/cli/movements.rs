//! `bank deposit`, `withdraw`, `transfer`, `reverse` and `transaction`.

use super::Failure;
use super::amount;
use super::output::Output;
use super::remote::{Remote, request_id};
use crate::config::{Call, FindTransaction, OneSided, Reverse, Transfer, TypedAmount, TypedPart};
use crate::grpc::proto::get_transaction_request::Key;
use crate::grpc::proto::{
    DepositRequest, GetTransactionRequest, Money, ReverseTransactionRequest, TransferRequest,
    WithdrawRequest,
};

pub(super) async fn deposit(Call { what, how }: Call<OneSided>) -> Result<(), Failure> {
    let amount = typed(&what.amount)?;
    let request = DepositRequest {
        account_id: what.account_id,
        amount: Some(amount),
        description: what.remarks.description,
        labels: what.remarks.labels.into_iter().collect(),
        request_id: request_id(what.once),
    };
    let answer = Remote::new(&how)?
        .call(request, async |mut bank, request| bank.deposit(request).await)
        .await?;
    Output::new(how.output).sheet(&answer)
}

pub(super) async fn withdraw(Call { what, how }: Call<OneSided>) -> Result<(), Failure> {
    let amount = typed(&what.amount)?;
    let request = WithdrawRequest {
        account_id: what.account_id,
        amount: Some(amount),
        description: what.remarks.description,
        labels: what.remarks.labels.into_iter().collect(),
        request_id: request_id(what.once),
    };
    let answer = Remote::new(&how)?
        .call(request, async |mut bank, request| bank.withdraw(request).await)
        .await?;
    Output::new(how.output).sheet(&answer)
}

pub(super) async fn transfer(Call { what, how }: Call<Transfer>) -> Result<(), Failure> {
    let amount = typed(&what.amount)?;
    let request = TransferRequest {
        from_account_id: what.from_account_id,
        to_account_id: what.to_account_id,
        amount: Some(amount),
        description: what.remarks.description,
        labels: what.remarks.labels.into_iter().collect(),
        request_id: request_id(what.once),
    };
    let answer = Remote::new(&how)?
        .call(request, async |mut bank, request| bank.transfer(request).await)
        .await?;
    Output::new(how.output).sheet(&answer)
}

pub(super) async fn reverse(Call { what, how }: Call<Reverse>) -> Result<(), Failure> {
    let bank = Remote::new(&how)?;
    let part = part_of(&what.part, "transaction", async || {
        let key = Some(Key::TransactionId(what.transaction_id.clone()));
        let request = GetTransactionRequest { key };
        let found = bank
            .call(request, async |mut bank, request| bank.get_transaction(request).await)
            .await?;
        Ok(found.transaction.and_then(|transaction| transaction.amount))
    })
    .await?;
    let request = ReverseTransactionRequest {
        amount: part,
        transaction_id: what.transaction_id.clone(),
        description: what.description,
        request_id: request_id(what.once),
    };
    let answer = bank
        .call(request, async |mut bank, request| bank.reverse_transaction(request).await)
        .await?;
    Output::new(how.output).sheet(&answer)
}

pub(super) async fn transaction(Call { what, how }: Call<FindTransaction>) -> Result<(), Failure> {
    let key = what.transaction_id.map(Key::TransactionId).or(what.request_id.map(Key::RequestId));
    let answer = Remote::new(&how)?
        .call(GetTransactionRequest { key }, async |mut bank, request| {
            bank.get_transaction(request).await
        })
        .await?;
    Output::new(how.output).sheet(&answer)
}

/// The amount that was typed.
pub(super) fn typed(amount: &TypedAmount) -> Result<Money, Failure> {
    amount::typed(&amount.amount, amount.currency.as_deref())
}

/// The minor units of a part that was typed. Its currency must be that of the whole, since the bank is
/// told the minor units alone.
pub(super) async fn part_of(
    part: &TypedPart,
    noun: &str,
    whole: impl AsyncFn() -> Result<Option<Money>, Failure>,
) -> Result<Option<i64>, Failure> {
    let Some(amount) = &part.amount else { return Ok(None) };
    let typed = amount::typed(amount, part.currency.as_deref())?;
    let whole = whole().await?.unwrap_or_default();
    if typed.currency_code == whole.currency_code {
        Ok(Some(typed.minor_units))
    } else {
        let (typed, whole) = (typed.currency_code, whole.currency_code);
        Err(Failure::Misused(format!("the {noun} is in {whole}, not in {typed}")))
    }
}
