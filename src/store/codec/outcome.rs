//! What came of it: postings, accounts, holds.

use crate::ledger::{
    Account, AccountId, AccountState, Amount, Balance, Command, Currency, Description, DisplayName,
    Hold, HoldState, Movement, OverdraftLimit, Posting, RequestId, Sequence, Time, TransactionType,
};

use super::{DecodeError, read_labels, read_money, read_optional_account, store_labels, stored};

pub(super) fn store_posting(posting: &Posting, asked_for: Option<&Movement>) -> stored::Posting {
    let movement = &posting.movement;
    stored::Posting {
        from_balance: Some(store_balance(posting.from_balance)),
        to_balance: Some(store_balance(posting.to_balance)),
        movement: (asked_for != Some(movement)).then(|| stored::Movement {
            r#type: store_type(movement.kind).into(),
            amount: movement.amount.minor_units(),
            currency_code: movement.currency.code().to_owned(),
            from_account_id: movement.from.as_str().to_owned(),
            to_account_id: movement.to.as_str().to_owned(),
        }),
    }
}

pub(super) fn read_posting(
    posting: stored::Posting,
    command: &Command,
) -> Result<Posting, DecodeError> {
    let movement = match posting.movement {
        None => command.movement().ok_or(DecodeError::Missing("the movement"))?,
        Some(movement) => Movement {
            kind: read_type(movement.r#type())?,
            amount: Amount::new(movement.amount)?,
            currency: Currency::parse(&movement.currency_code)?,
            from: AccountId::parse_any(&movement.from_account_id)?,
            to: AccountId::parse_any(&movement.to_account_id)?,
        },
    };
    let missing = || DecodeError::Missing("a balance");
    Ok(Posting {
        movement,
        from_balance: read_balance(&posting.from_balance.ok_or_else(missing)?)?,
        to_balance: read_balance(&posting.to_balance.ok_or_else(missing)?)?,
    })
}

pub(super) fn store_type(kind: TransactionType) -> stored::MovementType {
    match kind {
        TransactionType::Deposit => stored::MovementType::Deposit,
        TransactionType::Withdrawal => stored::MovementType::Withdrawal,
        TransactionType::Transfer => stored::MovementType::Transfer,
        TransactionType::Reversal => stored::MovementType::Reversal,
    }
}

pub(super) fn read_type(kind: stored::MovementType) -> Result<TransactionType, DecodeError> {
    match kind {
        stored::MovementType::Unspecified => Err(DecodeError::Missing("the movement's type")),
        stored::MovementType::Deposit => Ok(TransactionType::Deposit),
        stored::MovementType::Withdrawal => Ok(TransactionType::Withdrawal),
        stored::MovementType::Transfer => Ok(TransactionType::Transfer),
        stored::MovementType::Reversal => Ok(TransactionType::Reversal),
    }
}

pub(super) fn store_balance(balance: Balance) -> stored::Balance {
    stored::Balance {
        posted: balance.posted,
        held: balance.held,
        overdraft_limit: balance.overdraft_limit.minor_units(),
        version: balance.version,
    }
}

pub(super) fn read_balance(balance: &stored::Balance) -> Result<Balance, DecodeError> {
    Ok(Balance {
        posted: balance.posted,
        held: balance.held,
        overdraft_limit: OverdraftLimit::new(balance.overdraft_limit)?,
        version: balance.version,
    })
}

pub(super) fn store_state(state: AccountState) -> stored::AccountState {
    match state {
        AccountState::Active => stored::AccountState::Active,
        AccountState::Frozen => stored::AccountState::Frozen,
        AccountState::Closed => stored::AccountState::Closed,
    }
}

pub(super) fn store_account(account: &Account) -> stored::Account {
    stored::Account {
        account_id: account.id.as_str().to_owned(),
        currency_code: account.currency.code().to_owned(),
        display_name: account.display_name.as_str().to_owned(),
        state: store_state(account.state).into(),
        balance: Some(store_balance(account.balance)),
        labels: store_labels(&account.labels),
        create_time_us: account.create_time.micros(),
        update_time_us: account.update_time.micros(),
        revision: account.revision,
    }
}

pub(super) fn read_account(account: &stored::Account) -> Result<Account, DecodeError> {
    Ok(Account {
        id: AccountId::parse_any(&account.account_id)?,
        currency: Currency::parse(&account.currency_code)?,
        display_name: DisplayName::parse(&account.display_name)?,
        state: match account.state() {
            stored::AccountState::Unspecified => {
                return Err(DecodeError::Missing("the account's state"));
            }
            stored::AccountState::Active => AccountState::Active,
            stored::AccountState::Frozen => AccountState::Frozen,
            stored::AccountState::Closed => AccountState::Closed,
        },
        labels: read_labels(&account.labels)?,
        create_time: Time::from_micros(account.create_time_us),
        update_time: Time::from_micros(account.update_time_us),
        revision: account.revision,
        balance: read_balance(
            account.balance.as_ref().ok_or(DecodeError::Missing("the account's balance"))?,
        )?,
    })
}

pub(super) fn store_hold(hold: &Hold) -> stored::Hold {
    let (state, captured, transaction) = match hold.state {
        // That it has expired is seen from its time, so it is no state of its own here.
        HoldState::Held | HoldState::Expired => (stored::HoldState::Held, 0, 0),
        HoldState::Captured { captured, transaction } => {
            (stored::HoldState::Captured, captured.minor_units(), transaction.number())
        }
        HoldState::Released => (stored::HoldState::Released, 0, 0),
    };
    stored::Hold {
        placed_sequence: hold.placed.number(),
        account_id: hold.account_id.as_str().to_owned(),
        to_account_id: hold.to_account_id.as_ref().map_or("", AccountId::as_str).to_owned(),
        amount: hold.amount.amount.minor_units(),
        currency_code: hold.amount.currency.code().to_owned(),
        state: state.into(),
        captured,
        transaction_sequence: transaction,
        create_time_us: hold.create_time.micros(),
        expire_time_us: hold.expire_time.micros(),
        update_time_us: hold.update_time.micros(),
        request_id: hold.request_id.as_ref().map_or("", RequestId::as_str).to_owned(),
        description: hold.description.as_str().to_owned(),
        labels: store_labels(&hold.labels),
    }
}

pub(super) fn read_hold(hold: &stored::Hold) -> Result<Hold, DecodeError> {
    Ok(Hold {
        placed: Sequence::new(hold.placed_sequence),
        account_id: AccountId::parse(&hold.account_id)?,
        to_account_id: read_optional_account(&hold.to_account_id)?,
        amount: read_money(hold.amount, &hold.currency_code)?,
        state: match hold.state() {
            stored::HoldState::Unspecified => {
                return Err(DecodeError::Missing("the hold's state"));
            }
            stored::HoldState::Held => HoldState::Held,
            stored::HoldState::Captured => HoldState::Captured {
                captured: Amount::new(hold.captured)?,
                transaction: Sequence::new(hold.transaction_sequence),
            },
            stored::HoldState::Released => HoldState::Released,
        },
        create_time: Time::from_micros(hold.create_time_us),
        expire_time: Time::from_micros(hold.expire_time_us),
        update_time: Time::from_micros(hold.update_time_us),
        request_id: match hold.request_id.as_str() {
            "" => None,
            id => Some(RequestId::parse(id)?),
        },
        description: Description::parse(&hold.description)?,
        labels: read_labels(&hold.labels)?,
    })
}
