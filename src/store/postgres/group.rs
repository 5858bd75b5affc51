//! Groups: requests that wait together go into one transaction, whoever sent them.
//!
//! **Invariants:** a refusal concerns nobody else; nothing is answered before its transaction is known to be
//! committed; what came of a commit whose answer was lost is looked up under the head row's lock, which is
//! free only when the lost transaction has ended, so nothing is done twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard, Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_postgres::types::Type;

use super::engine::{Engine, Sql, Trouble, within};
use super::known::{Known, Progress};
use super::rows::{self, Failure, column};
use super::sheet::{self, Sheet, Whose};
use super::wanted::Wanted;
use super::write;
use crate::clock::Clock;
use crate::ledger::{LedgerId, Request, Sequence, Time};
use crate::store::{BatchRefused, EachAnswer, Error, Executed, Writing};

/// How many requests one transaction takes, at the most, unless a single batch has more.
const GROUP: usize = 4000;
/// How many requests are worth a group of their own while another is at work.
const AHEAD: usize = 100;
/// How many callers may wait for a group, at the most.
const QUEUE: usize = 16_384;
/// How many groups one process has under way: while one is written and committed, the next is decided, and written
/// as well where it can be.
const LANES: usize = 2;
/// How long an engine that can't be reached is tried again: its callers are told within a second.
const PATIENCE: Duration = Duration::from_millis(700);

/// What is to be done together.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Each on its own, in order.
    Each(Vec<Request>),
    /// All or none.
    All(Vec<Request>),
}

impl Work {
    fn requests(&self) -> &[Request] {
        match self {
            Self::Each(requests) | Self::All(requests) => requests,
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    Each(EachAnswer),
    All(Result<Vec<Executed>, BatchRefused>),
}

struct Job {
    work: Work,
    caller: Caller,
    undurable: Undurable,
}

/// Who waits for an answer, and the runtime that wakes it.
struct Caller {
    answer: oneshot::Sender<Result<Answer, Error>>,
    runtime: Handle,
}

/// Tells everybody what came of it. Each runtime is woken once, and wakes its own callers: a wake from another
/// thread for every one of them costs more than writing its record.
fn tell(told: impl Iterator<Item = (Caller, Result<Answer, Error>)>) {
    let mut rooms: Vec<(Handle, Vec<_>)> = Vec::new();
    for (Caller { answer, runtime }, result) in told {
        match rooms.iter_mut().find(|(room, _)| room.id() == runtime.id()) {
            Some((_, waiting)) => waiting.push((answer, result)),
            None => rooms.push((runtime, vec![(answer, result)])),
        }
    }
    for (runtime, waiting) in rooms {
        // A runtime that has ended drops this, and has nobody who waits.
        runtime.spawn(async move {
            for (answer, result) in waiting {
                // Whoever has gone away will ask again.
                let _ = answer.send(result);
            }
        });
    }
}

/// The right to make up the next group.
type Turn<'a> = Option<MutexGuard<'a, mpsc::Receiver<Job>>>;

/// Counts requests as long as it is not known what came of them.
struct Undurable {
    all: Arc<AtomicU64>,
    count: u64,
}

impl Undurable {
    fn new(all: &Arc<AtomicU64>, work: &Work) -> Self {
        let count = work.requests().len() as u64;
        all.fetch_add(count, Ordering::Relaxed);
        Self { all: all.clone(), count }
    }
}

impl Drop for Undurable {
    fn drop(&mut self) {
        self.all.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// Where requests wait for the next group.
#[derive(Clone)]
pub(super) struct Queue {
    jobs: mpsc::Sender<Job>,
    undurable: Arc<AtomicU64>,
}

impl Queue {
    /// Does some work with the next group. The work goes on when nobody waits for its answer any more.
    pub(super) async fn execute(&self, work: Work) -> Result<Answer, Error> {
        let (answer, result) = oneshot::channel();
        let undurable = Undurable::new(&self.undurable, &work);
        let caller = Caller { answer, runtime: Handle::current() };
        let job = Job { work, caller, undurable };
        self.jobs.try_send(job).map_err(|_| Error::Overloaded)?;
        result.await.unwrap_or(Err(Error::Unreachable))
    }

    /// How many requests wait for their group to be committed.
    pub(super) fn undurable(&self) -> u64 {
        self.undurable.load(Ordering::Relaxed)
    }
}

/// Runs groups.
pub(super) struct Groups<C> {
    pub(super) engine: Arc<Engine>,
    pub(super) ledger_id: LedgerId,
    pub(super) clock: Arc<C>,
    /// Whether the engine can be reached.
    pub(super) reachable: watch::Sender<bool>,
    /// Told of every commit.
    pub(super) committed: Arc<Notify>,
    pub(super) writing: Arc<Writing>,
    pub(super) known: Known,
}

impl<C: Clock> Groups<C> {
    /// Begins to run groups. Ends when nobody can queue any more, once all that is queued is done.
    pub(super) fn start(self) -> Queue {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let (groups, jobs) = (Arc::new(self), Arc::new(Mutex::new(jobs)));
        for _ in 0..LANES {
            tokio::spawn(groups.clone().work_off(jobs.clone()));
        }
        Queue { jobs: sender, undurable: Arc::default() }
    }

    async fn work_off(self: Arc<Self>, jobs: Arc<Mutex<mpsc::Receiver<Job>>>) {
        loop {
            let mut jobs = jobs.lock().await;
            let Some(first) = jobs.recv().await else { return };
            let mut count = first.work.requests().len();
            let mut group = vec![first];
            fill(&mut group, &mut count, &mut jobs);
            if count < AHEAD || !self.known.is_alone() {
                self.known.until_next().await;
                fill(&mut group, &mut count, &mut jobs);
            }
            self.run(group, &mut Some(jobs)).await;
        }
    }

    /// Nobody makes up the next group before this one is decided, or can't be done as it is: until then it could not
    /// be begun, and whoever comes meanwhile belongs to it.
    async fn run(&self, group: Vec<Job>, turn: &mut Turn<'_>) {
        let (works, callers): (Vec<Work>, Vec<_>) =
            group.into_iter().map(|job| (job.work, (job.caller, job.undurable))).unzip();
        let results = self.settle(&works, turn).await;
        tell(callers.into_iter().map(|(caller, _)| caller).zip(results));
    }

    /// What came of each. When something among them can't be done, each half shows whether it is there.
    async fn settle(&self, works: &[Work], turn: &mut Turn<'_>) -> Vec<Result<Answer, Error>> {
        match self.commit(works, turn).await {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(Failure::Trouble(Trouble::Broken(_)) | Failure::Store(_)) if works.len() > 1 => {
                let (first, second) = works.split_at(works.len() / 2);
                let mut results = Box::pin(self.settle(first, &mut None)).await;
                results.extend(Box::pin(self.settle(second, &mut None)).await);
                results
            }
            Err(failure) => {
                let error = into_error(failure);
                works.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }

    /// Runs a group until it is committed, as often as that may help.
    async fn commit(&self, works: &[Work], turn: &mut Turn<'_>) -> Result<Vec<Answer>, Failure> {
        let began = Instant::now();
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(5))
            .with_max_delay(Duration::from_millis(200))
            .with_jitter()
            .without_max_times()
            .build();
        loop {
            if !*self.reachable.borrow() {
                return Err(Trouble::Lost("the engine can't be reached".to_owned()).into());
            }
            let mut sent = None;
            let (at_work, progress) = Progress::begin();
            let attempt = self.attempt(works, turn, &mut sent, &at_work, progress);
            let failure = match within(self.engine.timeout, attempt).await {
                Ok(answers) => {
                    self.committed.notify_one();
                    return Ok(answers);
                }
                Err(failure) => failure,
            };
            *turn = None;
            self.known.forget();
            drop(at_work);
            if let Some(sent) = sent
                && let Some(end) = sent.end
            {
                match within(PATIENCE, self.has_committed(end)).await {
                    Ok(true) => {
                        self.committed.notify_one();
                        return Ok(sent.answers);
                    }
                    Ok(false) => {}
                    Err(_) => {
                        let unknown = "what came of a commit can't be told".to_owned();
                        tracing::warn!(%failure, unknown);
                        // Whatever it was: nobody may do it again.
                        return Err(Trouble::Lost(unknown).into());
                    }
                }
            }
            let patience = match &failure {
                Failure::Trouble(Trouble::Lost(_)) => PATIENCE,
                Failure::Trouble(Trouble::InTheWay(_)) => self.engine.timeout,
                Failure::Trouble(Trouble::Full(_) | Trouble::Broken(_)) | Failure::Store(_) => {
                    Duration::ZERO
                }
            };
            let delay = delays.next().unwrap_or(PATIENCE);
            if began.elapsed() + delay > patience {
                tracing::warn!(%failure, "a group of requests was given up");
                return Err(failure);
            }
            self.writing.note_retry();
            tracing::debug!(%failure, ?delay, "a group of requests is tried again");
            sleep(delay).await;
        }
    }

    async fn attempt(
        &self,
        works: &[Work],
        turn: &mut Turn<'_>,
        sent: &mut Option<Sent>,
        at_work: &watch::Sender<bool>,
        progress: Progress,
    ) -> Result<Vec<Answer>, Failure> {
        let mut wanted = Wanted::default();
        for request in works.iter().flat_map(Work::requests) {
            wanted.add(request, self.ledger_id);
        }
        let session = self.engine.writer().await?;
        let limit = self.engine.timeout.as_millis();
        // Whoever has no turn may not be the next one.
        let foreseen = turn.is_some().then(|| self.known.foresee(&wanted)).flatten();
        let mut before = foreseen.as_ref().map(|foreseen| foreseen.before.clone());
        let mut ahead = None;
        if let Some(foreseen) = foreseen {
            ahead = Sheet::ahead(&session, self.ledger_id, foreseen, &wanted, limit).await?;
        }
        let (now, mut sheet) = if let Some(sheet) = ahead {
            (self.clock.now(), sheet)
        } else {
            before = None;
            self.known.until_next().await;
            let now = self.clock.now();
            let whose = Whose { ledger_id: self.ledger_id, importing: false };
            (now, Sheet::load(&session, whose, &self.known, &wanted, now, limit).await?)
        };
        let answers = decide(&mut sheet, now, works)?;
        self.known.note(&sheet, progress);
        *turn = None;
        if let Some(before) = &mut before {
            // Who has places waits for nobody who may be waiting for some: the engine wouldn't see the circle.
            before.until_in_place().await;
            write::write_records(&session, &mut sheet).await.map_err(overtaken)?;
            before.until_ended().await;
            sheet.confirm(&session, self.ledger_id).await?;
            at_work.send_replace(true);
        }
        let end = sheet.papers.new.last().map(|new| (new.record.sequence, sheet.mark));
        let began = Instant::now();
        let on_its_way = || *sent = Some(Sent { answers, end });
        let in_place = || {
            at_work.send_replace(true);
        };
        write::commit(&session, &mut sheet, on_its_way, in_place).await?;
        self.writing.sync_micros.observe_micros(began.elapsed());
        let size: usize = works.iter().map(|work| work.requests().len()).sum();
        self.writing.group_sizes.observe(size as u64);
        session.give_back();
        Ok(sent.take().map(|sent| sent.answers).unwrap_or_default())
    }

    /// Whether a group has been committed that ends with this record. Waits for its transaction to end.
    async fn has_committed(&self, (sequence, mark): (Sequence, i64)) -> Result<bool, Failure> {
        const THERE: Sql = Sql {
            text: "SELECT sequence FROM bank_records WHERE sequence = $1 AND mark = $2",
            types: &[Type::INT8, Type::INT8],
        };
        loop {
            let looked: Result<bool, Trouble> = async {
                let session = self.engine.writer().await?;
                session.batch(&sheet::begin(PATIENCE.as_millis())).await?;
                session.one(&sheet::HEAD, &[]).await?;
                let number = sequence.number().cast_signed();
                let rows = session.one(&THERE, &[&number, &mark]).await?;
                session.batch("ROLLBACK").await?;
                session.give_back();
                Ok(!rows.is_empty())
            }
            .await;
            match looked {
                Err(Trouble::Lost(_) | Trouble::InTheWay(_)) => {
                    sleep(Duration::from_millis(50)).await;
                }
                other => return Ok(other?),
            }
        }
    }
}

/// Takes those that wait into a group, as long as it has room.
fn fill(group: &mut Vec<Job>, count: &mut usize, jobs: &mut mpsc::Receiver<Job>) {
    while *count < GROUP
        && let Ok(job) = jobs.try_recv()
    {
        *count += job.work.requests().len();
        group.push(job);
    }
}

/// What it means that records can't be written without the lock: somebody else has taken their places.
fn overtaken(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Broken(text) => Trouble::InTheWay(text),
        other => other,
    }
}

/// A group that has gone out.
struct Sent {
    answers: Vec<Answer>,
    /// Its last record, and the mark on that, unless it has none.
    end: Option<(Sequence, i64)>,
}

fn decide(sheet: &mut Sheet, now: Time, works: &[Work]) -> Result<Vec<Answer>, Error> {
    let Sheet { desk, papers, .. } = sheet;
    let answers = works.iter().map(|work| {
        Ok(match work {
            Work::Each(requests) => {
                let each = requests.iter();
                let each = each.map(|request| desk.execute(papers, now, request.clone()));
                Answer::Each(each.collect::<Result<_, _>>()?)
            }
            Work::All(requests) => Answer::All(desk.execute_all(papers, now, requests.clone())?),
        })
    });
    answers.collect()
}

/// What callers are told; the log has the rest.
pub(super) fn into_error(failure: Failure) -> Error {
    match failure {
        Failure::Store(error) => error,
        Failure::Trouble(Trouble::Full(text)) => {
            tracing::error!(text, "the engine has no room");
            Error::Full
        }
        Failure::Trouble(Trouble::Broken(text)) => {
            tracing::error!(text, "the engine has refused a statement");
            Error::Unreachable
        }
        Failure::Trouble(Trouble::Lost(_) | Trouble::InTheWay(_)) => Error::Unreachable,
    }
}

/// Moves the ledger's time on, so that nobody decides at an earlier one any more.
pub(super) async fn move_time(engine: &Engine, now: Time) -> Result<(), Failure> {
    const MOVE: Sql = Sql {
        text: "UPDATE bank_head SET time_us = GREATEST(time_us, $1) WHERE one = 1 AND NOT importing",
        types: &[Type::INT8],
    };
    let work = async {
        let session = engine.writer().await?;
        session.one(&MOVE, &[&now.micros()]).await?;
        session.give_back();
        Ok::<_, Failure>(())
    };
    within(engine.timeout, work).await
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Trouble(trouble) => trouble.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

/// Takes holds that are seen to have expired off their accounts' sums, some hundreds at a time: how many it
/// were. Any number of processes may do so at once.
pub(super) async fn sweep(engine: &Engine) -> Result<usize, Failure> {
    const ANY: Sql = Sql {
        text: "SELECT o.placed FROM bank_head AS h JOIN bank_holds AS o \
               ON o.state = 1 AND o.expire_us <= h.time_us \
               WHERE h.one = 1 AND NOT h.importing LIMIT 1",
        types: &[],
    };
    const SWEEP: Sql = Sql {
        text: "UPDATE bank_holds SET state = $1 WHERE placed IN ( \
                   SELECT o.placed FROM bank_head AS h JOIN bank_holds AS o \
                   ON o.state = 1 AND o.expire_us <= h.time_us \
                   WHERE h.one = 1 AND NOT h.importing \
                   ORDER BY o.expire_us LIMIT 500) \
               RETURNING debit, amount",
        types: &[Type::INT2],
    };
    const LET_GO: Sql = Sql {
        text: "UPDATE bank_accounts AS a SET held = a.held - old.held FROM ( \
                   SELECT number, sum(amount) AS held FROM unnest($1, $2) AS one (number, amount) \
                   GROUP BY number) AS old \
               WHERE a.number = old.number",
        types: &[Type::INT8_ARRAY, Type::INT8_ARRAY],
    };
    let there = engine.read(async |session| session.one(&ANY, &[]).await).await?;
    if there.is_empty() {
        return Ok(0);
    }
    let sweep = async {
        let session = engine.writer().await?;
        session.batch(&sheet::begin(engine.timeout.as_millis())).await?;
        session.one(&sheet::HEAD, &[]).await?;
        let swept = session.one(&SWEEP, &[&rows::SWEPT]).await?;
        let mut numbers: Vec<i64> = Vec::new();
        let mut amounts: Vec<i64> = Vec::new();
        for row in &swept {
            numbers.push(column(row, "debit")?);
            amounts.push(column(row, "amount")?);
        }
        session.one(&LET_GO, &[&numbers, &amounts]).await?;
        session.batch("COMMIT").await?;
        session.give_back();
        Ok(swept.len())
    };
    within(engine.timeout, sweep).await
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Runtime;

    use super::*;

    fn runtime() -> Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
    }

    fn result(number: u64) -> Result<Answer, Error> {
        Err(Error::Damaged { sequence: Sequence::new(number), cause: String::new() })
    }

    /// Callers of two runtimes, in turn, and one whose runtime has ended: each of the others gets what is its own.
    #[test]
    fn callers_are_told_on_whatever_runtime_they_wait() {
        let runtimes = [runtime(), runtime()];
        let has_ended = runtime().handle().clone();
        let mut callers = vec![Caller { answer: oneshot::channel().0, runtime: has_ended }];
        let mut waiting = Vec::new();
        for number in 1..=6 {
            let runtime = &runtimes[number % 2];
            let (answer, told) = oneshot::channel();
            callers.push(Caller { answer, runtime: runtime.handle().clone() });
            waiting.push((number as u64, runtime, runtime.spawn(told)));
        }
        tell(callers.into_iter().zip((0..).map(result)));
        for runtime in &runtimes {
            runtime.block_on(async {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
            });
        }
        for (number, runtime, task) in waiting {
            assert!(task.is_finished(), "{number} still waits");
            let told = runtime.block_on(task).expect("it does not panic").expect("it is told");
            assert_eq!(told.err(), result(number).err());
        }
    }
}
