//! Books are backed up by the engine's own tools while banks write, and restored elsewhere.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bank::store::journal::Head;
use bank::store::{DatabaseArchive, Store};
use tokio::task::JoinSet;

use crate::database_checks::rich_books;
use crate::support::cluster::{Cluster, postgres_store, settings};
use crate::support::commands::{pay, plain, put, set_aside};
use crate::support::postgresql::{as_postgres, hand_over, program};
use crate::support::process::{bank, run};
use crate::support::{ManualClock, quick_folder};

/// Payments and holds that go on until they are told to end.
struct Writers {
    is_done: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Writers {
    /// Begins them, and waits until books of some groups are there.
    async fn start(url: &str, clock: &ManualClock) -> Self {
        let store = Arc::new(postgres_store(url, clock).await);
        store.execute(plain(put("alice", 1_000_000_000))).await.expect("it answers").expect("fine");
        let is_done = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            let (store, is_done) = (store.clone(), is_done.clone());
            tasks.spawn(async move {
                while !is_done.load(Ordering::SeqCst) {
                    for command in [pay("alice", "carol", 1), set_aside("alice", "carol", 1)] {
                        let answer = store.execute(plain(command)).await.expect("it answers");
                        answer.expect("there is enough");
                    }
                }
            });
        }
        let mut writers = Self { is_done, tasks };
        writers.go_on(url).await;
        writers
    }

    /// Waits until some more is written.
    async fn go_on(&mut self, url: &str) {
        let enough = head(url).await.sequence.number() + 100;
        while head(url).await.sequence.number() < enough {
            assert!(self.tasks.try_join_next().is_none(), "one of them has ended");
        }
    }

    async fn end(self) {
        self.is_done.store(true, Ordering::SeqCst);
        self.tasks.join_all().await;
    }
}

async fn archive(url: &str) -> DatabaseArchive {
    DatabaseArchive::open(&settings(url)).await.expect("it can be opened")
}

async fn head(url: &str) -> Head {
    archive(url).await.head().await.expect("it answers")
}

/// What `bank verify` says of books that are right, with a head that was noted down.
fn verified(url: &str, noted: Head) -> String {
    let noted = format!("{}:{}", noted.sequence.number(), noted.hash);
    let checked = run(&mut bank(&["verify", "--database-url", url, "--head", &noted]));
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    String::from_utf8(checked.stdout).expect("it is UTF-8")
}

/// The totals of all currencies, as SQL has them, and as the accounts add up to.
fn totals(cluster: &Cluster, database: &str) -> String {
    cluster.sql(
        database,
        "SELECT c.*, (SELECT sum(posted) FILTER (WHERE number > 0) FROM bank_accounts AS a \
         WHERE a.currency_code = c.currency_code) FROM bank_currencies AS c ORDER BY 1",
    )
}

fn succeed(command: &mut Command) {
    let output = command.output().expect("it can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A dump is of one moment, and a bank goes on with what was restored of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dump_that_is_made_while_banks_write_is_whole() {
    let (cluster, clock) = (Cluster::start(), ManualClock::new());
    let database = rich_books(&cluster, &clock).await;
    let url = cluster.url(&database);
    let folder = quick_folder();
    let file = folder.path().join("books.dump");
    let dump = || {
        let mut command = Command::new(program("pg_dump"));
        command.args(["--format=custom", "--dbname", &url, "--file"]).arg(&file);
        command
    };
    let restore = || {
        let restored = cluster.new_database();
        let mut command = Command::new(program("pg_restore"));
        command.args(["--exit-on-error", "--dbname", &cluster.url(&restored)]).arg(&file);
        succeed(&mut command);
        restored
    };

    let mut writers = Writers::start(&url, &clock).await;
    let before = head(&url).await;
    // The dump has chosen its moment when it waits for this lock, and nobody has stopped writing.
    cluster.sql(&database, "CREATE TABLE gate ()");
    let gate = cluster.connect(&database).await;
    gate.batch_execute("BEGIN; LOCK TABLE gate").await.expect("it is free");
    let dumping = tokio::task::spawn_blocking({
        let mut dump = dump();
        move || succeed(&mut dump)
    });
    cluster.until_blocked("pg_dump").await;
    let chosen = head(&url).await;
    writers.go_on(&url).await;
    gate.batch_execute("COMMIT").await.expect("it is held");
    dumping.await.expect("it is made");
    writers.end().await;
    let restored = restore();
    let restored_url = cluster.url(&restored);
    let dumped = head(&restored_url).await;
    assert!(before.sequence <= dumped.sequence && dumped.sequence <= chosen.sequence);
    verified(&restored_url, before);
    verified(&url, dumped);

    // At rest both say the same.
    succeed(&mut dump());
    let restored = restore();
    let restored_url = cluster.url(&restored);
    let end = head(&url).await;
    assert_eq!(verified(&restored_url, end), verified(&url, end).replace(&url, &restored_url));
    assert_eq!(totals(&cluster, &restored), totals(&cluster, &database));

    let store = postgres_store(&restored_url, &clock).await;
    let paid = store.execute(plain(pay("alice", "carol", 1))).await.expect("it answers");
    assert_eq!(paid.expect("there is enough").record.sequence, end.sequence.next());
    drop(store);
    verified(&restored_url, end);
}

/// A base backup that was made while banks wrote, and the WAL archive, give the books of a moment in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_base_backup_is_brought_to_any_moment() {
    let (archive, backup, clock) = (quick_folder(), quick_folder(), ManualClock::new());
    hand_over(archive.path());
    hand_over(backup.path());
    let kept = archive.path().display();
    let cluster = Cluster::start_with(&[
        "archive_mode=on",
        &format!("archive_command=test ! -f {kept}/%f && cp %p {kept}/%f"),
    ]);
    let database = rich_books(&cluster, &clock).await;
    let url = cluster.url(&database);

    let mut writers = Writers::start(&url, &clock).await;
    let data = backup.path().join("data");
    let base_backup = || {
        let mut command = as_postgres(&program("pg_basebackup"));
        command.args(["--dbname", &cluster.url("postgres"), "--checkpoint=fast", "--pgdata"]);
        command.arg(&data);
        succeed(&mut command);
    };
    tokio::task::block_in_place(base_backup);
    writers.go_on(&url).await;
    writers.end().await;
    let noon = head(&url).await;
    let totals_at_noon = totals(&cluster, &database);
    cluster.sql("postgres", "SELECT pg_create_restore_point('noon')");
    let store = postgres_store(&url, &clock).await;
    store.execute(plain(pay("alice", "carol", 1))).await.expect("it answers").expect("fine");
    drop(store);
    let last = cluster.sql("postgres", "SELECT pg_walfile_name(pg_switch_wal())");
    let question = format!("SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver");
    cluster.until("postgres", &question, "t").await;
    drop(cluster);

    let signal = data.join("recovery.signal");
    std::fs::write(&signal, "").expect("it can be written");
    hand_over(&signal);
    let restored = Cluster::over(
        backup,
        &[
            &format!("restore_command=cp {kept}/%f %p"),
            "recovery_target_name=noon",
            "recovery_target_action=promote",
        ],
    );
    restored.until("postgres", "SELECT pg_is_in_recovery()", "f").await;
    let restored_url = restored.url(&database);
    assert_eq!(head(&restored_url).await, noon);
    verified(&restored_url, noon);
    assert_eq!(totals(&restored, &database), totals_at_noon);
}
