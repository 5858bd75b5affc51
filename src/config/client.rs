//! The settings of the commands that call a running bank.

use std::time::Duration;

use clap::Args;
use tonic::transport::Uri;

/// How to ask a running bank for its health.
#[derive(Debug, Args)]
pub struct HealthcheckSettings {
    /// The bank to ask
    #[arg(
        long,
        env = "BANK_ENDPOINT",
        value_name = "URL",
        default_value = "http://127.0.0.1:50051",
        value_parser = parse_endpoint,
        hide_env_values = true
    )]
    pub endpoint: Uri,

    /// How long to wait for the answer
    #[arg(
        long,
        env = "BANK_HEALTHCHECK_TIMEOUT",
        value_name = "DURATION",
        default_value = "3s",
        value_parser = humantime::parse_duration,
        hide_env_values = true
    )]
    pub timeout: Duration,
}

fn parse_endpoint(text: &str) -> Result<Uri, String> {
    let endpoint: Uri = text.parse().map_err(|error| format!("{error}"))?;
    if endpoint.scheme_str() == Some("http") && endpoint.authority().is_some() {
        Ok(endpoint)
    } else {
        Err("must be http://HOST:PORT".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_name_a_host() {
        for text in ["http://127.0.0.1:50051", "http://bank", "http://[::1]:1"] {
            assert!(parse_endpoint(text).is_ok(), "{text}");
        }
        for text in ["", "127.0.0.1:50051", "https://bank", "http://", "ftp://bank", "/"] {
            assert!(parse_endpoint(text).is_err(), "{text:?}");
        }
    }
}
