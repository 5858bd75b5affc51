//! Who is on the other side of a connection, as far as the connection itself tells.
//!
//! It stands in the extensions of every request. What the caller says in its headers is not in it.

use std::net::SocketAddr;

/// The other side of a connection.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Where it calls from.
    pub address: Option<SocketAddr>,
    /// The URI and DNS names of its certificate, which has been verified; none without a certificate. URIs
    /// are as they stand there (`spiffe://cluster/ns/pay/sa/teller`), DNS names in lower case
    /// (`client.example`). The two can't be mistaken for one another: only a URI has a colon.
    pub names: Vec<String>,
}
