//! Many transfers through the service in one run: are all totals right, and what does one keep in memory?
//!
//! `cargo bench --bench volume -- 10000000` starts the bank as a process of its own, opens accounts,
//! sends the transfers over several connections, each with a random UUID as its request id, and keeps
//! its own book of what was acknowledged. In the end every balance must be what that book says, and the
//! trial balance must be 0. Memory is the resident set of the bank's process.

mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use bank::grpc::proto;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use uuid::Uuid;

use support::Bank;

const ACCOUNTS: usize = 10_000;
const INITIAL_BALANCE: i64 = 1_000_000_000;
const CONNECTIONS: usize = 8;
const CALLS_PER_CONNECTION: usize = 32;
const SEED: u64 = 0x0b41;

fn main() -> ExitCode {
    // cargo passes flags of its own to every bench; what is meant for this one is the number.
    let transfers = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let transfers = transfers.unwrap_or(100_000);
    let bank = Bank::start(&[]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(&bank, transfers))
}

async fn run(bank: &Bank, transfers: u64) -> ExitCode {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = BankServiceClient::connect(bank.endpoint.clone()).await;
        clients.push(client.expect("it listens"));
    }
    let empty_bytes = bank.resident_bytes();
    open_accounts(&mut clients[0]).await;
    let opened_bytes = bank.resident_bytes();

    let book = Arc::new(Book::new());
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for (number, client) in clients.iter().enumerate() {
        for call in 0..CALLS_PER_CONNECTION {
            let seed = SEED + (number * CALLS_PER_CONNECTION + call) as u64;
            let random = fastrand::Rng::with_seed(seed);
            let (client, book, next) = (client.clone(), book.clone(), next.clone());
            callers.spawn(pay(client, book, next, transfers, random));
        }
    }
    callers.join_all().await;
    let elapsed = started.elapsed();
    let full_bytes = bank.resident_bytes();

    let wrong = book.compare(&mut clients[0], transfers).await;
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    {
        let per = |bytes: u64, count: u64| bytes as f64 / count as f64;
        let seconds = elapsed.as_secs_f64();
        println!("seed                      {SEED:#x}");
        println!("transfers                 {transfers}");
        println!("seconds                   {seconds:.1}");
        println!("transfers per second      {:.0}", transfers as f64 / seconds);
        println!("resident at start         {empty_bytes} bytes");
        println!(
            "memory per account        {:.0} bytes",
            per(opened_bytes - empty_bytes, ACCOUNTS as u64)
        );
        println!(
            "memory per transfer       {:.1} bytes",
            per(full_bytes - opened_bytes, transfers)
        );
    }
    println!("balances that are wrong   {}", wrong.len());
    for line in &wrong {
        println!("  {line}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn open_accounts(client: &mut BankServiceClient<Channel>) {
    for number in 0..ACCOUNTS {
        let request = proto::CreateAccountRequest {
            account_id: account_id(number),
            currency_code: "USD".to_owned(),
            initial_balance: INITIAL_BALANCE,
            ..Default::default()
        };
        client.create_account(request).await.expect("it opens");
    }
}

async fn pay(
    mut client: BankServiceClient<Channel>,
    book: Arc<Book>,
    next: Arc<AtomicU64>,
    transfers: u64,
    mut random: fastrand::Rng,
) {
    while next.fetch_add(1, Ordering::Relaxed) < transfers {
        let from = random.usize(..ACCOUNTS);
        let to = (from + random.usize(1..ACCOUNTS)) % ACCOUNTS;
        let amount = random.i64(1..10_000);
        let request = proto::TransferRequest {
            request_id: Uuid::from_u128(random.u128(..)).to_string(),
            from_account_id: account_id(from),
            to_account_id: account_id(to),
            amount: Some(proto::Money { currency_code: "USD".to_owned(), minor_units: amount }),
            ..Default::default()
        };
        client.transfer(request).await.expect("there is enough");
        book.note(from, to, amount);
    }
}

fn account_id(number: usize) -> String {
    format!("account-{number:05}")
}

/// What the callers were told.
struct Book(Vec<AtomicI64>);

impl Book {
    fn new() -> Self {
        Self((0..ACCOUNTS).map(|_| AtomicI64::new(INITIAL_BALANCE)).collect())
    }

    fn note(&self, from: usize, to: usize, amount: i64) {
        self.0[from].fetch_sub(amount, Ordering::Relaxed);
        self.0[to].fetch_add(amount, Ordering::Relaxed);
    }

    /// A line for everything that the bank has otherwise.
    async fn compare(
        &self,
        client: &mut BankServiceClient<Channel>,
        transfers: u64,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, expected) in self.0.iter().enumerate() {
            let account_id = account_id(number);
            let request =
                proto::GetBalanceRequest { account_id: account_id.clone(), as_of_time: None };
            let answer = client.get_balance(request).await.expect("it answers").into_inner();
            let posted = answer.balance.expect("it is set").posted;
            let expected = expected.load(Ordering::Relaxed);
            if posted != expected {
                wrong.push(format!("{account_id}: {posted} instead of {expected}"));
            }
        }
        let request = proto::GetTrialBalanceRequest::default();
        let answer = client.get_trial_balance(request).await.expect("it answers").into_inner();
        let total = INITIAL_BALANCE * i64::try_from(ACCOUNTS).expect("it is small");
        let count = i64::try_from(transfers).expect("it is small")
            + i64::try_from(ACCOUNTS).expect("it is small");
        let expected = proto::CurrencyTotals {
            currency_code: "USD".to_owned(),
            accounts_posted: total,
            external_posted: -total,
            difference: 0,
            account_count: i64::try_from(ACCOUNTS).expect("it is small"),
            transaction_count: count,
        };
        if answer.totals != [expected] {
            wrong.push(format!("trial balance: {:?}", answer.totals));
        }
        wrong
    }
}
