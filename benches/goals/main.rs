//! Every goal of speed against its reference, in one run: `scripts/bench`.
//!
//! Loads on all servers take turns, several rounds over, and medians are compared, because a machine's speed
//! changes by a quarter within minutes. The floor runs twice: what lies between the two is noise. Servers and
//! load share the machine. In the end the tables of `benches/README.md` are written anew, unless the run was
//! a quick one.
//!
//! `cargo bench --bench goals -- floor 127.0.0.1:50052` serves the floor alone.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod calls;
mod many;
mod others;
mod runtimes;
mod size;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use support::load::Times;
use support::table::{Goal, markdown};
use support::{Bank, floor, table};

/// Measure every goal against its reference.
#[derive(Debug, Parser)]
#[allow(clippy::struct_excessive_bools, reason = "they are flags")]
struct Arguments {
    /// See in two minutes whether everything runs: one short round, and nothing is written
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Ten million transactions between a million accounts too
    #[arg(long)]
    full: bool,
    /// Print the tables, but leave benches/README.md as it is
    #[arg(long)]
    no_write: bool,
    /// Where the files of banks are made: the disk that is measured
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    alone: Option<Alone>,
}

#[derive(Debug, Subcommand)]
enum Alone {
    /// Serve the floor, until the process is ended
    Floor {
        #[arg(default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
}

/// How much is measured.
#[derive(Debug)]
struct Run {
    times: Times,
    rounds: usize,
    /// How many transactions and accounts make books large.
    large: (u64, u64),
    folder: PathBuf,
}

/// A server that is measured.
struct Server {
    name: &'static str,
    bank: Bank,
}

fn main() {
    let arguments = Arguments::parse();
    if let Some(Alone::Floor { listen }) = arguments.alone {
        return floor::serve(listen);
    }
    let times = |warm_up_ms, measured_ms| Times { warm_up_ms, measured_ms };
    let (times, rounds, large) = if arguments.quick {
        (times(200, 800), 1, (200_000, 20_000))
    } else if arguments.full {
        (times(1000, 3000), 3, (10_000_000, 1_000_000))
    } else {
        (times(1000, 3000), 3, (1_000_000, 100_000))
    };
    let run = Run { times, rounds, large, folder: arguments.folder.clone() };
    let machine = table::machine();
    println!("{machine}\n");

    let (mut goals, details) = calls::measure(&run);
    let (sizes, more_details) = size::measure(&run);
    goals.extend(sizes);
    let runtimes = runtimes::measure(&run);
    let many = many::measure(&run);
    goals.push(others::recovery(&arguments));
    goals.push(others::postgres(&arguments));
    others::durable(&arguments);

    let titles = ["goal", "wanted", "figure", "reference", "comes to", ""];
    let goals: Vec<Vec<String>> = goals.iter().map(Goal::cells).collect();
    let goals = markdown(&titles, &goals);
    let text = format!("{machine}.\n\n{goals}\n{details}\n{runtimes}\n{more_details}\n{many}");
    println!("{goals}\n{details}\n{runtimes}\n{more_details}\n{many}");
    if !arguments.quick && !arguments.no_write {
        table::write("goals", &text);
        println!("benches/README.md is written");
    }
}
