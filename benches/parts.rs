//! How long does each part of a transfer take on its own?
//!
//! `cargo bench --bench parts` has criterion take the time of deciding, of the store over few and many accounts
//! and of its lock, of the journals, and of all that stands between HTTP and the store. A name picks those that have it:
//! `cargo bench --bench parts -- journal`. What callgrind counts of the same parts is exact, where times on a
//! shared machine are not: `cargo bench --bench instructions`.

mod support;

use std::time::{Duration, Instant};

use bank::ledger::{LedgerId, Record, Sequence};
use bank::store::Journal;
use bank::store::journal::SqliteJournal;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

use support::parts::{PARTS, record, under_the_lock};

/// That of the bank.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn parts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transfer");
    // What is kept stays in memory.
    group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    group.throughput(Throughput::Elements(1));
    for (name, make) in PARTS {
        // Made when it is first wanted: a million accounts take a second.
        let mut part = None;
        group.bench_function(name, |bencher| {
            let part = part.get_or_insert_with(|| make(name));
            bencher.iter_custom(|count| {
                let work = (part.prepare)(usize::try_from(count).expect("it is small"));
                let began = Instant::now();
                work();
                began.elapsed()
            });
        });
    }
}

/// Of what the store takes, the time for which nobody else gets in: the lock, and all the work under it.
fn lock(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transfer");
    group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    for (name, accounts) in [("10 thousand", 10_000), ("1 million", 1_000_000)] {
        let mut held = None;
        group.bench_function(format!("store: under the lock, {name} accounts"), |bencher| {
            let held = held.get_or_insert_with(|| under_the_lock(accounts));
            bencher.iter_custom(held);
        });
    }
}

/// Groups of records, appended and synced to the disk of the working directory.
fn journal(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir_in(".").expect("a folder can be made");
    let mut group = criterion.benchmark_group("journal in a file");
    group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    for size in [1u64, 64, 1000] {
        let path = folder.path().join(format!("{size}.db"));
        let mut last = Sequence::default();
        let mut journal = None;
        group.throughput(Throughput::Elements(size));
        group.bench_function(format!("append and sync {size}"), |bencher| {
            let journal = journal.get_or_insert_with(|| {
                SqliteJournal::open(&path, LedgerId::new(1), 0).expect("it can be opened")
            });
            let mut record: Record = record();
            bencher.iter(|| {
                for _ in 0..size {
                    last = last.next();
                    record.sequence = last;
                    journal.append(&record);
                }
                runtime.block_on(journal.durable(last)).expect("it is written");
            });
        });
    }
}

criterion_group!(benches, parts, lock, journal);
criterion_main!(benches);
