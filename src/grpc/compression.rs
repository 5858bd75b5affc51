//! Compression: messages may come packed by gzip or zstd, and an answer is packed if its request was.
//!
//! **Invariant:** nothing is unpacked beyond the size that its message may have. What a packed batch may
//! unfold to is counted before it is read (`by_size`).

use http::{HeaderMap, HeaderName};
use tonic::codec::CompressionEncoding::{Gzip, Zstd};

use super::proto::bank_service_server::BankServiceServer;

/// The same service, which reads and answers packed messages too.
#[must_use]
pub fn compressing<T>(service: BankServiceServer<T>) -> BankServiceServer<T> {
    service
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .send_compressed(Gzip)
        .send_compressed(Zstd)
}

static ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
static ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Whether the messages of a request may be packed.
pub(super) fn is_packed(headers: &HeaderMap) -> bool {
    headers.get(&ENCODING).is_some_and(|encoding| encoding != "identity")
}

/// Has the answer packed as the request is, if at all. Most clients tell that they could unpack an answer, and
/// tonic would pack each for them: that costs more than all else that a small answer takes.
pub(super) fn answer_alike(headers: &mut HeaderMap) {
    if !is_packed(headers) {
        headers.remove(&ACCEPT_ENCODING);
        return;
    }
    let (Some(encoding), Some(accepted)) = (headers.get(&ENCODING), headers.get(&ACCEPT_ENCODING))
    else {
        return;
    };
    let mut names = accepted.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    if names.any(|name| name == encoding.as_bytes()) {
        let encoding = encoding.clone();
        headers.insert(&ACCEPT_ENCODING, encoding);
    }
}
