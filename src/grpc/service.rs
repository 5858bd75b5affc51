//! `bank.v1.BankService`: parse -> execute -> render, nothing else.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tonic::{Request, Response, Status, Streaming};

use crate::ledger::{self, Refusal, TransactionId};
use crate::store::{BatchRefused, Executed, RecordKey, Store};

use super::call::Call;
use super::edge::EndsItself;
use super::observe::Observer;
use super::observe::tally::Reason;
use super::page_token::PageTokens;
use super::proto::bank_service_server::BankService;
use super::status::{Became, Error, NoTransactionOf, Violations, is_unreadable, row};
use super::{page, parse, pipe, proto, render, watch};

/// What a call that goes on answers.
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers the API's calls from a store.
#[derive(Debug)]
pub struct Service<S> {
    store: Arc<S>,
    observer: Arc<Observer>,
}

impl<S: Store> Service<S> {
    /// Answers from this store.
    pub fn new(store: Arc<S>) -> Self {
        Self { store, observer: Arc::default() }
    }

    /// Lets somebody watch what operations come to.
    #[must_use]
    pub fn watched_by(self, observer: Arc<Observer>) -> Self {
        Self { observer, ..self }
    }

    fn again(&self) -> Self {
        Self { store: self.store.clone(), observer: self.observer.clone() }
    }

    async fn execute(&self, call: &Call, request: ledger::Request) -> Result<Executed, Error> {
        call.note_request_id(request.id.as_ref());
        call.may_begin()?;
        let executed = self.store.execute(request).await??;
        self.observer.tally.execute(&executed);
        Ok(executed)
    }

    async fn create_account(
        &self,
        call: &Call,
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
        call: &Call,
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
        call: &Call,
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
        call: &Call,
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
        call: &Call,
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
        call: &Call,
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
        call: &Call,
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
        call: &Call,
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
                render::past_balance(&past)
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
            Some(linked) if linked.record.posting().is_some() => {
                Ok(proto::GetTransactionResponse {
                    transaction: Some(render::linked_transaction(ledger, &linked, None)?),
                })
            }
            other => Err(match key {
                RecordKey::Sequence(sequence) => Error::Refused(Refusal::TransactionNotFound {
                    transaction_id: TransactionId::new(ledger, sequence),
                }),
                RecordKey::RequestId(request_id) => Error::NoTransactionOf(NoTransactionOf {
                    request_id,
                    became: other.map_or(Became::Unknown, |linked| match linked.record.outcome {
                        Err(refusal) => Became::Refused(row(&refusal).1),
                        Ok(_) => Became::Done(linked.record.request.command.method()),
                    }),
                }),
            }),
        }
    }

    async fn list_accounts(
        &self,
        request: proto::ListAccountsRequest,
    ) -> Result<proto::ListAccountsResponse, Error> {
        let tokens = PageTokens::of_accounts(self.store.ledger_id(), &request);
        let page = self.store.accounts(&parse::list_accounts(&request, &tokens)?).await?;
        let mut accounts: Vec<_> = page.accounts.iter().map(render::account_view).collect();
        let next = match page::cut(&mut accounts) {
            Some(last) => Some(page.accounts[last].account.id.clone()),
            None => page.next,
        };
        Ok(proto::ListAccountsResponse {
            accounts,
            next_page_token: next.map_or_else(String::new, |after| tokens.seal_account(&after)),
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
        let mut transactions = page
            .records
            .iter()
            .map(|linked| render::linked_transaction(ledger, linked, asked_about))
            .collect::<Result<Vec<_>, _>>()?;
        let next = match page::cut(&mut transactions) {
            Some(last) => Some(page.cursor_after(last)),
            None => page.next,
        };
        Ok(proto::ListTransactionsResponse {
            transactions,
            next_page_token: next.map_or_else(String::new, |cursor| tokens.seal_cursor(cursor)),
        })
    }

    async fn reverse_transaction(
        &self,
        call: &Call,
        request: proto::ReverseTransactionRequest,
    ) -> Result<proto::ReverseTransactionResponse, Error> {
        let executed = self.execute(call, parse::reverse_transaction(&request)?).await?;
        let ledger = self.store.ledger_id();
        Ok(proto::ReverseTransactionResponse {
            transaction: Some(render::transaction(ledger, &executed.record, None)?),
            replayed: executed.replayed,
        })
    }

    async fn place_hold(
        &self,
        call: &Call,
        request: proto::PlaceHoldRequest,
    ) -> Result<proto::PlaceHoldResponse, Error> {
        let executed = self.execute(call, parse::place_hold(&request)?).await?;
        Ok(proto::PlaceHoldResponse {
            hold: Some(render::changed_hold(self.store.ledger_id(), &executed.record)?),
            balance: Some(render::balance_after_hold(&executed.record)?),
            replayed: executed.replayed,
        })
    }

    async fn capture_hold(
        &self,
        call: &Call,
        request: proto::CaptureHoldRequest,
    ) -> Result<proto::CaptureHoldResponse, Error> {
        let executed = self.execute(call, parse::capture_hold(&request)?).await?;
        let ledger = self.store.ledger_id();
        Ok(proto::CaptureHoldResponse {
            hold: Some(render::changed_hold(ledger, &executed.record)?),
            transaction: Some(render::transaction(ledger, &executed.record, None)?),
            replayed: executed.replayed,
        })
    }

    async fn release_hold(
        &self,
        call: &Call,
        request: proto::ReleaseHoldRequest,
    ) -> Result<proto::ReleaseHoldResponse, Error> {
        let executed = self.execute(call, parse::release_hold(&request)?).await?;
        Ok(proto::ReleaseHoldResponse {
            hold: Some(render::changed_hold(self.store.ledger_id(), &executed.record)?),
            replayed: executed.replayed,
        })
    }

    async fn get_hold(
        &self,
        request: proto::GetHoldRequest,
    ) -> Result<proto::GetHoldResponse, Error> {
        let hold = self.store.hold(&parse::get_hold(&request)?).await??;
        Ok(proto::GetHoldResponse { hold: Some(render::hold(self.store.ledger_id(), &hold)) })
    }

    async fn list_holds(
        &self,
        request: proto::ListHoldsRequest,
    ) -> Result<proto::ListHoldsResponse, Error> {
        let ledger = self.store.ledger_id();
        let tokens = PageTokens::of_holds(ledger, &request);
        let page = self.store.holds(&parse::list_holds(&request, &tokens)?).await??;
        let mut holds: Vec<_> = page.holds.iter().map(|hold| render::hold(ledger, hold)).collect();
        let next = match page::cut(&mut holds) {
            Some(last) => Some(page.holds[last].placed),
            None => page.next,
        };
        Ok(proto::ListHoldsResponse {
            holds,
            next_page_token: next.map_or_else(String::new, |before| tokens.seal_sequence(before)),
        })
    }

    async fn execute_batch(
        &self,
        call: &Call,
        request: proto::ExecuteBatchRequest,
    ) -> Result<proto::ExecuteBatchResponse, Error> {
        let operations = parse::operations(&request)?;
        let results = if request.atomic {
            self.execute_all(call, operations).await?
        } else {
            self.execute_each(call, operations).await?
        };
        Ok(proto::ExecuteBatchResponse { results })
    }

    async fn execute_all(
        &self,
        call: &Call,
        operations: Vec<Result<ledger::Request, Violations>>,
    ) -> Result<Vec<proto::OperationResult>, Error> {
        let mut malformed = None;
        let mut requests = Vec::with_capacity(operations.len());
        for (index, operation) in operations.into_iter().enumerate() {
            match operation {
                Ok(request) => requests.push(request),
                Err(others) => {
                    let (_, violations) = malformed.get_or_insert((index, Violations::default()));
                    violations.extend(others);
                }
            }
        }
        if let Some((index, violations)) = malformed {
            return Err(Error::InvalidOperation { index, violations });
        }
        call.may_begin()?;
        let answers = self.store.execute_all(requests).await?;
        let executed = answers
            .map_err(|BatchRefused { index, refusal }| Error::Operation { index, refusal })?;
        for executed in &executed {
            self.observer.tally.execute(executed);
        }
        let ledger = self.store.ledger_id();
        Ok(executed
            .iter()
            .map(|executed| render::operation_result(ledger, executed))
            .collect::<Result<_, _>>()?)
    }

    /// What is malformed is told in its place; the others go through.
    async fn execute_each(
        &self,
        call: &Call,
        operations: Vec<Result<ledger::Request, Violations>>,
    ) -> Result<Vec<proto::OperationResult>, Error> {
        let mut requests = Vec::with_capacity(operations.len());
        let mut malformed = Vec::new();
        for (index, operation) in operations.into_iter().enumerate() {
            match operation {
                Ok(request) => requests.push(request),
                Err(violations) => malformed.push((index, Error::from(violations))),
            }
        }
        call.may_begin()?;
        let ledger = self.store.ledger_id();
        let mut results = Vec::with_capacity(requests.len() + malformed.len());
        let tally = &self.observer.tally;
        for answer in self.store.execute_each(requests).await? {
            results.push(match answer {
                Ok(executed) => {
                    tally.execute(&executed);
                    render::operation_result(ledger, &executed)?
                }
                Err(refusal) => {
                    tally.refuse(Reason::new(row(&refusal).1));
                    render::operation_error(&Error::from(refusal).into())
                }
            });
        }
        // In rising order, so that each is put where it belongs among all.
        for (index, error) in malformed {
            tally.refuse(Reason::new("INVALID_REQUEST"));
            results.insert(index, render::operation_error(&error.into()));
        }
        Ok(results)
    }

    /// Executes what has come together, and gives a result for each, in order. What can't be read any
    /// more ends the stream, after the results of what came before it.
    async fn execute_arrived(
        &self,
        call: &Call,
        arrived: Vec<Result<proto::ExecuteStreamRequest, Status>>,
    ) -> Vec<Result<proto::ExecuteStreamResponse, Status>> {
        let mut correlation_ids = Vec::with_capacity(arrived.len());
        let mut operations = Vec::with_capacity(arrived.len());
        let mut end = None;
        for message in arrived {
            match message {
                Ok(message) => {
                    correlation_ids.push(message.correlation_id);
                    operations.push(parse::streamed_operation(&message));
                }
                Err(status) => {
                    let is_unreadable = is_unreadable(&status);
                    end = Some(Err(if is_unreadable {
                        Violations::of_message(status.message())
                    } else {
                        status
                    }));
                    break;
                }
            }
        }
        match self.execute_each(call, operations).await {
            Err(error) => vec![Err(error.into())],
            Ok(results) => {
                let numbered = correlation_ids.into_iter().zip(results);
                let results = numbered.map(|(correlation_id, result)| {
                    Ok(proto::ExecuteStreamResponse { correlation_id, result: Some(result) })
                });
                results.chain(end).collect()
            }
        }
    }

    async fn watch(
        &self,
        request: &proto::WatchTransactionsRequest,
    ) -> Result<watch::Watch, Error> {
        let tokens = PageTokens::of_watch(self.store.ledger_id(), request);
        let head = self.store.head().await?;
        let (account_id, after) = parse::watch_transactions(request, &tokens, head)?;
        let changes = self.store.changes(account_id.as_ref()).await??;
        Ok(watch::Watch { account_id, after, tokens, changes })
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
                let call = Call::of(&extensions);
                Ok(Response::new(Self::$mutation(self, &call, message).await?))
            })+
            $(async fn $read(
                &self,
                request: Request<proto::$read_in>,
            ) -> Result<Response<proto::$read_out>, Status> {
                Ok(Response::new(Self::$read(self, request.into_inner()).await?))
            })+

            type ExecuteStreamStream = Messages<proto::ExecuteStreamResponse>;

            async fn execute_stream(
                &self,
                request: Request<Streaming<proto::ExecuteStreamRequest>>,
            ) -> Result<Response<Self::ExecuteStreamStream>, Status> {
                let service = self.again();
                let call = Call::of(request.extensions());
                let arriving = request.into_inner().fuse();
                // Nothing is taken in before the results of what came before were wanted, so a client
                // that does not read is not read from.
                let results = stream::unfold(Some(arriving), move |arriving| {
                    let service = service.again();
                    let call = call.clone();
                    async move {
                        let mut arriving = arriving?;
                        match pipe::next(&mut arriving, &call).await {
                            Err(error) => Some((vec![Err(Status::from(error))], None)),
                            Ok(None) => None,
                            Ok(Some(arrived)) => {
                                let results = service.execute_arrived(&call, arrived).await;
                                Some((results, Some(arriving)))
                            }
                        }
                    }
                })
                .flat_map(stream::iter);
                let mut response = Response::new(Box::pin(results) as Self::ExecuteStreamStream);
                response.extensions_mut().insert(EndsItself);
                Ok(response)
            }

            type WatchTransactionsStream = Messages<proto::WatchTransactionsResponse>;

            async fn watch_transactions(
                &self,
                request: Request<proto::WatchTransactionsRequest>,
            ) -> Result<Response<Self::WatchTransactionsStream>, Status> {
                let watch = self.watch(request.get_ref()).await?;
                let messages = watch::messages(self.store.clone(), watch).map_err(Status::from);
                Ok(Response::new(Box::pin(messages)))
            }
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
        reverse_transaction(ReverseTransactionRequest) -> ReverseTransactionResponse;
        place_hold(PlaceHoldRequest) -> PlaceHoldResponse;
        capture_hold(CaptureHoldRequest) -> CaptureHoldResponse;
        release_hold(ReleaseHoldRequest) -> ReleaseHoldResponse;
        execute_batch(ExecuteBatchRequest) -> ExecuteBatchResponse;
    }
    reads {
        get_account(GetAccountRequest) -> GetAccountResponse;
        get_balance(GetBalanceRequest) -> GetBalanceResponse;
        get_transaction(GetTransactionRequest) -> GetTransactionResponse;
        list_accounts(ListAccountsRequest) -> ListAccountsResponse;
        list_transactions(ListTransactionsRequest) -> ListTransactionsResponse;
        get_trial_balance(GetTrialBalanceRequest) -> GetTrialBalanceResponse;
        get_hold(GetHoldRequest) -> GetHoldResponse;
        list_holds(ListHoldsRequest) -> ListHoldsResponse;
    }
}
