//! The bare ledger: the rules of `bank::ledger` over plain vectors, searched from end to end.
//!
//! It is what every store must agree with. There is no index, no journal and no stored form in it, so
//! what the stores do cleverly is checked against what is plainly right.

use std::sync::Mutex;

use bank::clock::Clock;
use bank::ledger::{
    AccountId, Balance, Books, Currency, Hold, HoldId, HoldState, LedgerId, Record, Refusal,
    Request, Sequence, Time, Totals, Turn, decide,
};
use bank::store::{
    AccountPage, AccountQuery, AccountView, BatchRefused, Changes, Cursor, EachAnswer, Error,
    Executed, Figures, HoldPage, HoldQuery, LinkedRecord, PastBalance, RecordKey, Store,
    TransactionPage, TransactionQuery,
};

use super::{LEDGER, ManualClock};

#[derive(Debug)]
pub(crate) struct ReferenceStore {
    clock: ManualClock,
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
struct State {
    books: Books,
    records: Vec<Record>,
    seen_time: Option<Time>,
    /// Whether reads move the time only where a hold has expired since.
    is_shared: bool,
    /// The time that will have been seen once what goes on is done.
    to_see: Option<Time>,
}

impl ReferenceStore {
    pub(crate) fn new(clock: &ManualClock) -> Self {
        let books = Books::new(LEDGER);
        let state =
            State { books, records: Vec::new(), seen_time: None, is_shared: false, to_see: None };
        Self { clock: clock.clone(), state: Mutex::new(state) }
    }

    /// What a store agrees with whose processes share nothing but tables: a read moves the ledger's time
    /// only where a hold has expired since, and tells that time otherwise.
    pub(crate) fn shared(clock: &ManualClock) -> Self {
        let store = Self::new(clock);
        store.with(|state| {
            state.is_shared = true;
            state.seen_time = Some(Time::from_micros(0));
        });
        store
    }

    /// What a restart makes it forget: the times that readers were told.
    pub(crate) fn restart(&self) {
        self.with(|state| state.seen_time = None);
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().expect("no test panics while it holds the books"))
    }
}

impl State {
    fn last_time(&self) -> Option<Time> {
        self.seen_time.max(self.records.last().map(|record| record.time))
    }

    fn see_time(&mut self, now: Time) -> Time {
        let time = self.last_time().map_or(now, |last| last.max(now));
        if self.is_shared && !self.has_expired_by(time) {
            return self.last_time().unwrap_or(time);
        }
        self.seen_time = Some(time);
        time
    }

    /// Whether a hold has expired since the last time that anybody was told.
    fn has_expired_by(&self, time: Time) -> bool {
        let last = self.last_time();
        self.books.holds_before(None, Sequence::new(u64::MAX)).any(|hold| {
            hold.state == HoldState::Held
                && Some(hold.expire_time) > last
                && hold.expire_time <= time
        })
    }

    /// What a group of requests does to the time of a shared store, whatever is recorded.
    fn begin(&mut self, now: Time) {
        let time = self.last_time().map_or(now, |last| last.next().max(now));
        if self.is_shared && self.has_expired_by(time) {
            self.to_see = Some(time);
        }
    }

    fn end(&mut self) {
        self.seen_time = self.seen_time.max(self.to_see.take());
    }

    fn execute(&mut self, request: Request, now: Time) -> Result<Executed, Refusal> {
        let answer = |record: Record, replayed| match record.outcome.clone() {
            Ok(_) => Ok(Executed { record: Box::new(record), replayed }),
            Err(refusal) => Err(refusal),
        };
        if let Some(id) = &request.id
            && let Some(first) =
                self.records.iter().find(|record| record.request.id.as_ref() == Some(id))
        {
            first.check_repeat(id, &request)?;
            return answer(first.clone(), true);
        }
        let time = self.last_time().map_or(now, |last| last.next().max(now));
        let sequence = Sequence::new(self.records.len() as u64 + 1);
        let original = request.command.original().and_then(|id| id.sequence_in(LEDGER));
        let original = self.records.iter().find(|record| Some(record.sequence) == original);
        let outcome = decide(&self.books, &request, Turn { sequence, time, original });
        match &outcome {
            Err(refusal) if request.id.is_none() || !refusal.is_kept() => {
                return Err(refusal.clone());
            }
            Ok(change) => {
                self.books.apply(change, sequence, time);
            }
            Err(_) => {}
        }
        let record = Record { sequence, time, request, outcome };
        self.records.push(record.clone());
        answer(record, false)
    }

    /// All or none, by way of a copy of everything.
    fn execute_all(
        &mut self,
        requests: Vec<Request>,
        now: Time,
    ) -> Result<Vec<Executed>, BatchRefused> {
        let copy = self.clone();
        let mut answers = Vec::new();
        for (index, request) in requests.into_iter().enumerate() {
            let known = self.records.len();
            let seen_time = self.last_time();
            match self.execute(request.clone(), now) {
                Ok(executed) => answers.push(executed),
                Err(refusal) => {
                    let is_new = self.records.len() > known;
                    *self = Self { seen_time, ..copy };
                    if is_new {
                        let sequence = Sequence::new(self.records.len() as u64 + 1);
                        let time = self.last_time().map_or(now, |last| last.next().max(now));
                        let outcome = Err(refusal.clone());
                        self.records.push(Record { sequence, time, request, outcome });
                    }
                    return Err(BatchRefused { index, refusal });
                }
            }
        }
        Ok(answers)
    }

    /// The record with every reversal that names it.
    fn link(&self, record: Record) -> LinkedRecord {
        use bank::ledger::Change;
        let reverses = |other: &&Record| matches!(&other.outcome, Ok(Change::Reversed { original, .. }) if *original == record.sequence);
        let reversals = self.records.iter().filter(reverses).map(|it| it.sequence);
        let mut newest: Vec<Sequence> = reversals.rev().take(LinkedRecord::MAX_REVERSALS).collect();
        newest.reverse();
        let reversed_by = newest;
        LinkedRecord { record, reversed_by }
    }

    fn page(&self, query: &TransactionQuery) -> TransactionPage {
        let last = Sequence::new(self.records.len() as u64);
        let until = query.cursor.map_or(last, |cursor| cursor.until);
        let is_on_page = |record: &&Record| {
            let Some(posting) = record.posting() else { return false };
            let movement = &posting.movement;
            record.sequence <= until
                && query.start_time.is_none_or(|start| record.time >= start)
                && query.end_time.is_none_or(|end| record.time < end)
                && (query.types.is_empty() || query.types.contains(&movement.kind))
                && query
                    .account_id
                    .as_ref()
                    .is_none_or(|account| movement.from == *account || movement.to == *account)
                && query.cursor.is_none_or(|cursor| {
                    if query.oldest_first {
                        record.sequence > cursor.after
                    } else {
                        record.sequence < cursor.after
                    }
                })
        };
        let mut records: Vec<Record> = self.records.iter().filter(is_on_page).cloned().collect();
        if !query.oldest_first {
            records.reverse();
        }
        let more = records.len() > query.page_size;
        records.truncate(query.page_size);
        let next =
            records.last().filter(|_| more).map(|record| Cursor { after: record.sequence, until });
        let records = records.into_iter().map(|record| self.link(record)).collect();
        TransactionPage { records, next }
    }
}

fn not_found(id: &AccountId) -> Refusal {
    Refusal::AccountNotFound { account_id: id.clone() }
}

impl Store for ReferenceStore {
    fn ledger_id(&self) -> LedgerId {
        LEDGER
    }

    /// Counted one by one.
    async fn figures(&self) -> Result<Figures, Error> {
        let now = self.clock.now();
        Ok(self.with(|state| {
            let now = state.last_time().map_or(now, |last| last.max(now));
            let accounts = state.books.accounts_from(std::ops::Bound::Unbounded, now);
            let accounts = accounts.filter(|one| !one.account.id.is_external()).count();
            let holds = state.books.holds_before(None, Sequence::new(u64::MAX));
            let held = holds.filter(|hold| hold.state_at(now) == HoldState::Held).count();
            Figures {
                accounts: accounts as u64,
                holds: held as u64,
                records: state.records.len() as u64,
                undurable: 0,
            }
        }))
    }

    async fn execute(&self, request: Request) -> Result<Result<Executed, Refusal>, Error> {
        let now = self.clock.now();
        Ok(self.with(|state| {
            state.begin(now);
            let answer = state.execute(request, now);
            state.end();
            answer
        }))
    }

    async fn execute_each(&self, requests: Vec<Request>) -> Result<EachAnswer, Error> {
        let now = self.clock.now();
        Ok(self.with(|state| {
            state.begin(now);
            let each = requests.into_iter().map(|request| state.execute(request, now)).collect();
            state.end();
            each
        }))
    }

    async fn execute_all(
        &self,
        requests: Vec<Request>,
    ) -> Result<Result<Vec<Executed>, BatchRefused>, Error> {
        let now = self.clock.now();
        Ok(self.with(|state| {
            state.begin(now);
            let all = state.execute_all(requests, now);
            state.end();
            all
        }))
    }

    async fn hold(&self, id: &HoldId) -> Result<Result<Hold, Refusal>, Error> {
        let now = self.clock.now();
        Ok(self.with(|state| {
            let now = state.see_time(now);
            let hold = state.books.hold(id).map(|hold| hold.seen_at(now));
            hold.ok_or_else(|| Refusal::HoldNotFound { hold_id: id.clone() })
        }))
    }

    /// From the records that placed them, not from any list.
    async fn holds(&self, query: &HoldQuery) -> Result<Result<HoldPage, Refusal>, Error> {
        let clock = self.clock.now();
        Ok(self.with(|state| {
            let now = state.see_time(clock);
            if let Some(id) = &query.account_id
                && state.books.number(id).is_none()
            {
                return Err(not_found(id));
            }
            let mut holds: Vec<Hold> = state
                .records
                .iter()
                .rev()
                .filter_map(|record| record.outcome.as_ref().ok()?.hold())
                .map(|hold| hold.placed)
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .rev()
                .filter(|placed| query.before.is_none_or(|before| *placed < before))
                .filter_map(|placed| state.books.hold(&HoldId::new(LEDGER, placed)))
                .map(|hold| hold.seen_at(now))
                .filter(|hold| {
                    query.account_id.as_ref().is_none_or(|account| *account == hold.account_id)
                        && query.state.is_none_or(|filter| filter.fits(hold.state))
                })
                .collect();
            let more = holds.len() > query.page_size;
            holds.truncate(query.page_size);
            let next = holds.last().filter(|_| more).map(|hold| hold.placed);
            Ok(HoldPage { holds, next })
        }))
    }

    async fn account(&self, id: &AccountId) -> Result<Result<AccountView, Refusal>, Error> {
        let now = self.clock.now();
        Ok(self.with(|state| {
            let time = state.see_time(now);
            let standing = state.books.account(id, time).ok_or_else(|| not_found(id));
            standing.map(|standing| AccountView { account: standing.to_account(), time })
        }))
    }

    async fn accounts(&self, query: &AccountQuery) -> Result<AccountPage, Error> {
        let now = self.clock.now();
        Ok(self.with(|state| {
            let time = state.see_time(now);
            let mut accounts: Vec<AccountView> = state
                .books
                .accounts_from(std::ops::Bound::Unbounded, time)
                .map(|standing| standing.to_account())
                .filter(|account| {
                    account.id.as_str().starts_with(&query.id_prefix)
                        && query.after.as_ref().is_none_or(|after| account.id > *after)
                        && query.currency.as_ref().is_none_or(|one| *one == account.currency)
                        && query.state.is_none_or(|one| one == account.state)
                })
                .map(|account| AccountView { account, time })
                .collect();
            accounts.sort_by(|one, other| one.account.id.cmp(&other.account.id));
            let more = accounts.len() > query.page_size;
            accounts.truncate(query.page_size);
            let next = accounts.last().filter(|_| more).map(|view| view.account.id.clone());
            AccountPage { accounts, next }
        }))
    }

    async fn balance_at(
        &self,
        id: &AccountId,
        time: Time,
    ) -> Result<Result<PastBalance, Refusal>, Error> {
        let now = self.clock.now();
        Ok(self.with(|state| {
            let time = time.min(state.see_time(now));
            let standing = state.books.account(id, time).ok_or_else(|| not_found(id))?;
            let currency = standing.account.currency.clone();
            let balance = state
                .records
                .iter()
                .take_while(|record| record.time <= time)
                .filter_map(|record| record.balance_of(id))
                .last()
                .unwrap_or_else(Balance::default);
            Ok(PastBalance { currency, balance, time })
        }))
    }

    async fn record(&self, key: &RecordKey) -> Result<Option<LinkedRecord>, Error> {
        Ok(self.with(|state| {
            let is_it = |record: &&Record| match key {
                RecordKey::Sequence(sequence) => record.sequence == *sequence,
                RecordKey::RequestId(id) => record.request.id.as_ref() == Some(id),
            };
            state.records.iter().find(is_it).cloned().map(|record| state.link(record))
        }))
    }

    async fn head(&self) -> Result<Sequence, Error> {
        Ok(self.with(|state| Sequence::new(state.records.len() as u64)))
    }

    /// It is polled in tests only; nobody waits for it.
    async fn changes(
        &self,
        account_id: Option<&AccountId>,
    ) -> Result<Result<Changes, Refusal>, Error> {
        Ok(self.with(|state| match account_id {
            Some(id) if state.books.number(id).is_none() => Err(not_found(id)),
            Some(_) | None => Ok(Changes::new(std::sync::Arc::default())),
        }))
    }

    async fn transactions(
        &self,
        query: &TransactionQuery,
    ) -> Result<Result<TransactionPage, Refusal>, Error> {
        Ok(self.with(|state| match &query.account_id {
            Some(id) if state.books.number(id).is_none() => Err(not_found(id)),
            Some(_) | None => Ok(state.page(query)),
        }))
    }

    /// Added up from the accounts, not from what the books say of themselves.
    async fn totals(&self, currency: Option<&Currency>) -> Result<Vec<(Currency, Totals)>, Error> {
        Ok(self.with(|state| {
            let mut totals = std::collections::BTreeMap::<Currency, Totals>::new();
            for account in state.books.accounts_from(std::ops::Bound::Unbounded, Time::default()) {
                let account = account.account;
                let one = totals.entry(account.currency.clone()).or_default();
                let posted = i128::from(account.balance.posted);
                if account.id.is_external() {
                    one.external_posted += posted;
                } else {
                    one.accounts_posted += posted;
                    one.account_count += 1;
                }
            }
            for posting in state.records.iter().filter_map(Record::posting) {
                let one = totals.entry(posting.movement.currency.clone()).or_default();
                one.transaction_count += 1;
            }
            totals.into_iter().filter(|(one, _)| currency.is_none_or(|it| it == one)).collect()
        }))
    }
}
