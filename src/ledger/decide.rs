//! The only place where money moves: (books, command, turn) -> change or refusal.
//!
//! Nothing is changed here; [`Books::apply`] takes over what was decided. Checks stand in the order of
//! precedence of [`Refusal`]: existence, etag, state, currency, hold, reversal, emptiness, funds, range;
//! within one step the account that pays comes before the one that receives.

use super::{
    Account, AccountId, AccountState, Amount, Balance, Books, Change, Command, DisplayName, Etag,
    Hold, HoldDuration, HoldEnd, HoldId, HoldState, Labels, Movement, OverdraftLimit, Posting,
    Record, Refusal, Request, Sequence, Standing, Time, TransactionId, TransactionType,
};

/// A request's turn in the ledger's one order.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// The place that its record will have.
    pub sequence: Sequence,
    /// The moment.
    pub time: Time,
    /// The record of the transaction that [`Command::original`] names, if there is one.
    pub original: Option<&'a Record>,
}

/// Decides what a request does to the books in its turn.
///
/// # Errors
///
/// The first [`Refusal`] that applies, in order of precedence; the books are then left as they are.
pub fn decide(books: &Books, request: &Request, turn: Turn<'_>) -> Result<Change, Refusal> {
    let now = turn.time;
    let command = &request.command;
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
            command.movement(),
        ),
        Command::UpdateAccount { account_id, display_name, overdraft_limit, labels, etag } => {
            let standing = existing(books, account_id, now)?;
            check_etag(standing.account, etag.as_ref())?;
            check_open(standing.account)?;
            update(standing, display_name.as_ref(), *overdraft_limit, labels.as_ref(), now)
        }
        Command::FreezeAccount { account_id, .. } => {
            let standing = existing(books, account_id, now)?;
            check_open(standing.account)?;
            Ok(with_state(standing, AccountState::Frozen, now))
        }
        Command::UnfreezeAccount { account_id, .. } => {
            let standing = existing(books, account_id, now)?;
            check_open(standing.account)?;
            Ok(with_state(standing, AccountState::Active, now))
        }
        Command::CloseAccount { account_id, .. } => {
            let standing = existing(books, account_id, now)?;
            check_open(standing.account)?;
            check_empty(standing)?;
            Ok(with_state(standing, AccountState::Closed, now))
        }
        Command::Deposit { account_id, amount, .. } => {
            let to = existing(books, account_id, now)?;
            let movement = Movement::deposit(account_id, amount);
            check_movable(&[to], &movement)?;
            let from_before = external_balance(books, &movement.from, now);
            post(movement, from_before, to.balance).map(Change::Posted)
        }
        Command::Withdraw { account_id, amount, .. } => {
            let from = existing(books, account_id, now)?;
            let movement = Movement::withdrawal(account_id, amount);
            check_movable(&[from], &movement)?;
            check_funds(from, &movement)?;
            let to_before = external_balance(books, &movement.to, now);
            post(movement, from.balance, to_before).map(Change::Posted)
        }
        Command::Transfer { parties, amount, .. } => {
            let from = existing(books, parties.from(), now)?;
            let to = existing(books, parties.to(), now)?;
            let movement = Movement::transfer(parties.from(), parties.to(), amount);
            check_movable(&[from, to], &movement)?;
            check_funds(from, &movement)?;
            post(movement, from.balance, to.balance).map(Change::Posted)
        }
        Command::PlaceHold { parties, amount, ttl, description, labels } => {
            let hold = Hold {
                placed: turn.sequence,
                account_id: parties.account().clone(),
                to_account_id: parties.to().cloned(),
                amount: amount.clone(),
                state: HoldState::Held,
                create_time: now,
                expire_time: now.after(ttl.unwrap_or(HoldDuration::DEFAULT)),
                update_time: now,
                request_id: request.id.clone(),
                description: description.clone(),
                labels: labels.clone(),
            };
            place(books, hold, now)
        }
        Command::CaptureHold { hold_id, amount } => capture(books, hold_id, *amount, turn),
        Command::ReleaseHold { hold_id } => release(books, hold_id, now),
        Command::ReverseTransaction { transaction_id, amount, description: _ } => {
            reverse(books, transaction_id, *amount, turn)
        }
    }
}

fn place(books: &Books, hold: Hold, now: Time) -> Result<Change, Refusal> {
    let from = existing(books, &hold.account_id, now)?;
    let to = hold.to_account_id.as_ref().map(|id| existing(books, id, now)).transpose()?;
    let movement = hold.movement(hold.amount.amount);
    check_movable(&[Some(from), to].into_iter().flatten().collect::<Vec<_>>(), &movement)?;
    check_funds(from, &movement)?;
    let balance = from
        .balance
        .hold(hold.amount.amount)
        .ok_or_else(|| Refusal::BalanceOutOfRange { account_id: hold.account_id.clone() })?;
    Ok(Change::HoldPlaced { hold, balance })
}

/// Never refused for lack of funds: what is held was available when it was set aside.
fn capture(
    books: &Books,
    hold_id: &HoldId,
    amount: Option<Amount>,
    turn: Turn<'_>,
) -> Result<Change, Refusal> {
    let now = turn.time;
    let hold = existing_hold(books, hold_id)?;
    let amount = amount.unwrap_or(hold.amount.amount);
    let movement = hold.movement(amount);
    let from = existing(books, &hold.account_id, now)?;
    let to = hold.to_account_id.as_ref().map(|id| existing(books, id, now)).transpose()?;
    check_movable(&[Some(from), to].into_iter().flatten().collect::<Vec<_>>(), &movement)?;
    check_held(hold, hold_id, now)?;
    if amount > hold.amount.amount {
        return Err(Refusal::CaptureExceedsHold {
            hold_id: hold_id.clone(),
            held: hold.amount.amount,
            requested: amount,
        });
    }
    let to_balance = to.map_or_else(|| external_balance(books, &movement.to, now), |to| to.balance);
    let posting = post(movement, from.balance.release(hold.amount.amount), to_balance)?;
    let state = HoldState::Captured { captured: amount, transaction: turn.sequence };
    let hold = Hold { state, update_time: now, ..hold.clone() };
    Ok(Change::HoldCaptured { hold, posting })
}

/// Goes on while the account is frozen: no money moves.
fn release(books: &Books, hold_id: &HoldId, now: Time) -> Result<Change, Refusal> {
    let hold = existing_hold(books, hold_id)?;
    check_held(hold, hold_id, now)?;
    let hold = Hold { state: HoldState::Released, update_time: now, ..hold.clone() };
    Ok(Change::HoldReleased { hold })
}

fn reverse(
    books: &Books,
    transaction_id: &TransactionId,
    amount: Option<Amount>,
    turn: Turn<'_>,
) -> Result<Change, Refusal> {
    let now = turn.time;
    let original = turn.original.and_then(|record| Some((record.sequence, record.posting()?)));
    let Some((original, first)) = original else {
        return Err(Refusal::TransactionNotFound { transaction_id: transaction_id.clone() });
    };
    let left = first.movement.amount.minor_units().saturating_sub(books.reversed(original));
    let exceeds = || Refusal::ReversalExceedsRest { transaction_id: transaction_id.clone(), left };
    let wanted = amount.or_else(|| Amount::new(left).ok());

    let movement = first.movement.reversed(wanted.unwrap_or(first.movement.amount));
    let standing = |id: &AccountId| books.account(id, now);
    let sides = [standing(&movement.from), standing(&movement.to)];
    check_movable(&sides.into_iter().flatten().collect::<Vec<_>>(), &movement)?;
    if first.movement.kind == TransactionType::Reversal {
        return Err(Refusal::ReversalOfReversal { transaction_id: transaction_id.clone() });
    }
    let amount = wanted.ok_or_else(exceeds)?;
    if amount.minor_units() > left {
        return Err(exceeds());
    }
    let from = existing(books, &movement.from, now)?;
    let to = existing(books, &movement.to, now)?;
    if !from.account.id.is_external() {
        check_funds(from, &movement)?;
    }
    let posting = post(movement, from.balance, to.balance)?;
    Ok(Change::Reversed { original, posting })
}

fn open(
    books: &Books,
    account: Account,
    initial_deposit: Option<Movement>,
) -> Result<Change, Refusal> {
    if books.number(&account.id).is_some() {
        return Err(Refusal::AccountAlreadyExists { account_id: account.id });
    }
    let Some(movement) = initial_deposit else {
        return Ok(Change::AccountOpened { account, deposit: None });
    };
    let now = account.create_time;
    let from_before = external_balance(books, &movement.from, now);
    let deposit = post(movement, from_before, account.balance)?;
    Ok(Change::AccountOpened {
        account: Account { balance: deposit.to_balance, ..account },
        deposit: Some(deposit),
    })
}

fn update(
    Standing { account, balance }: Standing<'_>,
    display_name: Option<&DisplayName>,
    overdraft_limit: Option<OverdraftLimit>,
    labels: Option<&Labels>,
    now: Time,
) -> Result<Change, Refusal> {
    let limit = overdraft_limit.unwrap_or(balance.overdraft_limit);
    let balance = balance
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
fn with_state(standing: Standing<'_>, state: AccountState, now: Time) -> Change {
    let account = standing.to_account();
    if account.state == state {
        return Change::AccountChanged { account };
    }
    let revision = account.revision.saturating_add(1);
    Change::AccountChanged { account: Account { state, update_time: now, revision, ..account } }
}

fn post(movement: Movement, from_before: Balance, to_before: Balance) -> Result<Posting, Refusal> {
    let out_of_range = |id: &AccountId| Refusal::BalanceOutOfRange { account_id: id.clone() };
    let from_balance =
        from_before.debit(movement.amount).ok_or_else(|| out_of_range(&movement.from))?;
    let to_balance = to_before.credit(movement.amount).ok_or_else(|| out_of_range(&movement.to))?;
    Ok(Posting { movement, from_balance, to_balance })
}

/// The outside world is there for every currency, with 0 before its first entry.
fn external_balance(books: &Books, id: &AccountId, now: Time) -> Balance {
    books.account(id, now).map_or_else(Balance::default, |standing| standing.balance)
}

fn existing<'a>(books: &'a Books, id: &AccountId, now: Time) -> Result<Standing<'a>, Refusal> {
    books.account(id, now).ok_or_else(|| Refusal::AccountNotFound { account_id: id.clone() })
}

fn existing_hold<'a>(books: &'a Books, id: &HoldId) -> Result<&'a Hold, Refusal> {
    books.hold(id).ok_or_else(|| Refusal::HoldNotFound { hold_id: id.clone() })
}

fn check_held(hold: &Hold, hold_id: &HoldId, now: Time) -> Result<(), Refusal> {
    let state = match hold.state_at(now) {
        HoldState::Held => return Ok(()),
        HoldState::Captured { .. } => HoldEnd::Captured,
        HoldState::Released => HoldEnd::Released,
        HoldState::Expired => HoldEnd::Expired,
    };
    Err(Refusal::HoldNotActive { hold_id: hold_id.clone(), state })
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
fn check_movable(sides: &[Standing<'_>], movement: &Movement) -> Result<(), Refusal> {
    sides.iter().try_for_each(|side| check_open(side.account))?;
    sides.iter().try_for_each(|side| check_not_frozen(side.account))?;
    sides.iter().try_for_each(|side| check_currency(side.account, movement))
}

fn check_empty(standing: Standing<'_>) -> Result<(), Refusal> {
    let Balance { posted, held, .. } = standing.balance;
    if posted == 0 && held == 0 {
        return Ok(());
    }
    let account_id = standing.account.id.clone();
    Err(Refusal::AccountNotEmpty { account_id, posted, held })
}

fn check_funds(payer: Standing<'_>, movement: &Movement) -> Result<(), Refusal> {
    let available = payer.balance.available();
    if available >= movement.amount.minor_units() {
        return Ok(());
    }
    Err(Refusal::InsufficientFunds {
        account_id: payer.account.id.clone(),
        available,
        requested: movement.amount,
        currency: movement.currency.clone(),
    })
}
