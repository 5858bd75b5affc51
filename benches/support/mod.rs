//! What the benchmarks share: a server as a process of its own, and the floor to compare it with.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

pub(crate) mod cluster;
pub(crate) mod echo;
pub(crate) mod floor;
pub(crate) mod held;
pub(crate) mod load;
pub(crate) mod parts;
pub(crate) mod table;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// The bank as a process of its own, which ends with this one.
pub(crate) struct Bank {
    child: Child,
    pub(crate) endpoint: String,
}

impl Bank {
    /// Starts it, with further arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(Self::command().args(arguments))
    }

    /// Starts one whose allocator gives back at once what is free, so that what is resident is what is kept.
    pub(crate) fn start_without_spare_memory(arguments: &[&str]) -> Self {
        Self::spawn(Self::command().args(arguments).env("MIMALLOC_PURGE_DELAY", "0"))
    }

    /// Starts the floor server: this program, with the word "floor".
    pub(crate) fn start_floor() -> Self {
        let program = std::env::current_exe().expect("it is known");
        Self::spawn(Command::new(program).arg("floor"))
    }

    fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bank"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-level", "bank::cli=info,warn"]);
        command
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it can be started");
        let mut line = String::new();
        let log = child.stderr.as_mut().expect("it is piped");
        BufReader::new(log).read_line(&mut line).expect("it logs");
        let start = line.find("127.0.0.1:").expect("it says where it listens");
        let address: String =
            line[start..].chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
        Self { child, endpoint: format!("http://{address}") }
    }

    /// Waits until it has read its books and serves.
    pub(crate) async fn wait_until_ready(&self) {
        let endpoint = Endpoint::from_shared(self.endpoint.clone()).expect("it is a URL");
        let mut health = HealthClient::new(endpoint.connect().await.expect("it listens"));
        let mut states =
            health.watch(HealthCheckRequest::default()).await.expect("it tells").into_inner();
        while let Some(state) = states.message().await.expect("it goes on") {
            if state.status() == ServingStatus::Serving {
                break;
            }
        }
    }

    /// The memory that it uses, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process is there");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux tells");
        let kibibytes: u64 = line
            .split_whitespace()
            .nth(1)
            .and_then(|number| number.parse().ok())
            .expect("it is a number");
        kibibytes * 1024
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        // It has nothing to lose: the books were made for this run.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
