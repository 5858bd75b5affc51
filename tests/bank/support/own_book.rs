//! A client's own book of what it was told, to be held against the bank's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bank::grpc::proto;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::grpc::proto::get_transaction_request::Key;
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::process::Running;
use super::{create, money};

const ACCOUNTS: usize = 20;
const INITIAL_BALANCE: i64 = 1_000_000;

/// The client's own book: what each request came to, as far as it was told.
#[derive(Default)]
pub(crate) struct OwnBook {
    pub(crate) acknowledged: HashMap<String, proto::Transaction>,
    pub(crate) unknown: Vec<proto::TransferRequest>,
}

/// A client of a bank that has read its books.
pub(crate) async fn client(running: &Running) -> BankServiceClient<Channel> {
    let mut client = BankServiceClient::connect(running.endpoint()).await.expect("it listens");
    loop {
        match client.get_trial_balance(proto::GetTrialBalanceRequest::default()).await {
            Ok(_) => return client,
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
    }
}

fn name(number: usize) -> String {
    format!("a{number}")
}

pub(crate) async fn open_accounts(client: &mut BankServiceClient<Channel>) {
    for number in 0..ACCOUNTS {
        let request = proto::CreateAccountRequest {
            initial_balance: INITIAL_BALANCE,
            ..create(&name(number), "USD")
        };
        client.create_account(request).await.expect("it opens");
    }
}

/// Many callers at once, each with the next of the clients, until so many transfers were acknowledged; then
/// `fault` comes over them, which every one of them must notice: each ends with its first error.
pub(crate) async fn pay_until(
    clients: &[BankServiceClient<Channel>],
    enough: u64,
    random: &mut fastrand::Rng,
    fault: impl AsyncFnOnce(),
) -> OwnBook {
    let book = Arc::new(Mutex::new(OwnBook::default()));
    let count = Arc::new(AtomicU64::new(0));
    let (reached, mut reaching) = watch::channel(enough == 0);
    let reached = Arc::new(reached);
    let mut callers = tokio::task::JoinSet::new();
    for client in clients.iter().cycle().take(16) {
        let (mut client, book, count) = (client.clone(), book.clone(), count.clone());
        let (reached, mut random) = (reached.clone(), random.fork());
        callers.spawn(async move {
            loop {
                let from = random.usize(0..ACCOUNTS);
                let to = (from + random.usize(1..ACCOUNTS)) % ACCOUNTS;
                let request = proto::TransferRequest {
                    request_id: format!("{:032x}", random.u128(..)),
                    from_account_id: name(from),
                    to_account_id: name(to),
                    amount: Some(money(random.i64(1..100), "USD")),
                    ..proto::TransferRequest::default()
                };
                let answer = client.transfer(request.clone()).await;
                let mut book = book.lock().expect("no caller panics with it");
                let Ok(answer) = answer else {
                    book.unknown.push(request);
                    return;
                };
                let transaction = answer.into_inner().transaction.expect("it has one");
                book.acknowledged.insert(request.request_id, transaction);
                if count.fetch_add(1, Ordering::SeqCst) + 1 >= enough {
                    reached.send_replace(true);
                }
            }
        });
    }
    reaching.wait_for(|reached| *reached).await.expect("the callers go on");
    fault().await;
    callers.join_all().await;
    Arc::into_inner(book).expect("the callers have ended").into_inner().expect("nobody panicked")
}

async fn transaction_of(
    client: &mut BankServiceClient<Channel>,
    request_id: &str,
) -> Result<proto::Transaction, Status> {
    let request = proto::GetTransactionRequest { key: Some(Key::RequestId(request_id.to_owned())) };
    let answer = client.get_transaction(request).await?;
    Ok(answer.into_inner().transaction.expect("it has one"))
}

pub(crate) async fn check_acknowledged(
    client: &mut BankServiceClient<Channel>,
    acknowledged: &HashMap<String, proto::Transaction>,
) {
    for (request_id, told) in acknowledged {
        let found = transaction_of(client, request_id).await.expect("it was acknowledged");
        // What the account held is told to the one who asked for it alone.
        assert_eq!(found, proto::Transaction { balance_after: None, ..told.clone() });
    }
}

/// Finds out what became of requests whose answers were lost, and sends them again.
pub(crate) async fn settle(
    client: &mut BankServiceClient<Channel>,
    unknown: Vec<proto::TransferRequest>,
) -> HashMap<String, proto::Transaction> {
    let mut settled = HashMap::new();
    for request in unknown {
        let before = match transaction_of(client, &request.request_id).await {
            Ok(transaction) => Some(transaction),
            Err(status) => {
                assert_eq!(status.code(), Code::NotFound, "{status:?}");
                None
            }
        };
        let answer = client.transfer(request.clone()).await.expect("it can be sent again");
        let answer = answer.into_inner();
        assert_eq!(answer.replayed, before.is_some());
        let transaction = answer.transaction.expect("it has one");
        if let Some(before) = before {
            assert_eq!(before.transaction_id, transaction.transaction_id);
        }
        settled.insert(request.request_id, transaction);
    }
    settled
}

pub(crate) async fn check_totals(client: &mut BankServiceClient<Channel>, transfers: usize) {
    let answer = client.get_trial_balance(proto::GetTrialBalanceRequest::default()).await;
    let totals = answer.expect("it can be read").into_inner().totals;
    let totals = totals.first().expect("there are accounts");
    assert_eq!(totals.difference, 0);
    let accounts = i64::try_from(ACCOUNTS).expect("there are few");
    assert_eq!(totals.accounts_posted, accounts * INITIAL_BALANCE);
    let transfers = i64::try_from(transfers).expect("there are few");
    assert_eq!(totals.transaction_count, accounts + transfers, "each took effect once");
}

/// Every transaction of the ledger stands in the client's book, and the other way round.
pub(crate) async fn check_whole_ledger(
    client: &mut BankServiceClient<Channel>,
    acknowledged: &HashMap<String, proto::Transaction>,
) {
    let mut request = proto::ListTransactionsRequest {
        types: vec![proto::TransactionType::Transfer.into()],
        page_size: 1000,
        ..proto::ListTransactionsRequest::default()
    };
    let mut seen = 0;
    loop {
        let page = client.list_transactions(request.clone()).await.expect("it can be read");
        let page = page.into_inner();
        for found in page.transactions {
            let told = acknowledged.get(&found.request_id).expect("it stands in the book");
            assert_eq!(found, proto::Transaction { balance_after: None, ..told.clone() });
            seen += 1;
        }
        if page.next_page_token.is_empty() {
            assert_eq!(seen, acknowledged.len());
            return;
        }
        request.page_token = page.next_page_token;
    }
}
