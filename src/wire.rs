//! The fields of protobuf messages, written one by one from where their texts lie.
//!
//! A generated message owns a copy of every text, and adds up its lengths three times before a byte is written:
//! where that counts, its fields are written like this.

use prost::encoding::{WireType, encode_varint};

/// The fields of a message, behind what the buffer has. Their numbers are below 16, so each key has one byte; most
/// lengths and many numbers have one as well.
pub(crate) struct Fields<'a>(pub(crate) &'a mut Vec<u8>);

impl Fields<'_> {
    /// A number, unless it is 0.
    pub(crate) fn unsigned(&mut self, field: u8, number: u64) {
        if number != 0 {
            self.key(field, WireType::Varint);
            self.varint(number);
        }
    }

    /// A number with a sign, unless it is 0.
    pub(crate) fn signed(&mut self, field: u8, number: i64) {
        self.unsigned(field, number.cast_unsigned());
    }

    /// A number with a sign, 0 too.
    pub(crate) fn set_signed(&mut self, field: u8, number: i64) {
        self.key(field, WireType::Varint);
        self.varint(number.cast_unsigned());
    }

    /// A text, unless it is empty.
    pub(crate) fn text(&mut self, field: u8, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    /// A text or a message, an empty one too.
    pub(crate) fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.key(field, WireType::LengthDelimited);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A text of two parts.
    pub(crate) fn joined(&mut self, field: u8, parts: [&str; 2]) {
        self.key(field, WireType::LengthDelimited);
        self.varint((parts[0].len() + parts[1].len()) as u64);
        for part in parts {
            self.0.extend_from_slice(part.as_bytes());
        }
    }

    /// A message, of what is written into it.
    pub(crate) fn message(&mut self, field: u8, write: impl FnOnce(&mut Fields<'_>)) {
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
