//! What a load calls: which method next, with which message.

use bytes::Bytes;
use clap::ValueEnum;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use super::accounts::{CURRENCY, INITIAL_BALANCE, Picker};
use super::message::{Blanks, Template};
use crate::config::{AccountsDistribution, BenchCall, Mix};
use crate::grpc::proto;
use crate::grpc::proto::operation::Operation as OneOf;

/// How many transactions a statement shows.
const PAGE_SIZE: i32 = 50;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "they are the methods of the API")]
pub(super) enum Kind {
    CreateAccount,
    Transfer,
    Deposit,
    Batch,
    Balance,
    Statement,
    Stream,
}

impl Kind {
    /// As it is typed and shown.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CreateAccount => "create account",
            Self::Transfer => "transfer",
            Self::Deposit => "deposit",
            Self::Batch => "batch",
            Self::Balance => "balance",
            Self::Statement => "statement",
            Self::Stream => "stream",
        }
    }

    /// The method of `bank.v1.BankService`.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::CreateAccount => "CreateAccount",
            Self::Transfer => "Transfer",
            Self::Deposit => "Deposit",
            Self::Batch => "ExecuteBatch",
            Self::Balance => "GetBalance",
            Self::Statement => "ListTransactions",
            Self::Stream => "ExecuteStream",
        }
    }

    /// Whether it moves money.
    pub(super) fn posts(self) -> bool {
        match self {
            Self::Transfer | Self::Deposit | Self::Batch | Self::Stream => true,
            Self::CreateAccount | Self::Balance | Self::Statement => false,
        }
    }
}

impl From<BenchCall> for Kind {
    fn from(call: BenchCall) -> Self {
        match call {
            BenchCall::Transfer => Self::Transfer,
            BenchCall::Deposit => Self::Deposit,
            BenchCall::Batch => Self::Batch,
            BenchCall::Balance => Self::Balance,
            BenchCall::Statement => Self::Statement,
            BenchCall::Stream => Self::Stream,
        }
    }
}

/// What is called, and of which accounts.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Each kind with its weight.
    pub(super) mix: Vec<(Kind, u32)>,
    pub(super) accounts: u32,
    pub(super) distribution: AccountsDistribution,
    pub(super) batch_size: u32,
    pub(super) with_request_ids: bool,
}

impl Settings {
    /// As it is typed.
    pub(super) fn distribution_name(&self) -> String {
        let value = self.distribution.to_possible_value();
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The same of other calls.
    pub(super) fn with_mix(&self, mix: Vec<(Kind, u32)>) -> Self {
        Self { mix, ..self.clone() }
    }

    /// The kinds of a mix that was typed.
    pub(super) fn kinds(mix: &Mix) -> Vec<(Kind, u32)> {
        mix.calls().iter().map(|(call, weight)| (Kind::from(*call), *weight)).collect()
    }

    /// Whether it is a stream, and no calls.
    pub(super) fn is_stream(&self) -> bool {
        self.mix.iter().any(|(kind, _)| *kind == Kind::Stream)
    }
}

/// Makes one call after another.
#[derive(Debug)]
pub(super) struct Plan {
    calls: Vec<(Kind, u32, Template)>,
    weights: u32,
    picker: Picker,
    batch_size: u32,
    random: SmallRng,
    /// The account that is opened next.
    opening: u32,
}

/// A call that can be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) kind: Kind,
    /// The message, with its prefix.
    pub(super) body: Bytes,
    /// How many operations it has.
    pub(super) operations: u32,
}

impl Plan {
    /// A plan of its own course: a seed makes one only once.
    pub(super) fn new(settings: &Settings, seed: u64) -> Self {
        let blanks = Blanks::new(settings.with_request_ids);
        let calls = settings.mix.iter();
        let calls = calls.map(|(kind, weight)| (*kind, *weight, template(*kind, &blanks)));
        Self {
            calls: calls.collect(),
            weights: settings.mix.iter().map(|(_, weight)| weight).sum(),
            picker: Picker::new(settings.distribution, settings.accounts),
            batch_size: settings.batch_size,
            random: SmallRng::seed_from_u64(seed),
            opening: 0,
        }
    }

    /// The next call.
    pub(super) fn next(&mut self) -> Prepared {
        let (kind, template) = choose(&self.calls, self.weights, &mut self.random);
        let operations = if kind == Kind::Batch { self.batch_size } else { 1 };
        let body = if kind == Kind::CreateAccount {
            self.opening += 1;
            template.of_account(self.opening - 1)
        } else {
            template.repeated(operations, &self.picker, &mut self.random)
        };
        Prepared { kind, body, operations }
    }

    /// So many messages of a stream.
    pub(super) fn messages(&mut self, count: usize) -> Bytes {
        let (_, template) = choose(&self.calls, self.weights, &mut self.random);
        template.in_a_row(count, &self.picker, &mut self.random)
    }
}

/// One of the calls, by their weights.
fn choose<'a>(
    calls: &'a [(Kind, u32, Template)],
    weights: u32,
    random: &mut SmallRng,
) -> (Kind, &'a Template) {
    let mut at = if calls.len() > 1 { random.random_range(0..weights) } else { 0 };
    for (kind, weight, template) in calls {
        if at < *weight {
            return (*kind, template);
        }
        at -= weight;
    }
    unreachable!("the place is below the sum of all weights")
}

fn template(kind: Kind, blanks: &Blanks) -> Template {
    let request_id = blanks.request_id.clone();
    let account_id = blanks.from.clone();
    let amount = Some(proto::Money { currency_code: CURRENCY.to_owned(), minor_units: 1 });
    let transfer = || proto::TransferRequest {
        request_id: blanks.request_id.clone(),
        from_account_id: blanks.from.clone(),
        to_account_id: blanks.to.clone(),
        amount: amount.clone(),
        ..proto::TransferRequest::default()
    };
    let operation = || proto::Operation { operation: Some(OneOf::Transfer(transfer())) };
    match kind {
        // The account's own name keeps it from being opened twice, so it needs no request id.
        Kind::CreateAccount => {
            let request = proto::CreateAccountRequest {
                account_id,
                currency_code: CURRENCY.to_owned(),
                initial_balance: INITIAL_BALANCE,
                ..proto::CreateAccountRequest::default()
            };
            Template::new(&request, blanks)
        }
        Kind::Transfer => Template::new(&transfer(), blanks),
        Kind::Deposit => {
            let request = proto::DepositRequest {
                request_id,
                account_id,
                amount,
                ..proto::DepositRequest::default()
            };
            Template::new(&request, blanks)
        }
        Kind::Batch => {
            let operations = vec![operation()];
            Template::new(&proto::ExecuteBatchRequest { operations, atomic: false }, blanks)
        }
        Kind::Balance => {
            Template::new(&proto::GetBalanceRequest { account_id, as_of_time: None }, blanks)
        }
        Kind::Statement => {
            let request = proto::ListTransactionsRequest {
                account_id,
                page_size: PAGE_SIZE,
                ..proto::ListTransactionsRequest::default()
            };
            Template::new(&request, blanks)
        }
        Kind::Stream => {
            let operation = Some(operation());
            Template::new(&proto::ExecuteStreamRequest { operation, correlation_id: 0 }, blanks)
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn plan(mix: Vec<(Kind, u32)>) -> Plan {
        let settings = Settings {
            mix,
            accounts: 10,
            distribution: AccountsDistribution::Uniform,
            batch_size: 7,
            with_request_ids: true,
        };
        Plan::new(&settings, 5)
    }

    #[test]
    fn calls_come_by_their_weights() {
        let mut plan = plan(vec![(Kind::Transfer, 60), (Kind::Balance, 30), (Kind::Batch, 10)]);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..10_000 {
            let call = plan.next();
            assert_eq!(call.operations, if call.kind == Kind::Batch { 7 } else { 1 });
            *counts.entry(call.kind).or_insert(0i32) += 1;
        }
        for (kind, expected) in [(Kind::Transfer, 6000), (Kind::Balance, 3000), (Kind::Batch, 1000)]
        {
            // Five standard deviations, or more.
            assert!((counts[&kind] - expected).abs() < 250, "{counts:?}");
        }
    }

    #[test]
    fn accounts_are_opened_one_after_the_other() {
        let mut plan = plan(vec![(Kind::CreateAccount, 1)]);
        for expected in ["bench-0000000", "bench-0000001", "bench-0000002"] {
            let body = plan.next().body;
            let request = proto::CreateAccountRequest::decode(&body[5..]).expect("it is one");
            assert_eq!(request.account_id, expected);
            assert_eq!(request.initial_balance, INITIAL_BALANCE);
        }
    }
}
