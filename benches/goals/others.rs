//! Benchmarks that stand alone: they are run as they are, and write their own tables.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Arguments;
use crate::support::table::{Goal, Verdict, count};

/// How long until a bank serves over ten million transactions again, as `benches/recovery.rs` measures it.
pub(crate) fn recovery(arguments: &Arguments) -> Goal {
    const WANTED_SECONDS: f64 = 10.0;
    const TRANSACTIONS: &str = "10000000";
    let goal = |figure: String, comes_to: String, verdict| Goal {
        what: "ready again over 10 million transactions".to_owned(),
        wanted: format!("{WANTED_SECONDS} s"),
        figure,
        reference: "right after the file was written".to_owned(),
        comes_to,
        verdict,
    };
    match told("recovery", &[TRANSACTIONS], arguments, &["figure"]).as_deref() {
        Ok([seconds]) => goal(
            format!("{seconds:.2} s"),
            format!("{:.2} of it", seconds / WANTED_SECONDS),
            Verdict::of(*seconds <= WANTED_SECONDS),
        ),
        Ok(_) => unreachable!("one figure is asked for"),
        Err(why) => goal(String::new(), String::new(), Verdict::NotRun((*why).to_owned())),
    }
}

/// The store over PostgreSQL against one statement a transfer, as `benches/postgres.rs` measures them, in
/// transfers a second.
pub(crate) fn postgres(arguments: &Arguments) -> Goal {
    const WANTED: f64 = 4.0;
    let goal = |figure: String, reference: String, comes_to: String, verdict| Goal {
        what: "PostgreSQL store, one process, transfers/s".to_owned(),
        wanted: format!("{WANTED:.1} x"),
        figure,
        reference: format!("one CTE statement{reference}"),
        comes_to,
        verdict,
    };
    match told("postgres", &[], arguments, &["figure", "reference"]).as_deref() {
        Ok([figure, reference]) => {
            let ratio = figure / reference;
            let verdict = Verdict::of(ratio >= WANTED);
            let reference = format!(": {}", count(*reference));
            goal(count(*figure), reference, format!("{ratio:.2} x"), verdict)
        }
        Ok(_) => unreachable!("two figures are asked for"),
        Err(why) => {
            goal(String::new(), String::new(), String::new(), Verdict::NotRun((*why).to_owned()))
        }
    }
}

/// How long commits take, as `benches/durable.rs` measures them. There is no goal for that.
pub(crate) fn durable(arguments: &Arguments) {
    if let Err(why) = told("durable", &[], arguments, &[]) {
        println!("durable: not run: {why}");
    }
}

/// Runs a benchmark, and reads figures by their names from its line `goal {...}`.
fn told(
    name: &str,
    further: &[&str],
    arguments: &Arguments,
    figures: &[&str],
) -> Result<Vec<f64>, &'static str> {
    if arguments.quick {
        return Err("a quick run leaves it out");
    }
    let mut command = Command::new("cargo");
    command.args(["bench", "--locked", "--bench", name, "--"]).args(further);
    command.args(arguments.no_write.then_some("--no-write")).stderr(Stdio::inherit());
    let output = command.output().expect("cargo runs this");
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    if !output.status.success() {
        return Err("it failed");
    }
    let line = text.lines().find_map(|line| line.strip_prefix("goal "));
    let goal = line.map_or(Ok(Value::Null), serde_json::from_str::<Value>);
    let goal = goal.map_err(|_| "what it says can't be read")?;
    let number = |name: &&str| goal.get(*name).and_then(Value::as_f64);
    figures.iter().map(number).collect::<Option<_>>().ok_or("it could not be measured")
}
