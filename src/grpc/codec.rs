//! Protobuf on the wire: as prost has it, with our own word for bytes that are no message.
//!
//! tonic answers them INTERNAL, as if the fault were the server's; here they are an invalid request. So is a
//! message that would take far more memory than it has bytes.

use std::marker::PhantomData;

use bytes::Buf;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost::{DecodeError, Message};
use tonic::Status;
use tonic::codec::{DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::by_size::SMALL;
use super::encoded::Encode;
use super::status::Violations;

/// Encodes `T`, decodes `U`.
#[derive(Debug)]
pub(crate) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Encode,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = AnyEncoder<T>;
    type Decoder = MessageDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        AnyEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        MessageDecoder(PhantomData)
    }
}

/// Encodes `T`.
#[derive(Debug)]
pub(crate) struct AnyEncoder<T>(PhantomData<T>);

impl<T: Encode> Encoder for AnyEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode_to(buffer);
        Ok(())
    }
}

/// Decodes `U`.
#[derive(Debug)]
pub(crate) struct MessageDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for MessageDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let unreadable = |error: DecodeError| Violations::of_message(&error.to_string());
        if buffer.remaining() > SMALL && has_too_many_fields(buffer.chunk()).map_err(unreadable)? {
            let description = "has more fields than any request may have";
            return Err(Violations::of_message(description));
        }
        U::decode(buffer).map(Some).map_err(unreadable)
    }
}

/// How many fields of a message are unfolded, at the most: more than the operations that a batch may have, so
/// that one that has too many is told so by name.
const MAX_FIELDS: usize = 16_384;

/// An operation that says nothing has 2 bytes on the wire and some hundreds in memory: a batch of 16 MiB would
/// take 2 GB before anybody could count its operations.
fn has_too_many_fields(mut message: &[u8]) -> Result<bool, DecodeError> {
    for _ in 0..MAX_FIELDS {
        if message.is_empty() {
            return Ok(false);
        }
        let (tag, wire_type) = decode_key(&mut message)?;
        skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
    }
    Ok(!message.is_empty())
}
