//! A PostgreSQL of a test's own, on a port of its own, which ends with the test.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bank::ledger::Command as LedgerCommand;
use bank::store::{EngineSettings, PostgresStore, Store, migrate};
use tempfile::TempDir;

use super::commands::{account, plain};
use super::{LEDGER, ManualClock, postgresql, quick_folder};

/// PostgreSQL, running.
pub(crate) struct Cluster {
    pub(crate) folder: TempDir,
    settings: Vec<String>,
    server: Child,
    pub(crate) port: u16,
    databases: AtomicU32,
}

impl Cluster {
    /// Starts one over an empty folder.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one over an empty folder, with further settings `name=value`.
    pub(crate) fn start_with(further: &[&str]) -> Self {
        let folder = quick_folder();
        postgresql::hand_over(folder.path());
        postgresql::make(&folder.path().join("data"));
        Self::over(folder, further)
    }

    /// Starts one over a folder that has been handed over, with a cluster in its `data`.
    pub(crate) fn over(folder: TempDir, further: &[&str]) -> Self {
        let settings =
            ["max_connections=50", "shared_buffers=32MB", "autovacuum=off", "max_wal_size=2GB"];
        let settings: Vec<String> =
            settings.iter().chain(further).map(|setting| (*setting).to_owned()).collect();
        let port = postgresql::free_port();
        let server = postgresql::run(&folder.path().join("data"), port, &settings);
        postgresql::wait_until_ready(port);
        Self { folder, settings, server, port, databases: AtomicU32::new(0) }
    }

    /// The address of a database of it.
    pub(crate) fn url(&self, database: &str) -> String {
        postgresql::url(self.port, database)
    }

    /// A new database with the bank's tables: its address.
    pub(crate) async fn new_books(&self) -> String {
        let url = self.url(&self.new_database());
        migrate(&settings(&url), LEDGER).await.expect("the tables can be made");
        url
    }

    /// A new, empty database: its name.
    pub(crate) fn new_database(&self) -> String {
        let name = format!("books{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// A connection of the test's own.
    pub(crate) async fn connect(&self, database: &str) -> tokio_postgres::Client {
        let connected = tokio_postgres::connect(&self.url(database), tokio_postgres::NoTls).await;
        let (client, connection) = connected.expect("it can be reached");
        tokio::spawn(connection);
        client
    }

    /// Waits until a question has an answer.
    pub(crate) async fn until(&self, database: &str, question: &str, answer: &str) {
        while self.sql(database, question) != answer {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until a process of this name stands before a lock.
    pub(crate) async fn until_blocked(&self, application: &str) {
        let question = format!(
            "SELECT count(*) > 0 FROM pg_stat_activity \
             WHERE application_name = '{application}' AND wait_event_type = 'Lock'"
        );
        self.until("postgres", &question, "t").await;
    }

    /// Runs SQL as the superuser: what it prints.
    pub(crate) fn sql(&self, database: &str, text: &str) -> String {
        postgresql::sql(&self.url(database), text)
    }

    /// From now on, a role must give its password.
    pub(crate) fn require_password(&self, role: &str) {
        let path = self.data().join("pg_hba.conf");
        let rules = std::fs::read_to_string(&path).expect("it is there");
        let line = format!("host all {role} 127.0.0.1/32 scram-sha-256\n");
        std::fs::write(&path, line + &rules).expect("it can be written");
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    /// Ends it at once: what it has not synced is lost to it as in a crash of its own.
    pub(crate) fn crash(&mut self) {
        postgresql::crash(&self.data()).expect("it runs");
        let _ = self.server.wait();
    }

    /// Starts it again after it has ended.
    pub(crate) fn restart(&mut self) {
        self.server = postgresql::run(&self.data(), self.port, &self.settings);
        postgresql::wait_until_ready(self.port);
    }

    /// Sends a signal to every process of it.
    pub(crate) fn signal_all(&self, signal: &str) {
        let pid_file = self.data().join("postmaster.pid");
        let text = std::fs::read_to_string(pid_file).expect("it runs");
        let postmaster = text.lines().next().expect("it has a process").to_owned();
        let children =
            Command::new("pgrep").args(["-P", &postmaster]).output().expect("pgrep runs");
        let children = String::from_utf8_lossy(&children.stdout).into_owned();
        for process in std::iter::once(postmaster.as_str()).chain(children.lines()) {
            // A child may have ended meanwhile.
            let _ = Command::new("kill").args([signal, process]).stderr(Stdio::null()).status();
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.signal_all("-CONT");
        // A test that has crashed it may not have started it again.
        let _ = postgresql::crash(&self.data());
        let _ = self.server.wait();
    }
}

/// The database that a URL names.
pub(crate) fn database_of(url: &str) -> &str {
    url.rsplit('/').next().expect("it names one")
}

/// The settings for a database.
pub(crate) fn settings(url: &str) -> EngineSettings {
    EngineSettings::parse(url).expect("it is a URL")
}

/// The bank over a database that has its tables.
pub(crate) async fn postgres_store(url: &str, clock: &ManualClock) -> PostgresStore<ManualClock> {
    PostgresStore::open(&settings(url), clock.clone()).await.expect("it can be opened")
}

/// The same, which the engine knows by a name, and whose transactions may take so long.
pub(crate) async fn named_store(
    url: &str,
    name: &str,
    timeout: Duration,
    clock: &ManualClock,
) -> Arc<PostgresStore<ManualClock>> {
    let mut how = settings(&format!("{url}?application_name={name}"));
    how.timeout = timeout;
    Arc::new(PostgresStore::open(&how, clock.clone()).await.expect("it can be opened"))
}

/// Has something done that is not refused.
pub(crate) async fn apply(store: &PostgresStore<ManualClock>, command: LedgerCommand) {
    store.execute(plain(command)).await.expect("it answers").expect("it is not refused");
}

/// What is posted on an account.
pub(crate) async fn posted(store: &PostgresStore<ManualClock>, id: &str) -> i64 {
    let view = store.account(&account(id)).await.expect("it answers").expect("it is there");
    view.account.balance.posted
}
