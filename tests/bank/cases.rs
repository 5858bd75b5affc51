//! The rules as data: `tests/cases/*.ledger`, run on the bare ledger, on the store and over gRPC.
//!
//! A line is a request and what must come of it:
//!
//! ```text
//! transfer alice bob 150 USD -> INSUFFICIENT_FUNDS available=100 requested=150
//! ```
//!
//! Words are split as a shell splits them; `#` begins a comment. Before the arrow: a verb, what it
//! needs, and options `key=value`. After it: `ok` or the reason of the refusal, and facts that must be
//! among those of the answer. `=name` after the facts keeps the id of what was made, and `$name` stands
//! for it later. Lines between `batch` or `batch atomic` and `end` are sent as one batch, each with its
//! own expectation; the expectation of `end` is that of the whole. `clock 1000` sets the clock to 1000 µs after its beginning; every time in
//! a case counts from there.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bank::grpc::proto::bank_service_client::BankServiceClient;
use bank::grpc::proto::bank_service_server::BankService;
use bank::grpc::{Access, Service, proto};
use bank::store::journal::VolatileJournal;
use bank::store::{MemoryStore, PostgresStore, Store};
use prost::Message;
use prost_types::Timestamp;
use tonic::Status;
use tonic::transport::Channel;

use crate::support::cluster::{Cluster, postgres_store};
use crate::support::{
    Details, FileStore, ManualClock, ReferenceStore, START_MICROS, TestServer, file_store,
    memory_store, money, quick_folder,
};

#[tokio::test]
async fn on_the_bare_ledger() {
    for case in all() {
        let clock = ManualClock::new();
        let bank = Bank::OnReference(in_process(ReferenceStore::new(&clock)));
        check(&case, bank, &clock).await;
    }
}

#[tokio::test]
async fn on_the_store_in_memory() {
    for case in all() {
        let clock = ManualClock::new();
        let bank = Bank::InMemory(in_process(memory_store(&clock)));
        check(&case, bank, &clock).await;
    }
}

#[tokio::test]
async fn on_the_store_in_a_file() {
    for case in all() {
        let clock = ManualClock::new();
        let folder = quick_folder();
        let store = file_store(&folder.path().join("bank.db"), &clock).expect("it can be made");
        check(&case, Bank::InFile(in_process(store)), &clock).await;
    }
}

#[tokio::test]
async fn on_the_store_in_postgresql() {
    let cluster = Cluster::start();
    for case in all() {
        let clock = ManualClock::new();
        let url = cluster.new_books().await;
        let bank = Bank::InPostgres(in_process(postgres_store(&url, &clock).await));
        check(&case, bank, &clock).await;
    }
}

#[tokio::test]
async fn over_grpc() {
    for case in all() {
        let server = TestServer::start().await;
        let bank = Bank::OverGrpc(server.client().await);
        check(&case, bank, &server.clock).await;
    }
}

/// Where a case runs.
enum Bank {
    OnReference(Service<ReferenceStore>),
    InFile(Service<FileStore>),
    InPostgres(Service<PostgresStore<ManualClock>>),
    InMemory(Service<MemoryStore<VolatileJournal, ManualClock>>),
    OverGrpc(BankServiceClient<Channel>),
}

fn in_process<S: Store>(store: S) -> Service<S> {
    Service::new(Arc::new(store))
}

macro_rules! call {
    ($bank:expr, $method:ident, $request:expr) => {
        call!($bank, $method, $request, std::convert::identity)
    };
    // Where the service's own answer has to be read.
    ($bank:expr, $method:ident, $request:expr, $read:expr) => {
        match $bank {
            Bank::OnReference(service) => call!(in service, $method, $request, $read),
            Bank::InFile(service) => call!(in service, $method, $request, $read),
            Bank::InPostgres(service) => call!(in service, $method, $request, $read),
            Bank::InMemory(service) => call!(in service, $method, $request, $read),
            Bank::OverGrpc(client) => {
                client.$method($request).await.map(tonic::Response::into_inner)
            }
        }
    };
    (in $service:expr, $method:ident, $request:expr, $read:expr) => {
        $service
            .$method(Access::let_in(tonic::Request::new($request)))
            .await
            .map(|answer| $read(answer.into_inner()))
    };
}

fn all() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ledger"))
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "no case was found");
    cases
}

async fn check(case: &Path, mut bank: Bank, clock: &ManualClock) {
    let text = std::fs::read_to_string(case).expect("the case can be read");
    let mut differences = Vec::new();
    let mut names = HashMap::new();
    let mut batch: Option<Batch> = None;
    let name = case.file_name().expect("it is a file").to_string_lossy();
    for (index, line) in text.lines().enumerate() {
        let place = format!("{name}:{}: {line}", index + 1);
        let Some(step) = Step::parse(line, &place, &names) else { continue };
        match (step.verb.as_str(), &mut batch) {
            ("clock", _) => clock.set(step.number(0)),
            ("batch", None) => {
                let atomic = step.words.first().is_some_and(|word| word == "atomic");
                batch = Some(Batch { atomic, steps: Vec::new() });
            }
            ("end", Some(collected)) => {
                differences.extend(collected.run(&mut bank, &step).await);
                batch = None;
            }
            (_, Some(collected)) => collected.steps.push(step),
            (_, None) => {
                let answer = run(&mut bank, &step).await;
                differences.extend(step.difference(&answer));
                if let (Some(name), Some(made)) = (step.name, answer.facts.get("made")) {
                    names.insert(name, made.clone());
                }
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Lines that are sent together.
struct Batch {
    atomic: bool,
    steps: Vec<Step>,
}

impl Batch {
    /// What differs from what is expected of the whole and of each line.
    async fn run(&self, bank: &mut Bank, end: &Step) -> Vec<String> {
        let operations = self.steps.iter().map(operation).collect();
        let request = proto::ExecuteBatchRequest { operations, atomic: self.atomic };
        let result: Result<proto::ExecuteBatchResponse, Status> =
            call!(bank, execute_batch, request);
        let results = result.as_ref().map_or_else(|_| Vec::new(), |it| it.results.clone());
        let mut differences = Vec::from_iter(end.difference(&answer(result, |_, _| {})));
        if !results.is_empty() {
            assert_eq!(results.len(), self.steps.len(), "{}", end.place);
        }
        for (step, result) in self.steps.iter().zip(results) {
            differences.extend(step.difference(&operation_answer(result)));
        }
        differences
    }
}

fn operation(step: &Step) -> proto::Operation {
    use proto::operation::Operation as Kind;
    let operation = match step.verb.as_str() {
        "deposit" => Some(Kind::Deposit(deposit(step))),
        "withdraw" => Some(Kind::Withdraw(withdraw(step))),
        "transfer" => Some(Kind::Transfer(transfer(step))),
        "hold" => Some(Kind::PlaceHold(place_hold(step))),
        "capture" => Some(Kind::CaptureHold(capture_hold(step))),
        "release" => Some(Kind::ReleaseHold(release_hold(step))),
        "reverse" => Some(Kind::ReverseTransaction(reverse_transaction(step))),
        "nothing" => None,
        other => panic!("{}: {other} is no operation", step.place),
    };
    proto::Operation { operation }
}

fn operation_answer(result: proto::OperationResult) -> Answer {
    use proto::operation_result::Result as Kind;
    let replayed = result.replayed;
    match result.result.expect("it is set") {
        Kind::Transaction(transaction) => answer(Ok(()), |(), facts| {
            facts.show("replayed", replayed);
            facts.transaction(Some(transaction));
        }),
        Kind::Hold(hold) => answer(Ok(()), |(), facts| {
            facts.show("replayed", replayed);
            facts.hold(Some(hold));
        }),
        Kind::Error(error) => {
            let details = error.encode_to_vec().into();
            let status = Status::with_details(error.code.into(), error.message, details);
            answer(Err::<(), _>(status), |(), _| {})
        }
    }
}

/// One line of a case.
struct Step {
    place: String,
    name: Option<String>,
    verb: String,
    words: Vec<String>,
    options: HashMap<String, String>,
    expected: String,
    facts: BTreeMap<String, String>,
}

impl Step {
    fn parse(line: &str, place: &str, names: &HashMap<String, String>) -> Option<Self> {
        let words = shlex::split(line).unwrap_or_else(|| panic!("{place}: a quote is open"));
        let resolve = |part: &str| match part.split_once('$') {
            Some((before, name)) => {
                let made = names.get(name).unwrap_or_else(|| panic!("{place}: what is {name}?"));
                format!("{before}{made}")
            }
            None => part.to_owned(),
        };
        let resolved = |word: String| word.split(',').map(resolve).collect::<Vec<_>>().join(",");
        let words: Vec<String> = words.into_iter().map(resolved).collect();
        let mut words = words.into_iter();
        let verb = words.next()?;
        let rest: Vec<String> = words.collect();
        let (request, answer) = match rest.iter().position(|word| word == "->") {
            Some(arrow) => (&rest[..arrow], &rest[arrow + 1..]),
            None => (&rest[..], &[][..]),
        };
        let expects_nothing = ["clock", "batch"].contains(&verb.as_str());
        assert!(expects_nothing || !answer.is_empty(), "{place}: nothing is expected");
        let name = answer.last().and_then(|word| word.strip_prefix('=')).map(str::to_owned);
        let pair = |word: &String| {
            word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
        };
        Some(Self {
            place: place.to_owned(),
            name,
            verb,
            words: request.iter().filter(|word| !word.contains('=')).cloned().collect(),
            options: request.iter().filter_map(pair).collect(),
            expected: answer.first().cloned().unwrap_or_default(),
            facts: answer
                .iter()
                .skip(1)
                .filter(|word| !word.starts_with('='))
                .map(|word| pair(word).unwrap_or_else(|| panic!("{place}: {word} is no fact")))
                .collect(),
        })
    }

    fn word(&self, index: usize) -> String {
        self.words
            .get(index)
            .unwrap_or_else(|| panic!("{}: word {index} is missing", self.place))
            .clone()
    }

    fn number(&self, index: usize) -> i64 {
        self.word(index).parse().unwrap_or_else(|_| panic!("{}: no number", self.place))
    }

    fn money(&self, index: usize) -> Option<proto::Money> {
        // An amount of "-" leaves the whole field out.
        match self.word(index).as_str() {
            "-" => None,
            _ => Some(money(self.number(index), &self.word(index + 1))),
        }
    }

    fn option(&self, key: &str) -> String {
        self.options.get(key).cloned().unwrap_or_default()
    }

    fn number_option(&self, key: &str) -> i64 {
        self.options.get(key).map_or(0, |value| {
            value.parse().unwrap_or_else(|_| panic!("{}: {key} is no number", self.place))
        })
    }

    fn time_option(&self, key: &str) -> Option<Timestamp> {
        let nanos_after_start = self.options.get(key)?.parse::<f64>().expect("a number") * 1000.0;
        #[allow(clippy::cast_possible_truncation, reason = "times in cases are short")]
        let nanos = START_MICROS * 1000 + nanos_after_start as i64;
        Some(Timestamp {
            seconds: nanos.div_euclid(1_000_000_000),
            nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).expect("below 10^9"),
        })
    }

    fn labels(&self) -> HashMap<String, String> {
        self.options
            .iter()
            .filter_map(|(key, value)| {
                Some((key.strip_prefix("label.")?.to_owned(), value.clone()))
            })
            .collect()
    }

    /// What differs from what is expected, if anything does.
    fn difference(&self, answer: &Answer) -> Option<String> {
        let place = &self.place;
        if self.expected != answer.result {
            return Some(format!("{place}\n    came: {} {:?}", answer.result, answer.facts));
        }
        let differing: Vec<String> = self
            .facts
            .iter()
            .filter(|(key, value)| answer.facts.get(*key) != Some(value))
            .map(|(key, _)| format!("{key}={:?}", answer.facts.get(key)))
            .collect();
        (!differing.is_empty()).then(|| format!("{place}\n    came: {}", differing.join(" ")))
    }
}

/// What came of a request.
#[derive(Debug)]
struct Answer {
    result: String,
    facts: BTreeMap<String, String>,
}

fn answer<T>(result: Result<T, Status>, facts: impl FnOnce(T, &mut Facts)) -> Answer {
    let mut collected = Facts::default();
    let result = match result {
        Ok(response) => {
            facts(response, &mut collected);
            "ok".to_owned()
        }
        Err(status) => {
            let details = Details::of(&status);
            collected.add("code", &format!("{:?}", status.code()));
            collected.add("fields", &details.violated_fields().join(","));
            for (key, value) in &details.metadata {
                collected.add(key, value);
            }
            details.reason
        }
    };
    Answer { result, facts: collected.0 }
}

#[derive(Default)]
struct Facts(BTreeMap<String, String>);

impl Facts {
    fn add(&mut self, key: &str, value: &str) {
        self.0.insert(key.to_owned(), value.to_owned());
    }

    fn show(&mut self, key: &str, value: impl std::fmt::Display) {
        self.add(key, &format!("{value}"));
    }

    fn time(&mut self, key: &str, time: Option<Timestamp>) {
        let time = time.expect("every time is set");
        self.show(key, time.seconds * 1_000_000 + i64::from(time.nanos) / 1000 - START_MICROS);
    }

    fn balance(&mut self, prefix: &str, balance: Option<proto::Balance>) {
        let balance = balance.expect("it is set");
        self.add(&format!("{prefix}currency"), &balance.currency_code);
        self.show(&format!("{prefix}posted"), balance.posted);
        self.show(&format!("{prefix}held"), balance.held);
        self.show(&format!("{prefix}available"), balance.available);
        self.show(&format!("{prefix}version"), balance.version);
        self.time(&format!("{prefix}as_of"), balance.as_of_time);
    }

    fn account(&mut self, account: Option<proto::Account>) {
        let account = account.expect("it is set");
        self.add("state", account.state().as_str_name().trim_start_matches("ACCOUNT_STATE_"));
        self.add("id", &account.account_id);
        self.add("name", &account.display_name);
        self.show("limit", account.overdraft_limit);
        self.add("etag", &account.etag);
        self.add("labels", &labels(&account.labels));
        self.time("created", account.create_time);
        self.time("updated", account.update_time);
        self.balance("", account.balance);
    }

    fn hold(&mut self, hold: Option<proto::Hold>) {
        let hold = hold.expect("it is set");
        let amount = hold.amount.as_ref().expect("it is set");
        self.add("made", &hold.hold_id);
        self.add("state", hold.state().as_str_name().trim_start_matches("HOLD_STATE_"));
        self.add("account", &hold.account_id);
        self.add("to", &hold.to_account_id);
        self.show("amount", amount.minor_units);
        self.show("captured", hold.captured);
        self.add("transaction", &hold.transaction_id);
        self.add("hold_request_id", &hold.request_id);
        self.add("description", &hold.description);
        self.add("labels", &labels(&hold.labels));
        self.time("created", hold.create_time);
        self.time("expires", hold.expire_time);
        self.time("updated", hold.update_time);
    }

    fn transaction(&mut self, transaction: Option<proto::Transaction>) {
        let transaction = transaction.expect("it is set");
        self.add("made", &transaction.transaction_id);
        self.add("hold", &transaction.hold_id);
        self.add("reverses", &transaction.reverses_transaction_id);
        self.add("reversed_by", &transaction.reversed_by_transaction_ids.join(","));
        let amount = transaction.amount.as_ref().expect("it is set");
        self.add("type", kind(&transaction));
        self.show("amount", amount.minor_units);
        self.add("from", &transaction.from_account_id);
        self.add("to", &transaction.to_account_id);
        self.add("request_id", &transaction.request_id);
        self.add("description", &transaction.description);
        self.add("labels", &labels(&transaction.labels));
        self.time("at", transaction.create_time);
        let after = transaction.balance_after;
        self.add("after", &after.map_or_else(|| "unset".to_owned(), |it| it.to_string()));
    }
}

fn kind(transaction: &proto::Transaction) -> &'static str {
    transaction.r#type().as_str_name().trim_start_matches("TRANSACTION_TYPE_")
}

fn labels(labels: &HashMap<String, String>) -> String {
    let sorted: BTreeMap<_, _> = labels.iter().collect();
    sorted.iter().map(|(key, value)| format!("{key}:{value}")).collect::<Vec<_>>().join(",")
}

async fn run(bank: &mut Bank, step: &Step) -> Answer {
    match step.verb.as_str() {
        "create" | "update" | "freeze" | "unfreeze" | "close" | "account" | "accounts" => {
            run_on_accounts(bank, step).await
        }
        "deposit" | "withdraw" | "transfer" | "hold" | "capture" | "release" | "reverse" => {
            move_money(bank, step).await
        }
        _ => read(bank, step).await,
    }
}

async fn run_on_accounts(bank: &mut Bank, step: &Step) -> Answer {
    let request_id = step.option("id");
    macro_rules! change_state {
        ($method:ident, $request:ident) => {{
            let request = proto::$request {
                request_id,
                account_id: step.word(0),
                reason: step.option("reason"),
            };
            answer(call!(bank, $method, request), |response, facts| {
                facts.show("replayed", response.replayed);
                facts.account(response.account);
            })
        }};
    }
    match step.verb.as_str() {
        "create" => {
            let request = proto::CreateAccountRequest {
                request_id,
                account_id: step.word(0),
                currency_code: step.word(1),
                display_name: step.option("name"),
                overdraft_limit: step.number_option("limit"),
                labels: step.labels(),
                initial_balance: step.number_option("initial"),
            };
            answer(call!(bank, create_account, request), |response, facts| {
                facts.show("replayed", response.replayed);
                facts.account(response.account);
            })
        }
        "update" => {
            let mask = step.options.get("mask").map(|mask| prost_types::FieldMask {
                paths: mask.split(',').map(str::to_owned).collect(),
            });
            let account = proto::Account {
                account_id: step.word(0),
                display_name: step.option("name"),
                overdraft_limit: step.number_option("limit"),
                labels: step.labels(),
                etag: step.option("etag"),
                ..Default::default()
            };
            let request = proto::UpdateAccountRequest {
                request_id,
                account: Some(account),
                update_mask: mask,
            };
            answer(call!(bank, update_account, request), |response, facts| {
                facts.show("replayed", response.replayed);
                facts.account(response.account);
            })
        }
        "freeze" => change_state!(freeze_account, FreezeAccountRequest),
        "unfreeze" => change_state!(unfreeze_account, UnfreezeAccountRequest),
        "close" => change_state!(close_account, CloseAccountRequest),
        "account" => {
            let request = proto::GetAccountRequest { account_id: step.word(0) };
            answer(call!(bank, get_account, request), |response, facts| {
                facts.account(response.account);
            })
        }
        _ => list_accounts(bank, step).await,
    }
}

fn deposit(step: &Step) -> proto::DepositRequest {
    proto::DepositRequest {
        request_id: step.option("id"),
        account_id: step.word(0),
        amount: step.money(1),
        description: step.option("description"),
        labels: step.labels(),
    }
}

fn withdraw(step: &Step) -> proto::WithdrawRequest {
    proto::WithdrawRequest {
        request_id: step.option("id"),
        account_id: step.word(0),
        amount: step.money(1),
        description: step.option("description"),
        labels: step.labels(),
    }
}

fn transfer(step: &Step) -> proto::TransferRequest {
    proto::TransferRequest {
        request_id: step.option("id"),
        from_account_id: step.word(0),
        to_account_id: step.word(1),
        amount: step.money(2),
        description: step.option("description"),
        labels: step.labels(),
    }
}

fn place_hold(step: &Step) -> proto::PlaceHoldRequest {
    proto::PlaceHoldRequest {
        request_id: step.option("id"),
        account_id: step.word(0),
        to_account_id: step.option("to"),
        amount: step.money(1),
        // In microseconds, as every time in a case.
        ttl: step.options.contains_key("ttl").then(|| prost_types::Duration {
            seconds: step.number_option("ttl") / 1_000_000,
            nanos: i32::try_from(step.number_option("ttl") % 1_000_000 * 1000)
                .expect("it is below 10^9"),
        }),
        description: step.option("description"),
        labels: step.labels(),
    }
}

fn capture_hold(step: &Step) -> proto::CaptureHoldRequest {
    proto::CaptureHoldRequest {
        request_id: step.option("id"),
        hold_id: step.word(0),
        amount: step.options.contains_key("amount").then(|| step.number_option("amount")),
    }
}

fn release_hold(step: &Step) -> proto::ReleaseHoldRequest {
    proto::ReleaseHoldRequest { request_id: step.option("id"), hold_id: step.word(0) }
}

fn reverse_transaction(step: &Step) -> proto::ReverseTransactionRequest {
    proto::ReverseTransactionRequest {
        request_id: step.option("id"),
        transaction_id: step.word(0),
        amount: step.options.contains_key("amount").then(|| step.number_option("amount")),
        description: step.option("description"),
    }
}

async fn move_money(bank: &mut Bank, step: &Step) -> Answer {
    match step.verb.as_str() {
        "deposit" => answer(call!(bank, deposit, deposit(step)), |response, facts| {
            facts.show("replayed", response.replayed);
            facts.transaction(response.transaction);
            facts.balance("", response.balance);
        }),
        "withdraw" => answer(call!(bank, withdraw, withdraw(step)), |response, facts| {
            facts.show("replayed", response.replayed);
            facts.transaction(response.transaction);
            facts.balance("", response.balance);
        }),
        "transfer" => answer(call!(bank, transfer, transfer(step)), |response, facts| {
            facts.show("replayed", response.replayed);
            facts.transaction(response.transaction);
            facts.balance("from.", response.from_balance);
            facts.balance("to.", response.to_balance);
        }),
        "hold" => answer(call!(bank, place_hold, place_hold(step)), |response, facts| {
            facts.show("replayed", response.replayed);
            facts.hold(response.hold);
            facts.balance("", response.balance);
        }),
        "capture" => answer(call!(bank, capture_hold, capture_hold(step)), |response, facts| {
            facts.show("replayed", response.replayed);
            facts.hold(response.hold);
            facts.transaction(response.transaction);
        }),
        "release" => answer(call!(bank, release_hold, release_hold(step)), |response, facts| {
            facts.show("replayed", response.replayed);
            facts.hold(response.hold);
        }),
        _ => {
            let request = reverse_transaction(step);
            answer(call!(bank, reverse_transaction, request), |response, facts| {
                facts.show("replayed", response.replayed);
                facts.transaction(response.transaction);
            })
        }
    }
}

async fn read(bank: &mut Bank, step: &Step) -> Answer {
    match step.verb.as_str() {
        "balance" => {
            let request = proto::GetBalanceRequest {
                account_id: step.word(0),
                as_of_time: step.time_option("at"),
            };
            answer(call!(bank, get_balance, request), |response, facts| {
                facts.balance("", response.balance);
            })
        }
        "transaction" => {
            let key = match (step.options.get("id"), step.options.get("request")) {
                (Some(id), None) => {
                    Some(proto::get_transaction_request::Key::TransactionId(id.clone()))
                }
                (None, Some(id)) => {
                    Some(proto::get_transaction_request::Key::RequestId(id.clone()))
                }
                _ => None,
            };
            let request = proto::GetTransactionRequest { key };
            answer(call!(bank, get_transaction, request), |response, facts| {
                facts.transaction(response.transaction);
            })
        }
        "totals" => {
            let request = proto::GetTrialBalanceRequest { currency_code: step.word(0) };
            answer(call!(bank, get_trial_balance, request), |response, facts| {
                facts.show("currencies", response.totals.len());
                for totals in response.totals {
                    facts.show("accounts", totals.accounts_posted);
                    facts.show("external", totals.external_posted);
                    facts.show("difference", totals.difference);
                    facts.show("count", totals.account_count);
                    facts.show("transactions", totals.transaction_count);
                }
            })
        }
        "statement" => list_transactions(bank, step).await,
        "holds" => list_holds(bank, step).await,
        "gethold" => {
            let request = proto::GetHoldRequest { hold_id: step.word(0) };
            answer(call!(bank, get_hold, request), |response, facts| facts.hold(response.hold))
        }
        other => panic!("{}: there is no verb {other}", step.place),
    }
}

/// Walks the listing to its end; every page must say whether there is another.
async fn list_accounts(bank: &mut Bank, step: &Step) -> Answer {
    let mut ids = Vec::new();
    let mut page_token = step.option("token");
    let mut pages = 0;
    loop {
        let request = proto::ListAccountsRequest {
            page_size: i32::try_from(step.number_option("size")).expect("a page size"),
            page_token,
            currency_code: step.option("currency"),
            state: step.options.get("state").map_or(0, |state| {
                proto::AccountState::from_str_name(&format!("ACCOUNT_STATE_{state}"))
                    .map_or(99, Into::into)
            }),
            account_id_prefix: step.option("prefix"),
        };
        match call!(bank, list_accounts, request) {
            Err(status) => return answer(Err::<(), _>(status), |(), _| {}),
            Ok(page) => {
                pages += 1;
                ids.extend(page.accounts.into_iter().map(|account| account.account_id));
                page_token = page.next_page_token;
            }
        }
        if page_token.is_empty() {
            break;
        }
    }
    answer(Ok(()), |(), facts| {
        facts.add("ids", &ids.join(","));
        facts.show("pages", pages);
    })
}

async fn list_holds(bank: &mut Bank, step: &Step) -> Answer {
    let mut amounts = Vec::new();
    let mut page_token = step.option("token");
    let mut pages = 0;
    loop {
        let request = proto::ListHoldsRequest {
            account_id: if step.word(0) == "-" { String::new() } else { step.word(0) },
            state: step.options.get("state").map_or(0, |state| {
                proto::HoldState::from_str_name(&format!("HOLD_STATE_{state}"))
                    .map_or(99, Into::into)
            }),
            page_size: i32::try_from(step.number_option("size")).expect("a page size"),
            page_token,
        };
        match call!(bank, list_holds, request) {
            Err(status) => return answer(Err::<(), _>(status), |(), _| {}),
            Ok(page) => {
                pages += 1;
                for hold in page.holds {
                    let amount = hold.amount.as_ref().expect("it is set").minor_units;
                    let state = hold.state().as_str_name().trim_start_matches("HOLD_STATE_");
                    amounts.push(format!("{amount}:{state}"));
                }
                page_token = page.next_page_token;
            }
        }
        if page_token.is_empty() {
            break;
        }
    }
    answer(Ok(()), |(), facts| {
        facts.add("holds", &amounts.join(","));
        facts.show("pages", pages);
    })
}

async fn list_transactions(bank: &mut Bank, step: &Step) -> Answer {
    let account_id = match step.word(0).as_str() {
        "-" => String::new(),
        id => id.to_owned(),
    };
    let mut amounts = Vec::new();
    let mut afters = Vec::new();
    let mut page_token = step.option("token");
    let mut pages = 0;
    loop {
        let request = proto::ListTransactionsRequest {
            account_id: account_id.clone(),
            page_size: i32::try_from(step.number_option("size")).expect("a page size"),
            page_token,
            start_time: step.time_option("start"),
            end_time: step.time_option("end"),
            types: step.options.get("types").map_or_else(Vec::new, |types| {
                types
                    .split(',')
                    .map(|kind| {
                        proto::TransactionType::from_str_name(&format!("TRANSACTION_TYPE_{kind}"))
                            .map_or(99, Into::into)
                    })
                    .collect()
            }),
            oldest_first: step.options.contains_key("oldest"),
        };
        let read = |page: proto::EncodedListTransactionsResponse| page.decode().expect("it is one");
        match call!(bank, list_transactions, request, read) {
            Err(status) => return answer(Err::<(), _>(status), |(), _| {}),
            Ok(page) => {
                pages += 1;
                for transaction in page.transactions {
                    let amount = transaction.amount.as_ref().expect("it is set").minor_units;
                    let sign = if transaction.from_account_id == account_id { "-" } else { "+" };
                    amounts.push(format!("{}{sign}{amount}", &kind(&transaction)[..1]));
                    let after = transaction.balance_after;
                    afters.push(after.map_or_else(|| "unset".to_owned(), |it| it.to_string()));
                }
                page_token = page.next_page_token;
            }
        }
        if page_token.is_empty() {
            break;
        }
    }
    answer(Ok(()), |(), facts| {
        facts.add("entries", &amounts.join(","));
        facts.add("afters", &afters.join(","));
        facts.show("pages", pages);
    })
}
