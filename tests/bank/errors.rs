//! Every row of the error table, as a client sees it: code, reason, metadata, and the detail that the
//! row names.
//!
//! The rows about the caller are tried in `auth` and `confinement`; those about load and about full books are
//! met in `capacity` and `bounds`.

use bank::grpc::proto;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::ledger::{Record, Sequence};
use bank::store::journal::{Journal, Scanned, VolatileJournal};
use bank::store::{Error, MemoryStore};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::{
    Details, LEDGER, ManualClock, TestServer, create, create_with, deposit, transfer, withdraw,
};

/// Details that name one broken precondition: its kind is the reason, its subject what it is about.
#[track_caller]
fn assert_precondition(status: &Status, reason: &str, subject: &str, metadata: &[(&str, &str)]) {
    let details = check(status, Code::FailedPrecondition, reason, metadata);
    let failure = details.all.precondition_failure().expect("a PreconditionFailure");
    let [violation] = &failure.violations[..] else { panic!("{failure:?}") };
    assert_eq!((violation.r#type.as_str(), violation.subject.as_str()), (reason, subject));
    assert_eq!(violation.description, status.message());
}

#[track_caller]
fn assert_resource(
    status: &Status,
    (code, reason): (Code, &str),
    (kind, name): (&str, &str),
    metadata: &[(&str, &str)],
) {
    let details = check(status, code, reason, metadata);
    let resource = details.all.resource_info().expect("a ResourceInfo");
    assert_eq!((resource.resource_type.as_str(), resource.resource_name.as_str()), (kind, name));
}

#[track_caller]
fn check(status: &Status, code: Code, reason: &str, metadata: &[(&str, &str)]) -> Details {
    assert_eq!(status.code(), code, "{status:?}");
    assert!(!status.message().is_empty());
    let details = Details::of(status);
    assert_eq!(details.reason, reason);
    let mut given: Vec<_> =
        details.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    given.sort_unstable();
    assert_eq!(given, metadata, "{status:?}");
    details
}

async fn bank() -> (TestServer, BankServiceClient<Channel>) {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.create_account(create_with("alice", "USD", 100)).await.expect("it opens");
    client.create_account(create("bob", "USD")).await.expect("it opens");
    (server, client)
}

#[tokio::test]
async fn invalid_request() {
    let (_server, mut client) = bank().await;
    let request = proto::TransferRequest {
        request_id: "with blank".to_owned(),
        description: "x".repeat(513),
        labels: [("Bad".to_owned(), String::new())].into(),
        ..transfer("", "@external:USD", 0, "dollars")
    };
    let status = client.transfer(request).await.expect_err("everything is wrong with it");

    let details = check(&status, Code::InvalidArgument, "INVALID_REQUEST", &[]);
    assert_eq!(
        details.violated_fields(),
        [
            "amount.currency_code",
            "amount.minor_units",
            "description",
            "from_account_id",
            "labels",
            "request_id",
            "to_account_id",
        ]
    );
    let violations = &details.all.bad_request().expect("a BadRequest").field_violations;
    assert!(violations.iter().all(|violation| violation.description.starts_with("must ")));
    assert!(status.message().contains("amount.minor_units must be above 0"), "{status:?}");
}

#[tokio::test]
async fn request_id_reused() {
    let (_server, mut client) = bank().await;
    let first = proto::DepositRequest { request_id: "r".to_owned(), ..deposit("alice", 1, "USD") };
    client.deposit(first.clone()).await.expect("it is the first");
    let other = proto::DepositRequest { description: "other".to_owned(), ..first };
    let status = client.deposit(other).await.expect_err("it is another");
    let metadata = [("field", "description"), ("request_id", "r")];
    assert_precondition(&status, "REQUEST_ID_REUSED", "requests/r", &metadata);
}

#[tokio::test]
async fn account_not_found() {
    let (_server, mut client) = bank().await;
    let status = client.deposit(deposit("carol", 1, "USD")).await.expect_err("it is not there");
    assert_resource(
        &status,
        (Code::NotFound, "ACCOUNT_NOT_FOUND"),
        ("bank.v1.Account", "carol"),
        &[("account_id", "carol")],
    );
}

#[tokio::test]
async fn transaction_not_found() {
    use proto::get_transaction_request::Key;
    let (_server, mut client) = bank().await;
    let request = |key| proto::GetTransactionRequest { key: Some(key) };
    let unknown = client
        .get_transaction(request(Key::TransactionId("t1".to_owned())))
        .await
        .expect_err("it is not there");
    assert_resource(
        &unknown,
        (Code::NotFound, "TRANSACTION_NOT_FOUND"),
        ("bank.v1.Transaction", "t1"),
        &[("transaction_id", "t1")],
    );

    let poor =
        proto::WithdrawRequest { request_id: "r".to_owned(), ..withdraw("alice", 101, "USD") };
    client.withdraw(poor).await.expect_err("there is too little");
    let refused = client
        .get_transaction(request(Key::RequestId("r".to_owned())))
        .await
        .expect_err("it made none");
    assert_resource(
        &refused,
        (Code::NotFound, "TRANSACTION_NOT_FOUND"),
        ("bank.v1.Transaction", "r"),
        &[("refused_with", "INSUFFICIENT_FUNDS"), ("request_id", "r")],
    );
}

#[tokio::test]
async fn account_already_exists() {
    let (_server, mut client) = bank().await;
    let status = client.create_account(create("bob", "EUR")).await.expect_err("it exists");
    assert_resource(
        &status,
        (Code::AlreadyExists, "ACCOUNT_ALREADY_EXISTS"),
        ("bank.v1.Account", "bob"),
        &[("account_id", "bob")],
    );
}

#[tokio::test]
async fn etag_mismatch() {
    let (_server, mut client) = bank().await;
    let account = proto::Account {
        account_id: "alice".to_owned(),
        display_name: "A".to_owned(),
        etag: "0".to_owned(),
        ..Default::default()
    };
    let request = proto::UpdateAccountRequest { account: Some(account), ..Default::default() };
    let status = client.update_account(request).await.expect_err("the tag is stale");
    let metadata = [("account_id", "alice"), ("current_etag", "1")];
    check(&status, Code::Aborted, "ETAG_MISMATCH", &metadata);
}

#[tokio::test]
async fn account_frozen_and_closed() {
    let (_server, mut client) = bank().await;
    let account_id = "bob".to_owned();
    let freeze =
        proto::FreezeAccountRequest { account_id: account_id.clone(), ..Default::default() };
    client.freeze_account(freeze).await.expect("it freezes");
    let status = client.deposit(deposit("bob", 1, "USD")).await.expect_err("it is frozen");
    let metadata = [("account_id", "bob")];
    assert_precondition(&status, "ACCOUNT_FROZEN", "accounts/bob", &metadata);

    let close = proto::CloseAccountRequest { account_id, ..Default::default() };
    client.close_account(close).await.expect("it is empty");
    let status = client.deposit(deposit("bob", 1, "USD")).await.expect_err("it is closed");
    assert_precondition(&status, "ACCOUNT_CLOSED", "accounts/bob", &metadata);
}

#[tokio::test]
async fn currency_mismatch() {
    let (_server, mut client) = bank().await;
    let status = client.deposit(deposit("alice", 1, "EUR")).await.expect_err("it holds USD");
    let metadata = [
        ("account_currency_code", "USD"),
        ("account_id", "alice"),
        ("requested_currency_code", "EUR"),
    ];
    assert_precondition(&status, "CURRENCY_MISMATCH", "accounts/alice", &metadata);
}

/// A hold of alice's money, to be captured for bob.
async fn held(client: &mut BankServiceClient<Channel>, minor_units: i64) -> String {
    let request = proto::PlaceHoldRequest {
        account_id: "alice".to_owned(),
        to_account_id: "bob".to_owned(),
        amount: Some(crate::support::money(minor_units, "USD")),
        ..Default::default()
    };
    let answer = client.place_hold(request).await.expect("there is enough").into_inner();
    answer.hold.expect("it is set").hold_id
}

fn capture(hold_id: &str, amount: Option<i64>) -> proto::CaptureHoldRequest {
    proto::CaptureHoldRequest { hold_id: hold_id.to_owned(), amount, ..Default::default() }
}

#[tokio::test]
async fn hold_not_found() {
    let (_server, mut client) = bank().await;
    let status = client.capture_hold(capture("h1", None)).await.expect_err("it is not there");
    assert_resource(
        &status,
        (Code::NotFound, "HOLD_NOT_FOUND"),
        ("bank.v1.Hold", "h1"),
        &[("hold_id", "h1")],
    );
}

#[tokio::test]
async fn hold_not_active_and_capture_exceeds_hold() {
    let (_server, mut client) = bank().await;
    let hold_id = held(&mut client, 10).await;
    let subject = format!("holds/{hold_id}");
    let status = client.capture_hold(capture(&hold_id, Some(11))).await.expect_err("too much");
    let metadata = [("held", "10"), ("hold_id", hold_id.as_str()), ("requested", "11")];
    assert_precondition(&status, "CAPTURE_EXCEEDS_HOLD", &subject, &metadata);

    client.capture_hold(capture(&hold_id, None)).await.expect("it is held");
    let status = client.capture_hold(capture(&hold_id, None)).await.expect_err("it is done");
    let metadata = [("hold_id", hold_id.as_str()), ("state", "CAPTURED")];
    assert_precondition(&status, "HOLD_NOT_ACTIVE", &subject, &metadata);
}

#[tokio::test]
async fn not_reversible() {
    let (_server, mut client) = bank().await;
    let paid = client.transfer(transfer("alice", "bob", 10, "USD")).await.expect("it has 100");
    let paid = paid.into_inner().transaction.expect("it is set").transaction_id;
    let reverse = |transaction_id: &str, amount| proto::ReverseTransactionRequest {
        transaction_id: transaction_id.to_owned(),
        amount,
        ..Default::default()
    };
    let status = client.reverse_transaction(reverse(&paid, Some(11))).await.expect_err("it was 10");
    let metadata = [("left", "10"), ("transaction_id", paid.as_str())];
    let subject = format!("transactions/{paid}");
    assert_precondition(&status, "NOT_REVERSIBLE", &subject, &metadata);

    let back = client.reverse_transaction(reverse(&paid, None)).await.expect("bob has it");
    let back = back.into_inner().transaction.expect("it is set").transaction_id;
    let status = client.reverse_transaction(reverse(&back, None)).await.expect_err("it is one");
    let metadata = [("transaction_id", back.as_str())];
    assert_precondition(&status, "NOT_REVERSIBLE", &format!("transactions/{back}"), &metadata);
}

/// All that is malformed in a batch that is all or none is told at once, with the first operation of it.
#[tokio::test]
async fn malformed_operations_of_a_batch() {
    use proto::operation::Operation as Kind;
    let (_server, mut client) = bank().await;
    let operations = [deposit("bob", 1, "USD"), deposit("bob", 0, "USD"), deposit("", 1, "USD")]
        .map(|request| proto::Operation { operation: Some(Kind::Deposit(request)) })
        .to_vec();
    let request = proto::ExecuteBatchRequest { operations, atomic: true };
    let status = client.execute_batch(request).await.expect_err("two are malformed");
    let metadata = [("operation_index", "1")];
    let details = check(&status, Code::InvalidArgument, "INVALID_REQUEST", &metadata);
    let fields = ["operations[1].deposit.amount.minor_units", "operations[2].deposit.account_id"];
    assert_eq!(details.violated_fields(), fields);
}

/// The first refusal of a batch is the error of the whole, and tells where it was.
#[tokio::test]
async fn operation_of_a_batch() {
    use proto::operation::Operation as Kind;
    let (_server, mut client) = bank().await;
    let operations = [deposit("bob", 1, "USD"), deposit("carol", 1, "USD")]
        .map(|request| proto::Operation { operation: Some(Kind::Deposit(request)) })
        .to_vec();
    let request = proto::ExecuteBatchRequest { operations: operations.clone(), atomic: true };
    let status = client.execute_batch(request).await.expect_err("carol is not there");
    assert_resource(
        &status,
        (Code::NotFound, "ACCOUNT_NOT_FOUND"),
        ("bank.v1.Account", "carol"),
        &[("account_id", "carol"), ("operation_index", "1")],
    );

    let request = proto::ExecuteBatchRequest { operations, atomic: false };
    let results =
        client.execute_batch(request).await.expect("each on its own").into_inner().results;
    let Some(proto::operation_result::Result::Error(error)) = &results[1].result else {
        panic!("{results:?}")
    };
    assert_eq!((error.code, error.message.as_str()), (5, "there is no account carol"));
    let kinds: Vec<&str> = error.details.iter().map(|any| any.type_url.as_str()).collect();
    assert_eq!(
        kinds,
        ["type.googleapis.com/google.rpc.ErrorInfo", "type.googleapis.com/google.rpc.ResourceInfo"]
    );
}

#[tokio::test]
async fn account_not_empty() {
    let (_server, mut client) = bank().await;
    let close = proto::CloseAccountRequest { account_id: "alice".to_owned(), ..Default::default() };
    let status = client.close_account(close).await.expect_err("it has money");
    let metadata = [("account_id", "alice"), ("held", "0"), ("posted", "100")];
    assert_precondition(&status, "ACCOUNT_NOT_EMPTY", "accounts/alice", &metadata);
}

#[tokio::test]
async fn insufficient_funds() {
    let (_server, mut client) = bank().await;
    let status =
        client.transfer(transfer("alice", "bob", 101, "USD")).await.expect_err("it has 100");
    let metadata = [
        ("account_id", "alice"),
        ("available", "100"),
        ("currency_code", "USD"),
        ("requested", "101"),
    ];
    assert_precondition(&status, "INSUFFICIENT_FUNDS", "accounts/alice", &metadata);
}

#[tokio::test]
async fn balance_out_of_range() {
    let (_server, mut client) = bank().await;
    let status =
        client.deposit(deposit("alice", i64::MAX, "USD")).await.expect_err("it is too much");
    let metadata = [("account_id", "@external:USD")];
    check(&status, Code::OutOfRange, "BALANCE_OUT_OF_RANGE", &metadata);
}

/// A journal in which one record can't be read back.
struct DamagedJournal(VolatileJournal);

impl Journal for DamagedJournal {
    fn append(&self, record: &Record) {
        self.0.append(record);
    }

    fn read(&self, sequence: Sequence) -> Result<Record, Error> {
        if sequence.number() == 2 {
            return Err(Error::Damaged { sequence, cause: "bit 3 of /dev/sda1".to_owned() });
        }
        self.0.read(sequence)
    }

    fn scan(&self, each: &mut dyn FnMut(Scanned) -> Result<(), Error>) -> Result<(), Error> {
        self.0.scan(each)
    }

    async fn durable(&self, _sequence: Sequence) -> Result<(), Error> {
        Ok(())
    }
}

#[tokio::test]
async fn data_loss() {
    let clock = ManualClock::new();
    let journal = DamagedJournal(VolatileJournal::default());
    let server = TestServer::over(MemoryStore::new(LEDGER, journal, clock.clone()), clock).await;
    let mut client = server.client().await;
    client.create_account(create("alice", "USD")).await.expect("it opens");
    client.deposit(deposit("alice", 1, "USD")).await.expect("it is posted");

    let request = proto::ListTransactionsRequest::default();
    let status = client.list_transactions(request).await.expect_err("a record is damaged");
    check(&status, Code::DataLoss, "DATA_LOSS", &[]);
    assert_eq!(status.message(), "stored data is damaged", "nothing of the store's own text");
}
