//! What calls and operations came to, counted: by method and code, by kind of transaction, by reason of
//! refusal.
//!
//! **Invariants:** counting takes no lock and allocates nothing, since every counter there can be is made at
//! the start; what it counts by is bounded, whatever a client sends. Under which names the counts are shown
//! is not here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::Code;

use crate::grpc::proto::{self, bank_service_server::SERVICE_NAME};
use crate::histogram::Histogram;
use crate::ledger::TransactionType;
use crate::store::Executed;

/// What stands for every method that the server doesn't know, and every reason that the table hasn't.
pub const OTHER: &str = "_OTHER";

/// The reasons that an `ErrorInfo` of the API can bear.
pub const REASONS: [&str; 28] = [
    "KEYS_UNAVAILABLE",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "OVERLOADED",
    "DRAINING",
    "STORE_UNAVAILABLE",
    "RATE_LIMITED",
    "STORE_FULL",
    "WATCHER_TOO_SLOW",
    "INVALID_REQUEST",
    "REQUEST_ID_REUSED",
    "ACCOUNT_NOT_FOUND",
    "TRANSACTION_NOT_FOUND",
    "HOLD_NOT_FOUND",
    "ACCOUNT_ALREADY_EXISTS",
    "ETAG_MISMATCH",
    "ACCOUNT_CLOSED",
    "ACCOUNT_FROZEN",
    "CURRENCY_MISMATCH",
    "HOLD_NOT_ACTIVE",
    "CAPTURE_EXCEEDS_HOLD",
    "NOT_REVERSIBLE",
    "ACCOUNT_NOT_EMPTY",
    "INSUFFICIENT_FUNDS",
    "BALANCE_OUT_OF_RANGE",
    "DEADLINE_EXCEEDED",
    "DATA_LOSS",
    OTHER,
];

/// Upper bounds for the duration of a call, in microseconds. From 5 ms on they are those of OpenTelemetry's
/// conventions for RPC; the finer ones are for a bank whose answers take less.
const DURATIONS: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000,
    750_000, 1_000_000, 2_500_000, 5_000_000, 7_500_000, 10_000_000,
];

/// The codes of gRPC are 0 to 16.
const CODES: usize = 17;

const TYPES: [TransactionType; 4] = [
    TransactionType::Deposit,
    TransactionType::Withdrawal,
    TransactionType::Transfer,
    TransactionType::Reversal,
];

/// The full names of the methods that the server has, in order.
static METHODS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let sets = [
        proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut names = Vec::new();
    for set in sets {
        let set = FileDescriptorSet::decode(set).expect("they were encoded by the build");
        for file in &set.file {
            for service in &file.service {
                let methods = service.method.iter();
                names.extend(
                    methods
                        .map(|it| format!("{}.{}/{}", file.package(), service.name(), it.name())),
                );
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    names
});

/// A method that the server knows, or all that it doesn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::grpc) struct Method(usize);

impl Method {
    /// The one that a path `/package.Service/Method` names.
    pub(in crate::grpc) fn at(path: &str) -> Self {
        let name = path.strip_prefix('/').unwrap_or(path);
        let found = METHODS.binary_search_by(|known| known.as_str().cmp(name));
        Self(found.unwrap_or(METHODS.len()))
    }

    /// Its full name.
    pub(in crate::grpc) fn name(self) -> &'static str {
        METHODS.get(self.0).map_or(OTHER, String::as_str)
    }
}

/// Why a call or an operation was refused: its place among [`REASONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::grpc) struct Reason(usize);

impl Reason {
    pub(in crate::grpc) fn new(name: &str) -> Self {
        Self(REASONS.iter().position(|reason| *reason == name).unwrap_or(REASONS.len() - 1))
    }

    pub(in crate::grpc) fn name(self) -> &'static str {
        REASONS[self.0]
    }
}

/// All that was counted since the server began.
#[derive(Debug)]
pub struct Tally {
    /// By method; the last is for all that are unknown.
    calls: Vec<Calls>,
    transactions: [AtomicU64; TYPES.len()],
    replays: AtomicU64,
    refusals: [AtomicU64; REASONS.len()],
    connections: Arc<AtomicU64>,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub struct Connected(Arc<AtomicU64>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The calls of one method.
#[derive(Debug)]
pub struct Calls {
    in_flight: AtomicU64,
    /// By code.
    durations: [Histogram; CODES],
}

impl Calls {
    /// How many are running.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How long those took that have ended, in microseconds, by code.
    pub fn durations(&self) -> impl Iterator<Item = (Code, &Histogram)> {
        (0..).map(Code::from_i32).zip(&self.durations)
    }
}

impl Default for Tally {
    fn default() -> Self {
        let calls = || Calls {
            in_flight: AtomicU64::new(0),
            durations: std::array::from_fn(|_| Histogram::new(DURATIONS)),
        };
        Self {
            calls: (0..=METHODS.len()).map(|_| calls()).collect(),
            transactions: Default::default(),
            replays: AtomicU64::new(0),
            refusals: std::array::from_fn(|_| AtomicU64::new(0)),
            connections: Arc::default(),
        }
    }
}

impl Tally {
    pub(in crate::grpc) fn begin(&self, method: Method) {
        self.calls[method.0].in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::grpc) fn end(
        &self,
        method: Method,
        code: Code,
        duration: Duration,
        refused: Option<Reason>,
    ) {
        let calls = &self.calls[method.0];
        calls.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(durations) = calls.durations.get(code as usize) {
            durations.observe_micros(duration);
        }
        if let Some(reason) = refused {
            self.refuse(reason);
        }
    }

    /// Counts what a request has done.
    pub(in crate::grpc) fn execute(&self, executed: &Executed) {
        if executed.replayed {
            self.replays.fetch_add(1, Ordering::Relaxed);
        } else if let Some(posting) = executed.record.posting() {
            let place = TYPES.iter().position(|kind| *kind == posting.movement.kind);
            if let Some(count) = place.and_then(|place| self.transactions.get(place)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts an error that a client is told.
    pub(in crate::grpc) fn refuse(&self, reason: Reason) {
        self.refusals[reason.0].fetch_add(1, Ordering::Relaxed);
    }

    /// The calls of each method that the server knows, and of all others.
    pub fn calls(&self) -> impl Iterator<Item = (&'static str, &Calls)> {
        self.calls.iter().enumerate().map(|(index, calls)| (Method(index).name(), calls))
    }

    /// How many transactions were made, by type; repeats make none.
    pub fn transactions(&self) -> impl Iterator<Item = (TransactionType, u64)> {
        TYPES.into_iter().zip(self.transactions.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// How many requests were answered from the record of the first.
    #[must_use]
    pub fn replays(&self) -> u64 {
        self.replays.load(Ordering::Relaxed)
    }

    /// How many errors clients were told, by reason: those of calls, and of single operations in a batch or
    /// a stream.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.into_iter().zip(self.refusals.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Counts a connection that is open now.
    #[must_use]
    pub fn connect(&self) -> Connected {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(self.connections.clone())
    }

    /// How many connections are open that have said what they want.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many readers the live feed has.
    #[must_use]
    pub fn watchers(&self) -> u64 {
        static FEED: LazyLock<Method> =
            LazyLock::new(|| Method::at(&format!("/{SERVICE_NAME}/WatchTransactions")));
        self.calls[FEED.0].in_flight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_server_is_known_and_nothing_else() {
        for path in [
            "/bank.v1.BankService/Transfer",
            "/bank.v1.BankService/WatchTransactions",
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ] {
            assert_eq!(format!("/{}", Method::at(path).name()), path);
        }
        for path in ["", "/", "/bank.v1.BankService/", "/bank.v1.BankService/Transfers", "/x/y"] {
            assert_eq!(Method::at(path).name(), OTHER, "{path}");
        }
    }

    #[test]
    fn an_unknown_reason_counts_among_the_others() {
        let tally = Tally::default();
        tally.refuse(Reason::new("OVERLOADED"));
        tally.refuse(Reason::new("SOMETHING_NEW"));
        let counted: Vec<_> = tally.refusals().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("OVERLOADED", 1), (OTHER, 1)]);
    }
}
