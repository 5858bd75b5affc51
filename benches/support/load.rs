//! Load on a server: `bank bench` as a process of its own, and h2load as a second opinion on it.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Bank;

/// How long each load lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warm_up_ms: u64,
    pub(crate) measured_ms: u64,
}

/// What came of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Operations a second.
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// What the generator spent on an operation.
    pub(crate) generator_us: f64,
}

/// Loads a server by `bank bench`.
pub(crate) fn bench(server: &Bank, times: Times, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bank"));
    command.args(["bench", "--endpoint", &server.endpoint, "-o", "json"]);
    command.args(["--warm-up", &format!("{}ms", times.warm_up_ms)]);
    command.args(["--duration", &format!("{}ms", times.measured_ms)]);
    let output = command.args(arguments).env_clear().output().expect("it can be started");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "bank bench {arguments:?}: {text}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    // A figure of calls that failed would be one of something else.
    assert_eq!(report["errors"], Value::Array(Vec::new()), "bank bench {arguments:?}: errors");
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    Outcome {
        per_second: number(&report["operations_per_second"]),
        p50_us: number(&report["latency"]["p50_us"]),
        p99_us: number(&report["latency"]["p99_us"]),
        generator_us: number(&report["generator"]["cpu_us_per_operation"]),
    }
}

/// Loads a server by h2load with one transfer, without a request id, again and again over 8 connections:
/// answers a second. None where it isn't installed.
pub(crate) fn h2load(server: &Bank, times: Times, in_flight: u32) -> Option<f64> {
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    file.write_all(&transfer()).expect("it can be written");
    let seconds = |millis: u64| (millis.div_ceil(1000)).to_string();
    let output = Command::new("h2load")
        .args(["-t", "1", "-c", "8", "-m", &(in_flight / 8).to_string()])
        .args(["-D", &seconds(times.measured_ms), "--warm-up-time", &seconds(times.warm_up_ms)])
        .args(["-H", "content-type: application/grpc", "-H", "te: trailers", "-d"])
        .arg(file.path())
        .arg(format!("{}/bank.v1.BankService/Transfer", server.endpoint))
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("finished in"))?;
    line.split(", ").nth(1)?.strip_suffix(" req/s")?.parse().ok()
}

/// The message with its prefix.
fn transfer() -> Vec<u8> {
    use bank::grpc::proto::{Money, TransferRequest};
    let request = TransferRequest {
        from_account_id: "bench-0000000".to_owned(),
        to_account_id: "bench-0000001".to_owned(),
        amount: Some(Money { currency_code: "BENCH/0".to_owned(), minor_units: 1 }),
        ..TransferRequest::default()
    };
    let message = prost::Message::encode_to_vec(&request);
    let length = u32::try_from(message.len()).expect("it is short");
    [&[0], &length.to_be_bytes()[..], &message].concat()
}
