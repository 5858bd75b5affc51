//! Packed messages: read, answered alike, and never unfolded beyond what a message may have.

use bank::grpc::proto;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::grpc::proto::operation::Operation as Kind;
use bank::grpc::{Capacity, proto::Operation};
use bank::server::{Limits, Options};
use prost::Message;
use tonic::codec::CompressionEncoding::{self, Gzip, Zstd};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::raw::{self, framed};
use crate::support::{Details, TestServer, create, deposit};

/// A client that says that it can unpack answers, and packs its requests if it is told how.
async fn client(
    server: &TestServer,
    packing: Option<CompressionEncoding>,
) -> BankServiceClient<Channel> {
    let client = server.client().await.accept_compressed(Gzip).accept_compressed(Zstd);
    match packing {
        Some(encoding) => client.send_compressed(encoding),
        None => client,
    }
}

fn batch(count: usize) -> proto::ExecuteBatchRequest {
    let description = "x".repeat(500);
    let one = proto::DepositRequest { description, ..deposit("alice", 1, "USD") };
    let operations = vec![Operation { operation: Some(Kind::Deposit(one)) }; count];
    proto::ExecuteBatchRequest { operations, atomic: false }
}

#[track_caller]
fn assert_too_large(status: &Status) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = Details::of(status);
    assert_eq!(details.reason, "INVALID_REQUEST");
    assert_eq!(details.violated_fields(), [""], "{status:?}");
    assert!(status.message().contains("size limit"), "{status:?}");
}

#[tokio::test]
async fn an_answer_is_packed_if_its_request_is() {
    let server = TestServer::start().await;
    for (packing, name, id) in [
        (None, None, "alice"),
        (Some(Gzip), Some("gzip"), "bob"),
        (Some(Zstd), Some("zstd"), "carol"),
    ] {
        let mut client = client(&server, packing).await;
        client.create_account(create(id, "USD")).await.expect("it is read");
        let answer = client.deposit(deposit(id, 5, "USD")).await.expect("it is read");
        let encoding = answer.metadata().get("grpc-encoding");
        assert_eq!(encoding.map(|name| name.to_str().expect("it is ASCII")), name);
        assert_eq!(answer.into_inner().balance.expect("it is set").posted, 5);

        // Each message of a stream as well.
        let operation = Operation { operation: Some(Kind::Deposit(deposit(id, 1, "USD"))) };
        let request = proto::ExecuteStreamRequest { operation: Some(operation), correlation_id: 1 };
        let pipe = client.execute_stream(tokio_stream::iter(vec![request; 3])).await;
        let mut results = pipe.expect("it is read").into_inner();
        for _ in 0..3 {
            results.message().await.expect("it goes on").expect("it goes on");
        }
    }
}

#[tokio::test]
async fn no_message_unfolds_to_more_than_it_may_have() {
    let limits = Limits { max_message_bytes: 200_000, ..Limits::default() };
    let server = TestServer::start_with(Options { limits, ..Options::default() }).await;
    let mut plain = server.client().await;
    plain.create_account(create("alice", "USD")).await.expect("it opens");
    for packing in [Gzip, Zstd] {
        let mut client = client(&server, Some(packing)).await;
        let large = batch(500);
        assert!(large.encoded_len() > 200_000);
        assert_too_large(&client.execute_batch(large).await.expect_err("it is too large"));
        client.execute_batch(batch(300)).await.expect("it is not too large");

        let long =
            proto::DepositRequest { description: "x".repeat(70_000), ..deposit("alice", 1, "USD") };
        let status = client.deposit(long.clone()).await.expect_err("it is too large");
        assert_too_large(&status);

        let operation = Operation { operation: Some(Kind::Deposit(long)) };
        let request = proto::ExecuteStreamRequest { operation: Some(operation), correlation_id: 1 };
        let pipe = client.execute_stream(tokio_stream::iter([request])).await;
        let mut results = pipe.expect("it begins").into_inner();
        assert_too_large(&results.message().await.expect_err("it is too large"));
    }
    let key = proto::GetBalanceRequest { account_id: "alice".to_owned(), as_of_time: None };
    let balance = plain.get_balance(key).await.expect("it is there").into_inner().balance;
    assert_eq!(balance.expect("it is set").posted, 600, "only the two batches were done");
}

/// What a packed batch may unfold to is counted before it is read: while one is on its way, there is no room
/// for another.
#[tokio::test]
async fn packed_batches_are_counted_by_what_they_may_unfold_to() {
    let capacity = Capacity { bytes: 10 << 20, ..Capacity::default() };
    let options = Options { capacity, ..Options::default() };
    let (server, gate) = TestServer::start_gated_with(options).await;
    gate.open_to(1);
    let mut plain = client(&server, None).await;
    plain.create_account(create("alice", "USD")).await.expect("it opens");
    let mut packing = client(&server, Some(Gzip)).await;
    let running = tokio::spawn({
        let mut packing = packing.clone();
        async move { packing.execute_batch(batch(2)).await }
    });
    gate.wait_for(3).await;
    let status = packing.execute_batch(batch(1)).await.expect_err("there is no room");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let details = Details::of(&status);
    assert_eq!(details.reason, "OVERLOADED");
    assert!(details.all.retry_info().is_some());

    gate.open();
    running.await.expect("it does not panic").expect("it is done");
    plain.deposit(deposit("alice", 1, "USD")).await.expect("it is small");
    packing.execute_batch(batch(1)).await.expect("there is room again");
}

#[tokio::test]
async fn what_can_not_be_unpacked_is_refused() {
    let server = TestServer::start().await;
    let mut garbage = framed(b"this is not packed at all");
    garbage[0] = 1;
    for encoding in ["gzip", "zstd"] {
        let headers = [("grpc-encoding", encoding)];
        let answer = raw::call(server.address, "GetAccount", &headers, garbage.clone()).await;
        assert_eq!(answer.status.code(), Code::InvalidArgument, "{:?}", answer.status);
        assert_eq!(Details::of(&answer.status).reason, "INVALID_REQUEST");
    }
    // It says that it is packed, and not how.
    let answer = raw::call(server.address, "GetAccount", &[], garbage.clone()).await;
    assert_eq!(answer.status.code(), Code::InvalidArgument, "{:?}", answer.status);

    let headers = [("grpc-encoding", "br")];
    let answer = raw::call(server.address, "GetAccount", &headers, garbage).await;
    assert_eq!(answer.status.code(), Code::Unimplemented, "{:?}", answer.status);
    let known = answer.status.metadata().get("grpc-accept-encoding").expect("they are told");
    assert_eq!(known, "gzip,zstd,identity");
}
