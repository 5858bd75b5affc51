//! What a new connection says first: who it is, and that it speaks HTTP/2.
//!
//! **Invariant:** what comes out of here has sent the whole preface of HTTP/2 with its settings, within the
//! time for it. hyper would wait for these for ever.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::workers::Seat;
use super::{Limits, certificate};
use crate::grpc::peer::Peer;

/// What a client's side of HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The head of a frame: its length in 3 bytes, its type, its flags, its stream.
const FRAME_HEAD_BYTES: usize = 9;
/// The type of a frame of settings, which must be the first.
const SETTINGS: u8 = 4;
/// The largest frame that a client may send before it is told otherwise.
const MAX_FRAME_BYTES: usize = 1 << 14;

/// A connection that speaks HTTP/2.
pub(super) struct Opened {
    /// Where it is served.
    pub(super) seat: Seat,
    /// Who it is.
    pub(super) peer: Peer,
    /// What it has said, and will say.
    pub(super) stream: Rewound<BoxedStream>,
}

/// TCP, or TLS over it.
pub(super) type BoxedStream = Box<dyn Stream>;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Hears what a connection says first. `None` when that isn't HTTP/2, over TLS if there is to be any, or
/// doesn't come in time. It is to be polled by the seat's own runtime.
pub(super) async fn open(
    stream: TcpStream,
    address: SocketAddr,
    seat: Seat,
    tls: Option<TlsAcceptor>,
    limits: Limits,
) -> Option<Opened> {
    let heard = async {
        // It was accepted elsewhere, and is watched from here on.
        let stream = TcpStream::from_std(stream.into_std()?)?;
        // Answers are small, and somebody waits for each.
        stream.set_nodelay(true)?;
        let mut peer = Peer { address: Some(address), names: Vec::new() };
        let stream: BoxedStream = match tls {
            None => Box::new(stream),
            Some(tls) => {
                let stream = match tls.accept(stream).into_fallible().await {
                    Ok(stream) => stream,
                    Err((error, stream)) => {
                        let_it_hear(stream).await;
                        return Err(error);
                    }
                };
                if let Some([certificate, ..]) = stream.get_ref().1.peer_certificates() {
                    peer.names = certificate::names(certificate);
                }
                Box::new(stream)
            }
        };
        Ok(Opened { seat, peer, stream: hear(stream).await? })
    };
    match timeout(limits.handshake_timeout, heard).await {
        Ok(Ok(opened)) => Some(opened),
        Ok(Err(error)) => {
            let error: io::Error = error;
            tracing::debug!(%address, %error, "a connection came to nothing");
            None
        }
        Err(_) => {
            tracing::debug!(%address, "a connection said nothing in time");
            None
        }
    }
}

/// Reads away what a client sends that was turned away already. Closing on unread bytes would be a reset, which
/// can come before the alert that tells the client why.
async fn let_it_hear(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    if stream.shutdown().await.is_ok() {
        while let Ok(1..) = stream.read(&mut buffer).await {}
    }
}

/// Reads the preface and the settings, and puts them back.
async fn hear<T: AsyncRead + Unpin>(mut stream: T) -> io::Result<Rewound<T>> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut heard = BytesMut::with_capacity(256);
    let mut wanted = PREFACE.len() + FRAME_HEAD_BYTES;
    while heard.len() < wanted {
        if stream.read_buf(&mut heard).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Whoever speaks something else hears so at once.
        let common = heard.len().min(PREFACE.len());
        if heard[..common] != PREFACE[..common] {
            return Err(invalid("it doesn't speak HTTP/2"));
        }
        if let Some(&[high, middle, low, kind, ..]) = heard.get(PREFACE.len()..) {
            let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            if kind != SETTINGS || length > MAX_FRAME_BYTES {
                return Err(invalid("it doesn't begin with its settings"));
            }
            wanted = PREFACE.len() + FRAME_HEAD_BYTES + length;
        }
    }
    Ok(Rewound { heard: heard.freeze(), stream })
}

/// A stream of which the beginning was heard already, and is read once more.
pub(super) struct Rewound<T> {
    heard: Bytes,
    stream: T,
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewound<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.heard.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.heard.len().min(buffer.remaining());
        buffer.put_slice(&self.heard[..length]);
        self.heard.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rewound<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client says first, with so many bytes of settings.
    fn beginning(length: u8) -> Vec<u8> {
        let head = [0, 0, length, SETTINGS, 0, 0, 0, 0, 0];
        [PREFACE, &head, &vec![7; usize::from(length)]].concat()
    }

    #[tokio::test]
    async fn everything_that_was_said_is_read_once_more() {
        for length in [0, 6, 60] {
            let mut said = beginning(length);
            said.extend_from_slice(b"and more");
            let (mut client, server) = tokio::io::duplex(5);
            let copy = said.clone();
            let saying = tokio::spawn(async move {
                client.write_all(&copy).await.expect("it is heard");
            });
            let mut all = Vec::new();
            let mut rewound = hear(server).await.expect("it speaks HTTP/2");
            rewound.read_to_end(&mut all).await.expect("it is read");
            assert_eq!(all, said);
            saying.await.expect("it does not panic");
        }
    }

    #[tokio::test]
    async fn whatever_else_is_said_is_refused_as_soon_as_it_shows() {
        let mut headers_first = beginning(0);
        headers_first[PREFACE.len() + 3] = 1;
        let mut huge = beginning(0);
        huge[PREFACE.len()] = 1;
        for said in [&b"G"[..], b"PRI * HTTP/1", b"\x16\x03\x01", &headers_first, &huge] {
            let (mut client, server) = tokio::io::duplex(1000);
            client.write_all(said).await.expect("it is heard");
            // The client waits for an answer: there is no end to be found.
            let error = hear(server).await.err().expect("it is no HTTP/2");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{said:?}");
            drop(client);
        }
    }

    #[tokio::test]
    async fn a_beginning_that_ends_too_early_is_none() {
        let said = beginning(6);
        for length in 0..said.len() {
            let (mut client, server) = tokio::io::duplex(1000);
            client.write_all(&said[..length]).await.expect("it is heard");
            drop(client);
            let error = hear(server).await.err().expect("it ends");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length}");
        }
    }
}
