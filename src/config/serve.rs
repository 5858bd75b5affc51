//! The settings of `bank serve`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use http::Uri;
use rustls::RootCertStore;
use tracing_subscriber::EnvFilter;

use super::client::parse_endpoint;
use super::client_tls::roots;
use super::{
    AuthSettings, BoundSettings, CapacitySettings, ConnectionSettings, DatabaseSettings,
    TlsSettings,
};

/// How to run the bank.
#[derive(Debug, Args)]
pub struct ServeSettings {
    /// The address to listen on; port 0 takes any free one
    #[arg(
        long,
        env = "BANK_LISTEN",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:50051",
        hide_env_values = true
    )]
    pub listen: SocketAddr,

    /// The file that keeps the books; without it they are gone when the process ends
    #[arg(
        long,
        env = "BANK_DATA",
        value_name = "FILE",
        hide_env_values = true,
        conflicts_with_all = ["database_url", "database_url_file"]
    )]
    pub data: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub database: DatabaseSettings,

    /// Refuse writes while the file system of the books has less space than this
    #[arg(
        long,
        env = "BANK_MIN_FREE_SPACE",
        value_name = "SIZE",
        default_value = "64MiB",
        hide_env_values = true
    )]
    pub min_free_space: ByteSize,

    /// The address on which /metrics, /healthz and /readyz are served over plain HTTP [default: none]
    #[arg(long, env = "BANK_METRICS", value_name = "IP:PORT", hide_env_values = true)]
    pub metrics: Option<SocketAddr>,

    /// The collector that traces go to, by OTLP over gRPC, http or https; usually port 4317 [default: none]
    #[arg(
        long,
        env = "BANK_OTLP_ENDPOINT",
        value_name = "URL",
        value_parser = parse_endpoint,
        hide_env_values = true
    )]
    otlp_endpoint: Option<Uri>,

    /// The CAs that vouch for the collector, PEM [default: those of the system]
    #[arg(
        long,
        env = "BANK_OTLP_CA",
        value_name = "FILE",
        requires = "otlp_endpoint",
        hide_env_values = true
    )]
    otlp_ca: Option<PathBuf>,

    /// The share of calls that are traced where the caller does not say, from 0 to 1
    #[arg(
        long,
        env = "BANK_TRACE_RATIO",
        value_name = "RATIO",
        default_value = "1",
        value_parser = parse_ratio,
        hide_env_values = true
    )]
    pub trace_ratio: f64,

    /// How many threads serve connections, each of which stays on one [default: one for each core]; 0: one for
    /// each core, which share the calls of all connections
    #[arg(
        long,
        env = "BANK_THREADS",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(0..=1024),
        hide_env_values = true
    )]
    pub threads: Option<u16>,

    /// How long running calls may take to finish when the bank is told to end
    #[arg(
        long,
        env = "BANK_DRAIN_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = humantime::parse_duration,
        hide_env_values = true
    )]
    pub drain_timeout: Duration,

    /// The form of the log, which goes to standard error
    #[arg(
        long,
        env = "BANK_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        hide_env_values = true
    )]
    pub log_format: LogFormat,

    /// What to log: error, warn, info, debug, trace, or tracing directives such as `info,h2=debug`
    #[arg(
        long,
        env = "BANK_LOG_LEVEL",
        value_name = "FILTER",
        default_value = "info",
        value_parser = LogFilter::parse,
        hide_env_values = true
    )]
    pub log_level: LogFilter,

    /// Listen where others reach it although calls aren't encrypted, or anybody may make them
    #[arg(long, env = "BANK_INSECURE", hide_env_values = true)]
    pub insecure: bool,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub tls: TlsSettings,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub auth: AuthSettings,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub connections: ConnectionSettings,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub capacity: CapacitySettings,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields say it")]
    pub bounds: BoundSettings,
}

impl ServeSettings {
    /// How many threads serve connections; 0 when those of the process's own runtime do.
    #[must_use]
    pub fn threads(&self) -> usize {
        match self.threads {
            Some(threads) => threads.into(),
            // Where the system doesn't say how many cores there are, one thread is never wrong.
            None => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        }
    }

    /// Where traces go, if anywhere. Reads the CAs that vouch for it.
    ///
    /// # Errors
    ///
    /// One line that says which file or setting can't be used.
    pub fn collector(&self) -> Result<Option<Collector>, String> {
        let Some(endpoint) = self.otlp_endpoint.clone() else { return Ok(None) };
        let roots = match (endpoint.scheme_str(), self.otlp_ca.as_deref()) {
            (Some("https"), ca) => Some(roots(ca, "--otlp-ca")?),
            (_, None) => None,
            (_, Some(_)) => {
                return Err(format!(
                    "--otlp-ca: {endpoint} is called without TLS: it must be https://HOST:PORT"
                ));
            }
        };
        Ok(Some(Collector { endpoint, roots }))
    }

    /// Whether the bank may listen there with what it knows of its callers.
    ///
    /// # Errors
    ///
    /// One line that says what is missing.
    pub fn may_listen(&self) -> Result<(), String> {
        self.may_listen_if(self.insecure)
    }

    /// Whether it may listen there only because that was said to be wanted.
    #[must_use]
    pub fn is_open_to_anybody(&self) -> bool {
        self.may_listen_if(false).is_err()
    }

    fn may_listen_if(&self, is_insecure: bool) -> Result<(), String> {
        let has_authentication =
            self.tls.requires_client_certificates() || self.auth.has_authentication();
        may_listen(self.listen, self.tls.is_given(), has_authentication, is_insecure)
    }
}

/// Anybody on the network may knock at an address that isn't the machine's own.
fn may_listen(
    address: SocketAddr,
    has_tls: bool,
    has_authentication: bool,
    is_insecure: bool,
) -> Result<(), String> {
    if address.ip().to_canonical().is_loopback() || (has_tls && has_authentication) || is_insecure {
        return Ok(());
    }
    let missing = match (has_tls, has_authentication) {
        (false, _) => "TLS: give --tls-cert and --tls-key, and --tls-client-ca or --auth-tokens",
        (true, _) => "authentication: give --tls-client-ca or --auth-tokens",
    };
    Err(format!(
        "listening on {address}, where others reach it, needs {missing}; --insecure does without"
    ))
}

/// The collector that traces go to.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Where it is.
    pub endpoint: Uri,
    /// The CAs that vouch for it; none where it is called in plain text.
    pub roots: Option<RootCertStore>,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// A filter of log lines that was checked.
#[derive(Clone, Debug)]
pub struct LogFilter(String);

impl LogFilter {
    /// Its directives.
    #[must_use]
    pub fn directives(&self) -> &str {
        &self.0
    }

    fn parse(directives: &str) -> Result<Self, String> {
        // An empty filter would silence the log altogether, which nobody means by an empty variable.
        if directives.trim().is_empty() {
            return Err("must not be empty".to_owned());
        }
        EnvFilter::try_new(directives)
            .map(|_| Self(directives.to_owned()))
            .map_err(|error| error.to_string())
    }
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err("must be from 0 to 1".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str, has_tls: bool, has_authentication: bool) -> Option<String> {
        let address = address.parse().expect("it is an address");
        assert_eq!(may_listen(address, has_tls, has_authentication, true), Ok(()));
        may_listen(address, has_tls, has_authentication, false).err()
    }

    #[test]
    fn only_the_machine_itself_may_call_without_tls_or_authentication() {
        for address in ["127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(refused(address, false, false), None, "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1", "[fe80::1]:1"] {
            for (has_tls, has_authentication, missing) in [
                (false, false, Some("--tls-cert")),
                (false, true, Some("--tls-cert")),
                (true, false, Some("--tls-client-ca")),
                (true, true, None),
            ] {
                let said = refused(address, has_tls, has_authentication);
                assert_eq!(said.is_some(), missing.is_some(), "{address} {said:?}");
                if let (Some(said), Some(missing)) = (said, missing) {
                    assert!(said.contains(missing) && said.contains("--insecure"), "{said}");
                    assert!(said.contains(address) && !said.contains('\n'), "{said}");
                }
            }
        }
    }
}
