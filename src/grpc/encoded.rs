//! Answers that are written straight to the wire.
//!
//! A generated message owns a copy of every text, and adds up its lengths three times before a byte is written.
//! A page of a thousand transactions is written field by field instead, from where the texts lie. **Invariant:**
//! its reader can't tell the difference.

use std::marker::PhantomData;

use bytes::BufMut;
use prost::encoding::{WireType, encode_varint};
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

/// The fields of a message, behind what the buffer has. Their numbers are below 16, so each key has one byte.
pub(super) struct Fields<'a>(pub(super) &'a mut Vec<u8>);

impl Fields<'_> {
    /// A number, unless it is 0.
    pub(super) fn number(&mut self, field: u8, number: i64) {
        if number != 0 {
            self.set_number(field, number);
        }
    }

    /// A number, 0 too.
    pub(super) fn set_number(&mut self, field: u8, number: i64) {
        self.key(field, WireType::Varint);
        self.varint(number.cast_unsigned());
    }

    /// A text, unless it is empty.
    pub(super) fn text(&mut self, field: u8, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    /// A text or a message, an empty one too.
    pub(super) fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.key(field, WireType::LengthDelimited);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A text of two parts.
    pub(super) fn joined(&mut self, field: u8, parts: [&str; 2]) {
        self.key(field, WireType::LengthDelimited);
        self.varint((parts[0].len() + parts[1].len()) as u64);
        for part in parts {
            self.0.extend_from_slice(part.as_bytes());
        }
    }

    /// A message, of what is written into it.
    pub(super) fn message(&mut self, field: u8, write: impl FnOnce(&mut Fields<'_>)) {
        self.key(field, WireType::LengthDelimited);
        // Its length stands before it, is known behind it, and has one byte unless it is a long one.
        let place = self.0.len();
        self.0.push(0);
        write(self);
        let length = self.0.len() - place - 1;
        if let Ok(short @ ..0x80) = u8::try_from(length) {
            self.0[place] = short;
        } else {
            self.0.remove(place);
            self.varint(length as u64);
            let added = self.0.len() - place - length;
            self.0[place..].rotate_right(added);
        }
    }

    fn key(&mut self, field: u8, wire_type: WireType) {
        debug_assert!(field < 16, "{field}");
        self.0.push(field << 3 | wire_type as u8);
    }

    fn varint(&mut self, number: u64) {
        match u8::try_from(number) {
            Ok(short @ ..0x80) => self.0.push(short),
            _ => encode_varint(number, self.0),
        }
    }
}
