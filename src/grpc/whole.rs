//! The body of a batch, handed on message by message.
//!
//! tonic makes room for a message as soon as its length is said, and that may be 16 MiB for five bytes that were
//! sent. **Invariant:** what a request takes is in proportion to what has arrived of it. What is larger than it may
//! be is handed on at once, to be refused.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::body::Body;

/// What comes before each message: whether it is packed, and its length in four bytes.
const PREFIX_BYTES: usize = 5;

pin_project! {
    /// A body whose messages come whole.
    pub(super) struct Whole {
        #[pin]
        inner: Body,
        max_bytes: usize,
        // Copied, since a part, however small, keeps the whole buffer that it was read into.
        held: BytesMut,
        end: Option<End>,
    }
}

/// That nothing more comes, but for trailers perhaps.
type End = Option<Frame<Bytes>>;

impl Whole {
    /// The same body, in which a message may have so many bytes.
    pub(super) fn new(inner: Body, max_bytes: usize) -> Self {
        Self { inner, max_bytes, held: BytesMut::new(), end: None }
    }
}

/// How many of these bytes can be handed on: one message, or all when it is larger than it may be.
fn can_go(held: &[u8], max_bytes: usize) -> Option<usize> {
    let &[_, a, b, c, d, ..] = held else { return None };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > max_bytes {
        return Some(held.len());
    }
    let end = PREFIX_BYTES + length;
    (held.len() >= end).then_some(end)
}

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let data = |bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        loop {
            if let Some(length) = can_go(this.held, *this.max_bytes) {
                return data(this.held.split_to(length).freeze());
            }
            if let Some(end) = this.end {
                // It was cut off in the middle, which the reader is to see.
                if !this.held.is_empty() {
                    return data(this.held.split().freeze());
                }
                return Poll::Ready(end.take().map(Ok));
            }
            match ready!(this.inner.as_mut().poll_frame(context)) {
                None => *this.end = Some(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    // As most are: a message in one part.
                    Ok(part)
                        if this.held.is_empty()
                            && can_go(&part, *this.max_bytes) == Some(part.len()) =>
                    {
                        return data(part);
                    }
                    Ok(part) => this.held.extend_from_slice(&part),
                    Err(trailers) => *this.end = Some(Some(trailers)),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty()
            && match &self.end {
                Some(end) => end.is_none(),
                None => self.inner.is_end_stream(),
            }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    type Parts = Vec<Result<Frame<Bytes>, Status>>;

    fn parts(parts: &[&'static [u8]]) -> Parts {
        parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part)))).collect()
    }

    /// What comes out of a body in which a message may have 10 bytes: the parts, and how it ends.
    async fn handed_on(parts: Parts) -> (Vec<Bytes>, Option<Result<Frame<Bytes>, Status>>) {
        let mut whole = Whole::new(Body::new(StreamBody::new(stream::iter(parts))), 10);
        let mut out = Vec::new();
        loop {
            match whole.frame().await {
                Some(Ok(frame)) if frame.is_data() => {
                    out.push(frame.into_data().expect("it is data"));
                }
                end => return (out, end),
            }
        }
    }

    #[tokio::test]
    async fn a_message_is_handed_on_when_it_is_whole() {
        for (sent, expected) in [
            (&[&b"\0\0\0\0\x03abc"[..]][..], &[&b"\0\0\0\0\x03abc"[..]][..]),
            (&[b"\0", b"\0\0\0", b"\x03a", b"", b"bc"], &[b"\0\0\0\0\x03abc"]),
            (&[b"\0\0\0\0\x01a\0\0\0", b"\0\x02bc"], &[b"\0\0\0\0\x01a", b"\0\0\0\0\x02bc"]),
            (&[b"\0\0\0\0\0\0\0\0\0\0"], &[b"\0\0\0\0\0", b"\0\0\0\0\0"]),
            // Cut off.
            (&[b"\0\0\0\0\x03a", b"b"], &[b"\0\0\0\0\x03ab"]),
            (&[b"\0\0\0"], &[b"\0\0\0"]),
            (&[], &[]),
            // Larger than it may be: nobody waits for the rest.
            (&[b"\0\0\0\0", b"\x0ba", b"b"], &[b"\0\0\0\0\x0ba", b"b"]),
        ] {
            let (out, end) = handed_on(parts(sent)).await;
            assert_eq!(out, expected, "{sent:?}");
            assert!(end.is_none(), "{end:?}");
        }
    }

    #[tokio::test]
    async fn trailers_and_errors_come_last() {
        let mut sent = parts(&[b"\0\0\0\0\x03a"]);
        sent.push(Ok(Frame::trailers(http::HeaderMap::new())));
        let (out, end) = handed_on(sent).await;
        assert_eq!(out, [&b"\0\0\0\0\x03a"[..]]);
        assert!(end.is_some_and(|end| end.is_ok_and(|frame| frame.is_trailers())));

        let mut sent = parts(&[b"\0\0\0\0\x03a"]);
        sent.push(Err(Status::unavailable("it is too much")));
        let (out, end) = handed_on(sent).await;
        assert!(out.is_empty(), "{out:?}");
        assert_eq!(end.expect("it fails").expect_err("it fails").code(), tonic::Code::Unavailable);
    }
}
