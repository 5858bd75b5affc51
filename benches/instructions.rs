//! How many instructions does each part of a transfer take?
//!
//! `cargo bench --bench instructions` has callgrind (valgrind) count them, and writes the table of
//! `benches/README.md` anew (`--no-write`: it is printed alone). The counts of a part are the same in every run
//! over the same build, to within the randomness of hash tables, so that a change can be compared exactly. They
//! are of one thread, without system calls and without HTTP/2.

mod support;

use std::path::Path;
use std::process::Command;

use support::parts::{PARTS, Work};
use support::table;

/// How many transfers are counted: enough that what grows now and then is spread evenly.
const COUNT: u32 = 20_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, name] = &arguments[..]
        && word == "count"
    {
        return run(name);
    }
    let rows: Vec<Vec<String>> =
        PARTS.iter().map(|(name, _)| vec![(*name).to_owned(), table::count(count(name))]).collect();
    let text = table::markdown(&["part of a transfer", "instructions"], &rows);
    println!("{text}");
    if !arguments.iter().any(|argument| argument == "--no-write") {
        table::write("instructions", &format!("{}\n\n{text}", table::machine()));
    }
}

/// Runs a part, under callgrind.
fn run(name: &str) {
    let recipe = PARTS.iter().find(|(part, _)| *part == name).expect("it is a part");
    let mut part = recipe.1(recipe.0);
    // What happens the first time doesn't count.
    (part.prepare)(COUNT as usize / 10)();
    counted_by_callgrind((part.prepare)(COUNT as usize));
}

/// Callgrind counts from the beginning of this to its end.
#[inline(never)]
fn counted_by_callgrind(work: Work) {
    work();
    std::hint::black_box(());
}

/// The instructions of one transfer in a part.
fn count(name: &str) -> f64 {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let program = std::env::current_exe().expect("it is known");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted_by_callgrind*"])
        .arg(out_file(folder.path()))
        .arg(program)
        .args(["count", name])
        .output()
        .expect("valgrind is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    let instructions: f64 =
        collected.and_then(|(_, count)| count.trim().parse().ok()).expect("it counts");
    instructions / f64::from(COUNT)
}

fn out_file(folder: &Path) -> String {
    format!("--callgrind-out-file={}", folder.join("out").display())
}
