//! What tells of a running bank. Here is the log: lines for people, or one JSON object a line, on standard
//! error.

pub mod http;
pub mod metrics;
mod process;

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{LogFilter, LogFormat};

/// Sends every line of the process that the filter lets through to standard error. Colours only on a
/// terminal.
pub fn start(format: LogFormat, filter: &LogFilter) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter.directives()))
        .with_writer(io::stderr)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).init(),
    }
}
