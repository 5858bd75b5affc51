//! Writing back what a group has done: a handful of statements with arrays, and the commit, sent together.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{BoxFuture, try_join_all};
use tokio_postgres::types::{ToSql, Type};

use super::engine::{Session, Sql, Trouble};
use super::numbers::Numbers;
use super::sheet::Sheet;
use crate::ledger::{Account, AccountId, Change, Currency, Hold};
use crate::store::codec;

const HEAD: Sql = Sql {
    text: "UPDATE bank_head SET sequence = $1, time_us = $2, hash = $3 WHERE one = 1",
    types: &[Type::INT8, Type::INT8, Type::BYTEA],
};
const RECORDS: Sql = Sql {
    text: "INSERT INTO bank_records \
           (sequence, time_us, request_id, kind, debit, credit, record, checksum, mark) \
           SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    types: &[
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT2_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::BYTEA_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
    ],
};
const BALANCES: Sql = Sql {
    text: "UPDATE bank_accounts AS a SET posted = new.posted, version = new.version, \
               held = a.held + new.held \
           FROM unnest($1, $2, $3, $4) AS new (number, posted, version, held) \
           WHERE a.number = new.number",
    types: &[Type::INT8_ARRAY, Type::INT8_ARRAY, Type::INT8_ARRAY, Type::INT8_ARRAY],
};
const NEW_ACCOUNTS: Sql = Sql {
    text: "INSERT INTO bank_accounts \
           (number, account_id, currency_code, state, posted, held, overdraft_limit, version, floor, details) \
           SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    types: &[
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT2_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::BYTEA_ARRAY,
    ],
};
const CHANGED_ACCOUNTS: Sql = Sql {
    text: "UPDATE bank_accounts AS a SET state = new.state, overdraft_limit = new.overdraft_limit, \
               floor = new.floor, details = new.details \
           FROM unnest($1, $2, $3, $4, $5) AS new (number, state, overdraft_limit, floor, details) \
           WHERE a.number = new.number",
    types: &[
        Type::INT8_ARRAY,
        Type::INT2_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::BYTEA_ARRAY,
    ],
};
const NEW_HOLDS: Sql = Sql {
    text: "INSERT INTO bank_holds (placed, debit, credit, amount, expire_us, state, hold) \
           SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)",
    types: &[
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT2_ARRAY,
        Type::BYTEA_ARRAY,
    ],
};
const CHANGED_HOLDS: Sql = Sql {
    text: "UPDATE bank_holds AS h SET state = new.state, hold = new.hold \
           FROM unnest($1, $2, $3) AS new (placed, state, hold) WHERE h.placed = new.placed",
    types: &[Type::INT8_ARRAY, Type::INT2_ARRAY, Type::BYTEA_ARRAY],
};
const REVERSALS: Sql = Sql {
    text: "INSERT INTO bank_reversals (original, sequence, total) SELECT * FROM unnest($1, $2, $3)",
    types: &[Type::INT8_ARRAY, Type::INT8_ARRAY, Type::INT8_ARRAY],
};
const TOTALS: Sql = Sql {
    text: "INSERT INTO bank_currencies AS c \
           (currency_code, accounts_posted, external_posted, account_count, transaction_count) \
           SELECT * FROM unnest($1, $2, $3, $4, $5) \
           ON CONFLICT (currency_code) DO UPDATE SET \
               accounts_posted = c.accounts_posted + excluded.accounts_posted, \
               external_posted = c.external_posted + excluded.external_posted, \
               account_count = c.account_count + excluded.account_count, \
               transaction_count = c.transaction_count + excluded.transaction_count",
    types: &[
        Type::TEXT_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
    ],
};

type Parameter = Box<dyn ToSql + Sync + Send>;
type Statement = (&'static Sql, Vec<Parameter>);

/// Writes what is new on a sheet and commits. `sent` is told just before anything goes out: from then on
/// only the engine can tell what came of it.
pub(super) async fn write(
    session: &Session,
    sheet: &Sheet,
    sent: impl FnOnce(),
) -> Result<(), Trouble> {
    let statements = statements(sheet)?;
    let mut ready = Vec::with_capacity(statements.len());
    for (sql, _) in &statements {
        ready.push(session.ready(sql).await?);
    }
    let parameters: Vec<Vec<&(dyn ToSql + Sync)>> = statements
        .iter()
        .map(|(_, parameters)| {
            parameters.iter().map(|one| -> &(dyn ToSql + Sync) { one.as_ref() }).collect()
        })
        .collect();
    let mut all: Vec<BoxFuture<'_, Result<(), Trouble>>> = Vec::new();
    for (ready, parameters) in ready.iter().zip(&parameters) {
        all.push(Box::pin(async { session.query(ready, parameters).await.map(|_| ()) }));
    }
    // After a statement that failed this is a rollback, and the failure is told before it.
    all.push(Box::pin(session.batch("COMMIT")));
    sent();
    try_join_all(all).await.map(|_| ())
}

fn statements(sheet: &Sheet) -> Result<Vec<Statement>, Trouble> {
    let papers = &sheet.papers;
    let books = &sheet.desk.books;
    let mut found = Found { numbers: papers.numbers.clone(), ..Found::default() };
    let mut reversed = papers.reversed.clone();
    let mut records = RecordRows::default();
    let mut reversals = (Vec::new(), Vec::new(), Vec::new());
    for new in &papers.new {
        let record = &new.record;
        let sequence = record.sequence.number().cast_signed();
        if let Ok(change) = &record.outcome {
            found.note(change, sequence);
            if let Change::Reversed { original, posting } = change {
                let total = reversed.entry(*original).or_default();
                *total = total.saturating_add(posting.movement.amount.minor_units());
                reversals.0.push(original.number().cast_signed());
                reversals.1.push(sequence);
                reversals.2.push(*total);
            }
        }
        let movement = record.posting().map(|posting| &posting.movement);
        records.sequence.push(sequence);
        records.time.push(record.time.micros());
        records.request_id.push(record.request.id.as_ref().map(|id| id.as_str().to_owned()));
        records.kind.push(movement.map(|movement| small(codec::number_of_type(movement.kind))));
        records.debit.push(movement.map(|movement| found.numbers.of(&movement.from)).transpose()?);
        records.credit.push(movement.map(|movement| found.numbers.of(&movement.to)).transpose()?);
        records.stored.push(new.stored.clone());
        records.checksum.push(new.hash.checksum());
    }

    let mut statements: Vec<Statement> = Vec::new();
    if !papers.new.is_empty() {
        let mut marks = vec![None; papers.new.len() - 1];
        marks.push(Some(sheet.mark));
        statements.push((
            &RECORDS,
            vec![
                Box::new(records.sequence),
                Box::new(records.time),
                Box::new(records.request_id),
                Box::new(records.kind),
                Box::new(records.debit),
                Box::new(records.credit),
                Box::new(records.stored),
                Box::new(records.checksum),
                Box::new(marks),
            ],
        ));
    }
    let end = sheet.desk.last_time;
    let account = |id: &AccountId| {
        let standing = books.account(id, end);
        standing
            .map(|standing| standing.account)
            .ok_or_else(|| Trouble::Broken(format!("account {id} was not loaded")))
    };
    statements.extend(new_accounts(&found, account)?);
    statements.extend(changed_accounts(&found, account)?);
    statements.extend(balances(&found, account)?);
    statements.extend(new_holds(&found)?);
    statements.extend(changed_holds(&found));
    if !reversals.0.is_empty() {
        let (originals, sequences, totals) = reversals;
        statements
            .push((&REVERSALS, vec![Box::new(originals), Box::new(sequences), Box::new(totals)]));
    }
    statements.extend(totals(sheet)?);
    let last_time = sheet.desk.last_time.max(sheet.seen_time);
    if !papers.new.is_empty() || last_time > sheet.loaded_time {
        let head = sheet.desk.last_sequence.number().cast_signed();
        let hash = papers.hash.as_bytes().to_vec();
        statements
            .push((&HEAD, vec![Box::new(head), Box::new(last_time.micros()), Box::new(hash)]));
    }
    Ok(statements)
}

#[derive(Default)]
struct RecordRows {
    sequence: Vec<i64>,
    time: Vec<i64>,
    request_id: Vec<Option<String>>,
    kind: Vec<Option<i16>>,
    debit: Vec<Option<i64>>,
    credit: Vec<Option<i64>>,
    stored: Vec<Vec<u8>>,
    checksum: Vec<i64>,
}

/// What the new records are about.
#[derive(Default)]
struct Found<'a> {
    numbers: Numbers,
    opened: BTreeSet<AccountId>,
    /// The accounts that were changed, and how far below zero they may be for it.
    changed: BTreeMap<AccountId, i64>,
    /// The accounts whose balances have changed, and by how much what is held on them has.
    moved: BTreeMap<AccountId, i64>,
    holds: BTreeMap<i64, (&'a Hold, bool)>,
}

impl<'a> Found<'a> {
    fn note(&mut self, change: &'a Change, sequence: i64) {
        match change {
            Change::AccountOpened { account, .. } => {
                self.opened.extend(self.numbers.open(account, sequence));
            }
            Change::AccountChanged { account } => {
                self.changed.insert(account.id.clone(), account.balance.available().min(0));
            }
            Change::HoldPlaced { hold, .. } => {
                self.hold(hold, true);
                self.held(hold, hold.amount.amount.minor_units());
            }
            Change::HoldCaptured { hold, .. } | Change::HoldReleased { hold } => {
                self.hold(hold, false);
                self.held(hold, -hold.amount.amount.minor_units());
            }
            Change::Posted(_) | Change::Reversed { .. } => {}
        }
        if let Some(posting) = change.posting() {
            for id in [&posting.movement.from, &posting.movement.to] {
                self.moved.entry(id.clone()).or_default();
            }
        }
    }

    fn hold(&mut self, hold: &'a Hold, is_new: bool) {
        let placed = hold.placed.number().cast_signed();
        let is_new = is_new || self.holds.get(&placed).is_some_and(|(_, is_new)| *is_new);
        self.holds.insert(placed, (hold, is_new));
    }

    fn held(&mut self, hold: &Hold, amount: i64) {
        let difference = self.moved.entry(hold.account_id.clone()).or_default();
        // What is held before and after a group fits, so its difference does.
        *difference = difference.wrapping_add(amount);
    }
}

fn new_accounts<'a>(
    found: &Found<'_>,
    account: impl Fn(&AccountId) -> Result<&'a Account, Trouble>,
) -> Result<Option<Statement>, Trouble> {
    if found.opened.is_empty() {
        return Ok(None);
    }
    let (mut numbers, mut ids, mut currencies, mut states) = (vec![], vec![], vec![], vec![]);
    let (mut posted, mut held, mut limits, mut versions) = (vec![], vec![], vec![], vec![]);
    let (mut floors, mut details) = (vec![], vec![]);
    for id in &found.opened {
        let account = account(id)?;
        numbers.push(found.numbers.of(id)?);
        ids.push(id.to_string());
        currencies.push(account.currency.to_string());
        states.push(small(codec::number_of_account_state(account.state)));
        posted.push(account.balance.posted);
        held.push(found.moved.get(id).copied().unwrap_or_default());
        limits.push(account.balance.overdraft_limit.minor_units());
        versions.push(account.balance.version.cast_signed());
        floors.push(found.changed.get(id).copied().unwrap_or_default());
        details.push(codec::encode_account(account));
    }
    Ok(Some((
        &NEW_ACCOUNTS,
        vec![
            Box::new(numbers),
            Box::new(ids),
            Box::new(currencies),
            Box::new(states),
            Box::new(posted),
            Box::new(held),
            Box::new(limits),
            Box::new(versions),
            Box::new(floors),
            Box::new(details),
        ],
    )))
}

fn changed_accounts<'a>(
    found: &Found<'_>,
    account: impl Fn(&AccountId) -> Result<&'a Account, Trouble>,
) -> Result<Option<Statement>, Trouble> {
    let changed: Vec<_> =
        found.changed.iter().filter(|(id, _)| !found.opened.contains(*id)).collect();
    if changed.is_empty() {
        return Ok(None);
    }
    let (mut numbers, mut states, mut limits) = (vec![], vec![], vec![]);
    let (mut floors, mut details) = (vec![], vec![]);
    for (id, floor) in changed {
        let account = account(id)?;
        numbers.push(found.numbers.of(id)?);
        states.push(small(codec::number_of_account_state(account.state)));
        limits.push(account.balance.overdraft_limit.minor_units());
        floors.push(*floor);
        details.push(codec::encode_account(account));
    }
    Ok(Some((
        &CHANGED_ACCOUNTS,
        vec![
            Box::new(numbers),
            Box::new(states),
            Box::new(limits),
            Box::new(floors),
            Box::new(details),
        ],
    )))
}

fn balances<'a>(
    found: &Found<'_>,
    account: impl Fn(&AccountId) -> Result<&'a Account, Trouble>,
) -> Result<Option<Statement>, Trouble> {
    let moved: Vec<_> = found.moved.iter().filter(|(id, _)| !found.opened.contains(*id)).collect();
    if moved.is_empty() {
        return Ok(None);
    }
    let (mut numbers, mut posted, mut versions, mut held) = (vec![], vec![], vec![], vec![]);
    for (id, difference) in moved {
        let balance = account(id)?.balance;
        numbers.push(found.numbers.of(id)?);
        posted.push(balance.posted);
        versions.push(balance.version.cast_signed());
        held.push(*difference);
    }
    let columns: Vec<Parameter> =
        vec![Box::new(numbers), Box::new(posted), Box::new(versions), Box::new(held)];
    Ok(Some((&BALANCES, columns)))
}

fn new_holds(found: &Found<'_>) -> Result<Option<Statement>, Trouble> {
    let (mut placed, mut debits, mut credits, mut amounts) = (vec![], vec![], vec![], vec![]);
    let (mut expiries, mut states, mut holds) = (vec![], vec![], vec![]);
    for (sequence, (hold, _)) in found.holds.iter().filter(|(_, (_, is_new))| *is_new) {
        let movement = hold.movement(hold.amount.amount);
        placed.push(*sequence);
        debits.push(found.numbers.of(&movement.from)?);
        credits.push(found.numbers.of(&movement.to)?);
        amounts.push(hold.amount.amount.minor_units());
        expiries.push(hold.expire_time.micros());
        states.push(small(codec::number_of_hold_state(hold)));
        holds.push(codec::encode_hold(hold));
    }
    if placed.is_empty() {
        return Ok(None);
    }
    Ok(Some((
        &NEW_HOLDS,
        vec![
            Box::new(placed),
            Box::new(debits),
            Box::new(credits),
            Box::new(amounts),
            Box::new(expiries),
            Box::new(states),
            Box::new(holds),
        ],
    )))
}

fn changed_holds(found: &Found<'_>) -> Option<Statement> {
    let (mut placed, mut states, mut holds) = (vec![], vec![], vec![]);
    for (sequence, (hold, _)) in found.holds.iter().filter(|(_, (_, is_new))| !*is_new) {
        placed.push(*sequence);
        states.push(small(codec::number_of_hold_state(hold)));
        holds.push(codec::encode_hold(hold));
    }
    let columns: Vec<Parameter> = vec![Box::new(placed.clone()), Box::new(states), Box::new(holds)];
    (!placed.is_empty()).then_some((&CHANGED_HOLDS, columns))
}

fn totals(sheet: &Sheet) -> Result<Option<Statement>, Trouble> {
    let (mut codes, mut accounts, mut externals) = (vec![], vec![], vec![]);
    let (mut account_counts, mut transaction_counts) = (vec![], vec![]);
    for (currency, added) in sheet.desk.books.totals() {
        if added.account_count == 0 && added.transaction_count == 0 {
            continue;
        }
        codes.push(Currency::code(currency).to_owned());
        accounts.push(narrow(added.accounts_posted)?);
        externals.push(narrow(added.external_posted)?);
        account_counts.push(added.account_count.cast_signed());
        transaction_counts.push(added.transaction_count.cast_signed());
    }
    if codes.is_empty() {
        return Ok(None);
    }
    let columns: Vec<Parameter> = vec![
        Box::new(codes),
        Box::new(accounts),
        Box::new(externals),
        Box::new(account_counts),
        Box::new(transaction_counts),
    ];
    Ok(Some((&TOTALS, columns)))
}

/// A sum over accounts: it is the outside world's with its sign turned, so it fits.
fn narrow(sum: i128) -> Result<i64, Trouble> {
    i64::try_from(sum).map_err(|_| Trouble::Broken("a total would leave 64 bits".to_owned()))
}

/// The number of a kind or a state: a handful.
fn small(number: i32) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}
