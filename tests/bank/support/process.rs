//! The binary as a process.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use procfs::ProcResult;
use procfs::process::{Process, Task};
use rustix::process::{Pid, Signal, kill_process};

/// The binary with its arguments, and with no settings of the environment that the tests run in.
pub(crate) fn bank(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bank"));
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BANK_") {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn run(command: &mut Command) -> Output {
    command.output().expect("it can be started")
}

/// A running bank, which is killed if the test ends before it does.
pub(crate) struct Running {
    child: Child,
    log: Option<BufReader<ChildStderr>>,
    /// The line of its log that says where it listens.
    pub(crate) first: String,
    pub(crate) address: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it can be started");
        let mut log = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut first = String::new();
        while !first.contains("listening") {
            first.clear();
            let length = log.read_line(&mut first).expect("it logs");
            assert_ne!(length, 0, "it has ended before it listened");
        }
        let address = Self::address_in(&first);
        Self { child, log: Some(log), first, address }
    }

    /// The first address in a line of its log.
    pub(crate) fn address_in(line: &str) -> String {
        let start = ["127.0.0.1:", "0.0.0.0:"]
            .iter()
            .find_map(|ip| line.find(ip))
            .unwrap_or_else(|| panic!("it does not say where it listens: {line}"));
        line[start..].chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect()
    }

    /// The next line of its log.
    pub(crate) fn next_line(&mut self) -> String {
        let mut line = String::new();
        let log = self.log.as_mut().expect("somebody reads it");
        log.read_line(&mut line).expect("it logs");
        line
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it is called with TLS.
    pub(crate) fn secure_endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Waits for a line of its log with these words: all lines up to that one.
    pub(crate) fn wait_for(&mut self, words: &str) -> Vec<String> {
        let log = self.log.as_mut().expect("it is read");
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| !line.contains(words)) {
            let mut line = String::new();
            let length = log.read_line(&mut line).expect("it is text");
            assert_ne!(length, 0, "the log has ended without {words}: {lines:?}");
            lines.push(line);
        }
        lines
    }

    /// Stops reading its log.
    pub(crate) fn close_log(&mut self) {
        self.log = None;
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, and doesn't wait for its end.
    pub(crate) fn kill_now(&mut self) {
        self.child.kill().expect("it is there");
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.kill_now();
        self.child.wait().expect("it ends");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("it has an id");
        kill_process(pid, signal).expect("it is there");
    }

    /// Has it stand still, in every one of its threads: a signal alone reaches them one after the other.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        let process = Process::new(self.child.id().cast_signed()).expect("it is there");
        let stands = |task: ProcResult<Task>| {
            task.and_then(|task| task.stat()).is_ok_and(|stat| stat.state == 'T')
        };
        while !process.tasks().expect("it is there").all(stands) {
            std::thread::yield_now();
        }
    }

    /// Waits for its end: the exit code, and what it has logged since it listened.
    pub(crate) fn end(mut self) -> (Option<i32>, Vec<String>) {
        let log = self.log.take().into_iter().flat_map(BufRead::lines);
        let lines = log.map(|line| line.expect("it is text")).collect();
        (self.child.wait().expect("it ends").code(), lines)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already in every test that passes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
