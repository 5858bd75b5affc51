//! What was asked.

use crate::ledger::{
    AccountId, Amount, Command, Currency, Description, DisplayName, Etag, HoldDuration, HoldId,
    HoldParties, Labels, Money, NewAccountId, OverdraftLimit, Parties, TransactionId,
};

use super::stored::{self, record::Command as StoredCommand};
use super::{DecodeError, read_labels, read_money, read_optional_account, store_labels};

pub(super) fn store_command(command: &Command) -> StoredCommand {
    let moving = |account: &AccountId,
                  to: Option<&AccountId>,
                  money: &Money,
                  description: &Description,
                  labels: &Labels| stored::MoveCommand {
        account_id: account.as_str().to_owned(),
        to_account_id: to.map_or("", AccountId::as_str).to_owned(),
        amount: money.amount.minor_units(),
        currency_code: money.currency.code().to_owned(),
        description: description.as_str().to_owned(),
        labels: store_labels(labels),
    };
    let changing = |account: &AccountId, reason: &Description| stored::ChangeStateCommand {
        account_id: account.as_str().to_owned(),
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
            account_id: account_id.id().as_str().to_owned(),
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
                account_id: account_id.as_str().to_owned(),
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
                account_id: parties.account().as_str().to_owned(),
                to_account_id: parties.to().map_or("", AccountId::as_str).to_owned(),
                amount: amount.amount.minor_units(),
                currency_code: amount.currency.code().to_owned(),
                ttl_us: ttl.map(HoldDuration::micros),
                description: description.as_str().to_owned(),
                labels: store_labels(labels),
            })
        }
        Command::CaptureHold { hold_id, amount } => {
            StoredCommand::CaptureHold(stored::CaptureHoldCommand {
                hold_id: hold_id.as_str().to_owned(),
                amount: amount.map(Amount::minor_units),
            })
        }
        Command::ReleaseHold { hold_id } => {
            StoredCommand::ReleaseHold(stored::ReleaseHoldCommand {
                hold_id: hold_id.as_str().to_owned(),
            })
        }
        Command::ReverseTransaction { transaction_id, amount, description } => {
            StoredCommand::ReverseTransaction(stored::ReverseTransactionCommand {
                transaction_id: transaction_id.as_str().to_owned(),
                amount: amount.map(Amount::minor_units),
                description: description.as_str().to_owned(),
            })
        }
        Command::Transfer { parties, amount, description, labels } => StoredCommand::Transfer(
            moving(parties.from(), Some(parties.to()), amount, description, labels),
        ),
    }
}

pub(super) fn read_command(command: StoredCommand) -> Result<Command, DecodeError> {
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
