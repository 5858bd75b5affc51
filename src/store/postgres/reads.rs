//! What is read: each look is one statement, which sees whole groups only.
//!
//! **Invariants:** a page costs the page and not the history; the moment that an answer names is that of
//! the head row, so that no later record has it. Where a hold has expired since then, the row is moved on
//! first: what one reader has seen to be over is over for everybody.

use std::collections::HashMap;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::PostgresStore;
use super::engine::{Sql, Trouble};
use super::group::move_time;
use super::rows::{self, Failure, column, sequence};
use super::wanted;
use crate::clock::Clock;
use crate::ledger::{
    AccountId, Balance, Currency, Hold, HoldId, Record, Refusal, Sequence, Time, Totals,
};
use crate::store::{
    AccountPage, AccountQuery, AccountView, Changes, Cursor, Error, HoldPage, HoldQuery,
    LinkedRecord, PastBalance, RecordKey, TransactionPage, TransactionQuery, codec,
};

/// How many accounts or holds one page of a listing looks at, at the most.
const LOOK: usize = 4_000;
/// How many records one page of a listing looks at, at the most.
const RECORDS_PER_PAGE: u64 = 10_000;

macro_rules! moment {
    () => {
        "h.sequence AS head, h.time_us AS moment, EXISTS (SELECT 1 FROM bank_holds \
         WHERE state = 1 AND expire_us > h.time_us AND expire_us <= $1) AS overdue"
    };
}

macro_rules! account {
    () => {
        "a.number, a.posted, a.overdraft_limit, a.version, a.details, \
         CASE WHEN a.held > 0 THEN (a.held - COALESCE((SELECT sum(amount) FROM bank_holds \
         WHERE debit = a.number AND state = 1 AND expire_us <= h.time_us), 0))::bigint \
         ELSE 0 END AS held"
    };
}

const MOMENT: Sql = Sql {
    text: concat!("SELECT ", moment!(), " FROM bank_head AS h WHERE h.one = 1"),
    types: &[Type::INT8],
};
const ACCOUNT: Sql = Sql {
    text: concat!(
        "SELECT ",
        moment!(),
        ", ",
        account!(),
        " FROM bank_head AS h LEFT JOIN bank_accounts AS a ON a.account_id = $2 WHERE h.one = 1"
    ),
    types: &[Type::INT8, Type::TEXT],
};
const ACCOUNTS: Sql = Sql {
    text: concat!(
        "SELECT ",
        moment!(),
        ", ",
        account!(),
        " FROM bank_head AS h LEFT JOIN (SELECT * FROM bank_accounts \
         WHERE account_id >= $2 AND (account_id <> $2 OR $3) AND account_id < $4 \
         ORDER BY account_id LIMIT $5) AS a ON TRUE WHERE h.one = 1 ORDER BY a.account_id"
    ),
    types: &[Type::INT8, Type::TEXT, Type::BOOL, Type::TEXT, Type::INT8],
};
const HOLD: Sql = Sql {
    text: concat!(
        "SELECT ",
        moment!(),
        ", o.placed, o.hold FROM bank_head AS h \
         LEFT JOIN bank_holds AS o ON o.placed = $2 WHERE h.one = 1"
    ),
    types: &[Type::INT8, Type::INT8],
};
const HOLDS: Sql = Sql {
    text: concat!(
        "SELECT ",
        moment!(),
        ", o.placed, o.hold FROM bank_head AS h LEFT JOIN (SELECT * FROM bank_holds \
         WHERE placed < $2 ORDER BY placed DESC LIMIT $3) AS o ON TRUE \
         WHERE h.one = 1 ORDER BY o.placed DESC"
    ),
    types: &[Type::INT8, Type::INT8, Type::INT8],
};
const HOLDS_OF_ACCOUNT: Sql = Sql {
    text: concat!(
        "SELECT ",
        moment!(),
        ", o.placed, o.hold FROM bank_head AS h LEFT JOIN (SELECT * FROM bank_holds \
         WHERE debit = $4 AND placed < $2 ORDER BY placed DESC LIMIT $3) AS o ON TRUE \
         WHERE h.one = 1 ORDER BY o.placed DESC"
    ),
    types: &[Type::INT8, Type::INT8, Type::INT8, Type::INT8],
};
/// The number of an account, and the end of the ledger.
const PLACE: Sql = Sql {
    text: "SELECT h.sequence AS head, h.time_us AS moment, a.number, a.currency_code \
           FROM bank_head AS h LEFT JOIN bank_accounts AS a ON a.account_id = $1 WHERE h.one = 1",
    types: &[Type::TEXT],
};
/// The first record since a time: it belongs to the first group that ends since then.
const FIRST_SINCE: Sql = Sql {
    text: "SELECT sequence FROM bank_records WHERE time_us >= $1 AND sequence > COALESCE( \
               (SELECT sequence FROM bank_records WHERE mark IS NOT NULL AND time_us < $1 \
                ORDER BY time_us DESC LIMIT 1), 0) \
           ORDER BY sequence LIMIT 1",
    types: &[Type::INT8],
};
const BY_SEQUENCE: Sql = Sql {
    text: "SELECT h.sequence AS head, r.sequence, r.record, r.checksum FROM bank_head AS h \
           LEFT JOIN bank_records AS r ON r.sequence = $1 WHERE h.one = 1",
    types: &[Type::INT8],
};
const BY_REQUEST: Sql = Sql {
    text: "SELECT h.sequence AS head, r.sequence, r.record, r.checksum FROM bank_head AS h \
           LEFT JOIN bank_records AS r ON r.request_id = $1 WHERE h.one = 1",
    types: &[Type::TEXT],
};
const LEDGER_PAGE: [Sql; 2] = [
    Sql {
        text: "SELECT sequence, record, checksum FROM bank_records \
               WHERE sequence >= $1 AND sequence < $2 AND kind = ANY($3) \
               ORDER BY sequence DESC LIMIT $4",
        types: &[Type::INT8, Type::INT8, Type::INT2_ARRAY, Type::INT8],
    },
    Sql {
        text: "SELECT sequence, record, checksum FROM bank_records \
               WHERE sequence >= $1 AND sequence < $2 AND kind = ANY($3) \
               ORDER BY sequence LIMIT $4",
        types: &[Type::INT8, Type::INT8, Type::INT2_ARRAY, Type::INT8],
    },
];

/// One record in so many is a knot of its threads, by its checksum.
const KNOT: i64 = 64;

/// A knot of an account's thread in a part of the records' order, so many from its beginning.
macro_rules! knot {
    ($part:literal, $count:literal) => {
        concat!(
            "(SELECT sequence FROM ( \
             (SELECT sequence FROM bank_records WHERE debit = $5 AND checksum % 64 = 0 AND ",
            $part,
            " ORDER BY sequence LIMIT ",
            $count,
            ") UNION ALL \
             (SELECT sequence FROM bank_records WHERE credit = $5 AND checksum % 64 = 0 AND ",
            $part,
            " ORDER BY sequence LIMIT ",
            $count,
            ")) AS knots ORDER BY sequence OFFSET ",
            $count,
            " - 1 LIMIT 1)"
        )
    };
}

/// Goes back along an account's thread, from a knot or the next one after the part that is wanted, or else from its
/// end. Each record is looked up by its key alone, which is what `LATERAL` with a limit is for. One that isn't there
/// comes as its number with the sign turned.
macro_rules! account_page {
    ($from:expr, $while:literal, $order:literal) => {
        concat!(
            "WITH RECURSIVE thread (sequence, before, found, checksum, record) AS ( \
                 SELECT $2, COALESCE(",
            $from,
            knot!("sequence >= $2", "1"),
            ", (SELECT newest FROM bank_accounts WHERE number = $5)), 0, $2, NULL::bytea \
                 UNION ALL \
                 SELECT COALESCE(r.sequence, -thread.before), CASE WHEN r.debit = $5 THEN r.debit_before ELSE r.credit_before END, \
                     thread.found + CASE WHEN r.sequence < $2 THEN 1 ELSE 0 END, \
                     r.checksum, CASE WHEN r.kind = ANY($3) THEN r.record END \
                 FROM thread LEFT JOIN LATERAL ( \
                     SELECT sequence, kind, debit, debit_before, credit_before, checksum, record \
                     FROM bank_records WHERE sequence = thread.before LIMIT 1 \
                 ) AS r ON TRUE WHERE ",
            $while,
            ") SELECT sequence, checksum, record FROM thread \
             WHERE (sequence >= $1 OR sequence < 0) AND sequence < $2 ORDER BY sequence ",
            $order,
            " LIMIT $4"
        )
    };
}

const NEWEST_OF_ACCOUNT: Sql = Sql {
    text: account_page!("", "thread.before >= $1 AND thread.found < $4", "DESC"),
    types: &[Type::INT8, Type::INT8, Type::INT2_ARRAY, Type::INT8, Type::INT8],
};
/// The same from the other end, up to a knot: there may be fewer than are wanted before it, but some.
const OLDEST_OF_ACCOUNT: Sql = Sql {
    text: account_page!(
        concat!(knot!("sequence >= $1 AND sequence < $2", "$6"), ", "),
        "thread.before >= $1",
        "ASC"
    ),
    types: &[Type::INT8, Type::INT8, Type::INT2_ARRAY, Type::INT8, Type::INT8, Type::INT8],
};
const REVERSALS: Sql = Sql {
    text: "SELECT wanted.original, newest.sequence FROM unnest($1) AS wanted (original) \
           CROSS JOIN LATERAL ( \
               SELECT sequence FROM bank_reversals \
               WHERE bank_reversals.original = wanted.original AND sequence <= $2 \
               ORDER BY sequence DESC LIMIT $3 \
           ) AS newest ORDER BY newest.sequence",
    types: &[Type::INT8_ARRAY, Type::INT8, Type::INT8],
};
const TOTALS: Sql = Sql {
    text: "SELECT currency_code, accounts_posted, external_posted, account_count, transaction_count \
           FROM bank_currencies WHERE $1 = '' OR currency_code = $1 ORDER BY currency_code",
    types: &[Type::TEXT],
};

/// The number of every kind of transaction.
const ALL_KINDS: [i16; 4] = [1, 2, 3, 4];

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

impl<C: Clock> PostgresStore<C> {
    async fn rows(
        &self,
        sql: &'static Sql,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Trouble> {
        self.engine.read(async |session| session.one(sql, parameters).await).await
    }

    /// Reads with a statement whose first parameter is the present, and that tells the moment that it
    /// shows: the rows, of which there is one at least, and the moment.
    async fn at_present(
        &self,
        sql: &'static Sql,
        parameters: Parameters<'_>,
    ) -> Result<(Vec<Row>, Time), Failure> {
        let now = self.clock.now();
        let micros = now.micros();
        let mut all: Vec<&(dyn ToSql + Sync)> = vec![&micros];
        all.extend(parameters);
        // Once the row has been moved on to this present, nothing is overdue by it.
        loop {
            let rows = self.rows(sql, &all).await?;
            let head = rows.first().ok_or_else(no_head)?;
            if !column::<bool>(head, "overdue")? {
                let moment = rows::time(head, "moment")?;
                return Ok((rows, moment));
            }
            move_time(&self.engine, now).await?;
        }
    }

    pub(super) async fn read_account(
        &self,
        id: &AccountId,
    ) -> Result<Result<AccountView, Refusal>, Failure> {
        let (rows, time) = self.at_present(&ACCOUNT, &[&id.as_str()]).await?;
        let account = rows.first().map(|row| view(row, time)).transpose()?.flatten();
        Ok(account.ok_or_else(|| not_found(id)))
    }

    pub(super) async fn page_of_accounts(
        &self,
        query: &AccountQuery,
    ) -> Result<AccountPage, Failure> {
        let is_filtered = query.currency.is_some() || query.state.is_some();
        let look = if is_filtered { LOOK } else { query.page_size.min(LOOK) };
        let (start, with_start) = match &query.after {
            Some(after) => (after.as_str(), false),
            None => (query.id_prefix.as_str(), true),
        };
        // No id has a character as high as this.
        let end = format!("{}\u{7f}", query.id_prefix);
        let limit = limit(look + 1);
        let parameters: Parameters = &[&start, &with_start, &end, &limit];
        let (rows, time) = self.at_present(&ACCOUNTS, parameters).await?;
        let mut found = Vec::new();
        for row in &rows {
            found.extend(view(row, time)?);
        }
        let mut candidates = found.into_iter().peekable();
        let mut accounts = Vec::new();
        let mut last_looked_at = None;
        for one in candidates.by_ref().take(look) {
            last_looked_at = Some(one.account.id.clone());
            let is_wanted = query.currency.as_ref().is_none_or(|it| *it == one.account.currency)
                && query.state.is_none_or(|it| it == one.account.state);
            if is_wanted {
                accounts.push(one);
            }
            if accounts.len() == query.page_size {
                break;
            }
        }
        let next = last_looked_at.filter(|_| candidates.peek().is_some());
        Ok(AccountPage { accounts, next })
    }

    pub(super) async fn read_hold(&self, id: &HoldId) -> Result<Result<Hold, Refusal>, Failure> {
        let refused = || Refusal::HoldNotFound { hold_id: id.clone() };
        let Some(placed) = wanted::placed(id, self.ledger_id) else { return Ok(Err(refused())) };
        let (rows, time) = self.at_present(&HOLD, &[&placed]).await?;
        let hold = rows.first().map(existing_hold).transpose()?.flatten();
        Ok(hold.map(|hold| hold.seen_at(time)).ok_or_else(refused))
    }

    pub(super) async fn page_of_holds(
        &self,
        query: &HoldQuery,
    ) -> Result<Result<HoldPage, Refusal>, Failure> {
        let look = if query.state.is_some() { LOOK } else { query.page_size.min(LOOK) };
        let before = query.before.and_then(wanted::column).unwrap_or(i64::MAX);
        let limit = limit(look + 1);
        let (rows, time) = match &query.account_id {
            None => self.at_present(&HOLDS, &[&before, &limit]).await?,
            Some(id) => {
                let Some(place) = self.place_of(id).await?.account else {
                    return Ok(Err(not_found(id)));
                };
                self.at_present(&HOLDS_OF_ACCOUNT, &[&before, &limit, &place.0]).await?
            }
        };
        let mut found = Vec::new();
        for row in &rows {
            found.extend(existing_hold(row)?);
        }
        let mut candidates = found.into_iter().peekable();
        let mut holds = Vec::new();
        let mut last_looked_at = None;
        for hold in candidates.by_ref().take(look) {
            last_looked_at = Some(hold.placed);
            if query.state.is_none_or(|filter| filter.fits(hold.state_at(time))) {
                holds.push(hold.seen_at(time));
            }
            if holds.len() == query.page_size {
                break;
            }
        }
        let next = last_looked_at.filter(|_| candidates.peek().is_some());
        Ok(Ok(HoldPage { holds, next }))
    }

    pub(super) async fn read_record(
        &self,
        key: &RecordKey,
    ) -> Result<Option<LinkedRecord>, Failure> {
        let rows = match key {
            RecordKey::Sequence(sequence) => match wanted::column(*sequence) {
                Some(number) => self.rows(&BY_SEQUENCE, &[&number]).await?,
                None => return Ok(None),
            },
            RecordKey::RequestId(id) => self.rows(&BY_REQUEST, &[&id.as_str()]).await?,
        };
        let row = rows.first().ok_or_else(no_head)?;
        if column::<Option<i64>>(row, "sequence")?.is_none() {
            return Ok(None);
        }
        let head = sequence(column(row, "head")?);
        let mut linked = self.link(vec![rows::record(row)?], head).await?;
        Ok(linked.pop())
    }

    /// Adds what later records, up to the one that the answer is about, say of them.
    async fn link(
        &self,
        records: Vec<Record>,
        until: Sequence,
    ) -> Result<Vec<LinkedRecord>, Failure> {
        let originals: Vec<i64> =
            records.iter().filter_map(|record| wanted::column(record.sequence)).collect();
        let mut reversals: HashMap<Sequence, Vec<Sequence>> = HashMap::new();
        if records.iter().any(|record| record.posting().is_some()) {
            let until = wanted::column(until).unwrap_or(i64::MAX);
            let most = limit(LinkedRecord::MAX_REVERSALS);
            for row in self.rows(&REVERSALS, &[&originals, &until, &most]).await? {
                let original = sequence(column(&row, "original")?);
                let reversal = sequence(column(&row, "sequence")?);
                reversals.entry(original).or_default().push(reversal);
            }
        }
        let link = |record: Record| {
            let reversed_by = reversals.remove(&record.sequence).unwrap_or_default();
            LinkedRecord { record, reversed_by }
        };
        Ok(records.into_iter().map(link).collect())
    }

    async fn place_of(&self, id: &AccountId) -> Result<Place, Failure> {
        let rows = self.rows(&PLACE, &[&id.as_str()]).await?;
        let row = rows.first().ok_or_else(no_head)?;
        let number: Option<i64> = column(row, "number")?;
        let code: Option<&str> = column(row, "currency_code")?;
        Ok(Place {
            head: sequence(column(row, "head")?),
            time: rows::time(row, "moment")?,
            account: number.zip(code.map(currency).transpose()?),
        })
    }

    /// The first record at or after a time; the one after `last` when all up to it are earlier.
    async fn first_since(&self, time: Time, last: Sequence) -> Result<Sequence, Failure> {
        let rows = self.rows(&FIRST_SINCE, &[&time.micros()]).await?;
        let found = rows.first().map(|row| column(row, "sequence")).transpose()?.map(sequence);
        Ok(found.map_or(last.next(), |found| found.min(last.next())))
    }

    pub(super) async fn read_balance_at(
        &self,
        id: &AccountId,
        time: Time,
    ) -> Result<Result<PastBalance, Refusal>, Failure> {
        let place = self.place_of(id).await?;
        let Some((number, currency)) = place.account else { return Ok(Err(not_found(id))) };
        // What is yet to come can't be told: the answer is of the present at the latest.
        let time = time.min(place.time);
        let later = self.first_since(time.next(), place.head).await?;
        let end = wanted::column(later).unwrap_or(i64::MAX);
        let parameters: Parameters = &[&1_i64, &end, &ALL_KINDS.as_slice(), &1_i64, &number];
        let rows = self.threaded(&NEWEST_OF_ACCOUNT, parameters).await?;
        let balance = match rows.first() {
            None => Balance::default(),
            Some(row) => {
                let record = rows::record(row)?;
                record.balance_of(id).ok_or_else(|| Error::Damaged {
                    sequence: record.sequence,
                    cause: format!("it has no entry on account {id}"),
                })?
            }
        };
        Ok(Ok(PastBalance { currency, balance, time }))
    }

    pub(super) async fn page_of_transactions(
        &self,
        query: &TransactionQuery,
    ) -> Result<Result<TransactionPage, Refusal>, Failure> {
        let (head, account) = match &query.account_id {
            None => (self.read_head().await?, None),
            Some(id) => {
                let place = self.place_of(id).await?;
                let Some((number, _)) = place.account else { return Ok(Err(not_found(id))) };
                (place.head, Some(number))
            }
        };
        // Tokens can be made up.
        let until = query.cursor.map_or(head, |cursor| cursor.until.min(head));
        let mut start = match query.start_time {
            Some(time) => self.first_since(time, until).await?.number(),
            None => 1,
        };
        let mut end = match query.end_time {
            Some(time) => self.first_since(time, until).await?.number(),
            None => until.next().number(),
        };
        if let Some(cursor) = query.cursor {
            if query.oldest_first {
                start = start.max(cursor.after.next().number());
            } else {
                end = end.min(cursor.after.number());
            }
        }
        if start >= end {
            return Ok(Ok(TransactionPage { records: Vec::new(), next: None }));
        }
        let (records, after) = match account {
            None => self.ledger_page(query, start, end).await?,
            Some(number) => self.account_page(query, number, start, end).await?,
        };
        let records = self.link(records, head).await?;
        Ok(Ok(TransactionPage { records, next: after.map(|after| Cursor { after, until }) }))
    }

    /// The transactions of a page, and the last record that was looked at unless there are no more.
    async fn ledger_page(
        &self,
        query: &TransactionQuery,
        start: u64,
        end: u64,
    ) -> Result<(Vec<Record>, Option<Sequence>), Failure> {
        // Sequences have no gaps, so a part of the range is a part of the work.
        let clipped = if query.oldest_first {
            start..end.min(start.saturating_add(RECORDS_PER_PAGE))
        } else {
            start.max(end.saturating_sub(RECORDS_PER_PAGE))..end
        };
        let (low, high) = (clipped.start.cast_signed(), clipped.end.cast_signed());
        let kinds = kinds(query);
        let limit = limit(query.page_size + 1);
        let sql = &LEDGER_PAGE[usize::from(query.oldest_first)];
        let rows = self.rows(sql, &[&low, &high, &kinds, &limit]).await?;
        let mut records = Vec::new();
        for row in rows.iter().take(query.page_size) {
            records.push(rows::record(row)?);
        }
        let after = if rows.len() > query.page_size {
            records.last().map(|record| record.sequence)
        } else if clipped != (start..end) {
            let last = if query.oldest_first { clipped.end - 1 } else { clipped.start };
            Some(Sequence::new(last))
        } else {
            None
        };
        Ok((records, after))
    }

    async fn account_page(
        &self,
        query: &TransactionQuery,
        number: i64,
        start: u64,
        end: u64,
    ) -> Result<(Vec<Record>, Option<Sequence>), Failure> {
        let most = usize::try_from(RECORDS_PER_PAGE).unwrap_or(usize::MAX);
        let look = if query.types.is_empty() { query.page_size } else { most };
        let (low, high) = (start.cast_signed(), end.cast_signed());
        let kinds = kinds(query);
        let limit = limit(look + 1);
        let rows = if query.oldest_first {
            self.oldest_of_account(low, high, &kinds, limit, number).await?
        } else {
            self.threaded(&NEWEST_OF_ACCOUNT, &[&low, &high, &kinds, &limit, &number]).await?
        };
        let mut records = Vec::new();
        let mut last_looked_at = None;
        for (looked_at, row) in rows.iter().enumerate() {
            if records.len() == query.page_size || looked_at == look {
                return Ok((records, last_looked_at));
            }
            last_looked_at = Some(sequence(column(row, "sequence")?));
            if column::<Option<&[u8]>>(row, "record")?.is_some() {
                records.push(rows::record(row)?);
            }
        }
        Ok((records, None))
    }

    /// The first of an account's records in a part of their order, as many as are wanted.
    async fn oldest_of_account(
        &self,
        mut low: i64,
        high: i64,
        kinds: &[i16],
        limit: i64,
        number: i64,
    ) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        loop {
            let left = limit - self::limit(rows.len());
            // So many as are wanted mostly lie before it.
            let knots = left / KNOT + 3;
            let parameters: Parameters = &[&low, &high, &kinds, &left, &number, &knots];
            let more = self.threaded(&OLDEST_OF_ACCOUNT, parameters).await?;
            let Some(last) = more.last() else { return Ok(rows) };
            low = column::<i64>(last, "sequence")?.saturating_add(1);
            // What ends with something else than a knot ends with the part itself.
            let is_knot = column::<i64>(last, "checksum")? % KNOT == 0;
            rows.extend(more);
            if !is_knot || self::limit(rows.len()) >= limit {
                return Ok(rows);
            }
        }
    }

    /// Records along a thread, which has to be whole.
    async fn threaded(
        &self,
        sql: &'static Sql,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let rows = self.rows(sql, parameters).await?;
        for row in &rows {
            let number: i64 = column(row, "sequence")?;
            if number < 0 {
                let cause = "it is not there".to_owned();
                return Err(Error::Damaged { sequence: sequence(number), cause }.into());
            }
        }
        Ok(rows)
    }

    pub(super) async fn read_head(&self) -> Result<Sequence, Failure> {
        let rows = self.rows(&MOMENT, &[&i64::MIN]).await?;
        let head = rows.first().ok_or_else(no_head)?;
        Ok(sequence(column(head, "head")?))
    }

    pub(super) async fn read_totals(
        &self,
        wanted: Option<&Currency>,
    ) -> Result<Vec<(Currency, Totals)>, Failure> {
        let code = wanted.map_or("", Currency::code);
        let mut all = Vec::new();
        for row in self.rows(&TOTALS, &[&code]).await? {
            let totals = Totals {
                accounts_posted: column::<i64>(&row, "accounts_posted")?.into(),
                external_posted: column::<i64>(&row, "external_posted")?.into(),
                account_count: column::<i64>(&row, "account_count")?.unsigned_abs(),
                transaction_count: column::<i64>(&row, "transaction_count")?.unsigned_abs(),
            };
            all.push((currency(column(&row, "currency_code")?)?, totals));
        }
        Ok(all)
    }

    pub(super) async fn read_changes(
        &self,
        id: Option<&AccountId>,
    ) -> Result<Result<Changes, Refusal>, Failure> {
        let Some(id) = id else { return Ok(Ok(self.waiting.of_ledger())) };
        let account = self.place_of(id).await?.account;
        let changes = account.map(|(number, _)| self.waiting.of_account(number));
        Ok(changes.ok_or_else(|| not_found(id)))
    }
}

/// Where an account is, and where the ledger stood then.
struct Place {
    head: Sequence,
    time: Time,
    /// Its number and currency, if there is such an account.
    account: Option<(i64, Currency)>,
}

/// The account in a row, if there is one in it.
fn view(row: &Row, time: Time) -> Result<Option<AccountView>, Failure> {
    if column::<Option<i64>>(row, "number")?.is_none() {
        return Ok(None);
    }
    let mut account = rows::account(row)?;
    account.balance.held = column(row, "held")?;
    Ok(Some(AccountView { account, time }))
}

/// The hold in a row, if there is one in it.
fn existing_hold(row: &Row) -> Result<Option<Hold>, Failure> {
    let is_there = column::<Option<i64>>(row, "placed")?.is_some();
    is_there.then(|| rows::hold(row)).transpose()
}

fn currency(code: &str) -> Result<Currency, Failure> {
    let parsed = Currency::parse(code);
    parsed.map_err(|_| Trouble::Broken(format!("{code:?} is no currency")).into())
}

fn kinds(query: &TransactionQuery) -> Vec<i16> {
    if query.types.is_empty() {
        return ALL_KINDS.to_vec();
    }
    let numbers = query.types.iter().map(|kind| codec::number_of_type(*kind));
    numbers.filter_map(|number| i16::try_from(number).ok()).collect()
}

fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn no_head() -> Failure {
    Trouble::Broken("there is no head row".to_owned()).into()
}

fn not_found(account_id: &AccountId) -> Refusal {
    Refusal::AccountNotFound { account_id: account_id.clone() }
}
