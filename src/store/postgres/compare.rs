//! What the tables should say, worked out from the records alone, held against what they say.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::ops::Bound;

use tokio_postgres::Row;

use super::archive::{Wrong, wrong};
use super::engine::{Session, Sql};
use super::numbers::{Numbers, Side, Thread};
use super::rows::{self, Failure, column, wide};
use crate::ledger::{
    Account, AccountId, Audit, Balance, Change, Hold, LedgerId, Record, RequestId, Sequence, Time,
};
use crate::store::{Error, codec};

/// The rows of a table, in order. A cursor, since there may be any number.
struct Rows {
    table: &'static str,
    declare: &'static str,
    fetch: Sql,
}

const ACCOUNTS: Rows = Rows {
    table: "bank_accounts",
    declare: "DECLARE bank_all_accounts NO SCROLL CURSOR FOR \
              SELECT number, account_id, currency_code, state, posted, held::text AS held, \
                  overdraft_limit, version, newest, floor, details \
              FROM bank_accounts ORDER BY account_id",
    fetch: Sql { text: "FETCH 2000 FROM bank_all_accounts", types: &[] },
};
const HOLDS: Rows = Rows {
    table: "bank_holds",
    declare: "DECLARE bank_all_holds NO SCROLL CURSOR FOR \
              SELECT placed, debit, credit, amount, expire_us, state, hold \
              FROM bank_holds ORDER BY placed DESC",
    fetch: Sql { text: "FETCH 2000 FROM bank_all_holds", types: &[] },
};
const REVERSALS: Rows = Rows {
    table: "bank_reversals",
    declare: "DECLARE bank_all_reversals NO SCROLL CURSOR FOR \
              SELECT original, sequence, total FROM bank_reversals ORDER BY original, sequence",
    fetch: Sql { text: "FETCH 2000 FROM bank_all_reversals", types: &[] },
};
const CURRENCIES: Rows = Rows {
    table: "bank_currencies",
    declare: "DECLARE bank_all_currencies NO SCROLL CURSOR FOR \
              SELECT currency_code, accounts_posted, external_posted, account_count, \
                  transaction_count \
              FROM bank_currencies ORDER BY currency_code",
    fetch: Sql { text: "FETCH 2000 FROM bank_all_currencies", types: &[] },
};
const TIME: Sql = Sql { text: "SELECT time_us FROM bank_head WHERE one = 1", types: &[] };

impl Rows {
    async fn each(
        &'static self,
        session: &Session,
        mut look: impl FnMut(&Row) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        session.batch(self.declare).await?;
        loop {
            let rows = session.one(&self.fetch, &[]).await?;
            if rows.is_empty() {
                return Ok(());
            }
            rows.iter().try_for_each(&mut look)?;
        }
    }

    /// What is wrong when a value isn't what it should be.
    fn same<T: PartialEq + Copy + Debug>(
        &self,
        of: &str,
        column: &str,
        found: T,
        expected: T,
    ) -> Result<(), Wrong> {
        if found == expected {
            return Ok(());
        }
        let cause = format!("{column} of {of} is {found:?}, and should be {expected:?}");
        Err(wrong(self.table, cause))
    }
}

/// What the tables should say after some records.
pub(super) struct Expected {
    audit: Audit,
    last_time: Time,
    numbers: Numbers,
    /// How far below zero accounts may be since they were changed, where it isn't 0.
    floors: HashMap<AccountId, i64>,
    /// All that was moved back of a transaction, up to each reversal.
    reversals: BTreeMap<(i64, i64), i64>,
}

impl Expected {
    pub(super) fn new(ledger_id: LedgerId) -> Self {
        Self {
            audit: Audit::new(ledger_id),
            last_time: Time::from_micros(i64::MIN),
            numbers: Numbers::default(),
            floors: HashMap::new(),
            reversals: BTreeMap::new(),
        }
    }

    /// Looks into the next record, and whether its row says what it says.
    pub(super) fn take(&mut self, row: &Row, record: &Record) -> Result<(), Wrong> {
        let sequence = record.sequence;
        let damaged = |cause| Wrong::Record(Error::Damaged { sequence, cause });
        self.audit.check(record).map_err(damaged)?;
        let number = sequence.number().cast_signed();
        self.last_time = record.time;
        match &record.outcome {
            Ok(Change::AccountOpened { account, .. }) => {
                self.numbers.open(account, number);
            }
            Ok(Change::AccountChanged { account }) => {
                match account.balance.available().min(0) {
                    0 => self.floors.remove(&account.id),
                    floor => self.floors.insert(account.id.clone(), floor),
                };
            }
            Ok(Change::Reversed { original, .. }) => {
                let total = self.audit.books().reversed(*original);
                self.reversals.insert((original.number().cast_signed(), number), total);
            }
            Ok(
                Change::Posted(_)
                | Change::HoldPlaced { .. }
                | Change::HoldCaptured { .. }
                | Change::HoldReleased { .. },
            )
            | Err(_) => {}
        }
        let movement = record.posting().map(|posting| &posting.movement);
        let kind = movement.map(|movement| codec::number_of_type(movement.kind));
        let sides = movement.and_then(|movement| self.numbers.thread(movement, number));
        let side = |index: usize| {
            let side: Option<Side> = sides.map(|sides| sides[index]);
            (side.map(|side| side.number), side.map(|side| side.before))
        };
        let columns = |number, before| -> Result<(Option<i64>, Option<i64>), Failure> {
            Ok((column(row, number)?, column(row, before)?))
        };
        let id = record.request.id.as_ref().map(RequestId::as_str);
        let found_kind = column::<Option<i16>>(row, "kind")?.map(i32::from);
        let is_same = column::<i64>(row, "time_us")? == record.time.micros()
            && column::<Option<&str>>(row, "request_id")? == id
            && found_kind == kind
            && columns("debit", "debit_before")? == side(0)
            && columns("credit", "credit_before")? == side(1);
        if is_same { Ok(()) } else { Err(damaged("its row says something else".to_owned())) }
    }

    /// Holds all tables against what they should say: how many transactions there are.
    pub(super) async fn compare(&self, session: &Session) -> Result<u64, Wrong> {
        let transactions = self.audit.end().map_err(|cause| wrong("bank_records", cause))?;
        let time = self.compare_head(session).await?;
        let held = self.compare_holds(session, time).await?;
        self.compare_accounts(session, &held).await?;
        self.compare_reversals(session).await?;
        self.compare_currencies(session).await?;
        Ok(transactions)
    }

    async fn compare_head(&self, session: &Session) -> Result<Time, Wrong> {
        let rows = session.one(&TIME, &[]).await?;
        let row = rows.first().ok_or_else(|| wrong("bank_head", "there is no head row"))?;
        let time = rows::time(row, "time_us")?;
        if time < self.last_time {
            return Err(wrong("bank_head", "its time is before that of the newest record"));
        }
        Ok(time)
    }

    /// What is held on accounts, by their numbers.
    async fn compare_holds(
        &self,
        session: &Session,
        time: Time,
    ) -> Result<HashMap<i64, i128>, Wrong> {
        let mut sums: HashMap<i64, i128> = HashMap::new();
        let mut expected = self.audit.books().holds_before(None, Sequence::new(u64::MAX));
        let name = |hold: &Hold| format!("the hold of record {}", hold.placed.number());
        let look = |row: &Row| {
            let number: i64 = column(row, "placed")?;
            let hold = match expected.next() {
                Some(hold) if hold.placed.number().cast_signed() > number => {
                    return Err(wrong(HOLDS.table, format!("{} is not there", name(hold))));
                }
                Some(hold) if hold.placed.number().cast_signed() == number => hold,
                _ => {
                    let cause = format!("record {number} has placed no hold");
                    return Err(wrong(HOLDS.table, cause));
                }
            };
            let of = name(hold);
            let movement = hold.movement(hold.amount.amount);
            let amount = hold.amount.amount.minor_units();
            let debit = self.numbers.get(&movement.from);
            HOLDS.same(&of, "debit", Some(column(row, "debit")?), debit)?;
            let credit = self.numbers.get(&movement.to);
            HOLDS.same(&of, "credit", Some(column(row, "credit")?), credit)?;
            HOLDS.same(&of, "amount", column(row, "amount")?, amount)?;
            HOLDS.same(&of, "expire_us", column(row, "expire_us")?, hold.expire_time.micros())?;
            let found = codec::decode_hold(column(row, "hold")?);
            if found.as_ref().ok() != Some(hold) {
                return Err(wrong(HOLDS.table, format!("{of} is another than its records say")));
            }
            let state: i16 = column(row, "state")?;
            let is_held = codec::number_of_hold_state(hold) == i32::from(rows::HELD);
            let is_swept = state == rows::SWEPT && is_held && hold.expire_time <= time;
            if !is_swept {
                let expected = codec::number_of_hold_state(hold);
                HOLDS.same(&of, "state", i32::from(state), expected)?;
            }
            if state == rows::HELD {
                *sums.entry(debit.unwrap_or_default()).or_default() += i128::from(amount);
            }
            Ok(())
        };
        HOLDS.each(session, look).await?;
        match expected.next() {
            Some(hold) => Err(wrong(HOLDS.table, format!("{} is not there", name(hold)))),
            None => Ok(sums),
        }
    }

    async fn compare_accounts(
        &self,
        session: &Session,
        held: &HashMap<i64, i128>,
    ) -> Result<(), Wrong> {
        let mut expected = self.audit.books().accounts_from(Bound::Unbounded, self.last_time);
        let missing = |account: &Account| {
            let number = self.numbers.get(&account.id).unwrap_or_default();
            let cause =
                format!("account {} of record {} is not there", account.id, number.unsigned_abs());
            wrong(ACCOUNTS.table, cause)
        };
        let look = |row: &Row| {
            let id: &str = column(row, "account_id")?;
            let account = match expected.next().map(|standing| standing.account) {
                Some(account) if account.id.as_str() < id => return Err(missing(account)),
                Some(account) if account.id.as_str() == id => account,
                _ => return Err(wrong(ACCOUNTS.table, format!("no record has opened {id:?}"))),
            };
            self.compare_account(row, account, held)
        };
        ACCOUNTS.each(session, look).await?;
        match expected.next() {
            Some(standing) => Err(missing(standing.account)),
            None => Ok(()),
        }
    }

    fn compare_account(
        &self,
        row: &Row,
        account: &Account,
        held: &HashMap<i64, i128>,
    ) -> Result<(), Wrong> {
        let Balance { posted, overdraft_limit, version, .. } = account.balance;
        let Thread { number, newest } = self.numbers.thread_of(&account.id)?;
        let of = format!("account {} of record {}", account.id, number.unsigned_abs());
        let same = |name, found: i64, expected| ACCOUNTS.same(&of, name, found, expected);
        same("number", column(row, "number")?, number)?;
        same("posted", column(row, "posted")?, posted)?;
        same("overdraft_limit", column(row, "overdraft_limit")?, overdraft_limit.minor_units())?;
        same("version", column(row, "version")?, version.cast_signed())?;
        same("newest", column(row, "newest")?, newest)?;
        let floor = self.floors.get(&account.id).copied().unwrap_or_default();
        same("floor", column(row, "floor")?, floor)?;
        let held = held.get(&number).copied().unwrap_or_default();
        ACCOUNTS.same(&of, "held", wide(row, "held")?, held)?;
        let currency = account.currency.code();
        ACCOUNTS.same(&of, "currency_code", column(row, "currency_code")?, currency)?;
        let state = codec::number_of_account_state(account.state);
        ACCOUNTS.same(&of, "state", i32::from(column::<i16>(row, "state")?), state)?;
        // Its balance is in columns of its own.
        let plain = |account: &Account| Account { balance: Balance::default(), ..account.clone() };
        let details = codec::decode_account(column(row, "details")?);
        if details.ok().map(|it| plain(&it)) != Some(plain(account)) {
            return Err(wrong(ACCOUNTS.table, format!("{of} is another than its records say")));
        }
        Ok(())
    }

    async fn compare_reversals(&self, session: &Session) -> Result<(), Wrong> {
        let mut expected = self.reversals.iter();
        let differs = || wrong(REVERSALS.table, "it is not what the records have moved back");
        let look = |row: &Row| {
            let key = (column(row, "original")?, column(row, "sequence")?);
            let total = column(row, "total")?;
            match expected.next() {
                Some((it, all)) if (*it, *all) == (key, total) => Ok(()),
                Some(((original, sequence), all)) => Err(wrong(
                    REVERSALS.table,
                    format!(
                        "record {sequence} has moved {all} of record {original} back in all, which \
                         is not what stands there"
                    ),
                )),
                None => Err(differs()),
            }
        };
        REVERSALS.each(session, look).await?;
        if expected.next().is_some() { Err(differs()) } else { Ok(()) }
    }

    async fn compare_currencies(&self, session: &Session) -> Result<(), Wrong> {
        let mut expected = self.audit.books().totals();
        let look = |row: &Row| {
            let found: &str = column(row, "currency_code")?;
            let Some((currency, totals)) = expected.next() else {
                return Err(wrong(CURRENCIES.table, format!("no account holds {found:?}")));
            };
            let of = currency.code();
            CURRENCIES.same(of, "currency_code", found, of)?;
            for (name, expected) in [
                ("accounts_posted", totals.accounts_posted),
                ("external_posted", totals.external_posted),
                ("account_count", totals.account_count.into()),
                ("transaction_count", totals.transaction_count.into()),
            ] {
                CURRENCIES.same(of, name, column::<i64>(row, name)?.into(), expected)?;
            }
            Ok(())
        };
        CURRENCIES.each(session, look).await?;
        match expected.next() {
            Some((currency, _)) => {
                Err(wrong(CURRENCIES.table, format!("{} is not there", currency.code())))
            }
            None => Ok(()),
        }
    }
}
