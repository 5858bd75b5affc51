//! The live feed: every transaction once and in order, from a place in the ledger on.
//!
//! A watcher reads the ledger from where it stands, a page at a time, whenever its reader wants more, and
//! waits when it has read everything; nothing is buffered for it. **Invariants:** no gap at the seam
//! between what was there and what comes, because it begins to wait before it looks; nothing is sent that
//! is not durable, because a page is not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::try_unfold;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::ledger::{AccountId, Sequence};
use crate::store::{Changes, Cursor, LinkedRecord, Store, TransactionQuery};

use super::access::Permit;
use super::page_token::PageTokens;
use super::status::Error;
use super::within::Within;
use super::{proto, render};

/// How long a reader hears nothing before it is told that the feed is alive. The API promises a message
/// every 15 seconds.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How many records a reader that had caught up, and has more than a page waiting for it, may fall behind.
/// What it misses costs nothing to keep; but one that will never catch up should know.
const MAX_LAG: u64 = 65_536;

/// How many records a watcher reads at once. They are kept until its reader has taken them: half a megabyte
/// for a reader that has stalled, where each has every label that is allowed.
const PAGE_SIZE: usize = 64;

/// What a watcher was asked for.
pub(super) struct Watch {
    pub(super) account_id: Option<AccountId>,
    /// The last record that the reader has seen.
    pub(super) after: Sequence,
    pub(super) tokens: PageTokens,
    pub(super) changes: Changes,
    /// What its reader may see.
    pub(super) permit: Arc<Permit>,
}

struct Watcher<S> {
    store: Arc<S>,
    watch: Watch,
    /// Read, and not yet sent.
    page: VecDeque<LinkedRecord>,
    /// Up to where everything was read.
    read: Sequence,
    has_begun: bool,
    has_caught_up: bool,
}

/// The messages of a feed. The first comes at once, so that the reader has a token to resume from.
pub(super) fn messages<S: Store>(
    store: Arc<S>,
    watch: Watch,
) -> impl Stream<Item = Result<proto::WatchTransactionsResponse, Error>> {
    let watcher = Watcher {
        store,
        read: watch.after,
        watch,
        page: VecDeque::new(),
        has_begun: false,
        has_caught_up: false,
    };
    try_unfold(watcher, async |mut watcher| {
        let message = watcher.next().await?;
        Ok(Some((message, watcher)))
    })
}

impl<S: Store> Watcher<S> {
    async fn next(&mut self) -> Result<proto::WatchTransactionsResponse, Error> {
        if !std::mem::replace(&mut self.has_begun, true) {
            return Ok(self.heartbeat());
        }
        loop {
            if let Some(linked) = self.page.pop_front() {
                return self.message(&linked);
            }
            let changes = self.watch.changes.clone();
            let change = changes.next();
            tokio::pin!(change);
            // From here on no change is missed, so what the page lacks is waited for.
            change.as_mut().enable();
            let is_all = self.read_page().await?;
            if !self.page.is_empty() {
                continue;
            }
            if !is_all {
                // Nothing on this page is the reader's: others go first before the next is read.
                yield_now().await;
            } else if timeout(HEARTBEAT, change).await.is_err() {
                return Ok(self.heartbeat());
            }
        }
    }

    /// Reads on; tells whether that was all there is.
    async fn read_page(&mut self) -> Result<bool, Error> {
        let head = self.store.head().await?;
        let query = TransactionQuery {
            account_id: self.watch.account_id.clone(),
            start_time: None,
            end_time: None,
            types: Vec::new(),
            oldest_first: true,
            cursor: Some(Cursor { after: self.read, until: head }),
            page_size: PAGE_SIZE,
        };
        let permit = &self.watch.permit;
        permit.check_still().await.inspect_err(|error| permit.tell_denied(error))?;
        let within = Within { store: &*self.store, permit };
        let page = within.transactions(&query).await??;
        self.read = page.next.map_or(head, |cursor| cursor.after);
        let lag = head.number().saturating_sub(self.read.number());
        if self.has_caught_up && lag > MAX_LAG && !page.records.is_empty() {
            return Err(Error::WatcherTooSlow);
        }
        self.page = page.records.into();
        self.has_caught_up |= page.next.is_none();
        Ok(page.next.is_none())
    }

    fn message(
        &mut self,
        linked: &LinkedRecord,
    ) -> Result<proto::WatchTransactionsResponse, Error> {
        let record = &linked.record;
        self.watch.after = record.sequence;
        let asked_about = self.watch.account_id.as_ref();
        let transaction = render::transaction(self.store.ledger_id(), record, asked_about)?;
        Ok(proto::WatchTransactionsResponse {
            transaction: Some(self.watch.permit.shown(transaction)),
            resume_token: self.watch.tokens.seal_sequence(record.sequence),
        })
    }

    /// Everything before it was sent, so the reader may resume from as far as was read.
    fn heartbeat(&mut self) -> proto::WatchTransactionsResponse {
        self.watch.after = self.read;
        proto::WatchTransactionsResponse {
            transaction: None,
            resume_token: self.watch.tokens.seal_sequence(self.watch.after),
        }
    }
}
