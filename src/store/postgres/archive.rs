//! Books in a database that are looked at, also while banks are writing to them: nothing in them is changed.
//!
//! Records are never changed once they are written, so nearly all are read outside of any transaction: a long
//! one would keep the engine from clearing away what banks overwrite meanwhile. What has come by then, the
//! tables and the head are read from one snapshot. **Invariant:** what is told of the books is true of one
//! moment, at which they had the head that is told.

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::compare::Expected;
use super::engine::{Engine, EngineSettings, Session, Sql, Trouble, within};
use super::rows::{self, Failure, column};
use super::schema::{self, SchemaError};
use crate::ledger::{LedgerId, Record, Sequence};
use crate::store::chain::{ChainHash, Head, Link, Walk};
use crate::store::{Error, codec};

/// How many rows are read at once.
const PAGE: i64 = 2000;

const HEAD: Sql =
    Sql { text: "SELECT sequence, time_us, hash FROM bank_head WHERE one = 1", types: &[] };
const RECORDS: Sql = Sql {
    text: "SELECT sequence, time_us, request_id, kind, debit, credit, debit_before, \
               credit_before, record, checksum \
           FROM bank_records WHERE sequence > $1 ORDER BY sequence LIMIT $2",
    types: &[Type::INT8, Type::INT8],
};

/// What is wrong with books in a database.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// A record is missing, or is not what it should be.
    #[error("{0}")]
    Record(Error),
    /// A table doesn't say what follows from the records.
    #[error("{table}: {cause}")]
    Table {
        /// Which.
        table: &'static str,
        /// What it says and should say.
        cause: String,
    },
    /// They can't be read to the end. They may be right all the same.
    #[error("{0}")]
    Unread(String),
}

impl From<Trouble> for Wrong {
    fn from(trouble: Trouble) -> Self {
        Self::Unread(trouble.to_string())
    }
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Trouble(trouble) => trouble.into(),
            Failure::Store(error) => Self::Record(error),
        }
    }
}

/// Books in a database.
pub struct DatabaseArchive {
    engine: Arc<Engine>,
    ledger_id: LedgerId,
}

impl DatabaseArchive {
    /// Opens books to look at them.
    ///
    /// # Errors
    ///
    /// [`SchemaError`] when the engine can't be reached or says no, or the tables are not those of this bank.
    pub async fn open(settings: &EngineSettings) -> Result<Self, SchemaError> {
        let engine = Engine::new(settings).map_err(SchemaError::Refused)?;
        let ledger_id = Box::pin(schema::open(&engine)).await?;
        Ok(Self::over(Arc::new(engine), ledger_id))
    }

    pub(super) fn over(engine: Arc<Engine>, ledger_id: LedgerId) -> Self {
        Self { engine, ledger_id }
    }

    /// The ledger whose books they are.
    #[must_use]
    pub fn ledger_id(&self) -> LedgerId {
        self.ledger_id
    }

    /// The newest record, as the head row says. Nothing else was looked at.
    ///
    /// # Errors
    ///
    /// [`Wrong`] when it can't be read.
    pub async fn head(&self) -> Result<Head, Wrong> {
        let rows = self.engine.read(async |session| session.one(&HEAD, &[]).await).await?;
        let (sequence, hash) = read_head(&rows)?;
        let hash = hash.ok_or_else(|| wrong("bank_head", "its hash is no hash"))?;
        Ok(Head { sequence, hash })
    }

    /// Checks everything: every record and their chain, all balances worked out from nothing, and every
    /// table against them. A record that was noted down must be there unchanged. `progress` is told how far
    /// it is. Answers the newest record, and how many transactions there are.
    ///
    /// # Errors
    ///
    /// [`Wrong`] with the first thing that is.
    pub async fn verify(
        &self,
        noted: Option<Head>,
        mut progress: impl FnMut(Sequence),
    ) -> Result<(Head, u64), Wrong> {
        let mut walk = Walk::new(self.ledger_id, noted);
        let mut expected = Expected::new(self.ledger_id);
        let mut take = |row: &Row, record: Record| {
            let sequence = record.sequence;
            expected.take(row, &record)?;
            progress(sequence);
            Ok(())
        };
        let session = self.engine.reader().await?;
        self.read_on(&session, &mut walk, &mut take).await?;
        self.begin_snapshot(&session).await?;
        self.read_on(&session, &mut walk, &mut take).await?;
        let head = self.end(&session, &walk).await?;
        let transactions = expected.compare(&session).await?;
        session.batch("ROLLBACK").await?;
        session.give_back();
        Ok((head, transactions))
    }

    /// Goes along all records and their chain, each with its stored form: where they end.
    ///
    /// # Errors
    ///
    /// The error of `each`, or [`Wrong`] with the first record that is.
    pub async fn scan(
        &self,
        mut each: impl FnMut(Sequence, &[u8]) -> Result<(), Wrong>,
    ) -> Result<Head, Wrong> {
        let mut walk = Walk::new(self.ledger_id, None);
        let mut take = |row: &Row, record: Record| each(record.sequence, column(row, "record")?);
        let session = self.engine.reader().await?;
        self.read_on(&session, &mut walk, &mut take).await?;
        self.begin_snapshot(&session).await?;
        self.read_on(&session, &mut walk, &mut take).await?;
        let head = self.end(&session, &walk).await?;
        session.batch("ROLLBACK").await?;
        session.give_back();
        Ok(head)
    }

    /// Goes along the records that come after where a walk is.
    async fn read_on(
        &self,
        session: &Session,
        walk: &mut Walk,
        each: &mut dyn FnMut(&Row, Record) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        loop {
            let after = match walk.head().sequence.number() {
                // Nothing stands before the first.
                0 => i64::MIN,
                last => last.cast_signed(),
            };
            let rows = within(self.engine.timeout, session.one(&RECORDS, &[&after, &PAGE])).await?;
            for row in &rows {
                let stored: &[u8] = column(row, "record")?;
                let link = Link {
                    number: column(row, "sequence")?,
                    hash: ChainHash::of(stored),
                    checksum: column(row, "checksum")?,
                };
                let read = || {
                    let linked = codec::decode(stored)?;
                    Ok((linked.record.sequence, linked.record, linked.previous_hash))
                };
                let record = walk.step(link, read).map_err(Wrong::Record)?;
                each(row, record)?;
            }
            if rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
                return Ok(());
            }
        }
    }

    /// From now on, all that is read is of one moment.
    async fn begin_snapshot(&self, session: &Session) -> Result<(), Trouble> {
        let limit = self.engine.timeout.as_millis();
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {limit}"
        );
        within(self.engine.timeout, session.batch(&begin)).await
    }

    /// Whether a walk has come to the head row.
    async fn end(&self, session: &Session, walk: &Walk) -> Result<Head, Wrong> {
        let rows = within(self.engine.timeout, session.one(&HEAD, &[])).await?;
        let (sequence, hash) = read_head(&rows)?;
        walk.end(sequence, hash).map_err(Wrong::Record)
    }
}

impl std::fmt::Debug for DatabaseArchive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseArchive")
            .field("ledger_id", &self.ledger_id)
            .finish_non_exhaustive()
    }
}

fn read_head(rows: &[Row]) -> Result<(Sequence, Option<ChainHash>), Wrong> {
    let row = rows.first().ok_or_else(|| wrong("bank_head", "there is no head row"))?;
    Ok((rows::sequence(column(row, "sequence")?), ChainHash::read(column(row, "hash")?)))
}

/// What is wrong with a table.
pub(super) fn wrong(table: &'static str, cause: impl Into<String>) -> Wrong {
    Wrong::Table { table, cause: cause.into() }
}
