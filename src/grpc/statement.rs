//! Statements: pages of transactions, written straight to the wire.
//!
//! **Invariant:** each says what [`render::linked_transaction`] and the permit make of the same record.

use super::access::{OTHER, Permit};
use super::encoded::Encoded;
use super::{page, proto, render};
use crate::ledger::{
    AccountId, Change, HoldId, Labels, LedgerId, RequestId, Sequence, TransactionId,
};
use crate::store::{self, LinkedRecord};
use crate::wire::Fields;

/// A page that is being written.
pub(super) struct Statement<'a> {
    ledger: LedgerId,
    /// What the id of every transaction begins with.
    id_beginning: String,
    permit: &'a Permit,
    /// The account whose balance each transaction tells.
    asked_about: Option<&'a AccountId>,
    page: Vec<u8>,
    /// Where a transaction is written at first, since only then its length is known.
    transaction: Vec<u8>,
}

impl<'a> Statement<'a> {
    pub(super) fn new(
        ledger: LedgerId,
        permit: &'a Permit,
        asked_about: Option<&'a AccountId>,
    ) -> Self {
        let id_beginning = TransactionId::beginning(ledger);
        Self {
            ledger,
            id_beginning,
            permit,
            asked_about,
            page: Vec::new(),
            transaction: Vec::new(),
        }
    }

    /// Adds a transaction, if it fits; the first always does.
    pub(super) fn add(&mut self, linked: &LinkedRecord) -> Result<bool, store::Error> {
        self.transaction.clear();
        self.write(linked)?;
        let fits = page::has_room(self.page.len(), self.transaction.len());
        if fits {
            Fields(&mut self.page).bytes(1, &self.transaction);
        }
        Ok(fits)
    }

    /// The whole answer.
    pub(super) fn end(mut self, next_page_token: &str) -> proto::EncodedListTransactionsResponse {
        Fields(&mut self.page).text(2, next_page_token);
        Encoded::new(self.page)
    }

    fn write(&mut self, linked: &LinkedRecord) -> Result<(), store::Error> {
        let LinkedRecord { record, reversed_by } = linked;
        let posting = render::made_posting(record)?;
        let movement = &posting.movement;
        let (from, to) = (movement.from.as_str(), movement.to.as_str());
        let (hides_from, hides_to) = (self.permit.hides(from), self.permit.hides(to));
        let (description, labels) = record.annotations();
        let mut fields = Fields(&mut self.transaction);
        let id = |sequence: Sequence, field, fields: &mut Fields<'_>| {
            let mut number = itoa::Buffer::new();
            fields.joined(field, [&self.id_beginning, number.format(sequence.number())]);
        };
        id(record.sequence, 1, &mut fields);
        fields.signed(2, i32::from(render::transaction_type(movement.kind)).into());
        fields.message(3, |money| {
            money.text(1, movement.currency.code());
            money.signed(2, movement.amount.minor_units());
        });
        fields.text(4, if hides_from { OTHER } else { from });
        fields.text(5, if hides_to { OTHER } else { to });
        fields.message(6, |time| {
            let timestamp = render::timestamp(record.time);
            time.signed(1, timestamp.seconds);
            time.signed(2, timestamp.nanos.into());
        });
        fields.text(7, record.request.id.as_ref().map_or("", RequestId::as_str));
        fields.text(8, description.map_or("", |description| description.as_str()));
        for (key, value) in labels.into_iter().flat_map(Labels::iter) {
            fields.message(9, |pair| {
                pair.text(1, key);
                pair.text(2, value);
            });
        }
        fields.signed(10, render::count(record.sequence.number()));
        match &record.outcome {
            // A hold that was on an account which is hidden is hidden too.
            Ok(Change::HoldCaptured { hold, .. }) if !hides_from => {
                fields.text(11, HoldId::new(self.ledger, hold.placed).as_str());
            }
            Ok(Change::Reversed { original, .. }) => id(*original, 12, &mut fields),
            _ => {}
        }
        if let Some(balance) = self.asked_about.and_then(|account| posting.balance_of(account)) {
            fields.set_signed(13, balance.posted);
        }
        for sequence in reversed_by {
            id(*sequence, 14, &mut fields);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::ledger::{Posting, Record, arbitrary};

    fn sides(record: &Record) -> [&AccountId; 2] {
        let Posting { movement, .. } = record.posting().expect("it has one");
        [&movement.from, &movement.to]
    }

    fn written(permit: &Permit, asked_about: Option<&AccountId>, linked: &LinkedRecord) -> Vec<u8> {
        let mut statement = Statement::new(LedgerId::new(0xab), permit, asked_about);
        statement.write(linked).expect("it has a posting");
        statement.transaction
    }

    fn transactions() -> BoxedStrategy<LinkedRecord> {
        let reversed_by = vec((0..u64::MAX).prop_map(Sequence::new), 0..3);
        (arbitrary::record(), reversed_by)
            .prop_filter_map("no transaction", |(record, reversed_by)| {
                record.posting().is_some().then_some(LinkedRecord { record, reversed_by })
            })
            .boxed()
    }

    proptest! {
        #[test]
        fn a_transaction_is_written_as_it_is_rendered(
            linked in transactions(),
            (is_confined, own, asked) in (any::<bool>(), 0..3_usize, 0..3_usize),
        ) {
            let sides = sides(&linked.record);
            let permit = if is_confined {
                let own = sides.get(own).filter(|id| !id.is_external());
                Permit::confined_to(own.map_or("nobody", |id| id.as_str()))
            } else {
                Permit::everything()
            };
            let asked_about = sides.get(asked).copied();
            let bytes = written(&permit, asked_about, &linked);
            let rendered = render::linked_transaction(LedgerId::new(0xab), &linked, asked_about);
            let expected = permit.shown(rendered.expect("it has a posting"));
            let read = proto::Transaction::decode(&bytes[..]);
            prop_assert_eq!(read.as_ref(), Ok(&expected));
            // More labels may stand in any order.
            if expected.labels.len() < 2 {
                prop_assert_eq!(bytes, expected.encode_to_vec());
            }
        }

        #[test]
        fn a_page_is_its_transactions_and_its_token(
            page in vec(transactions(), 0..4),
            token in "[a-z]{0,4}",
        ) {
            let permit = Permit::everything();
            let mut statement = Statement::new(LedgerId::new(0xab), &permit, None);
            let mut transactions = Vec::new();
            for linked in &page {
                prop_assert_eq!(statement.add(linked), Ok(true));
                let rendered = render::linked_transaction(LedgerId::new(0xab), linked, None);
                transactions.push(rendered.expect("it has a posting"));
            }
            let expected = proto::ListTransactionsResponse { transactions, next_page_token: token };
            prop_assert_eq!(statement.end(&expected.next_page_token).decode(), Ok(expected));
        }
    }
}
