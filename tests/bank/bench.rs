//! `bank bench`: what it counts is what the bank has posted, and what it can't do it refuses.
//!
//! Nothing here looks at how fast anything is.

use std::process::{Output, Stdio};

use bank::grpc::proto::GetTrialBalanceRequest;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};

use crate::support::process::{Running, bank as bank_command, run};

fn running() -> Running {
    // Nobody reads a line a call here.
    let quiet = ["serve", "--listen", "127.0.0.1:0", "--log-level", "warn,bank::cli=info"];
    Running::start(&mut bank_command(&quiet))
}

/// A short load of which nothing is left out.
const SHORT: [&str; 7] = ["bench", "--warm-up", "0s", "--duration", "300ms", "-o", "json"];

fn bench(arguments: &[&str]) -> Output {
    run(&mut bank_command(&[&SHORT[..], arguments].concat()))
}

#[track_caller]
fn report_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[track_caller]
fn report(arguments: &[&str]) -> Value {
    let output = bench(arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    report_of(&output)
}

#[track_caller]
fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// How many transactions there are of the asset that loads move.
async fn posted(bank: &Running) -> u64 {
    let mut client = BankServiceClient::connect(bank.endpoint()).await.expect("it listens");
    let request = GetTrialBalanceRequest { currency_code: "BENCH/0".to_owned() };
    let totals = client.get_trial_balance(request).await.expect("it answers").into_inner().totals;
    totals.first().map_or(0, |totals| totals.transaction_count.cast_unsigned())
}

#[tokio::test]
async fn what_is_counted_is_what_was_posted() {
    const ACCOUNTS: u64 = 20;
    let bank = running();
    let endpoint = bank.endpoint();
    let mut before = ACCOUNTS;
    for (mix, further) in [
        ("transfer", &[][..]),
        ("deposit", &["--no-request-id"][..]),
        ("batch", &["--batch-size", "30"][..]),
        ("stream", &[][..]),
        ("transfer=2,balance,statement,batch=3", &["--batch-size", "7", "--threads", "3"][..]),
        ("transfer", &["--accounts-distribution", "zipf", "--in-flight", "3"][..]),
        ("stream", &["--accounts-distribution", "hot-pair", "--rate", "1000"][..]),
    ] {
        let load = ["--endpoint", &endpoint, "--accounts", "20", "--mix", mix];
        let report = report(&[&load[..], further].concat());
        let books = &report["books"];
        let acknowledged = number(&books["acknowledged"]);
        let after = posted(&bank).await;
        assert_eq!(number(&books["posted"]), acknowledged, "{report:#}");
        assert_eq!(after - before, acknowledged, "{report:#}");
        assert_eq!(books["difference"], 0);
        assert_eq!(report["errors"], json!([]));
        assert_eq!(report["bank"]["is_own"], false);
        before = after;

        let calls = report["by_call"].as_array().expect("it is a list");
        let sum: u64 = calls.iter().map(|call| number(&call["calls"])).sum();
        assert_eq!(sum, number(&report["calls"]), "{report:#}");
        assert!(sum > 0 && acknowledged > 0, "{report:#}");
        let latency = &report["latency"];
        let order = ["p50_us", "p90_us", "p99_us", "p99_9_us", "max_us"];
        assert!(order.is_sorted_by_key(|name| number(&latency[name])), "{report:#}");
    }
}

#[tokio::test]
async fn an_open_loop_calls_when_it_is_due() {
    let bank = running();
    let endpoint = bank.endpoint();
    let load = ["--endpoint", &endpoint, "--accounts", "10", "--rate", "500", "--threads", "2"];
    let report = report(&load);
    // 300 ms at 500 a second.
    let acknowledged = number(&report["books"]["acknowledged"]);
    assert_eq!(acknowledged + number(&report["unsent"]), 150, "{report:#}");
}

#[tokio::test]
async fn errors_are_counted_by_their_reasons() {
    let bank = running();
    let endpoint = bank.endpoint();
    let pair = ["--endpoint", &endpoint, "--accounts-distribution", "hot-pair", "--accounts", "2"];
    report(&pair);
    let freeze = ["account", "freeze", "bench-0000001", "--endpoint", &endpoint];
    assert!(run(&mut bank_command(&freeze)).status.success());

    let frozen = |report: &Value, at_least: u64| {
        let errors = report["errors"].as_array().expect("it is a list").clone();
        assert_eq!(errors.len(), 1, "{report:#}");
        assert_eq!(errors[0]["code"], "FAILED_PRECONDITION");
        assert_eq!(errors[0]["reason"], "ACCOUNT_FROZEN");
        assert!(number(&errors[0]["count"]) >= at_least, "{report:#}");
    };
    let mixed = report(&[&pair[..], &["--mix", "transfer,balance"]].concat());
    frozen(&mixed, 1);
    assert_eq!(mixed["books"]["acknowledged"], 0);
    let balances = number(&mixed["by_call"][0]["calls"]);
    assert_eq!(balances, number(&mixed["calls"]), "{mixed:#}");

    for (mix, at_least) in [("transfer", 1), ("batch", 30), ("stream", 1)] {
        let load = [&pair[..], &["--mix", mix, "--batch-size", "30"]].concat();
        let output = bench(&load);
        let report = report_of(&output);
        frozen(&report, at_least);
        assert_eq!(report["books"]["acknowledged"], 0, "{report:#}");
    }
    let output = bench(&pair);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "bank: no call succeeded\n");
}

#[tokio::test]
async fn a_bank_that_dies_under_the_load_is_reported() {
    let bank = running();
    let endpoint = bank.endpoint();
    let load = ["--endpoint", &endpoint, "--accounts", "2", "--duration", "1h", "--timeout", "1s"];
    let mut command =
        bank_command(&[&["bench", "--warm-up", "0s", "-o", "json"], &load[..]].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    while posted(&bank).await < 10 {}
    bank.kill();
    let process = Pid::from_raw(child.id().cast_signed()).expect("it has an id");
    kill_process(process, Signal::TERM).expect("it is there");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let report = report_of(&output);
    assert_eq!(report["books"], Value::Null);
    let errors = report["errors"].as_array().expect("it is a list");
    let is_broken = |error: &Value| error["reason"] == "CONNECTION_BROKEN";
    assert!(errors.iter().any(is_broken), "{report:#}");
}

#[tokio::test]
async fn its_own_bank_keeps_to_its_file() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let data = folder.path().join("bank.db");
    let data = data.to_str().expect("it is text");
    let other = running();
    let mut command = bank_command(&[&SHORT[..], &["--data", data, "--accounts", "10"]].concat());
    // What other commands are told is of no concern to it.
    command.env("BANK_ENDPOINT", other.endpoint()).env("BANK_DATA", "/no/such/folder/bank.db");
    let output = run(&mut command);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report_of(&output);
    assert_eq!(report["bank"]["is_own"], true);
    assert_eq!(posted(&other).await, 0);

    let verified = run(&mut bank_command(&["verify", data, "-o", "json"]));
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let verified: Value = serde_json::from_slice(&verified.stdout).expect("it is JSON");
    let expected = number(&report["books"]["posted"]) + 10;
    assert_eq!(number(&verified["transactions"]), expected, "{verified:#}");

    let again = bench(&["--data", data]);
    assert_eq!(again.status.code(), Some(64), "{again:?}");
}

#[test]
fn statements_have_entries_to_show() {
    let report = report(&["--accounts", "10", "--mix", "statement"]);
    assert_eq!(report["errors"], json!([]));
    assert_eq!(report["by_call"][0]["call"], "statement");
    // Of its own bank it knows how much memory and time it uses, on Linux.
    assert_eq!(report["server"].is_object(), cfg!(target_os = "linux"));
}

#[test]
fn absurd_loads_are_refused() {
    for arguments in [
        &["--rate", "0"][..],
        &["--rate", "10000001"],
        &["--in-flight", "0"],
        &["--connections", "0"],
        &["--threads", "65"],
        &["--accounts", "1"],
        &["--accounts", "10000001"],
        &["--batch-size", "8193"],
        &["--fill", "100000001"],
        &["--duration", "2h"],
        &["--duration", "1ms"],
        &["--warm-up", "2h"],
        &["--mix", "stream,transfer"],
        &["--mix", "withdraw"],
        &["--accounts-distribution", "normal"],
        &["--data", "new.db", "--endpoint", "http://127.0.0.1:1"],
    ] {
        let output = run(&mut bank_command(&[&["bench"], arguments].concat()));
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty());
    }
    let nobody = bench(&["--endpoint", "http://127.0.0.1:1", "--timeout", "100ms"]);
    assert_eq!(nobody.status.code(), Some(4), "{nobody:?}");
}

/// What programs read: every name stays.
#[test]
fn the_report_has_its_form() {
    let report = report(&["--accounts", "10", "--mix", "transfer,batch", "--batch-size", "2"]);
    let form = serde_json::to_string_pretty(&form_of(&report)).expect("it is JSON");
    insta::with_settings!({
        omit_expression => true,
        prepend_module_to_snapshot => false,
    }, { insta::assert_snapshot!("bench", form) });
}

/// Names and kinds of values, without what differs from run to run.
fn form_of(value: &Value) -> Value {
    match value {
        Value::Number(_) => "number".into(),
        Value::String(text) if text.starts_with("http://") => "http://IP:PORT".into(),
        Value::Array(items) => items.iter().map(form_of).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), form_of(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}
