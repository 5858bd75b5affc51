//! PostgreSQL's programs, and whom they run as. The benchmarks use this file too.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Makes a cluster in a new folder of a folder that was handed over.
pub(crate) fn make(data: &Path) {
    let made = as_postgres(&program("initdb"))
        .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"])
        .arg("--locale=C.UTF-8")
        .arg("--pgdata")
        .arg(data)
        .output()
        .expect("initdb can be run");
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
}

/// Starts it, on a port of this machine alone, with further settings `name=value`. Its log is beside its
/// folder.
pub(crate) fn run(data: &Path, port: u16, settings: &[impl AsRef<str>]) -> Child {
    let log = data.parent().expect("it is in a folder").join("log");
    let mut command = as_postgres(&program("postgres"));
    command.arg("-D").arg(data).args(["-p", &port.to_string()]);
    command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
    for setting in settings {
        command.args(["-c", setting.as_ref()]);
    }
    command
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(log).expect("a log can be written"))
        .spawn()
        .expect("PostgreSQL can be started")
}

/// Ends it at once: what it has not synced is lost to it as in a crash of its own. An error when it doesn't run.
pub(crate) fn crash(data: &Path) -> Result<(), String> {
    let stopped = as_postgres(&program("pg_ctl"))
        .args(["stop", "--mode=immediate", "--silent", "--pgdata"])
        .arg(data)
        .output()
        .expect("pg_ctl can be run");
    if stopped.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&stopped.stderr).into_owned())
    }
}

/// Waits until one that was started lets clients in.
pub(crate) fn wait_until_ready(port: u16) {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        let asked = Command::new(program("pg_isready"))
            .args(["--quiet", "--host=127.0.0.1", "--port", &port.to_string()])
            .status()
            .expect("pg_isready can be run");
        if asked.success() {
            return;
        }
        assert!(Instant::now() < limit, "PostgreSQL did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The address of a database of one.
pub(crate) fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

/// Runs SQL as the superuser: what it prints.
pub(crate) fn sql(url: &str, text: &str) -> String {
    let output = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
        .args(["--set=ON_ERROR_STOP=1", "--dbname", url, "--command", text])
        .output()
        .expect("psql can be run");
    assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
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
pub(crate) fn program(name: &str) -> PathBuf {
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
