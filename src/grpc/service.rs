//! `bank.v1.BankService`: parse -> execute -> render, nothing else.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tonic::{Request, Response, Status, Streaming};

use crate::ledger::{self, Refusal, TransactionId};
use crate::store::{Executed, RecordKey, Store};

use super::access::{Asked, Line};
use super::call::Call;
use super::edge::EndsItself;
use super::observe::Observer;
use super::page_token::PageTokens;
use super::proto::bank_service_server::BankService;
use super::statement::Statement;
use super::status::{Became, Error, NoTransactionOf, Violations, row};
use super::within::Within;
use super::{page, parse, pipe, proto, render, watch};

/// What a call that goes on answers.
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers the API's calls from a store.
#[derive(Debug)]
pub struct Service<S> {
    pub(super) store: Arc<S>,
    pub(super) observer: Arc<Observer>,
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

    async fn execute<Q: Asked>(
        &self,
        call: &Call,
        request: &Q,
        parse: fn(&Q) -> Result<ledger::Request, Violations>,
    ) -> Result<Executed, Error> {
        let mut audit = call.permit.audit(|| vec![Line::of(request, None)]);
        let result = self.try_execute(call, request, parse).await;
        audit.note(0, result.as_ref());
        result
    }

    async fn try_execute<Q: Asked>(
        &self,
        call: &Call,
        request: &Q,
        parse: fn(&Q) -> Result<ledger::Request, Violations>,
    ) -> Result<Executed, Error> {
        let permit = &call.permit;
        permit.check(request)?;
        let mut request = parse(request)?;
        call.note_request_id(request.id.as_ref());
        permit.check_command(&*self.store, &request.command).await?;
        request.caller = permit.caller_name();
        call.may_begin()?;
        let _part = call.part("store.execute");
        match self.store.execute(request).await? {
            Ok(executed) => {
                self.observer.tally.execute(&executed);
                Ok(executed)
            }
            // Reads a record, perhaps, which is large: every call would carry the room for it.
            Err(refusal) => Err(Box::pin(permit.told(&*self.store, refusal)).await?.into()),
        }
    }

    /// What of a store the caller may know of.
    fn within<'a>(&'a self, call: &'a Call) -> Within<'a, S> {
        Within { store: &*self.store, permit: &call.permit }
    }

    async fn create_account(
        &self,
        call: &Call,
        request: proto::CreateAccountRequest,
    ) -> Result<proto::CreateAccountResponse, Error> {
        let executed = self.execute(call, &request, parse::create_account).await?;
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
        let executed = self.execute(call, &request, parse::update_account).await?;
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
        let executed = self.execute(call, &request, parse::freeze_account).await?;
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
        let executed = self.execute(call, &request, parse::unfreeze_account).await?;
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
        let executed = self.execute(call, &request, parse::close_account).await?;
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
        let executed = self.execute(call, &request, parse::deposit).await?;
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
        let executed = self.execute(call, &request, parse::withdraw).await?;
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
        let executed = self.execute(call, &request, parse::transfer).await?;
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
        call: &Call,
        request: proto::GetAccountRequest,
    ) -> Result<proto::GetAccountResponse, Error> {
        call.permit.check_read(&request)?;
        let id = parse::get_account(&request)?;
        let view = self.store.account(&id).await??;
        Ok(proto::GetAccountResponse { account: Some(render::account_view(&view)) })
    }

    async fn get_balance(
        &self,
        call: &Call,
        request: proto::GetBalanceRequest,
    ) -> Result<proto::GetBalanceResponse, Error> {
        call.permit.check_read(&request)?;
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
        call: &Call,
        request: proto::GetTransactionRequest,
    ) -> Result<proto::GetTransactionResponse, Error> {
        let (ledger, permit) = (self.store.ledger_id(), &call.permit);
        let key = parse::get_transaction(&request, ledger)?;
        let found = self.store.record(&key).await?;
        let is_hidden = found.as_ref().is_some_and(|linked| !permit.sees(&linked.record));
        match found.filter(|_| !is_hidden) {
            Some(linked) if linked.record.posting().is_some() => {
                let transaction = render::linked_transaction(ledger, &linked, None)?;
                Ok(proto::GetTransactionResponse { transaction: Some(permit.shown(transaction)) })
            }
            other => Err(match key {
                RecordKey::Sequence(sequence) => {
                    let transaction_id = TransactionId::new(ledger, sequence);
                    let refusal = Refusal::TransactionNotFound { transaction_id };
                    if is_hidden { permit.hide(refusal) } else { Error::Refused(refusal) }
                }
                RecordKey::RequestId(request_id) => {
                    if is_hidden {
                        permit.tell_denied(&Error::Denied(String::new()));
                    }
                    Error::NoTransactionOf(NoTransactionOf {
                        request_id,
                        became: other.map_or(Became::Unknown, |linked| {
                            match linked.record.outcome {
                                Err(refusal) => Became::Refused(row(&refusal).1),
                                Ok(_) => Became::Done(linked.record.request.command.method()),
                            }
                        }),
                    })
                }
            }),
        }
    }

    async fn list_accounts(
        &self,
        call: &Call,
        request: proto::ListAccountsRequest,
    ) -> Result<proto::ListAccountsResponse, Error> {
        let tokens = PageTokens::of_accounts(self.store.ledger_id(), &request);
        let query = parse::list_accounts(&request, &tokens)?;
        let page = self.within(call).accounts(&query).await?;
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
        call: &Call,
        request: proto::ListTransactionsRequest,
    ) -> Result<proto::EncodedListTransactionsResponse, Error> {
        call.permit.check_read(&request)?;
        let ledger = self.store.ledger_id();
        let tokens = PageTokens::of_transactions(ledger, &request);
        let query = parse::list_transactions(&request, &tokens)?;
        let asked_about = query.account_id.as_ref();
        let page = self.within(call).transactions(&query).await??;
        let mut statement = Statement::new(ledger, &call.permit, asked_about);
        let mut next = page.next;
        for (index, linked) in page.records.iter().enumerate() {
            if !statement.add(linked)? {
                next = Some(page.cursor_after(index - 1));
                break;
            }
        }
        let token = next.map_or_else(String::new, |cursor| tokens.seal_cursor(cursor));
        Ok(statement.end(&token))
    }

    async fn reverse_transaction(
        &self,
        call: &Call,
        request: proto::ReverseTransactionRequest,
    ) -> Result<proto::ReverseTransactionResponse, Error> {
        let executed = self.execute(call, &request, parse::reverse_transaction).await?;
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
        let executed = self.execute(call, &request, parse::place_hold).await?;
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
        let executed = self.execute(call, &request, parse::capture_hold).await?;
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
        let executed = self.execute(call, &request, parse::release_hold).await?;
        Ok(proto::ReleaseHoldResponse {
            hold: Some(render::changed_hold(self.store.ledger_id(), &executed.record)?),
            replayed: executed.replayed,
        })
    }

    async fn get_hold(
        &self,
        call: &Call,
        request: proto::GetHoldRequest,
    ) -> Result<proto::GetHoldResponse, Error> {
        let hold_id = parse::get_hold(&request)?;
        let hold = self.store.hold(&hold_id).await??;
        if !call.permit.sees_hold(&hold) {
            return Err(call.permit.hide(Refusal::HoldNotFound { hold_id }));
        }
        let hold = call.permit.shown_hold(render::hold(self.store.ledger_id(), &hold));
        Ok(proto::GetHoldResponse { hold: Some(hold) })
    }

    async fn list_holds(
        &self,
        call: &Call,
        request: proto::ListHoldsRequest,
    ) -> Result<proto::ListHoldsResponse, Error> {
        call.permit.check_read(&request)?;
        let ledger = self.store.ledger_id();
        let tokens = PageTokens::of_holds(ledger, &request);
        let query = parse::list_holds(&request, &tokens)?;
        let page = self.within(call).holds(&query).await??;
        let shown = |hold| call.permit.shown_hold(render::hold(ledger, hold));
        let mut holds: Vec<_> = page.holds.iter().map(shown).collect();
        let next = match page::cut(&mut holds) {
            Some(last) => Some(page.holds[last].placed),
            None => page.next,
        };
        Ok(proto::ListHoldsResponse {
            holds,
            next_page_token: next.map_or_else(String::new, |before| tokens.seal_sequence(before)),
        })
    }

    async fn watch(
        &self,
        call: &Call,
        request: &proto::WatchTransactionsRequest,
    ) -> Result<watch::Watch, Error> {
        call.permit.check_read(request)?;
        let tokens = PageTokens::of_watch(self.store.ledger_id(), request);
        let head = self.store.head().await?;
        let (account_id, after) = parse::watch_transactions(request, &tokens, head)?;
        let changes = self.store.changes(account_id.as_ref()).await??;
        let permit = call.permit.clone();
        Ok(watch::Watch { account_id, after, tokens, changes, permit })
    }

    async fn get_trial_balance(
        &self,
        call: &Call,
        request: proto::GetTrialBalanceRequest,
    ) -> Result<proto::GetTrialBalanceResponse, Error> {
        call.permit.check_read(&request)?;
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
    ($($method:ident($in:ident) -> $out:ident;)+) => {
        #[tonic::async_trait]
        impl<S: Store> BankService for Service<S> {
            $(async fn $method(
                &self,
                request: Request<proto::$in>,
            ) -> Result<Response<proto::$out>, Status> {
                let (_, extensions, message) = request.into_parts();
                let call = Call::of(&extensions)?;
                Ok(Response::new(Self::$method(self, &call, message).await?))
            })+

            type ExecuteStreamStream = Messages<proto::ExecuteStreamResponse>;

            async fn execute_stream(
                &self,
                request: Request<Streaming<proto::ExecuteStreamRequest>>,
            ) -> Result<Response<Self::ExecuteStreamStream>, Status> {
                let service = self.again();
                let call = Call::of(request.extensions())?;
                // Its operations are told one by one.
                call.permit.note_read();
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
                let call = Call::of(request.extensions())?;
                let watch = self.watch(&call, request.get_ref()).await?;
                let messages = watch::messages(self.store.clone(), watch).map_err(Status::from);
                Ok(Response::new(Box::pin(messages)))
            }
        }
    };
}

methods! {
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
    get_account(GetAccountRequest) -> GetAccountResponse;
    get_balance(GetBalanceRequest) -> GetBalanceResponse;
    get_transaction(GetTransactionRequest) -> GetTransactionResponse;
    list_accounts(ListAccountsRequest) -> ListAccountsResponse;
    list_transactions(ListTransactionsRequest) -> EncodedListTransactionsResponse;
    get_trial_balance(GetTrialBalanceRequest) -> GetTrialBalanceResponse;
    get_hold(GetHoldRequest) -> GetHoldResponse;
    list_holds(ListHoldsRequest) -> ListHoldsResponse;
    execute_batch(ExecuteBatchRequest) -> ExecuteBatchResponse;
}
