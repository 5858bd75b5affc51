//! Listings of things that bear every label that is allowed: a page that a client could not receive comes
//! out short, and the walk goes on where it ended.

use bank::grpc::proto;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::ledger::{Command, Labels};
use bank::store::Store;
use prost::Message;
use tonic::transport::Channel;

use crate::support::commands::{open, plain, put, set_aside};
use crate::support::{ManualClock, TestServer, deposit, memory_store};

/// Fewer than a page may have, and yet enough for three pages and a bit.
const COUNT: usize = 990;

/// 32 labels with the longest keys and values: 10 KB.
fn all_labels() -> Labels {
    let value = "v".repeat(256);
    let keys: Vec<String> = (10..42).map(|number| format!("{}{number}", "k".repeat(61))).collect();
    Labels::parse(keys.iter().map(|key| (key.as_str(), value.as_str()))).expect("they are allowed")
}

fn labelled(mut command: Command, all: &Labels) -> Command {
    match &mut command {
        Command::CreateAccount { labels, .. }
        | Command::Deposit { labels, .. }
        | Command::PlaceHold { labels, .. } => labels.clone_from(all),
        other => panic!("{other:?} has no labels"),
    }
    command
}

/// A bank in which so many of these were done, after alice and bob were opened.
async fn bank_with(command: impl Fn(usize) -> Command) -> (TestServer, BankServiceClient<Channel>) {
    let clock = ManualClock::new();
    let store = memory_store(&clock);
    let labels = all_labels();
    let mut requests = vec![plain(open("alice", 10_000)), plain(open("bob", 0))];
    requests.extend((0..COUNT).map(|number| plain(labelled(command(number), &labels))));
    for answer in store.execute_each(requests).await.expect("it answers") {
        answer.expect("it is not refused");
    }
    let server = TestServer::over(store, clock).await;
    let client = server.client().await;
    (server, client)
}

/// Walks a listing to its end: each page's size, and all items. A client takes no more than 4 MiB by default,
/// so none of this would be received otherwise.
async fn walk<T>(mut page: impl AsyncFnMut(String) -> (Vec<T>, String, usize)) -> Vec<T> {
    let (mut all, mut token, mut sizes) = (Vec::new(), String::new(), Vec::new());
    loop {
        let (items, next, size) = page(token).await;
        all.extend(items);
        sizes.push(size);
        token = next;
        if token.is_empty() {
            break;
        }
    }
    let full = (5 << 19)..=(3 << 20) + 200;
    assert!(sizes.len() == 4, "{sizes:?}");
    assert!(sizes[..3].iter().all(|size| full.contains(size)), "{sizes:?}");
    all
}

#[tokio::test]
async fn transactions_with_all_labels_come_in_short_pages() {
    let (_server, mut client) = bank_with(|_| put("alice", 1)).await;
    let mut written = 0;
    for (account_id, oldest_first) in [("", false), ("", true), ("alice", false), ("alice", true)] {
        let before = written;
        let all = walk(async |page_token| {
            let request = proto::ListTransactionsRequest {
                account_id: account_id.to_owned(),
                page_size: 1000,
                page_token,
                oldest_first,
                ..Default::default()
            };
            let page = client.list_transactions(request).await.expect("it is received");
            // What comes while it is walked is not part of it.
            client.deposit(deposit("bob", 1, "USD")).await.expect("it is posted");
            written += 1;
            let page = page.into_inner();
            let size = page.encoded_len();
            (page.transactions, page.next_page_token, size)
        });
        let mut sequences: Vec<i64> = all.await.iter().map(|one| one.sequence).collect();
        if !oldest_first {
            sequences.reverse();
        }
        let others = if account_id.is_empty() { before } else { 0 };
        assert_eq!(sequences.len(), 1 + COUNT + others, "{account_id} {oldest_first}");
        assert!(sequences.windows(2).all(|two| two[0] < two[1]), "each once, in order");
    }
}

#[tokio::test]
async fn accounts_with_all_labels_come_in_short_pages() {
    let id = |number: usize| format!("account-{number:04}");
    let (_server, mut client) = bank_with(|number| open(&id(number), 0)).await;
    let all = walk(async |page_token| {
        let request =
            proto::ListAccountsRequest { page_size: 1000, page_token, ..Default::default() };
        let page = client.list_accounts(request).await.expect("it is received").into_inner();
        let size = page.encoded_len();
        (page.accounts, page.next_page_token, size)
    });
    let ids: Vec<String> = all.await.into_iter().map(|one| one.account_id).collect();
    let mut expected = vec!["@external:USD".to_owned()];
    expected.extend((0..COUNT).map(id));
    expected.extend(["alice".to_owned(), "bob".to_owned()]);
    expected.sort();
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn holds_with_all_labels_come_in_short_pages() {
    let (_server, mut client) = bank_with(|_| set_aside("alice", "bob", 1)).await;
    for account_id in ["", "alice"] {
        let all = walk(async |page_token| {
            let request = proto::ListHoldsRequest {
                account_id: account_id.to_owned(),
                page_size: 1000,
                page_token,
                ..Default::default()
            };
            let page = client.list_holds(request).await.expect("it is received").into_inner();
            let size = page.encoded_len();
            (page.holds, page.next_page_token, size)
        });
        let ids: Vec<String> = all.await.into_iter().map(|one| one.hold_id).collect();
        let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
        assert_eq!((ids.len(), distinct.len()), (COUNT, COUNT));
    }
}

/// Whoever asks for more gets as much as a page may have, and the rest in the next one.
#[tokio::test]
async fn no_page_has_more_than_a_thousand() {
    const MOST: usize = 1000;
    let clock = ManualClock::new();
    let store = memory_store(&clock);
    let mut requests = vec![plain(open("alice", 10_000)), plain(open("bob", 0))];
    for number in 0..=MOST {
        requests.push(plain(open(&format!("account-{number:04}"), 0)));
        requests.push(plain(put("bob", 1)));
        requests.push(plain(set_aside("alice", "bob", 1)));
    }
    for answer in store.execute_each(requests).await.expect("it answers") {
        answer.expect("it is not refused");
    }
    let server = TestServer::over(store, clock).await;
    let mut client = server.client().await;
    let mut lengths = async |page_size, page_token: [String; 3]| {
        let [of_accounts, of_transactions, of_holds] = page_token;
        let request = proto::ListAccountsRequest {
            account_id_prefix: "account-".to_owned(),
            page_size,
            page_token: of_accounts,
            ..Default::default()
        };
        let accounts = client.list_accounts(request).await.expect("it answers").into_inner();
        let request = proto::ListTransactionsRequest {
            account_id: "bob".to_owned(),
            page_size,
            page_token: of_transactions,
            ..Default::default()
        };
        let transactions =
            client.list_transactions(request).await.expect("it answers").into_inner();
        let request = proto::ListHoldsRequest {
            account_id: "alice".to_owned(),
            page_size,
            page_token: of_holds,
            ..Default::default()
        };
        let holds = client.list_holds(request).await.expect("it answers").into_inner();
        let lengths = [accounts.accounts.len(), transactions.transactions.len(), holds.holds.len()];
        let next = [accounts.next_page_token, transactions.next_page_token, holds.next_page_token];
        (lengths, next)
    };
    for (page_size, length) in [(0, 50), (999, 999), (1000, MOST), (1001, MOST), (i32::MAX, MOST)] {
        let (first, next) = lengths(page_size, Default::default()).await;
        assert_eq!(first, [length; 3], "{page_size}");
        let (second, end) = lengths(page_size, next).await;
        assert_eq!(second, [(MOST + 1 - length).min(length); 3], "{page_size}");
        assert_eq!(end.each_ref().map(String::is_empty), [length > 50; 3], "{page_size}");
    }
}
