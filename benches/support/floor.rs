//! The floor: stock tonic with empty handlers for the same proto, as its README has it: tokio's default
//! runtime, the system's allocator, no layers. Nothing that answers over tonic's defaults does less.
//!
//! It says yes to every call and knows nothing, so `bank bench` can load it as it loads a bank.

use std::net::SocketAddr;

use bank::grpc::proto;
use bank::grpc::proto::bank_service_server::{BankService, BankServiceServer};
use tokio::net::TcpListener;
use tokio_stream::Pending;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

pub(crate) struct Floor;

/// Serves until the process is ended; where, it says on standard error.
pub(crate) fn serve(address: SocketAddr) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        eprintln!("listening address={}", listener.local_addr().expect("it is bound"));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        Server::builder()
            .add_service(BankServiceServer::new(Floor))
            .serve_with_incoming(incoming)
            .await
            .expect("it serves");
    });
}

macro_rules! empty_handlers {
    ($($method:ident($request:ident) -> $response:ident,)*) => {
        #[tonic::async_trait]
        impl BankService for Floor {
            $(
                async fn $method(
                    &self,
                    _: Request<proto::$request>,
                ) -> Result<Response<proto::$response>, Status> {
                    Ok(Response::new(proto::$response::default()))
                }
            )*

            type ExecuteStreamStream = Pending<Result<proto::ExecuteStreamResponse, Status>>;

            async fn execute_stream(
                &self,
                _: Request<Streaming<proto::ExecuteStreamRequest>>,
            ) -> Result<Response<Self::ExecuteStreamStream>, Status> {
                Err(Status::unimplemented("the floor has no streams"))
            }

            type WatchTransactionsStream = Pending<Result<proto::WatchTransactionsResponse, Status>>;

            async fn watch_transactions(
                &self,
                _: Request<proto::WatchTransactionsRequest>,
            ) -> Result<Response<Self::WatchTransactionsStream>, Status> {
                Err(Status::unimplemented("the floor has no streams"))
            }
        }
    };
}

empty_handlers! {
    create_account(CreateAccountRequest) -> CreateAccountResponse,
    get_account(GetAccountRequest) -> GetAccountResponse,
    list_accounts(ListAccountsRequest) -> ListAccountsResponse,
    update_account(UpdateAccountRequest) -> UpdateAccountResponse,
    freeze_account(FreezeAccountRequest) -> FreezeAccountResponse,
    unfreeze_account(UnfreezeAccountRequest) -> UnfreezeAccountResponse,
    close_account(CloseAccountRequest) -> CloseAccountResponse,
    deposit(DepositRequest) -> DepositResponse,
    withdraw(WithdrawRequest) -> WithdrawResponse,
    transfer(TransferRequest) -> TransferResponse,
    get_balance(GetBalanceRequest) -> GetBalanceResponse,
    list_transactions(ListTransactionsRequest) -> EncodedListTransactionsResponse,
    get_transaction(GetTransactionRequest) -> GetTransactionResponse,
    reverse_transaction(ReverseTransactionRequest) -> ReverseTransactionResponse,
    place_hold(PlaceHoldRequest) -> PlaceHoldResponse,
    capture_hold(CaptureHoldRequest) -> CaptureHoldResponse,
    release_hold(ReleaseHoldRequest) -> ReleaseHoldResponse,
    get_hold(GetHoldRequest) -> GetHoldResponse,
    list_holds(ListHoldsRequest) -> ListHoldsResponse,
    execute_batch(ExecuteBatchRequest) -> ExecuteBatchResponse,
    get_trial_balance(GetTrialBalanceRequest) -> GetTrialBalanceResponse,
}
