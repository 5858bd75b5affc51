//! What tells of a running bank. Here is the log: lines for people, or one JSON object a line, on standard
//! error; and the audit log beside it.

mod audit_log;
pub mod http;
pub mod metrics;
mod process;
pub mod traces;

use std::io::{self, IsTerminal};

use tracing::Metadata;
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

use crate::config::{LogFilter, LogFormat};
use crate::grpc::AUDIT_TARGET;

pub use audit_log::AuditLog;

/// Sends every line of the process that the filter lets through to standard error. Colours only on a
/// terminal. The lines of the audit go to their own file alone if there is one, whatever the filter says.
pub fn start(format: LogFormat, filter: &LogFilter, audit_log: Option<AuditLog>) {
    let has_own_file = audit_log.is_some();
    // Every filter says how detailed it gets: spans of libraries that nobody asked for would be kept otherwise,
    // which costs a quarter of each call. For the same reason there is no layer that is `None`.
    let others = filter_fn(move |line| !(has_own_file && is_audit(line)));
    let filter =
        EnvFilter::new(filter.directives()).and(others.with_max_level_hint(LevelFilter::TRACE));
    let log = fmt::layer().with_writer(io::stderr).log_internal_errors(false);
    let log = match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).boxed(),
    };
    let mut layers = vec![log.with_filter(filter).boxed()];
    if let Some(file) = audit_log {
        let layer = fmt::layer().with_writer(file).log_internal_errors(false);
        let layer = layer.json().flatten_event(true).with_current_span(false);
        let audit = filter_fn(is_audit).with_max_level_hint(LevelFilter::INFO);
        layers.push(layer.with_target(false).with_level(false).with_filter(audit).boxed());
    }
    registry().with(layers).init();
}

fn is_audit(line: &Metadata<'_>) -> bool {
    line.target() == AUDIT_TARGET
}
