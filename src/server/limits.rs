//! What one client may use, so that none harms the others.

use std::time::Duration;

/// What one client may use. Every duration and number is above 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest batch that is read, in bytes; any other message may have 64 KiB. The default takes 8192
    /// operations with ids, a description and some labels each.
    pub max_message_bytes: usize,
    /// The largest list of headers that is read, in bytes.
    pub max_header_bytes: u32,
    /// How many connections there may be.
    pub max_connections: usize,
    /// How long a new connection may take until it has said what it wants: the handshake of TLS, and HTTP/2's
    /// preface with the settings.
    pub handshake_timeout: Duration,
    /// How long a connection may be without a call.
    pub max_connection_idle: Duration,
    /// How old a connection may get, give or take a tenth, so that clients that came together don't come back
    /// together.
    pub max_connection_age: Duration,
    /// How long calls may go on when their connection is to end.
    pub max_connection_age_grace: Duration,
    /// How long an answer, or a message of a stream, may wait for its client to take it, and a connection for
    /// the network to take anything at all.
    pub answer_timeout: Duration,
    /// How many calls one connection may have open.
    pub max_streams: u32,
    /// How many streams one connection may have reset before they were accepted (CVE-2023-44487).
    pub max_pending_resets: usize,
    /// How long a connection may be silent before it is asked for a sign of life.
    pub keepalive_interval: Duration,
    /// How long the sign of life may take.
    pub keepalive_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 16 << 20,
            max_header_bytes: 16 << 10,
            max_connections: 1024,
            handshake_timeout: Duration::from_secs(10),
            max_connection_idle: Duration::from_secs(5 * 60),
            max_connection_age: Duration::from_secs(3600),
            max_connection_age_grace: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(60),
            max_streams: 1024,
            max_pending_resets: 20,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
        }
    }
}
