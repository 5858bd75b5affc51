//! Holds: money that is set aside for a payment that may come.
//!
//! A hold is HELD until it is captured, released or expired, once and for good. **Invariant:** whether it
//! has expired is decided by the time at which it is looked at ([`Hold::state_at`],
//! [`HoldSchedule::held_at`]), never by a timer, so nothing can race a capture, and the money is back in
//! `available` from that instant on although nobody did anything.

use std::collections::VecDeque;

use super::{AccountId, Amount, Description, Labels, Money, Movement, RequestId, Sequence, Time};

/// Where a hold stands, as far as somebody has done something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// The money is set aside, unless it has expired by now.
    Held,
    /// Some or all of it was moved; the rest was let go.
    Captured {
        /// How much was moved.
        captured: Amount,
        /// The record of the transaction.
        transaction: Sequence,
    },
    /// All of it was let go.
    Released,
    /// Nobody did anything in time, so all of it was let go.
    Expired,
}

/// Money that is set aside on an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The record that placed it.
    pub placed: Sequence,
    /// The account whose money it is.
    pub account_id: AccountId,
    /// Who is paid when it is captured; without one, the outside world.
    pub to_account_id: Option<AccountId>,
    /// How much.
    pub amount: Money,
    /// What was done about it; see [`Hold::state_at`].
    pub state: HoldState,
    /// When it was placed.
    pub create_time: Time,
    /// From when on it has expired, unless something was done before.
    pub expire_time: Time,
    /// When something was done about it last.
    pub update_time: Time,
    /// The request that placed it.
    pub request_id: Option<RequestId>,
    /// What it is for.
    pub description: Description,
    /// The client's labels.
    pub labels: Labels,
}

impl Hold {
    /// Where it stands at a time.
    #[must_use]
    pub fn state_at(&self, now: Time) -> HoldState {
        match self.state {
            HoldState::Held if self.expire_time <= now => HoldState::Expired,
            state => state,
        }
    }

    /// The hold as it is seen at a time: with that state, and updated when it expired if it has.
    #[must_use]
    pub fn seen_at(&self, now: Time) -> Self {
        match self.state_at(now) {
            HoldState::Expired => {
                Self { state: HoldState::Expired, update_time: self.expire_time, ..self.clone() }
            }
            HoldState::Held | HoldState::Captured { .. } | HoldState::Released => self.clone(),
        }
    }

    /// The movement that capturing so much of it makes.
    #[must_use]
    pub fn movement(&self, amount: Amount) -> Movement {
        let money = Money { currency: self.amount.currency.clone(), amount };
        match &self.to_account_id {
            None => Movement::withdrawal(&self.account_id, &money),
            Some(to) => Movement::transfer(&self.account_id, to, &money),
        }
    }
}

/// How many holds stand together. Large enough that few chunks are walked, small enough that moving up
/// what stands behind an insertion takes no time.
const CHUNK: usize = 256;

/// What is held on one account, by the time at which it expires.
///
/// Any number may expire at the same moment, and what is still held must be told at once: chunks in
/// order, each with its sum, so that a hundred thousand are added up in some hundred steps. Chunks that
/// have expired as a whole are dropped as the schedule changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HoldSchedule {
    chunks: VecDeque<Chunk>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chunk {
    /// In order of time and, within it, of sequence.
    holds: Vec<(Time, Sequence, Amount)>,
    /// Wider than a balance, since what has expired is still in it.
    sum: i128,
}

impl Chunk {
    fn last_key(&self) -> Option<(Time, Sequence)> {
        self.holds.last().map(|(time, sequence, _)| (*time, *sequence))
    }

    fn of(holds: Vec<(Time, Sequence, Amount)>) -> Self {
        let sum = holds.iter().map(|(_, _, amount)| i128::from(amount.minor_units())).sum();
        Self { holds, sum }
    }
}

impl HoldSchedule {
    /// What is held at a time: everything that expires later.
    pub(super) fn held_at(&self, now: Time) -> i64 {
        let mut held: i128 = 0;
        for chunk in self.chunks.iter().rev() {
            let is_held = chunk.holds.first().is_some_and(|(time, _, _)| *time > now);
            if is_held {
                held = held.saturating_add(chunk.sum);
                continue;
            }
            let part = chunk.holds.iter().rev().take_while(|(time, _, _)| *time > now);
            let part: i128 = part.map(|(_, _, amount)| i128::from(amount.minor_units())).sum();
            held = held.saturating_add(part);
            break;
        }
        // What is held was available when it was set aside, so it fits.
        i64::try_from(held).unwrap_or(i64::MAX)
    }

    /// Puts a hold in.
    pub(super) fn insert(&mut self, time: Time, sequence: Sequence, amount: Amount, now: Time) {
        self.drop_expired(now);
        let key = (time, sequence);
        let index = self.chunks.partition_point(|chunk| chunk.last_key() < Some(key));
        // Behind the last chunk means at its end.
        let index = index.min(self.chunks.len().saturating_sub(1));
        if self.chunks.is_empty() {
            self.chunks.push_back(Chunk::default());
        }
        let Some(chunk) = self.chunks.get_mut(index) else { return };
        let place = chunk.holds.partition_point(|(time, sequence, _)| (*time, *sequence) < key);
        chunk.holds.insert(place, (time, sequence, amount));
        chunk.sum = chunk.sum.saturating_add(i128::from(amount.minor_units()));
        if chunk.holds.len() > CHUNK {
            let upper = chunk.holds.split_off(CHUNK.div_euclid(2));
            *chunk = Chunk::of(std::mem::take(&mut chunk.holds));
            self.chunks.insert(index.saturating_add(1), Chunk::of(upper));
        }
    }

    /// Takes a hold out; nothing when it is not in there.
    pub(super) fn remove(&mut self, time: Time, sequence: Sequence) {
        let key = (time, sequence);
        let index = self.chunks.partition_point(|chunk| chunk.last_key() < Some(key));
        let Some(chunk) = self.chunks.get_mut(index) else { return };
        let found =
            chunk.holds.binary_search_by_key(&key, |(time, sequence, _)| (*time, *sequence));
        if let Ok(place) = found {
            let (_, _, amount) = chunk.holds.remove(place);
            chunk.sum = chunk.sum.saturating_sub(i128::from(amount.minor_units()));
            if chunk.holds.is_empty() {
                self.chunks.remove(index);
            }
        }
    }

    /// Drops whole chunks that have expired: two at the most, so that the work stays small and yet
    /// more goes than comes.
    fn drop_expired(&mut self, now: Time) {
        for _ in 0..2 {
            let is_expired =
                self.chunks.front().and_then(Chunk::last_key).is_some_and(|(time, _)| time <= now);
            if !is_expired {
                return;
            }
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Time {
        Time::from_micros(micros)
    }

    fn amount(minor_units: i64) -> Amount {
        Amount::new(minor_units).expect("above 0")
    }

    /// Against a plain list, through insertions in a scattered order, expiry and removal.
    #[test]
    fn the_schedule_agrees_with_a_plain_list() {
        let mut schedule = HoldSchedule::default();
        let mut list: Vec<(Time, Sequence, Amount)> = Vec::new();
        for number in 0..5_000_u64 {
            // 7919 is prime, so the times jump about and now and then are the same.
            let time = at(i64::try_from(number * 7919 % 1000).expect("it is small"));
            let value = amount(i64::try_from(number % 13 + 1).expect("it is small"));
            schedule.insert(time, Sequence::new(number), value, at(-1));
            list.push((time, Sequence::new(number), value));
        }
        let expected = |list: &[(Time, Sequence, Amount)], now: Time| -> i64 {
            let held = list.iter().filter(|(time, _, _)| *time > now);
            held.map(|(_, _, amount)| amount.minor_units()).sum()
        };
        for now in [-1, 0, 1, 250, 499, 500, 998, 999, 1000] {
            assert_eq!(schedule.held_at(at(now)), expected(&list, at(now)), "at {now}");
        }
        for number in (0..5_000).filter(|number| number % 3 != 0) {
            let index = list.iter().position(|(_, it, _)| *it == Sequence::new(number));
            let (time, sequence, _) = list.remove(index.expect("it is there"));
            schedule.remove(time, sequence);
            schedule.remove(time, sequence);
        }
        for now in [-1, 0, 250, 500, 999] {
            assert_eq!(schedule.held_at(at(now)), expected(&list, at(now)), "at {now}");
        }
    }

    #[test]
    fn what_has_expired_is_dropped_as_holds_come() {
        let mut schedule = HoldSchedule::default();
        for number in 0..100_000 {
            schedule.insert(at(5), Sequence::new(number), amount(1), at(0));
        }
        assert_eq!((schedule.held_at(at(4)), schedule.held_at(at(5))), (100_000, 0));
        let before = schedule.chunks.len();
        for number in 100_000..101_000 {
            schedule.insert(at(50), Sequence::new(number), amount(1), at(5));
        }
        assert!(before > 300 && schedule.chunks.len() < 20, "{before}");
        assert_eq!(schedule.held_at(at(5)), 1_000);
    }

    #[test]
    fn sums_beyond_64_bits_are_no_trouble_once_expired() {
        let mut schedule = HoldSchedule::default();
        for number in 0..5_u64 {
            let time = at(i64::try_from(number).expect("it is small"));
            schedule.insert(time, Sequence::new(number), amount(i64::MAX), at(-1));
        }
        assert_eq!(schedule.held_at(at(3)), i64::MAX);
        assert_eq!(schedule.held_at(at(4)), 0);
    }
}
