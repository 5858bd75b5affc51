//! One line of a file: its fields, the operation that they mean, and the id that it takes effect under.

use std::collections::{BTreeMap, HashMap};

use data_encoding::HEXLOWER;

use super::super::amount;
use crate::grpc::proto::{
    CaptureHoldRequest, DepositRequest, Money, Operation, PlaceHoldRequest, ReleaseHoldRequest,
    ReverseTransactionRequest, TransferRequest, WithdrawRequest, operation,
};
use crate::ledger::Currency;

/// The fields that a line may have.
pub(super) const NAMES: [&str; 12] = [
    "operation",
    "account_id",
    "from_account_id",
    "to_account_id",
    "amount",
    "currency_code",
    "ttl",
    "hold_id",
    "transaction_id",
    "description",
    "labels",
    "request_id",
];

/// The fields of a line by their names. An empty one is as good as left out.
pub(super) type Fields = BTreeMap<String, String>;

/// Makes the operation of a line.
///
/// # Errors
///
/// One phrase that says what is wrong with the line.
pub(super) fn operation(
    mut fields: Fields,
    identities: &mut Identities,
) -> Result<Operation, String> {
    fields.retain(|_, value| !value.is_empty());
    if let Some(labels) = fields.get_mut("labels") {
        // In one form, so that the same labels make the same id.
        *labels = serde_json::to_string(&read_labels(labels)?).map_err(|it| it.to_string())?;
    }
    let mut taker = Taker { fields: fields.clone() };
    let kind = taker.required("operation")?;
    let request_id = taker.optional("request_id");
    let mut operation = taker.operation(&kind)?;
    taker.end(&kind)?;
    // Only a line that is well formed counts as one that was seen.
    let request_id = if request_id.is_empty() { identities.next(&fields) } else { request_id };
    set_request_id(&mut operation, request_id);
    Ok(Operation { operation: Some(operation) })
}

/// Takes the fields of a line one by one; what is left over in the end doesn't belong there.
struct Taker {
    fields: Fields,
}

impl Taker {
    fn optional(&mut self, name: &str) -> String {
        self.fields.remove(name).unwrap_or_default()
    }

    fn required(&mut self, name: &str) -> Result<String, String> {
        self.fields.remove(name).ok_or_else(|| format!("{name} is missing"))
    }

    fn money(&mut self) -> Result<Option<Money>, String> {
        let number = self.required("amount")?;
        let code = self.required("currency_code")?;
        let currency = Currency::parse(&code)
            .map_err(|malformed| format!("currency_code {code:?} {malformed}"))?;
        let minor_units = amount::minor_units(amount::read(&number)?, &currency)?;
        Ok(Some(Money { currency_code: code, minor_units }))
    }

    fn labels(&mut self) -> Result<HashMap<String, String>, String> {
        match self.fields.remove("labels") {
            None => Ok(HashMap::new()),
            Some(text) => Ok(read_labels(&text)?.into_iter().collect()),
        }
    }

    fn ttl(&mut self) -> Result<Option<prost_types::Duration>, String> {
        let Some(text) = self.fields.remove("ttl") else { return Ok(None) };
        let ttl = humantime::parse_duration(&text).map_err(|error| format!("ttl: {error}"))?;
        ttl.try_into().map(Some).map_err(|error| format!("ttl: {error}"))
    }

    fn operation(&mut self, kind: &str) -> Result<operation::Operation, String> {
        let request_id = String::new();
        Ok(match kind {
            "deposit" => operation::Operation::Deposit(DepositRequest {
                request_id,
                account_id: self.required("account_id")?,
                amount: self.money()?,
                description: self.optional("description"),
                labels: self.labels()?,
            }),
            "withdraw" => operation::Operation::Withdraw(WithdrawRequest {
                request_id,
                account_id: self.required("account_id")?,
                amount: self.money()?,
                description: self.optional("description"),
                labels: self.labels()?,
            }),
            "transfer" => operation::Operation::Transfer(TransferRequest {
                request_id,
                from_account_id: self.required("from_account_id")?,
                to_account_id: self.required("to_account_id")?,
                amount: self.money()?,
                description: self.optional("description"),
                labels: self.labels()?,
            }),
            "place_hold" => operation::Operation::PlaceHold(PlaceHoldRequest {
                request_id,
                account_id: self.required("account_id")?,
                to_account_id: self.optional("to_account_id"),
                amount: self.money()?,
                ttl: self.ttl()?,
                description: self.optional("description"),
                labels: self.labels()?,
            }),
            "capture_hold" => operation::Operation::CaptureHold(CaptureHoldRequest {
                request_id,
                hold_id: self.required("hold_id")?,
                amount: None,
            }),
            "release_hold" => operation::Operation::ReleaseHold(ReleaseHoldRequest {
                request_id,
                hold_id: self.required("hold_id")?,
            }),
            "reverse_transaction" => {
                operation::Operation::ReverseTransaction(ReverseTransactionRequest {
                    request_id,
                    transaction_id: self.required("transaction_id")?,
                    amount: None,
                    description: self.optional("description"),
                })
            }
            other => return Err(format!("operation {other:?} is unknown")),
        })
    }

    fn end(self, kind: &str) -> Result<(), String> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("{kind} has no field {name}")),
        }
    }
}

fn read_labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    serde_json::from_str(text).map_err(|_| "labels must be a JSON object of strings".to_owned())
}

fn set_request_id(operation: &mut operation::Operation, id: String) {
    match operation {
        operation::Operation::Deposit(it) => it.request_id = id,
        operation::Operation::Withdraw(it) => it.request_id = id,
        operation::Operation::Transfer(it) => it.request_id = id,
        operation::Operation::PlaceHold(it) => it.request_id = id,
        operation::Operation::CaptureHold(it) => it.request_id = id,
        operation::Operation::ReleaseHold(it) => it.request_id = id,
        operation::Operation::ReverseTransaction(it) => it.request_id = id,
    }
}

/// The request ids of lines that have none: made of the import's id, what the line says, and how many
/// lines before it said the same.
///
/// So the same file gives the same ids when it is imported again, and a file in which some lines were
/// corrected gives the same ids for all the others. The number of the line is no part of it.
#[derive(Debug)]
pub(super) struct Identities {
    import_id: String,
    seen: HashMap<[u8; 16], u64>,
}

impl Identities {
    pub(super) fn new(import_id: &str) -> Self {
        Self { import_id: import_id.to_owned(), seen: HashMap::new() }
    }

    fn next(&mut self, fields: &Fields) -> String {
        let mut content = blake3::Hasher::new_derive_key("bank.v1 import: what a line says");
        let pairs = fields.iter().flat_map(|(name, value)| [name, value]);
        for text in std::iter::once(&self.import_id).chain(pairs) {
            // Lengths keep ("ab", "c") from being ("a", "bc").
            content.update(&text.len().to_le_bytes());
            content.update(text.as_bytes());
        }
        let mut key = [0; 16];
        content.finalize_xof().fill(&mut key);
        let before = self.seen.entry(key).or_default();
        let id = format!("import-{}-{before}", HEXLOWER.encode(&key));
        *before += 1;
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)], identities: &mut Identities) -> Result<Operation, String> {
        let fields = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        operation(fields, identities)
    }

    fn deposit(account_id: &str) -> [(&str, &str); 4] {
        [
            ("operation", "deposit"),
            ("account_id", account_id),
            ("amount", "10.50"),
            ("currency_code", "USD"),
        ]
    }

    fn id(pairs: &[(&str, &str)], identities: &mut Identities) -> String {
        match read(pairs, identities).expect("it is well formed").operation {
            Some(operation::Operation::Deposit(request)) => request.request_id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_operation_is_made_of_its_fields() {
        let mut identities = Identities::new("file");
        let mut rest = |more: &[(&str, &str)]| {
            let with_id: Vec<_> = more.iter().copied().chain([("request_id", "r1")]).collect();
            read(&with_id, &mut identities).expect("it is well formed").operation
        };
        let request_id = || "r1".to_owned();
        let usd = |minor_units| Some(Money { currency_code: "USD".to_owned(), minor_units });
        assert_eq!(
            rest(&[
                ("operation", "transfer"),
                ("from_account_id", "a"),
                ("to_account_id", "b"),
                ("amount", "3"),
                ("currency_code", "USD"),
                ("description", "rent"),
                ("labels", r#"{"k":"v"}"#),
            ]),
            Some(operation::Operation::Transfer(TransferRequest {
                request_id: request_id(),
                from_account_id: "a".to_owned(),
                to_account_id: "b".to_owned(),
                amount: usd(300),
                description: "rent".to_owned(),
                labels: [("k".to_owned(), "v".to_owned())].into(),
            }))
        );
        assert_eq!(
            rest(&[
                ("operation", "place_hold"),
                ("account_id", "a"),
                ("amount", "0.01"),
                ("currency_code", "USD"),
                ("ttl", "1h 1s"),
            ]),
            Some(operation::Operation::PlaceHold(PlaceHoldRequest {
                request_id: request_id(),
                account_id: "a".to_owned(),
                amount: usd(1),
                ttl: Some(prost_types::Duration { seconds: 3601, nanos: 0 }),
                ..PlaceHoldRequest::default()
            }))
        );
        assert_eq!(
            rest(&[("operation", "capture_hold"), ("hold_id", "h")]),
            Some(operation::Operation::CaptureHold(CaptureHoldRequest {
                request_id: request_id(),
                hold_id: "h".to_owned(),
                amount: None,
            }))
        );
        assert_eq!(
            rest(&[("operation", "release_hold"), ("hold_id", "h")]),
            Some(operation::Operation::ReleaseHold(ReleaseHoldRequest {
                request_id: request_id(),
                hold_id: "h".to_owned(),
            }))
        );
        assert_eq!(
            rest(&[("operation", "reverse_transaction"), ("transaction_id", "t"), ("ttl", "")]),
            Some(operation::Operation::ReverseTransaction(ReverseTransactionRequest {
                request_id: request_id(),
                transaction_id: "t".to_owned(),
                ..ReverseTransactionRequest::default()
            }))
        );
    }

    #[test]
    fn what_is_missing_too_much_or_malformed_is_named() {
        let mut identities = Identities::new("file");
        for (change, phrase) in [
            (("operation", "pay"), "operation \"pay\" is unknown"),
            (("operation", ""), "operation is missing"),
            (("account_id", ""), "account_id is missing"),
            (("amount", ""), "amount is missing"),
            (("currency_code", ""), "currency_code is missing"),
            (("currency_code", "usd"), "currency_code \"usd\" must be"),
            (("amount", "10.505"), "more than the 2 decimal places of USD"),
            (("amount", "ten"), "not a decimal number"),
            (("hold_id", "h"), "deposit has no field hold_id"),
            (("colour", "red"), "deposit has no field colour"),
            (("labels", "k=v"), "labels must be"),
            (("labels", r#"{"k":1}"#), "labels must be"),
        ] {
            let mut pairs: Vec<_> = deposit("a").into();
            pairs.retain(|(name, _)| *name != change.0);
            pairs.push(change);
            let text = read(&pairs, &mut identities).expect_err(phrase);
            assert!(text.contains(phrase), "{change:?}: {text}");
        }
    }

    #[test]
    fn the_same_file_gives_the_same_ids() {
        let mut first = Identities::new("file");
        let mut again = Identities::new("file");
        let ids: Vec<String> =
            ["a", "b", "a", "a"].map(|account| id(&deposit(account), &mut first)).into();
        let repeated: Vec<String> =
            ["a", "b", "a", "a"].map(|account| id(&deposit(account), &mut again)).into();
        assert_eq!(ids, repeated);
        let different: std::collections::HashSet<&String> = ids.iter().collect();
        assert_eq!(different.len(), 4, "lines that say the same are not the same line: {ids:?}");
        assert!(ids.iter().all(|id| id.len() <= 128));
    }

    #[test]
    fn a_corrected_line_changes_no_other_id() {
        let mut first = Identities::new("file");
        read(&[("operation", "depossit"), ("account_id", "a")], &mut first).expect_err("a typo");
        let expected = [id(&deposit("b"), &mut first), id(&deposit("b"), &mut first)];
        let mut corrected = Identities::new("file");
        id(&deposit("a"), &mut corrected);
        let ids = [id(&deposit("b"), &mut corrected), id(&deposit("b"), &mut corrected)];
        assert_eq!(ids, expected);
    }

    #[test]
    fn another_import_gives_other_ids() {
        let ids = ["may", "june"].map(|name| id(&deposit("a"), &mut Identities::new(name)));
        assert_ne!(ids[0], ids[1]);
    }
}
