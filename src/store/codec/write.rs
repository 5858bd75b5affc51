//! Plain postings, written in a hurry.
//!
//! They are nearly all records of a ledger, and are written while the books are locked. **Invariant:** what is
//! written is, byte by byte, what the generated messages would have come to.

use crate::ledger::{AccountId, Balance, CallerName, Change, Command, Record, Request, RequestId};
use crate::wire::Fields;

/// Writes a record behind what the buffer has, if it is a posting that its command says all about; else nothing.
pub(super) fn write_plain(record: &Record, buffer: &mut Vec<u8>) -> bool {
    let Request { id, caller, command } = &record.request;
    let (number, account, to, money, description, labels) = match command {
        Command::Deposit { account_id, amount, description, labels } => {
            (6, account_id, None, amount, description, labels)
        }
        Command::Withdraw { account_id, amount, description, labels } => {
            (7, account_id, None, amount, description, labels)
        }
        Command::Transfer { parties, amount, description, labels } => {
            (8, parties.from(), Some(parties.to()), amount, description, labels)
        }
        _ => return false,
    };
    let Ok(Change::Posted(posting)) = &record.outcome else { return false };
    if command.movement().as_ref() != Some(&posting.movement) {
        return false;
    }
    let mut fields = Fields(buffer);
    fields.unsigned(1, record.sequence.number());
    fields.signed(2, record.time.micros());
    fields.text(3, id.as_ref().map_or("", RequestId::as_str));
    fields.text(4, caller.as_ref().map_or("", CallerName::as_str));
    fields.message(number, |command| {
        command.text(1, account.as_str());
        command.text(2, to.map_or("", AccountId::as_str));
        command.signed(3, money.amount.minor_units());
        command.text(4, money.currency.code());
        command.text(5, description.as_str());
        for (key, value) in labels.iter() {
            command.message(6, |label| {
                label.text(1, key);
                label.text(2, value);
            });
        }
    });
    fields.message(9, |posted| {
        posted.message(1, |balance| write_balance(balance, posting.from_balance));
        posted.message(2, |balance| write_balance(balance, posting.to_balance));
    });
    true
}

fn write_balance(fields: &mut Fields<'_>, balance: Balance) {
    // Of the type sint64: those near zero are short, below it too.
    let posted = balance.posted << 1 ^ balance.posted >> 63;
    fields.signed(1, posted);
    fields.signed(2, balance.held);
    fields.signed(3, balance.overdraft_limit.minor_units());
    fields.unsigned(4, balance.version);
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::{Linked, decode, encode, to_stored};
    use super::*;
    use crate::ledger::{
        Amount, Currency, Description, Labels, Money, Movement, OverdraftLimit, Parties, Posting,
        Sequence, Time,
    };

    fn balance(posted: i64, held: i64, limit: i64, version: u64) -> Balance {
        let overdraft_limit = OverdraftLimit::new(limit).expect("it is not below 0");
        Balance { posted, held, overdraft_limit, version }
    }

    /// Records of this command, with figures from the smallest to the largest.
    fn records(command: &Command) -> Vec<Record> {
        let balances = [
            balance(0, 0, 0, 0),
            balance(-1, 1, 63, 127),
            balance(64, 127, 128, 128),
            balance(-65, 16_383, 16_384, 1 << 35),
            balance(i64::MAX, i64::MAX, i64::MAX, u64::MAX),
            balance(i64::MIN, 0, 0, 1),
        ];
        let ids = [None, Some("r"), Some("6f0c3bd4-7e6a-4bfe-9d3e-6f8c4a8b1c11")];
        let times = [i64::MIN, -1, 0, 1, 1_764_000_000_000_000, i64::MAX];
        let mut records = Vec::new();
        for (number, from_balance) in balances.into_iter().enumerate() {
            let id = ids[number % 3].map(|id| RequestId::parse(id).expect("it is visible"));
            let caller = (number % 2 == 1).then(|| CallerName::parse("till").expect("it is one"));
            let movement = command.movement().expect("it moves money");
            let to_balance = balances[5 - number];
            let posting = Posting { movement, from_balance, to_balance };
            records.push(Record {
                sequence: Sequence::new(1 << (number * 12)),
                time: Time::from_micros(times[number]),
                request: Request { id, caller, command: command.clone() },
                outcome: Ok(Change::Posted(posting)),
            });
        }
        records
    }

    fn commands() -> Vec<Command> {
        let account = |id: &str| AccountId::parse(id).expect("it is one");
        let money = |amount, code| Money {
            currency: Currency::parse(code).expect("it is known"),
            amount: Amount::new(amount).expect("it is above 0"),
        };
        // A length has one byte or two: the limits leave none that has three.
        let texts = ["", "rent", &"x".repeat(127), &"y".repeat(128), &"z".repeat(512)];
        let value = "v".repeat(256);
        let keys: Vec<String> =
            (0..32).map(|number| format!("{}{number}", "k".repeat(60))).collect();
        let mut commands = Vec::new();
        for (number, text) in texts.into_iter().enumerate() {
            let description = Description::parse(text).expect("it fits");
            let pairs =
                keys.iter().map(|key| (key.as_str(), value.as_str())).take((number * 8).min(31));
            let labels = Labels::parse(pairs.chain([("empty", "")])).expect("they fit");
            let parties = Parties::new(account("a"), account(&"b".repeat(64)));
            commands.extend([
                Command::Deposit {
                    account_id: account("alice"),
                    amount: money(1, "USD"),
                    description: description.clone(),
                    labels: labels.clone(),
                },
                Command::Withdraw {
                    account_id: account(&"c".repeat(64)),
                    amount: money(i64::MAX, "ABCDEFGHIJKLMNOP/10"),
                    description: description.clone(),
                    labels: Labels::default(),
                },
                Command::Transfer {
                    parties: parties.expect("they are two"),
                    amount: money(128, "BTC/8"),
                    description,
                    labels,
                },
            ]);
        }
        commands
    }

    #[test]
    fn what_is_written_is_what_the_messages_come_to() {
        for record in commands().iter().flat_map(records) {
            let mut written = b"before".to_vec();
            assert!(write_plain(&record, &mut written));
            assert_eq!(written, [b"before", &to_stored(&record).encode_to_vec()[..]].concat());
        }
    }

    #[test]
    fn another_movement_than_was_asked_for_is_written_too() {
        for mut record in commands().iter().flat_map(records) {
            let Ok(Change::Posted(posting)) = &mut record.outcome else { panic!("it is posted") };
            let movement =
                Movement { amount: Amount::new(7).expect("it is"), ..posting.movement.clone() };
            posting.movement = movement;
            assert!(!write_plain(&record, &mut Vec::new()));
            let mut written = Vec::new();
            encode(&record, &mut written);
            let read = decode(&written).map(|Linked { record, .. }| record);
            assert_eq!(read.expect("it can be read"), record);
        }
    }
}
