//! `bank account ...`

use prost_types::FieldMask;

use super::Failure;
use super::amount;
use super::output::Output;
use super::paging::walk;
use super::remote::{Remote, request_id};
use crate::config::{
    AccountCommand, AccountStateName, Call, ChangeState, CreateAccount, ListAccounts, OneAccount,
    UpdateAccount,
};
use crate::grpc::proto::{
    Account, AccountState, CloseAccountRequest, CreateAccountRequest, FreezeAccountRequest,
    GetAccountRequest, ListAccountsRequest, UnfreezeAccountRequest, UpdateAccountRequest,
};
use crate::ledger::Currency;

pub(super) async fn run(command: AccountCommand) -> Result<(), Failure> {
    match command {
        AccountCommand::Create(call) => create(call).await,
        AccountCommand::Get(call) => get(call).await,
        AccountCommand::List(call) => list(call).await,
        AccountCommand::Update(call) => update(call).await,
        AccountCommand::Freeze(call) => freeze(call).await,
        AccountCommand::Unfreeze(call) => unfreeze(call).await,
        AccountCommand::Close(call) => close(call).await,
    }
}

async fn create(Call { what, how }: Call<CreateAccount>) -> Result<(), Failure> {
    let minor_units =
        |number| amount::minor_units(number, &what.currency).map_err(Failure::Misused);
    let request = CreateAccountRequest {
        overdraft_limit: minor_units(what.overdraft_limit)?,
        initial_balance: minor_units(what.initial_balance)?,
        account_id: what.account_id,
        currency_code: what.currency.code().to_owned(),
        display_name: what.display_name,
        labels: what.labels.into_iter().collect(),
        request_id: request_id(what.once),
    };
    let bank = Remote::new(&how)?;
    let answer =
        bank.call(request, async |mut bank, request| bank.create_account(request).await).await?;
    Output::new(how.output).sheet(&answer)
}

async fn get(Call { what, how }: Call<OneAccount>) -> Result<(), Failure> {
    let request = GetAccountRequest { account_id: what.account_id };
    let answer = Remote::new(&how)?
        .call(request, async |mut bank, request| bank.get_account(request).await)
        .await?;
    Output::new(how.output).sheet(&answer)
}

async fn list(Call { what, how }: Call<ListAccounts>) -> Result<(), Failure> {
    let bank = Remote::new(&how)?;
    let state = what.state.map_or(AccountState::Unspecified, |state| match state {
        AccountStateName::Active => AccountState::Active,
        AccountStateName::Frozen => AccountState::Frozen,
        AccountStateName::Closed => AccountState::Closed,
    });
    let request = ListAccountsRequest {
        currency_code: what.currency.map_or_else(String::new, |it| it.code().to_owned()),
        state: state.into(),
        account_id_prefix: what.prefix,
        ..ListAccountsRequest::default()
    };
    let accounts = walk(&what.limit, async |page_size, page_token| {
        let request = ListAccountsRequest { page_size, page_token, ..request.clone() };
        let page =
            bank.call(request, async |mut bank, request| bank.list_accounts(request).await).await?;
        Ok((page.accounts, page.next_page_token))
    })
    .await?;
    Output::new(how.output).rows(&accounts)
}

async fn update(Call { what, how }: Call<UpdateAccount>) -> Result<(), Failure> {
    let bank = Remote::new(&how)?;
    let mut account =
        Account { account_id: what.account_id, etag: what.etag, ..Account::default() };
    let mut paths = Vec::new();
    if let Some(name) = what.display_name {
        account.display_name = name;
        paths.push("display_name".to_owned());
    }
    if let Some(limit) = what.overdraft_limit {
        let currency = currency_of(&bank, &account.account_id).await?;
        account.overdraft_limit =
            amount::minor_units(limit, &currency).map_err(Failure::Misused)?;
        paths.push("overdraft_limit".to_owned());
    }
    if what.no_labels || !what.labels.is_empty() {
        account.labels = what.labels.into_iter().collect();
        paths.push("labels".to_owned());
    }
    let request = UpdateAccountRequest {
        account: Some(account),
        update_mask: Some(FieldMask { paths }),
        request_id: request_id(what.once),
    };
    let answer =
        bank.call(request, async |mut bank, request| bank.update_account(request).await).await?;
    Output::new(how.output).sheet(&answer)
}

/// An account never changes its currency, so what is read here stays true.
async fn currency_of(bank: &Remote, account_id: &str) -> Result<Currency, Failure> {
    let request = GetAccountRequest { account_id: account_id.to_owned() };
    let answer =
        bank.call(request, async |mut bank, request| bank.get_account(request).await).await?;
    let code = answer.account.map(|account| account.currency_code).unwrap_or_default();
    Currency::parse(&code)
        .map_err(|_| Failure::Failed(format!("{account_id} holds {code:?}, which is unknown here")))
}

async fn freeze(Call { what, how }: Call<ChangeState>) -> Result<(), Failure> {
    let request = FreezeAccountRequest {
        account_id: what.account_id,
        reason: what.reason,
        request_id: request_id(what.once),
    };
    let answer = Remote::new(&how)?
        .call(request, async |mut bank, request| bank.freeze_account(request).await)
        .await?;
    Output::new(how.output).sheet(&answer)
}

async fn unfreeze(Call { what, how }: Call<ChangeState>) -> Result<(), Failure> {
    let request = UnfreezeAccountRequest {
        account_id: what.account_id,
        reason: what.reason,
        request_id: request_id(what.once),
    };
    let answer = Remote::new(&how)?
        .call(request, async |mut bank, request| bank.unfreeze_account(request).await)
        .await?;
    Output::new(how.output).sheet(&answer)
}

async fn close(Call { what, how }: Call<ChangeState>) -> Result<(), Failure> {
    let request = CloseAccountRequest {
        account_id: what.account_id,
        reason: what.reason,
        request_id: request_id(what.once),
    };
    let answer = Remote::new(&how)?
        .call(request, async |mut bank, request| bank.close_account(request).await)
        .await?;
    Output::new(how.output).sheet(&answer)
}
