//! How fast a caller may ask.
//!
//! Each has a bucket of its own (the generic cell rate algorithm, by `governor`): it holds a burst, and fills
//! up at the rate. **Invariants:** the number of buckets is bounded, whoever comes; the one that was used
//! the longest ago goes first, which has filled up again unless very many callers come at once. What is
//! refused takes nothing.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use hashlink::LruCache;

use crate::ledger::CallerName;

/// How many buckets there are, at the most: some 200 bytes each.
const BUCKETS: usize = 16_384;

/// A rate, and how much of it may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(Quota);

impl Rate {
    /// So many operations a second, and so many at once.
    #[must_use]
    pub fn per_second(operations: NonZeroU32, burst: NonZeroU32) -> Self {
        Self(Quota::per_second(operations).allow_burst(burst))
    }

    /// An operation in each interval, and so many at once; none for an interval of 0.
    #[must_use]
    pub fn every(interval: Duration, burst: NonZeroU32) -> Option<Self> {
        Quota::with_period(interval).map(|quota| Self(quota.allow_burst(burst)))
    }
}

/// Who spends: a caller, or where nobody has to say who it is, an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Spender {
    /// A caller, wherever it calls from.
    Caller(CallerName),
    /// Whoever calls from an address.
    Address(IpAddr),
    /// Whoever's address is not known: all of them together.
    Nobody,
}

impl Spender {
    /// Whoever calls from an address. Of IPv6 the first 64 bits count, since whoever has one address has all
    /// of its network.
    #[must_use]
    pub fn at(address: Option<IpAddr>) -> Self {
        const NETWORK: u128 = !(u64::MAX as u128);
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V6(address)) => {
                Self::Address(IpAddr::V6((address.to_bits() & NETWORK).into()))
            }
            Some(address) => Self::Address(address),
            None => Self::Nobody,
        }
    }
}

/// Why something can't be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scarce {
    /// It can when this has passed, if nothing else is spent meanwhile.
    For(Duration),
    /// It never can: it is more than a bucket holds.
    Always,
}

type Bucket<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The buckets of all callers.
pub struct Rates<C: Clock = DefaultClock> {
    rate: Rate,
    clock: C,
    buckets: Mutex<LruCache<Spender, Arc<Bucket<C>>>>,
}

impl Rates {
    /// Full buckets for everybody.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self::with_clock(rate, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Rates<C> {
    /// Full buckets for everybody, by a clock of one's own.
    #[must_use]
    pub fn with_clock(rate: Rate, clock: C) -> Self {
        Self { rate, clock, buckets: Mutex::new(LruCache::new(BUCKETS)) }
    }

    /// How many operations may come at once.
    #[must_use]
    pub fn burst(&self) -> NonZeroU32 {
        self.rate.0.burst_size()
    }

    /// Takes so many operations out of a caller's bucket, or nothing.
    ///
    /// # Errors
    ///
    /// [`Scarce`] when there aren't so many in it.
    pub fn spend(&self, spender: &Spender, operations: usize) -> Result<(), Scarce> {
        let Ok(operations) = u32::try_from(operations) else { return Err(Scarce::Always) };
        let Some(operations) = NonZeroU32::new(operations) else { return Ok(()) };
        match self.bucket(spender).check_n(operations) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(Scarce::For(until.wait_time_from(self.clock.now()))),
            Err(_) => Err(Scarce::Always),
        }
    }

    fn bucket(&self, spender: &Spender) -> Arc<Bucket<C>> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get(spender) {
            return bucket.clone();
        }
        let bucket = Arc::new(RateLimiter::direct_with_clock(self.rate.0, self.clock.clone()));
        buckets.insert(spender.clone(), bucket.clone());
        bucket
    }
}

impl<C: Clock> std::fmt::Debug for Rates<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rates").field("rate", &self.rate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn some(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).expect("it is above 0")
    }

    fn named(name: &str) -> Spender {
        Spender::Caller(CallerName::parse(name).expect("a name"))
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let clock = FakeRelativeClock::default();
        let rates = Rates::with_clock(Rate::per_second(some(10), some(3)), clock.clone());
        let (one, other) = (named("one"), named("other"));
        for _ in 0..3 {
            assert_eq!(rates.spend(&one, 1), Ok(()));
        }
        let tenth = Duration::from_millis(100);
        assert_eq!(rates.spend(&one, 1), Err(Scarce::For(tenth)));
        assert_eq!(rates.spend(&other, 3), Ok(()), "each has its own");

        // What was refused has taken nothing: the delay that was told is the real one.
        clock.advance(Duration::from_nanos(99_999_999));
        assert_eq!(rates.spend(&one, 1), Err(Scarce::For(Duration::from_nanos(1))));
        clock.advance(Duration::from_nanos(1));
        assert_eq!(rates.spend(&one, 1), Ok(()));
        assert_eq!(rates.spend(&one, 1), Err(Scarce::For(tenth)));
    }

    #[test]
    fn operations_count_each() {
        let clock = FakeRelativeClock::default();
        let rates = Rates::with_clock(Rate::per_second(some(10), some(5)), clock.clone());
        let one = named("one");
        assert_eq!(rates.spend(&one, 0), Ok(()));
        assert_eq!(rates.spend(&one, 4), Ok(()));
        assert_eq!(rates.spend(&one, 2), Err(Scarce::For(Duration::from_millis(100))));
        assert_eq!(rates.spend(&one, 1), Ok(()));
        assert_eq!(rates.spend(&one, 6), Err(Scarce::Always));
        assert_eq!(rates.spend(&one, usize::MAX), Err(Scarce::Always));
        clock.advance(Duration::from_secs(100));
        assert_eq!(rates.spend(&one, 5), Ok(()), "no more than a burst is saved up");
        assert_eq!(rates.spend(&one, 1), Err(Scarce::For(Duration::from_millis(100))));
    }

    #[test]
    fn the_buckets_are_bounded() {
        let clock = FakeRelativeClock::default();
        let rates = Rates::with_clock(Rate::per_second(some(1), some(1)), clock);
        let kept = named("kept");
        assert_eq!(rates.spend(&kept, 1), Ok(()));
        for number in 0..3 * u32::try_from(BUCKETS).expect("it is small") {
            let spender = Spender::at(Some(Ipv4Addr::from_bits(number).into()));
            assert_eq!(rates.spend(&spender, 1), Ok(()));
            if number % 1000 == 0 {
                assert!(rates.spend(&kept, 1).is_err(), "one that is in use stays");
            }
        }
        assert_eq!(rates.buckets.lock().expect("nobody panicked").len(), BUCKETS);
    }

    #[test]
    fn a_network_of_ipv6_is_one_spender() {
        let at = |text: &str| Spender::at(Some(text.parse::<Ipv6Addr>().expect("one").into()));
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.1"), Spender::at(Some(Ipv4Addr::new(10, 0, 0, 1).into())));
        assert_eq!(Spender::at(None), Spender::Nobody);
    }
}
