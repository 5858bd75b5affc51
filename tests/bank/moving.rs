//! Whole books go from a file to a database and back: whatever is asked of them is answered as before.

use std::path::Path;

use bank::ledger::{LedgerId, Request};
use bank::store::journal::SqliteJournal;
use bank::store::{Error, MemoryStore, PostgresStore, SchemaError, Store, migrate};

use crate::support::cluster::{Cluster, database_of, postgres_store, settings};
use crate::support::commands::{account, named, open, pay, plain, put, set_aside};
use crate::support::history::{Everything, everything, small_history};
use crate::support::process::{bank, run};
use crate::support::{LEDGER, ManualClock, file_store, quick_folder};

/// How many payments there are beside the small history: more than one group of an import.
const PAYMENTS: usize = 2500;

fn requests() -> Vec<Request> {
    let mut requests = small_history();
    requests.push(plain(open("carol", 100)));
    requests.push(named("held", set_aside("carol", "alice", 60)));
    requests.push(named("too-much", pay("carol", "alice", 50)));
    requests.extend((0..PAYMENTS).map(|number| {
        let id = format!("payment-{number}");
        let (from, to) = if number % 2 == 0 { ("alice", "carol") } else { ("carol", "alice") };
        named(&id, pay(from, to, 7))
    }));
    requests
}

/// Books in a file: everything that can be read of them.
async fn books_in(path: &Path, clock: &ManualClock) -> Everything {
    let store = file_store(path, clock).expect("it can be made");
    store.execute_each(requests()).await.expect("they are kept");
    everything(&store).await.expect("it can be read")
}

/// Everything but the moments of the answers, which each store takes from its own present.
async fn timeless<S: Store>(store: &S) -> Everything {
    let mut all = everything(store).await.expect("it can be read");
    for view in &mut all.accounts {
        view.time = bank::ledger::Time::from_micros(0);
    }
    all
}

/// Runs the binary: what it says on standard output, if it succeeds, or else on standard error.
fn say(arguments: &[&str]) -> Result<String, String> {
    let output = run(&mut bank(arguments));
    let text = |bytes| String::from_utf8(bytes).expect("it is UTF-8");
    match output.status.code() {
        Some(0) => Ok(text(output.stdout)),
        Some(code) => Err(format!("{code}: {}", text(output.stderr))),
        None => panic!("{output:?}"),
    }
}

fn name(path: &Path) -> &str {
    path.to_str().expect("it is UTF-8")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn books_that_move_to_a_database_and_back_are_the_same() {
    let (cluster, clock, folder) = (Cluster::start(), ManualClock::new(), quick_folder());
    let (from, back) = (folder.path().join("from.db"), folder.path().join("back.db"));
    books_in(&from, &clock).await;
    let before = timeless(&file_store(&from, &clock).expect("it can be opened")).await;
    // The ledger's name comes with its records.
    let url = cluster.url(&cluster.new_database());
    migrate(&settings(&url), LedgerId::new(7)).await.expect("the tables can be made");

    let told = say(&["import", "--records", name(&from), "--database-url", &url]);
    let head = say(&["head", name(&from)]).expect("it can be read");
    assert_eq!(say(&["head", "--database-url", &url]).as_deref(), Ok(head.as_str()));
    assert_eq!(say(&["verify", name(&from)]), told);
    assert_eq!(say(&["verify", "--database-url", &url]), told);
    let store = postgres_store(&url, &clock).await;
    assert_eq!(store.ledger_id(), LEDGER);
    assert_eq!(timeless(&store).await, before);
    // Repeats are recognised, refusals that were kept among them, and change nothing.
    let old = file_store(&from, &clock).expect("it can be opened");
    for request in requests().into_iter().filter(|request| request.id.is_some()).take(200) {
        let again = store.execute(request.clone()).await.expect("it answers");
        assert_eq!(again, old.execute(request).await.expect("it answers"));
    }
    assert_eq!(timeless(&store).await, before);

    let told_back = say(&["export", "--records", name(&back), "--database-url", &url]);
    assert_eq!(told_back, told);
    assert_eq!(say(&["head", name(&back)]), Ok(head));
    let store_back = file_store(&back, &clock).expect("it can be opened");
    assert_eq!(timeless(&store_back).await, before);
    // Both go on alike, with the hold that expires meanwhile.
    clock.set(5_000_000);
    for request in [named("late", put("bob", 5)), named("next", pay("carol", "alice", 90))] {
        let there = store.execute(request.clone()).await.expect("it answers");
        assert_eq!(there, store_back.execute(request).await.expect("it answers"));
    }
    assert_eq!(timeless(&store).await, timeless(&store_back).await);
    let view = store.account(&account("carol")).await.expect("it answers").expect("she is there");
    assert_eq!((view.account.balance.posted, view.account.balance.held), (10, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_was_broken_off_goes_on() {
    let (cluster, clock, folder) = (Cluster::start(), ManualClock::new(), quick_folder());
    let from = folder.path().join("from.db");
    books_in(&from, &clock).await;
    let url = cluster.new_books().await;
    let database = database_of(&url);
    // A bank of the same name runs over the tables while they are empty.
    let running = postgres_store(&url, &clock).await;
    let import = |file: &Path| say(&["import", "--records", name(file), "--database-url", &url]);

    cluster.sql(database, "ALTER TABLE bank_records ADD CONSTRAINT half CHECK (sequence < 1500)");
    let failed = import(&from).expect_err("it stops in the middle");
    assert!(failed.contains("violates check constraint"), "{failed}");
    assert_eq!(cluster.sql(database, "SELECT sequence FROM bank_head"), "1000");
    // Until it is finished, nobody serves it.
    let opened = PostgresStore::open(&settings(&url), clock.clone()).await;
    assert!(matches!(opened, Err(SchemaError::Importing)), "{opened:?}");
    assert_eq!(running.execute(plain(open("mallory", 5))).await, Err(Error::Unreachable));
    let mut reachable = running.reachable().expect("it depends on the engine");
    reachable.wait_for(|is_reachable| !*is_reachable).await.expect("it is told of");
    let verified = say(&["verify", "--database-url", &url]).expect_err("it is a part");
    assert!(verified.contains("the import into these books was not finished"), "{verified}");
    // Other books don't go on with it: of another ledger, and of one of the same name.
    for (number, ledger_id) in [(1, LedgerId::new(7)), (2, LEDGER)] {
        let path = folder.path().join(format!("other-{number}.db"));
        let journal = SqliteJournal::open(&path, ledger_id, 0).expect("it can be made");
        let other = MemoryStore::new(ledger_id, journal, ManualClock::new());
        let each = (0..PAYMENTS).map(|number| plain(open(&format!("other{number}"), 1)));
        other.execute_each(each.collect()).await.expect("they are kept");
        drop(other);
        let refused = import(&path).expect_err("it is another's");
        assert!(refused.contains("an import of other books into it was not finished"), "{refused}");
    }

    cluster.sql(database, "ALTER TABLE bank_records DROP CONSTRAINT half");
    let told = import(&from).expect("it goes on");
    assert_eq!(say(&["verify", "--database-url", &url]), Ok(told));
    reachable.wait_for(|is_reachable| *is_reachable).await.expect("it is told of");
    running.execute(plain(put("bob", 5))).await.expect("it answers").expect_err("he is frozen");
    let refused = import(&from).expect_err("it is there");
    assert!(refused.contains("there are books in it already"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_records_do_not_move() {
    let (cluster, clock, folder) = (Cluster::start(), ManualClock::new(), quick_folder());
    let from = folder.path().join("from.db");
    books_in(&from, &clock).await;
    let url = cluster.new_books().await;
    let change = |text: &str| {
        let changed = rusqlite::Connection::open(&from).and_then(|it| it.execute(text, []));
        assert_eq!(changed.expect("it can be changed"), 1);
    };
    change("UPDATE records SET checksum = checksum + 1 WHERE sequence = 1234");
    let (copy, base) = (folder.path().join("copy.db"), ["import", "--records", name(&from)]);
    let database = [&base[..], &["--database-url", &url]].concat();
    for arguments in [&database, &[&base[..], &["--data", name(&copy)]].concat()] {
        let failed = say(arguments).expect_err("it is damaged");
        assert!(failed.starts_with("1: ") && failed.contains("record 1234 is damaged"), "{failed}");
    }
    let opened = PostgresStore::open(&settings(&url), clock.clone()).await;
    assert!(matches!(opened, Err(SchemaError::Importing)), "{opened:?}");
    change("UPDATE records SET checksum = checksum - 1 WHERE sequence = 1234");
    say(&database).expect("it goes on");

    // On the way back, too.
    let name_of = database_of(&url);
    cluster.sql(name_of, "UPDATE bank_records SET checksum = checksum + 1 WHERE sequence = 77");
    let back = folder.path().join("back.db");
    let failed = say(&["export", "--records", name(&back), "--database-url", &url]);
    let failed = failed.expect_err("it is damaged");
    assert!(failed.contains("record 77 is damaged") && !back.exists(), "{failed}");
}

#[tokio::test]
async fn files_move_to_files_and_what_makes_no_sense_is_refused() {
    let (clock, folder) = (ManualClock::new(), quick_folder());
    let [from, to, back] = ["from.db", "to.db", "back.db"].map(|it| folder.path().join(it));
    books_in(&from, &clock).await;
    let told = say(&["import", "--records", name(&from), "--data", name(&to)]);
    assert_eq!(say(&["export", "--records", name(&back), "--data", name(&to)]), told);
    assert_eq!(say(&["verify", name(&back)]), told);

    let url = "postgres://ann@127.0.0.1/books";
    for (arguments, code, phrase) in [
        (vec!["import", "--records", name(&from), "--data", name(&to)], 1, "exists"),
        (vec!["export", "--records", name(&from), "--data", name(&to)], 1, "exists"),
        (vec!["import", "--records", "missing.db", "--data", "x.db"], 1, "does not exist"),
        (vec!["import", "--records", name(&from)], 64, "--records needs one of --data"),
        (vec!["export", "--records", "x.db"], 64, "--records needs one of --data"),
        (
            vec!["export", "--records", "x.db", "--data", name(&to), "--database-url", url],
            64,
            "--records needs one of --data",
        ),
        (vec!["import", "a.csv", "--records", "x.db"], 64, "cannot be used with"),
        (vec!["import", "a.csv", "--data", "x.db"], 64, "cannot be used with"),
        (vec!["import", "--data", "x.db"], 64, "--records"),
        (vec!["export", "--records", "x.db", "a.csv"], 64, "cannot be used with"),
        (vec!["import"], 64, "FILE"),
    ] {
        let failed = say(&arguments).expect_err("it is refused");
        assert!(failed.starts_with(&format!("{code}: ")), "{arguments:?}: {failed}");
        assert!(failed.contains(phrase), "{arguments:?}: {failed}");
    }
}
