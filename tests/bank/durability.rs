//! Books in a file: what was acknowledged is there after any end, and damage is never served.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bank::grpc::proto;
use bank::ledger::{Amount, Change, Record, Sequence};
use bank::store::journal::{Archive, Journal, OpenError, Scanned, SqliteJournal};
use bank::store::{Error, MemoryStore, Store};
use rustix::process::Signal;
use tokio::sync::watch;
use tonic::Code;

use crate::support::history::{Everything, everything, small_history};
use crate::support::own_book::{
    OwnBook, check_acknowledged, check_totals, check_whole_ledger, client, open_accounts,
    pay_until, settle,
};
use crate::support::process::{Running, bank, run};
use crate::support::{
    Details, FileStore, LEDGER, ManualClock, create, deposit, file_store, quick_folder,
};

/// Killed in the middle of many transfers, again and again: every acknowledged one is there, once, with
/// what was told of it; every other is there whole or not at all, and takes effect once when it is sent
/// again.
///
/// `KILL_ROUNDS` says how often; 50 unless told.
#[test]
fn killed_at_any_moment_it_keeps_what_it_acknowledged() {
    #[allow(clippy::disallowed_methods, reason = "the long run is asked for by the environment")]
    let rounds = std::env::var("KILL_ROUNDS").map_or(50, |text| text.parse().expect("a number"));
    let seed = fastrand::u64(..);
    println!("seed {seed:#x}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let data = folder.path().join("bank.db");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut all = OwnBook::default();
    for round in 0..rounds {
        let mut running = serve(&data);
        let book = runtime.block_on(async {
            let mut client = client(&running).await;
            if round == 0 {
                open_accounts(&mut client).await;
            }
            let enough = random.u64(0..600);
            let kill = async || running.kill_now();
            pay_until(&[client], enough, &mut random, kill).await
        });
        running.kill();

        let running = serve(&data);
        runtime.block_on(async {
            let mut client = client(&running).await;
            check_acknowledged(&mut client, &book.acknowledged).await;
            let settled = settle(&mut client, book.unknown).await;
            all.acknowledged.extend(book.acknowledged);
            all.acknowledged.extend(settled);
            check_totals(&mut client, all.acknowledged.len()).await;
        });
        running.kill();
    }
    let running = serve(&data);
    runtime.block_on(async {
        let mut client = client(&running).await;
        check_whole_ledger(&mut client, &all.acknowledged).await;
    });
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    assert!(!data.with_extension("db-wal").exists(), "a bank that ends well leaves one file");
}

fn serve(data: &Path) -> Running {
    let data = data.to_str().expect("the folder's name is UTF-8");
    let mut command = bank(&["serve", "--listen", "127.0.0.1:0", "--data", data]);
    Running::start(command.args(["--log-level", "warn,bank::cli=info"]))
}

#[test]
fn a_second_bank_is_refused_the_file() {
    let folder = quick_folder();
    let data = folder.path().join("bank.db");
    let first = serve(&data);
    let path = data.to_str().expect("the folder's name is UTF-8");
    let second = run(&mut bank(&["serve", "--listen", "127.0.0.1:0", "--data", path]));
    let text = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{text}");
    let process = format!("{path} is in use by another bank, process {}\n", first.id());
    assert_eq!(text, format!("bank: {process}"));

    // By another name it is the same file.
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&data, &link).expect("it can be made");
    let name = link.to_str().expect("the folder's name is UTF-8");
    let second = run(&mut bank(&["serve", "--listen", "127.0.0.1:0", "--data", name]));
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&second.stderr), format!("bank: {process}"));
    let twin = folder.path().join("twin.db");
    fs::hard_link(&data, &twin).expect("it can be made");
    let name = twin.to_str().expect("the folder's name is UTF-8");
    let second = run(&mut bank(&["serve", "--listen", "127.0.0.1:0", "--data", name]));
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8_lossy(&second.stderr);
    assert!(text.contains("it has a second name (a hard link)"), "{text}");
    fs::remove_file(twin).expect("it is there");

    first.signal(Signal::TERM);
    assert_eq!(first.end().0, Some(0));
    let third = serve(&data);
    third.signal(Signal::TERM);
    assert_eq!(third.end().0, Some(0));
}

#[test]
fn other_files_are_left_alone() {
    let folder = quick_folder();
    let clock = ManualClock::new();
    let text = folder.path().join("text");
    fs::write(&text, "not a database, and long enough to be looked at as one: ".repeat(40))
        .expect("it can be written");
    let foreign = folder.path().join("foreign.db");
    rusqlite::Connection::open(&foreign)
        .and_then(|connection| connection.execute_batch("CREATE TABLE mine (x)"))
        .expect("it can be made");
    for path in [&text, &foreign] {
        let before = fs::read(path).expect("it is there");
        let error = file_store(path, &clock).expect_err("it is refused");
        assert!(error.contains("is not a file of the bank"), "{error}");
        assert_eq!(fs::read(path).expect("it is there"), before);
    }

    let newer = folder.path().join("newer.db");
    drop(file_store(&newer, &clock).expect("it can be made"));
    rusqlite::Connection::open(&newer)
        .and_then(|connection| connection.pragma_update(None, "user_version", 99))
        .expect("it can be changed");
    match SqliteJournal::open(&newer, LEDGER, 0) {
        Err(OpenError::Newer { found: 99, known, .. }) => assert!(known < 99),
        other => panic!("{other:?}"),
    }
    // The WAL of a bank whose file is gone is no new bank.
    let gone = folder.path().join("gone.db");
    fs::write(gone.with_extension("db-wal"), "records").expect("it can be written");
    let error = file_store(&gone, &clock).expect_err("it is refused");
    assert!(error.contains("is damaged: its WAL is there, and it is not"), "{error}");

    let error = file_store(&folder.path().join("no/such/folder.db"), &clock);
    assert!(error.err().is_some_and(|error| error.contains("No such file")));
}

async fn execute_all(store: &FileStore) {
    for request in small_history() {
        // Some are refused, and kept.
        let _ = store.execute(request).await.expect("it is written");
    }
}

/// A repeat gets what the first request got, in another process too: of successes and of refusals that
/// were kept.
#[tokio::test]
async fn repeats_are_answered_across_restarts() {
    let folder = quick_folder();
    let path = folder.path().join("bank.db");
    let clock = ManualClock::new();
    let mut first = Vec::new();
    {
        let store = file_store(&path, &clock).expect("it can be made");
        for request in small_history() {
            first.push(store.execute(request).await.expect("it is written"));
        }
    }
    let store = file_store(&path, &clock).expect("it can be opened");
    let before = store.head().await.expect("it can be read");
    let mut refused = 0;
    for (request, first) in small_history().into_iter().zip(first) {
        let again = store.execute(request).await.expect("it can be read");
        match (first, again) {
            (Ok(first), Ok(again)) => {
                assert!(again.replayed);
                assert_eq!(again.record, first.record);
            }
            (Err(first), Err(again)) => {
                refused += 1;
                assert_eq!(again, first);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 1);
    assert_eq!(store.head().await.expect("it can be read"), before, "nothing was added");
}

/// Serves a damaged copy of a small bank: whatever it answers is what was there, or it says that it is
/// damaged.
async fn is_refused(path: &Path, expected: &Everything) -> bool {
    let clock = ManualClock::new();
    let Ok(store) = file_store(path, &clock) else { return true };
    match everything(&store).await {
        Err(_) => true,
        Ok(found) => {
            assert_eq!(found, *expected);
            false
        }
    }
}

/// The bytes of a small bank that has ended well, and what is in it.
async fn small_bank(folder: &Path) -> (Vec<u8>, Everything) {
    let path = folder.join("whole.db");
    let clock = ManualClock::new();
    let store = file_store(&path, &clock).expect("it can be made");
    execute_all(&store).await;
    let expected = everything(&store).await.expect("it can be read");
    drop(store);
    (fs::read(&path).expect("it is there"), expected)
}

#[tokio::test]
async fn no_flipped_byte_is_served() {
    let folder = quick_folder();
    let (whole, expected) = small_bank(folder.path()).await;
    let seed = fastrand::u64(..);
    println!("seed {seed:#x}");
    let mut random = fastrand::Rng::with_seed(seed);
    let path = folder.path().join("damaged.db");
    let mut refused = 0;
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= random.u8(1..);
        fs::write(&path, &damaged).expect("it can be written");
        refused += usize::from(is_refused(&path, &expected).await);
    }
    // Most of a small file is free space, where a flip changes nothing. The records are not.
    assert!(refused > 1500, "only {refused} of {} flips were found", whole.len());
}

#[tokio::test]
async fn no_cut_file_is_served() {
    let folder = quick_folder();
    let (whole, expected) = small_bank(folder.path()).await;
    let path = folder.path().join("cut.db");
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).expect("it can be written");
        assert!(is_refused(&path, &expected).await, "a file cut at {length} was served");
    }
}

/// Somebody who knows SQL changes the file, checksums included: it is refused, and the record is named.
#[tokio::test]
async fn tampering_is_found() {
    let folder = quick_folder();
    let (whole, expected) = small_bank(folder.path()).await;
    let path = folder.path().join("changed.db");
    let last = expected.records.len();
    for (change, record) in [
        (format!("DELETE FROM records WHERE sequence = {last}"), last),
        (format!("DELETE FROM records WHERE sequence > {}", last - 3), last - 2),
        ("DELETE FROM records WHERE sequence = 4".to_owned(), 4),
        ("DELETE FROM records WHERE sequence = 1".to_owned(), 1),
        ("DELETE FROM records".to_owned(), 1),
        ("DELETE FROM head".to_owned(), last),
        (format!("UPDATE head SET sequence = {}", last - 1), last),
        (format!("UPDATE head SET sequence = {}", last + 1), last + 1),
        ("UPDATE head SET hash = zeroblob(32)".to_owned(), last),
        ("UPDATE ledger SET ledger_id = ledger_id + 1".to_owned(), 1),
        ("UPDATE records SET checksum = checksum + 1 WHERE sequence = 5".to_owned(), 5),
        // The rent of record 4 is made rend; its checksum is made to fit, as far as SQL can.
        (
            "UPDATE records SET record = CAST(replace(record, CAST('rent' AS BLOB), \
             CAST('rend' AS BLOB)) AS BLOB) WHERE sequence = 4"
                .to_owned(),
            4,
        ),
        (
            "UPDATE records SET record = (SELECT record FROM records WHERE sequence = 5), \
             checksum = (SELECT checksum FROM records WHERE sequence = 5) WHERE sequence = 4"
                .to_owned(),
            4,
        ),
        (
            format!(
                "INSERT INTO records SELECT {}, record, checksum FROM records WHERE sequence = {last}",
                last + 1
            ),
            last + 1,
        ),
    ] {
        fs::write(&path, &whole).expect("it can be written");
        let count = rusqlite::Connection::open(&path)
            .and_then(|connection| connection.execute(&change, []))
            .expect("it can be changed");
        assert!(count > 0, "{change} changed nothing");
        let error = file_store(&path, &ManualClock::new()).expect_err(&change);
        assert!(error.contains(&format!("record {record} is damaged")), "{change}: {error}");
    }

    // A record that is changed with its checksum is given away by the one after it.
    fs::write(&path, &whole).expect("it can be written");
    forge(&path, 4).expect("it can be changed");
    let error = file_store(&path, &ManualClock::new()).expect_err("it is found");
    assert!(error.contains("record 5 is damaged: it does not fit the record before it"), "{error}");
}

/// Somebody with our own code writes the file anew, and in it bob was paid a cent less than was asked: each
/// checksum, the chain and the head fit. The books are served as they say, but no audit passes them.
#[tokio::test]
async fn a_chain_that_was_made_anew_hides_no_lie() {
    let folder = quick_folder();
    let (_, expected) = small_bank(folder.path()).await;
    let path = folder.path().join("anew.db");
    let journal = SqliteJournal::open(&path, LEDGER, 0).expect("it can be made");
    for kept in expected.records.into_iter().flatten() {
        let mut record = kept.record;
        if record.sequence == Sequence::new(4) {
            let Ok(Change::Posted(posting)) = &mut record.outcome else { panic!("{record:?}") };
            posting.movement.amount = Amount::new(299).expect("it is above 0");
        }
        journal.append(&record);
    }
    drop(journal);
    Archive::open(&path).expect("it can be opened").scan(None, &mut |_| Ok(())).expect("it fits");
    let verified = run(bank(&[]).arg("verify").arg(&path));
    let text = String::from_utf8(verified.stderr).expect("it is UTF-8");
    assert_eq!(verified.status.code(), Some(1), "{text}");
    assert!(text.contains("record 4"), "{text}");
}

/// While a copy is made somebody gives another file its name: that file stays as it is.
#[tokio::test]
async fn a_copy_takes_no_name_that_is_taken() {
    let folder = quick_folder();
    let (whole, _) = small_bank(folder.path()).await;
    let to = folder.path().join("copy.db");
    let archive = Archive::open(&folder.path().join("whole.db")).expect("it can be opened");
    let copy = archive.copy(&to).expect("it can be made");
    fs::write(&to, "theirs").expect("it can be written");
    let error = copy.finish().expect_err("there is a file of that name");
    let OpenError::Io { error, .. } = error else { panic!("{error}") };
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&to).expect("it is there"), b"theirs");
    drop(archive);
    assert_eq!(fs::read(folder.path().join("whole.db")).expect("it is there"), whole);
    let left = folder.path().read_dir().expect("it can be listed").flatten();
    let parts = left.filter(|left| left.file_name().to_string_lossy().contains(".part"));
    assert_eq!(parts.count(), 0);
}

/// Whoever has seen enough ends the walk, however much there is still to come.
#[tokio::test]
async fn a_walk_along_a_long_file_can_be_ended() {
    const LENGTH: u64 = 20_000;
    let folder = quick_folder();
    let (_, expected) = small_bank(folder.path()).await;
    let first = expected.records.into_iter().flatten().next().expect("there is one").record;
    let path = folder.path().join("long.db");
    let journal = SqliteJournal::open(&path, LEDGER, 0).expect("it can be made");
    for number in 1..=LENGTH {
        journal.append(&Record { sequence: Sequence::new(number), ..first.clone() });
    }
    drop(journal);
    let archive = Archive::open(&path).expect("it can be opened");
    for enough in [1, 5_000, LENGTH] {
        let ended = archive.scan(None, &mut |record| {
            if record.sequence.number() < enough { Ok(()) } else { Err(Error::Full) }
        });
        assert_eq!(ended, Err(Error::Full), "ended at {enough}");
    }
    let whole = archive.scan(None, &mut |_| Ok(())).expect("nothing is wrong with it");
    assert_eq!(whole.sequence, Sequence::new(LENGTH));
}

/// Writes 'rend' for 'rent' in a record, with the checksum that goes with it.
fn forge(path: &Path, sequence: i64) -> rusqlite::Result<()> {
    let connection = rusqlite::Connection::open(path)?;
    let select = "SELECT record FROM records WHERE sequence = ?1";
    let mut record: Vec<u8> = connection.query_row(select, [sequence], |row| row.get(0))?;
    let place = record.windows(4).position(|it| it == b"rent").expect("it says rent");
    record[place + 3] = b'd';
    let hash = blake3::hash(&record);
    let first = hash.as_bytes().first_chunk().expect("it has 32 bytes");
    let change = "UPDATE records SET record = ?2, checksum = ?3 WHERE sequence = ?1";
    connection.execute(change, (sequence, record, i64::from_le_bytes(*first)))?;
    Ok(())
}

/// The WAL as a crash may leave it, cut at any length: what is recovered is the history up to some record,
/// and nothing else.
#[tokio::test]
async fn a_torn_wal_is_a_shorter_history() {
    let folder = quick_folder();
    let path = folder.path().join("bank.db");
    let clock = ManualClock::new();
    let store = file_store(&path, &clock).expect("it can be made");
    let mut history = vec![everything(&store).await.expect("it can be read")];
    for request in small_history() {
        let _ = store.execute(request).await.expect("it is written");
        history.push(everything(&store).await.expect("it can be read"));
    }
    // What a killed process leaves: the files as they are, with nothing tidied up.
    let file = fs::read(&path).expect("it is there");
    let wal = fs::read(path.with_extension("db-wal")).expect("it is there");
    drop(store);
    let torn = folder.path().join("torn.db");
    let mut lengths_seen = std::collections::BTreeSet::new();
    for length in (0..=wal.len()).step_by(97).chain([wal.len()]) {
        fs::write(&torn, &file).expect("it can be written");
        fs::write(torn.with_extension("db-wal"), &wal[..length]).expect("it can be written");
        let _ = fs::remove_file(torn.with_extension("db-shm"));
        let store = file_store(&torn, &clock).expect("a torn end is no damage");
        let found = everything(&store).await.expect("it can be read");
        let records = found.records.len();
        assert_eq!(found, history[records], "cut at {length}");
        lengths_seen.insert(records);
    }
    assert_eq!(lengths_seen.len(), history.len(), "every length of the history was seen");
}

/// What a killed bank has left in its WAL may never have been synced. It is in the file itself, and synced
/// with it, before a bank that finds it calls it durable.
#[test]
fn what_was_left_in_the_wal_is_made_durable_first() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let data = folder.path().join("bank.db");
    let mut running = serve(&data);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async { open_accounts(&mut client(&running).await).await });
    running.kill_now();
    running.kill();
    let head = |path: &Path| {
        let head = Archive::open(path).and_then(|archive| archive.head());
        head.expect("it can be read").sequence.number()
    };
    // Looking at it makes nothing durable.
    let written = head(&data);
    let alone = folder.path().join("alone.db");
    fs::copy(&data, &alone).expect("it can be copied");
    let before = Archive::open(&alone).and_then(|archive| archive.head());
    assert!(
        before.is_err() || before.is_ok_and(|head| head.sequence.number() < written),
        "the file lacks what the WAL has"
    );

    let running = serve(&data);
    let alone = folder.path().join("after.db");
    fs::copy(&data, &alone).expect("it can be copied");
    assert_eq!(head(&alone), written);
    running.kill();
}

/// Somebody who writes to the file or reads an old state of it is waited for.
#[tokio::test]
async fn whoever_else_has_the_file_open_is_waited_for() {
    let folder = quick_folder();
    let path = folder.path().join("bank.db");
    let clock = ManualClock::new();
    let store = file_store(&path, &clock).expect("it can be made");
    let other = rusqlite::Connection::open(&path).expect("it can be opened");
    other.execute_batch("BEGIN IMMEDIATE").expect("it may write");
    let mut history = small_history().into_iter();
    let request = history.next().expect("there is one");
    {
        let mut answer = std::pin::pin!(store.execute(request));
        assert!(futures_util::poll!(answer.as_mut()).is_pending());
        // Longer than SQLite itself waits.
        let waiting = tokio::time::timeout(std::time::Duration::from_secs(7), answer.as_mut());
        waiting.await.expect_err("nothing can be written");
        other.execute_batch("ROLLBACK").expect("it has begun");
        answer.await.expect("it can be written").expect("it is allowed");
    }

    other.execute_batch("BEGIN; SELECT count(*) FROM records").expect("it may read");
    for request in history {
        let _ = store.execute(request).await.expect("it is written");
    }
    let expected = everything(&store).await.expect("it can be read");
    drop(store);
    let error = file_store(&path, &clock).expect_err("the WAL can't be moved");
    assert!(error.contains("while another process has it open"), "{error}");
    drop(other);
    let store = file_store(&path, &clock).expect("it can be opened");
    assert_eq!(everything(&store).await.expect("it can be read"), expected);
}

/// A journal that keeps apart what was synced and what was not: a crash loses all or a part of the rest.
#[derive(Debug)]
struct CrashingJournal {
    records: Mutex<Vec<Record>>,
    synced: watch::Receiver<u64>,
}

impl Journal for CrashingJournal {
    fn append(&self, record: &Record) {
        self.records.lock().expect("nobody panics with it").push(record.clone());
    }

    fn read(&self, sequence: Sequence) -> Result<Record, Error> {
        let index = usize::try_from(sequence.number() - 1).expect("it is small");
        Ok(self.records.lock().expect("nobody panics with it")[index].clone())
    }

    fn scan(&self, each: &mut dyn FnMut(Scanned) -> Result<(), Error>) -> Result<(), Error> {
        let records = self.records.lock().expect("nobody panics with it").clone();
        records.into_iter().map(|record| Scanned::Record(Box::new(record))).try_for_each(each)
    }

    async fn durable(&self, sequence: Sequence) -> Result<(), Error> {
        let mut synced = self.synced.clone();
        let is_there = |synced: &u64| *synced >= sequence.number();
        synced.wait_for(is_there).await.map(|_| ()).map_err(|_| Error::Unavailable)
    }
}

/// Crashes after every number of synced records, with every number of others that happened to reach the
/// disk: what was answered is there after it, and answered again.
#[tokio::test]
async fn a_crash_at_every_sync_loses_nothing_that_was_answered() {
    let folder = quick_folder();
    let (_, expected) = small_bank(folder.path()).await;
    let count = small_history().len() as u64;
    for synced in 0..=count {
        for reached in synced..=count {
            // A task that never yields is told to wait for what is there already.
            tokio::task::yield_now().await;
            let (sync, syncing) = watch::channel(synced);
            let journal = CrashingJournal { records: Mutex::default(), synced: syncing };
            let clock = ManualClock::new();
            let store = Arc::new(MemoryStore::new(LEDGER, journal, clock.clone()));
            let mut answered = Vec::new();
            for request in small_history() {
                let mut answer = std::pin::pin!(store.execute(request.clone()));
                let polled = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(answer.as_mut().poll(context))
                })
                .await;
                if let std::task::Poll::Ready(answer) = polled {
                    answered.push((request, answer.expect("it was synced")));
                }
            }
            assert_eq!(answered.len() as u64, synced, "what is not synced is not answered");

            let mut records = store.journal().records.lock().expect("nobody panicked").clone();
            records.truncate(usize::try_from(reached).expect("it is small"));
            sync.send_replace(u64::MAX);
            let journal =
                CrashingJournal { records: Mutex::new(records), synced: sync.subscribe() };
            let store = MemoryStore::recover(LEDGER, journal, clock, |_| {}).expect("it is whole");
            for (request, first) in answered {
                let again = store.execute(request).await.expect("it can be read");
                let record = |it: bank::store::Executed| it.record;
                assert_eq!(again.map(record), first.map(record));
            }
            // Who got no answer asks again, and all ends as if nothing had happened.
            for request in small_history() {
                let _ = store.execute(request).await.expect("it is written");
            }
            let found = everything(&store).await.expect("it can be read");
            let timeless = |it: &Everything| (it.totals.clone(), it.records.len());
            assert_eq!(timeless(&found), timeless(&expected), "{synced} synced, {reached} kept");
        }
    }
}

/// Nothing of a request is refused for want of space once it was taken; what comes later is, and reads
/// go on.
#[tokio::test]
async fn too_little_space_refuses_writes_and_not_reads() {
    let folder = quick_folder();
    let clock = ManualClock::new();
    let path = folder.path().join("bank.db");
    drop(file_store(&path, &clock).expect("it can be made"));
    // No disk has so much.
    let journal = SqliteJournal::open(&path, LEDGER, u64::MAX).expect("it can be opened");
    let store = MemoryStore::recover(LEDGER, journal, clock.clone(), |_| {}).expect("it is whole");
    let server = crate::support::TestServer::over(store, clock).await;
    let mut client = server.client().await;
    let refused = client.create_account(create("alice", "USD")).await;
    let status = refused.expect_err("also the first one");
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = Details::of(&status);
    assert_eq!(details.reason, "STORE_FULL");
    let quota = details.all.quota_failure().expect("it has one");
    assert_eq!(quota.violations[0].subject, "store");
    let totals = client.get_trial_balance(proto::GetTrialBalanceRequest::default()).await;
    totals.expect("reads go on");
    let batch = proto::ExecuteBatchRequest {
        operations: vec![proto::Operation {
            operation: Some(proto::operation::Operation::Deposit(deposit("alice", 1, "USD"))),
        }],
        atomic: false,
    };
    let status = client.execute_batch(batch).await.expect_err("it is refused as well");
    assert_eq!(status.code(), Code::ResourceExhausted);
}

/// A journal that can't write any more.
#[derive(Debug)]
struct FailedJournal;

impl Journal for FailedJournal {
    fn append(&self, _record: &Record) {}

    fn read(&self, _sequence: Sequence) -> Result<Record, Error> {
        Err(Error::Unavailable)
    }

    fn scan(&self, _each: &mut dyn FnMut(Scanned) -> Result<(), Error>) -> Result<(), Error> {
        Ok(())
    }

    async fn durable(&self, _sequence: Sequence) -> Result<(), Error> {
        Err(Error::Unavailable)
    }
}

#[tokio::test]
async fn a_failed_journal_answers_nothing() {
    let clock = ManualClock::new();
    let store = MemoryStore::new(LEDGER, FailedJournal, clock.clone());
    let server = crate::support::TestServer::over(store, clock).await;
    let mut client = server.client().await;
    let status = client.create_account(create("alice", "USD")).await.expect_err("it is not kept");
    assert_eq!(status.code(), Code::Unavailable);
    let details = Details::of(&status);
    assert_eq!(details.reason, "STORE_UNAVAILABLE");
    assert!(details.all.retry_info().is_some());
    let request = proto::GetAccountRequest { account_id: "alice".to_owned() };
    let status = client.get_account(request).await.expect_err("nobody knows what is true");
    assert_eq!(status.code(), Code::Unavailable);
}
