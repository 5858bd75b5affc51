//! A caller that is confined to some accounts learns nothing of any other: not by name, not by listings and
//! feeds, not by what holds, transactions and requests lead to, not by errors.
//!
//! The bank has accounts of the caller's own (`own:...`) and of others (`foreign:...`), with money that has
//! moved between them in every way. No answer may hold a trace of what is foreign.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bank::grpc::proto;
use bank::grpc::proto::get_transaction_request::Key;
use bank::grpc::proto::operation::Operation as Kind;
use bank::grpc::proto::operation_result::Result as Outcome;
use bank::server::Options;
use bank::store::Store;
use prost::Message;
use tonic::{Code, Status};

use crate::support::callers::{CallerFile, GuardedClient, client_of, entry};
use crate::support::{
    Details, LEDGER, ManualClock, TestServer, create, create_with, deposit, memory_store, money,
    transfer, withdraw,
};

/// The accounts' names of others, in every answer looked for.
const FOREIGN: &str = "foreign";

struct Town {
    _file: CallerFile,
    server: TestServer,
    /// May do everything.
    boss: GuardedClient,
    /// Is confined to `own:`.
    own: GuardedClient,
    made: Made,
}

/// The ids of what was made.
#[derive(Default)]
struct Made {
    own_deposit: String,
    own_transfer: String,
    outgoing: String,
    incoming: String,
    foreign_deposit: String,
    foreign_transfer: String,
    own_hold: String,
    outgoing_hold: String,
    incoming_hold: String,
    foreign_hold: String,
    captured_incoming: String,
}

async fn transfer_of(boss: &mut GuardedClient, id: &str, from: &str, to: &str) -> String {
    let request =
        proto::TransferRequest { request_id: id.to_owned(), ..transfer(from, to, 1, "USD") };
    let answer = boss.transfer(request).await.expect("it is posted").into_inner();
    answer.transaction.expect("it is set").transaction_id
}

async fn hold_of(boss: &mut GuardedClient, id: &str, from: &str, to: &str) -> String {
    let request = hold(id, from, to);
    let answer = boss.place_hold(request).await.expect("it is placed").into_inner();
    answer.hold.expect("it is set").hold_id
}

fn hold(id: &str, from: &str, to: &str) -> proto::PlaceHoldRequest {
    proto::PlaceHoldRequest {
        request_id: id.to_owned(),
        account_id: from.to_owned(),
        to_account_id: to.to_owned(),
        amount: Some(money(2, "USD")),
        ..Default::default()
    }
}

async fn deposit_of(boss: &mut GuardedClient, id: &str, account: &str) -> String {
    let request =
        proto::DepositRequest { request_id: id.to_owned(), ..deposit(account, 10, "USD") };
    let answer = boss.deposit(request).await.expect("it is posted").into_inner();
    answer.transaction.expect("it is set").transaction_id
}

impl Town {
    async fn build() -> Self {
        let entries = [
            entry("boss", "admin", &[]),
            entry("own", "admin", &["own:"]),
            entry("two", "teller", &["own:2", "foreign:2", "zone:"]),
            entry("none", "teller", &["nothing:"]),
        ];
        let file = CallerFile::new(&entries);
        let server = file.serve().await;
        let mut boss = client_of(&server, "boss").await;
        for account in ["foreign:1", "foreign:2", "own:1", "own:2", "own:3", "zone:1"] {
            boss.create_account(create_with(account, "USD", 100)).await.expect("it opens");
        }
        let one = &mut boss;
        let mut made = Made {
            own_deposit: deposit_of(one, "own-deposit", "own:1").await,
            foreign_deposit: deposit_of(one, "foreign-deposit", "foreign:1").await,
            own_transfer: transfer_of(one, "own-transfer", "own:1", "own:2").await,
            outgoing: transfer_of(one, "outgoing", "own:1", "foreign:1").await,
            incoming: transfer_of(one, "incoming", "foreign:1", "own:1").await,
            foreign_transfer: transfer_of(one, "foreign-transfer", "foreign:1", "foreign:2").await,
            own_hold: hold_of(one, "own-hold", "own:1", "").await,
            outgoing_hold: hold_of(one, "outgoing-hold", "own:1", "foreign:1").await,
            incoming_hold: hold_of(one, "incoming-hold", "foreign:1", "own:1").await,
            foreign_hold: hold_of(one, "foreign-hold", "foreign:1", "foreign:2").await,
            ..Made::default()
        };
        let hold_id = hold_of(one, "to-capture", "foreign:1", "own:2").await;
        let request = proto::CaptureHoldRequest {
            request_id: "captured-incoming".to_owned(),
            hold_id,
            ..Default::default()
        };
        let answer = one.capture_hold(request).await.expect("it is captured").into_inner();
        made.captured_incoming = answer.transaction.expect("it is set").transaction_id;
        // A request that was refused because of what is foreign.
        let request = proto::TransferRequest {
            request_id: "refused".to_owned(),
            ..transfer("own:1", "foreign:9", 1, "USD")
        };
        one.transfer(request).await.expect_err("it is not there");
        let own = client_of(&server, "own").await;
        Self { _file: file, server, boss, own, made }
    }
}

/// No part of an answer names what is foreign.
#[track_caller]
fn assert_no_trace(answer: &impl Message) {
    let bytes = answer.encode_to_vec();
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains(FOREIGN), "{text}");
}

/// The whole status, but for the id that was asked for.
fn seen(status: &Status, id: &str) -> (Code, String, String) {
    let Details { reason, metadata, all } = Details::of(status);
    let metadata: BTreeMap<_, _> = metadata.into_iter().collect();
    let further =
        (all.bad_request(), all.precondition_failure(), all.resource_info(), all.retry_info());
    let details = format!("{reason} {metadata:?} {further:?}").replace(id, "ID");
    (status.code(), status.message().replace(id, "ID"), details)
}

/// The status in a result of a batch.
fn status_of(result: proto::OperationResult) -> Option<Status> {
    match result.result.expect("it is set") {
        Outcome::Error(error) => {
            let details = error.encode_to_vec().into();
            Some(Status::with_details(error.code.into(), error.message, details))
        }
        Outcome::Transaction(_) | Outcome::Hold(_) => None,
    }
}

macro_rules! refused {
    ($client:expr, $method:ident, $request:expr) => {
        $client.$method($request).await.expect_err(stringify!($method))
    };
}

/// Everything that names an account: there is no difference between one of somebody else and one that there
/// is not, even where the rest of the request is wrong.
#[tokio::test]
async fn a_foreign_account_is_denied_whether_it_is_there_or_not() {
    let mut town = Town::build().await;
    let own = &mut town.own;
    let mut all = Vec::new();
    for id in ["foreign:1", "foreign:9", "@external:USD"] {
        let id = id.to_owned();
        let update = proto::UpdateAccountRequest {
            account: Some(proto::Account { account_id: id.clone(), ..Default::default() }),
            ..Default::default()
        };
        let state = proto::FreezeAccountRequest { account_id: id.clone(), ..Default::default() };
        let unfreeze =
            proto::UnfreezeAccountRequest { account_id: id.clone(), ..Default::default() };
        let close = proto::CloseAccountRequest { account_id: id.clone(), ..Default::default() };
        let statement =
            proto::ListTransactionsRequest { account_id: id.clone(), ..Default::default() };
        let holds = proto::ListHoldsRequest { account_id: id.clone(), ..Default::default() };
        let watch =
            proto::WatchTransactionsRequest { account_id: id.clone(), ..Default::default() };
        let balance = proto::GetBalanceRequest { account_id: id.clone(), ..Default::default() };
        let refusals = [
            refused!(own, create_account, create(&id, "USD")),
            refused!(own, create_account, create(&id, "dollars")),
            refused!(own, update_account, update),
            refused!(own, freeze_account, state),
            refused!(own, unfreeze_account, unfreeze),
            refused!(own, close_account, close),
            refused!(own, get_account, proto::GetAccountRequest { account_id: id.clone() }),
            refused!(own, get_balance, balance),
            refused!(own, list_transactions, statement),
            refused!(own, list_holds, holds),
            refused!(own, watch_transactions, watch),
            refused!(own, deposit, deposit(&id, 1, "USD")),
            refused!(own, deposit, deposit(&id, -1, "dollars")),
            refused!(own, withdraw, withdraw(&id, 1, "USD")),
            refused!(own, transfer, transfer(&id, "own:1", 1, "USD")),
            refused!(own, transfer, transfer("own:1", &id, 1, "USD")),
            refused!(own, transfer, transfer("own:9", &id, 1, "USD")),
            refused!(own, transfer, transfer("own:1", &id, 1_000_000, "EUR")),
            refused!(own, place_hold, hold("", &id, "")),
            refused!(own, place_hold, hold("", "own:1", &id)),
        ];
        for status in &refusals {
            assert_eq!(status.code(), Code::PermissionDenied, "{id}: {status:?}");
            assert_eq!(Details::of(status).reason, "PERMISSION_DENIED");
        }
        all.push(refusals.map(|status| seen(&status, &id)));
    }
    assert_eq!(all[0], all[1], "one that is there, one that is not");
    assert_eq!(all[0], all[2], "the outside world");

    // A name that the bank chooses is nobody's, and the totals are everybody's.
    let status = refused!(own, create_account, create("", "USD"));
    assert_eq!(status.code(), Code::PermissionDenied);
    let totals = proto::GetTrialBalanceRequest { currency_code: "USD".to_owned() };
    let status = refused!(own, get_trial_balance, totals);
    assert_eq!(status.code(), Code::PermissionDenied);
}

/// Everything that leads to an account by another id: what is foreign is not there.
#[tokio::test]
async fn what_is_foreign_is_not_found_by_other_ids() {
    let mut town = Town::build().await;
    let (own, made) = (&mut town.own, &town.made);
    let missing_hold = format!("h{:016x}-999", LEDGER.number());
    let missing = format!("t{:016x}-999", LEDGER.number());

    let mut all = Vec::new();
    for id in [&missing_hold, &made.foreign_hold, &made.incoming_hold] {
        let capture = proto::CaptureHoldRequest { hold_id: id.clone(), ..Default::default() };
        let release = proto::ReleaseHoldRequest { hold_id: id.clone(), ..Default::default() };
        let refusals = [
            refused!(own, get_hold, proto::GetHoldRequest { hold_id: id.clone() }),
            refused!(own, capture_hold, capture),
            refused!(own, release_hold, release),
        ];
        for status in &refusals {
            assert_eq!(Details::of(status).reason, "HOLD_NOT_FOUND");
        }
        all.push(refusals.map(|status| seen(&status, id)));
    }
    assert!(all.iter().all(|refusals| *refusals == all[0]), "{all:?}");

    let mut all = Vec::new();
    for id in [&missing, &made.foreign_deposit, &made.foreign_transfer] {
        let key = Some(Key::TransactionId(id.clone()));
        let reverse =
            proto::ReverseTransactionRequest { transaction_id: id.clone(), ..Default::default() };
        let refusals = [
            refused!(own, get_transaction, proto::GetTransactionRequest { key }),
            refused!(own, reverse_transaction, reverse),
        ];
        for status in &refusals {
            assert_eq!(Details::of(status).reason, "TRANSACTION_NOT_FOUND");
        }
        all.push(refusals.map(|status| seen(&status, id)));
    }
    assert!(all.iter().all(|refusals| *refusals == all[0]), "{all:?}");

    let mut all = Vec::new();
    for id in ["unknown", "foreign-deposit", "foreign-transfer", "foreign-hold", "refused"] {
        let key = Some(Key::RequestId(id.to_owned()));
        let status = refused!(own, get_transaction, proto::GetTransactionRequest { key });
        all.push(seen(&status, id));
    }
    assert!(all.iter().all(|refusal| *refusal == all[0]), "{all:?}");
}

/// What concerns an own account and a foreign one is shown without the other, and can't be touched.
#[tokio::test]
async fn the_other_side_has_no_name() {
    let mut town = Town::build().await;
    let (own, made) = (&mut town.own, &town.made);
    for (id, sides) in [
        (&made.own_deposit, ("@external:USD", "own:1")),
        (&made.own_transfer, ("own:1", "own:2")),
        (&made.outgoing, ("own:1", "@other")),
        (&made.incoming, ("@other", "own:1")),
        (&made.captured_incoming, ("@other", "own:2")),
    ] {
        let key = Some(Key::TransactionId(id.clone()));
        let answer = own.get_transaction(proto::GetTransactionRequest { key }).await;
        let transaction = answer.expect("it is its own").into_inner().transaction.expect("set");
        assert_no_trace(&transaction);
        let told = (transaction.from_account_id.as_str(), transaction.to_account_id.as_str());
        assert_eq!(told, sides);
        assert!(transaction.hold_id.is_empty(), "its hold is the other's");
    }
    let key = Some(Key::RequestId("incoming".to_owned()));
    let answer = own.get_transaction(proto::GetTransactionRequest { key }).await;
    assert_no_trace(&answer.expect("it is its own").into_inner());

    let request = proto::GetHoldRequest { hold_id: made.outgoing_hold.clone() };
    let answer = own.get_hold(request).await.expect("its money is held").into_inner();
    assert_no_trace(&answer);
    assert_eq!(answer.hold.expect("it is set").to_account_id, "@other");

    let capture =
        proto::CaptureHoldRequest { hold_id: made.outgoing_hold.clone(), ..Default::default() };
    let release =
        proto::ReleaseHoldRequest { hold_id: made.outgoing_hold.clone(), ..Default::default() };
    let reverse = |id: &String| proto::ReverseTransactionRequest {
        transaction_id: id.clone(),
        ..Default::default()
    };
    for status in [
        refused!(own, capture_hold, capture),
        refused!(own, release_hold, release),
        refused!(own, reverse_transaction, reverse(&made.outgoing)),
        refused!(own, reverse_transaction, reverse(&made.incoming)),
    ] {
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        assert!(!format!("{status:?}").contains(FOREIGN), "{status:?}");
    }
}

/// All that is its own it may do, the outside world included.
#[tokio::test]
async fn its_own_accounts_are_free() {
    let mut town = Town::build().await;
    let (own, made) = (&mut town.own, &town.made);
    own.create_account(create_with("own:4", "USD", 7)).await.expect("it is its own");
    own.deposit(deposit("own:4", 1, "USD")).await.expect("it is its own");
    own.withdraw(withdraw("own:4", 2, "USD")).await.expect("it is its own");
    let answer =
        own.transfer(transfer("own:4", "own:1", 1, "USD")).await.expect("they are its own");
    assert!(answer.into_inner().to_balance.is_some());
    let capture =
        proto::CaptureHoldRequest { hold_id: made.own_hold.clone(), ..Default::default() };
    own.capture_hold(capture).await.expect("it is its own");
    for id in [&made.own_deposit, &made.own_transfer] {
        let reverse =
            proto::ReverseTransactionRequest { transaction_id: id.clone(), ..Default::default() };
        own.reverse_transaction(reverse).await.expect("it is its own");
    }
    // What is not there in its own part is not there.
    let status = refused!(own, deposit, deposit("own:9", 1, "USD"));
    assert_eq!(Details::of(&status).reason, "ACCOUNT_NOT_FOUND");
    let status = refused!(own, transfer, transfer("own:1", "own:9", 1, "USD"));
    assert_eq!(Details::of(&status).reason, "ACCOUNT_NOT_FOUND");
}

/// Every account, walked with pages of a size.
async fn accounts(client: &mut GuardedClient, prefix: &str, page_size: i32) -> Vec<String> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = proto::ListAccountsRequest {
            page_size,
            page_token,
            account_id_prefix: prefix.to_owned(),
            ..Default::default()
        };
        let page = client.list_accounts(request).await.expect("it is listed").into_inner();
        assert!(page.accounts.len() <= usize::try_from(page_size).expect("it is small"));
        found.extend(page.accounts.into_iter().map(|account| account.account_id));
        if page.next_page_token.is_empty() {
            return found;
        }
        page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn listings_of_accounts_know_no_others() {
    let mut town = Town::build().await;
    let mut two = client_of(&town.server, "two").await;
    let mut none = client_of(&town.server, "none").await;
    for page_size in [1, 2, 3, 100] {
        let own = &mut town.own;
        assert_eq!(accounts(own, "", page_size).await, ["own:1", "own:2", "own:3"]);
        assert_eq!(accounts(own, "own", page_size).await, ["own:1", "own:2", "own:3"]);
        assert_eq!(accounts(own, "own:2", page_size).await, ["own:2"]);
        for prefix in ["foreign", "foreign:1", "z", "@", "own;"] {
            assert!(accounts(own, prefix, page_size).await.is_empty(), "{prefix}");
        }
        let all = ["foreign:2", "own:2", "zone:1"];
        assert_eq!(accounts(&mut two, "", page_size).await, all);
        assert_eq!(accounts(&mut two, "o", page_size).await, ["own:2"]);
        assert!(accounts(&mut none, "", page_size).await.is_empty());
    }
    // The token of somebody who sees everything opens nothing more.
    for after in 1..=6 {
        let request = proto::ListAccountsRequest { page_size: after, ..Default::default() };
        let page = town.boss.list_accounts(request).await.expect("it is listed").into_inner();
        let request = proto::ListAccountsRequest {
            page_size: 100,
            page_token: page.next_page_token,
            ..Default::default()
        };
        let page = town.own.list_accounts(request).await.expect("it is listed").into_inner();
        assert_no_trace(&page);
        assert!(page.accounts.iter().all(|account| account.account_id.starts_with("own:")));
        assert!(page.next_page_token.is_empty());
    }
}

#[tokio::test]
async fn listings_of_transactions_and_holds_know_no_others() {
    let mut town = Town::build().await;
    let expected: BTreeSet<&str> =
        ["own-deposit", "own-transfer", "outgoing", "incoming", "captured-incoming"].into();
    for (account_id, oldest_first) in [("", false), ("", true), ("own:1", false), ("own:1", true)] {
        for tokens_of_boss in [false, true] {
            let mut found = BTreeSet::new();
            let mut page_token = String::new();
            loop {
                let request = proto::ListTransactionsRequest {
                    account_id: account_id.to_owned(),
                    page_size: 2,
                    page_token: page_token.clone(),
                    oldest_first,
                    ..Default::default()
                };
                let page = town.own.list_transactions(request.clone()).await.expect("it is listed");
                let page = page.into_inner();
                assert_no_trace(&page);
                for transaction in page.transactions {
                    if !transaction.request_id.is_empty() {
                        assert!(found.insert(transaction.request_id), "it came twice");
                    }
                }
                page_token = if tokens_of_boss {
                    let page = town.boss.list_transactions(request).await.expect("it is listed");
                    page.into_inner().next_page_token
                } else {
                    page.next_page_token
                };
                if page_token.is_empty() {
                    break;
                }
            }
            let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
            match account_id {
                "" => assert_eq!(found, expected),
                _ => assert!(found.is_subset(&expected) && found.len() == 4, "{found:?}"),
            }
        }
    }
    for account_id in ["", "own:1"] {
        let request =
            proto::ListHoldsRequest { account_id: account_id.to_owned(), ..Default::default() };
        let page = town.own.list_holds(request).await.expect("it is listed").into_inner();
        assert_no_trace(&page);
        let ids: Vec<_> = page.holds.iter().map(|hold| hold.hold_id.as_str()).collect();
        assert_eq!(ids, [town.made.outgoing_hold.as_str(), &town.made.own_hold]);
    }
}

/// The feed of the whole ledger, from its beginning by the token of somebody who sees everything, and live.
#[tokio::test]
async fn feeds_know_no_others() {
    let file = CallerFile::new(&[entry("boss", "admin", &[]), entry("own", "reader", &["own:"])]);
    let server = file.serve().await;
    let (mut boss, mut own) = (client_of(&server, "boss").await, client_of(&server, "own").await);
    let request = proto::WatchTransactionsRequest::default();
    let mut feed = boss.watch_transactions(request).await.expect("it begins").into_inner();
    let begin = feed.message().await.expect("it goes on").expect("it goes on").resume_token;
    drop(feed);
    boss.create_account(create_with("own:1", "USD", 100)).await.expect("it opens");
    boss.create_account(create_with("foreign:1", "USD", 100_000)).await.expect("it opens");
    // More than a page of what is foreign.
    let one = |number| proto::ExecuteStreamRequest {
        operation: Some(proto::Operation {
            operation: Some(Kind::Deposit(deposit("foreign:1", 1, "USD"))),
        }),
        correlation_id: number,
    };
    let all = tokio_stream::iter((0..600).map(one));
    let mut results = boss.execute_stream(all).await.expect("it begins").into_inner();
    while results.message().await.expect("it goes on").is_some() {}
    transfer_of(&mut boss, "outgoing", "own:1", "foreign:1").await;

    let watch = |account_id: &str| proto::WatchTransactionsRequest {
        account_id: account_id.to_owned(),
        resume_token: begin.clone(),
    };
    let mut feed = own.watch_transactions(watch("")).await.expect("it begins").into_inner();
    let mut told = Vec::new();
    while told.len() < 4 {
        if told.len() == 2 {
            // Live, one of them not its own.
            transfer_of(&mut boss, "foreign", "foreign:1", "own:1").await;
            deposit_of(&mut boss, "foreign-deposit", "foreign:1").await;
            deposit_of(&mut boss, "own-deposit", "own:1").await;
            told.push("live".to_owned());
        }
        let message = feed.message().await.expect("it goes on").expect("it goes on");
        assert_no_trace(&proto::Transaction {
            request_id: String::new(),
            ..message.transaction.clone().unwrap_or_default()
        });
        told.extend(
            message
                .transaction
                .map(|it| format!("{} {} {}", it.request_id, it.from_account_id, it.to_account_id)),
        );
    }
    told.push({
        let message = feed.message().await.expect("it goes on").expect("it goes on");
        message.transaction.expect("it is one").request_id
    });
    assert_eq!(
        told,
        [
            " @external:USD own:1",
            "outgoing own:1 @other",
            "live",
            "foreign @other own:1",
            "own-deposit"
        ]
    );
}

#[tokio::test]
async fn batches_and_streams_know_no_others() {
    let mut town = Town::build().await;
    let (own, made) = (&mut town.own, &town.made);
    let missing_hold = format!("h{:016x}-999", LEDGER.number());
    let one = |kind| proto::Operation { operation: Some(kind) };
    let capture = |id: &str| {
        Kind::CaptureHold(proto::CaptureHoldRequest {
            hold_id: id.to_owned(),
            ..Default::default()
        })
    };
    let reverse = |id: &str| {
        Kind::ReverseTransaction(proto::ReverseTransactionRequest {
            transaction_id: id.to_owned(),
            ..Default::default()
        })
    };
    let operations = vec![
        one(Kind::Deposit(deposit("own:1", 1, "USD"))),
        one(Kind::Deposit(deposit("foreign:1", 1, "USD"))),
        one(Kind::Deposit(deposit("foreign:9", -1, "USD"))),
        one(Kind::Transfer(transfer("own:1", "foreign:1", 1, "USD"))),
        one(capture(&made.foreign_hold)),
        one(capture(&missing_hold)),
        one(capture(&made.outgoing_hold)),
        one(reverse(&made.foreign_transfer)),
        one(reverse(&made.incoming)),
        proto::Operation::default(),
        one(Kind::Withdraw(withdraw("own:1", 1, "USD"))),
    ];
    let reasons = [
        "OK",
        "PERMISSION_DENIED",
        "PERMISSION_DENIED",
        "PERMISSION_DENIED",
        "HOLD_NOT_FOUND",
        "HOLD_NOT_FOUND",
        "PERMISSION_DENIED",
        "TRANSACTION_NOT_FOUND",
        "PERMISSION_DENIED",
        "INVALID_REQUEST",
        "OK",
    ];
    let told = |results: Vec<proto::OperationResult>| -> Vec<String> {
        let statuses = results.into_iter().map(status_of);
        statuses.map(|it| it.map_or("OK".to_owned(), |it| Details::of(&it).reason)).collect()
    };
    let batch = proto::ExecuteBatchRequest { operations: operations.clone(), atomic: false };
    let answer = own.execute_batch(batch).await.expect("it is done").into_inner();
    assert_no_trace(&answer);
    assert_eq!(told(answer.results), reasons);

    let messages = operations.iter().zip(0..).map(|(operation, number)| {
        proto::ExecuteStreamRequest { operation: Some(operation.clone()), correlation_id: number }
    });
    let messages: Vec<_> = messages.collect();
    let results = own.execute_stream(tokio_stream::iter(messages)).await.expect("it begins");
    let mut results = results.into_inner();
    let mut all = Vec::new();
    while let Some(message) = results.message().await.expect("it goes on") {
        assert_no_trace(&message);
        all.extend(message.result);
    }
    assert_eq!(told(all), reasons);

    // All or none: what is denied stands above everything else, and has a place.
    for (index, reason) in [
        (1, "PERMISSION_DENIED"),
        (3, "PERMISSION_DENIED"),
        (4, "HOLD_NOT_FOUND"),
        (5, "HOLD_NOT_FOUND"),
        (6, "PERMISSION_DENIED"),
        (7, "TRANSACTION_NOT_FOUND"),
    ] {
        let operations = vec![operations[0].clone(), operations[index].clone()];
        let batch = proto::ExecuteBatchRequest { operations, atomic: true };
        let status = refused!(own, execute_batch, batch);
        assert!(!format!("{status:?}").contains(FOREIGN), "{status:?}");
        let details = Details::of(&status);
        assert_eq!(details.reason, reason);
        assert_eq!(details.metadata.get("operation_index").map(String::as_str), Some("1"));
    }
    let both = vec![proto::Operation::default(), operations[1].clone()];
    let batch = proto::ExecuteBatchRequest { operations: both, atomic: true };
    let status = refused!(own, execute_batch, batch);
    assert_eq!(status.code(), Code::PermissionDenied, "it stands above what is malformed");
}

/// The request ids of others lead nowhere: not by the same request, not by another.
#[tokio::test]
async fn the_requests_of_others_tell_nothing() {
    let mut town = Town::build().await;
    let own = &mut town.own;
    let repeat = proto::TransferRequest {
        request_id: "outgoing".to_owned(),
        ..transfer("own:1", "foreign:1", 1, "USD")
    };
    let status = refused!(own, transfer, repeat);
    assert_eq!(status.code(), Code::PermissionDenied);
    let capture = proto::CaptureHoldRequest {
        request_id: "captured-incoming".to_owned(),
        hold_id: town.made.incoming_hold.clone(),
        ..Default::default()
    };
    let status = refused!(own, capture_hold, capture);
    assert_eq!(Details::of(&status).reason, "HOLD_NOT_FOUND");

    // One with the same id is told that it is taken, and not in what the other differs.
    let mut told = Vec::new();
    for id in ["foreign-deposit", "foreign-transfer", "foreign-hold", "refused"] {
        let request =
            proto::DepositRequest { request_id: id.to_owned(), ..deposit("own:1", 10, "USD") };
        let status = refused!(own, deposit, request.clone());
        let details = Details::of(&status);
        assert_eq!(details.reason, "REQUEST_ID_REUSED");
        assert_eq!(details.metadata.get("field").map(String::as_str), Some("request_id"));
        told.push(seen(&status, id));

        let operation = proto::Operation { operation: Some(Kind::Deposit(request)) };
        for atomic in [false, true] {
            let batch = proto::ExecuteBatchRequest { operations: vec![operation.clone()], atomic };
            let status = match own.execute_batch(batch).await {
                Ok(answer) => answer.into_inner().results.pop().and_then(status_of),
                Err(status) => Some(status),
            };
            let details = Details::of(&status.expect("it is refused"));
            assert_eq!(details.reason, "REQUEST_ID_REUSED");
            assert_eq!(details.metadata.get("field").map(String::as_str), Some("request_id"));
        }
    }
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");

    // Of its own accounts it is told, whoever asked first.
    let request = proto::DepositRequest {
        request_id: "own-deposit".to_owned(),
        ..deposit("own:1", 10, "USD")
    };
    assert!(own.deposit(request.clone()).await.expect("a repeat").into_inner().replayed);
    let other = proto::DepositRequest { description: "other".to_owned(), ..request };
    let details = Details::of(&refused!(own, deposit, other));
    assert_eq!(details.metadata.get("field").map(String::as_str), Some("description"));
}

/// What was refused to it before is its own to ask after, where no account is named too.
#[tokio::test]
async fn its_own_refusals_are_told() {
    let file = CallerFile::new(&[entry("boss", "admin", &[]), entry("own", "admin", &["own:"])]);
    let clock = ManualClock::new();
    let store = Arc::new(memory_store(&clock));
    let options = Options { access: file.access(), ..Options::default() };
    let server = TestServer::with_shared(store.clone(), clock, options).await;
    let mut own = client_of(&server, "own").await;
    own.create_account(create_with("own:1", "USD", 100)).await.expect("it opens");
    let hold_id = hold_of(&mut own, "hold", "own:1", "").await;
    let capture = |id: &str| proto::CaptureHoldRequest {
        request_id: id.to_owned(),
        hold_id: hold_id.clone(),
        ..Default::default()
    };
    own.capture_hold(capture("first")).await.expect("it is captured");
    let status = refused!(own, capture_hold, capture("second"));
    assert_eq!(Details::of(&status).reason, "HOLD_NOT_ACTIVE");
    let request = proto::WithdrawRequest {
        request_id: "third".to_owned(),
        ..withdraw("own:1", 1_000, "USD")
    };
    refused!(own, withdraw, request);
    for (id, key, value) in [
        ("hold", "done_by", "PlaceHold"),
        ("second", "refused_with", "HOLD_NOT_ACTIVE"),
        ("third", "refused_with", "INSUFFICIENT_FUNDS"),
    ] {
        let key_of = Some(Key::RequestId(id.to_owned()));
        let status = refused!(own, get_transaction, proto::GetTransactionRequest { key: key_of });
        let metadata = Details::of(&status).metadata;
        assert_eq!(metadata.get(key).map(String::as_str), Some(value), "{id}: {metadata:?}");
    }
    assert_eq!(store.head().await.expect("it can be read").number(), 5);
}
