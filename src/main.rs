//! Reads the command line and starts what it names.

use std::process::ExitCode;

use bank::cli;
use bank::config::{self, Command, EXIT_USAGE, Stop};

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
        Err(line) => {
            eprintln!("bank: {line}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Serve(settings) => cli::serve(settings).await,
        Command::Healthcheck(settings) => cli::healthcheck(settings).await,
    }
}
