//! What each message of the API looks like to people.

use std::collections::HashMap;
use std::time::SystemTime;

use humantime::format_rfc3339_micros;
use prost_types::Timestamp;

use super::amount::{decimal, money};
use super::output::{Row, Sheet};
use crate::grpc::proto::{
    Account, AccountState, Balance, CaptureHoldResponse, CloseAccountResponse,
    CreateAccountResponse, CurrencyTotals, DepositResponse, FreezeAccountResponse,
    GetAccountResponse, GetBalanceResponse, GetHoldResponse, GetTransactionResponse, Hold,
    HoldState, PlaceHoldResponse, ReleaseHoldResponse, ReverseTransactionResponse, Transaction,
    TransactionType, TransferResponse, UnfreezeAccountResponse, UpdateAccountResponse,
    WithdrawResponse,
};

type Lines = Vec<(&'static str, String)>;

/// An answer that has the thing it is about, and nothing else to show, or `replayed` at the most.
macro_rules! sheets {
    ($($response:ty: $($field:ident)+ $(, $replayed:ident)?;)*) => {$(
        impl Sheet for $response {
            fn lines(&self) -> Lines {
                let mut lines = Lines::new();
                $(
                    if let Some(it) = &self.$field {
                        lines.extend(it.told());
                    }
                )+
                $(
                    if self.$replayed {
                        lines.push(("replayed", "yes: this had been done before".to_owned()));
                    }
                )?
                lines
            }
        }
    )*};
}

sheets! {
    CreateAccountResponse: account, replayed;
    GetAccountResponse: account;
    UpdateAccountResponse: account, replayed;
    FreezeAccountResponse: account, replayed;
    UnfreezeAccountResponse: account, replayed;
    CloseAccountResponse: account, replayed;
    DepositResponse: transaction balance, replayed;
    WithdrawResponse: transaction balance, replayed;
    GetTransactionResponse: transaction;
    ReverseTransactionResponse: transaction, replayed;
    PlaceHoldResponse: hold balance, replayed;
    CaptureHoldResponse: hold, replayed;
    ReleaseHoldResponse: hold, replayed;
    GetHoldResponse: hold;
}

impl Sheet for TransferResponse {
    fn lines(&self) -> Lines {
        let mut lines = Lines::new();
        if let Some(transaction) = &self.transaction {
            lines.extend(transaction.told());
        }
        for (name, balance) in
            [("balance of payer", &self.from_balance), ("balance of payee", &self.to_balance)]
        {
            if let Some(balance) = balance {
                lines.push((name, money(balance.posted, &balance.currency_code)));
            }
        }
        if self.replayed {
            lines.push(("replayed", "yes: this had been done before".to_owned()));
        }
        lines
    }
}

impl Sheet for GetBalanceResponse {
    fn lines(&self) -> Lines {
        let Some(balance) = &self.balance else { return Lines::new() };
        let mut lines = balance.told();
        lines.push(("as of", time(balance.as_of_time.as_ref())));
        lines
    }
}

/// What a thing says, a line each.
trait Told {
    fn told(&self) -> Lines;
}

impl Told for Account {
    fn told(&self) -> Lines {
        let code = &self.currency_code;
        let mut lines = vec![
            ("account", self.account_id.clone()),
            ("currency", code.clone()),
            ("state", account_state(self.state()).to_owned()),
            ("overdraft limit", money(self.overdraft_limit, code)),
        ];
        if let Some(balance) = &self.balance {
            lines.extend(balance.told());
        }
        add(&mut lines, "display name", &self.display_name);
        add(&mut lines, "labels", &labels(&self.labels));
        lines.extend([
            ("opened", time(self.create_time.as_ref())),
            ("changed", time(self.update_time.as_ref())),
            ("etag", self.etag.clone()),
        ]);
        lines
    }
}

impl Told for Balance {
    fn told(&self) -> Lines {
        let code = &self.currency_code;
        vec![
            ("posted", money(self.posted, code)),
            ("held", money(self.held, code)),
            ("available", money(self.available, code)),
        ]
    }
}

impl Told for Transaction {
    fn told(&self) -> Lines {
        let mut lines = vec![
            ("transaction", self.transaction_id.clone()),
            ("type", transaction_type(self.r#type()).to_owned()),
            ("amount", amount(self)),
            ("from", self.from_account_id.clone()),
            ("to", self.to_account_id.clone()),
            ("time", time(self.create_time.as_ref())),
        ];
        add(&mut lines, "description", &self.description);
        add(&mut lines, "labels", &labels(&self.labels));
        add(&mut lines, "request id", &self.request_id);
        add(&mut lines, "hold", &self.hold_id);
        add(&mut lines, "reverses", &self.reverses_transaction_id);
        add(&mut lines, "reversed by", &self.reversed_by_transaction_ids.join(" "));
        lines
    }
}

impl Told for Hold {
    fn told(&self) -> Lines {
        let code = self.amount.as_ref().map_or("", |amount| &amount.currency_code);
        let mut lines = vec![
            ("hold", self.hold_id.clone()),
            ("account", self.account_id.clone()),
            ("state", hold_state(self.state()).to_owned()),
            ("amount", hold_amount(self)),
        ];
        add(&mut lines, "to", &self.to_account_id);
        if self.state() == HoldState::Captured {
            lines.push(("captured", money(self.captured, code)));
            lines.push(("transaction", self.transaction_id.clone()));
        }
        add(&mut lines, "description", &self.description);
        add(&mut lines, "labels", &labels(&self.labels));
        add(&mut lines, "request id", &self.request_id);
        lines.extend([
            ("placed", time(self.create_time.as_ref())),
            ("expires", time(self.expire_time.as_ref())),
        ]);
        lines
    }
}

impl Row for Account {
    const TITLES: &'static [&'static str] =
        &["ACCOUNT", "CURRENCY", "STATE", ">POSTED", ">HELD", ">AVAILABLE", "NAME"];

    fn cells(&self) -> Vec<String> {
        let figure = |of: fn(&Balance) -> i64| {
            self.balance.as_ref().map_or_else(String::new, |it| decimal(of(it), &it.currency_code))
        };
        vec![
            self.account_id.clone(),
            self.currency_code.clone(),
            account_state(self.state()).to_owned(),
            figure(|balance| balance.posted),
            figure(|balance| balance.held),
            figure(|balance| balance.available),
            self.display_name.clone(),
        ]
    }
}

impl Row for Transaction {
    const TITLES: &'static [&'static str] =
        &["TIME", "TRANSACTION", "TYPE", ">AMOUNT", "FROM", "TO", ">BALANCE", "DESCRIPTION"];

    fn cells(&self) -> Vec<String> {
        let code = self.amount.as_ref().map_or("", |amount| &amount.currency_code);
        vec![
            time(self.create_time.as_ref()),
            self.transaction_id.clone(),
            transaction_type(self.r#type()).to_owned(),
            amount(self),
            self.from_account_id.clone(),
            self.to_account_id.clone(),
            self.balance_after.map_or_else(String::new, |after| decimal(after, code)),
            self.description.clone(),
        ]
    }
}

impl Row for Hold {
    const TITLES: &'static [&'static str] =
        &["HOLD", "ACCOUNT", "TO", "STATE", ">AMOUNT", "EXPIRES", "DESCRIPTION"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.hold_id.clone(),
            self.account_id.clone(),
            self.to_account_id.clone(),
            hold_state(self.state()).to_owned(),
            hold_amount(self),
            time(self.expire_time.as_ref()),
            self.description.clone(),
        ]
    }
}

impl Row for CurrencyTotals {
    const TITLES: &'static [&'static str] =
        &["CURRENCY", ">ACCOUNTS", ">TRANSACTIONS", ">POSTED", ">EXTERNAL", ">DIFFERENCE"];

    fn cells(&self) -> Vec<String> {
        let code = &self.currency_code;
        vec![
            code.clone(),
            self.account_count.to_string(),
            self.transaction_count.to_string(),
            decimal(self.accounts_posted, code),
            decimal(self.external_posted, code),
            decimal(self.difference, code),
        ]
    }
}

/// A line for what isn't always there.
fn add(lines: &mut Lines, name: &'static str, value: &str) {
    if !value.is_empty() {
        lines.push((name, value.to_owned()));
    }
}

fn amount(transaction: &Transaction) -> String {
    transaction
        .amount
        .as_ref()
        .map_or_else(String::new, |amount| money(amount.minor_units, &amount.currency_code))
}

fn hold_amount(hold: &Hold) -> String {
    hold.amount
        .as_ref()
        .map_or_else(String::new, |amount| money(amount.minor_units, &amount.currency_code))
}

/// RFC 3339, always in microseconds, so that times stand below each other.
pub(super) fn time(time: Option<&Timestamp>) -> String {
    let Some(time) = time else { return String::new() };
    SystemTime::try_from(*time)
        .map_or_else(|_| time.to_string(), |time| format_rfc3339_micros(time).to_string())
}

fn labels(labels: &HashMap<String, String>) -> String {
    let mut pairs: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.sort_unstable();
    pairs.join(" ")
}

fn account_state(state: AccountState) -> &'static str {
    match state {
        AccountState::Unspecified => "unknown",
        AccountState::Active => "active",
        AccountState::Frozen => "frozen",
        AccountState::Closed => "closed",
    }
}

pub(super) fn transaction_type(r#type: TransactionType) -> &'static str {
    match r#type {
        TransactionType::Unspecified => "unknown",
        TransactionType::Deposit => "deposit",
        TransactionType::Withdrawal => "withdrawal",
        TransactionType::Transfer => "transfer",
        TransactionType::Reversal => "reversal",
    }
}

fn hold_state(state: HoldState) -> &'static str {
    match state {
        HoldState::Unspecified => "unknown",
        HoldState::Held => "held",
        HoldState::Captured => "captured",
        HoldState::Released => "released",
        HoldState::Expired => "expired",
    }
}
