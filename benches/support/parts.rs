//! The parts of a transfer, each on its own: for criterion, which takes their time, and for callgrind, which
//! counts their instructions.

use std::sync::Arc;
use std::time::Duration;

use bank::clock::SystemClock;
use bank::grpc::edge::{self, Around, Stage};
use bank::grpc::proto::bank_service_server::{BankService, BankServiceServer};
use bank::grpc::{Access, Admission, Capacity, Observer, Service, proto};
use bank::ledger::{
    AccountId, Amount, Books, Command, Currency, Description, DisplayName, Labels, LedgerId, Money,
    NewAccountId, OverdraftLimit, Parties, Record, Request, RequestId, Sequence, Time, Turn,
    decide,
};
use bank::store::journal::VolatileJournal;
use bank::store::{Executed, Journal, MemoryStore, Store};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;
use uuid::Uuid;

use super::echo::Echo;
use super::floor::Floor;
use super::held::Held;

/// How many accounts there are, where it isn't said.
const ACCOUNTS: usize = 10_000;
const SEED: u64 = 0x9a27;

/// Work that is ready to be done.
pub(crate) type Work = Box<dyn FnOnce()>;

/// A part of a transfer, of which any number can be made ready.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) prepare: Box<dyn FnMut(usize) -> Work>,
}

impl Part {
    /// `input` makes what one run needs, beforehand; `run` is what counts.
    fn new<I: 'static>(
        name: &'static str,
        mut input: impl FnMut() -> I + 'static,
        run: impl Fn(I) + Clone + 'static,
    ) -> Self {
        let prepare = move |count| -> Work {
            let inputs: Vec<I> = (0..count).map(|_| input()).collect();
            let run = run.clone();
            Box::new(move || inputs.into_iter().for_each(run))
        };
        Self { name, prepare: Box::new(prepare) }
    }
}

/// A name, and what makes the part of it.
pub(crate) type Recipe = (&'static str, fn(&'static str) -> Part);

/// All of them, from the inside out.
pub(crate) const PARTS: [Recipe; 10] = [
    ("decide", decide_alone),
    ("journal: append in memory", append),
    ("store: execute, 10 thousand accounts", |name| execute(name, ACCOUNTS)),
    ("store: execute, 1 million accounts", |name| execute(name, 1_000_000)),
    ("conversion: decode, parse, render, encode", convert),
    ("call: HTTP request to HTTP response", call),
    ("the same of the floor", call_of_the_floor),
    ("balance: HTTP request to HTTP response", balance),
    ("the same of the floor, GetBalance", balance_of_the_floor),
    ("list of 50, the same for each transaction in it", list),
];

/// Transfers between random accounts, each with a request id of its own.
struct Transfers {
    random: fastrand::Rng,
    accounts: usize,
}

impl Transfers {
    fn between(accounts: usize) -> Self {
        Self { random: fastrand::Rng::with_seed(SEED), accounts }
    }

    fn message(&mut self) -> proto::TransferRequest {
        let from = self.random.usize(0..self.accounts);
        let to = (from + self.random.usize(1..self.accounts)) % self.accounts;
        proto::TransferRequest {
            request_id: Uuid::from_u128(self.random.u128(..)).to_string(),
            from_account_id: account(from),
            to_account_id: account(to),
            amount: Some(proto::Money { currency_code: "USD".to_owned(), minor_units: 1 }),
            ..proto::TransferRequest::default()
        }
    }

    fn request(&mut self) -> Request {
        let message = self.message();
        let account = |id: &str| AccountId::parse(id).expect("it is one");
        let parties =
            Parties::new(account(&message.from_account_id), account(&message.to_account_id));
        Request {
            id: Some(RequestId::parse(&message.request_id).expect("it is visible")),
            caller: None,
            command: Command::Transfer {
                parties: parties.expect("they are two"),
                amount: Money { currency: usd(), amount: Amount::new(1).expect("it is above 0") },
                description: Description::default(),
                labels: Labels::default(),
            },
        }
    }
}

/// A message as it stands in the body of a call.
fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).expect("it is short"));
    message.encode(&mut bytes).expect("it has room");
    bytes.freeze()
}

fn account(number: usize) -> String {
    format!("account-{number:07}")
}

fn usd() -> Currency {
    Currency::parse("USD").expect("it is known")
}

fn opening(number: usize) -> Request {
    Request {
        id: None,
        caller: None,
        command: Command::CreateAccount {
            account_id: NewAccountId::ByClient(
                AccountId::parse(&account(number)).expect("it is one"),
            ),
            currency: usd(),
            display_name: DisplayName::default(),
            overdraft_limit: OverdraftLimit::default(),
            labels: Labels::default(),
            initial_balance: Some(Amount::new(1_000_000_000).expect("it is above 0")),
        },
    }
}

/// Books with accounts, and where they stand.
fn books() -> (Books, Turn<'static>) {
    let mut books = Books::new(LedgerId::new(1));
    let mut turn = Turn { sequence: Sequence::new(1), time: Time::from_micros(1), original: None };
    for number in 0..ACCOUNTS {
        let change = decide(&books, &opening(number), turn).expect("it is opened");
        books.apply(&change, turn.sequence, turn.time);
        turn.sequence = turn.sequence.next();
        turn.time = turn.time.next();
    }
    (books, turn)
}

fn store(accounts: usize) -> Arc<MemoryStore<VolatileJournal, SystemClock>> {
    Arc::new(store_over(VolatileJournal::default(), accounts))
}

fn store_over<J: Journal>(journal: J, accounts: usize) -> MemoryStore<J, SystemClock> {
    let store = MemoryStore::new(LedgerId::new(1), journal, SystemClock);
    for number in 0..accounts {
        execute_now(&store, opening(number));
    }
    store
}

/// In memory everything is done at the first poll.
fn execute_now(store: &impl Store, request: Request) -> Executed {
    let answer = store.execute(request).now_or_never().expect("it is done at once");
    answer.expect("it is written").expect("it is posted")
}

/// The record of a transfer that was posted
pub(crate) fn record() -> Record {
    let (books, turn) = books();
    let request = Transfers::between(ACCOUNTS).request();
    let outcome = decide(&books, &request, turn);
    Record { sequence: turn.sequence, time: turn.time, request, outcome }
}

fn decide_alone(name: &'static str) -> Part {
    let (books, turn) = books();
    let books = Arc::new(books);
    let mut transfers = Transfers::between(ACCOUNTS);
    Part::new(
        name,
        move || transfers.request(),
        move |request| {
            std::hint::black_box(decide(&books, &request, turn)).expect("it is posted");
        },
    )
}

fn append(name: &'static str) -> Part {
    let journal = Arc::new(VolatileJournal::default());
    let record = Arc::new(record());
    Part::new(name, || (), move |()| journal.append(&record))
}

fn execute(name: &'static str, accounts: usize) -> Part {
    let store = store(accounts);
    let mut transfers = Transfers::between(accounts);
    Part::new(
        name,
        move || transfers.request(),
        move |request| {
            execute_now(&*store, request);
        },
    )
}

/// Executes transfers over so many accounts, and says how long the lock was held for them in all.
pub(crate) fn under_the_lock(accounts: usize) -> impl FnMut(u64) -> Duration {
    let store = store_over(Held::over(VolatileJournal::default()), accounts);
    let mut transfers = Transfers::between(accounts);
    move |count| {
        store.journal().take();
        for _ in 0..count {
            execute_now(&store, transfers.request());
        }
        store.journal().take()
    }
}

fn convert(name: &'static str) -> Part {
    let echo = Echo(Executed { record: Box::new(record()), replayed: false });
    let service = Arc::new(Service::new(Arc::new(echo)));
    let mut transfers = Transfers::between(ACCOUNTS);
    Part::new(
        name,
        move || framed(&transfers.message()),
        move |framed| {
            let message = proto::TransferRequest::decode(&framed[5..]).expect("it is one");
            let answer = service.transfer(Access::let_in(tonic::Request::new(message)));
            let answer = answer.now_or_never().expect("it is done at once").expect("it is posted");
            std::hint::black_box(answer.into_inner().encode_to_vec());
        },
    )
}

fn call(name: &'static str) -> Part {
    Part::new(name, posts(), serving(store(ACCOUNTS)))
}

/// All that the bank does with a request, over a store that answers at once.
fn serving<S: Store>(store: Arc<S>) -> impl Fn(http::Request<Body>) + Clone {
    let routes = Routes::new(BankServiceServer::new(Service::new(store))).prepare();
    let admission = Admission::new(&Capacity::default());
    let observer = Arc::<Observer>::default();
    move |request| {
        let around = Around {
            stage: Stage::Ready,
            access: Access::default(),
            admission: &admission,
            draining: CancellationToken::new(),
            observer: observer.clone(),
        };
        let answer = edge::serve(routes.clone(), around, request);
        read(answer.now_or_never().expect("it is done at once"));
    }
}

fn balance(name: &'static str) -> Part {
    Part::new(name, questions(), serving(store(ACCOUNTS)))
}

/// A list for every 50 that are counted.
fn list(name: &'static str) -> Part {
    const PAGE: i32 = 50;
    let store = store(1000);
    let mut transfers = Transfers::between(1000);
    for _ in 0..PAGE * 1000 {
        execute_now(&*store, transfers.request());
    }
    let serve = serving(store);
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut request = move || {
        let message = proto::ListTransactionsRequest {
            account_id: account(random.usize(0..1000)),
            page_size: PAGE,
            ..proto::ListTransactionsRequest::default()
        };
        post("ListTransactions", framed(&message))
    };
    let prepare = move |count: usize| -> Work {
        let requests: Vec<_> = (0..count / PAGE as usize).map(|_| request()).collect();
        let serve = serve.clone();
        Box::new(move || requests.into_iter().for_each(serve))
    };
    Part { name, prepare: Box::new(prepare) }
}

fn call_of_the_floor(name: &'static str) -> Part {
    Part::new(name, posts(), serving_nothing())
}

fn balance_of_the_floor(name: &'static str) -> Part {
    Part::new(name, questions(), serving_nothing())
}

/// All that the floor does with a request.
fn serving_nothing() -> impl Fn(http::Request<Body>) + Clone {
    let routes = Routes::new(BankServiceServer::new(Floor)).prepare();
    move |request| {
        read(routes.clone().oneshot(request).now_or_never().expect("it is done at once"));
    }
}

/// Questions for the balances of random accounts, as HTTP requests.
fn questions() -> impl FnMut() -> http::Request<Body> {
    let mut random = fastrand::Rng::with_seed(SEED);
    move || {
        let account_id = account(random.usize(0..ACCOUNTS));
        let message =
            proto::GetBalanceRequest { account_id, ..proto::GetBalanceRequest::default() };
        post("GetBalance", framed(&message))
    }
}

/// Transfers as HTTP requests, as they come out of HTTP/2.
fn posts() -> impl FnMut() -> http::Request<Body> {
    let mut transfers = Transfers::between(ACCOUNTS);
    move || post("Transfer", framed(&transfers.message()))
}

fn post(method: &str, body: Bytes) -> http::Request<Body> {
    http::Request::post(format!("/bank.v1.BankService/{method}"))
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Full::new(body)))
        .expect("it is well formed")
}

/// Reads an answer to its end, as HTTP/2 does.
fn read<B>(answer: Result<http::Response<B>, std::convert::Infallible>)
where
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    let Ok(answer) = answer;
    let body =
        answer.into_body().collect().now_or_never().expect("it is there").expect("it is whole");
    let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
    assert!(status.is_some_and(|status| status == "0"), "{status:?}");
}
