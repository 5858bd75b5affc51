//! The binary as people and machines start it: settings, exit codes, signals, the log.

use std::process::Output;

use bank::grpc::proto;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::process::{Running, bank, run};
use crate::support::{create, deposit, withdraw};

/// It ends with a code and one line on standard error that has the given words.
#[track_caller]
fn assert_fails(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("bank: "), "{text}");
    for word in words {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn unknown_and_malformed_settings_end_with_64() {
    for (arguments, words) in [
        (&["serve", "--lisen", "127.0.0.1:0"][..], &["--lisen"][..]),
        (&["serve", "--listen", "nowhere"], &["--listen", "nowhere"]),
        (&["serve", "--listen", "127.0.0.1:65536"], &["--listen"]),
        (&["serve", "--listen"], &["--listen"]),
        (&["serve", "--metrics", "9464"], &["--metrics", "9464"]),
        (&["serve", "--otlp-endpoint", "collector:4317"], &["--otlp-endpoint"]),
        (&["serve", "--trace-ratio", "1.5"], &["--trace-ratio", "1.5"]),
        (&["serve", "--trace-ratio", "NaN"], &["--trace-ratio", "NaN"]),
        (&["serve", "--threads", "1025"], &["--threads", "0..=1024"]),
        (&["serve", "--drain-timeout", "soon"], &["--drain-timeout", "soon"]),
        (&["serve", "--max-in-flight", "0"], &["--max-in-flight", "0"]),
        (&["serve", "--max-in-flight-bytes", "much"], &["--max-in-flight-bytes", "much"]),
        (&["serve", "--body-timeout", "0s"], &["--body-timeout", "100ms or more"]),
        (&["serve", "--max-watchers", "many"], &["--max-watchers", "many"]),
        (&["serve", "--max-records", "0"], &["--max-records", "0"]),
        (&["serve", "--log-format", "xml"], &["--log-format", "xml"]),
        (&["serve", "--log-level", "info,=,"], &["--log-level"]),
        (&["serve", "--log-level", ""], &["--log-level"]),
        (&["serve", "extra"], &["extra"]),
        (&["run"], &["run"]),
        (&["healthcheck", "--endpoint", "bank:50051"], &["--endpoint"]),
        (&["healthcheck", "--endpoint", "ftp://bank"], &["--endpoint"]),
    ] {
        assert_fails(&run(&mut bank(arguments)), 64, words);
    }
}

#[test]
fn settings_of_the_environment_are_checked_as_well() {
    for (name, value) in [
        ("BANK_LISTEN", "nowhere"),
        ("BANK_LISTEN", ""),
        ("BANK_METRICS", ""),
        ("BANK_DRAIN_TIMEOUT", "-1s"),
        ("BANK_LOG_FORMAT", "xml"),
        ("BANK_LISTN", "127.0.0.1:0"),
    ] {
        let output = run(bank(&["serve"]).env(name, value));
        let shown = if name == "BANK_LISTN" { "BANK_LISTN" } else { value };
        assert_fails(&output, 64, &[shown]);
    }
}

#[test]
fn help_and_version_are_shown() {
    let help = run(&mut bank(&["serve", "--help"]));
    let text = String::from_utf8_lossy(&help.stdout);
    assert_eq!(help.status.code(), Some(0));
    for word in ["--listen", "BANK_LISTEN", "127.0.0.1:50051", "--drain-timeout", "10s"] {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
    let version = run(&mut bank(&["--version"]));
    let expected = format!("bank {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&version.stdout), expected);

    let nothing = run(&mut bank(&[]));
    assert_eq!(nothing.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("healthcheck"));
}

#[test]
fn it_serves_until_it_is_told_to_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let bank_process = Running::start(&mut bank(&["serve", "--listen", "127.0.0.1:0"]));
        assert!(bank_process.first.contains("memory"), "{}", bank_process.first);
        let endpoint = bank_process.endpoint();
        let healthy = run(&mut bank(&["healthcheck", "--endpoint", &endpoint]));
        assert_eq!(healthy.status.code(), Some(0));
        assert!(healthy.stdout.is_empty() && healthy.stderr.is_empty());

        bank_process.signal(signal);
        let (code, log) = bank_process.end();
        assert_eq!(code, Some(0), "{log:?}");
        assert!(log.iter().any(|line| line.contains("draining")), "{log:?}");
        assert!(log.last().is_some_and(|line| line.contains("every call was answered")), "{log:?}");

        let gone = run(bank(&["healthcheck"]).env("BANK_ENDPOINT", &endpoint));
        assert_fails(&gone, 1, &[&endpoint, "refused"]);
    }
}

/// With 0, those of the process's own runtime serve.
#[test]
fn connections_are_served_by_threads_of_their_own_unless_there_are_none() {
    for threads in ["0", "1"] {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--threads", threads];
        let bank_process = Running::start(&mut bank(&serve));
        let healthy = run(&mut bank(&["healthcheck", "--endpoint", &bank_process.endpoint()]));
        assert_eq!(healthy.status.code(), Some(0), "{healthy:?}");
        let folder = format!("/proc/{}/task", bank_process.id());
        let names = std::fs::read_dir(folder).expect("Linux tells").filter_map(|task| {
            std::fs::read_to_string(task.expect("it can be read").path().join("comm")).ok()
        });
        let workers = names.filter(|name| name.starts_with("worker-")).count();
        assert_eq!(workers.to_string(), threads);
        bank_process.kill();
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = run(bank(&["serve"]).env("BANK_LISTEN", &address));
    assert_fails(&output, 1, &[&address, "in use"]);
}

/// A server that accepts and never answers.
#[test]
fn a_health_check_does_not_wait_for_ever() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", silent.local_addr().expect("it is bound"));
    let output = run(&mut bank(&["healthcheck", "--endpoint", &endpoint, "--timeout", "50ms"]));
    assert_fails(&output, 1, &[&endpoint, "50ms"]);
}

/// Whoever collected the log has gone: the bank goes on without it.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let mut bank_process = Running::start(&mut bank(&["serve", "--listen", "127.0.0.1:0"]));
    bank_process.close_log();
    let endpoint = bank_process.endpoint();
    for (line, code) in
        [("account create alice --currency USD", 0), ("balance alice", 0), ("balance bob", 2)]
    {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output = run(bank(&arguments).env("BANK_ENDPOINT", &endpoint));
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
    }
    bank_process.signal(Signal::TERM);
    assert_eq!(bank_process.end().0, Some(0));
}

/// One line a call, with its method, code, duration and request id, and never what moved.
#[test]
fn every_call_is_logged_without_its_content() {
    let mut command = bank(&["serve", "--listen", "127.0.0.1:0"]);
    let bank_process = Running::start(command.env("BANK_LOG_FORMAT", "json"));
    let first: Value = serde_json::from_str(&bank_process.first).expect("it is JSON");
    assert_eq!(first["address"], bank_process.address.as_str());

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let endpoint = bank_process.endpoint();
        let mut client = BankServiceClient::connect(endpoint).await.expect("it listens");
        client.create_account(create("alice", "USD")).await.expect("it opens");
        let request = proto::DepositRequest {
            request_id: "request-1".to_owned(),
            description: "secret-description".to_owned(),
            labels: [("secret-key".to_owned(), "secret-value".to_owned())].into(),
            ..deposit("alice", 987_654_321, "USD")
        };
        client.deposit(request).await.expect("it is posted");
        client.withdraw(withdraw("alice", 987_654_322, "USD")).await.expect_err("it is too much");
        let request = proto::WatchTransactionsRequest::default();
        let mut feed = client.watch_transactions(request).await.expect("it begins").into_inner();
        feed.message().await.expect("it goes on").expect("it goes on");
        // Whoever leaves a stream ends it.
        drop(feed);
        client.deposit(deposit("alice", 1, "USD")).await.expect("it is posted");
    });
    bank_process.signal(Signal::TERM);
    let (code, log) = bank_process.end();
    assert_eq!(code, Some(0));

    let lines: Vec<Value> =
        log.iter().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    let calls: Vec<&Value> = lines.iter().filter(|line| line["message"] == "call").collect();
    let told: Vec<_> = calls
        .iter()
        .map(|call| (call["method"].as_str(), call["code"].as_str(), call["request_id"].as_str()))
        .collect();
    let (told, rest) = told.split_at(3);
    assert_eq!(
        told,
        [
            (Some("bank.v1.BankService/CreateAccount"), Some("OK"), None),
            (Some("bank.v1.BankService/Deposit"), Some("OK"), Some("request-1")),
            (Some("bank.v1.BankService/Withdraw"), Some("FAILED_PRECONDITION"), None),
        ]
    );
    // Which of these two comes first is up to the server's tasks.
    let feed =
        rest.iter().find(|(method, _, _)| *method == Some("bank.v1.BankService/WatchTransactions"));
    let ends = [Some("CANCELLED"), Some("UNAVAILABLE")];
    assert!(feed.is_some_and(|(_, code, _)| ends.contains(code)), "{rest:?}");
    assert_eq!(rest.len(), 2);
    assert!(calls.iter().all(|call| call["duration_us"].is_u64()));
    let text = log.join("\n");
    for content in ["secret", "98765432", "alice"] {
        assert!(!text.contains(content), "{content} is in the log: {text}");
    }
}
