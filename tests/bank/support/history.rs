//! A small history with requests of every kind, and everything that can be read of it.

use super::requests::commands::first_page;
use bank::ledger::{Currency, Hold, Request, Sequence, Totals};
use bank::store::{
    AccountQuery, AccountView, Error, HoldQuery, LinkedRecord, RecordKey, Store, TransactionQuery,
};

use super::LEDGER;

/// Everything that can be read of a bank, in one value that can be compared.
#[derive(Debug, PartialEq)]
pub(crate) struct Everything {
    pub(crate) accounts: Vec<AccountView>,
    pub(crate) transactions: Vec<LinkedRecord>,
    pub(crate) holds: Vec<Hold>,
    pub(crate) totals: Vec<(Currency, Totals)>,
    pub(crate) records: Vec<Option<LinkedRecord>>,
}

pub(crate) async fn everything<S: Store>(store: &S) -> Result<Everything, Error> {
    let accounts = AccountQuery {
        currency: None,
        state: None,
        id_prefix: String::new(),
        after: None,
        page_size: 1000,
    };
    let transactions = TransactionQuery { oldest_first: true, page_size: 1000, ..first_page(None) };
    let holds = HoldQuery { account_id: None, state: None, before: None, page_size: 1000 };
    let mut records = Vec::new();
    for number in 1..=store.head().await?.number() {
        records.push(store.record(&RecordKey::Sequence(Sequence::new(number))).await?);
    }
    Ok(Everything {
        accounts: store.accounts(&accounts).await?.accounts,
        transactions: store
            .transactions(&transactions)
            .await?
            .expect("no account is asked for")
            .records,
        holds: store.holds(&holds).await?.expect("no account is asked for").holds,
        totals: store.totals(None).await?,
        records,
    })
}

/// Some requests of every kind, one after the other.
pub(crate) fn small_history() -> Vec<Request> {
    use bank::ledger::{
        AccountId, Amount, Command, Currency, Description, DisplayName, HoldId, HoldParties,
        Labels, Money, NewAccountId, OverdraftLimit, Parties, RequestId, TransactionId,
    };
    let account = |id: &str| AccountId::parse(id).expect("it is well formed");
    let usd = || Currency::parse("USD").expect("it is known");
    let money = |minor_units| Money {
        currency: usd(),
        amount: Amount::new(minor_units).expect("it is above 0"),
    };
    let text = |text: &str| Description::parse(text).expect("it is short");
    let open = |id: &str| Command::CreateAccount {
        account_id: NewAccountId::ByClient(account(id)),
        currency: usd(),
        display_name: DisplayName::parse("somebody").expect("it is short"),
        overdraft_limit: OverdraftLimit::new(100).expect("it is not below 0"),
        labels: Labels::parse([("k", "v")]).expect("they are well formed"),
        initial_balance: None,
    };
    let transfer = |amount| Command::Transfer {
        parties: Parties::new(account("alice"), account("bob")).expect("they are two"),
        amount: money(amount),
        description: text("rent"),
        labels: Labels::default(),
    };
    let commands = vec![
        open("alice"),
        open("bob"),
        Command::Deposit {
            account_id: account("alice"),
            amount: money(1050),
            description: text(""),
            labels: Labels::default(),
        },
        transfer(300),
        transfer(1_000_000),
        Command::PlaceHold {
            parties: HoldParties::new(account("alice"), Some(account("bob"))).expect("two"),
            amount: money(40),
            ttl: None,
            description: text("hotel"),
            labels: Labels::default(),
        },
        Command::CaptureHold {
            hold_id: HoldId::new(LEDGER, Sequence::new(6)),
            amount: Some(Amount::new(30).expect("it is above 0")),
        },
        Command::ReverseTransaction {
            transaction_id: TransactionId::new(LEDGER, Sequence::new(4)),
            amount: None,
            description: text("a mistake"),
        },
        Command::FreezeAccount { account_id: account("bob"), reason: text("a closer look") },
    ];
    commands
        .into_iter()
        .enumerate()
        .map(|(number, command)| Request {
            id: Some(RequestId::parse(&format!("r{number}")).expect("it is visible")),
            caller: None,
            command,
        })
        .collect()
}
