//! Records of every kind, for tests of what is made of them.
//!
//! Each value is one that its type takes, and nothing else is promised: balances needn't add up. Every strategy is
//! boxed, since all of them in one type would be too large for a test's stack.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{
    Account, AccountId, AccountState, Amount, Balance, CallerName, Change, Command, Currency,
    Description, DisplayName, Etag, Hold, HoldDuration, HoldEnd, HoldId, HoldParties, HoldState,
    Labels, LedgerId, Money, Movement, NewAccountId, OverdraftLimit, Parties, Posting, Record,
    Refusal, Request, RequestId, Sequence, Time, TransactionId, TransactionType,
};

/// Any record.
pub(crate) fn record() -> BoxedStrategy<Record> {
    (1..u64::MAX, any::<i64>(), option::of(request_id()), option::of(caller()), decision())
        .prop_map(|(sequence, micros, id, caller, (command, outcome))| Record {
            sequence: Sequence::new(sequence),
            time: Time::from_micros(micros),
            request: Request { id, caller, command },
            outcome,
        })
        .boxed()
}

fn decision() -> BoxedStrategy<(Command, Result<Change, Refusal>)> {
    prop_oneof![
        8 => (moving(), balance(), balance()).prop_map(|(command, from_balance, to_balance)| {
            let movement = command.movement().expect("it moves money");
            (command, Ok(Change::Posted(Posting { movement, from_balance, to_balance })))
        }),
        1 => (moving(), posting()).prop_map(|(command, one)| (command, Ok(Change::Posted(one)))),
        4 => (command(), change().prop_map(Ok)),
        2 => (command(), refusal().prop_map(Err)),
    ]
    .boxed()
}

fn moving() -> BoxedStrategy<Command> {
    (0..3, parties(), money(), description(), labels())
        .prop_map(|(kind, parties, amount, description, labels)| match kind {
            0 => Command::Deposit { account_id: parties.to().clone(), amount, description, labels },
            1 => {
                Command::Withdraw { account_id: parties.to().clone(), amount, description, labels }
            }
            _ => Command::Transfer { parties, amount, description, labels },
        })
        .boxed()
}

fn command() -> BoxedStrategy<Command> {
    prop_oneof![
        moving(),
        (account_id(), any::<bool>(), account(), option::of(amount())).prop_map(
            |(id, by_server, like, initial_balance)| Command::CreateAccount {
                account_id: if by_server {
                    NewAccountId::ByServer(id)
                } else {
                    NewAccountId::ByClient(id)
                },
                currency: like.currency,
                display_name: like.display_name,
                overdraft_limit: like.balance.overdraft_limit,
                labels: like.labels,
                initial_balance,
            }
        ),
        (account(), option::of("[a-z0-9]{1,64}")).prop_map(|(like, etag)| {
            Command::UpdateAccount {
                account_id: like.id,
                display_name: (like.revision % 2 == 0).then_some(like.display_name),
                overdraft_limit: (like.revision % 3 == 0).then_some(like.balance.overdraft_limit),
                labels: (like.revision % 5 == 0).then_some(like.labels),
                etag: etag.map(|text| Etag::parse(&text).expect("it is one")),
            }
        }),
        (0..3, account_id(), description()).prop_map(|(kind, account_id, reason)| match kind {
            0 => Command::FreezeAccount { account_id, reason },
            1 => Command::UnfreezeAccount { account_id, reason },
            _ => Command::CloseAccount { account_id, reason },
        }),
        hold().prop_map(|like| Command::PlaceHold {
            parties: HoldParties::new(like.account_id, None).expect("there is one"),
            amount: like.amount,
            ttl: Some(HoldDuration::DEFAULT),
            description: like.description,
            labels: like.labels,
        }),
        (sequence(), option::of(amount())).prop_map(|(placed, amount)| Command::CaptureHold {
            hold_id: HoldId::new(LedgerId::new(7), placed),
            amount,
        }),
        sequence().prop_map(|placed| Command::ReleaseHold {
            hold_id: HoldId::new(LedgerId::new(7), placed),
        }),
        (sequence(), option::of(amount()), description()).prop_map(|(one, amount, description)| {
            Command::ReverseTransaction {
                transaction_id: TransactionId::new(LedgerId::new(7), one),
                amount,
                description,
            }
        }),
    ]
    .boxed()
}

fn change() -> BoxedStrategy<Change> {
    prop_oneof![
        account().prop_map(|account| Change::AccountOpened { account, deposit: None }),
        (account(), posting())
            .prop_map(|(account, one)| Change::AccountOpened { account, deposit: Some(one) }),
        account().prop_map(|account| Change::AccountChanged { account }),
        (hold(), balance()).prop_map(|(hold, balance)| Change::HoldPlaced { hold, balance }),
        (hold(), posting()).prop_map(|(hold, posting)| Change::HoldCaptured { hold, posting }),
        hold().prop_map(|hold| Change::HoldReleased { hold }),
        (sequence(), posting())
            .prop_map(|(original, posting)| Change::Reversed { original, posting }),
    ]
    .boxed()
}

fn refusal() -> BoxedStrategy<Refusal> {
    prop_oneof![
        account_id().prop_map(|account_id| Refusal::AccountNotFound { account_id }),
        (account_id(), any::<i64>(), amount(), currency()).prop_map(
            |(account_id, available, requested, currency)| Refusal::InsufficientFunds {
                account_id,
                available,
                requested,
                currency
            }
        ),
        sequence().prop_map(|placed| Refusal::HoldNotActive {
            hold_id: HoldId::new(LedgerId::new(7), placed),
            state: HoldEnd::Expired,
        }),
    ]
    .boxed()
}

fn posting() -> BoxedStrategy<Posting> {
    let kind = prop_oneof![
        Just(TransactionType::Deposit),
        Just(TransactionType::Withdrawal),
        Just(TransactionType::Transfer),
        Just(TransactionType::Reversal),
    ];
    (kind, money(), parties(), balance(), balance())
        .prop_map(|(kind, money, parties, from_balance, to_balance)| Posting {
            movement: Movement { kind, ..Movement::transfer(parties.from(), parties.to(), &money) },
            from_balance,
            to_balance,
        })
        .boxed()
}

fn account() -> BoxedStrategy<Account> {
    (account_id(), currency(), ".{0,60}", 0..3, balance(), labels(), any::<[i64; 2]>(), 0..99_u64)
        .prop_map(|(id, currency, name, state, balance, labels, times, revision)| Account {
            id,
            currency,
            display_name: DisplayName::parse(&name).expect("it fits"),
            state: match state {
                0 => AccountState::Active,
                1 => AccountState::Frozen,
                _ => AccountState::Closed,
            },
            balance,
            labels,
            create_time: Time::from_micros(times[0]),
            update_time: Time::from_micros(times[1]),
            revision,
        })
        .boxed()
}

fn hold() -> BoxedStrategy<Hold> {
    let state = prop_oneof![
        Just(HoldState::Held),
        Just(HoldState::Released),
        (amount(), sequence())
            .prop_map(|(captured, transaction)| HoldState::Captured { captured, transaction }),
    ];
    let times = any::<[i64; 3]>();
    let texts = (option::of(request_id()), description(), labels());
    (sequence(), parties(), any::<bool>(), money(), state, times, texts)
        .prop_map(|(placed, parties, to_someone, amount, state, times, texts)| Hold {
            placed,
            account_id: parties.from().clone(),
            to_account_id: to_someone.then(|| parties.to().clone()),
            amount,
            state,
            create_time: Time::from_micros(times[0]),
            expire_time: Time::from_micros(times[1]),
            update_time: Time::from_micros(times[2]),
            request_id: texts.0,
            description: texts.1,
            labels: texts.2,
        })
        .boxed()
}

fn balance() -> BoxedStrategy<Balance> {
    (numbers(), numbers(), numbers(), numbers(), any::<bool>())
        .prop_map(|(posted, held, limit, version, is_negative)| Balance {
            posted: if is_negative { -posted } else { posted },
            held,
            overdraft_limit: OverdraftLimit::new(limit).expect("it isn't below 0"),
            version: version.unsigned_abs(),
        })
        .boxed()
}

fn parties() -> BoxedStrategy<Parties> {
    (account_id(), account_id())
        .prop_filter_map("one account", |(from, to)| Parties::new(from, to).ok())
        .boxed()
}

fn money() -> BoxedStrategy<Money> {
    (currency(), amount()).prop_map(|(currency, amount)| Money { currency, amount }).boxed()
}

fn currency() -> BoxedStrategy<Currency> {
    prop_oneof!["USD", "JPY", "BTC/8", "[A-Z][A-Z0-9]{15}/18"]
        .prop_map(|code| Currency::parse(&code).expect("it is one"))
        .boxed()
}

fn amount() -> BoxedStrategy<Amount> {
    numbers().prop_map(|number| Amount::new(number.max(1)).expect("it is above 0")).boxed()
}

/// Of all lengths in their stored form.
fn numbers() -> BoxedStrategy<i64> {
    (any::<i64>(), 1..=64_u32)
        .prop_map(|(number, bits)| {
            let high = number.unsigned_abs().checked_shr(bits).unwrap_or(0);
            i64::try_from(high).expect("it is halved")
        })
        .boxed()
}

fn sequence() -> BoxedStrategy<Sequence> {
    numbers().prop_map(|number| Sequence::new(number.unsigned_abs())).boxed()
}

fn account_id() -> BoxedStrategy<AccountId> {
    "[a-z0-9][a-z0-9._:-]{0,63}".prop_map(|id| AccountId::parse(&id).expect("it is one")).boxed()
}

fn request_id() -> BoxedStrategy<RequestId> {
    "[!-~]{1,128}".prop_map(|id| RequestId::parse(&id).expect("it is visible")).boxed()
}

fn caller() -> BoxedStrategy<CallerName> {
    "[!-~]{1,255}".prop_map(|name| CallerName::parse(&name).expect("it is one")).boxed()
}

fn description() -> BoxedStrategy<Description> {
    prop_oneof![Just(String::new()).boxed(), ".{0,128}".boxed()]
        .prop_map(|text| Description::parse(&text).expect("it fits"))
        .boxed()
}

fn labels() -> BoxedStrategy<Labels> {
    let pairs = || vec(("[a-z][a-z0-9_.-]{0,62}", ".{0,64}"), 0..4);
    prop_oneof![2 => Just(Vec::new()).boxed(), 1 => pairs().boxed()]
        .prop_map(|pairs| {
            let pairs = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            Labels::parse(pairs).expect("they fit")
        })
        .boxed()
}
