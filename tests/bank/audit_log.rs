//! What the binary writes down of who did what: the log's lines, the audit's lines, and its own file; and
//! how its own commands prove who they are.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use bank::grpc::proto;
use bank::grpc::proto::operation::Operation as Kind;
use bytes::Bytes;
use futures_util::FutureExt;
use http::Request;
use jsonwebtoken::Algorithm;
use prost::Message;
use rustix::process::Signal;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;

use crate::support::callers::{IssuerKey, claims};
use crate::support::deposit;
use crate::support::process::{Running, bank, run};
use crate::support::raw::{self, framed};

/// A caller that `bank token new` has made: its token, and its entry.
fn new_caller(name: &str, role: &str, prefix: Option<&str>) -> (String, String) {
    let mut command = bank(&["token", "new", "--name", name, "--role", role]);
    if let Some(prefix) = prefix {
        command.args(["--account-prefix", prefix]);
    }
    let output = run(&mut command);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("it is text");
    let (token, entry): (Vec<_>, Vec<_>) = text.lines().partition(|it| it.starts_with("bank_"));
    let [token] = token[..] else { panic!("{text}") };
    assert!(!entry.join("\n").contains(token), "the entry holds its hash alone");
    (token.to_owned(), entry.join("\n") + "\n")
}

/// A bank that asks who calls, and its callers.
struct Guarded {
    process: Running,
    folder: tempfile::TempDir,
    boss: String,
    till: String,
}

impl Guarded {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (boss, boss_entry) = new_caller("boss", "admin", None);
        let (till, till_entry) = new_caller("till", "teller", Some("shop:"));
        let file = folder.path().join("callers.toml");
        std::fs::write(&file, boss_entry + &till_entry).expect("it can be written");
        let mut command = bank(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.arg("--auth-tokens").arg(&file).args(arguments).current_dir(folder.path());
        Self { process: Running::start(&mut command), folder, boss, till }
    }

    /// Runs a command as somebody: its exit code, and what it says.
    fn call(&self, token: &str, line: &str) -> (Option<i32>, String) {
        let arguments: Vec<&str> = line.split(' ').collect();
        let endpoint = self.process.endpoint();
        let mut command = bank(&arguments);
        command.env("BANK_ENDPOINT", endpoint);
        if !token.is_empty() {
            command.env("BANK_TOKEN", token);
        }
        let output = run(&mut command);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    /// A morning at the bank.
    fn trade(&self) {
        let (boss, till) = (&self.boss, &self.till);
        for (token, line, code) in [
            (boss, "account create shop:1 --currency USD --request-id open-1", 0),
            (boss, "account create safe --currency USD --request-id open-2", 0),
            (till, "deposit shop:1 987.65 USD --request-id pay-1 --label secret=yes", 0),
            (till, "deposit shop:1 987.65 USD --request-id pay-1 --label secret=yes", 0),
            (till, "withdraw shop:1 1000 USD --request-id pay-2 --description secret", 3),
            (till, "deposit safe 1 USD --request-id pay-3", 5),
            (till, "account create shop:2 --currency USD --request-id open-3", 5),
            (till, "balance safe", 5),
            (till, "balance shop:1", 0),
            (&"bank_wrong".to_owned(), "balance shop:1", 5),
            (&String::new(), "trial-balance", 5),
        ] {
            let (told, text) = self.call(token, line);
            assert_eq!(told, Some(code), "{line}: {text}");
        }
        let csv = self.folder.path().join("day.csv");
        std::fs::write(
            &csv,
            "operation,account_id,amount,currency_code,request_id\n\
             deposit,shop:1,1.00,USD,line-1\n\
             deposit,safe,1.00,USD,line-2\n",
        )
        .expect("it can be written");
        let import = format!("import {}", csv.display());
        assert_eq!(self.call(till, &import).0, Some(7));
        assert_eq!(self.call(till, &format!("{import} --atomic")).0, Some(7));
    }
}

/// The lines of an audit, each in few words.
fn told(lines: &[Value]) -> Vec<String> {
    let lines = lines.iter().map(|line| {
        let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
        let method = text("method").replace("bank.v1.BankService/", "");
        let sequence = line["sequence"].as_u64().map_or("-".to_owned(), |it| it.to_string());
        let again = if line["replayed"] == true { " again" } else { "" };
        assert!(text("peer").starts_with("127.0.0.1:"), "{line}");
        [
            text("message"),
            text("caller"),
            method,
            text("operation"),
            text("request_id"),
            text("result"),
            sequence + again,
        ]
        .join(" ")
    });
    lines.collect()
}

const MORNING: [&str; 14] = [
    "mutation boss CreateAccount - open-1 OK 1",
    "mutation boss CreateAccount - open-2 OK 2",
    "mutation till Deposit - pay-1 OK 3",
    "mutation till Deposit - pay-1 OK 3 again",
    "mutation till Withdraw - pay-2 INSUFFICIENT_FUNDS -",
    "mutation till Deposit - pay-3 PERMISSION_DENIED -",
    "denied till CreateAccount - - PERMISSION_DENIED -",
    "denied till GetBalance - - PERMISSION_DENIED -",
    "denied - GetBalance - - UNAUTHENTICATED -",
    "denied - GetTrialBalance - - UNAUTHENTICATED -",
    "mutation till ExecuteStream Deposit line-1 OK 5",
    "mutation till ExecuteStream Deposit line-2 PERMISSION_DENIED -",
    "mutation till ExecuteBatch Deposit line-1 BATCH_REFUSED -",
    "mutation till ExecuteBatch Deposit line-2 PERMISSION_DENIED -",
];

#[track_caller]
fn assert_no_content(text: &str, secrets: &[&str]) {
    for content in ["987.65", "98765", "secret", "bank_"].iter().chain(secrets) {
        assert!(!text.contains(content), "{content} is in: {text}");
    }
}

fn json(lines: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Value> {
    let lines = lines.into_iter();
    lines.map(|line| serde_json::from_str(line.as_ref()).expect("it is JSON")).collect()
}

#[test]
fn the_log_says_who_did_what() {
    let guarded = Guarded::start(&[]);
    guarded.trade();
    let Guarded { process, boss, till, folder: _folder } = guarded;
    process.signal(Signal::TERM);
    let (code, log) = process.end();
    assert_eq!(code, Some(0), "{log:?}");
    assert_no_content(&log.join("\n"), &[&boss, &till, "shop:1"]);
    let lines = json(&log);
    let audit: Vec<Value> =
        lines.iter().filter(|line| line["target"] == "audit").cloned().collect();
    assert_eq!(told(&audit), MORNING);

    let calls = lines.iter().filter(|line| line["message"] == "call");
    let callers: Vec<_> = calls
        .map(|line| (line["caller"].as_str().unwrap_or("-"), line["code"].as_str().unwrap_or("-")))
        .collect();
    for expected in [
        ("boss", "OK"),
        ("till", "OK"),
        ("till", "FAILED_PRECONDITION"),
        ("till", "PERMISSION_DENIED"),
        ("-", "UNAUTHENTICATED"),
    ] {
        assert!(callers.contains(&expected), "{expected:?} is not in {callers:?}");
    }
}

fn lines_of(path: &Path) -> Vec<Value> {
    json(std::fs::read_to_string(path).expect("it can be read").lines())
}

#[test]
fn the_audit_has_a_file_of_its_own() {
    // The filter of the log is not its own.
    let mut guarded = Guarded::start(&["--audit-log", "audit.log", "--log-level", "info"]);
    let path = guarded.folder.path().join("audit.log");
    guarded.trade();
    assert_eq!(told(&lines_of(&path)), MORNING);
    assert_no_content(&std::fs::read_to_string(&path).expect("text"), &[&guarded.boss, "shop:1"]);

    // It is moved away, as programs that rotate logs do.
    let old = guarded.folder.path().join("audit.log.1");
    std::fs::rename(&path, &old).expect("it can be moved");
    guarded.process.signal(Signal::HUP);
    guarded.process.wait_for("opened anew");
    assert_eq!(guarded.call(&guarded.till, "deposit shop:1 1 USD --request-id late").0, Some(0));
    assert_eq!(told(&lines_of(&path)), ["mutation till Deposit - late OK 6"]);
    assert_eq!(told(&lines_of(&old)).len(), MORNING.len());

    guarded.process.signal(Signal::TERM);
    let (code, log) = guarded.process.end();
    assert_eq!(code, Some(0));
    assert!(!log.join("\n").contains("\"audit\""), "{log:?}");
}

/// A mutation that can't be read, or can't begin, is told as well, with as much as is known of it. A read is
/// not.
#[tokio::test]
async fn a_mutation_that_no_handler_has_read_leaves_a_line() {
    let guarded = Guarded::start(&["--audit-log", "audit.log"]);
    let address = guarded.process.address.parse().expect("it is one");
    let authorization = format!("Bearer {}", guarded.boss);
    let whole = framed(&deposit("alice", 1, "USD").encode_to_vec());
    let cut = &whole[..whole.len() - 1];
    let (large, garbage) = (framed(&vec![0; 70_000]), framed(b"\xff"));
    let streamed = proto::ExecuteStreamRequest {
        operation: Some(proto::Operation {
            operation: Some(Kind::Deposit(proto::DepositRequest {
                request_id: "r".to_owned(),
                ..deposit("alice", 1, "USD")
            })),
        }),
        correlation_id: 1,
    };
    let streamed = framed(&streamed.encode_to_vec());
    for (method, header, body) in [
        ("Deposit", None, &garbage[..]),
        ("CloseAccount", None, &large),
        ("Transfer", None, cut),
        ("Withdraw", None, b""),
        ("ExecuteBatch", None, &garbage),
        ("ExecuteStream", None, &[&streamed[..], &garbage].concat()),
        ("ExecuteStream", None, &[&streamed[..], cut].concat()),
        ("Deposit", Some(("grpc-timeout", "soon")), &whole),
        ("Deposit", Some(("grpc-timeout", "0n")), &whole),
        ("ExecuteStream", Some(("grpc-timeout", "0n")), &streamed),
        ("Deposit", Some(("grpc-encoding", "lzma")), &whole),
        ("GetBalance", None, &garbage),
        ("WatchTransactions", None, &garbage),
    ] {
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(header);
        let answer = raw::call(address, method, &headers, body.to_vec()).await;
        assert_ne!(answer.status.code(), Code::Ok, "{method}");
    }
    assert_eq!(
        told(&lines_of(&guarded.folder.path().join("audit.log"))),
        [
            "mutation boss Deposit - - INVALID_REQUEST -",
            "mutation boss CloseAccount - - INVALID_REQUEST -",
            "mutation boss Transfer - - INVALID_REQUEST -",
            "mutation boss Withdraw - - INVALID_REQUEST -",
            "mutation boss ExecuteBatch - - INVALID_REQUEST -",
            "mutation boss ExecuteStream Deposit r ACCOUNT_NOT_FOUND -",
            "mutation boss ExecuteStream - - INVALID_REQUEST -",
            "mutation boss ExecuteStream Deposit r ACCOUNT_NOT_FOUND -",
            "mutation boss ExecuteStream - - INVALID_REQUEST -",
            "mutation boss Deposit - - INVALID_REQUEST -",
            "mutation boss Deposit - - DEADLINE_EXCEEDED -",
            "mutation boss ExecuteStream - - DEADLINE_EXCEEDED -",
            "mutation boss Deposit - - UNIMPLEMENTED -",
        ]
    );
}

/// A deposit of which only half has come.
struct Half {
    response: h2::client::ResponseFuture,
    body: h2::SendStream<Bytes>,
    _connection: AbortOnDropHandle<Result<(), h2::Error>>,
}

impl Half {
    async fn send(guarded: &Guarded) -> Self {
        let address = &guarded.process.address;
        let stream = TcpStream::connect(address).await.expect("it listens");
        let (client, connection) = h2::client::handshake(stream).await.expect("it is HTTP/2");
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = Request::post(format!("http://{address}/bank.v1.BankService/Deposit"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {}", guarded.boss))
            .body(())
            .expect("it is well formed");
        let mut client = client.ready().await.expect("it takes calls");
        let (response, mut body) = client.send_request(request, false).expect("it takes calls");
        let whole = framed(&deposit("alice", 1, "USD").encode_to_vec());
        let half = Bytes::copy_from_slice(&whole[..whole.len() / 2]);
        body.send_data(half, false).expect("it takes the message");
        Self { response, body, _connection: connection }
    }

    /// Sends one to a bank that has a place for one call, and waits until it is there.
    async fn in_the_only_place(guarded: &Guarded) -> Self {
        let address = guarded.process.address.parse().expect("it is one");
        let authorization = format!("Bearer {}", guarded.boss);
        let headers = [("authorization", authorization.as_str())];
        loop {
            let mut half = Self::send(guarded).await;
            // Until it has come others find a place; and where it finds none itself, it is answered.
            while (&mut half.response).now_or_never().is_none() {
                let other = raw::call(address, "Withdraw", &headers, framed(b"\xff")).await;
                if other.status.code() == Code::Unavailable {
                    return half;
                }
            }
        }
    }
}

/// A mutation that is turned away, given up, or overtaken by the end of the bank before it has come.
#[tokio::test]
async fn a_mutation_that_has_not_come_leaves_a_line() {
    let guarded = Guarded::start(&["--audit-log", "audit.log", "--max-in-flight", "1"]);
    let path = guarded.folder.path().join("audit.log");
    let overloaded = "mutation boss Withdraw - - OVERLOADED -".to_owned();
    let counted = |result: &str| {
        let line = format!("mutation boss Deposit - - {result} -");
        told(&lines_of(&path)).iter().filter(|told| **told == line).count()
    };
    let mut half = Half::in_the_only_place(&guarded).await;
    assert_eq!(told(&lines_of(&path)).last().expect("one"), &overloaded);
    assert_eq!(counted("INVALID_REQUEST"), 0);
    // To the bank it is a message that was cut off.
    half.body.send_reset(h2::Reason::CANCEL);
    comes(async {
        while counted("INVALID_REQUEST") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let half = Half::in_the_only_place(&guarded).await;
    guarded.process.signal(Signal::TERM);
    let answer = comes(half.response).await.expect("it is answered");
    assert_eq!(answer.headers()["grpc-status"], "14");
    assert_eq!([counted("DRAINING"), counted("INVALID_REQUEST")], [1, 1]);

    let guarded = Guarded::start(&["--audit-log", "audit.log", "--body-timeout", "100ms"]);
    let half = Half::send(&guarded).await;
    let answer = comes(half.response).await.expect("it is answered");
    assert_eq!(answer.headers()["grpc-status"], "4");
    let path = guarded.folder.path().join("audit.log");
    assert_eq!(told(&lines_of(&path)), ["mutation boss Deposit - - DEADLINE_EXCEEDED -"]);
}

/// Where the keys can't be had, it is not known who asks; that somebody did is.
#[tokio::test]
async fn an_attempt_that_can_not_be_judged_leaves_a_line() {
    let issuer = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let keys = format!("http://{}/keys", issuer.local_addr().expect("it is bound"));
    drop(issuer);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("audit.log");
    let mut command = bank(&["serve", "--listen", "127.0.0.1:0", "--jwt-jwks", &keys]);
    command.args(["--jwt-issuer", "i", "--jwt-audience", "a", "--audit-log"]).arg(&path);
    let process = Running::start(&mut command);
    let address = process.address.parse().expect("it is one");
    let key = IssuerKey::new("k", Algorithm::EdDSA);
    let token =
        format!("Bearer {}", key.sign(&claims(serde_json::json!({ "iss": "i", "aud": "a" }))));
    let body = framed(&deposit("alice", 1, "USD").encode_to_vec());
    let answer = raw::call(address, "Deposit", &[("authorization", &token)], body).await;
    assert_eq!(answer.status.code(), Code::Unavailable, "{:?}", answer.status);
    assert_eq!(told(&lines_of(&path)), ["denied - Deposit - - KEYS_UNAVAILABLE -"]);
}

/// Waits for what must come. The limit is there only so that a hang fails instead of hanging.
async fn comes<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it comes")
}

/// Without anybody to know there is no audit, unless a file is named for it.
#[test]
fn where_nobody_is_known_there_is_an_audit_only_if_wanted() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("audit.log");
    for wanted in [false, true] {
        let mut command = bank(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        if wanted {
            command.env("BANK_AUDIT_LOG", &path);
        }
        let process = Running::start(&mut command);
        let mut call = bank(&["account", "create", "a", "--currency", "USD", "--request-id", "r"]);
        let output = run(call.env("BANK_ENDPOINT", process.endpoint()));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        process.signal(Signal::TERM);
        let (_, log) = process.end();
        assert!(!log.join("\n").contains("\"audit\""), "{log:?}");
    }
    assert_eq!(told(&lines_of(&path)), ["mutation - CreateAccount - r OK 1"]);
}

#[test]
fn a_changed_file_of_callers_is_read_again() {
    let mut guarded = Guarded::start(&[]);
    let (late, late_entry) = new_caller("late", "reader", None);
    assert_eq!(guarded.call(&late, "trial-balance").0, Some(5));
    let file = guarded.folder.path().join("callers.toml");
    std::fs::write(&file, "[[caller]]\n").expect("it can be written");
    let line = guarded.process.wait_for("can't be used").concat();
    assert!(line.contains("callers.toml") && line.contains("name"), "{line}");
    assert_eq!(guarded.call(&guarded.boss, "trial-balance").0, Some(0));
    std::fs::write(&file, late_entry).expect("it can be written");
    guarded.process.wait_for("read again");
    assert_eq!(guarded.call(&late, "trial-balance").0, Some(0));
    assert_eq!(guarded.call(&guarded.boss, "trial-balance").0, Some(5));
}

#[test]
fn a_token_comes_from_a_file_or_the_environment() {
    let guarded = Guarded::start(&[]);
    let endpoint = guarded.process.endpoint();
    let file = guarded.folder.path().join("token");
    std::fs::write(&file, format!("{}\n", guarded.boss)).expect("it can be written");
    let path = file.to_str().expect("it is text");
    let call = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = bank(&["trial-balance", "--endpoint", &endpoint]);
        command.args(arguments).envs(variables.iter().copied());
        let output = run(&mut command);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(call(&["--token-file", path], &[]).0, Some(0));
    assert_eq!(call(&[], &[("BANK_TOKEN_FILE", path)]).0, Some(0));
    assert_eq!(call(&[], &[("BANK_TOKEN", &guarded.boss)]).0, Some(0));
    assert_eq!(call(&["--token-file", path], &[("BANK_TOKEN", "wrong")]).0, Some(0));
    let (code, text) = call(&[], &[("BANK_TOKEN", "wrong")]);
    assert_eq!(code, Some(5));
    assert!(text.contains("UNAUTHENTICATED"), "{text}");

    std::fs::write(&file, "two words").expect("it can be written");
    for (arguments, variables, word) in [
        (&["--token-file", path][..], &[][..], "--token-file"),
        (&["--token-file", "nowhere"], &[], "--token-file"),
        (&["--token", "bank_x"], &[], "--token"),
        (&[], &[("BANK_TOKEN", "two words")], "BANK_TOKEN"),
        (&[], &[("BANK_TOKEN", "")], "BANK_TOKEN"),
    ] {
        let (code, text) = call(arguments, variables);
        assert_eq!(code, Some(64), "{text}");
        assert!(text.contains(word) && text.lines().count() == 1, "{text}");
    }
    // Health needs none.
    let health = run(&mut bank(&["healthcheck", "--endpoint", &endpoint]));
    assert_eq!(health.status.code(), Some(0));
}

#[test]
fn wrong_settings_end_with_64() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let bad = folder.path().join("bad");
    std::fs::write(&bad, "[[caller]]\n").expect("it can be written");
    let bad = bad.to_str().expect("it is text");
    for (arguments, word) in [
        (&["--auth-tokens", "nowhere"][..], "nowhere"),
        (&["--auth-tokens", bad], "line 1"),
        (&["--jwt-jwks", bad], "--jwt-issuer"),
        (&["--jwt-jwks", bad, "--jwt-issuer", "i"], "--jwt-audience"),
        (&["--jwt-issuer", "i"], "--jwt-jwks"),
        (&["--jwt-jwks", bad, "--jwt-issuer", "i", "--jwt-audience", "a"], "no set of keys"),
        (&["--jwt-jwks", bad, "--jwt-issuer", "", "--jwt-audience", "a"], "--jwt-issuer"),
        (
            &["--jwt-jwks", "http://issuer.test/k", "--jwt-issuer", "i", "--jwt-audience", "a"],
            "https",
        ),
        (&["--rate-per-caller", "0"], "--rate-per-caller"),
        (&["--rate-burst", "5"], "--rate-per-caller"),
    ] {
        let output = run(bank(&["serve", "--listen", "127.0.0.1:0"]).args(arguments));
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {text}");
        assert!(text.contains(word) && text.lines().count() == 1, "{arguments:?}: {text}");
    }
    for arguments in
        [&["--role", "root"][..], &["--name", "a b"], &["--account-prefix", ""], &["extra"]]
    {
        let output = run(bank(&["token", "new"]).args(arguments));
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
}
