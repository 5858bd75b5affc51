//! `bank.v1.BankService`: parse -> execute -> render, nothing else.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::ledger;
use crate::store::{Executed, RecordKey, Store};

use super::observe::CallLog;
use super::page_token::PageTokens;
use super::proto::bank_service_server::BankService;
use super::status::{Error, MissingTransaction, row};
use super::{parse, proto, render};

/// Answers the API's calls from a store.
#[derive(Debug)]
pub struct Service<S> {
    store: Arc<S>,
}

impl<S: Store> Service<S> {
    /// Answers from this store.
    pub fn new(store: Arc<S>) -> Self {
        Self { store }
    }

    async fn execute(
        &self,
        call: Option<Arc<CallLog>>,
        request: ledger::Request,
    ) -> Result<Executed, Error> {
        if let (Some(call), Some(id)) = (call, &request.id) {
            call.note_request_id(id);
        }
        Ok(self.store.execute(request).await??)
    }

    async fn create_account(
        &self,
        call: Option<Arc<CallLog>>,
        request: proto::CreateAccountRequest,
    ) -> Result<proto::CreateAccountResponse, Error> {
        let executed = self.execute(call, parse::create_account(&request)?).await?;
        Ok(proto::CreateAccountResponse {
            account: Some(render::changed_account(&executed)?),
            replayed: executed.replayed,
        })
    }

    async fn update_account(
        &self,
        call: Option<Arc<CallLog>>,
        request: proto::UpdateAccountRequest,
    ) -> Result<proto::UpdateAccountResponse, Error> {
        let executed = self.execute(call, parse::update_account(&request)?).await?;
        Ok(proto::UpdateAccountResponse {
            account: Some(render::changed_account(&executed)?),
            replayed: executed.replayed,
        })
    }

    async fn freeze_account(
        &self,
        call: Option<Arc<CallLog>>,
        request: proto::FreezeAccountRequest,
    ) -> Result<proto::FreezeAccountResponse, Error> {
        let executed = self.execute(call, parse::freeze_account(&request)?).await?;
        Ok(proto::FreezeAccountResponse {
            account: Some(render::changed_account(&executed)?),
            replayed: executed.replayed,
        })
    }

    async fn unfreeze_account(
        &self,
        call: Option<Arc<CallLog>>,
        request: proto::UnfreezeAccountRequest,
    ) -> Result<proto::UnfreezeAccountResponse, Error> {
        let executed = self.execute(call, parse::unfreeze_account(&request)?).await?;
        Ok(proto::UnfreezeAccountResponse {
            account: Some(render::changed_account(&executed)?),
            replayed: executed.replayed,
        })
    }

    async fn close_account(
        &self,
        call: Option<Arc<CallLog>>,
        request: proto::CloseAccountRequest,
    ) -> Result<proto::CloseAccountResponse, Error> {
        let executed = self.execute(call, parse::close_account(&request)?).await?;
        Ok(proto::CloseAccountResponse {
            account: Some(render::changed_account(&executed)?),
            replayed: executed.replayed,
        })
    }

    async fn deposit(
        &self,
        call: Option<Arc<CallLog>>,
        request: proto::DepositRequest,
    ) -> Result<proto::DepositResponse, Error> {
        let executed = self.execute(call, parse::deposit(&request)?).await?;
        let Executed { record, replayed } = &executed;
        let posting = render::made_posting(record)?;
        let account = &posting.movement.to;
        Ok(proto::DepositResponse {
            transaction: Some(render::transaction(self.store.ledger_id(), record, Some(account))?),
            balance: Some(render::left_balance(record, posting, &posting.to_balance)),
            replayed: *replayed,
        })
    }

    async fn withdraw(
        &self,
        call: Option<Arc<CallLog>>,
        request: proto::WithdrawRequest,
    ) -> Result<proto::WithdrawResponse, Error> {
        let executed = self.execute(call, parse::withdraw(&request)?).await?;
        let Executed { record, replayed } = &executed;
        let posting = render::made_posting(record)?;
        let account = &posting.movement.from;
        Ok(proto::WithdrawResponse {
            transaction: Some(render::transaction(self.store.ledger_id(), record, Some(account))?),
            balance: Some(render::left_balance(record, posting, &posting.from_balance)),
            replayed: *replayed,
        })
    }

    async fn transfer(
        &self,
        call: Option<Arc<CallLog>>,
        request: proto::TransferRequest,
    ) -> Result<proto::TransferResponse, Error> {
        let executed = self.execute(call, parse::transfer(&request)?).await?;
        let Executed { record, replayed } = &executed;
        let posting = render::made_posting(record)?;
        let payer = &posting.movement.from;
        Ok(proto::TransferResponse {
            transaction: Some(render::transaction(self.store.ledger_id(), record, Some(payer))?),
            from_balance: Some(render::left_balance(record, posting, &posting.from_balance)),
            to_balance: Some(render::left_balance(record, posting, &posting.to_balance)),
            replayed: *replayed,
        })
    }

    async fn get_account(
        &self,
        request: proto::GetAccountRequest,
    ) -> Result<proto::GetAccountResponse, Error> {
        let id = parse::get_account(&request)?;
        let view = self.store.account(&id).await??;
        Ok(proto::GetAccountResponse { account: Some(render::account_view(&view)) })
    }

    async fn get_balance(
        &self,
        request: proto::GetBalanceRequest,
    ) -> Result<proto::GetBalanceResponse, Error> {
        let (id, time) = parse::get_balance(&request)?;
        let balance = match time {
            None => {
                let view = self.store.account(&id).await??;
                render::balance(&view.account.currency, &view.account.balance, view.time)
            }
            Some(time) => {
                let past = self.store.balance_at(&id, time).await??;
                render::past_balance(&past, time)
            }
        };
        Ok(proto::GetBalanceResponse { balance: Some(balance) })
    }

    async fn get_transaction(
        &self,
        request: proto::GetTransactionRequest,
    ) -> Result<proto::GetTransactionResponse, Error> {
        let ledger = self.store.ledger_id();
        let key = parse::get_transaction(&request, ledger)?;
        match self.store.record(&key).await? {
            Some(record) if record.posting().is_some() => Ok(proto::GetTransactionResponse {
                transaction: Some(render::transaction(ledger, &record, None)?),
            }),
            other => Err(Error::TransactionNotFound(match key {
                RecordKey::Sequence(sequence) => {
                    MissingTransaction::ById(ledger::TransactionId { ledger, sequence }.to_string())
                }
                RecordKey::RequestId(request_id) => MissingTransaction::ByRequest {
                    request_id,
                    refused_with: other
                        .and_then(|record| record.outcome.err())
                        .map(|refusal| row(&refusal).1),
                },
            })),
        }
    }

    async fn list_accounts(
        &self,
        request: proto::ListAccountsRequest,
    ) -> Result<proto::ListAccountsResponse, Error> {
        let tokens = PageTokens::of_accounts(self.store.ledger_id(), &request);
        let page = self.store.accounts(&parse::list_accounts(&request, &tokens)?).await?;
        Ok(proto::ListAccountsResponse {
            accounts: page.accounts.iter().map(render::account_view).collect(),
            next_page_token: page
                .next
                .map_or_else(String::new, |after| tokens.seal_account(&after)),
        })
    }

    async fn list_transactions(
        &self,
        request: proto::ListTransactionsRequest,
    ) -> Result<proto::ListTransactionsResponse, Error> {
        let ledger = self.store.ledger_id();
        let tokens = PageTokens::of_transactions(ledger, &request);
        let query = parse::list_transactions(&request, &tokens)?;
        let asked_about = query.account_id.as_ref();
        let page = self.store.transactions(&query).await??;
        Ok(proto::ListTransactionsResponse {
            transactions: page
                .records
                .iter()
                .map(|record| render::transaction(ledger, record, asked_about))
                .collect::<Result<_, _>>()?,
            next_page_token: page
                .next
                .map_or_else(String::new, |cursor| tokens.seal_cursor(cursor)),
        })
    }

    async fn get_trial_balance(
        &self,
        request: proto::GetTrialBalanceRequest,
    ) -> Result<proto::GetTrialBalanceResponse, Error> {
        let currency = parse::get_trial_balance(&request)?;
        let totals = self.store.totals(currency.as_ref()).await?;
        Ok(proto::GetTrialBalanceResponse {
            totals: totals
                .iter()
                .map(|(currency, totals)| render::totals(currency, totals))
                .collect(),
        })
    }
}

/// One method of the generated trait: takes the message out of its envelope, and puts the answer, or
/// the status of what went wrong, into one.
macro_rules! methods {
    (mutations { $($mutation:ident($in:ident) -> $out:ident;)+ }
     reads { $($read:ident($read_in:ident) -> $read_out:ident;)+ }) => {
        #[tonic::async_trait]
        impl<S: Store> BankService for Service<S> {
            $(async fn $mutation(
                &self,
                request: Request<proto::$in>,
            ) -> Result<Response<proto::$out>, Status> {
                let (_, extensions, message) = request.into_parts();
                let call = extensions.get::<Arc<CallLog>>().cloned();
                Ok(Response::new(Self::$mutation(self, call, message).await?))
            })+
            $(async fn $read(
                &self,
                request: Request<proto::$read_in>,
            ) -> Result<Response<proto::$read_out>, Status> {
                Ok(Response::new(Self::$read(self, request.into_inner()).await?))
            })+
        }
    };
}

methods! {
    mutations {
        create_account(CreateAccountRequest) -> CreateAccountResponse;
        update_account(UpdateAccountRequest) -> UpdateAccountResponse;
        freeze_account(FreezeAccountRequest) -> FreezeAccountResponse;
        unfreeze_account(UnfreezeAccountRequest) -> UnfreezeAccountResponse;
        close_account(CloseAccountRequest) -> CloseAccountResponse;
        deposit(DepositRequest) -> DepositResponse;
        withdraw(WithdrawRequest) -> WithdrawResponse;
        transfer(TransferRequest) -> TransferResponse;
    }
    reads {
        get_account(GetAccountRequest) -> GetAccountResponse;
        get_balance(GetBalanceRequest) -> GetBalanceResponse;
        get_transaction(GetTransactionRequest) -> GetTransactionResponse;
        list_accounts(ListAccountsRequest) -> ListAccountsResponse;
        list_transactions(ListTransactionsRequest) -> ListTransactionsResponse;
        get_trial_balance(GetTrialBalanceRequest) -> GetTrialBalanceResponse;
    }
}
