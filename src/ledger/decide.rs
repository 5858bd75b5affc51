//! The only place where money moves: (books, command, time) -> change or refusal.
//!
//! Nothing is changed here; [`Books::apply`] takes over what was decided. Checks stand in the order of
//! precedence of [`Refusal`]: existence, etag, state, currency, emptiness, funds, range; within one
//! step the account that pays comes before the one that receives.

use super::{
    Account, AccountId, AccountState, Balance, Books, Change, Command, DisplayName, Etag, Labels,
    Movement, OverdraftLimit, Posting, Refusal, Time,
};

/// Decides what a command does to the books at a given moment.
///
/// # Errors
///
/// The first [`Refusal`] that applies, in order of precedence; the books are then left as they are.
pub fn decide(books: &Books, command: &Command, now: Time) -> Result<Change, Refusal> {
    match command {
        Command::CreateAccount {
            account_id,
            currency,
            display_name,
            overdraft_limit,
            labels,
            initial_balance: _,
        } => open(
            books,
            Account {
                id: account_id.id().clone(),
                currency: currency.clone(),
                display_name: display_name.clone(),
                state: AccountState::Active,
                balance: Balance { overdraft_limit: *overdraft_limit, ..Balance::default() },
                labels: labels.clone(),
                create_time: now,
                update_time: now,
                revision: 1,
            },
            command.movement().as_ref(),
        ),
        Command::UpdateAccount { account_id, display_name, overdraft_limit, labels, etag } => {
            let account = existing(books, account_id)?;
            check_etag(account, etag.as_ref())?;
            check_open(account)?;
            update(account, display_name.as_ref(), *overdraft_limit, labels.as_ref(), now)
        }
        Command::FreezeAccount { account_id, .. } => {
            let account = existing(books, account_id)?;
            check_open(account)?;
            Ok(with_state(account, AccountState::Frozen, now))
        }
        Command::UnfreezeAccount { account_id, .. } => {
            let account = existing(books, account_id)?;
            check_open(account)?;
            Ok(with_state(account, AccountState::Active, now))
        }
        Command::CloseAccount { account_id, .. } => {
            let account = existing(books, account_id)?;
            check_open(account)?;
            check_empty(account)?;
            Ok(with_state(account, AccountState::Closed, now))
        }
        Command::Deposit { account_id, amount, .. } => {
            let account = existing(books, account_id)?;
            let movement = Movement::deposit(account_id, amount);
            check_movable(&[account], &movement)?;
            post(&movement, external_balance(books, &movement.from), account.balance)
                .map(Change::Posted)
        }
        Command::Withdraw { account_id, amount, .. } => {
            let account = existing(books, account_id)?;
            let movement = Movement::withdrawal(account_id, amount);
            check_movable(&[account], &movement)?;
            check_funds(account, &movement)?;
            post(&movement, account.balance, external_balance(books, &movement.to))
                .map(Change::Posted)
        }
        Command::Transfer { parties, amount, .. } => {
            let from = existing(books, parties.from())?;
            let to = existing(books, parties.to())?;
            let movement = Movement::transfer(parties, amount);
            check_movable(&[from, to], &movement)?;
            check_funds(from, &movement)?;
            post(&movement, from.balance, to.balance).map(Change::Posted)
        }
    }
}

fn open(
    books: &Books,
    account: Account,
    initial_deposit: Option<&Movement>,
) -> Result<Change, Refusal> {
    if books.account(&account.id).is_some() {
        return Err(Refusal::AccountAlreadyExists { account_id: account.id });
    }
    let Some(movement) = initial_deposit else {
        return Ok(Change::AccountOpened { account, deposit: None });
    };
    let deposit = post(movement, external_balance(books, &movement.from), account.balance)?;
    Ok(Change::AccountOpened {
        account: Account { balance: deposit.to_balance, ..account },
        deposit: Some(deposit),
    })
}

fn update(
    account: &Account,
    display_name: Option<&DisplayName>,
    overdraft_limit: Option<OverdraftLimit>,
    labels: Option<&Labels>,
    now: Time,
) -> Result<Change, Refusal> {
    let limit = overdraft_limit.unwrap_or(account.balance.overdraft_limit);
    let balance = account
        .balance
        .with_overdraft_limit(limit)
        .ok_or_else(|| Refusal::BalanceOutOfRange { account_id: account.id.clone() })?;
    Ok(Change::AccountChanged {
        account: Account {
            display_name: display_name.unwrap_or(&account.display_name).clone(),
            labels: labels.unwrap_or(&account.labels).clone(),
            balance,
            update_time: now,
            revision: account.revision.saturating_add(1),
            ..account.clone()
        },
    })
}

/// The account in another state; as it is when it is in that state already.
fn with_state(account: &Account, state: AccountState, now: Time) -> Change {
    let account = account.clone();
    if account.state == state {
        return Change::AccountChanged { account };
    }
    let revision = account.revision.saturating_add(1);
    Change::AccountChanged { account: Account { state, update_time: now, revision, ..account } }
}

fn post(movement: &Movement, from_before: Balance, to_before: Balance) -> Result<Posting, Refusal> {
    let out_of_range = |id: &AccountId| Refusal::BalanceOutOfRange { account_id: id.clone() };
    let from_balance =
        from_before.debit(movement.amount).ok_or_else(|| out_of_range(&movement.from))?;
    let to_balance = to_before.credit(movement.amount).ok_or_else(|| out_of_range(&movement.to))?;
    Ok(Posting { movement: movement.clone(), from_balance, to_balance })
}

/// The outside world is there for every currency, with 0 before its first entry.
fn external_balance(books: &Books, id: &AccountId) -> Balance {
    books.account(id).map_or_else(Balance::default, |account| account.balance)
}

fn existing<'a>(books: &'a Books, id: &AccountId) -> Result<&'a Account, Refusal> {
    books.account(id).ok_or_else(|| Refusal::AccountNotFound { account_id: id.clone() })
}

fn check_etag(account: &Account, etag: Option<&Etag>) -> Result<(), Refusal> {
    match etag {
        Some(etag) if etag.as_str() != account.etag() => Err(Refusal::EtagMismatch {
            account_id: account.id.clone(),
            current_etag: account.etag(),
        }),
        Some(_) | None => Ok(()),
    }
}

fn check_open(account: &Account) -> Result<(), Refusal> {
    match account.state {
        AccountState::Active | AccountState::Frozen => Ok(()),
        AccountState::Closed => Err(Refusal::AccountClosed { account_id: account.id.clone() }),
    }
}

fn check_not_frozen(account: &Account) -> Result<(), Refusal> {
    match account.state {
        AccountState::Active | AccountState::Closed => Ok(()),
        AccountState::Frozen => Err(Refusal::AccountFrozen { account_id: account.id.clone() }),
    }
}

fn check_currency(account: &Account, movement: &Movement) -> Result<(), Refusal> {
    if account.currency == movement.currency {
        return Ok(());
    }
    Err(Refusal::CurrencyMismatch {
        account_id: account.id.clone(),
        account_currency: account.currency.clone(),
        requested_currency: movement.currency.clone(),
    })
}

/// Whether the movement may touch these accounts at all: each check for every account before the
/// next check, since a closed one comes before a frozen one.
fn check_movable(accounts: &[&Account], movement: &Movement) -> Result<(), Refusal> {
    accounts.iter().try_for_each(|account| check_open(account))?;
    accounts.iter().try_for_each(|account| check_not_frozen(account))?;
    accounts.iter().try_for_each(|account| check_currency(account, movement))
}

fn check_empty(account: &Account) -> Result<(), Refusal> {
    let Balance { posted, held, .. } = account.balance;
    if posted == 0 && held == 0 {
        return Ok(());
    }
    Err(Refusal::AccountNotEmpty { account_id: account.id.clone(), posted, held })
}

fn check_funds(account: &Account, movement: &Movement) -> Result<(), Refusal> {
    let available = account.balance.available();
    if available >= movement.amount.minor_units() {
        return Ok(());
    }
    Err(Refusal::InsufficientFunds {
        account_id: account.id.clone(),
        available,
        requested: movement.amount,
        currency: movement.currency.clone(),
    })
}
