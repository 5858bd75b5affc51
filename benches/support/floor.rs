//! The floor: stock tonic with an empty handler for the same proto, as its README has it. Nothing that
//! answers over tonic's defaults does less.

use bank::grpc::proto;
use bank::grpc::proto::bank_service_server::{BankService, BankServiceServer};
use tokio::net::TcpListener;
use tokio_stream::Pending;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

struct Floor;

/// Serves on a free port, which is printed, until the process is ended.
pub(crate) async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    eprintln!("listening address={}", listener.local_addr().expect("it is bound"));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .add_service(BankServiceServer::new(Floor))
        .serve_with_incoming(incoming)
        .await
        .expect("it serves");
}

#[tonic::async_trait]
impl BankService for Floor {
    async fn create_account(
        &self,
        _: Request<proto::CreateAccountRequest>,
    ) -> Result<Response<proto::CreateAccountResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn get_account(
        &self,
        _: Request<proto::GetAccountRequest>,
    ) -> Result<Response<proto::GetAccountResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn list_accounts(
        &self,
        _: Request<proto::ListAccountsRequest>,
    ) -> Result<Response<proto::ListAccountsResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn update_account(
        &self,
        _: Request<proto::UpdateAccountRequest>,
    ) -> Result<Response<proto::UpdateAccountResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn freeze_account(
        &self,
        _: Request<proto::FreezeAccountRequest>,
    ) -> Result<Response<proto::FreezeAccountResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn unfreeze_account(
        &self,
        _: Request<proto::UnfreezeAccountRequest>,
    ) -> Result<Response<proto::UnfreezeAccountResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn close_account(
        &self,
        _: Request<proto::CloseAccountRequest>,
    ) -> Result<Response<proto::CloseAccountResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn deposit(
        &self,
        _: Request<proto::DepositRequest>,
    ) -> Result<Response<proto::DepositResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn withdraw(
        &self,
        _: Request<proto::WithdrawRequest>,
    ) -> Result<Response<proto::WithdrawResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn transfer(
        &self,
        _: Request<proto::TransferRequest>,
    ) -> Result<Response<proto::TransferResponse>, Status> {
        Ok(Response::new(proto::TransferResponse::default()))
    }

    async fn get_balance(
        &self,
        _: Request<proto::GetBalanceRequest>,
    ) -> Result<Response<proto::GetBalanceResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn list_transactions(
        &self,
        _: Request<proto::ListTransactionsRequest>,
    ) -> Result<Response<proto::ListTransactionsResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn get_transaction(
        &self,
        _: Request<proto::GetTransactionRequest>,
    ) -> Result<Response<proto::GetTransactionResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn reverse_transaction(
        &self,
        _: Request<proto::ReverseTransactionRequest>,
    ) -> Result<Response<proto::ReverseTransactionResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn place_hold(
        &self,
        _: Request<proto::PlaceHoldRequest>,
    ) -> Result<Response<proto::PlaceHoldResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn capture_hold(
        &self,
        _: Request<proto::CaptureHoldRequest>,
    ) -> Result<Response<proto::CaptureHoldResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn release_hold(
        &self,
        _: Request<proto::ReleaseHoldRequest>,
    ) -> Result<Response<proto::ReleaseHoldResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn get_hold(
        &self,
        _: Request<proto::GetHoldRequest>,
    ) -> Result<Response<proto::GetHoldResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn list_holds(
        &self,
        _: Request<proto::ListHoldsRequest>,
    ) -> Result<Response<proto::ListHoldsResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn execute_batch(
        &self,
        _: Request<proto::ExecuteBatchRequest>,
    ) -> Result<Response<proto::ExecuteBatchResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    type ExecuteStreamStream = Pending<Result<proto::ExecuteStreamResponse, Status>>;

    async fn execute_stream(
        &self,
        _: Request<Streaming<proto::ExecuteStreamRequest>>,
    ) -> Result<Response<Self::ExecuteStreamStream>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    type WatchTransactionsStream = Pending<Result<proto::WatchTransactionsResponse, Status>>;

    async fn watch_transactions(
        &self,
        _: Request<proto::WatchTransactionsRequest>,
    ) -> Result<Response<Self::WatchTransactionsStream>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }

    async fn get_trial_balance(
        &self,
        _: Request<proto::GetTrialBalanceRequest>,
    ) -> Result<Response<proto::GetTrialBalanceResponse>, Status> {
        Err(Status::unimplemented("the floor has transfers alone"))
    }
}
