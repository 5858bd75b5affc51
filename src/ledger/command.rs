//! What can be asked of the bank, once it is well formed.
//!
//! Two commands are the same when every field that the client sent is the same; that is what the rule
//! of repeats compares ([`Command::first_difference`]).

use super::{
    AccountId, Amount, CallerName, Currency, Description, DisplayName, Etag, HoldId, Labels,
    Malformed, Money, Movement, OverdraftLimit, RequestId, TransactionId,
};

/// A mutation as a client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The client's name for it; without one there is no protection against a repeat.
    pub id: Option<RequestId>,
    /// Who sent it; nobody is known where callers need no credentials. No part of what makes a repeat.
    pub caller: Option<CallerName>,
    /// What is asked.
    pub command: Command,
}

/// The id of an account that is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewAccountId {
    /// The client chose it.
    ByClient(AccountId),
    /// The client left the choice to the server: drawn anew for every request, so a repeat may carry
    /// another one.
    ByServer(AccountId),
}

impl NewAccountId {
    /// The id, whoever chose it.
    #[must_use]
    pub fn id(&self) -> &AccountId {
        match self {
            Self::ByClient(id) | Self::ByServer(id) => id,
        }
    }
}

/// Who pays and who receives: never the same account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parties {
    from: AccountId,
    to: AccountId,
}

impl Parties {
    /// Takes the account that pays and the one that receives.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when they are one account.
    pub fn new(from: AccountId, to: AccountId) -> Result<Self, Malformed> {
        if from == to {
            Err(Malformed("must be another account than from_account_id"))
        } else {
            Ok(Self { from, to })
        }
    }

    /// The account that pays.
    #[must_use]
    pub fn from(&self) -> &AccountId {
        &self.from
    }

    /// The account that receives.
    #[must_use]
    pub fn to(&self) -> &AccountId {
        &self.to
    }
}

/// Whose money is set aside and who is paid with it: never the same account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldParties {
    account: AccountId,
    to: Option<AccountId>,
}

impl HoldParties {
    /// Takes the account whose money it is, and who is paid: without one, the outside world.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when they are one account.
    pub fn new(account: AccountId, to: Option<AccountId>) -> Result<Self, Malformed> {
        if to.as_ref() == Some(&account) {
            Err(Malformed("must be another account than account_id"))
        } else {
            Ok(Self { account, to })
        }
    }

    /// The account whose money it is.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// Who is paid; without one, the outside world.
    #[must_use]
    pub fn to(&self) -> Option<&AccountId> {
        self.to.as_ref()
    }
}

/// How long a hold lasts: 1 second to 30 days, in whole microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldDuration(i64);

impl HoldDuration {
    /// What a hold lasts when nothing is said: 7 days.
    pub const DEFAULT: Self = Self(7 * 86_400 * 1_000_000);

    /// Takes a number of microseconds.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is below 1 second or above 30 days.
    pub fn from_micros(micros: i64) -> Result<Self, Malformed> {
        if (1_000_000..=30 * 86_400 * 1_000_000).contains(&micros) {
            Ok(Self(micros))
        } else {
            Err(Malformed("must be 1 second to 30 days"))
        }
    }

    /// The number of microseconds.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }
}

/// What is asked. Each variant is named after its RPC, each field after the request's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the API, documented there")]
pub enum Command {
    /// Open an account.
    CreateAccount {
        account_id: NewAccountId,
        currency: Currency,
        display_name: DisplayName,
        overdraft_limit: OverdraftLimit,
        labels: Labels,
        initial_balance: Option<Amount>,
    },
    /// Change what is given of an account, if it is still in the form of the tag.
    UpdateAccount {
        account_id: AccountId,
        display_name: Option<DisplayName>,
        overdraft_limit: Option<OverdraftLimit>,
        labels: Option<Labels>,
        etag: Option<Etag>,
    },
    /// Stop all money in and out.
    FreezeAccount { account_id: AccountId, reason: Description },
    /// Let money in and out again.
    UnfreezeAccount { account_id: AccountId, reason: Description },
    /// Close for good.
    CloseAccount { account_id: AccountId, reason: Description },
    /// Move money in from the outside world.
    Deposit { account_id: AccountId, amount: Money, description: Description, labels: Labels },
    /// Move money out to the outside world.
    Withdraw { account_id: AccountId, amount: Money, description: Description, labels: Labels },
    /// Move money from one account to another.
    Transfer { parties: Parties, amount: Money, description: Description, labels: Labels },
    /// Set money aside.
    PlaceHold {
        parties: HoldParties,
        amount: Money,
        ttl: Option<HoldDuration>,
        description: Description,
        labels: Labels,
    },
    /// Move what was set aside, or a part of it, and let the rest go.
    CaptureHold { hold_id: HoldId, amount: Option<Amount> },
    /// Let go what was set aside.
    ReleaseHold { hold_id: HoldId },
    /// Move the money of a transaction back, or a part of it.
    ReverseTransaction {
        transaction_id: TransactionId,
        amount: Option<Amount>,
        description: Description,
    },
}

impl Command {
    /// The RPC that asks for it.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::CreateAccount { .. } => "CreateAccount",
            Self::UpdateAccount { .. } => "UpdateAccount",
            Self::FreezeAccount { .. } => "FreezeAccount",
            Self::UnfreezeAccount { .. } => "UnfreezeAccount",
            Self::CloseAccount { .. } => "CloseAccount",
            Self::Deposit { .. } => "Deposit",
            Self::Withdraw { .. } => "Withdraw",
            Self::Transfer { .. } => "Transfer",
            Self::PlaceHold { .. } => "PlaceHold",
            Self::CaptureHold { .. } => "CaptureHold",
            Self::ReleaseHold { .. } => "ReleaseHold",
            Self::ReverseTransaction { .. } => "ReverseTransaction",
        }
    }

    /// The movement that it asks for, if it says by itself what is to move.
    #[must_use]
    pub fn movement(&self) -> Option<Movement> {
        match self {
            Self::CreateAccount { account_id, currency, initial_balance, .. } => {
                let amount = (*initial_balance)?;
                let money = Money { currency: currency.clone(), amount };
                Some(Movement::deposit(account_id.id(), &money))
            }
            Self::Deposit { account_id, amount, .. } => Some(Movement::deposit(account_id, amount)),
            Self::Withdraw { account_id, amount, .. } => {
                Some(Movement::withdrawal(account_id, amount))
            }
            Self::Transfer { parties, amount, .. } => {
                Some(Movement::transfer(&parties.from, &parties.to, amount))
            }
            Self::UpdateAccount { .. }
            | Self::FreezeAccount { .. }
            | Self::UnfreezeAccount { .. }
            | Self::CloseAccount { .. }
            | Self::PlaceHold { .. }
            | Self::CaptureHold { .. }
            | Self::ReleaseHold { .. }
            | Self::ReverseTransaction { .. } => None,
        }
    }

    /// The account whose balance the answer tells beside the transaction: in a transfer, the one that
    /// pays.
    #[must_use]
    pub fn asked_about(&self) -> Option<&AccountId> {
        match self {
            Self::Deposit { account_id, .. } | Self::Withdraw { account_id, .. } => {
                Some(account_id)
            }
            Self::Transfer { parties, .. } => Some(&parties.from),
            _ => None,
        }
    }

    /// The transaction whose record the decision needs, if it needs one.
    #[must_use]
    pub fn original(&self) -> Option<&TransactionId> {
        match self {
            Self::ReverseTransaction { transaction_id, .. } => Some(transaction_id),
            _ => None,
        }
    }

    /// The name of the first field in which another command differs, in the order of the request's
    /// fields; `method` when it asks for something else altogether; `None` when they are the same.
    #[must_use]
    #[allow(clippy::too_many_lines, reason = "one list a command, to be read from top to bottom")]
    pub fn first_difference(&self, other: &Self) -> Option<&'static str> {
        let fields: &[(&'static str, bool)] = match (self, other) {
            (
                Self::CreateAccount {
                    account_id,
                    currency,
                    display_name,
                    overdraft_limit,
                    labels,
                    initial_balance,
                },
                Self::CreateAccount {
                    account_id: other_account_id,
                    currency: other_currency,
                    display_name: other_display_name,
                    overdraft_limit: other_overdraft_limit,
                    labels: other_labels,
                    initial_balance: other_initial_balance,
                },
            ) => &[
                ("account_id", same_choice(account_id, other_account_id)),
                ("currency_code", currency == other_currency),
                ("display_name", display_name == other_display_name),
                ("overdraft_limit", overdraft_limit == other_overdraft_limit),
                ("labels", labels == other_labels),
                ("initial_balance", initial_balance == other_initial_balance),
            ],
            (
                Self::UpdateAccount { account_id, display_name, overdraft_limit, labels, etag },
                Self::UpdateAccount {
                    account_id: other_account_id,
                    display_name: other_display_name,
                    overdraft_limit: other_overdraft_limit,
                    labels: other_labels,
                    etag: other_etag,
                },
            ) => &[
                ("account.account_id", account_id == other_account_id),
                ("account.display_name", display_name == other_display_name),
                ("account.overdraft_limit", overdraft_limit == other_overdraft_limit),
                ("account.labels", labels == other_labels),
                ("account.etag", etag == other_etag),
            ],
            (
                Self::FreezeAccount { account_id, reason },
                Self::FreezeAccount { account_id: other_account_id, reason: other_reason },
            )
            | (
                Self::UnfreezeAccount { account_id, reason },
                Self::UnfreezeAccount { account_id: other_account_id, reason: other_reason },
            )
            | (
                Self::CloseAccount { account_id, reason },
                Self::CloseAccount { account_id: other_account_id, reason: other_reason },
            ) => &[
                ("account_id", account_id == other_account_id),
                ("reason", reason == other_reason),
            ],
            (
                Self::Deposit { account_id, amount, description, labels },
                Self::Deposit {
                    account_id: other_account_id,
                    amount: other_amount,
                    description: other_description,
                    labels: other_labels,
                },
            )
            | (
                Self::Withdraw { account_id, amount, description, labels },
                Self::Withdraw {
                    account_id: other_account_id,
                    amount: other_amount,
                    description: other_description,
                    labels: other_labels,
                },
            ) => &[
                ("account_id", account_id == other_account_id),
                ("amount", amount == other_amount),
                ("description", description == other_description),
                ("labels", labels == other_labels),
            ],
            (
                Self::Transfer { parties, amount, description, labels },
                Self::Transfer {
                    parties: other_parties,
                    amount: other_amount,
                    description: other_description,
                    labels: other_labels,
                },
            ) => &[
                ("from_account_id", parties.from == other_parties.from),
                ("to_account_id", parties.to == other_parties.to),
                ("amount", amount == other_amount),
                ("description", description == other_description),
                ("labels", labels == other_labels),
            ],
            (
                Self::PlaceHold { parties, amount, ttl, description, labels },
                Self::PlaceHold {
                    parties: other_parties,
                    amount: other_amount,
                    ttl: other_ttl,
                    description: other_description,
                    labels: other_labels,
                },
            ) => &[
                ("account_id", parties.account == other_parties.account),
                ("to_account_id", parties.to == other_parties.to),
                ("amount", amount == other_amount),
                ("ttl", ttl == other_ttl),
                ("description", description == other_description),
                ("labels", labels == other_labels),
            ],
            (
                Self::CaptureHold { hold_id, amount },
                Self::CaptureHold { hold_id: other_hold_id, amount: other_amount },
            ) => &[("hold_id", hold_id == other_hold_id), ("amount", amount == other_amount)],
            (Self::ReleaseHold { hold_id }, Self::ReleaseHold { hold_id: other_hold_id }) => {
                &[("hold_id", hold_id == other_hold_id)]
            }
            (
                Self::ReverseTransaction { transaction_id, amount, description },
                Self::ReverseTransaction {
                    transaction_id: other_transaction_id,
                    amount: other_amount,
                    description: other_description,
                },
            ) => &[
                ("transaction_id", transaction_id == other_transaction_id),
                ("amount", amount == other_amount),
                ("description", description == other_description),
            ],
            _ => &[("method", false)],
        };
        fields.iter().find(|(_, same)| !same).map(|(field, _)| *field)
    }
}

fn same_choice(one: &NewAccountId, other: &NewAccountId) -> bool {
    match (one, other) {
        (NewAccountId::ByClient(one), NewAccountId::ByClient(other)) => one == other,
        (NewAccountId::ByServer(_), NewAccountId::ByServer(_)) => true,
        (NewAccountId::ByClient(_), NewAccountId::ByServer(_))
        | (NewAccountId::ByServer(_), NewAccountId::ByClient(_)) => false,
    }
}
