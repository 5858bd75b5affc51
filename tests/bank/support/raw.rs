//! Calls made of raw bytes, for what no generated client would send.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request};
use tonic::Status;

/// What came back: the status, wherever it stood.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: Status,
}

/// Puts a message into the frame of gRPC: no compression, and its length.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("it is short");
    let mut frame = vec![0];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// Sends a body, as it is, to a method of the bank and waits for the end of the answer.
pub(crate) async fn call(
    address: SocketAddr,
    method: &str,
    headers: &[(&'static str, &str)],
    body: Vec<u8>,
) -> RawAnswer {
    let stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let (client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    let connection = tokio::spawn(connection);

    let mut request = Request::post(format!("http://{address}/bank.v1.BankService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).expect("it is well formed");
    let mut client = client.ready().await.expect("it takes calls");
    let (response, mut sending) = client.send_request(request, false).expect("it takes calls");
    send(&mut sending, body).await;

    let response = response.await.expect("it answers");
    let (head, mut body) = response.into_parts();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.expect("the answer is whole");
        body.flow_control().release_capacity(chunk.len()).expect("it was received");
    }
    let trailers = body.trailers().await.expect("the answer is whole");
    connection.abort();
    RawAnswer { status: status(&head.headers, trailers.as_ref()) }
}

/// Sends as much as the server will take: it may answer before it has read everything.
async fn send(sending: &mut h2::SendStream<Bytes>, body: Vec<u8>) {
    let mut rest = Bytes::from(body);
    while !rest.is_empty() {
        sending.reserve_capacity(rest.len());
        let Some(Ok(capacity)) =
            std::future::poll_fn(|context| sending.poll_capacity(context)).await
        else {
            return;
        };
        let chunk = rest.split_to(capacity.min(rest.len()));
        if sending.send_data(chunk, false).is_err() {
            return;
        }
    }
    // A server that has answered already has no use for the end.
    let _ = sending.send_data(Bytes::new(), true);
}

fn status(headers: &HeaderMap, trailers: Option<&HeaderMap>) -> Status {
    trailers
        .and_then(Status::from_header_map)
        .or_else(|| Status::from_header_map(headers))
        .expect("every answer has a status")
}
