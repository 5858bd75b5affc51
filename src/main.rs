//! Reads the command line and starts what it names.

use std::process::ExitCode;

use bank::cli::{self, Failure};
use bank::config::{self, Command, EXIT_USAGE, Stop};

/// A call makes and drops some dozens of small things, which this one does in less time than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = match config::read() {
        Ok(cli) => cli.command,
        Err(Stop::Shown(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(Stop::NothingAsked(text)) => {
            eprint!("{text}");
            return ExitCode::from(EXIT_USAGE);
        }
        Err(Stop::Misused(line)) => {
            eprintln!("bank: {line}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text() {
                eprintln!("{text}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

#[tokio::main]
async fn run(command: Command) -> Result<(), Failure> {
    cli::run(command).await
}
