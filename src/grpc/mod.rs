//! Floor 2: the wire.
//!
//! Protobuf comes in here and goes no further down: `parse` turns a request into a command, all
//! violations at once; `service` has the store execute it; `render` turns the record into the
//! answer; `status` has the one table from refusals to codes. Around every call stands `edge`:
//! its log line and its count, its place among those in flight (`admission`), its deadline, and the end of
//! the server; `access` says who calls, and what it may do and know.

pub mod access;
mod admission;
mod arriving;
mod by_size;
mod call;
pub(crate) mod codec;
mod compression;
mod deadline;
pub mod edge;
mod encoded;
mod form;
mod observe;
mod operations;
mod page;
mod page_token;
mod parse;
pub mod peer;
mod pipe;
mod render;
pub mod service;
mod statement;
mod status;
mod watch;
mod whole;
mod within;

pub(crate) use access::AUDIT_TARGET;
pub use access::Access;
pub use admission::{Admission, Capacity};
pub use by_size::BySize;
pub use compression::compressing;
pub use encoded::Encoded;
pub use observe::{Observer, Spans, tally};
pub(crate) use observe::{code_name, is_servers_fault};
pub(crate) use render::linked_transaction;
pub use service::Service;
pub(crate) use status::refused;

/// The generated code of `bank.v1`.
#[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
pub mod proto {
    tonic::include_proto!("bank.v1");
    include!(concat!(env!("OUT_DIR"), "/server/bank.v1.rs"));

    /// What the service answers `ListTransactions` with.
    pub type EncodedListTransactionsResponse = super::Encoded<ListTransactionsResponse>;

    /// The descriptors of the API, for reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/bank_descriptor.bin"));
}
