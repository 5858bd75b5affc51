//! Answers that were written without their generated messages.
//!
//! **Invariant:** a reader can't tell the difference.

use std::marker::PhantomData;

use bytes::BufMut;
use prost::{DecodeError, Message};
use tonic::codec::EncodeBuf;

/// What can be sent.
pub(crate) trait Encode: Send + 'static {
    fn encode_to(&self, buffer: &mut EncodeBuf<'_>);
}

impl<T: Message + 'static> Encode for T {
    fn encode_to(&self, buffer: &mut EncodeBuf<'_>) {
        self.encode(buffer).expect("a buffer grows as needed");
    }
}

/// A message as it stands on the wire.
#[derive(Clone, Debug)]
pub struct Encoded<T> {
    bytes: Vec<u8>,
    of: PhantomData<T>,
}

impl<T> Encoded<T> {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, of: PhantomData }
    }
}

impl<T: Message + Default> Encoded<T> {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// When it is no such message.
    pub fn decode(&self) -> Result<T, DecodeError> {
        T::decode(&self.bytes[..])
    }
}

/// The message that says nothing.
impl<T> Default for Encoded<T> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl<T: Send + 'static> Encode for Encoded<T> {
    fn encode_to(&self, buffer: &mut EncodeBuf<'_>) {
        buffer.put_slice(&self.bytes);
    }
}
