//! Books of which only a part is here: what a decision needs, put in by a store that keeps the rest
//! elsewhere. Their totals begin at 0, so that they say what was added.

use super::{Account, AccountId, Books, Hold, HoldState, Sequence, Time};
use crate::ledger::Amount;

impl Books {
    /// Puts in an account as it stands. What is held on it comes with its holds.
    pub fn put_account(&mut self, account: Account) {
        self.insert(account);
    }

    /// Puts in that so much is held on an account until a time, by holds that are not put in themselves.
    pub fn put_held(&mut self, account: &AccountId, until: Time, amount: Amount) {
        if let Some(entry) = self.entry_mut(account) {
            let schedule = &mut entry.holds.get_or_insert_default().schedule;
            schedule.insert(until, Sequence::default(), amount, Time::from_micros(i64::MIN));
        }
    }

    /// Puts in a hold, after its account.
    pub fn put_hold(&mut self, hold: Hold) {
        if hold.state == HoldState::Held {
            self.hold_back(&hold, Time::from_micros(i64::MIN));
        }
        self.holds.insert(hold.placed, hold);
    }

    /// Puts in how much of a transaction was moved back, in minor units.
    pub fn put_reversed(&mut self, original: Sequence, amount: i64) {
        self.reversals.entry(original).or_default().amount = amount;
    }
}
