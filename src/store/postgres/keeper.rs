//! What goes on beside requests: whether the engine can be reached, what other processes have written, and
//! holds that have expired.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::types::Type;

use super::engine::{Engine, Sql, Trouble};
use super::group::sweep;
use super::rows::{self, Failure, column};
use crate::clock::Clock;
use crate::ledger::{LedgerId, Time};
use crate::store::Changes;
use crate::store::watchers::Watchers;

/// How often the engine is asked for a sign of life, and how long for one: whoever waits for an engine that
/// has gone is told within a second.
const PULSE: Duration = Duration::from_millis(200);
const PULSE_TIMEOUT: Duration = Duration::from_millis(750);
/// How far this process's clock and the engine's may lie apart before the log says so, in microseconds.
const SKEW_MICROS: u64 = 1_000_000;
/// How often what other processes have written is looked for, when somebody waits for it.
const FEED: Duration = Duration::from_millis(50);
/// How often expired holds are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// How many new records are looked into; beyond that, everybody who waits is told.
const LOOK: i64 = 10_000;

/// Who waits for new transactions, by the number of the account.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Watchers<i64>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Watchers<i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of_ledger(&self) -> Changes {
        self.lock().of_ledger()
    }

    pub(super) fn of_account(&self, number: i64) -> Changes {
        self.lock().of_account(number)
    }
}

/// Tells whether the engine answers and still keeps this ledger, again and again.
pub(super) async fn watch_pulse(
    engine: Arc<Engine>,
    ledger_id: LedgerId,
    clock: Arc<impl Clock>,
    reachable: watch::Sender<bool>,
) {
    let mut is_skewed = false;
    let mut ticks = interval(PULSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (is_alive, why) = match feel_pulse(&engine, ledger_id).await {
            Ok(time) => {
                let apart = clock.now().micros().abs_diff(time.micros());
                let was_skewed = std::mem::replace(&mut is_skewed, apart > SKEW_MICROS);
                if is_skewed && !was_skewed {
                    tracing::warn!(
                        micros = apart,
                        "the clocks of this process and the engine differ; the ledger's time is that \
                         of whoever is ahead, and holds expire by it"
                    );
                }
                (true, String::new())
            }
            Err(failure) => (false, failure.to_string()),
        };
        reachable.send_if_modified(|was| {
            let is_new = *was != is_alive;
            match is_alive {
                true if is_new => tracing::info!("the engine can be reached again"),
                false if is_new => tracing::error!(why, "the engine can't be reached"),
                _ => {}
            }
            *was = is_alive;
            is_new
        });
    }
}

/// The engine's time, if it answers as it should.
async fn feel_pulse(engine: &Engine, ledger_id: LedgerId) -> Result<Time, Failure> {
    const ALIVE: Sql = Sql {
        text: "SELECT ledger_id, importing, \
                   (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us FROM bank_head WHERE one = 1",
        types: &[],
    };
    let rows = engine.pulse(&ALIVE, PULSE_TIMEOUT).await?;
    let head = rows.first().ok_or_else(|| Trouble::Broken("there is no head row".to_owned()))?;
    rows::check_ledger(head, ledger_id, false)?;
    rows::time(head, "now_us")
}

/// Wakes those who wait for new transactions, whoever made them.
pub(super) async fn feed(engine: Arc<Engine>, waiting: Arc<Waiting>, committed: Arc<Notify>) {
    const HEAD: Sql = Sql { text: "SELECT sequence FROM bank_head WHERE one = 1", types: &[] };
    const SIDES: Sql = Sql {
        text: "SELECT debit, credit FROM bank_records \
               WHERE sequence > $1 AND sequence <= $2 AND kind IS NOT NULL",
        types: &[Type::INT8, Type::INT8],
    };
    let mut ticks = interval(FEED);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: i64 = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = committed.notified() => {}
        }
        if !waiting.lock().is_waited_for() {
            continue;
        }
        let read = engine.read(async |session| {
            let rows = session.one(&HEAD, &[]).await?;
            let head = rows.first().map_or(Ok(0), |row| column(row, "sequence"));
            let Ok(head) = head else { return Ok((last, Vec::new())) };
            if head == last || head - last > LOOK {
                return Ok((head, Vec::new()));
            }
            Ok((head, session.one(&SIDES, &[&last, &head]).await?))
        });
        // While the engine is away, nothing is new; the pulse tells of that.
        let Ok((head, rows)) = read.await else { continue };
        if head == last {
            continue;
        }
        let sides = rows.iter().flat_map(|row| [column(row, "debit"), column(row, "credit")]);
        let sides: Result<Vec<i64>, Failure> = sides.collect();
        match sides {
            Ok(sides) if head - last <= LOOK => {
                if !sides.is_empty() {
                    waiting.lock().wake(sides);
                }
            }
            _ => waiting.lock().wake_all(),
        }
        last = head;
    }
}

/// Takes expired holds off their accounts' sums.
pub(super) async fn sweep_holds(engine: Arc<Engine>) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        loop {
            match sweep(&engine).await {
                Ok(0) => break,
                Ok(count) => tracing::debug!(count, "holds have expired"),
                Err(failure) => {
                    tracing::debug!(%failure, "holds that have expired could not be swept");
                    break;
                }
            }
        }
    }
}
