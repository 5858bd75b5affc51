//! An account and what it holds.
//!
//! [`Balance`] keeps posted, held and available within ±(2^63 - 1), so that each of them can be
//! shown and none of them ever wraps. What an account may spend is decided in `decide.rs`.

use super::{AccountId, Amount, Currency, DisplayName, Labels, OverdraftLimit, Time};

/// What may be done with an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccountState {
    /// Money moves in and out.
    Active,
    /// No money moves in or out.
    Frozen,
    /// Closed, for good.
    Closed,
}

/// What an account holds, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// The sum of all entries.
    pub posted: i64,
    /// Set aside by holds, 0 or above.
    pub held: i64,
    /// How far below zero the account may be drawn.
    pub overdraft_limit: OverdraftLimit,
    /// How many entries there are.
    pub version: u64,
}

impl Balance {
    /// What can be spent: posted - held + overdraft limit. Below 0 after the limit was lowered under
    /// what is in use.
    #[must_use]
    pub fn available(&self) -> i64 {
        // In range by construction: every change goes through `checked`.
        self.posted.saturating_sub(self.held).saturating_add(self.overdraft_limit.minor_units())
    }

    /// With one more entry that adds the amount; `None` when a figure would leave the range.
    #[must_use]
    pub fn credit(self, amount: Amount) -> Option<Self> {
        let posted = self.posted.checked_add(amount.minor_units())?;
        Self { posted, version: self.version.checked_add(1)?, ..self }.checked()
    }

    /// With one more entry that takes the amount away; `None` when a figure would leave the range.
    #[must_use]
    pub fn debit(self, amount: Amount) -> Option<Self> {
        let posted = self.posted.checked_sub(amount.minor_units())?;
        Self { posted, version: self.version.checked_add(1)?, ..self }.checked()
    }

    /// With so much more set aside; `None` when a figure would leave the range.
    #[must_use]
    pub fn hold(self, amount: Amount) -> Option<Self> {
        let held = self.held.checked_add(amount.minor_units())?;
        Self { held, ..self }.checked()
    }

    /// With so much less set aside.
    #[must_use]
    pub fn release(self, amount: Amount) -> Self {
        Self { held: self.held.saturating_sub(amount.minor_units()), ..self }
    }

    /// With another overdraft limit; `None` when a figure would leave the range.
    #[must_use]
    pub fn with_overdraft_limit(self, overdraft_limit: OverdraftLimit) -> Option<Self> {
        Self { overdraft_limit, ..self }.checked()
    }

    /// Itself, when every figure is within ±(2^63 - 1). The range is symmetric so that the sum of
    /// all accounts, which is the outside world's balance with its sign turned, fits too.
    fn checked(self) -> Option<Self> {
        let free = self.posted.checked_sub(self.held)?;
        // Whatever is held now may be let go later, when nobody can be refused any more.
        let available = self.posted.checked_add(self.overdraft_limit.minor_units())?;
        [self.posted, free, available].iter().all(|figure| *figure != i64::MIN).then_some(self)
    }
}

/// An account: it holds one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub id: AccountId,
    /// The one currency that it holds.
    pub currency: Currency,
    /// Its name for people.
    pub display_name: DisplayName,
    /// What may be done with it.
    pub state: AccountState,
    /// What it holds; what is set aside as of its last record, since holds expire by themselves.
    pub balance: Balance,
    /// The client's labels.
    pub labels: Labels,
    /// When it was opened.
    pub create_time: Time,
    /// When the account itself was changed last; postings do not count.
    pub update_time: Time,
    /// How often the account itself was changed; postings do not count.
    pub revision: u64,
}

impl Account {
    /// The outside world of a currency, before any entry.
    pub(super) fn external(currency: &Currency, now: Time) -> Self {
        Self {
            id: AccountId::external(currency),
            currency: currency.clone(),
            display_name: DisplayName::default(),
            state: AccountState::Active,
            balance: Balance::default(),
            labels: Labels::default(),
            create_time: now,
            update_time: now,
            revision: 0,
        }
    }

    /// The tag of the account's present form, for clients that change it only if nobody else has.
    #[must_use]
    pub fn etag(&self) -> String {
        self.revision.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(minor_units: i64) -> Amount {
        Amount::new(minor_units).expect("above 0")
    }

    fn limit(minor_units: i64) -> OverdraftLimit {
        OverdraftLimit::new(minor_units).expect("not below 0")
    }

    #[test]
    fn available_is_posted_less_held_plus_limit() {
        let balance = Balance { posted: 100, held: 30, overdraft_limit: limit(50), version: 2 };
        assert_eq!(balance.available(), 120);
    }

    #[test]
    fn an_entry_changes_posted_and_version() {
        let balance = Balance { posted: 5, held: 3, overdraft_limit: limit(7), version: 1 };
        assert_eq!(balance.credit(amount(10)), Some(Balance { posted: 15, version: 2, ..balance }));
        assert_eq!(balance.debit(amount(10)), Some(Balance { posted: -5, version: 2, ..balance }));
    }

    #[test]
    fn no_figure_leaves_the_range() {
        let full = Balance { posted: i64::MAX, ..Balance::default() };
        assert_eq!(full.credit(amount(1)), None);
        assert_eq!(full.with_overdraft_limit(limit(1)), None);

        let limited = Balance::default().with_overdraft_limit(limit(i64::MAX)).expect("in range");
        assert_eq!(limited.credit(amount(1)), None, "available would leave the range");
        assert_eq!(
            limited.debit(amount(1)).and_then(|b| b.credit(amount(1))).map(|b| b.posted),
            Some(0)
        );

        let empty = Balance { posted: -i64::MAX, ..Balance::default() };
        assert_eq!(empty.debit(amount(1)), None, "-2^63 has no counterpart");
    }
}
