//! A writer wakes only those that watch what it wrote, however many others wait.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bank::grpc::proto::bank_service_server::BankService;
use bank::grpc::{Access, Service, proto};
use bank::store::Store;
use tokio::task::unconstrained;
use tokio_stream::Stream;
use tonic::Status;

use crate::support::commands::{open, pay, plain, put};
use crate::support::{ManualClock, memory_store};

/// Counts how often somebody is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

type Message = Result<proto::WatchTransactionsResponse, Status>;
type Messages = Pin<Box<dyn Stream<Item = Message> + Send>>;

struct Watcher {
    feed: Messages,
    wakes: Arc<Wakes>,
}

impl Watcher {
    async fn of(service: &Service<impl Store>, account_id: &str) -> Self {
        let account_id = account_id.to_owned();
        let request = proto::WatchTransactionsRequest { account_id, ..Default::default() };
        let answer = service.watch_transactions(Access::let_in(tonic::Request::new(request))).await;
        let mut watcher =
            Self { feed: answer.expect("it begins").into_inner(), wakes: Arc::default() };
        assert_eq!(watcher.read().await, [None], "its first token");
        watcher
    }

    /// Takes what there is, until it has to wait: the sequences of transactions.
    async fn read(&mut self) -> Vec<Option<i64>> {
        let waker = Waker::from(self.wakes.clone());
        let mut context = Context::from_waker(&waker);
        let mut read = Vec::new();
        // A test that polls thousands is no task that should give way to others.
        let all = std::future::poll_fn(|_| {
            while let Poll::Ready(message) = self.feed.as_mut().poll_next(&mut context) {
                let message = message.expect("it goes on").expect("it goes on");
                read.push(message.transaction.map(|transaction| transaction.sequence));
            }
            Poll::Ready(())
        });
        unconstrained(all).await;
        read
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }
}

fn id(number: usize) -> String {
    format!("account-{number}")
}

/// The numbers of those that were woken since they last looked, each of them once.
fn woken(watchers: &[Watcher], before: &mut [usize]) -> Vec<usize> {
    let mut woken = Vec::new();
    for (number, (watcher, before)) in watchers.iter().zip(before).enumerate() {
        let times = watcher.wakes() - std::mem::replace(before, watcher.wakes());
        assert!(times <= 1, "watcher {number} was woken {times} times at once");
        woken.extend((times == 1).then_some(number));
    }
    woken
}

/// Time stands still, so nobody is woken to send a heartbeat.
#[tokio::test(start_paused = true)]
async fn a_writer_wakes_nobody_but_those_concerned() {
    const ACCOUNTS: usize = 1000;
    let store = Arc::new(memory_store(&ManualClock::new()));
    let service = Service::new(store.clone());
    let mut watchers = Vec::new();
    for number in 0..ACCOUNTS {
        let request = plain(open(&id(number), 100));
        store.execute(request).await.expect("it answers").expect("it opens");
        watchers.push(Watcher::of(&service, &id(number)).await);
    }
    // Two of one account, and two of the whole ledger.
    watchers.push(Watcher::of(&service, &id(7)).await);
    for _ in 0..2 {
        watchers.push(Watcher::of(&service, "").await);
    }
    let mut before = vec![0; watchers.len()];
    assert!(woken(&watchers, &mut before).is_empty());

    let transfer = plain(pay(&id(7), &id(8), 1));
    store.execute(transfer.clone()).await.expect("it answers").expect("there is enough");
    let concerned = [7, 8, 1000, 1001, 1002];
    assert_eq!(woken(&watchers, &mut before), concerned);

    // Those that have not looked yet need not be woken again.
    store.execute(transfer).await.expect("it answers").expect("there is enough");
    assert!(woken(&watchers, &mut before).is_empty());
    for number in concerned {
        let read = watchers[number].read().await;
        assert_eq!(read, [Some(1001), Some(1002)], "watcher {number}");
    }
    let all = vec![plain(put(&id(9), 1)); 100];
    store.execute_each(all).await.expect("it answers");
    assert_eq!(woken(&watchers, &mut before), [9, 1001, 1002]);

    // Whoever has gone away is nobody to wake.
    let gone = watchers.remove(9);
    before.remove(9);
    drop(gone.feed);
    store.execute(plain(put(&id(9), 1))).await.expect("it answers").expect("it is posted");
    assert_eq!(gone.wakes.0.load(Ordering::SeqCst), 1);
    assert!(woken(&watchers, &mut before).is_empty());
}
