//! A PostgreSQL of a benchmark's own, on a disk, which ends with it.

#[path = "../../tests/bank/support/postgresql.rs"]
pub(crate) mod postgresql;

use std::path::{Path, PathBuf};
use std::process::Child;

use tempfile::TempDir;

/// PostgreSQL, running.
pub(crate) struct Cluster {
    data: PathBuf,
    server: Child,
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Cluster {
    /// Starts one in a new folder of a folder. What is not said by the settings `name=value` is as it comes, but
    /// that it listens on this machine alone, over TCP.
    pub(crate) fn start(folder: &Path, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir_in(folder).expect("a folder can be made");
        postgresql::hand_over(folder.path());
        let data = folder.path().join("data");
        postgresql::make(&data);
        let port = postgresql::free_port();
        let server = postgresql::run(&data, port, settings);
        let cluster = Self { data, server, port, _folder: folder };
        postgresql::wait_until_ready(port);
        cluster
    }

    /// The address of a database of it.
    pub(crate) fn url(&self, database: &str) -> String {
        postgresql::url(self.port, database)
    }

    /// Runs SQL as the superuser: what it prints.
    pub(crate) fn sql(&self, database: &str, text: &str) -> String {
        postgresql::sql(&self.url(database), text)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = postgresql::crash(&self.data);
        let _ = self.server.wait();
    }
}
