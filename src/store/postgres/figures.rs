//! How much the tables hold, for whoever watches over the bank.

use tokio_postgres::types::Type;

use super::PostgresStore;
use super::engine::Sql;
use super::rows::{Failure, column};
use crate::clock::Clock;
use crate::store::Figures;

/// Holds that have expired are not counted, swept or not; those that are held have an index of their own.
const FIGURES: Sql = Sql {
    text: "SELECT h.sequence AS records, \
               (SELECT COALESCE(sum(account_count), 0)::bigint FROM bank_currencies) AS accounts, \
               (SELECT count(*) FROM bank_holds \
                WHERE state = 1 AND expire_us > GREATEST(h.time_us, $1)) AS holds \
           FROM bank_head AS h WHERE h.one = 1",
    types: &[Type::INT8],
};

impl<C: Clock> PostgresStore<C> {
    pub(super) async fn read_figures(&self) -> Result<Figures, Failure> {
        let undurable = self.queue.undurable();
        let now = self.clock.now().micros();
        let rows = self.engine.read(async |session| session.one(&FIGURES, &[&now]).await).await?;
        let Some(row) = rows.first() else { return Ok(Figures::default()) };
        let number = |name| column::<i64>(row, name).map(i64::unsigned_abs);
        Ok(Figures {
            accounts: number("accounts")?,
            holds: number("holds")?,
            records: number("records")?,
            undurable,
        })
    }
}
