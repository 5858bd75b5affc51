//! Movements of money: what moves ([`Movement`]), and what it left on both sides ([`Posting`]).
//!
//! Each side of a posting is kept on its own, so that adding up all sides is a real check.

use super::{AccountId, Amount, Balance, Currency, Money};

/// What kind of movement a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionType {
    /// From the outside world onto an account.
    Deposit,
    /// From an account to the outside world.
    Withdrawal,
    /// From one account to another.
    Transfer,
    /// The money of an earlier transaction, moved back.
    Reversal,
}

/// An amount on its way from one account to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// Of what kind.
    pub kind: TransactionType,
    /// How much, in minor units.
    pub amount: Amount,
    /// Of what.
    pub currency: Currency,
    /// The account that pays.
    pub from: AccountId,
    /// The account that receives.
    pub to: AccountId,
}

impl Movement {
    /// From the outside world onto an account.
    #[must_use]
    pub fn deposit(to: &AccountId, money: &Money) -> Self {
        Self {
            kind: TransactionType::Deposit,
            amount: money.amount,
            currency: money.currency.clone(),
            from: AccountId::external(&money.currency),
            to: to.clone(),
        }
    }

    /// From one account to another.
    #[must_use]
    pub fn transfer(from: &AccountId, to: &AccountId, money: &Money) -> Self {
        Self {
            kind: TransactionType::Transfer,
            amount: money.amount,
            currency: money.currency.clone(),
            from: from.clone(),
            to: to.clone(),
        }
    }

    /// So much of this movement's money, back to where it came from.
    #[must_use]
    pub fn reversed(&self, amount: Amount) -> Self {
        Self {
            kind: TransactionType::Reversal,
            amount,
            currency: self.currency.clone(),
            from: self.to.clone(),
            to: self.from.clone(),
        }
    }

    /// From an account to the outside world.
    #[must_use]
    pub fn withdrawal(from: &AccountId, money: &Money) -> Self {
        Self {
            kind: TransactionType::Withdrawal,
            amount: money.amount,
            currency: money.currency.clone(),
            from: from.clone(),
            to: AccountId::external(&money.currency),
        }
    }
}

/// A movement that took place, with the balance that it left on each side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// What moved.
    pub movement: Movement,
    /// What the account that paid holds after it.
    pub from_balance: Balance,
    /// What the account that received holds after it.
    pub to_balance: Balance,
}

impl Posting {
    /// The balance of an account right after the posting; `None` when it is on neither side.
    #[must_use]
    pub fn balance_of(&self, account: &AccountId) -> Option<Balance> {
        if *account == self.movement.from {
            Some(self.from_balance)
        } else if *account == self.movement.to {
            Some(self.to_balance)
        } else {
            None
        }
    }
}
