//! Bringing the records of a ledger, from wherever they were kept, into tables that are empty.
//!
//! Records come in groups, as those of any bank do, but decided already; each group is written with all that
//! follows from it. **Invariants:** nobody serves the books before all are there and were checked; an import
//! that was broken off goes on where it was.

use std::sync::Arc;

use bytes::Bytes;
use tokio_postgres::types::Type;

use super::archive::{DatabaseArchive, Wrong};
use super::engine::{Engine, EngineSettings, Sql, Trouble, within};
use super::known::Known;
use super::rows::{self, Failure, column};
use super::schema::{self, SchemaError};
use super::sheet::{self, Sheet, Whose};
use super::wanted::Wanted;
use super::write;
use crate::ledger::{LedgerId, Record, Sequence, Time};
use crate::store::chain::{ChainHash, Head, Link, Walk};
use crate::store::{Error, codec};

/// Why records can't be brought in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The tables can't be used.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// There are other books in them.
    #[error("there are books in it already")]
    NotEmpty,
    /// Others were being brought in.
    #[error("an import of other books into it was not finished: drop its tables to begin anew")]
    Other,
    /// A record is not the next one, or the tables are not what they should be in the end.
    #[error(transparent)]
    Wrong(#[from] Wrong),
}

impl From<Failure> for ImportError {
    fn from(failure: Failure) -> Self {
        Self::Wrong(failure.into())
    }
}

impl From<Trouble> for ImportError {
    fn from(trouble: Trouble) -> Self {
        Self::Wrong(trouble.into())
    }
}

/// Records on their way into tables.
pub struct Import {
    engine: Arc<Engine>,
    ledger_id: LedgerId,
    /// What is there.
    walk: Walk,
}

impl Import {
    /// Begins to bring in the records of a ledger, or goes on with it.
    ///
    /// # Errors
    ///
    /// [`ImportError`] when the engine can't be reached or says no, or there are other books in its tables.
    pub async fn begin(
        settings: &EngineSettings,
        ledger_id: LedgerId,
    ) -> Result<Self, ImportError> {
        let engine = Arc::new(Engine::new(settings).map_err(SchemaError::Refused)?);
        Box::pin(schema::check(&engine)).await?;
        let begin = within(engine.timeout, begin(&engine, ledger_id));
        let head = Box::pin(begin).await?;
        Ok(Self { engine, ledger_id, walk: Walk::after(head) })
    }

    /// Takes the next records, in their stored form. Those that are there already are passed over.
    ///
    /// # Errors
    ///
    /// [`ImportError`] when a record isn't the next one of the chain, or can't be written. What was taken
    /// before stays, and the import can be begun again.
    pub async fn take(&mut self, records: Vec<Bytes>) -> Result<(), ImportError> {
        let mut new = Vec::with_capacity(records.len());
        for stored in records {
            let head = self.walk.head();
            let hash = ChainHash::of(&stored);
            let linked = codec::decode(&stored).map_err(|error| {
                let (sequence, cause) = (head.sequence.next(), error.to_string());
                Wrong::Record(Error::Damaged { sequence, cause })
            })?;
            let sequence = linked.record.sequence;
            if sequence <= head.sequence {
                if sequence == head.sequence && hash != head.hash {
                    return Err(ImportError::Other);
                }
                continue;
            }
            let number = sequence.number().cast_signed();
            let link = Link { number, hash, checksum: hash.checksum() };
            let read = || Ok((sequence, linked.record, linked.previous_hash));
            new.push((self.walk.step(link, read).map_err(Wrong::Record)?, stored));
        }
        if new.is_empty() {
            return Ok(());
        }
        let written = within(self.engine.timeout, write_group(&self.engine, self.ledger_id, new));
        Ok(Box::pin(written).await?)
    }

    /// Checks everything, and lets the books be served: the newest record, and how many transactions there
    /// are. `progress` is told how far the check is.
    ///
    /// # Errors
    ///
    /// [`ImportError`] when they don't end with the given record, or something is wrong with them.
    pub async fn finish(
        self,
        end: Head,
        progress: impl FnMut(Sequence),
    ) -> Result<(Head, u64), ImportError> {
        const OPEN: Sql = Sql {
            text: "UPDATE bank_head SET importing = FALSE WHERE one = 1 AND hash = $1",
            types: &[Type::BYTEA],
        };
        let archive = DatabaseArchive::over(self.engine.clone(), self.ledger_id);
        let checked = archive.verify(None, progress).await?;
        if checked.0 != end {
            return Err(ImportError::Other);
        }
        let open = async {
            let session = self.engine.writer().await?;
            session.one(&OPEN, &[&end.hash.as_bytes().as_slice()]).await?;
            session.give_back();
            Ok::<_, Trouble>(())
        };
        within(self.engine.timeout, open).await?;
        Ok(checked)
    }
}

/// Takes the tables for the records of a ledger: what is there of them already.
async fn begin(engine: &Engine, ledger_id: LedgerId) -> Result<Head, ImportError> {
    const TAKE: Sql = Sql {
        text: "UPDATE bank_head SET ledger_id = $1, hash = $2, importing = TRUE WHERE one = 1",
        types: &[Type::INT8, Type::BYTEA],
    };
    let session = engine.writer().await?;
    session.batch(&sheet::begin(engine.timeout.as_millis())).await?;
    let rows = session.one(&sheet::HEAD, &[]).await?;
    let row = rows.first().ok_or_else(|| Trouble::Broken("there is no head row".to_owned()))?;
    let number = ledger_id.number().cast_signed();
    let sequence = rows::sequence(column(row, "sequence")?);
    let head = if sequence == Sequence::default() {
        let hash = ChainHash::before_all(ledger_id);
        session.one(&TAKE, &[&number, &hash.as_bytes().as_slice()]).await?;
        Head { sequence, hash }
    } else if !column::<bool>(row, "importing")? {
        return Err(ImportError::NotEmpty);
    } else if column::<i64>(row, "ledger_id")? != number {
        return Err(ImportError::Other);
    } else {
        let hash = ChainHash::read(column(row, "hash")?);
        let hash = hash.ok_or_else(|| Trouble::Broken("the head row's hash is none".to_owned()))?;
        Head { sequence, hash }
    };
    session.batch("COMMIT").await?;
    session.give_back();
    Ok(head)
}

/// Writes records and what follows from them, after those that are there.
async fn write_group(
    engine: &Engine,
    ledger_id: LedgerId,
    records: Vec<(Record, Bytes)>,
) -> Result<(), Failure> {
    let mut wanted = Wanted::default();
    for (record, _) in &records {
        wanted.add(&record.request, ledger_id);
    }
    // They were decided: none is a repeat.
    wanted.requests.clear();
    let session = engine.writer().await?;
    let whose = Whose { ledger_id, importing: true };
    let limit = engine.timeout.as_millis();
    // Their own times tell what has expired.
    let now = Time::from_micros(i64::MIN);
    let mut sheet = Sheet::load(&session, whose, &Known::default(), &wanted, now, limit).await?;
    for (record, stored) in records {
        if record.sequence != sheet.desk.last_sequence.next() {
            let cause = "another import has brought it in meanwhile".to_owned();
            return Err(Error::Damaged { sequence: record.sequence, cause }.into());
        }
        sheet.desk.take(&record);
        sheet.papers.file_stored(record, stored.to_vec());
    }
    write::commit(&session, &mut sheet, || {}, || {}).await?;
    session.give_back();
    Ok(())
}

impl std::fmt::Debug for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Import").field("ledger_id", &self.ledger_id).finish_non_exhaustive()
    }
}
