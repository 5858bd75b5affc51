//! The part of the books that a group of requests works on: loaded, worked on in memory as any books are,
//! and written back.
//!
//! **Invariant:** everything is loaded under the lock of the head row, or known to be as it would be loaded, so
//! nobody else changes it until the transaction ends. A sheet that is ahead has that lock only when it is confirmed.

use std::collections::BTreeMap;

use super::engine::{Session, Sql, Trouble};
use super::known::{Foreseen, Known, Threaded};
use super::numbers::{Numbers, Side, Thread};
use super::rows::{self, Failure, column, wide};
use super::wanted::Wanted;
use crate::ledger::{
    AccountId, Amount, Books, Change, LedgerId, Record, RequestId, Sequence, Time,
};
use crate::store::chain::ChainHash;
use crate::store::execute::{Desk, Entries, Files};
use crate::store::{Error, codec};

use ahash::HashMap;
use futures_util::future::{BoxFuture, try_join_all, try_join3};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

/// How far beyond the present holds are loaded one by one: no group takes so long, microsecond by
/// microsecond. What expires later counts as held all along.
const HORIZON_MICROS: i64 = 1_000_000;

/// Locks the head row, and says where it stands.
pub(super) const HEAD: Sql = Sql {
    text: "SELECT ledger_id, importing, sequence, time_us, hash FROM bank_head WHERE one = 1 \
           FOR UPDATE",
    types: &[],
};
/// The same, unless somebody else has it.
const HEAD_AT_ONCE: Sql = Sql {
    text: "SELECT ledger_id, importing, sequence, time_us, hash FROM bank_head WHERE one = 1 \
           FOR UPDATE NOWAIT",
    types: &[],
};
/// Whether holds have expired since the head row's time: nobody may decide at an earlier time than that
/// once this was seen. Asked after the lock was got, since a statement sees what there was when it began.
const OVERDUE: Sql = Sql {
    text: "SELECT EXISTS (SELECT 1 FROM bank_holds WHERE state = 1 AND expire_us > h.time_us \
               AND expire_us <= GREATEST($1, h.time_us + 1)) AS overdue \
           FROM bank_head AS h WHERE h.one = 1",
    types: &[Type::INT8],
};
const REPEATS: Sql = Sql {
    text: "SELECT sequence, record, checksum FROM bank_records WHERE request_id = ANY($1)",
    types: &[Type::TEXT_ARRAY],
};
const ACCOUNTS: Sql = Sql {
    text: "SELECT number, posted, held::text AS held, overdraft_limit, version, newest, details \
           FROM bank_accounts WHERE account_id = ANY($1)",
    types: &[Type::TEXT_ARRAY],
};
/// The accounts of holds and of transactions.
const REFERRED: Sql = Sql {
    text: "SELECT number, posted, held::text AS held, overdraft_limit, version, newest, details \
           FROM bank_accounts WHERE number IN ( \
               SELECT debit FROM bank_holds WHERE placed = ANY($1) \
               UNION SELECT credit FROM bank_holds WHERE placed = ANY($1) \
               UNION SELECT debit FROM bank_records WHERE sequence = ANY($2) \
               UNION SELECT credit FROM bank_records WHERE sequence = ANY($2))",
    types: &[Type::INT8_ARRAY, Type::INT8_ARRAY],
};
const HOLDS: Sql = Sql {
    text: "SELECT placed, state, hold FROM bank_holds WHERE placed = ANY($1)",
    types: &[Type::INT8_ARRAY],
};
const ORIGINALS: Sql = Sql {
    text: "SELECT sequence, record, checksum FROM bank_records WHERE sequence = ANY($1)",
    types: &[Type::INT8_ARRAY],
};
const REVERSED: Sql = Sql {
    text: "SELECT wanted.original, last.total FROM unnest($1) AS wanted (original) \
           CROSS JOIN LATERAL ( \
               SELECT total FROM bank_reversals \
               WHERE bank_reversals.original = wanted.original ORDER BY sequence DESC LIMIT 1 \
           ) AS last",
    types: &[Type::INT8_ARRAY],
};
/// What is held on accounts until soon, but for holds that are loaded themselves.
const EXPIRING: Sql = Sql {
    text: "SELECT debit, expire_us, sum(amount)::text AS amount FROM bank_holds \
           WHERE debit = ANY($1) AND state = 1 AND expire_us <= $2 AND NOT placed = ANY($3) \
           GROUP BY debit, expire_us",
    types: &[Type::INT8_ARRAY, Type::INT8, Type::INT8_ARRAY],
};

/// A statement, and its parameters.
type Asked<'a> = (&'static Sql, Vec<&'a (dyn ToSql + Sync)>);

/// Whose books are worked on.
#[derive(Clone, Copy)]
pub(super) struct Whose {
    pub(super) ledger_id: LedgerId,
    /// Whether they are still being brought in.
    pub(super) importing: bool,
}

/// What the head row says.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadRow {
    /// The newest record.
    pub(super) sequence: Sequence,
    /// Its time, or a later one that a reader was told.
    pub(super) time: Time,
    /// The hash that the next record bears.
    pub(super) hash: ChainHash,
}

impl HeadRow {
    /// Reads the row, which has to be of a ledger.
    fn read(rows: &[Row], Whose { ledger_id, importing }: Whose) -> Result<Self, Failure> {
        let row = rows.first().ok_or_else(|| Trouble::Broken("there is no head row".to_owned()))?;
        rows::check_ledger(row, ledger_id, importing)?;
        let hash = ChainHash::read(column(row, "hash")?)
            .ok_or_else(|| Trouble::Broken("the head row's hash is none".to_owned()))?;
        let sequence = rows::sequence(column(row, "sequence")?);
        Ok(Self { sequence, time: rows::time(row, "time_us")?, hash })
    }
}

/// A part of the books.
pub(super) struct Sheet {
    pub(super) desk: Desk,
    pub(super) papers: Papers,
    /// The head row as it was before.
    pub(super) loaded: HeadRow,
    /// The time before which nobody may decide any more, whether or not anything is recorded.
    pub(super) seen_time: Time,
    /// The random number on the last of its records.
    pub(super) mark: i64,
    /// The accounts on which something was held.
    pub(super) reserved: Vec<AccountId>,
}

/// The records that were loaded, and those that are new.
pub(super) struct Papers {
    /// The hash that the next record bears.
    pub(super) hash: ChainHash,
    /// The numbers of the accounts that there are, those that are new among them, and where their threads end.
    pub(super) numbers: Numbers,
    /// How much was moved back of transactions, before this group.
    pub(super) reversed: HashMap<Sequence, i64>,
    repeats: HashMap<RequestId, Record>,
    originals: HashMap<Sequence, Record>,
    pub(super) new: Vec<New>,
    new_ids: HashMap<RequestId, usize>,
}

/// A record that is new, with its stored form as long as that isn't written.
pub(super) struct New {
    pub(super) record: Record,
    pub(super) stored: Vec<u8>,
    pub(super) hash: ChainHash,
    /// Who paid and who received, when it moves money between accounts that are known.
    pub(super) sides: Option<[Side; 2]>,
}

impl Papers {
    /// Takes the next record in a stored form that it has already.
    pub(super) fn file_stored(&mut self, record: Record, stored: Vec<u8>) {
        if let Some(id) = &record.request.id {
            self.new_ids.insert(id.clone(), self.new.len());
        }
        let sequence = record.sequence.number().cast_signed();
        if let Ok(Change::AccountOpened { account, .. }) = &record.outcome {
            self.numbers.open(account, sequence);
        }
        let posting = record.posting();
        let sides = posting.and_then(|posting| self.numbers.thread(&posting.movement, sequence));
        self.hash = ChainHash::of(&stored);
        self.new.push(New { record, stored, hash: self.hash, sides });
    }
}

impl Files for Papers {
    fn record_of(&self, id: &RequestId) -> Result<Option<Box<Record>>, Error> {
        let new = self.new_ids.get(id).map(|index| &self.new[*index].record);
        Ok(new.or_else(|| self.repeats.get(id)).cloned().map(Box::new))
    }

    fn read(&self, sequence: Sequence) -> Result<Record, Error> {
        if let Ok(index) = self.new.binary_search_by_key(&sequence, |new| new.record.sequence) {
            return Ok(self.new[index].record.clone());
        }
        self.originals
            .get(&sequence)
            .cloned()
            .ok_or_else(|| Error::Damaged { sequence, cause: "it is not there".to_owned() })
    }

    fn file(&mut self, _: &Books, record: &Record, _: Entries) {
        let mut stored = Vec::new();
        codec::encode(record, &mut stored);
        codec::encode_previous_hash(self.hash.as_bytes(), &mut stored);
        self.file_stored(record.clone(), stored);
    }
}

/// Begins a transaction that ends by itself when the engine takes too long, and when this process does:
/// nobody would ever hear of a machine that has gone, and its transaction would keep the head row.
pub(super) fn begin(limit_ms: u128) -> String {
    // What is answered must be on disk, whatever the engine's own setting says.
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; \
         SET LOCAL lock_timeout = {limit_ms}; SET LOCAL statement_timeout = {limit_ms}; \
         SET LOCAL idle_in_transaction_session_timeout = {limit_ms}; \
         SELECT set_config('synchronous_commit', 'on', true) \
         WHERE current_setting('synchronous_commit') = 'off'"
    )
}

impl Sheet {
    /// Begins a transaction, locks the head row and loads what is wanted. The lock lasts until the
    /// transaction ends, so what is decided now is decided after everything before.
    pub(super) async fn load(
        session: &Session,
        whose: Whose,
        known: &Known,
        wanted: &Wanted,
        now: Time,
        limit_ms: u128,
    ) -> Result<Self, Failure> {
        let now_micros = now.micros();
        let recalled = known.recall(wanted);
        let mut accounts = wanted.accounts.clone();
        for (_, account) in &recalled.accounts {
            accounts.remove(&account.id);
        }
        let accounts: Vec<&str> = accounts.iter().map(AccountId::as_str).collect();
        let requests: Vec<&str> = wanted.requests.iter().map(RequestId::as_str).collect();
        let holds: Vec<i64> = wanted.holds.iter().copied().collect();
        let originals: Vec<i64> = wanted.originals.iter().copied().collect();

        // Who is alone, and has no group at work, can look for repeats before it has the lock.
        let repeats: Asked<'_> = (&REPEATS, vec![&requests]);
        let mut asked: Vec<Asked<'_>> = if recalled.is_alone() {
            vec![repeats, (&HEAD, vec![])]
        } else {
            vec![(&HEAD, vec![]), repeats]
        };
        asked.extend([(&OVERDUE, vec![&now_micros as _]), (&ACCOUNTS, vec![&accounts as _])]);
        let has_references = !holds.is_empty() || !originals.is_empty();
        if has_references {
            asked.push((&REFERRED, vec![&holds, &originals]));
            asked.push((&HOLDS, vec![&holds]));
            asked.push((&ORIGINALS, vec![&originals]));
            asked.push((&REVERSED, vec![&originals]));
        }
        // All are made ready before the first is sent: then they go out in order and in one go.
        let mut ready = Vec::with_capacity(asked.len());
        for (sql, _) in &asked {
            ready.push(session.ready(sql).await?);
        }
        let opening = begin(limit_ms);
        let opened = async { session.batch(&opening).await.map(|()| Vec::new()) };
        let mut sent: Vec<BoxFuture<'_, Result<Vec<Row>, Trouble>>> = vec![Box::pin(opened)];
        for (ready, (_, parameters)) in ready.iter().zip(&asked) {
            sent.push(Box::pin(session.query(ready, parameters)));
        }
        let mut answers = try_join_all(sent).await?.into_iter().skip(1);
        let mut next = || answers.next().unwrap_or_default();

        let mut repeats = if recalled.is_alone() { next() } else { Vec::new() };
        let head = next();
        if !recalled.is_alone() {
            repeats = next();
        }
        let mut sheet = Self::at(HeadRow::read(&head, whose)?, whose.ledger_id);
        let is_overdue = next().first().map(|row| column(row, "overdue")).transpose()?;
        if is_overdue.unwrap_or(false) {
            sheet.seen_time = sheet.loaded.time.next().max(now);
        }
        let mut accounts = next();
        let mut hold_rows = Vec::new();
        if has_references {
            accounts.extend(next());
            hold_rows = next();
            for row in next() {
                let record = rows::record(&row)?;
                sheet.papers.originals.insert(record.sequence, record);
            }
            for row in next() {
                let original = rows::sequence(column(&row, "original")?);
                let total = column(&row, "total")?;
                sheet.desk.books.put_reversed(original, total);
                sheet.papers.reversed.insert(original, total);
            }
        }
        if recalled.holds_at(&sheet.papers.hash) {
            sheet.put_known(recalled.accounts);
        } else if recalled.is_alone() {
            // What may have changed before the lock was got is asked for again.
            let ids = recalled.accounts.iter().map(|(_, account)| account.id.as_str());
            let ids: Vec<&str> = ids.collect();
            accounts.extend(session.one(&ACCOUNTS, &[&ids]).await?);
            repeats.extend(session.one(&REPEATS, &[&requests]).await?);
        }
        known.see(&sheet.papers.hash);
        sheet.put_repeats(&repeats)?;
        let mut reserved = sheet.put_accounts(&accounts)?;
        sheet.put_holds(&hold_rows, &mut reserved)?;
        if reserved.values().any(|one| one.left > 0) {
            let present = sheet.loaded.time.max(now);
            sheet.put_reserved(session, reserved, &holds, present).await?;
        }
        Ok(sheet)
    }

    /// Begins a transaction without the lock, while this process's group before is still at work, and takes the books
    /// as that leaves them. Nothing that was decided on such a sheet is true before it is [confirmed](Self::confirm).
    /// Nothing is held on its accounts, so no expiry of a hold is seen: where something is, there is no sheet and no
    /// transaction.
    pub(super) async fn ahead(
        session: &Session,
        ledger_id: LedgerId,
        Foreseen { head, accounts, untouched, .. }: Foreseen,
        wanted: &Wanted,
        limit_ms: u128,
    ) -> Result<Option<Self>, Failure> {
        let requests: Vec<&str> = wanted.requests.iter().map(RequestId::as_str).collect();
        let untouched: Vec<&str> = untouched.iter().map(AccountId::as_str).collect();
        let repeats = session.ready(&REPEATS).await?;
        let further = session.ready(&ACCOUNTS).await?;
        let (opening, requests, untouched) = (begin(limit_ms), [&requests as _], [&untouched as _]);
        let opened = session.batch(&opening);
        let repeats = session.query(&repeats, &requests);
        let further = session.query(&further, &untouched);
        let ((), repeats, further) = try_join3(opened, repeats, further).await?;
        let mut sheet = Self::at(head, ledger_id);
        sheet.put_repeats(&repeats)?;
        sheet.put_known(accounts);
        if sheet.put_accounts(&further)?.is_empty() {
            return Ok(Some(sheet));
        }
        session.batch("ROLLBACK").await?;
        Ok(None)
    }

    /// Locks the head row for a sheet that is ahead, once the group before has ended.
    ///
    /// # Errors
    ///
    /// [`Trouble::InTheWay`] when the row isn't as it was foreseen, or somebody else has it: they may be waiting for
    /// what this transaction has written already, so it doesn't wait for them.
    pub(super) async fn confirm(
        &mut self,
        session: &Session,
        ledger_id: LedgerId,
    ) -> Result<(), Failure> {
        let rows = session.one(&HEAD_AT_ONCE, &[]).await?;
        let head = HeadRow::read(&rows, Whose { ledger_id, importing: false })?;
        // A reader may have been told a moment, which belongs to the past now.
        let is_late = self.papers.new.first().is_some_and(|new| new.record.time <= head.time);
        if head.hash != self.loaded.hash || is_late {
            let cause = "the books are not as they were foreseen";
            return Err(Trouble::InTheWay(cause.to_owned()).into());
        }
        self.loaded = head;
        self.seen_time = head.time;
        Ok(())
    }

    /// The head row as it will be.
    pub(super) fn head(&self) -> HeadRow {
        HeadRow {
            sequence: self.desk.last_sequence,
            time: self.desk.last_time.max(self.seen_time),
            hash: self.papers.hash,
        }
    }

    /// Where the head row stands, with nothing loaded.
    fn at(head: HeadRow, ledger_id: LedgerId) -> Self {
        let mut desk = Desk::new(ledger_id);
        desk.last_sequence = head.sequence;
        desk.last_time = head.time;
        Self {
            desk,
            loaded: head,
            seen_time: head.time,
            mark: Uuid::new_v4().as_u64_pair().1.cast_signed(),
            reserved: Vec::new(),
            papers: Papers {
                hash: head.hash,
                numbers: Numbers::default(),
                reversed: HashMap::default(),
                repeats: HashMap::default(),
                originals: HashMap::default(),
                new: Vec::new(),
                new_ids: HashMap::default(),
            },
        }
    }

    /// Puts in what is held by holds that were not asked for themselves.
    async fn put_reserved(
        &mut self,
        session: &Session,
        mut reserved: BTreeMap<i64, Held>,
        but_for: &[i64],
        present: Time,
    ) -> Result<(), Failure> {
        let horizon = present.micros().saturating_add(HORIZON_MICROS);
        let numbers: Vec<i64> = reserved.keys().copied().collect();
        let rows = session.one(&EXPIRING, &[&numbers, &horizon, &but_for]).await?;
        for row in &rows {
            let Some(one) = reserved.get_mut(&column(row, "debit")?) else { continue };
            let amount = wide(row, "amount")?;
            one.left -= amount;
            self.put_held(&one.account, rows::time(row, "expire_us")?, amount);
        }
        for one in reserved.values() {
            self.put_held(&one.account, Time::from_micros(i64::MAX), one.left);
        }
        Ok(())
    }

    /// Puts in the records that answer request ids.
    fn put_repeats(&mut self, rows: &[Row]) -> Result<(), Failure> {
        for row in rows {
            let record = rows::record(row)?;
            if let Some(id) = &record.request.id {
                self.papers.repeats.insert(id.clone(), record);
            }
        }
        Ok(())
    }

    /// Puts in accounts that need not be loaded.
    fn put_known(&mut self, accounts: Vec<Threaded>) {
        for (thread, account) in accounts {
            self.papers.numbers.insert(account.id.clone(), thread);
            self.desk.books.put_account(account);
        }
    }

    /// Puts in accounts; tells what is held on those on which something is.
    fn put_accounts(&mut self, rows: &[Row]) -> Result<BTreeMap<i64, Held>, Failure> {
        let mut reserved = BTreeMap::new();
        for row in rows {
            let account = rows::account(row)?;
            let number: i64 = column(row, "number")?;
            let thread = Thread { number, newest: column(row, "newest")? };
            if !self.papers.numbers.insert(account.id.clone(), thread) {
                // It was wanted by its name and by a hold or a transaction.
                continue;
            }
            let left = wide(row, "held")?;
            if left > 0 {
                self.reserved.push(account.id.clone());
                reserved.insert(number, Held { account: account.id.clone(), left });
            }
            self.desk.books.put_account(account);
        }
        Ok(reserved)
    }

    fn put_holds(
        &mut self,
        rows: &[Row],
        reserved: &mut BTreeMap<i64, Held>,
    ) -> Result<(), Failure> {
        for row in rows {
            let hold = rows::hold(row)?;
            let number = self.papers.numbers.get(&hold.account_id);
            if rows::is_counted(row, &hold)?
                && let Some(one) = number.and_then(|number| reserved.get_mut(&number))
            {
                one.left -= i128::from(hold.amount.amount.minor_units());
            }
            self.desk.books.put_hold(hold);
        }
        Ok(())
    }

    /// Puts in an amount that is held until a time, unless that is over already.
    fn put_held(&mut self, account: &AccountId, until: Time, amount: i128) {
        if until <= self.loaded.time {
            return;
        }
        let amount = i64::try_from(amount).ok().and_then(|amount| Amount::new(amount).ok());
        if let Some(amount) = amount {
            self.desk.books.put_held(account, until, amount);
        }
    }
}

/// What is held on an account by holds that weren't put in yet, in minor units.
struct Held {
    account: AccountId,
    left: i128,
}
