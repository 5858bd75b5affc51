//! Floor 1: where the books are kept.
//!
//! A [`Store`] executes requests one at a time, as if there were no others, and answers reads that are
//! linearizable: what one caller has been told, every later caller sees. What is decided is not its
//! business; that is the ledger's.

mod bounds;
mod chain;
mod codec;
mod execute;
pub mod journal;
mod memory;
mod postgres;
mod request_index;
mod stats;
mod watchers;

use std::future::Future;
use std::sync::Arc;

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};

use crate::ledger::{
    Account, AccountId, AccountState, Balance, Currency, Hold, HoldId, HoldState, LedgerId, Record,
    Refusal, Request, RequestId, Sequence, Time, Totals, TransactionType,
};

pub use bounds::{Bound, Bounds};
pub use journal::Journal;
pub use memory::MemoryStore;
pub use postgres::{
    DatabaseArchive, EngineSettings, Import, ImportError, PostgresStore, SchemaError, Wrong,
    migrate,
};
pub use stats::{Figures, Writing};

/// Why a store can't answer. Its text is for the log; clients see only the status that it maps to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A record can't be read back as it was written.
    #[error("record {} is damaged: {cause}", sequence.number())]
    Damaged {
        /// Which record.
        sequence: Sequence,
        /// What is wrong with it.
        cause: String,
    },
    /// Records can't be kept any more, until the process is started again. Why was logged.
    #[error("the journal has failed")]
    Unavailable,
    /// What keeps the records can't be reached, or did not answer in time. A mutation may have taken effect.
    #[error("the database can't be reached")]
    Unreachable,
    /// A record can't be read now. It may be whole all the same.
    #[error("records can't be read: {cause}")]
    Unreadable {
        /// What the operating system or SQLite says.
        cause: String,
    },
    /// Too much waits to be written already; nothing was done.
    #[error("too much waits to be written")]
    Overloaded,
    /// There is too little room for further records; what is there can be read.
    #[error("there is too little free space")]
    Full,
    /// As much is kept as may be; nothing was done. What is there can be read, and repeats are answered.
    #[error("there are as many {} as may be", .0.name())]
    AtBound(Bound),
}

/// A request that took effect, now or when it was first sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// What was asked and what has changed; its outcome is a change, never a refusal.
    pub record: Box<Record>,
    /// Whether this is a repeat, answered from the record of the first.
    pub replayed: bool,
}

/// A batch that was refused as a whole, and had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRefused {
    /// Which of its requests was refused first: 0 for the first.
    pub index: usize,
    /// Why.
    pub refusal: Refusal,
}

/// What came of each request of a batch, in order.
pub type EachAnswer = Vec<Result<Executed, Refusal>>;

/// An account as it stood at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// The account.
    pub account: Account,
    /// The moment: no later entry has this time or an earlier one.
    pub time: Time,
}

/// Which accounts to list, from where on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountQuery {
    /// Only those of this currency.
    pub currency: Option<Currency>,
    /// Only those in this state.
    pub state: Option<AccountState>,
    /// Only those whose ids begin with this.
    pub id_prefix: String,
    /// Only those whose ids stand after this one.
    pub after: Option<AccountId>,
    /// At most so many, 1 or more.
    pub page_size: usize,
}

/// Some accounts, in order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountPage {
    /// The accounts.
    pub accounts: Vec<AccountView>,
    /// Where the next page begins, unless this is the last.
    pub next: Option<AccountId>,
}

/// Which holds to list, from where on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldQuery {
    /// Only those of this account's money.
    pub account_id: Option<AccountId>,
    /// Only those that stand so.
    pub state: Option<HoldFilter>,
    /// Only those that were placed before this record.
    pub before: Option<Sequence>,
    /// At most so many, 1 or more.
    pub page_size: usize,
}

/// How a hold may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are those of the API's HoldState")]
pub enum HoldFilter {
    Held,
    Captured,
    Released,
    Expired,
}

impl HoldFilter {
    /// Whether a hold stands so.
    #[must_use]
    pub fn fits(self, state: HoldState) -> bool {
        self == match state {
            HoldState::Held => Self::Held,
            HoldState::Captured { .. } => Self::Captured,
            HoldState::Released => Self::Released,
            HoldState::Expired => Self::Expired,
        }
    }
}

/// Some holds, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldPage {
    /// The holds, as they stand.
    pub holds: Vec<Hold>,
    /// The last hold that was looked at, unless this is the last page.
    pub next: Option<Sequence>,
}

/// Tells when there are new transactions.
#[derive(Clone, Debug)]
pub struct Changes(Arc<Notify>);

impl Changes {
    /// Tells what is notified of.
    #[must_use]
    pub fn new(notify: Arc<Notify>) -> Self {
        Self(notify)
    }

    /// The next change after this future was first polled or enabled.
    pub fn next(&self) -> Notified<'_> {
        self.0.notified()
    }
}

/// A record, and what later records say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedRecord {
    /// The record.
    pub record: Record,
    /// The records of its reversals, in order: the newest of them, when there are very many.
    pub reversed_by: Vec<Sequence>,
}

impl LinkedRecord {
    /// How many reversals are told of, at the most: anyone may move a million back in steps of 1.
    pub const MAX_REVERSALS: usize = 100;
}

/// How to find a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKey {
    /// By its place in the ledger.
    Sequence(Sequence),
    /// By the request that it answers.
    RequestId(RequestId),
}

/// Which transactions to list, from where on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionQuery {
    /// Only those with an entry on this account.
    pub account_id: Option<AccountId>,
    /// Only those at or after this time.
    pub start_time: Option<Time>,
    /// Only those before this time.
    pub end_time: Option<Time>,
    /// Only those of these types; all when empty.
    pub types: Vec<TransactionType>,
    /// Oldest first, instead of newest first.
    pub oldest_first: bool,
    /// Where an earlier page ended.
    pub cursor: Option<Cursor>,
    /// At most so many, 1 or more.
    pub page_size: usize,
}

/// Where a listing of transactions stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The last record that was looked at.
    pub after: Sequence,
    /// The last record that there was when the listing began: later ones are not part of it.
    pub until: Sequence,
}

/// Some transactions, in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionPage {
    /// Their records; each has a posting.
    pub records: Vec<LinkedRecord>,
    /// Where the next page begins, unless this is the last.
    pub next: Option<Cursor>,
}

impl TransactionPage {
    /// Where a page begins that has the records after this one of them. Whatever comes later is not part
    /// of the listing: neither what it did not reach, nor what was written since.
    ///
    /// # Panics
    ///
    /// When there are not so many records.
    #[must_use]
    pub fn cursor_after(&self, index: usize) -> Cursor {
        let sequences = self.records.iter().map(|linked| linked.record.sequence);
        let newest = sequences.max().unwrap_or_default();
        let until = self.next.map_or(newest, |next| next.until);
        Cursor { after: self.records[index].record.sequence, until }
    }
}

/// What an account had at a moment in the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastBalance {
    /// The account's currency.
    pub currency: Currency,
    /// The balance after the last entry at or before the moment.
    pub balance: Balance,
    /// The moment: the one asked for, or the present if that is earlier.
    pub time: Time,
}

/// Keeps the books.
///
/// Every method that finds a record broken answers [`Error::Damaged`].
pub trait Store: Send + Sync + 'static {
    /// The name of the ledger that it keeps.
    fn ledger_id(&self) -> LedgerId;

    /// Whether what keeps the records can be reached, and every change of that; none for a store that needs
    /// nobody else.
    fn reachable(&self) -> Option<watch::Receiver<bool>> {
        None
    }

    /// How much it keeps now. Told at once: it may rest on what is not durable yet.
    fn figures(&self) -> impl Future<Output = Result<Figures, Error>> + Send;

    /// How writing goes; none for a store that has nothing to wait for.
    fn writing(&self) -> Option<Arc<Writing>> {
        None
    }

    /// Executes a request, or answers a repeat from the record of the first.
    ///
    /// The work is done when the future is first polled, and is never taken back: dropping the future
    /// only ends the wait for its answer. A refusal that depends on the books is kept under the
    /// request's id and answered again to a repeat.
    fn execute(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Result<Executed, Refusal>, Error>> + Send;

    /// Executes requests in order, each on its own: each sees those before it, and a refusal concerns
    /// nobody else. As if each were sent alone, at once.
    fn execute_each(
        &self,
        requests: Vec<Request>,
    ) -> impl Future<Output = Result<EachAnswer, Error>> + Send;

    /// Executes requests in order, all or none: each sees those before it, and the first refusal takes
    /// back what was done. Nobody ever sees a part of it. The refusal itself is kept under the id of the
    /// request that it concerns, as always; the requests before it leave no trace.
    ///
    /// None of them may open or change an account.
    fn execute_all(
        &self,
        requests: Vec<Request>,
    ) -> impl Future<Output = Result<Result<Vec<Executed>, BatchRefused>, Error>> + Send;

    /// Reads a hold, as it stands; refused when it does not exist.
    fn hold(
        &self,
        id: &HoldId,
    ) -> impl Future<Output = Result<Result<Hold, Refusal>, Error>> + Send;

    /// Lists holds; refused when the account asked for does not exist. A page may come out short, or
    /// empty, before the last one: the work for one page is bounded.
    fn holds(
        &self,
        query: &HoldQuery,
    ) -> impl Future<Output = Result<Result<HoldPage, Refusal>, Error>> + Send;

    /// Reads an account; refused when it does not exist.
    fn account(
        &self,
        id: &AccountId,
    ) -> impl Future<Output = Result<Result<AccountView, Refusal>, Error>> + Send;

    /// Lists accounts. A page may come out short, or empty, before the last one: the work for one page
    /// is bounded.
    fn accounts(
        &self,
        query: &AccountQuery,
    ) -> impl Future<Output = Result<AccountPage, Error>> + Send;

    /// The balance of an account after its last entry at or before a time; refused when the account does
    /// not exist.
    fn balance_at(
        &self,
        id: &AccountId,
        time: Time,
    ) -> impl Future<Output = Result<Result<PastBalance, Refusal>, Error>> + Send;

    /// Finds a record, whatever it is of; `None` when there is none.
    fn record(
        &self,
        key: &RecordKey,
    ) -> impl Future<Output = Result<Option<LinkedRecord>, Error>> + Send;

    /// Lists transactions; refused when the account asked for does not exist. A page may come out short,
    /// or empty, before the last one: the work for one page is bounded.
    fn transactions(
        &self,
        query: &TransactionQuery,
    ) -> impl Future<Output = Result<Result<TransactionPage, Refusal>, Error>> + Send;

    /// The newest record, which is durable by then.
    fn head(&self) -> impl Future<Output = Result<Sequence, Error>> + Send;

    /// Tells of new transactions of an account, or of the whole ledger; refused when the account does not
    /// exist. What is new may not be durable yet.
    fn changes(
        &self,
        account_id: Option<&AccountId>,
    ) -> impl Future<Output = Result<Result<Changes, Refusal>, Error>> + Send;

    /// The totals of one currency, or of every currency that has an account, by currency.
    fn totals(
        &self,
        currency: Option<&Currency>,
    ) -> impl Future<Output = Result<Vec<(Currency, Totals)>, Error>> + Send;
}
