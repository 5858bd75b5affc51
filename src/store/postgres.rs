//! The store over an SQL engine: any number of processes, none with state of its own.
//!
//! Requests that wait together become one transaction ([`group`]). It locks the head row, loads what the
//! requests are about ([`sheet`]), decides in memory as every store does, and writes what came of it
//! ([`mod@write`]). **Invariants:** the head row's lock puts all groups of all processes into one order; what
//! is in the tables was committed, and so is durable as far as the engine keeps its word; of what another process
//! could change nothing is used here that the head row doesn't vouch for ([`known`]).

mod archive;
mod compare;
mod engine;
mod figures;
mod group;
mod import;
mod keeper;
mod known;
mod numbers;
mod reads;
mod rows;
mod schema;
mod sheet;
mod wanted;
mod write;

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use self::engine::Engine;
use self::group::{Answer, Groups, Queue, Work, into_error};
use self::keeper::Waiting;
use self::known::Known;
use self::rows::Failure;
use crate::clock::Clock;
use crate::ledger::{
    AccountId, Currency, Hold, HoldId, LedgerId, Refusal, Request, Sequence, Time, Totals,
};

pub use self::archive::{DatabaseArchive, Wrong};
pub use self::engine::EngineSettings;
pub use self::import::{Import, ImportError};
pub use self::schema::SchemaError;

use super::{
    AccountPage, AccountQuery, AccountView, BatchRefused, Changes, EachAnswer, Error, Executed,
    Figures, HoldPage, HoldQuery, LinkedRecord, PastBalance, RecordKey, Store, TransactionPage,
    TransactionQuery, Writing,
};

/// Keeps the books in an SQL engine that speaks PostgreSQL's protocol.
pub struct PostgresStore<C> {
    engine: Arc<Engine>,
    ledger_id: LedgerId,
    clock: Arc<C>,
    queue: Queue,
    waiting: Arc<Waiting>,
    writing: Arc<Writing>,
    reachable: watch::Receiver<bool>,
    keepers: Vec<AbortHandle>,
}

/// Makes the tables, or brings them up to date: from which version to which. A new ledger gets the given
/// name.
///
/// # Errors
///
/// [`SchemaError`] when the engine can't be reached or says no, or the tables are of a later bank.
pub async fn migrate(
    settings: &EngineSettings,
    ledger_id: LedgerId,
) -> Result<(i32, i32), SchemaError> {
    let engine = Engine::new(settings).map_err(SchemaError::Refused)?;
    schema::migrate(&engine, ledger_id).await
}

impl<C: Clock> PostgresStore<C> {
    /// Opens the books.
    ///
    /// # Errors
    ///
    /// [`SchemaError`] when the engine can't be reached or says no, or the tables are not those of this bank.
    pub async fn open(settings: &EngineSettings, clock: C) -> Result<Self, SchemaError> {
        let engine = Arc::new(Engine::new(settings).map_err(SchemaError::Refused)?);
        let ledger_id = Box::pin(schema::open(&engine)).await?;

        let clock = Arc::new(clock);
        let committed = Arc::new(Notify::new());
        let waiting = Arc::new(Waiting::default());
        let (reachable, is_reachable) = watch::channel(true);
        let keepers = vec![
            tokio::spawn(keeper::watch_pulse(
                engine.clone(),
                ledger_id,
                clock.clone(),
                reachable.clone(),
            ))
            .abort_handle(),
            tokio::spawn(keeper::feed(engine.clone(), waiting.clone(), committed.clone()))
                .abort_handle(),
            tokio::spawn(keeper::sweep_holds(engine.clone())).abort_handle(),
        ];
        let groups = Groups {
            engine: engine.clone(),
            ledger_id,
            clock: clock.clone(),
            reachable,
            committed,
            writing: Arc::default(),
            known: Known::default(),
        };
        let observed = groups.writing.clone();
        let queue = groups.start();
        Ok(Self {
            engine,
            ledger_id,
            clock,
            queue,
            waiting,
            writing: observed,
            reachable: is_reachable,
            keepers,
        })
    }

    async fn each(&self, requests: Vec<Request>) -> Result<EachAnswer, Error> {
        match self.execute_work(Work::Each(requests)).await? {
            Answer::Each(each) => Ok(each),
            Answer::All(_) => Err(Error::Unreachable),
        }
    }

    async fn execute_work(&self, work: Work) -> Result<Answer, Error> {
        self.while_reachable(self.queue.execute(work)).await
    }

    async fn read<T>(&self, read: impl Future<Output = Result<T, Failure>>) -> Result<T, Error> {
        // Each layer around it would copy it otherwise.
        let read = Box::pin(read);
        self.while_reachable(async { read.await.map_err(into_error) }).await
    }

    /// Nobody waits for an engine that is known to be away. What is queued is done all the same, if it comes
    /// back soon.
    async fn while_reachable<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut reachable = self.reachable.clone();
        if !*reachable.borrow_and_update() {
            return Err(Error::Unreachable);
        }
        tokio::select! {
            biased;
            done = work => done,
            _ = reachable.wait_for(|is_reachable| !*is_reachable) => Err(Error::Unreachable),
        }
    }
}

impl<C> Drop for PostgresStore<C> {
    fn drop(&mut self) {
        for keeper in &self.keepers {
            keeper.abort();
        }
    }
}

impl<C> std::fmt::Debug for PostgresStore<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").field("ledger_id", &self.ledger_id).finish_non_exhaustive()
    }
}

impl<C: Clock> Store for PostgresStore<C> {
    fn ledger_id(&self) -> LedgerId {
        self.ledger_id
    }

    fn reachable(&self) -> Option<watch::Receiver<bool>> {
        Some(self.reachable.clone())
    }

    async fn figures(&self) -> Result<Figures, Error> {
        self.read(self.read_figures()).await
    }

    fn writing(&self) -> Option<Arc<Writing>> {
        Some(self.writing.clone())
    }

    async fn execute(&self, request: Request) -> Result<Result<Executed, Refusal>, Error> {
        self.each(vec![request]).await?.pop().ok_or(Error::Unreachable)
    }

    async fn execute_each(&self, requests: Vec<Request>) -> Result<EachAnswer, Error> {
        self.each(requests).await
    }

    async fn execute_all(
        &self,
        requests: Vec<Request>,
    ) -> Result<Result<Vec<Executed>, BatchRefused>, Error> {
        match self.execute_work(Work::All(requests)).await? {
            Answer::All(all) => Ok(all),
            Answer::Each(_) => Err(Error::Unreachable),
        }
    }

    async fn hold(&self, id: &HoldId) -> Result<Result<Hold, Refusal>, Error> {
        self.read(self.read_hold(id)).await
    }

    async fn holds(&self, query: &HoldQuery) -> Result<Result<HoldPage, Refusal>, Error> {
        self.read(self.page_of_holds(query)).await
    }

    async fn account(&self, id: &AccountId) -> Result<Result<AccountView, Refusal>, Error> {
        self.read(self.read_account(id)).await
    }

    async fn accounts(&self, query: &AccountQuery) -> Result<AccountPage, Error> {
        self.read(self.page_of_accounts(query)).await
    }

    async fn balance_at(
        &self,
        id: &AccountId,
        time: Time,
    ) -> Result<Result<PastBalance, Refusal>, Error> {
        self.read(self.read_balance_at(id, time)).await
    }

    async fn record(&self, key: &RecordKey) -> Result<Option<LinkedRecord>, Error> {
        self.read(self.read_record(key)).await
    }

    async fn transactions(
        &self,
        query: &TransactionQuery,
    ) -> Result<Result<TransactionPage, Refusal>, Error> {
        self.read(self.page_of_transactions(query)).await
    }

    async fn head(&self) -> Result<Sequence, Error> {
        self.read(self.read_head()).await
    }

    async fn changes(
        &self,
        account_id: Option<&AccountId>,
    ) -> Result<Result<Changes, Refusal>, Error> {
        self.read(self.read_changes(account_id)).await
    }

    async fn totals(&self, currency: Option<&Currency>) -> Result<Vec<(Currency, Totals)>, Error> {
        self.read(self.read_totals(currency)).await
    }
}
