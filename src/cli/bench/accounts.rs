//! Which accounts a load moves money between, and their names.
//!
//! **Invariant:** two accounts that are taken for a transfer are never the same. All names have the same
//! length, so that one can be written over another.

use rand::RngExt;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Zipf};

use crate::config::AccountsDistribution;

/// The asset that the accounts hold: one that nobody else has, so that the load's books stand on their own.
pub(super) const CURRENCY: &str = "BENCH/0";
/// What each account begins with: enough that no load ever empties one, and 10 million of them stay within
/// 64 bits.
pub(super) const INITIAL_BALANCE: i64 = 100_000_000_000;
/// How long a name is.
pub(super) const NAME_LENGTH: usize = PREFIX.len() + DIGITS;

const PREFIX: &str = "bench-";
const DIGITS: usize = 7;

/// Takes accounts, by their numbers from 0.
#[derive(Clone, Debug)]
pub(super) enum Picker {
    /// Each as often as any other, of so many.
    Uniform(u32),
    /// The first most often.
    Zipf(Zipf<f64>),
    /// The first two.
    HotPair,
}

impl Picker {
    /// Takes from so many accounts: 2 or more.
    pub(super) fn new(distribution: AccountsDistribution, count: u32) -> Self {
        match distribution {
            AccountsDistribution::Uniform => Self::Uniform(count),
            AccountsDistribution::Zipf => Self::Zipf(
                Zipf::new(f64::from(count), 1.0).expect("there are accounts, and 1 is an exponent"),
            ),
            AccountsDistribution::HotPair => Self::HotPair,
        }
    }

    /// One account.
    pub(super) fn one(&self, random: &mut SmallRng) -> u32 {
        match self {
            Self::Uniform(count) => random.random_range(0..*count),
            Self::Zipf(zipf) => {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it is a whole number from 1 to the count"
                )]
                let rank = zipf.sample(random) as u32;
                rank.saturating_sub(1)
            }
            Self::HotPair => u32::from(random.random::<bool>()),
        }
    }

    /// Two accounts that differ: who pays, and who receives.
    pub(super) fn two(&self, random: &mut SmallRng) -> (u32, u32) {
        let from = self.one(random);
        loop {
            let to = self.one(random);
            if to != from {
                return (from, to);
            }
        }
    }
}

/// The name of an account.
pub(super) fn name(number: u32) -> String {
    format!("{PREFIX}{number:0DIGITS$}")
}

/// Writes the number of an account over that in another's name.
pub(super) fn write_name(mut number: u32, name: &mut [u8]) {
    for digit in name[PREFIX.len()..NAME_LENGTH].iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const COUNT: u32 = 1000;
    const DRAWS: u32 = 200_000;

    /// How often each account is taken.
    fn counts(picker: &Picker) -> Vec<u32> {
        let mut random = SmallRng::seed_from_u64(0xbe9c);
        let mut counts = vec![0; COUNT as usize];
        for _ in 0..DRAWS {
            counts[picker.one(&mut random) as usize] += 1;
        }
        counts
    }

    #[track_caller]
    fn assert_near(count: u32, expected: f64) {
        let count = f64::from(count);
        // Five standard deviations of a count of rare events.
        assert!((count - expected).abs() < 5.0 * expected.sqrt(), "{count} is not near {expected}");
    }

    #[test]
    fn uniform_takes_each_as_often() {
        let counts = counts(&Picker::new(AccountsDistribution::Uniform, COUNT));
        for count in counts {
            assert_near(count, f64::from(DRAWS / COUNT));
        }
    }

    #[test]
    fn zipf_takes_the_nth_an_nth_as_often_as_the_first() {
        let counts = counts(&Picker::new(AccountsDistribution::Zipf, COUNT));
        let harmonic: f64 = (1..=COUNT).map(|rank| 1.0 / f64::from(rank)).sum();
        for rank in [1u32, 2, 3, 10, 100, 1000] {
            let expected = f64::from(DRAWS) / harmonic / f64::from(rank);
            assert_near(counts[rank as usize - 1], expected);
        }
    }

    #[test]
    fn a_hot_pair_is_two_accounts_in_both_directions() {
        let mut random = SmallRng::seed_from_u64(1);
        let picker = Picker::new(AccountsDistribution::HotPair, COUNT);
        let pairs: std::collections::BTreeSet<_> =
            (0..100).map(|_| picker.two(&mut random)).collect();
        assert_eq!(pairs.into_iter().collect::<Vec<_>>(), [(0, 1), (1, 0)]);
    }

    #[test]
    fn nobody_pays_itself() {
        let mut random = SmallRng::seed_from_u64(2);
        for distribution in [AccountsDistribution::Uniform, AccountsDistribution::Zipf] {
            let picker = Picker::new(distribution, 2);
            for _ in 0..1000 {
                let (from, to) = picker.two(&mut random);
                assert!(from != to && from < 2 && to < 2, "{distribution:?}: {from} to {to}");
            }
        }
    }

    #[test]
    fn names_have_one_length() {
        for (number, expected) in
            [(0, "bench-0000000"), (42, "bench-0000042"), (9_999_999, "bench-9999999")]
        {
            assert_eq!(name(number), expected);
            assert_eq!(expected.len(), NAME_LENGTH);
        }
    }
}
