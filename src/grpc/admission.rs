//! How much is taken on at once, over all connections: what is beyond that is turned away before any work.
//!
//! Calls that end by themselves share one room; those that go on, for days maybe, have rooms of their own, so
//! that no number of them keeps a payment out. **Invariant:** a place is held from before the request is
//! read until the answer's last byte was handed over, or the call is dropped. A health check needs none: a
//! bank with all it can do is serving.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::observe::method_of;
use super::status::Error;

/// How many watches of the health and calls of reflection may be open: programs and people that look on.
const LOOKING_ON: usize = 1000;

/// What the server takes on at once.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// How many calls that end by themselves may be in flight.
    pub calls: usize,
    /// How many readers the live feed may have.
    pub watchers: usize,
    /// How many pipes of operations may be open.
    pub pipes: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { calls: 10_000, watchers: 1000, pipes: 100 }
    }
}

/// Where a call has its place, by what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// A call of the bank that ends by itself.
    Calls,
    /// A reader of the live feed.
    Watchers,
    /// A pipe of operations.
    Pipes,
    /// What looks at the server and not at the books: health's feed, reflection.
    LookingOn,
}

impl Room {
    /// The room of a method; none for what is always let in.
    fn of(path: &str) -> Option<Self> {
        match method_of(path) {
            Some("WatchTransactions") => Some(Self::Watchers),
            Some("ExecuteStream") => Some(Self::Pipes),
            Some(_) => Some(Self::Calls),
            None if path == "/grpc.health.v1.Health/Check" => None,
            None => Some(Self::LookingOn),
        }
    }

    /// What it holds, for programs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Calls => "in_flight",
            Self::Watchers => "watchers",
            Self::Pipes => "execute_streams",
            Self::LookingOn => "looking_on",
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
}

impl Rooms {
    fn places(&self, room: Room) -> &Semaphore {
        match room {
            Room::Calls => &self.calls,
            Room::Watchers => &self.watchers,
            Room::Pipes => &self.pipes,
            Room::LookingOn => &self.looking_on,
        }
    }
}

/// The place of a call, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    rooms: Arc<Rooms>,
    /// None for what is always let in.
    room: Option<Room>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(room) = self.room {
            self.rooms.places(room).add_permits(1);
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
        }))
    }

    /// Gives a call of this path its place.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] when none is free.
    pub(super) fn admit(&self, path: &str) -> Result<Place, Error> {
        let room = Room::of(path);
        if let Some(room) = room {
            let permit = self.0.places(room).try_acquire();
            // It is given back by the place, which may outlive this borrow.
            permit.map_err(|_| Error::Overloaded(room))?.forget();
        }
        Ok(Place { rooms: self.0.clone(), room })
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
            let path = format!("/bank.v1.BankService/{}", method.name());
            let goes_on = method.is_server_streaming() || method.is_client_streaming();
            assert_eq!(Room::of(&path) != Some(Room::Calls), goes_on, "{path}");
        }
    }

    #[test]
    fn those_that_look_on_have_a_room_and_health_checks_need_none() {
        const WATCH: &str = "/grpc.health.v1.Health/Watch";
        let admission = Admission::new(&Capacity { calls: 0, ..Capacity::default() });
        let mut places: Vec<Place> =
            (0..LOOKING_ON).map(|_| admission.admit(WATCH).expect("there is one")).collect();
        let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        for path in [WATCH, reflection, "/bank.v1.BankService/GetAccount"] {
            assert!(matches!(admission.admit(path), Err(Error::Overloaded(_))), "{path}");
        }
        assert!(admission.admit("/grpc.health.v1.Health/Check").is_ok());
        places.pop();
        assert!(admission.admit(reflection).is_ok());
    }
}
