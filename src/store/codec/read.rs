//! Plain postings, read as they lie.
//!
//! They are nearly all records of a ledger, and a page of a statement reads a thousand of them. The generated
//! messages would need a copy of every text. Here what [`write_plain`](super::write_plain) writes is taken field by
//! field, in its order. **Invariant:** what is read is what those messages would read. Whatever isn't just as it is
//! written there, damage included, is left to them.

use prost::encoding::{WireType, decode_varint};

use crate::ledger::{
    AccountId, Amount, Balance, CallerName, Change, Command, Currency, Description, Labels, Money,
    OverdraftLimit, Parties, Posting, Record, Request, RequestId, Sequence, Time,
};

use super::Linked;

/// Reads a record, if it is a posting that its command says all about.
pub(super) fn read_plain(bytes: &[u8]) -> Option<Linked> {
    let mut fields = Fields(bytes);
    let sequence = Sequence::new(fields.number(1)?);
    let time = Time::from_micros(fields.number(2)?.cast_signed());
    let id = match fields.text(3)? {
        "" => None,
        id => Some(RequestId::parse(id).ok()?),
    };
    let caller = match fields.text(4)? {
        "" => None,
        name => Some(CallerName::parse(name).ok()?),
    };
    let command = [6, 7, 8].into_iter().find_map(|field| Some((field, fields.message(field)?)));
    let command = command.and_then(|(field, command)| read_move(field, command))?;
    let mut posted = fields.message(9)?;
    let posting = Posting {
        movement: command.movement()?,
        from_balance: read_balance(posted.message(1)?)?,
        to_balance: read_balance(posted.message(2)?)?,
    };
    posted.end()?;
    let previous_hash = fields.bytes(5)?.to_vec();
    fields.end()?;
    let request = Request { id, caller, command };
    let record = Record { sequence, time, request, outcome: Ok(Change::Posted(posting)) };
    Some(Linked { record, previous_hash })
}

fn read_move(field: u8, mut fields: Fields<'_>) -> Option<Command> {
    let account_id = AccountId::parse(fields.text(1)?).ok()?;
    let to = fields.text(2)?;
    let amount = Amount::new(fields.number(3)?.cast_signed()).ok()?;
    let amount = Money { amount, currency: Currency::parse(fields.text(4)?).ok()? };
    let description = Description::parse(fields.text(5)?).ok()?;
    let mut pairs = Vec::new();
    while let Some(mut label) = fields.message(6) {
        pairs.push((label.text(1)?, label.text(2)?));
        label.end()?;
    }
    let labels = Labels::parse(pairs).ok()?;
    fields.end()?;
    Some(match field {
        6 => Command::Deposit { account_id, amount, description, labels },
        7 => Command::Withdraw { account_id, amount, description, labels },
        _ => {
            let parties = Parties::new(account_id, AccountId::parse(to).ok()?).ok()?;
            Command::Transfer { parties, amount, description, labels }
        }
    })
}

fn read_balance(mut fields: Fields<'_>) -> Option<Balance> {
    // Of the type sint64.
    let posted = fields.number(1)?;
    let posted = (posted >> 1).cast_signed() ^ -(posted & 1).cast_signed();
    let balance = Balance {
        posted,
        held: fields.number(2)?.cast_signed(),
        overdraft_limit: OverdraftLimit::new(fields.number(3)?.cast_signed()).ok()?,
        version: fields.number(4)?,
    };
    fields.end()?;
    Some(balance)
}

/// The fields of a message that are left. One that isn't next is not there.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn begins_with(&mut self, field: u8, wire_type: WireType) -> bool {
        match self.0.split_first() {
            Some((key, rest)) if *key == field << 3 | wire_type as u8 => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// A number; 0 when it is not there, and none when it can't be read.
    fn number(&mut self, field: u8) -> Option<u64> {
        if self.begins_with(field, WireType::Varint) {
            decode_varint(&mut self.0).ok()
        } else {
            Some(0)
        }
    }

    /// A message; none when it is not there or not whole.
    fn message(&mut self, field: u8) -> Option<Fields<'a>> {
        if !self.begins_with(field, WireType::LengthDelimited) {
            return None;
        }
        let length = decode_varint(&mut self.0).ok()?;
        let (message, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(Fields(message))
    }

    /// Bytes; empty when they are not there, and none when they are not whole.
    fn bytes(&mut self, field: u8) -> Option<&'a [u8]> {
        let key = field << 3 | WireType::LengthDelimited as u8;
        if self.0.first() == Some(&key) { Some(self.message(field)?.0) } else { Some(&[]) }
    }

    /// A text; empty when it is not there, and none when it can't be read.
    fn text(&mut self, field: u8) -> Option<&'a str> {
        str::from_utf8(self.bytes(field)?).ok()
    }

    /// Whether there is nothing left.
    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::super::{decode, decode_stored, encode, encode_previous_hash};
    use super::*;
    use crate::ledger::arbitrary;

    fn stored(record: &Record, hash: Option<[u8; 32]>) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(record, &mut bytes);
        if let Some(hash) = hash {
            encode_previous_hash(&hash, &mut bytes);
        }
        bytes
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(
            record in arbitrary::record(),
            hash in option::of(any::<[u8; 32]>()),
        ) {
            let bytes = stored(&record, hash);
            let hash = hash.map_or_else(Vec::new, Vec::from);
            for read in [decode(&bytes), decode_stored(&bytes)] {
                let Linked { record: read, previous_hash } = read.expect("it can be read");
                prop_assert_eq!(&read, &record);
                prop_assert_eq!(&previous_hash, &hash);
            }
            let is_plain = match &record.outcome {
                Ok(Change::Posted(posting)) => {
                    record.request.command.movement().as_ref() == Some(&posting.movement)
                }
                _ => false,
            };
            prop_assert_eq!(read_plain(&bytes).is_some(), is_plain);
        }

        #[test]
        fn what_is_read_of_other_bytes_is_what_the_messages_read(
            record in arbitrary::record(),
            place in any::<Index>(),
            (byte, cuts) in (any::<u8>(), 0..4),
        ) {
            let mut bytes = stored(&record, Some([7; 32]));
            let place = place.index(bytes.len());
            match cuts {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, byte),
                2 => bytes[place] ^= byte,
                _ => bytes[place] = byte,
            }
            if let Some(Linked { record, previous_hash }) = read_plain(&bytes) {
                let read = decode_stored(&bytes).expect("it can be read");
                prop_assert_eq!(record, read.record);
                prop_assert_eq!(previous_hash, read.previous_hash);
            }
        }
    }
}
