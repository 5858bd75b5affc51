//! Requests in few words.

use bank::grpc::proto;
use bank::ledger;

pub(crate) fn money(minor_units: i64, currency_code: &str) -> proto::Money {
    proto::Money { currency_code: currency_code.to_owned(), minor_units }
}

pub(crate) fn create(account_id: &str, currency_code: &str) -> proto::CreateAccountRequest {
    proto::CreateAccountRequest {
        account_id: account_id.to_owned(),
        currency_code: currency_code.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn create_with(
    account_id: &str,
    currency_code: &str,
    initial_balance: i64,
) -> proto::CreateAccountRequest {
    proto::CreateAccountRequest { initial_balance, ..create(account_id, currency_code) }
}

pub(crate) fn deposit(account_id: &str, minor_units: i64, currency: &str) -> proto::DepositRequest {
    proto::DepositRequest {
        account_id: account_id.to_owned(),
        amount: Some(money(minor_units, currency)),
        ..Default::default()
    }
}

pub(crate) fn withdraw(
    account_id: &str,
    minor_units: i64,
    currency: &str,
) -> proto::WithdrawRequest {
    proto::WithdrawRequest {
        account_id: account_id.to_owned(),
        amount: Some(money(minor_units, currency)),
        ..Default::default()
    }
}

pub(crate) fn transfer(
    from: &str,
    to: &str,
    minor_units: i64,
    currency: &str,
) -> proto::TransferRequest {
    proto::TransferRequest {
        from_account_id: from.to_owned(),
        to_account_id: to.to_owned(),
        amount: Some(money(minor_units, currency)),
        ..Default::default()
    }
}

/// Commands of the ledger, for tests that go to a store directly.
pub(crate) mod commands {
    use bank::store::TransactionQuery;

    use super::ledger::{
        AccountId, Amount, Command, Currency, Description, DisplayName, HoldDuration, HoldParties,
        Labels, Money, NewAccountId, OverdraftLimit, Parties, Request, RequestId,
    };

    pub(crate) fn account(id: &str) -> AccountId {
        AccountId::parse_any(id).expect("an account id")
    }

    pub(crate) fn usd(minor_units: i64) -> Money {
        Money {
            currency: Currency::parse("USD").expect("a currency"),
            amount: Amount::new(minor_units).expect("above 0"),
        }
    }

    pub(crate) fn plain(command: Command) -> Request {
        Request { id: None, caller: None, command }
    }

    pub(crate) fn named(id: &str, command: Command) -> Request {
        let id = Some(RequestId::parse(id).expect("a request id"));
        Request { id, caller: None, command }
    }

    pub(crate) fn open(id: &str, initial_balance: i64) -> Command {
        Command::CreateAccount {
            account_id: NewAccountId::ByClient(account(id)),
            currency: Currency::parse("USD").expect("a currency"),
            display_name: DisplayName::default(),
            overdraft_limit: OverdraftLimit::default(),
            labels: Labels::default(),
            initial_balance: Amount::new(initial_balance).ok(),
        }
    }

    pub(crate) fn pay(from: &str, to: &str, minor_units: i64) -> Command {
        Command::Transfer {
            parties: Parties::new(account(from), account(to)).expect("two accounts"),
            amount: usd(minor_units),
            description: Description::default(),
            labels: Labels::default(),
        }
    }

    /// A hold of a second.
    pub(crate) fn set_aside(from: &str, to: &str, minor_units: i64) -> Command {
        Command::PlaceHold {
            parties: HoldParties::new(account(from), Some(account(to))).expect("two accounts"),
            amount: usd(minor_units),
            ttl: Some(HoldDuration::from_micros(1_000_000).expect("in range")),
            description: Description::default(),
            labels: Labels::default(),
        }
    }

    pub(crate) fn put(id: &str, minor_units: i64) -> Command {
        Command::Deposit {
            account_id: account(id),
            amount: usd(minor_units),
            description: Description::default(),
            labels: Labels::default(),
        }
    }

    /// The newest transactions, of an account or of all.
    pub(crate) fn first_page(account_id: Option<&str>) -> TransactionQuery {
        TransactionQuery {
            account_id: account_id.map(account),
            start_time: None,
            end_time: None,
            types: Vec::new(),
            oldest_first: false,
            cursor: None,
            page_size: 50,
        }
    }
}
