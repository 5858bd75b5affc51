//! What becomes of calls when each thread serves connections of its own, and when all threads share all calls.
//!
//! The first is what the bank does; the second is tokio's multi-thread runtime, on which the floor runs too.

use crate::support::Bank;
use crate::support::load::bench;
use crate::support::table::{Series, markdown};
use crate::{Run, Server};

const IN_FLIGHT: &str = "128";
const CONNECTIONS: [&str; 4] = ["1", "2", "8", "64"];

pub(crate) fn measure(run: &Run) -> String {
    let servers = [
        Server { name: "floor", bank: Bank::start_floor() },
        Server { name: "bank, a runtime for each core", bank: Bank::start(&[]) },
        Server { name: "bank, one runtime for all cores", bank: Bank::start(&["--threads", "0"]) },
    ];
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        let load = ["--in-flight", IN_FLIGHT, "--connections", connections];
        let mut figures: [Series; 3] = Default::default();
        for _ in 0..run.rounds {
            for (server, figures) in servers.iter().zip(&mut figures) {
                figures.push(bench(&server.bank, run.times, &load).per_second);
            }
        }
        let ratio = figures[1].median() / figures[2].median();
        let mut row = vec![connections.to_owned()];
        row.extend(figures.iter().map(Series::text));
        row.push(format!("{ratio:.2}"));
        eprintln!("{}", row.join("  "));
        rows.push(row);
    }
    let [floor, each, all] = servers.map(|server| server.name);
    let titles = ["connections", floor, each, all, "the former of the latter"];
    format!(
        "### Runtimes\n\nTransfers a second in memory, {IN_FLIGHT} in flight over so many connections:\n\n{}",
        markdown(&titles, &rows)
    )
}
