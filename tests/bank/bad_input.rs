//! Whatever is sent gets a status of the table, nothing changes, and the server goes on.

use bank::grpc::proto;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use proptest::prelude::*;
use prost::Message;
use prost_types::Timestamp;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::raw::{self, framed};
use crate::support::{Details, TestServer, create, create_with, deposit, transfer};

const METHODS: [&str; 21] = [
    "CreateAccount",
    "GetAccount",
    "ListAccounts",
    "UpdateAccount",
    "FreezeAccount",
    "UnfreezeAccount",
    "CloseAccount",
    "Deposit",
    "Withdraw",
    "Transfer",
    "GetBalance",
    "ListTransactions",
    "GetTransaction",
    "GetTrialBalance",
    "ReverseTransaction",
    "PlaceHold",
    "CaptureHold",
    "ReleaseHold",
    "GetHold",
    "ListHolds",
    "ExecuteBatch",
];

#[track_caller]
fn assert_invalid<T: std::fmt::Debug>(result: Result<T, Status>, fields: &[&str]) {
    let status = result.expect_err("it is malformed");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = Details::of(&status);
    assert_eq!(details.reason, "INVALID_REQUEST");
    assert_eq!(details.violated_fields(), fields, "{status:?}");
}

async fn bank() -> (TestServer, BankServiceClient<Channel>) {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.create_account(create_with("alice", "USD", 100)).await.expect("it opens");
    client.create_account(create("bob", "USD")).await.expect("it opens");
    (server, client)
}

/// Nothing has come of whatever was sent before, and the server still answers.
async fn assert_untouched(client: &mut BankServiceClient<Channel>) {
    let totals = client
        .get_trial_balance(proto::GetTrialBalanceRequest::default())
        .await
        .expect("it goes on")
        .into_inner()
        .totals;
    let [usd] = &totals[..] else { panic!("{totals:?}") };
    assert_eq!((usd.account_count, usd.transaction_count, usd.accounts_posted), (2, 1, 100));
}

#[tokio::test]
async fn ids_that_are_none() {
    let (_server, mut client) = bank().await;
    let too_long = "a".repeat(65);
    for id in ["", "A", " alice", "alice ", "a/b", "é", "-a", "\0", "@external:USD", &too_long] {
        assert_invalid(client.deposit(deposit(id, 1, "USD")).await, &["account_id"]);
        assert_invalid(client.transfer(transfer(id, "bob", 1, "USD")).await, &["from_account_id"]);
        assert_invalid(client.transfer(transfer("bob", id, 1, "USD")).await, &["to_account_id"]);
        if !id.is_empty() {
            assert_invalid(client.create_account(create(id, "USD")).await, &["account_id"]);
        }
        if id != "@external:USD" {
            let get = proto::GetAccountRequest { account_id: id.to_owned() };
            assert_invalid(client.get_account(get).await, &["account_id"]);
        }
    }
    let too_long = "r".repeat(129);
    for id in [" ", "a b", "é", "\u{7f}", "\n", &too_long] {
        let request =
            proto::DepositRequest { request_id: id.to_owned(), ..deposit("alice", 1, "USD") };
        assert_invalid(client.deposit(request).await, &["request_id"]);
    }
    assert_untouched(&mut client).await;
}

#[tokio::test]
async fn money_that_is_none() {
    let (_server, mut client) = bank().await;
    for minor_units in [0, -1, i64::MIN, -i64::MAX] {
        assert_invalid(
            client.deposit(deposit("alice", minor_units, "USD")).await,
            &["amount.minor_units"],
        );
        assert_invalid(
            client.transfer(transfer("alice", "bob", minor_units, "USD")).await,
            &["amount.minor_units"],
        );
    }
    for code in ["", "usd", "US", "ZZZ", "USD ", "BTC/19", "B/8", "€"] {
        assert_invalid(client.deposit(deposit("alice", 1, code)).await, &["amount.currency_code"]);
        assert_invalid(client.create_account(create("new", code)).await, &["currency_code"]);
    }
    let unset = proto::DepositRequest { amount: None, ..deposit("alice", 1, "USD") };
    assert_invalid(client.deposit(unset).await, &["amount"]);
    assert_invalid(
        client.create_account(create_with("new", "USD", -1)).await,
        &["initial_balance"],
    );
    assert_invalid(client.transfer(transfer("alice", "alice", 1, "USD")).await, &["to_account_id"]);

    let status = client.deposit(deposit("alice", i64::MAX, "USD")).await.expect_err("too much");
    assert_eq!(status.code(), Code::OutOfRange);
    assert_untouched(&mut client).await;
}

#[tokio::test]
async fn updates_that_make_no_sense() {
    let (_server, mut client) = bank().await;
    assert_invalid(
        client.update_account(proto::UpdateAccountRequest::default()).await,
        &["account"],
    );
    for path in ["balance", "account_id", "currency_code", "state", "", "labels.a", "nonsense"] {
        let request = proto::UpdateAccountRequest {
            account: Some(proto::Account { account_id: "alice".to_owned(), ..Default::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec![path.to_owned()] }),
            ..Default::default()
        };
        assert_invalid(client.update_account(request).await, &["update_mask"]);
    }
    let account = proto::Account {
        account_id: "@external:USD".to_owned(),
        display_name: "x".repeat(257),
        overdraft_limit: -1,
        labels: [("A".to_owned(), String::new())].into(),
        etag: "e".repeat(65),
        ..Default::default()
    };
    let request = proto::UpdateAccountRequest { account: Some(account), ..Default::default() };
    assert_invalid(
        client.update_account(request).await,
        &[
            "account.account_id",
            "account.display_name",
            "account.etag",
            "account.labels",
            "account.overdraft_limit",
        ],
    );
    assert_untouched(&mut client).await;
}

/// An account that was read may be sent back with a change: what only the server sets is ignored.
#[tokio::test]
async fn output_only_fields_are_ignored() {
    let (_server, mut client) = bank().await;
    let get = proto::GetAccountRequest { account_id: "alice".to_owned() };
    let read = client.get_account(get).await.expect("it is there").into_inner().account;
    let changed = proto::Account { display_name: "Alice".to_owned(), ..read.expect("it is set") };
    let request = proto::UpdateAccountRequest { account: Some(changed), ..Default::default() };
    let account = client.update_account(request).await.expect("it is current").into_inner().account;
    assert_eq!(account.expect("it is set").display_name, "Alice");
}

#[tokio::test]
async fn times_out_of_range() {
    let (_server, mut client) = bank().await;
    for (seconds, nanos) in [
        (0, -1),
        (0, 1_000_000_000),
        (-62_135_596_801, 0),
        (253_402_300_800, 0),
        (i64::MAX, 0),
        (i64::MIN, 0),
        (i64::MIN, i32::MIN),
    ] {
        let time = Some(Timestamp { seconds, nanos });
        let balance = proto::GetBalanceRequest { account_id: "alice".to_owned(), as_of_time: time };
        assert_invalid(client.get_balance(balance).await, &["as_of_time"]);
        let listing = proto::ListTransactionsRequest {
            start_time: time,
            end_time: time,
            ..Default::default()
        };
        assert_invalid(client.list_transactions(listing).await, &["end_time", "start_time"]);
    }
    for (seconds, posted) in [(-62_135_596_800, 0), (253_402_300_799, 100)] {
        let time = Some(Timestamp { seconds, nanos: 999_999_999 });
        let request = proto::GetBalanceRequest { account_id: "alice".to_owned(), as_of_time: time };
        let balance = client.get_balance(request).await.expect("it is a time").into_inner().balance;
        assert_eq!(balance.expect("it is set").posted, posted);
    }
}

/// A token is good for the listing and the filters that it was made for, unaltered, and for nothing
/// else.
#[tokio::test]
async fn page_tokens_of_something_else() {
    let (_server, mut client) = bank().await;
    client.deposit(deposit("alice", 1, "USD")).await.expect("it is posted");
    let accounts = proto::ListAccountsRequest { page_size: 1, ..Default::default() };
    let account_token = client
        .list_accounts(accounts.clone())
        .await
        .expect("it lists")
        .into_inner()
        .next_page_token;
    let statement = proto::ListTransactionsRequest {
        account_id: "alice".to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let token = client
        .list_transactions(statement.clone())
        .await
        .expect("it lists")
        .into_inner()
        .next_page_token;
    assert!(!account_token.is_empty() && !token.is_empty());

    let with = |page_token: &str| proto::ListTransactionsRequest {
        page_token: page_token.to_owned(),
        ..statement.clone()
    };
    let other_size = proto::ListTransactionsRequest { page_size: 7, ..with(&token) };
    client.list_transactions(other_size).await.expect("the size may change");

    let mut wrong = vec![
        with(&account_token),
        with("garbage"),
        with("="),
        with(&token[..token.len() - 1]),
        with(&format!("{token}A")),
        with(&token.to_lowercase()),
        proto::ListTransactionsRequest { account_id: String::new(), ..with(&token) },
        proto::ListTransactionsRequest { account_id: "bob".to_owned(), ..with(&token) },
        proto::ListTransactionsRequest { oldest_first: true, ..with(&token) },
        proto::ListTransactionsRequest { types: vec![1], ..with(&token) },
        proto::ListTransactionsRequest {
            start_time: Some(Timestamp { seconds: 0, nanos: 0 }),
            ..with(&token)
        },
    ];
    // Every character, exchanged for another one.
    for index in 0..token.len() {
        let replacement = if &token[index..=index] == "A" { "B" } else { "A" };
        let mut altered = token.clone();
        altered.replace_range(index..=index, replacement);
        wrong.push(with(&altered));
    }
    for request in wrong {
        assert_invalid(client.list_transactions(request).await, &["page_token"]);
    }
    for page_token in [token, "garbage".to_owned()] {
        let request = proto::ListAccountsRequest { page_token, ..accounts.clone() };
        assert_invalid(client.list_accounts(request).await, &["page_token"]);
    }
    let other_filter = proto::ListAccountsRequest {
        page_token: account_token,
        currency_code: "USD".to_owned(),
        ..accounts
    };
    assert_invalid(client.list_accounts(other_filter).await, &["page_token"]);
}

/// The same listing in another ledger.
#[tokio::test]
async fn page_tokens_of_another_ledger() {
    use bank::ledger::LedgerId;
    use bank::store::MemoryStore;
    use bank::store::journal::VolatileJournal;

    let (_server, mut client) = bank().await;
    let request = proto::ListAccountsRequest { page_size: 1, ..Default::default() };
    let page_token =
        client.list_accounts(request.clone()).await.expect("it lists").into_inner().next_page_token;

    let clock = crate::support::ManualClock::new();
    let store = MemoryStore::new(LedgerId::new(1), VolatileJournal::default(), clock.clone());
    let other = TestServer::over(store, clock).await;
    let request = proto::ListAccountsRequest { page_token, ..request };
    assert_invalid(other.client().await.list_accounts(request).await, &["page_token"]);
}

#[tokio::test]
async fn bytes_that_are_no_message() {
    let (server, mut client) = bank().await;
    let valid = deposit("alice", 1, "USD").encode_to_vec();
    let huge = {
        let mut request = deposit("alice", 1, "USD");
        request.description = "x".repeat(17 << 20);
        request.encode_to_vec()
    };
    let mut truncated = framed(&valid);
    truncated.truncate(truncated.len() - 2);
    let mut compressed = framed(&valid);
    compressed[0] = 1;
    let mut unknown_flag = framed(&valid);
    unknown_flag[0] = 7;
    for (what, body) in [
        ("broken UTF-8 in account_id", framed(&[0x12, 2, 0xff, 0xfe])),
        ("a length beyond the end", framed(&[0x12, 200, 1])),
        ("a wrong wire type", framed(&[0x10, 5])),
        ("a field number of 0", framed(&[0x00, 0x00])),
        ("an endless varint", framed(&[0xff; 11])),
        ("more than the largest message", framed(&huge)),
        ("half a message", truncated),
        ("no message at all", Vec::new()),
        ("half a frame", vec![0, 0, 0]),
        ("a message said to be compressed", compressed),
        ("an unknown flag", unknown_flag),
        ("a length of 4 GiB", vec![0, 0xff, 0xff, 0xff, 0xff]),
    ] {
        let status = raw::call(server.address, "Deposit", &[], body).await.status;
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
        assert_eq!(Details::of(&status).reason, "INVALID_REQUEST", "{what}");
    }
    assert_untouched(&mut client).await;
}

/// Only a batch needs more than 64 KiB: whatever else has more is refused before it is read.
#[tokio::test]
async fn messages_that_are_too_large_for_their_method() {
    let (server, mut client) = bank().await;
    let large = "x".repeat(64 << 10);
    let large = proto::DepositRequest { description: large, ..deposit("alice", 1, "USD") };
    let operation = proto::operation::Operation::Deposit(large.clone());
    let operation = proto::Operation { operation: Some(operation) };
    let streamed =
        proto::ExecuteStreamRequest { operation: Some(operation.clone()), correlation_id: 1 };
    for (method, message) in [
        ("Deposit", large.encode_to_vec()),
        ("GetAccount", large.encode_to_vec()),
        ("WatchTransactions", large.encode_to_vec()),
        ("ExecuteStream", streamed.encode_to_vec()),
    ] {
        // Its length alone, and nothing of it.
        let head = framed(&message)[..5].to_vec();
        let status = raw::call(server.address, method, &[], head).await.status;
        assert_eq!(status.code(), Code::InvalidArgument, "{method}: {status:?}");
        assert_eq!(Details::of(&status).reason, "INVALID_REQUEST");
        assert!(status.message().contains("65536 bytes"), "{method}: {status:?}");
    }
    let batch = proto::ExecuteBatchRequest { operations: vec![operation; 3], atomic: true };
    let fields = [0, 1, 2].map(|index| format!("operations[{index}].deposit.description"));
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    assert_invalid(client.execute_batch(batch).await, &fields);
    assert_untouched(&mut client).await;
}

/// Two bytes each on the wire, and some hundreds in memory: they are counted before they are unfolded.
#[tokio::test]
async fn a_batch_that_would_unfold_to_gigabytes() {
    let (server, mut client) = bank().await;
    for (count, field) in [(8193, "operations"), (7 << 20, "")] {
        let body = framed(&[0x0a, 0x00].repeat(count));
        let status = raw::call(server.address, "ExecuteBatch", &[], body).await.status;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert_eq!(Details::of(&status).violated_fields(), [field]);
    }
    assert_untouched(&mut client).await;
}

#[tokio::test]
async fn batches_of_none_and_of_too_many() {
    let (_server, mut client) = bank().await;
    let operation = |request| proto::Operation {
        operation: Some(proto::operation::Operation::Deposit(request)),
    };
    for (count, atomic) in [(0, false), (0, true), (8193, false), (8193, true)] {
        let operations = vec![operation(deposit("alice", 1, "USD")); count];
        let request = proto::ExecuteBatchRequest { operations, atomic };
        assert_invalid(client.execute_batch(request).await, &["operations"]);
    }
    // All of them wrong: the first are told, and it still fits into what clients take for headers.
    let operations = vec![operation(deposit("alice", 0, "USD")); 8192];
    let request = proto::ExecuteBatchRequest { operations, atomic: true };
    let status = client.execute_batch(request).await.expect_err("all are wrong");
    let details = Details::of(&status);
    let fields = details.violated_fields();
    assert_eq!(fields.len(), 21, "{fields:?}");
    assert!(fields.contains(&"operations[19].deposit.amount.minor_units"), "{fields:?}");
    assert!(status.message().ends_with("8172 more violations are not listed"), "{status:?}");
    assert!(status.details().len() < 6_000);
    assert_untouched(&mut client).await;

    let operations = vec![operation(deposit("alice", 1, "USD")); 8192];
    let request = proto::ExecuteBatchRequest { operations, atomic: true };
    let results = client.execute_batch(request).await.expect("it is full").into_inner().results;
    assert_eq!(results.len(), 8192);
    let get = proto::GetAccountRequest { account_id: "alice".to_owned() };
    let account = client.get_account(get).await.expect("it is there").into_inner().account;
    assert_eq!(account.and_then(|it| it.balance).map(|it| it.posted), Some(100 + 8192));
}

#[tokio::test]
async fn headers_that_are_none() {
    let (server, mut client) = bank().await;
    let body = framed(&deposit("alice", 1, "USD").encode_to_vec());
    for value in ["soon", "5", "-1S", "123456789S", "1x"] {
        let headers = [("grpc-timeout", value)];
        let status = raw::call(server.address, "Deposit", &headers, body.clone()).await.status;
        assert_eq!(status.code(), Code::InvalidArgument, "{value}: {status:?}");
        assert_eq!(Details::of(&status).violated_fields(), ["grpc-timeout"], "{value}");
    }
    let unknown = raw::call(server.address, "NoSuchMethod", &[], body).await.status;
    assert_eq!(unknown.code(), Code::Unimplemented);
    assert_untouched(&mut client).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Random bytes, and random fields in random order, to every method.
    #[test]
    fn whatever_is_sent_gets_a_status_of_the_table(
        messages in prop::collection::vec((prop::sample::select(METHODS.to_vec()), message()), 1..40)
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let server = TestServer::start().await;
            let mut client = server.client().await;
            for (method, message) in messages {
                let body = framed(&message);
                let status = raw::call(server.address, method, &[], body).await.status;
                let is_of_the_table = matches!(
                    status.code(),
                    Code::Ok
                        | Code::InvalidArgument
                        | Code::NotFound
                        | Code::AlreadyExists
                        | Code::Aborted
                        | Code::FailedPrecondition
                        | Code::OutOfRange
                );
                prop_assert!(is_of_the_table, "{method} {message:?}: {status:?}");
                if status.code() != Code::Ok {
                    Details::of(&status);
                }
            }
            let totals = client
                .get_trial_balance(proto::GetTrialBalanceRequest::default())
                .await
                .expect("it goes on")
                .into_inner()
                .totals;
            prop_assert!(totals.iter().all(|one| one.difference == 0));
            Ok(())
        })?;
    }
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let field = (1..14_u8, field_value()).prop_map(|(number, (wire_type, bytes))| {
        let mut field = vec![number << 3 | wire_type];
        field.extend(bytes);
        field
    });
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..40),
        4 => prop::collection::vec(field, 0..8).prop_map(|fields| fields.concat()),
    ]
}

fn field_value() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let text = prop_oneof![
        Just(b"alice".to_vec()),
        Just(b"bob".to_vec()),
        Just(b"USD".to_vec()),
        Just(b"\x0a\x03USD\x10\x05".to_vec()),
        Just(b"\x0a\x05alice".to_vec()),
        "[a-z@:/]{0,6}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop_oneof![
        2 => any::<u64>().prop_map(|number| (0, varint(number))),
        2 => (0..4_u64).prop_map(|number| (0, varint(number))),
        6 => text.prop_map(|bytes| {
            let mut value = varint(bytes.len() as u64);
            value.extend(bytes);
            (2, value)
        }),
    ]
}

fn varint(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(number, &mut bytes);
    bytes
}
