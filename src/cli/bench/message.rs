//! Requests that are encoded once, and sent again and again with other ids written over the first.
//!
//! Encoding every message anew would cost the generator as much as the bank spends on reading it, and both
//! share the machine.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use rand::RngExt;
use rand::rngs::SmallRng;
use uuid::Builder;
use uuid::fmt::Hyphenated;

use super::accounts::{Picker, name, write_name};

/// What stands before each message of gRPC: whether it is compressed, and its length.
const PREFIX_LENGTH: usize = 5;

/// A request in which ids are left open.
#[derive(Clone, Debug)]
pub(super) struct Template {
    message: Vec<u8>,
    request_id: Option<usize>,
    accounts: Accounts,
}

/// Where a message names accounts.
#[derive(Clone, Copy, Debug)]
enum Accounts {
    None,
    One(usize),
    Two(usize, usize),
}

/// The texts that stand where ids will be. Each is as long as what is written over it.
#[derive(Debug)]
pub(super) struct Blanks {
    /// For the request's id; empty where none is sent.
    pub(super) request_id: String,
    /// For the only account, or the one that pays.
    pub(super) from: String,
    /// For the account that receives.
    pub(super) to: String,
}

impl Blanks {
    pub(super) fn new(with_request_id: bool) -> Self {
        let request_id =
            if with_request_id { "-".repeat(Hyphenated::LENGTH) } else { String::new() };
        // Any two names that differ.
        Self { request_id, from: name(1), to: name(2) }
    }
}

impl Template {
    /// A message that has been filled in with blanks.
    pub(super) fn new(message: &impl Message, blanks: &Blanks) -> Self {
        let message = message.encode_to_vec();
        let find = |blank: &str| {
            let mut places = message.windows(blank.len().max(1));
            places.position(|bytes| bytes == blank.as_bytes())
        };
        let accounts = match (find(&blanks.from), find(&blanks.to)) {
            (None, _) => Accounts::None,
            (Some(from), None) => Accounts::One(from),
            (Some(from), Some(to)) => Accounts::Two(from, to),
        };
        let request_id = find(&blanks.request_id);
        Self { message, request_id, accounts }
    }

    /// So many of it in one message of gRPC. Messages that follow one another are one message in which
    /// lists have the items of all, so a batch of one, repeated, is a batch of many.
    pub(super) fn repeated(&self, times: u32, picker: &Picker, random: &mut SmallRng) -> Bytes {
        let length = self.message.len() * times as usize;
        let mut bytes = BytesMut::with_capacity(PREFIX_LENGTH + length);
        put_prefix(&mut bytes, length);
        for _ in 0..times {
            self.put(&mut bytes, picker, random);
        }
        bytes.freeze()
    }

    /// So many of it, each a message of gRPC.
    pub(super) fn in_a_row(&self, times: usize, picker: &Picker, random: &mut SmallRng) -> Bytes {
        let length = (PREFIX_LENGTH + self.message.len()) * times;
        let mut bytes = BytesMut::with_capacity(length);
        for _ in 0..times {
            put_prefix(&mut bytes, self.message.len());
            self.put(&mut bytes, picker, random);
        }
        bytes.freeze()
    }

    /// It with an account that is named.
    pub(super) fn of_account(&self, number: u32) -> Bytes {
        let mut bytes = BytesMut::with_capacity(PREFIX_LENGTH + self.message.len());
        put_prefix(&mut bytes, self.message.len());
        bytes.put_slice(&self.message);
        if let Accounts::One(place) = self.accounts {
            write_name(number, &mut bytes[PREFIX_LENGTH + place..]);
        }
        bytes.freeze()
    }

    fn put(&self, bytes: &mut BytesMut, picker: &Picker, random: &mut SmallRng) {
        let start = bytes.len();
        bytes.put_slice(&self.message);
        let message = &mut bytes[start..];
        match self.accounts {
            Accounts::None => {}
            Accounts::One(place) => write_name(picker.one(random), &mut message[place..]),
            Accounts::Two(from, to) => {
                let (payer, receiver) = picker.two(random);
                write_name(payer, &mut message[from..]);
                write_name(receiver, &mut message[to..]);
            }
        }
        if let Some(place) = self.request_id {
            let id = Builder::from_random_bytes(random.random()).into_uuid();
            id.hyphenated().encode_lower(&mut message[place..]);
        }
    }
}

fn put_prefix(bytes: &mut BytesMut, length: usize) {
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::super::accounts::NAME_LENGTH;
    use super::*;
    use crate::config::AccountsDistribution;
    use crate::grpc::proto::operation::Operation as Kind;
    use crate::grpc::proto::{ExecuteBatchRequest, Money, Operation, TransferRequest};

    fn transfer(blanks: &Blanks) -> TransferRequest {
        TransferRequest {
            request_id: blanks.request_id.clone(),
            from_account_id: blanks.from.clone(),
            to_account_id: blanks.to.clone(),
            amount: Some(Money { currency_code: "USD".to_owned(), minor_units: 1 }),
            ..TransferRequest::default()
        }
    }

    fn is_transfer(request: &TransferRequest, has_id: bool) -> bool {
        let is_account = |id: &str| id.starts_with("bench-00000") && id.len() == NAME_LENGTH;
        let id = uuid::Uuid::try_parse(&request.request_id);
        is_account(&request.from_account_id)
            && is_account(&request.to_account_id)
            && request.from_account_id != request.to_account_id
            && request.amount.as_ref().is_some_and(|amount| amount.minor_units == 1)
            && if has_id { id.is_ok() } else { request.request_id.is_empty() }
    }

    #[test]
    fn ids_are_written_into_messages() {
        let picker = Picker::new(AccountsDistribution::Uniform, 100);
        let mut random = SmallRng::seed_from_u64(3);
        for has_id in [true, false] {
            let blanks = Blanks::new(has_id);
            let template = Template::new(&transfer(&blanks), &blanks);
            let mut seen = std::collections::HashSet::new();
            for _ in 0..100 {
                let bytes = template.repeated(1, &picker, &mut random);
                assert_eq!(bytes[0], 0);
                let length = u32::from_be_bytes(bytes[1..5].try_into().expect("4 bytes"));
                assert_eq!(length as usize, bytes.len() - 5);
                let request = TransferRequest::decode(&bytes[5..]).expect("it is a message");
                assert!(is_transfer(&request, has_id), "{request:?}");
                seen.insert(request.request_id);
            }
            assert_eq!(seen.len(), if has_id { 100 } else { 1 });
        }
    }

    #[test]
    fn a_batch_is_one_message_and_a_row_is_many() {
        let picker = Picker::new(AccountsDistribution::Uniform, 100);
        let mut random = SmallRng::seed_from_u64(4);
        let blanks = Blanks::new(true);
        let operation = Operation { operation: Some(Kind::Transfer(transfer(&blanks))) };
        let batch = ExecuteBatchRequest { operations: vec![operation], atomic: false };
        let bytes = Template::new(&batch, &blanks).repeated(3, &picker, &mut random);
        let batch = ExecuteBatchRequest::decode(&bytes[5..]).expect("it is a message");
        assert_eq!(batch.operations.len(), 3);
        for operation in &batch.operations {
            let Some(Kind::Transfer(request)) = &operation.operation else {
                panic!("{operation:?}")
            };
            assert!(is_transfer(request, true), "{request:?}");
        }

        let row = Template::new(&transfer(&blanks), &blanks).in_a_row(3, &picker, &mut random);
        let each = row.len() / 3;
        for message in row.chunks(each) {
            let request = TransferRequest::decode(&message[5..]).expect("it is a message");
            assert!(is_transfer(&request, true), "{request:?}");
        }
    }
}
