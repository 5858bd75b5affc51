//! The tables: brought up to date by `bank migrate`, one process at a time, and only looked at by `serve`.

use super::engine::{Engine, Session, Sql, Trouble};
use crate::ledger::LedgerId;
use crate::store::chain::ChainHash;

/// The steps from nothing to the present form, in order. The version of a schema is how many of them it
/// has gone through; a step is never changed once it was released.
const STEPS: [&str; 3] = [
    include_str!("../../../migrations/0001_books.sql"),
    include_str!("../../../migrations/0002_room_and_moments.sql"),
    include_str!("../../../migrations/0003_threads.sql"),
];

const VERSION: Sql = Sql { text: "SELECT version FROM bank_schema WHERE one = 1", types: &[] };

/// Why the tables can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// They are not there, or of an earlier version.
    #[error(
        "the tables have version {found}, and this bank needs version {needed}: run 'bank migrate' first"
    )]
    TooOld {
        /// Theirs.
        found: i32,
        /// This bank's.
        needed: i32,
    },
    /// A later bank has made them.
    #[error(
        "the tables have version {found}, and this bank knows versions up to {known}: use a newer bank"
    )]
    TooNew {
        /// Theirs.
        found: i32,
        /// This bank's.
        known: i32,
    },
    /// Records are being brought in, or were, and not to the end.
    #[error("the import into these books was not finished: run it again")]
    Importing,
    /// The engine says no.
    #[error("{0}")]
    Refused(String),
    /// The engine can't be reached.
    #[error("{0}")]
    Unreachable(String),
}

impl From<Trouble> for SchemaError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Lost(text) => Self::Unreachable(text),
            Trouble::InTheWay(text) | Trouble::Full(text) | Trouble::Broken(text) => {
                Self::Refused(text)
            }
        }
    }
}

fn newest() -> i32 {
    i32::try_from(STEPS.len()).unwrap_or(i32::MAX)
}

/// The ledger whose books these are, if the tables are those that this bank works with.
pub(super) async fn open(engine: &Engine) -> Result<LedgerId, SchemaError> {
    const LEDGER: Sql =
        Sql { text: "SELECT ledger_id, importing FROM bank_head WHERE one = 1", types: &[] };
    check(engine).await?;
    let rows = engine.read(async |session| session.one(&LEDGER, &[]).await).await?;
    let row = rows.first().ok_or_else(|| Trouble::Broken("there is no head row".to_owned()))?;
    if row.get("importing") {
        return Err(SchemaError::Importing);
    }
    Ok(LedgerId::new(row.get::<_, i64>("ledger_id").cast_unsigned()))
}

/// Whether the tables are those that this bank works with.
pub(super) async fn check(engine: &Engine) -> Result<(), SchemaError> {
    let found = engine
        .read(async |session| {
            const THERE: Sql = Sql {
                text: "SELECT count(*) FROM information_schema.tables \
                       WHERE table_name = 'bank_schema' AND table_schema = current_schema()",
                types: &[],
            };
            let there: i64 = session.one(&THERE, &[]).await?[0].get(0);
            if there == 0 { Ok(0) } else { version(session).await }
        })
        .await?;
    match found {
        found if found > newest() => Err(SchemaError::TooNew { found, known: newest() }),
        found if found < newest() => Err(SchemaError::TooOld { found, needed: newest() }),
        _ => Ok(()),
    }
}

async fn version(session: &Session) -> Result<i32, Trouble> {
    let rows = session.one(&VERSION, &[]).await?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}

/// Brings the tables up to date: from which version to which. A ledger without tables gets the given name.
pub(super) async fn migrate(
    engine: &Engine,
    ledger_id: LedgerId,
) -> Result<(i32, i32), SchemaError> {
    let session = engine.writer().await?;
    // Two processes that make the table at once can both find it missing; the loser tries again.
    let mut tries = 0;
    while let Err(error) = session
        .batch(
            "CREATE TABLE IF NOT EXISTS bank_schema \
             (one SMALLINT PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL); \
             INSERT INTO bank_schema (one, version) VALUES (1, 0) ON CONFLICT (one) DO NOTHING",
        )
        .await
    {
        tries += 1;
        if tries == 5 || !matches!(error, Trouble::Broken(_)) {
            return Err(error.into());
        }
    }
    session.batch("BEGIN; SELECT version FROM bank_schema WHERE one = 1 FOR UPDATE").await?;
    let found = version(&session).await?;
    if found > newest() {
        return Err(SchemaError::TooNew { found, known: newest() });
    }
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        session.batch(step).await?;
    }
    if found == 0 {
        let hash = data_encoding::HEXLOWER.encode(ChainHash::before_all(ledger_id).as_bytes());
        session
            .batch(&format!(
                "INSERT INTO bank_head (one, ledger_id, sequence, time_us, hash) \
                 VALUES (1, {}, 0, 0, '\\x{hash}')",
                ledger_id.number().cast_signed(),
            ))
            .await?;
    }
    session
        .batch(&format!("UPDATE bank_schema SET version = {} WHERE one = 1; COMMIT", newest()))
        .await?;
    session.give_back();
    Ok((found, newest()))
}
