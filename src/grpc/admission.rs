//! How much is taken on at once, over all connections: what is beyond that is turned away before any work.
//!
//! Calls that end by themselves share one room; those that go on, for days maybe, have rooms of their own, so
//! that no number of them keeps a payment out. **Invariant:** a place is held from before the request is
//! read until the answer's last byte was handed over, or the call is dropped; so is the memory that large
//! messages take. A health check needs no place: a bank with all it can do is serving.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::by_size::SMALL;
use super::observe::method_of;
use super::status::Error;

/// How many watches of the health and calls of reflection may be open: programs and people that look on.
const LOOKING_ON: usize = 1000;

/// What the server takes on at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// How many calls that end by themselves may be in flight.
    pub calls: usize,
    /// How many bytes their requests and answers may have together, but for the first 64 KiB of each: so no
    /// call that is small is turned away because of others that are large.
    pub bytes: usize,
    /// How long a request may take to arrive, from its headers to its last byte.
    pub arrival: Duration,
    /// How many readers the live feed may have.
    pub watchers: usize,
    /// How many pipes of operations may be open.
    pub pipes: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            calls: 10_000,
            bytes: 256 << 20,
            arrival: Duration::from_secs(30),
            watchers: 1000,
            pipes: 100,
        }
    }
}

/// What a call is, which says where it has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ends by itself.
    Call,
    /// Ends by itself, and may have been done when its large answer is there.
    Batch,
    /// A reader of the live feed.
    Watcher,
    /// A pipe of operations.
    Pipe,
    /// Looks at the server and not at the books: health's feed, reflection.
    LookingOn,
    /// Always let in.
    HealthCheck,
}

impl Kind {
    fn of(path: &str) -> Self {
        match method_of(path) {
            Some("ExecuteBatch") => Self::Batch,
            Some("WatchTransactions") => Self::Watcher,
            Some("ExecuteStream") => Self::Pipe,
            Some(_) => Self::Call,
            None if path == "/grpc.health.v1.Health/Check" => Self::HealthCheck,
            None => Self::LookingOn,
        }
    }
}

/// The places that there are. Its clones share them.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Rooms>);

#[derive(Debug)]
struct Rooms {
    calls: Semaphore,
    watchers: Semaphore,
    pipes: Semaphore,
    looking_on: Semaphore,
    max_bytes: usize,
    /// How many bytes are counted for all places. Answers that must be told may bring it above the limit.
    bytes: AtomicUsize,
    arrival: Duration,
}

impl Rooms {
    /// Where there are places of a kind, and what they are called; none for what needs no place.
    fn places(&self, kind: Kind) -> Option<(&Semaphore, &'static str)> {
        match kind {
            Kind::Call | Kind::Batch => Some((&self.calls, "in_flight")),
            Kind::Watcher => Some((&self.watchers, "watchers")),
            Kind::Pipe => Some((&self.pipes, "execute_streams")),
            Kind::LookingOn => Some((&self.looking_on, "looking_on")),
            Kind::HealthCheck => None,
        }
    }
}

impl Admission {
    /// With all places free.
    #[must_use]
    pub fn new(capacity: &Capacity) -> Self {
        let places = |count: usize| Semaphore::new(count.min(Semaphore::MAX_PERMITS));
        Self(Arc::new(Rooms {
            calls: places(capacity.calls),
            watchers: places(capacity.watchers),
            pipes: places(capacity.pipes),
            looking_on: places(LOOKING_ON),
            max_bytes: capacity.bytes,
            bytes: AtomicUsize::new(0),
            arrival: capacity.arrival,
        }))
    }

    /// Gives a call of this path its place.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] when none is free.
    pub(super) fn admit(&self, path: &str) -> Result<Arc<Place>, Error> {
        let rooms = &self.0;
        let kind = Kind::of(path);
        // What a batch answers has to be told once it is done, however large it is.
        if kind == Kind::Batch && rooms.bytes.load(Ordering::Relaxed) >= rooms.max_bytes {
            return Err(OUT_OF_BYTES);
        }
        if let Some((places, name)) = rooms.places(kind) {
            // It is given back by the place, which outlives this borrow.
            places.try_acquire().map_err(|_| Error::Overloaded(name))?.forget();
        }
        Ok(Arc::new(Place { rooms: rooms.clone(), kind, bytes: AtomicUsize::new(0) }))
    }
}

const OUT_OF_BYTES: Error = Error::Overloaded("in_flight_bytes");

/// The place of a call, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    rooms: Arc<Rooms>,
    kind: Kind,
    /// How many bytes are counted for it.
    bytes: AtomicUsize,
}

impl Place {
    /// How long the request may take to arrive; none for what may go on as long as it likes.
    pub(super) fn arrival(&self) -> Option<Duration> {
        match self.kind {
            Kind::Call | Kind::Batch | Kind::Watcher | Kind::HealthCheck => {
                Some(self.rooms.arrival)
            }
            Kind::Pipe | Kind::LookingOn => None,
        }
    }

    /// Whether it is that of a call with one answer, which is there as a whole.
    pub(super) fn is_of_one_answer(&self) -> bool {
        matches!(self.kind, Kind::Call | Kind::Batch)
    }

    /// Counts a part of the request that has arrived after so many bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] when there is too much already; it is not counted then.
    pub(super) fn count_request(&self, before: usize, part: usize) -> Result<(), Error> {
        match self.kind {
            Kind::Call | Kind::Batch | Kind::Watcher | Kind::HealthCheck => {
                let counted = |size: usize| size.saturating_sub(SMALL);
                self.count(counted(before + part) - counted(before), false)
            }
            // What a pipe keeps is bounded by itself.
            Kind::Pipe | Kind::LookingOn => Ok(()),
        }
    }

    /// Counts a packed request that may unfold to so many bytes, or to all that there may be.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] when there is too much already; it is not counted then.
    pub(super) fn count_packed(&self, size: usize) -> Result<(), Error> {
        self.count(size.min(self.rooms.max_bytes), false)
    }

    /// Counts an answer that is about to be sent.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] when there is too much already and the caller may as well ask again.
    pub(super) fn count_answer(&self, size: usize) -> Result<(), Error> {
        match self.kind {
            Kind::Call => self.count(size.saturating_sub(SMALL), false),
            Kind::Batch => self.count(size.saturating_sub(SMALL), true),
            // Sent in parts, as they are wanted.
            Kind::Watcher | Kind::Pipe | Kind::LookingOn | Kind::HealthCheck => Ok(()),
        }
    }

    fn count(&self, bytes: usize, is_forced: bool) -> Result<(), Error> {
        if bytes == 0 {
            return Ok(());
        }
        let before = self.rooms.bytes.fetch_add(bytes, Ordering::Relaxed);
        if !is_forced && before.saturating_add(bytes) > self.rooms.max_bytes {
            self.rooms.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(OUT_OF_BYTES);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.rooms.bytes.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
        if let Some((places, _)) = self.rooms.places(self.kind) {
            places.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::grpc::proto::FILE_DESCRIPTOR_SET;

    #[test]
    fn what_goes_on_has_a_room_of_its_own() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("it is whole");
        let service = pool.get_service_by_name("bank.v1.BankService").expect("it is there");
        for method in service.methods() {
            let kind = Kind::of(&format!("/bank.v1.BankService/{}", method.name()));
            let goes_on = method.is_server_streaming() || method.is_client_streaming();
            let has_own = matches!(kind, Kind::Watcher | Kind::Pipe);
            assert_eq!(has_own, goes_on, "{}", method.name());
            assert_ne!(kind, Kind::LookingOn);
        }
    }

    #[test]
    fn those_that_look_on_have_a_room_and_health_checks_need_none() {
        const WATCH: &str = "/grpc.health.v1.Health/Watch";
        let admission = Admission::new(&Capacity { calls: 0, ..Capacity::default() });
        let mut places: Vec<_> =
            (0..LOOKING_ON).map(|_| admission.admit(WATCH).expect("there is one")).collect();
        let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        for path in [WATCH, reflection, "/bank.v1.BankService/GetAccount"] {
            assert!(matches!(admission.admit(path), Err(Error::Overloaded(_))), "{path}");
        }
        assert!(admission.admit("/grpc.health.v1.Health/Check").is_ok());
        places.pop();
        assert!(admission.admit(reflection).is_ok());
    }

    #[test]
    fn bytes_are_counted_beyond_what_is_small_and_given_back() {
        let admission = Admission::new(&Capacity { bytes: 100, ..Capacity::default() });
        let admit = |method: &str| admission.admit(&format!("/bank.v1.BankService/{method}"));
        let taken = || admission.0.bytes.load(Ordering::Relaxed);

        let one = admit("ExecuteBatch").expect("there is a place");
        one.count_request(0, SMALL - 1).expect("it is small");
        one.count_request(SMALL - 1, 2).expect("there is room");
        assert_eq!(taken(), 1);
        one.count_request(SMALL + 1, 99).expect("there is just enough");
        assert_eq!(taken(), 100);
        assert!(one.count_request(SMALL + 100, 1).is_err());
        assert!(admit("ExecuteBatch").is_err(), "its answer could not be kept from it");

        let two = admit("ListAccounts").expect("it may be small");
        two.count_request(0, SMALL).expect("it is small");
        two.count_answer(SMALL).expect("it is small");
        assert!(two.count_answer(SMALL + 1).is_err());
        one.count_answer(SMALL + 50).expect("it has been done");
        assert_eq!(taken(), 150);
        drop(one);
        assert_eq!(taken(), 0);
        two.count_answer(SMALL + 100).expect("there is room");
        drop(two);
        assert_eq!(taken(), 0);
    }
}
