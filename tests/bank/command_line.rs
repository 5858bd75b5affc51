//! The command line as people and scripts use it: what they see, and the exit codes.
//!
//! Each test has a bank of its own. What is shown is kept as transcripts in `snapshots/`, in which ids and
//! times are replaced; `INSTA_UPDATE=always cargo test` writes them anew.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;

use bank::grpc::proto;
use bank::grpc::proto::bank_service_client::BankServiceClient;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::process::{Running, bank, run};
use crate::support::proxy::{Fault, Proxy};

/// A bank, and a person in front of it.
struct Person {
    bank: Running,
    folder: tempfile::TempDir,
}

impl Person {
    fn new() -> Self {
        let bank = Running::start(&mut bank(&["serve", "--listen", "127.0.0.1:0"]));
        Self { bank, folder: tempfile::tempdir().expect("a folder can be made") }
    }

    /// A command line, told in one string as in a shell.
    fn command(&self, line: &str) -> Command {
        self.command_to(&self.bank.endpoint(), line)
    }

    fn command_to(&self, endpoint: &str, line: &str) -> Command {
        let arguments = shlex::split(line).expect("it is well formed");
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = bank(&arguments);
        command.current_dir(self.folder.path()).env("BANK_ENDPOINT", endpoint);
        command
    }

    fn run(&self, line: &str) -> Output {
        run(&mut self.command(line))
    }

    /// What a command that succeeds prints.
    #[track_caller]
    fn ask(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        text(&output.stdout)
    }

    /// What a command that succeeds prints, as JSON.
    #[track_caller]
    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ask(&format!("{line} -o json"))).expect("it is JSON")
    }

    /// Types each line and keeps what is seen.
    fn transcript(&self, lines: &[&str]) -> String {
        lines.iter().map(|line| seen(line, &self.run(line))).collect()
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join(name), content).expect("it can be written");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).expect("it is there")
    }

    /// The posted balance of an account, in minor units.
    #[track_caller]
    fn posted(&self, account_id: &str) -> String {
        let answer = self.json(&format!("balance {account_id}"));
        answer["balance"]["posted"].as_str().expect("it is a string").to_owned()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_owned()).expect("it is UTF-8")
}

fn seen(line: &str, output: &Output) -> String {
    let code = output.status.code().expect("it ended by itself");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let err = err.lines().fold(String::new(), |all, line| all + "! " + line + "\n");
    format!("$ bank {line}\n{out}{err}[{code}]\n\n")
}

/// Compares with a snapshot in which everything that differs from run to run is replaced by something of
/// the same length.
macro_rules! assert_shown {
    ($name:literal, $text:expr) => {
        insta::with_settings!({
            filters => vec![
                (r"\b([th])[0-9a-f]{16}-(\d+)", "${1}0123456789abcdef-$2"),
                (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                 "01234567-89ab-cdef-0123-456789abcdef"),
                (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "2026-05-01T12:00:00.123456Z"),
                (r"127\.0\.0\.1:\d+", "127.0.0.1:50051"),
                (r"(ledger +)[0-9a-f]{16}", "${1}0123456789abcdef"),
                (r"\b5:[0-9a-f]{64}", "5:HASH"),
            ],
            omit_expression => true,
            prepend_module_to_snapshot => false,
        }, { insta::assert_snapshot!($name, $text) });
    };
}

/// What makes up the books that most transcripts begin with.
const OPENING: [&str; 5] = [
    "account create alice --currency USD --overdraft-limit 5 --display-name 'Alice A.'",
    "account create bob --currency USD --label team=blue",
    "account create points --currency POINTS/0",
    "deposit alice 10.50 USD --request-id salary",
    "transfer alice bob 3 USD --request-id rent --description 'rent, May' --label k=v",
];

#[test]
fn people_see_tables() {
    let person = Person::new();
    let mut transcript = person.transcript(&OPENING);
    transcript += &person.transcript(&[
        "transfer alice bob 3 USD --request-id rent --description 'rent, May' --label k=v",
        "withdraw bob '0.01 USD'",
        "account get bob",
        "account list",
        "account list --currency USD --limit 1",
        "account list no-such",
        "balance alice",
        "balance alice --as-of 2020-01-01",
        "statement alice",
        "statement --type deposit --oldest-first",
        "statement --to 2020-01-01",
        "transaction --request-id rent",
        "trial-balance",
        "trial-balance POINTS/0",
        "account update alice --overdraft-limit 7.5 --label vip=yes",
        "account update alice --no-labels --display-name ''",
        "account freeze bob --reason 'a closer look'",
        "account unfreeze bob",
        "account close points",
    ]);
    assert_shown!("tables", transcript);
}

#[test]
fn people_see_holds_and_reversals() {
    let person = Person::new();
    person.transcript(&OPENING);
    let id_of = |answer: &Value, what: &str| {
        answer[what][format!("{what}_id")].as_str().expect("it has an id").to_owned()
    };
    let hotel = id_of(&person.json("hold place alice 4 USD --to bob --ttl 1h"), "hold");
    let car = id_of(&person.json("hold place bob 1 USD --description car"), "hold");
    let rent = id_of(&person.json("transaction --request-id rent"), "transaction");
    let transcript = person.transcript(&[
        "hold list",
        "balance alice",
        &format!("hold capture {hotel} 5 USD"),
        &format!("hold capture {hotel} 2.50 EUR"),
        &format!("hold capture {hotel} 2.50 USD"),
        &format!("hold release {hotel}"),
        &format!("hold release {car}"),
        "hold list --state released",
        "hold list alice --state held",
        &format!("hold get {hotel}"),
        &format!("reverse {rent} 1 USD --description 'too much'"),
        &format!("reverse {rent} 1 JPY"),
        &format!("reverse {rent} '2.01 USD'"),
        &format!("reverse {rent}"),
        &format!("transaction {rent}"),
        "trial-balance USD",
    ]);
    assert_shown!("holds_and_reversals", transcript);
}

#[test]
fn programs_see_json() {
    let person = Person::new();
    person.transcript(&OPENING);
    let transcript = person.transcript(&[
        "account get bob -o json",
        "account list --currency USD -o ndjson",
        "account list no-such -o json",
        "deposit bob 1 USD --request-id gift -o json",
        "statement bob -o json",
        "statement bob -o ndjson",
        "trial-balance USD -o ndjson",
        "withdraw bob 100 USD --request-id much -o json",
        "deposit Bob -1 USD --request-id none -o ndjson",
    ]);
    assert_shown!("json", transcript);
}

#[test]
fn every_class_of_error_has_its_exit_code() {
    let person = Person::new();
    person.transcript(&OPENING);
    let nowhere = {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        taken.local_addr().expect("it is bound")
    };
    let transcript = person.transcript(&[
        "account get carol",
        "transaction t1",
        "transaction --request-id unheard",
        "hold get h1",
        "account create bob --currency USD --request-id once",
        "withdraw alice 12.51 USD --request-id much",
        "deposit alice 1 EUR --request-id other",
        "deposit alice 10.51 USD --request-id salary",
        "account update bob --display-name B --etag 7 --request-id stale",
        "deposit ALICE -1 USD --request-id both",
        "deposit alice 10.505 USD",
        "deposit alice 10.50",
        "deposit alice 10,50 USD",
        "deposit alice",
        "account create carol --currency usd",
        "account create carol --currency USD --overdraft-limit 0.001",
        "account update bob --overdraft-limit 0.001",
        "account update bob",
        "hold place alice 1 USD --ttl soon",
        "transaction",
        "statement --from yesterday",
        "balance alice --timeout 0s",
        "import nothing.csv",
        "import nothing.txt",
        "import - --format csv",
        "export out.txt",
        "export no/such/folder.csv",
        "completions tcsh",
        &format!("balance alice --endpoint http://{nowhere} --timeout 50ms"),
    ]);
    assert_shown!("errors", transcript);
}

#[test]
fn help_names_commands_and_exit_codes() {
    let person = Person::new();
    let transcript = person.transcript(&[
        "--help",
        "account --help",
        "transfer --help",
        "import --help",
        "bench --help",
    ]);
    assert_shown!("help", transcript);
}

#[test]
fn completions_know_the_commands() {
    let person = Person::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = person.ask(&format!("completions {shell}"));
        for word in ["trial-balance", "unfreeze", "--resume-token"] {
            assert!(script.contains(word.trim_start_matches("--")), "{shell} doesn't know {word}");
        }
    }
}

/// What others wrote must not move the cursor of whoever reads it.
#[test]
fn control_characters_are_not_printed() {
    let person = Person::new();
    person.transcript(&OPENING);
    let request = proto::DepositRequest {
        description: "a\u{1b}[31mred\u{7}".to_owned(),
        ..crate::support::deposit("alice", 1, "USD")
    };
    block_on(async {
        let mut client = client(&person).await;
        client.deposit(request).await.expect("it is posted");
    });
    let shown = person.ask("statement alice --limit 1");
    assert!(shown.contains("a\u{fffd}[31mred\u{fffd}"), "{shown:?}");
}

#[test]
fn whoever_stops_reading_ends_it_quietly() {
    let person = Person::new();
    person.transcript(&OPENING);
    let cents = "deposit,bob,0.01,USD\n".repeat(500);
    person.write("cents.csv", &format!("operation,account_id,amount,currency_code\n{cents}"));
    person.ask("import cents.csv");
    for line in ["statement -o ndjson", "export", "export --format csv"] {
        let mut command = person.command(line);
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        command.stdout(writer);
        drop(reader);
        let output = command.stderr(Stdio::piped()).spawn().expect("it starts").wait_with_output();
        let output = output.expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{line}");
    }
}

/// The bank has done it, and the answer is lost: the same request goes out again, and takes no effect.
#[test]
fn a_lost_answer_is_asked_for_again() {
    let person = Person::new();
    person.transcript(&OPENING);
    let (cut, cutting) = mpsc::channel();
    let proxy = Proxy::start(person.bank.address.clone(), vec![Fault::Mute(cutting)]);
    let mut command = person.command_to(&proxy.endpoint(), "deposit bob 1 USD -o json");
    block_on(async {
        let mut client = client(&person).await;
        let request = proto::WatchTransactionsRequest::default();
        let mut feed = client.watch_transactions(request).await.expect("it begins").into_inner();
        feed.message().await.expect("it goes on").expect("it says that it is alive");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.expect("it starts");
        while feed.message().await.expect("it goes on").expect("it goes on").transaction.is_none() {
        }
        cut.send(()).expect("the connection is there");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
        assert_eq!(answer["replayed"], true);
        let told = text(&output.stderr);
        assert!(told.contains("request id: ") && told.contains("is unavailable"), "{told}");
    });
    assert_eq!(proxy.connections(), 2);
    assert_eq!(person.posted("bob"), "400");
}

const LINES: &str = "\
operation,account_id,from_account_id,to_account_id,amount,currency_code
deposit,alice,,,10.50,USD
deposit,alice,,,1.005,USD
transfer,,alice,bob,3,USD
withdraw,bob,,,100,USD
deposit,bob,,,1,USD,
deposit,bob,,,1,USD
deposit,bob,,,1,USD
pay,bob,,,1,USD
deposit,Bob,,,1,USD
";

fn with_accounts() -> Person {
    let person = Person::new();
    person.ask("account create alice --currency USD");
    person.ask("account create bob --currency USD");
    person
}

#[test]
fn an_import_names_the_lines_that_are_refused() {
    let person = with_accounts();
    person.write("day.csv", LINES);
    let mut transcript = person.transcript(&["import day.csv", "import day.csv -o json"]);
    assert_eq!((person.posted("alice"), person.posted("bob")), ("750".into(), "500".into()));

    // Whoever corrects a line and imports the file again gets that line done, and no other.
    person.write("day.csv", &LINES.replace("1.005", "1.00").replace("pay", "deposit"));
    transcript +=
        &person.transcript(&["import day.csv -o ndjson", "import day.csv --import-id june"]);
    assert_eq!((person.posted("alice"), person.posted("bob")), ("1700".into(), "1200".into()));
    assert_shown!("import", transcript);
}

#[test]
fn an_atomic_import_does_all_or_nothing() {
    let person = with_accounts();
    person.write("malformed.csv", LINES);
    let good: Vec<&str> = LINES.lines().take(2).collect();
    let refused = format!("{}\nwithdraw,bob,,,100,USD\n", good.join("\n"));
    person.write("refused.csv", &refused);
    person.write("invalid.csv", &refused.replace("withdraw,bob", "withdraw,Bob"));
    person.write("good.csv", &format!("{}\n", good.join("\n")));
    person.write("long.csv", &format!("{}\n{}", good[0], format!("{}\n", good[1]).repeat(8193)));
    person.write("empty.csv", &format!("{}\n", good[0]));
    let nothing = ["malformed", "refused", "invalid", "long", "empty"]
        .map(|name| format!("import {name}.csv --atomic"));
    let nothing: Vec<&str> = nothing.iter().map(String::as_str).collect();
    let mut transcript = person.transcript(&nothing);
    assert_eq!(person.posted("alice"), "0");
    transcript += &person.transcript(&["import good.csv --atomic", "import good.csv --atomic"]);
    assert_eq!(person.posted("alice"), "1050");
    assert_shown!("import_atomic", transcript);
}

/// Broken twice on its way, and then begun once more: every line counts once.
#[test]
fn an_import_survives_its_connection() {
    let person = with_accounts();
    let lines = 20_000;
    let mut file = String::from("operation,account_id,amount,currency_code\n");
    file += &"deposit,alice,0.01,USD\n".repeat(lines);
    person.write("cents.csv", &file);
    let faults = vec![Fault::CutAfter(100_000), Fault::CutAfter(200_000)];
    let proxy = Proxy::start(person.bank.address.clone(), faults);
    let output = run(&mut person.command_to(&proxy.endpoint(), "import cents.csv -o ndjson"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(proxy.connections(), 3);
    let sum: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(sum["lines"], lines);
    assert_eq!(person.posted("alice"), lines.to_string());

    let again = person.json("import cents.csv");
    assert_eq!((again["done"].as_u64(), again["done_before"].as_u64()), (Some(0), Some(20_000)));
    assert_eq!(person.posted("alice"), lines.to_string());
}

/// Ended from outside in the middle, and run again.
#[test]
fn an_interrupted_import_goes_on_where_it_was() {
    let person = with_accounts();
    let (first, rest) = (5_000, 5_000);
    let line =
        r#"{"operation":"deposit","account_id":"alice","amount":"0.01","currency_code":"USD"}"#;
    let all = format!("{line}\n").repeat(first + rest);
    person.write("cents.ndjson", &all);

    // It is given the first lines only, and waits for more when it is ended.
    let mut command = person.command("import - --format ndjson --import-id cents.ndjson");
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("it is piped");
    let (begun, _) = all.split_at((line.len() + 1) * first);
    input.write_all(begun.as_bytes()).expect("it reads");
    // Its window is smaller than what it was given, so some of it has been done by now.
    child.kill().expect("it is there");
    child.wait().expect("it ends");
    drop(input);
    let before: usize = person.posted("alice").parse().expect("it is a number");
    assert!((1..=first).contains(&before), "{before}");

    let sum = person.json("import cents.ndjson");
    assert_eq!(sum["lines"], first + rest);
    assert_eq!(person.posted("alice"), (first + rest).to_string());
}

#[test]
fn an_export_holds_every_transaction() {
    let person = Person::new();
    person.transcript(&OPENING);
    let mut transcript = person.transcript(&["export all.csv", "export --account bob"]);
    transcript += &person.read("all.csv");
    assert_shown!("export", transcript);

    person.write(
        "cents.csv",
        &format!(
            "operation,account_id,amount,currency_code\n{}",
            "deposit,bob,0.01,USD\n".repeat(2500)
        ),
    );
    person.ask("import cents.csv");
    person.ask("export all.ndjson");
    let all = person.read("all.ndjson");
    let sequences: Vec<i64> = all
        .lines()
        .map(|line| {
            let transaction: Value = serde_json::from_str(line).expect("it is JSON");
            transaction["sequence"].as_str().and_then(|it| it.parse().ok()).expect("a number")
        })
        .collect();
    assert_eq!(sequences.len(), 2502);
    assert!(sequences.is_sorted_by(|a, b| a < b));
    let left: Vec<_> = std::fs::read_dir(person.folder.path()).expect("it is there").collect();
    assert_eq!(left.len(), 3, "nothing but the files is left: {left:?}");
}

/// Follows the ledger over a connection that breaks: nothing is missing, nothing comes twice.
#[test]
fn a_watch_goes_on_where_it_was() {
    let person = Person::new();
    person.transcript(&OPENING);
    let proxy = Proxy::start(person.bank.address.clone(), vec![Fault::CutAfter(2000)]);
    let mut command = person.command_to(&proxy.endpoint(), "watch bob -o ndjson");
    let token = {
        let answer = block_on(async {
            let mut client = client(&person).await;
            let request = proto::WatchTransactionsRequest {
                account_id: "bob".to_owned(),
                ..proto::WatchTransactionsRequest::default()
            };
            let feed = client.watch_transactions(request).await.expect("it begins");
            feed.into_inner().message().await.expect("it goes on").expect("it goes on")
        });
        answer.resume_token
    };
    command.args(["--resume-token", &token]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut watcher = Killed(child);
    let mut lines = BufReader::new(watcher.0.stdout.take().expect("it is piped")).lines();
    for cents in 1..=40 {
        person.ask(&format!("deposit bob 0.{cents:02} USD"));
        let line = lines.next().expect("it goes on").expect("it is text");
        let message: Value = serde_json::from_str(&line).expect("it is JSON");
        assert_eq!(message["transaction"]["amount"]["minor_units"], cents.to_string());
    }
    assert_eq!(proxy.connections(), 2);
    person.bank.signal(Signal::TERM);
}

/// What operators do with a file, while a bank is writing to it and afterwards.
#[test]
fn operators_look_at_files() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let data = folder.path().join("bank.db");
    let data = data.to_str().expect("its name is UTF-8");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", data];
    let person = Person { bank: Running::start(&mut bank(&serve)), folder };
    person.transcript(&OPENING);
    let noted = person.json("head bank.db");
    let mut transcript = person.transcript(&[
        "backup bank.db copy.db",
        "backup bank.db copy.db",
        "verify copy.db",
        "export --data copy.db --account bob",
        "export --data copy.db --account nobody",
        "export --data copy.db --account @external:USD --format csv",
    ]);
    let left: Vec<String> = std::fs::read_dir(person.folder.path())
        .expect("it is there")
        .map(|entry| entry.expect("it is there").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.starts_with("copy"))
        .collect();
    assert_eq!(left, ["copy.db"], "a backup is one file");

    person.ask("transfer alice bob 1 USD --request-id more");
    let head = format!("{}:{}", noted["sequence"], noted["hash"].as_str().expect("text"));
    person.ask(&format!("verify bank.db --head {head}"));
    let rent = person.json("transaction --request-id rent")["transaction"]["transaction_id"]
        .as_str()
        .expect("it has one")
        .to_owned();
    person.ask(&format!("reverse {rent} 1 USD"));
    person.ask("export live.csv");
    person.ask("export --data bank.db file.csv");
    assert_eq!(person.read("live.csv"), person.read("file.csv"));
    person.ask("export live.ndjson --account alice");
    person.ask("export --data bank.db file.ndjson --account alice");
    assert_eq!(person.read("live.ndjson"), person.read("file.ndjson"));

    let longer = person.json("head bank.db");
    assert_eq!(longer["sequence"], 7);
    person.write("text.db", &"not a database at all; ".repeat(100));
    transcript += &person.transcript(&[
        "verify copy.db --head 7:0000000000000000000000000000000000000000000000000000000000000000",
        "verify copy.db --head 3:0000000000000000000000000000000000000000000000000000000000000000",
        "verify copy.db --head 3",
        "verify missing.db",
        "verify text.db",
        "head text.db",
        "backup text.db other.db",
        "export --data text.db",
    ]);
    // The copy is a bank as any other.
    let copy = person.folder.path().join("copy.db");
    let copy = copy.to_str().expect("its name is UTF-8");
    let restored = Running::start(&mut bank(&["serve", "--listen", "127.0.0.1:0", "--data", copy]));
    let shown = run(&mut person.command_to(&restored.endpoint(), "balance bob --timeout 60s"));
    assert!(text(&shown.stdout).contains("3.00 USD"), "{shown:?}");
    restored.signal(Signal::TERM);
    assert_eq!(restored.end().0, Some(0));
    assert_shown!("files", transcript);
}

/// What can't be verified gets no name: an operator who finds a copy may rely on it.
#[test]
fn a_copy_that_is_wrong_is_not_kept() {
    let person = Person::new();
    let data = person.folder.path().join("bank.db");
    let mut command = bank(&["serve", "--listen", "127.0.0.1:0"]);
    let running = Running::start(command.arg("--data").arg(&data));
    let opened =
        run(&mut person.command_to(&running.endpoint(), "account create alice --currency USD"));
    assert!(opened.status.success(), "{opened:?}");
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    let file = rusqlite::Connection::open(&data).expect("it can be opened");
    file.execute("UPDATE records SET record = x'00'", ()).expect("it can be changed");
    drop(file);
    for line in [
        "backup bank.db copy.db",
        "export --records copy.db --data bank.db",
        "import --records bank.db --data copy.db",
    ] {
        let told = person.run(line);
        assert_eq!(told.status.code(), Some(1), "{line}: {told:?}");
        let wrong = text(&told.stderr);
        assert!(wrong.contains("copy.db was not made: the copy: record 1"), "{line}: {wrong}");
        let left = std::fs::read_dir(person.folder.path()).expect("it is there");
        let mut left = left.map(|entry| entry.expect("it is there").file_name());
        assert!(!left.any(|name| name.to_string_lossy().starts_with("copy")), "{line}");
    }
    person.bank.signal(Signal::TERM);
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It runs until somebody ends it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(work)
}

async fn client(person: &Person) -> BankServiceClient<tonic::transport::Channel> {
    BankServiceClient::connect(person.bank.endpoint()).await.expect("it listens")
}
