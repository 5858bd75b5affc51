//! Records in their stored form, and back.
//!
//! **Invariant:** reading gives exactly what was written. A posting leaves its movement out where it
//! is the one that the command asks for; reading puts it back.

use prost::Message;

use crate::ledger::{
    Account, AccountId, AccountState, Amount, Balance, Change, Command, Currency, Description,
    DisplayName, Etag, Hold, HoldDuration, HoldEnd, HoldId, HoldParties, HoldState, Labels,
    Malformed, Money, Movement, NewAccountId, OverdraftLimit, Parties, Posting, Record, Refusal,
    Request, RequestId, Sequence, Time, TransactionId, TransactionType,
};

use stored::record::{Command as StoredCommand, Outcome as StoredOutcome};

#[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
mod stored {
    include!(concat!(env!("OUT_DIR"), "/bank.journal.v1.rs"));
}

pub(super) use stored::Record as StoredRecord;

/// Why bytes are no record.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("{0}")]
    Bytes(#[from] prost::DecodeError),
    #[error("a value {0}")]
    Value(#[from] Malformed),
    #[error("{0} is missing")]
    Missing(&'static str),
}

/// How many bytes [`encode_delimited`] will write.
pub(super) fn delimited_length(stored: &StoredRecord) -> usize {
    let length = stored.encoded_len();
    prost::length_delimiter_len(length) + length
}

/// Appends a record with its length before it.
pub(super) fn encode_delimited(stored: &StoredRecord, buffer: &mut Vec<u8>) {
    stored.encode_length_delimited(buffer).expect("a Vec grows as needed");
}

/// Reads a record with its length before it; what follows it is left alone.
pub(super) fn decode_delimited(bytes: &[u8]) -> Result<Record, DecodeError> {
    from_stored(StoredRecord::decode_length_delimited(bytes)?)
}

pub(super) fn to_stored(record: &Record) -> StoredRecord {
    let movement = record.request.command.movement();
    let posting = |posting: &Posting| store_posting(posting, movement.as_ref());
    StoredRecord {
        sequence: record.sequence.number(),
        time_us: record.time.micros(),
        request_id: record.request.id.as_ref().map_or("", RequestId::as_str).to_owned(),
        command: Some(store_command(&record.request.command)),
        outcome: Some(match &record.outcome {
            Ok(Change::Posted(one)) => StoredOutcome::Posted(posting(one)),
            Ok(Change::AccountOpened { account, deposit }) => {
                StoredOutcome::AccountOpened(stored::AccountOpened {
                    account: Some(store_account(account)),
                    deposit: deposit.as_ref().map(posting),
                })
            }
            Ok(Change::AccountChanged { account }) => {
                StoredOutcome::AccountChanged(store_account(account))
            }
            Ok(Change::HoldPlaced { hold, balance }) => {
                StoredOutcome::HoldPlaced(stored::HoldPlaced {
                    hold: Some(store_hold(hold)),
                    balance: Some(store_balance(*balance)),
                })
            }
            Ok(Change::HoldCaptured { hold, posting: one }) => {
                StoredOutcome::HoldCaptured(stored::HoldCaptured {
                    hold: Some(store_hold(hold)),
                    posting: Some(posting(one)),
                })
            }
            Ok(Change::HoldReleased { hold }) => StoredOutcome::HoldReleased(store_hold(hold)),
            Ok(Change::Reversed { original, posting: one }) => {
                StoredOutcome::Reversed(stored::Reversed {
                    original_sequence: original.number(),
                    posting: Some(posting(one)),
                })
            }
            Err(refusal) => StoredOutcome::Refused(store_refusal(refusal)),
        }),
    }
}

fn from_stored(record: StoredRecord) -> Result<Record, DecodeError> {
    let id = match record.request_id.as_str() {
        "" => None,
        id => Some(RequestId::parse(id)?),
    };
    let command = read_command(record.command.ok_or(DecodeError::Missing("the command"))?)?;
    let outcome = match record.outcome.ok_or(DecodeError::Missing("the outcome"))? {
        StoredOutcome::Posted(posting) => Ok(Change::Posted(read_posting(posting, &command)?)),
        StoredOutcome::AccountOpened(opened) => Ok(Change::AccountOpened {
            account: read_account(&opened.account.ok_or(DecodeError::Missing("the account"))?)?,
            deposit: opened.deposit.map(|posting| read_posting(posting, &command)).transpose()?,
        }),
        StoredOutcome::AccountChanged(account) => {
            Ok(Change::AccountChanged { account: read_account(&account)? })
        }
        StoredOutcome::HoldPlaced(placed) => Ok(Change::HoldPlaced {
            hold: read_hold(&placed.hold.ok_or(DecodeError::Missing("the hold"))?)?,
            balance: read_balance(&placed.balance.ok_or(DecodeError::Missing("the balance"))?)?,
        }),
        StoredOutcome::HoldCaptured(captured) => Ok(Change::HoldCaptured {
            hold: read_hold(&captured.hold.ok_or(DecodeError::Missing("the hold"))?)?,
            posting: read_posting(
                captured.posting.ok_or(DecodeError::Missing("the posting"))?,
                &command,
            )?,
        }),
        StoredOutcome::HoldReleased(hold) => Ok(Change::HoldReleased { hold: read_hold(&hold)? }),
        StoredOutcome::Reversed(reversed) => Ok(Change::Reversed {
            original: Sequence::new(reversed.original_sequence),
            posting: read_posting(
                reversed.posting.ok_or(DecodeError::Missing("the posting"))?,
                &command,
            )?,
        }),
        StoredOutcome::Refused(refusal) => Err(read_refusal(refusal)?),
    };
    Ok(Record {
        sequence: Sequence::new(record.sequence),
        time: Time::from_micros(record.time_us),
        request: Request { id, command },
        outcome,
    })
}

fn store_command(command: &Command) -> StoredCommand {
    let moving = |account: &AccountId,
                  to: Option<&AccountId>,
                  money: &Money,
                  description: &Description,
                  labels: &Labels| stored::MoveCommand {
        account_id: account.to_string(),
        to_account_id: to.map_or_else(String::new, ToString::to_string),
        amount: money.amount.minor_units(),
        currency_code: money.currency.code().to_owned(),
        description: description.as_str().to_owned(),
        labels: store_labels(labels),
    };
    let changing = |account: &AccountId, reason: &Description| stored::ChangeStateCommand {
        account_id: account.to_string(),
        reason: reason.as_str().to_owned(),
    };
    match command {
        Command::CreateAccount {
            account_id,
            currency,
            display_name,
            overdraft_limit,
            labels,
            initial_balance,
        } => StoredCommand::CreateAccount(stored::CreateAccountCommand {
            account_id: account_id.id().to_string(),
            account_id_by_server: match account_id {
                NewAccountId::ByClient(_) => false,
                NewAccountId::ByServer(_) => true,
            },
            currency_code: currency.code().to_owned(),
            display_name: display_name.as_str().to_owned(),
            overdraft_limit: overdraft_limit.minor_units(),
            labels: store_labels(labels),
            initial_balance: initial_balance.map_or(0, Amount::minor_units),
        }),
        Command::UpdateAccount { account_id, display_name, overdraft_limit, labels, etag } => {
            StoredCommand::UpdateAccount(stored::UpdateAccountCommand {
                account_id: account_id.to_string(),
                display_name: display_name.as_ref().map(|name| name.as_str().to_owned()),
                overdraft_limit: overdraft_limit.map(OverdraftLimit::minor_units),
                labels: labels
                    .as_ref()
                    .map(|labels| stored::Labels { pairs: store_labels(labels) }),
                etag: etag.as_ref().map(|etag| etag.as_str().to_owned()),
            })
        }
        Command::FreezeAccount { account_id, reason } => {
            StoredCommand::FreezeAccount(changing(account_id, reason))
        }
        Command::UnfreezeAccount { account_id, reason } => {
            StoredCommand::UnfreezeAccount(changing(account_id, reason))
        }
        Command::CloseAccount { account_id, reason } => {
            StoredCommand::CloseAccount(changing(account_id, reason))
        }
        Command::Deposit { account_id, amount, description, labels } => {
            StoredCommand::Deposit(moving(account_id, None, amount, description, labels))
        }
        Command::Withdraw { account_id, amount, description, labels } => {
            StoredCommand::Withdraw(moving(account_id, None, amount, description, labels))
        }
        Command::PlaceHold { parties, amount, ttl, description, labels } => {
            StoredCommand::PlaceHold(stored::PlaceHoldCommand {
                account_id: parties.account().to_string(),
                to_account_id: parties.to().map_or_else(String::new, ToString::to_string),
                amount: amount.amount.minor_units(),
                currency_code: amount.currency.code().to_owned(),
                ttl_us: ttl.map(HoldDuration::micros),
                description: description.as_str().to_owned(),
                labels: store_labels(labels),
            })
        }
        Command::CaptureHold { hold_id, amount } => {
            StoredCommand::CaptureHold(stored::CaptureHoldCommand {
                hold_id: hold_id.to_string(),
                amount: amount.map(Amount::minor_units),
            })
        }
        Command::ReleaseHold { hold_id } => {
            StoredCommand::ReleaseHold(stored::ReleaseHoldCommand { hold_id: hold_id.to_string() })
        }
        Command::ReverseTransaction { transaction_id, amount, description } => {
            StoredCommand::ReverseTransaction(stored::ReverseTransactionCommand {
                transaction_id: transaction_id.to_string(),
                amount: amount.map(Amount::minor_units),
                description: description.as_str().to_owned(),
            })
        }
        Command::Transfer { parties, amount, description, labels } => StoredCommand::Transfer(
            moving(parties.from(), Some(parties.to()), amount, description, labels),
        ),
    }
}

fn read_command(command: StoredCommand) -> Result<Command, DecodeError> {
    Ok(match command {
        StoredCommand::CreateAccount(command) => {
            let id = AccountId::parse(&command.account_id)?;
            Command::CreateAccount {
                account_id: if command.account_id_by_server {
                    NewAccountId::ByServer(id)
                } else {
                    NewAccountId::ByClient(id)
                },
                currency: Currency::parse(&command.currency_code)?,
                display_name: DisplayName::parse(&command.display_name)?,
                overdraft_limit: OverdraftLimit::new(command.overdraft_limit)?,
                labels: read_labels(&command.labels)?,
                initial_balance: match command.initial_balance {
                    0 => None,
                    minor_units => Some(Amount::new(minor_units)?),
                },
            }
        }
        StoredCommand::UpdateAccount(command) => Command::UpdateAccount {
            account_id: AccountId::parse(&command.account_id)?,
            display_name: command.display_name.as_deref().map(DisplayName::parse).transpose()?,
            overdraft_limit: command.overdraft_limit.map(OverdraftLimit::new).transpose()?,
            labels: command.labels.map(|labels| read_labels(&labels.pairs)).transpose()?,
            etag: command.etag.as_deref().map(Etag::parse).transpose()?,
        },
        StoredCommand::FreezeAccount(command) => Command::FreezeAccount {
            account_id: AccountId::parse(&command.account_id)?,
            reason: Description::parse(&command.reason)?,
        },
        StoredCommand::UnfreezeAccount(command) => Command::UnfreezeAccount {
            account_id: AccountId::parse(&command.account_id)?,
            reason: Description::parse(&command.reason)?,
        },
        StoredCommand::CloseAccount(command) => Command::CloseAccount {
            account_id: AccountId::parse(&command.account_id)?,
            reason: Description::parse(&command.reason)?,
        },
        StoredCommand::Deposit(command) => Command::Deposit {
            account_id: AccountId::parse(&command.account_id)?,
            amount: read_money(command.amount, &command.currency_code)?,
            description: Description::parse(&command.description)?,
            labels: read_labels(&command.labels)?,
        },
        StoredCommand::Withdraw(command) => Command::Withdraw {
            account_id: AccountId::parse(&command.account_id)?,
            amount: read_money(command.amount, &command.currency_code)?,
            description: Description::parse(&command.description)?,
            labels: read_labels(&command.labels)?,
        },
        StoredCommand::PlaceHold(command) => Command::PlaceHold {
            parties: HoldParties::new(
                AccountId::parse(&command.account_id)?,
                read_optional_account(&command.to_account_id)?,
            )?,
            amount: read_money(command.amount, &command.currency_code)?,
            ttl: command.ttl_us.map(HoldDuration::from_micros).transpose()?,
            description: Description::parse(&command.description)?,
            labels: read_labels(&command.labels)?,
        },
        StoredCommand::CaptureHold(command) => Command::CaptureHold {
            hold_id: HoldId::parse(&command.hold_id)?,
            amount: command.amount.map(Amount::new).transpose()?,
        },
        StoredCommand::ReleaseHold(command) => {
            Command::ReleaseHold { hold_id: HoldId::parse(&command.hold_id)? }
        }
        StoredCommand::ReverseTransaction(command) => Command::ReverseTransaction {
            transaction_id: TransactionId::parse(&command.transaction_id)?,
            amount: command.amount.map(Amount::new).transpose()?,
            description: Description::parse(&command.description)?,
        },
        StoredCommand::Transfer(command) => Command::Transfer {
            parties: Parties::new(
                AccountId::parse(&command.account_id)?,
                AccountId::parse(&command.to_account_id)?,
            )?,
            amount: read_money(command.amount, &command.currency_code)?,
            description: Description::parse(&command.description)?,
            labels: read_labels(&command.labels)?,
        },
    })
}

fn store_posting(posting: &Posting, asked_for: Option<&Movement>) -> stored::Posting {
    let movement = &posting.movement;
    stored::Posting {
        from_balance: Some(store_balance(posting.from_balance)),
        to_balance: Some(store_balance(posting.to_balance)),
        movement: (asked_for != Some(movement)).then(|| stored::Movement {
            r#type: store_type(movement.kind).into(),
            amount: movement.amount.minor_units(),
            currency_code: movement.currency.code().to_owned(),
            from_account_id: movement.from.to_string(),
            to_account_id: movement.to.to_string(),
        }),
    }
}

fn read_posting(posting: stored::Posting, command: &Command) -> Result<Posting, DecodeError> {
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

fn store_type(kind: TransactionType) -> stored::MovementType {
    match kind {
        TransactionType::Deposit => stored::MovementType::Deposit,
        TransactionType::Withdrawal => stored::MovementType::Withdrawal,
        TransactionType::Transfer => stored::MovementType::Transfer,
        TransactionType::Reversal => stored::MovementType::Reversal,
    }
}

fn read_type(kind: stored::MovementType) -> Result<TransactionType, DecodeError> {
    match kind {
        stored::MovementType::Unspecified => Err(DecodeError::Missing("the movement's type")),
        stored::MovementType::Deposit => Ok(TransactionType::Deposit),
        stored::MovementType::Withdrawal => Ok(TransactionType::Withdrawal),
        stored::MovementType::Transfer => Ok(TransactionType::Transfer),
        stored::MovementType::Reversal => Ok(TransactionType::Reversal),
    }
}

fn store_balance(balance: Balance) -> stored::Balance {
    stored::Balance {
        posted: balance.posted,
        held: balance.held,
        overdraft_limit: balance.overdraft_limit.minor_units(),
        version: balance.version,
    }
}

fn read_balance(balance: &stored::Balance) -> Result<Balance, DecodeError> {
    Ok(Balance {
        posted: balance.posted,
        held: balance.held,
        overdraft_limit: OverdraftLimit::new(balance.overdraft_limit)?,
        version: balance.version,
    })
}

fn store_account(account: &Account) -> stored::Account {
    stored::Account {
        account_id: account.id.to_string(),
        currency_code: account.currency.code().to_owned(),
        display_name: account.display_name.as_str().to_owned(),
        state: match account.state {
            AccountState::Active => stored::AccountState::Active,
            AccountState::Frozen => stored::AccountState::Frozen,
            AccountState::Closed => stored::AccountState::Closed,
        }
        .into(),
        balance: Some(store_balance(account.balance)),
        labels: store_labels(&account.labels),
        create_time_us: account.create_time.micros(),
        update_time_us: account.update_time.micros(),
        revision: account.revision,
    }
}

fn read_account(account: &stored::Account) -> Result<Account, DecodeError> {
    Ok(Account {
        id: AccountId::parse(&account.account_id)?,
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

fn store_hold(hold: &Hold) -> stored::Hold {
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
        account_id: hold.account_id.to_string(),
        to_account_id: hold.to_account_id.as_ref().map_or_else(String::new, ToString::to_string),
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

fn read_hold(hold: &stored::Hold) -> Result<Hold, DecodeError> {
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

fn read_optional_account(id: &str) -> Result<Option<AccountId>, DecodeError> {
    Ok(if id.is_empty() { None } else { Some(AccountId::parse(id)?) })
}

fn store_labels(labels: &Labels) -> Vec<stored::Label> {
    labels
        .iter()
        .map(|(key, value)| stored::Label { key: key.to_owned(), value: value.to_owned() })
        .collect()
}

fn read_labels(labels: &[stored::Label]) -> Result<Labels, DecodeError> {
    Ok(Labels::parse(labels.iter().map(|label| (label.key.as_str(), label.value.as_str())))?)
}

fn read_money(amount: i64, currency_code: &str) -> Result<Money, DecodeError> {
    Ok(Money { currency: Currency::parse(currency_code)?, amount: Amount::new(amount)? })
}

fn store_refusal(refusal: &Refusal) -> stored::Refusal {
    use stored::refusal::Refusal as Stored;
    stored::Refusal {
        refusal: Some(match refusal {
            Refusal::RequestIdReused { request_id, field } => {
                Stored::RequestIdReused(stored::RequestIdReused {
                    request_id: request_id.as_str().to_owned(),
                    field: field.clone(),
                })
            }
            Refusal::AccountNotFound { account_id } => {
                Stored::AccountNotFound(account_id.to_string())
            }
            Refusal::AccountAlreadyExists { account_id } => {
                Stored::AccountAlreadyExists(account_id.to_string())
            }
            Refusal::EtagMismatch { account_id, current_etag } => {
                Stored::EtagMismatch(stored::EtagMismatch {
                    account_id: account_id.to_string(),
                    current_etag: current_etag.clone(),
                })
            }
            Refusal::AccountClosed { account_id } => Stored::AccountClosed(account_id.to_string()),
            Refusal::AccountFrozen { account_id } => Stored::AccountFrozen(account_id.to_string()),
            Refusal::CurrencyMismatch { account_id, account_currency, requested_currency } => {
                Stored::CurrencyMismatch(stored::CurrencyMismatch {
                    account_id: account_id.to_string(),
                    account_currency_code: account_currency.code().to_owned(),
                    requested_currency_code: requested_currency.code().to_owned(),
                })
            }
            Refusal::AccountNotEmpty { account_id, posted, held } => {
                Stored::AccountNotEmpty(stored::AccountNotEmpty {
                    account_id: account_id.to_string(),
                    posted: *posted,
                    held: *held,
                })
            }
            Refusal::InsufficientFunds { account_id, available, requested, currency } => {
                Stored::InsufficientFunds(stored::InsufficientFunds {
                    account_id: account_id.to_string(),
                    available: *available,
                    requested: requested.minor_units(),
                    currency_code: currency.code().to_owned(),
                })
            }
            Refusal::BalanceOutOfRange { account_id } => {
                Stored::BalanceOutOfRange(account_id.to_string())
            }
            Refusal::TransactionNotFound { transaction_id } => {
                Stored::TransactionNotFound(transaction_id.to_string())
            }
            Refusal::HoldNotFound { hold_id } => Stored::HoldNotFound(hold_id.to_string()),
            Refusal::HoldNotActive { hold_id, state } => {
                Stored::HoldNotActive(stored::HoldNotActive {
                    hold_id: hold_id.to_string(),
                    end: match state {
                        HoldEnd::Captured => stored::HoldEnd::Captured,
                        HoldEnd::Released => stored::HoldEnd::Released,
                        HoldEnd::Expired => stored::HoldEnd::Expired,
                    }
                    .into(),
                })
            }
            Refusal::CaptureExceedsHold { hold_id, held, requested } => {
                Stored::CaptureExceedsHold(stored::CaptureExceedsHold {
                    hold_id: hold_id.to_string(),
                    held: held.minor_units(),
                    requested: requested.minor_units(),
                })
            }
            Refusal::ReversalOfReversal { transaction_id } => {
                Stored::ReversalOfReversal(transaction_id.to_string())
            }
            Refusal::ReversalExceedsRest { transaction_id, left } => {
                Stored::ReversalExceedsRest(stored::ReversalExceedsRest {
                    transaction_id: transaction_id.to_string(),
                    left: *left,
                })
            }
        }),
    }
}

fn read_refusal(refusal: stored::Refusal) -> Result<Refusal, DecodeError> {
    use stored::refusal::Refusal as Stored;
    Ok(match refusal.refusal.ok_or(DecodeError::Missing("the refusal"))? {
        Stored::RequestIdReused(reused) => Refusal::RequestIdReused {
            request_id: RequestId::parse(&reused.request_id)?,
            field: reused.field,
        },
        Stored::AccountNotFound(id) => {
            Refusal::AccountNotFound { account_id: AccountId::parse(&id)? }
        }
        Stored::AccountAlreadyExists(id) => {
            Refusal::AccountAlreadyExists { account_id: AccountId::parse(&id)? }
        }
        Stored::EtagMismatch(mismatch) => Refusal::EtagMismatch {
            account_id: AccountId::parse(&mismatch.account_id)?,
            current_etag: mismatch.current_etag,
        },
        Stored::AccountClosed(id) => Refusal::AccountClosed { account_id: AccountId::parse(&id)? },
        Stored::AccountFrozen(id) => Refusal::AccountFrozen { account_id: AccountId::parse(&id)? },
        Stored::CurrencyMismatch(mismatch) => Refusal::CurrencyMismatch {
            account_id: AccountId::parse(&mismatch.account_id)?,
            account_currency: Currency::parse(&mismatch.account_currency_code)?,
            requested_currency: Currency::parse(&mismatch.requested_currency_code)?,
        },
        Stored::AccountNotEmpty(not_empty) => Refusal::AccountNotEmpty {
            account_id: AccountId::parse(&not_empty.account_id)?,
            posted: not_empty.posted,
            held: not_empty.held,
        },
        Stored::InsufficientFunds(insufficient) => Refusal::InsufficientFunds {
            account_id: AccountId::parse(&insufficient.account_id)?,
            available: insufficient.available,
            requested: Amount::new(insufficient.requested)?,
            currency: Currency::parse(&insufficient.currency_code)?,
        },
        Stored::BalanceOutOfRange(id) => {
            Refusal::BalanceOutOfRange { account_id: AccountId::parse_any(&id)? }
        }
        Stored::TransactionNotFound(id) => {
            Refusal::TransactionNotFound { transaction_id: TransactionId::parse(&id)? }
        }
        Stored::HoldNotFound(id) => Refusal::HoldNotFound { hold_id: HoldId::parse(&id)? },
        Stored::HoldNotActive(ended) => Refusal::HoldNotActive {
            hold_id: HoldId::parse(&ended.hold_id)?,
            state: match ended.end() {
                stored::HoldEnd::Unspecified => {
                    return Err(DecodeError::Missing("the hold's end"));
                }
                stored::HoldEnd::Captured => HoldEnd::Captured,
                stored::HoldEnd::Released => HoldEnd::Released,
                stored::HoldEnd::Expired => HoldEnd::Expired,
            },
        },
        Stored::CaptureExceedsHold(exceeds) => Refusal::CaptureExceedsHold {
            hold_id: HoldId::parse(&exceeds.hold_id)?,
            held: Amount::new(exceeds.held)?,
            requested: Amount::new(exceeds.requested)?,
        },
        Stored::ReversalOfReversal(id) => {
            Refusal::ReversalOfReversal { transaction_id: TransactionId::parse(&id)? }
        }
        Stored::ReversalExceedsRest(exceeds) => Refusal::ReversalExceedsRest {
            transaction_id: TransactionId::parse(&exceeds.transaction_id)?,
            left: exceeds.left,
        },
    })
}
