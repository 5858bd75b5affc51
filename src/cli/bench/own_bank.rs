//! A bank of the load's own: a process of this binary on a free port, which ends with the load.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tonic::transport::Uri;

use super::super::Failure;
use super::super::output::tell;

/// A bank that runs.
#[derive(Debug)]
pub(super) struct OwnBank {
    child: Child,
    pub(super) endpoint: Uri,
}

impl OwnBank {
    /// Starts it, with its books in memory or in a new file.
    pub(super) fn start(data: Option<&Path>) -> Result<Self, Failure> {
        let failed =
            |error: std::io::Error| Failure::Failed(format!("a bank can't be started: {error}"));
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        // A line a call would be half of the work, and would be read by nobody.
        command.args(["--log-format", "json", "--log-level", "warn,bank::cli=info"]);
        if let Some(path) = data {
            if path.exists() {
                let text = "--data must name a new file: what a load posts stays in the books";
                return Err(Failure::Misused(text.to_owned()));
            }
            command.arg("--data").arg(path);
        }
        // Settings in the environment are of other banks. Ctrl-C is for the load, which ends its bank.
        command.env_clear().process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().map_err(failed)?;
        let log = child.stderr.take().map(BufReader::new);
        // From here on it is ended whatever happens.
        let mut own = Self { child, endpoint: Uri::default() };
        own.endpoint =
            log.map_or_else(|| Err(failed(std::io::ErrorKind::BrokenPipe.into())), listen)?;
        Ok(own)
    }

    /// Its process.
    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends it, as an operator would.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        let failed =
            |error: std::io::Error| Failure::Failed(format!("the bank can't be ended: {error}"));
        if let Some(process) = Pid::from_raw(self.child.id().cast_signed()) {
            kill_process(process, Signal::TERM).map_err(|error| failed(error.into()))?;
        }
        let status = self.child.wait().map_err(failed)?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::Failed(format!("the bank has failed: {status}")))
        }
    }
}

impl Drop for OwnBank {
    fn drop(&mut self) {
        // It has ended already, unless the load failed; then nothing of it is of use.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads where it listens; whatever else it says but how it is doing is passed on.
fn listen(mut log: BufReader<ChildStderr>) -> Result<Uri, Failure> {
    let mut line = String::new();
    log.read_line(&mut line).map_err(|error| Failure::Failed(error.to_string()))?;
    let address = serde_json::from_str::<Value>(&line).ok().and_then(|line| {
        let address = line.get("address")?.as_str()?;
        format!("http://{address}").parse().ok()
    });
    let endpoint = address.ok_or_else(|| {
        let line = line.trim().trim_start_matches("bank: ");
        Failure::Failed(format!("a bank can't be started: {line}"))
    })?;
    thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let said = serde_json::from_str::<Value>(&line);
            if said.map_or(true, |said| said.get("level") != Some(&"INFO".into())) {
                tell(&line);
            }
        }
    });
    Ok(endpoint)
}
