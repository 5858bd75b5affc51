//! A PostgreSQL of a test's own, on a port of its own, which ends with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bank::store::{EngineSettings, PostgresStore, migrate};
use tempfile::TempDir;

use super::{LEDGER, ManualClock, quick_folder};

/// PostgreSQL, running.
pub(crate) struct Cluster {
    folder: TempDir,
    server: Child,
    pub(crate) port: u16,
    databases: AtomicU32,
}

impl Cluster {
    /// Starts one over an empty folder.
    pub(crate) fn start() -> Self {
        let folder = quick_folder();
        hand_over(folder.path());
        let data = folder.path().join("data");
        let made = as_postgres(&program("initdb"))
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"])
            .arg("--locale=C.UTF-8")
            .arg("--pgdata")
            .arg(&data)
            .output()
            .expect("initdb can be run");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let server = run(&data, port);
        let cluster = Self { folder, server, port, databases: AtomicU32::new(0) };
        cluster.wait_until_ready();
        cluster
    }

    /// The address of a database of it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
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
        let output = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set=ON_ERROR_STOP=1", "--dbname", &self.url(database), "--command", text])
            .output()
            .expect("psql can be run");
        assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// From now on, a role must give its password.
    pub(crate) fn require_password(&self, role: &str) {
        let path = self.folder.path().join("data/pg_hba.conf");
        let rules = std::fs::read_to_string(&path).expect("it is there");
        let line = format!("host all {role} 127.0.0.1/32 scram-sha-256\n");
        std::fs::write(&path, line + &rules).expect("it can be written");
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    /// Ends it at once: what it has not synced is lost to it as in a crash of its own.
    pub(crate) fn crash(&mut self) {
        let data = self.folder.path().join("data");
        let stopped = as_postgres(&program("pg_ctl"))
            .args(["stop", "--mode=immediate", "--pgdata"])
            .arg(&data)
            .output()
            .expect("pg_ctl can be run");
        assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
        let _ = self.server.wait();
    }

    /// Starts it again after it has ended.
    pub(crate) fn restart(&mut self) {
        self.server = run(&self.folder.path().join("data"), self.port);
        self.wait_until_ready();
    }

    /// Sends a signal to every process of it.
    pub(crate) fn signal_all(&self, signal: &str) {
        let pid_file = self.folder.path().join("data/postmaster.pid");
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

    fn wait_until_ready(&self) {
        let limit = Instant::now() + Duration::from_secs(60);
        loop {
            let asked = Command::new(program("pg_isready"))
                .args(["--quiet", "--host=127.0.0.1", "--port", &self.port.to_string()])
                .status()
                .expect("pg_isready can be run");
            if asked.success() {
                return;
            }
            assert!(Instant::now() < limit, "PostgreSQL did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.signal_all("-CONT");
        let data = self.folder.path().join("data");
        let _ = as_postgres(&program("pg_ctl"))
            .args(["stop", "--mode=immediate", "--silent", "--pgdata"])
            .arg(&data)
            .status();
        let _ = self.server.wait();
    }
}

/// The settings for a database.
pub(crate) fn settings(url: &str) -> EngineSettings {
    EngineSettings::parse(url).expect("it is a URL")
}

/// The bank over a database that has its tables.
pub(crate) async fn postgres_store(url: &str, clock: &ManualClock) -> PostgresStore<ManualClock> {
    PostgresStore::open(&settings(url), clock.clone()).await.expect("it can be opened")
}

fn run(data: &Path, port: u16) -> Child {
    let log = data.parent().expect("it is in a folder").join("log");
    as_postgres(&program("postgres"))
        .arg("-D")
        .arg(data)
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
        .args(["-c", "unix_socket_directories=", "-c", "max_connections=50"])
        .args(["-c", "shared_buffers=32MB", "-c", "autovacuum=off", "-c", "max_wal_size=2GB"])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(log).expect("a log can be written"))
        .spawn()
        .expect("PostgreSQL can be started")
}

/// A command that runs as somebody whom PostgreSQL puts up with, and ends with this process.
pub(crate) fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig=QUIT");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg(program).current_dir("/");
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives a folder to whom PostgreSQL runs as.
pub(crate) fn hand_over(folder: &Path) {
    if is_root() {
        let given = Command::new("chown").arg("postgres").arg(folder).status().expect("chown runs");
        assert!(given.success(), "the folder can't be given away");
    }
}

/// A program of PostgreSQL's, which Debian keeps out of the way.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|entry| entry.path().join("bin").join(name))
        .filter(|it| it.exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| name.into())
}

/// A port that nobody uses.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}
