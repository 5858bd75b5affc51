//! Writing back what a group has done: a handful of statements with arrays, none of which waits for another.
//!
//! **Invariant:** nothing counts before the commit, and that goes out only under the lock of the head row.

use std::collections::BTreeMap;

use ahash::{HashMap, HashSet};
use futures_util::future::{BoxFuture, TryFutureExt, try_join_all};
use tokio_postgres::types::{ToSql, Type};

use super::engine::{Ready, Session, Sql, Trouble};
use super::numbers::{Numbers, Thread};
use super::sheet::{HeadRow, Papers, Sheet};
use crate::ledger::{Account, AccountId, Balance, Change, Currency, Hold};
use crate::store::codec;

const HEAD: Sql = Sql {
    text: "UPDATE bank_head SET sequence = $1, time_us = $2, hash = $3 WHERE one = 1",
    types: &[Type::INT8, Type::INT8, Type::BYTEA],
};
const RECORDS: Sql = Sql {
    text: "INSERT INTO bank_records \
           (sequence, time_us, request_id, kind, debit, credit, debit_before, credit_before, record, \
                checksum, mark) \
           SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    types: &[
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT2_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::BYTEA_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
    ],
};
/// The same, a fifth less work for the engine, and a way to it more.
const COPIED_RECORDS: Sql = Sql {
    text: "COPY bank_records \
           (sequence, time_us, request_id, kind, debit, credit, debit_before, credit_before, record, \
                checksum, mark) \
           FROM STDIN (FORMAT binary)",
    types: &[],
};
const RECORD_COLUMNS: [Type; 11] = [
    Type::INT8,
    Type::INT8,
    Type::TEXT,
    Type::INT2,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::BYTEA,
    Type::INT8,
    Type::INT8,
];
/// Changes accounts by their numbers, as long as they have the versions from which their balances were worked out.
/// Divides by zero, and so ends the transaction, when one of them hasn't: whatever the reason, a balance that was
/// worked out from another one is never written.
macro_rules! update_accounts {
    ($changes:literal) => {
        concat!(
            "WITH changed AS (UPDATE bank_accounts AS a SET posted = new.posted, version = new.version, \
             newest = new.newest",
            $changes,
            " WHERE a.number = new.number AND a.version = new.version_before RETURNING 1) \
             SELECT 1 / (CASE WHEN count(*) = cardinality($1) THEN 1 ELSE 0 END) FROM changed"
        )
    };
}

const BALANCES: Sql = Sql {
    text: update_accounts!(
        " FROM unnest($1, $2, $3, $4, $5) AS new (number, posted, version, version_before, newest)"
    ),
    types: &[
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
    ],
};
/// Apart from the balances, since few of those that move have holds, and the sum is wider than what they are.
const HELD: Sql = Sql {
    text: "UPDATE bank_accounts AS a SET held = a.held + new.held \
           FROM unnest($1, $2) AS new (number, held) WHERE a.number = new.number",
    types: &[Type::INT8_ARRAY, Type::INT8_ARRAY],
};
const NEW_ACCOUNTS: Sql = Sql {
    text: "INSERT INTO bank_accounts \
           (number, account_id, currency_code, state, posted, held, overdraft_limit, version, newest, \
                floor, details) \
           SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
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
        Type::INT8_ARRAY,
        Type::BYTEA_ARRAY,
    ],
};
/// With their balances, since the table's CHECK looks at balance and limit together.
const CHANGED_ACCOUNTS: Sql = Sql {
    text: update_accounts!(
        ", state = new.state, overdraft_limit = new.overdraft_limit, floor = new.floor, details = new.details \
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS new \
             (number, posted, version, version_before, newest, state, overdraft_limit, floor, details)"
    ),
    types: &[
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
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

/// Writes the new records of a sheet, and nothing else yet.
pub(super) async fn write_records(session: &Session, sheet: &mut Sheet) -> Result<(), Trouble> {
    let Some(records) = RecordRows::of(sheet)? else { return Ok(()) };
    if session.can_copy() {
        return session.copy(&COPIED_RECORDS, &RECORD_COLUMNS, records.rows()).await;
    }
    let ready = session.ready(&RECORDS).await?;
    send(session, &ready, &records.columns()).await
}

/// Writes whatever else is new on a sheet, and commits. `sent` is told just before the commit goes out: from
/// then on only the engine can tell what came of it. `in_place` is told once all records are in.
pub(super) async fn commit(
    session: &Session,
    sheet: &mut Sheet,
    sent: impl FnOnce(),
    in_place: impl FnOnce() + Send,
) -> Result<(), Trouble> {
    let records = RecordRows::of(sheet)?.map(|records| (&RECORDS, records.columns()));
    let mut statements: Vec<Statement> = records.into_iter().collect();
    statements.extend(consequences(sheet)?);
    // All are made ready before the first is sent: after one that failed the engine would only tell that one has.
    let mut all = Vec::with_capacity(statements.len());
    for (sql, parameters) in statements {
        all.push((session.ready(sql).await?, parameters));
    }
    sent();
    let mut answers: Vec<BoxFuture<'_, Result<(), Trouble>>> = Vec::with_capacity(all.len() + 1);
    let mut all = all.iter().map(|(ready, parameters)| send(session, ready, parameters));
    // The records are the first of them, if they weren't written before.
    if let Some(first) = all.next() {
        answers.push(Box::pin(first.inspect_ok(|()| in_place())));
    }
    answers.extend(all.map(|one| -> BoxFuture<'_, _> { Box::pin(one) }));
    // After a statement that failed this is a rollback, and the failure is told before it.
    answers.push(Box::pin(session.batch("COMMIT")));
    try_join_all(answers).await?;
    Ok(())
}

async fn send(session: &Session, ready: &Ready, parameters: &[Parameter]) -> Result<(), Trouble> {
    let parameters: Vec<&(dyn ToSql + Sync)> =
        parameters.iter().map(|one| -> &(dyn ToSql + Sync) { one.as_ref() }).collect();
    session.query(ready, &parameters).await.map(|_| ())
}

/// What follows from the records of a sheet.
fn consequences(sheet: &Sheet) -> Result<Vec<Statement>, Trouble> {
    let papers = &sheet.papers;
    let books = &sheet.desk.books;
    let mut found = Found::of(&papers.numbers);
    let mut reversed = papers.reversed.clone();
    let mut reversals = (Vec::new(), Vec::new(), Vec::new());
    for record in papers.new.iter().map(|new| &new.record) {
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
    }

    let mut statements: Vec<Statement> = Vec::new();
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
    statements.extend(held(&found)?);
    statements.extend(new_holds(&found)?);
    statements.extend(changed_holds(&found));
    if !reversals.0.is_empty() {
        let (originals, sequences, totals) = reversals;
        statements
            .push((&REVERSALS, vec![Box::new(originals), Box::new(sequences), Box::new(totals)]));
    }
    statements.extend(totals(sheet)?);
    let HeadRow { sequence, time, hash } = sheet.head();
    if !papers.new.is_empty() || time > sheet.loaded.time {
        let sequence = sequence.number().cast_signed();
        let hash = hash.as_bytes().to_vec();
        statements.push((&HEAD, vec![Box::new(sequence), Box::new(time.micros()), Box::new(hash)]));
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
    debit_before: Vec<Option<i64>>,
    credit_before: Vec<Option<i64>>,
    stored: Vec<Vec<u8>>,
    checksum: Vec<i64>,
    mark: Vec<Option<i64>>,
}

impl RecordRows {
    /// The new records, unless they were taken from the sheet before; the last of them bears the mark.
    fn of(sheet: &mut Sheet) -> Result<Option<Self>, Trouble> {
        let Papers { new, .. } = &mut sheet.papers;
        if new.last().is_none_or(|last| last.stored.is_empty()) {
            return Ok(None);
        }
        let mut rows = Self::default();
        for new in new {
            let record = &new.record;
            let movement = record.posting().map(|posting| &posting.movement);
            rows.sequence.push(record.sequence.number().cast_signed());
            rows.time.push(record.time.micros());
            rows.request_id.push(record.request.id.as_ref().map(|id| id.as_str().to_owned()));
            rows.kind.push(movement.map(|movement| small(codec::number_of_type(movement.kind))));
            let [paid, received] = new.sides.map_or([None; 2], |sides| sides.map(Some));
            if movement.is_some() && paid.is_none() {
                let cause = "an account whose money moves was not loaded";
                return Err(Trouble::Broken(cause.to_owned()));
            }
            rows.debit.push(paid.map(|side| side.number));
            rows.credit.push(received.map(|side| side.number));
            rows.debit_before.push(paid.map(|side| side.before));
            rows.credit_before.push(received.map(|side| side.before));
            rows.stored.push(std::mem::take(&mut new.stored));
            rows.checksum.push(new.hash.checksum());
            rows.mark.push(None);
        }
        if let Some(last) = rows.mark.last_mut() {
            *last = Some(sheet.mark);
        }
        Ok(Some(rows))
    }

    fn rows(&self) -> impl Iterator<Item = [&(dyn ToSql + Sync); RECORD_COLUMNS.len()]> {
        (0..self.sequence.len()).map(|index| -> [&(dyn ToSql + Sync); RECORD_COLUMNS.len()] {
            [
                &self.sequence[index],
                &self.time[index],
                &self.request_id[index],
                &self.kind[index],
                &self.debit[index],
                &self.credit[index],
                &self.debit_before[index],
                &self.credit_before[index],
                &self.stored[index],
                &self.checksum[index],
                &self.mark[index],
            ]
        })
    }

    fn columns(self) -> Vec<Parameter> {
        vec![
            Box::new(self.sequence),
            Box::new(self.time),
            Box::new(self.request_id),
            Box::new(self.kind),
            Box::new(self.debit),
            Box::new(self.credit),
            Box::new(self.debit_before),
            Box::new(self.credit_before),
            Box::new(self.stored),
            Box::new(self.checksum),
            Box::new(self.mark),
        ]
    }
}

/// What the new records are about.
struct Found<'a> {
    numbers: &'a Numbers,
    opened: HashSet<AccountId>,
    /// The accounts that were changed, and how far below zero they may be for it.
    changed: HashMap<&'a AccountId, i64>,
    moved: HashMap<&'a AccountId, Moved>,
    holds: BTreeMap<i64, (&'a Hold, bool)>,
}

/// What has happened to the balance of an account.
#[derive(Default)]
struct Moved {
    /// How many entries it has had, each of which is a version.
    entries: u64,
    /// By how much what is held has changed.
    held: i64,
}

impl<'a> Found<'a> {
    fn of(numbers: &'a Numbers) -> Self {
        Self {
            numbers,
            opened: HashSet::default(),
            changed: HashMap::default(),
            moved: HashMap::default(),
            holds: BTreeMap::new(),
        }
    }

    fn note(&mut self, change: &'a Change, sequence: i64) {
        match change {
            Change::AccountOpened { account, .. } => {
                self.opened.extend(self.numbers.opened_by(account, sequence));
            }
            Change::AccountChanged { account } => {
                self.changed.insert(&account.id, account.balance.available().min(0));
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
                self.moved.entry(id).or_default().entries += 1;
            }
        }
    }

    fn hold(&mut self, hold: &'a Hold, is_new: bool) {
        let placed = hold.placed.number().cast_signed();
        let is_new = is_new || self.holds.get(&placed).is_some_and(|(_, is_new)| *is_new);
        self.holds.insert(placed, (hold, is_new));
    }

    fn held(&mut self, hold: &'a Hold, amount: i64) {
        let moved = self.moved.entry(&hold.account_id).or_default();
        // What is held before and after a group fits, so its difference does.
        moved.held = moved.held.wrapping_add(amount);
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
    let (mut newest, mut floors, mut details) = (vec![], vec![], vec![]);
    for id in &found.opened {
        let account = account(id)?;
        let thread = found.numbers.thread_of(id)?;
        numbers.push(thread.number);
        newest.push(thread.newest);
        ids.push(id.to_string());
        currencies.push(account.currency.to_string());
        states.push(small(codec::number_of_account_state(account.state)));
        posted.push(account.balance.posted);
        held.push(found.moved.get(id).map_or(0, |moved| moved.held));
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
            Box::new(newest),
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
        found.changed.iter().filter(|(id, _)| !found.opened.contains(**id)).collect();
    if changed.is_empty() {
        return Ok(None);
    }
    let mut balances = Balances::default();
    let (mut states, mut limits) = (vec![], vec![]);
    let (mut floors, mut details) = (vec![], vec![]);
    for (id, floor) in changed {
        let account = account(id)?;
        balances.push(found, account)?;
        states.push(small(codec::number_of_account_state(account.state)));
        limits.push(account.balance.overdraft_limit.minor_units());
        floors.push(*floor);
        details.push(codec::encode_account(account));
    }
    let mut columns = balances.columns();
    let further: [Parameter; 4] =
        [Box::new(states), Box::new(limits), Box::new(floors), Box::new(details)];
    columns.extend(further);
    Ok(Some((&CHANGED_ACCOUNTS, columns)))
}

/// Balances as they have become, and which versions they were worked out from.
#[derive(Default)]
struct Balances {
    number: Vec<i64>,
    posted: Vec<i64>,
    version: Vec<i64>,
    version_before: Vec<i64>,
    newest: Vec<i64>,
}

impl Balances {
    fn push(&mut self, found: &Found<'_>, account: &Account) -> Result<(), Trouble> {
        let entries = found.moved.get(&account.id).map_or(0, |moved| moved.entries);
        let Balance { posted, version, .. } = account.balance;
        let Thread { number, newest } = found.numbers.thread_of(&account.id)?;
        self.number.push(number);
        self.newest.push(newest);
        self.posted.push(posted);
        self.version.push(version.cast_signed());
        self.version_before.push(version.saturating_sub(entries).cast_signed());
        Ok(())
    }

    fn columns(self) -> Vec<Parameter> {
        vec![
            Box::new(self.number),
            Box::new(self.posted),
            Box::new(self.version),
            Box::new(self.version_before),
            Box::new(self.newest),
        ]
    }
}

fn balances<'a>(
    found: &Found<'_>,
    account: impl Fn(&AccountId) -> Result<&'a Account, Trouble>,
) -> Result<Option<Statement>, Trouble> {
    let ids = found.moved.keys().filter(|id| !found.opened.contains(**id));
    let ids = ids.filter(|id| !found.changed.contains_key(**id));
    let numbered = ids.map(|id| Ok((found.numbers.of(id)?, *id)));
    let mut numbered = numbered.collect::<Result<Vec<_>, Trouble>>()?;
    // As they stand in the table, so that a page that has several of them is found once.
    numbered.sort_unstable_by_key(|(number, _)| *number);
    let mut balances = Balances::default();
    for (_, id) in numbered {
        balances.push(found, account(id)?)?;
    }
    Ok((!balances.number.is_empty()).then(|| (&BALANCES, balances.columns())))
}

fn held(found: &Found<'_>) -> Result<Option<Statement>, Trouble> {
    let (mut numbers, mut differences) = (vec![], vec![]);
    for (id, moved) in &found.moved {
        if moved.held != 0 && !found.opened.contains(*id) {
            numbers.push(found.numbers.of(id)?);
            differences.push(moved.held);
        }
    }
    if numbers.is_empty() {
        return Ok(None);
    }
    let columns: Vec<Parameter> = vec![Box::new(numbers), Box::new(differences)];
    Ok(Some((&HELD, columns)))
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
