//! `bank balance`, `statement` and `trial-balance`.

use super::Failure;
use super::output::{Output, Sheet};
use super::paging::walk;
use super::remote::Remote;
use crate::config::{BalanceOf, Call, Statement, TransactionTypeName, TrialBalance};
use crate::grpc::proto::{
    GetBalanceRequest, GetTrialBalanceRequest, ListTransactionsRequest, TransactionType,
};

pub(super) async fn balance(Call { what, how }: Call<BalanceOf>) -> Result<(), Failure> {
    let request = GetBalanceRequest { account_id: what.account_id, as_of_time: what.as_of };
    let answer = Remote::new(&how)?
        .call(request, async |mut bank, request| bank.get_balance(request).await)
        .await?;
    let mut lines = answer.lines();
    if what.as_of.is_some() {
        // Of the past only what was posted is known.
        lines.retain(|(name, _)| !["held", "available"].contains(name));
    }
    Output::new(how.output).answer(&answer, &lines)
}

pub(super) async fn statement(Call { what, how }: Call<Statement>) -> Result<(), Failure> {
    let bank = Remote::new(&how)?;
    let types = what.types.iter().map(|r#type| match r#type {
        TransactionTypeName::Deposit => TransactionType::Deposit,
        TransactionTypeName::Withdrawal => TransactionType::Withdrawal,
        TransactionTypeName::Transfer => TransactionType::Transfer,
        TransactionTypeName::Reversal => TransactionType::Reversal,
    });
    let request = ListTransactionsRequest {
        account_id: what.account_id,
        start_time: what.from,
        end_time: what.to,
        types: types.map(i32::from).collect(),
        oldest_first: what.oldest_first,
        ..ListTransactionsRequest::default()
    };
    let transactions = walk(&what.limit, async |page_size, page_token| {
        let request = ListTransactionsRequest { page_size, page_token, ..request.clone() };
        let page = bank
            .call(request, async |mut bank, request| bank.list_transactions(request).await)
            .await?;
        Ok((page.transactions, page.next_page_token))
    })
    .await?;
    Output::new(how.output).rows(&transactions)
}

pub(super) async fn trial_balance(Call { what, how }: Call<TrialBalance>) -> Result<(), Failure> {
    let currency_code = what.currency.map_or_else(String::new, |it| it.code().to_owned());
    let answer = Remote::new(&how)?
        .call(GetTrialBalanceRequest { currency_code }, async |mut bank, request| {
            bank.get_trial_balance(request).await
        })
        .await?;
    Output::new(how.output).rows(&answer.totals)?;
    match answer.totals.iter().find(|totals| totals.difference != 0) {
        None => Ok(()),
        Some(broken) => Err(Failure::Failed(format!(
            "the books of {} are broken: their accounts do not add up to 0",
            broken.currency_code
        ))),
    }
}
