//! gRPC over bare HTTP/2, as far as a load needs it: messages go out as they were encoded, and answers are
//! looked at no more than is needed to know what came of them.
//!
//! tonic's client would cost more than the server that it calls; both share the machine.

use bytes::{Buf, Bytes, BytesMut};
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use tokio::net::TcpStream;
use tonic::transport::Uri;
use tonic::{Code, Status};

use super::plan::Kind;
use crate::grpc::proto::bank_service_server::SERVICE_NAME;

/// How much a stream and a connection may be sent before it was read, in bytes: more than the largest answer
/// to a batch, so that the generator never slows the bank down.
const WINDOWS: (u32, u32) = (16 << 20, 256 << 20);
/// What stands before each message of gRPC.
const PREFIX_LENGTH: usize = 5;

/// Connects: what sends requests, and what must be polled for them to be sent.
pub(super) async fn connect(
    endpoint: &Uri,
) -> Result<(SendRequest<Bytes>, Connection<TcpStream, Bytes>), String> {
    let host = endpoint.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = endpoint.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .enable_push(false);
    builder.handshake(stream).await.map_err(|error| error.to_string())
}

/// The headers of a call.
pub(super) fn request(endpoint: &Uri, kind: Kind) -> Request<()> {
    let authority = endpoint.authority().map_or("", |authority| authority.as_str());
    Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("http://{authority}/{SERVICE_NAME}/{}", kind.method()))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(())
        .expect("an authority that was parsed is well formed")
}

/// Sends the whole of a call.
pub(super) fn send(
    sender: &mut SendRequest<Bytes>,
    request: Request<()>,
    body: Bytes,
) -> Result<ResponseFuture, h2::Error> {
    let (response, mut stream) = sender.send_request(request, false)?;
    stream.send_data(body, true)?;
    Ok(response)
}

/// Begins a call whose messages come one by one.
pub(super) fn open(
    sender: &mut SendRequest<Bytes>,
    request: Request<()>,
) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
    sender.send_request(request, false)
}

/// Reads an answer of one message, which is kept if it is wanted.
pub(super) async fn answer(
    response: ResponseFuture,
    is_wanted: bool,
) -> Result<Result<Bytes, Status>, h2::Error> {
    let (mut stream, status) = begin(response.await?);
    if let Some(status) = status {
        return Ok(Err(status));
    }
    let mut body = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        if is_wanted {
            body.extend_from_slice(&data);
        }
    }
    let status = ended(stream.trailers().await?.as_ref());
    body.advance(PREFIX_LENGTH.min(body.len()));
    Ok(status.map(|()| body.freeze()))
}

/// What comes of a call: the body, or the status that it ended with at once.
pub(super) fn begin(response: Response<RecvStream>) -> (RecvStream, Option<Status>) {
    let (head, stream) = response.into_parts();
    let status = if head.headers.contains_key(Status::GRPC_STATUS) {
        ended(Some(&head.headers)).err()
    } else if head.status != StatusCode::OK {
        Some(Status::unknown(format!("HTTP status {}", head.status.as_u16())))
    } else {
        None
    };
    (stream, status)
}

/// The status that a call ended with.
pub(super) fn ended(trailers: Option<&HeaderMap>) -> Result<(), Status> {
    let Some(trailers) = trailers else {
        return Err(Status::unknown("the answer has no status"));
    };
    // Nearly all are this, which need not be parsed.
    if trailers.get(Status::GRPC_STATUS).is_some_and(|code| code.as_bytes() == b"0") {
        return Ok(());
    }
    match Status::from_header_map(trailers) {
        Some(status) if status.code() == Code::Ok => Ok(()),
        Some(status) => Err(status),
        None => Err(Status::unknown("the answer has no status")),
    }
}

/// The messages in what has come of a stream so far.
#[derive(Debug, Default)]
pub(super) struct Messages(BytesMut);

impl Messages {
    pub(super) fn add(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }

    /// The next message that is there in whole.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let mut prefix = self.0.get(1..PREFIX_LENGTH)?;
        let length = prefix.get_u32() as usize;
        if self.0.len() < PREFIX_LENGTH + length {
            return None;
        }
        self.0.advance(PREFIX_LENGTH);
        Some(self.0.split_to(length).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_wherever_they_are_cut() {
        let stream = b"\0\0\0\0\x03one\0\0\0\0\0\0\0\0\0\x05three";
        for cut in 0..=stream.len() {
            let mut messages = Messages::default();
            let mut found = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                messages.add(part);
                found.extend(std::iter::from_fn(|| messages.next()));
            }
            assert_eq!(found, [&b"one"[..], b"", b"three"], "cut at {cut}");
        }
    }

    #[test]
    fn a_status_is_read_from_trailers() {
        let trailers = |code: &'static str| {
            let mut trailers = HeaderMap::new();
            trailers.insert(Status::GRPC_STATUS, code.parse().expect("it is a value"));
            trailers
        };
        assert!(ended(Some(&trailers("0"))).is_ok());
        let status = ended(Some(&trailers("9"))).map_err(|status| status.code());
        assert_eq!(status, Err(Code::FailedPrecondition));
        assert!(ended(Some(&HeaderMap::new())).is_err());
        assert!(ended(None).is_err());
    }
}
