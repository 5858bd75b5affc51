//! The engine: threads that each have connections, callers on them, and a tally, which is collected while
//! they run.
//!
//! Each thread is one runtime of its own, so that callers share what they share without locks.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio::time::{interval, sleep};
use tonic::transport::Uri;
use uuid::Uuid;

use super::super::Failure;
use super::alarm::Alarm;
use super::callers::{self, Shared};
use super::http2;
use super::pace::{Pace, Schedule};
use super::plan::{Plan, Settings};
use super::tally::{Cause, Tally, Window};

/// How often what was noted is collected.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long a connection that broke is left alone before it is made again.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest time that anything takes.
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) endpoint: Uri,
    pub(super) what: Settings,
    pub(super) connections: u32,
    /// How many calls, or operations of streams, may be on their way.
    pub(super) in_flight: u32,
    pub(super) threads: u32,
    /// Calls a second; none for a closed loop.
    pub(super) rate: Option<u32>,
    /// When it ends.
    pub(super) until: Until,
    /// How long answers are waited for in the end.
    pub(super) timeout: Duration,
    /// Set to end early.
    pub(super) stop: Arc<AtomicBool>,
}

/// When a job ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// After so many calls or operations of a stream.
    Count(u64),
    /// After a time of warming up, and one in which is measured.
    Time { warm_up: Duration, measured: Duration },
}

impl Job {
    /// How many connections it uses: none is left without a caller.
    pub(super) fn used_connections(&self) -> u32 {
        self.connections.min(self.in_flight)
    }

    /// How many threads it uses: none is left without a connection.
    pub(super) fn used_threads(&self) -> u32 {
        self.threads.min(self.used_connections())
    }

    fn window(&self, start: Instant) -> Window {
        let (measured_from, end) = match self.until {
            Until::Count(_) => (start, start + FOREVER),
            Until::Time { warm_up, measured } => (start + warm_up, start + warm_up + measured),
        };
        Window { start, measured_from, end }
    }
}

/// Which share of a number the one with this place has, of so many.
fn share(number: u32, place: u32, of: u32) -> u32 {
    number / of + u32::from(place < number % of)
}

/// What a thread tells.
#[derive(Debug)]
enum Told {
    /// All its connections stand.
    Connected,
    /// It can't go on, and why.
    Failed(String),
    /// What was noted since it told last.
    Noted(Tally),
}

/// Does a job; `look` sees what was noted, a little at a time.
///
/// # Errors
///
/// [`Failure`] when there is no connection to begin with.
pub(super) async fn run(job: &Job, mut look: impl FnMut(&Tally)) -> Result<Tally, Failure> {
    let (begin, started) = watch::channel(None);
    let (tell, mut told) = unbounded_channel();
    for number in 0..job.used_threads() {
        let (job, started, tell) = (job.clone(), started.clone(), tell.clone());
        thread::spawn(move || work(number, job, started, tell));
    }
    drop(tell);
    wait_for_connections(&mut told, job.used_threads()).await?;
    let window = job.window(Instant::now());
    begin.send_replace(Some(window));
    let mut all = Tally::new(window);
    while let Some(news) = told.recv().await {
        match news {
            Told::Connected => {}
            Told::Failed(why) => return Err(Failure::Failed(why)),
            Told::Noted(tally) => {
                look(&tally);
                all.add(&tally);
            }
        }
    }
    Ok(all)
}

async fn wait_for_connections(
    told: &mut UnboundedReceiver<Told>,
    threads: u32,
) -> Result<(), Failure> {
    for _ in 0..threads {
        if let Some(Told::Failed(why)) = told.recv().await {
            return Err(Failure::Failed(why));
        }
    }
    Ok(())
}

type Line = (SendRequest<Bytes>, Connection<TcpStream, Bytes>);

/// The work of one thread.
fn work(
    number: u32,
    job: Job,
    mut started: watch::Receiver<Option<Window>>,
    tell: UnboundedSender<Told>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = tell.send(Told::Failed(error.to_string()));
            return;
        }
    };
    // Nobody listens any more when another thread has failed; then the beginning never comes either.
    LocalSet::new().block_on(&runtime, async move {
        let mut lines = Vec::new();
        for _ in 0..share(job.used_connections(), number, job.used_threads()) {
            match http2::connect(&job.endpoint).await {
                Ok(line) => lines.push(line),
                Err(why) => {
                    let why = format!("{} can't be reached: {why}", job.endpoint);
                    let _ = tell.send(Told::Failed(why));
                    return;
                }
            }
        }
        let _ = tell.send(Told::Connected);
        let Ok(window) = started.wait_for(Option::is_some).await.map(|window| *window) else {
            return;
        };
        if let Some(window) = window {
            serve(number, Rc::new(job), window, lines, &tell).await;
        }
    });
}

/// Calls over the lines of one thread until all is done, and tells what came of it.
async fn serve(
    number: u32,
    job: Rc<Job>,
    window: Window,
    lines: Vec<Line>,
    tell: &UnboundedSender<Told>,
) {
    let threads = job.used_threads();
    let schedule = job.rate.map(|rate| Schedule::new(window.start, rate, number, threads));
    let limit = match job.until {
        Until::Time { .. } => None,
        Until::Count(count) => {
            let number = u64::from(number);
            Some(count / u64::from(threads) + u64::from(number < count % u64::from(threads)))
        }
    };
    let (_, seed) = Uuid::new_v4().as_u64_pair();
    let requests = job.what.mix.iter();
    let shared = Rc::new(Shared {
        plan: RefCell::new(Plan::new(&job.what, seed)),
        pace: Pace::new(window, job.stop.clone(), schedule, limit),
        tally: RefCell::new(Tally::new(window)),
        requests: requests.map(|(kind, _)| (*kind, http2::request(&job.endpoint, *kind))).collect(),
        on_their_way: Cell::new(0),
    });
    let ringing = async {
        match schedule.map(|_| Alarm::new()) {
            None => pending().await,
            Some(Ok(alarm)) => shared.pace.ring(&alarm).await,
            Some(Err(error)) => error,
        }
    };
    let mut ringing = pin!(ringing);
    let callers = share(job.in_flight, number, threads);
    let count = u32::try_from(lines.len()).unwrap_or(u32::MAX);
    let mut talking = JoinSet::new();
    for (place, line) in (0..count).zip(lines) {
        let callers = share(callers, place, count);
        talking.spawn_local(talk(shared.clone(), job.clone(), line, callers));
    }
    let mut ticks = interval(INTERVAL);
    let mut over_since = None;
    loop {
        tokio::select! {
            error = &mut ringing => {
                let _ = tell.send(Told::Failed(format!("the clock fails: {error}")));
                return;
            }
            ended = talking.join_next() => if ended.is_none() { break },
            _ = ticks.tick() => {
                if shared.pace.is_over() {
                    shared.pace.ring_all();
                    if over_since.get_or_insert_with(Instant::now).elapsed() > job.timeout {
                        break;
                    }
                }
                let _ = tell.send(Told::Noted(shared.tally.borrow_mut().take()));
            }
        }
    }
    let mut tally = shared.tally.borrow_mut();
    tally.failed(Cause::unanswered(), shared.on_their_way.get(), Instant::now());
    tally.left_unsent(shared.pace.unsent());
    let _ = tell.send(Told::Noted(tally.take()));
}

/// Has so many callers call over one line, which is made anew when it breaks.
async fn talk(shared: Rc<Shared>, job: Rc<Job>, line: Line, in_flight: u32) {
    let mut line = Some(line);
    loop {
        if let Some((sender, connection)) = line {
            spawn_local(connection);
            let mut callers = JoinSet::new();
            if job.what.is_stream() {
                callers.spawn_local(callers::stream(shared.clone(), sender, in_flight));
            } else {
                for _ in 0..in_flight {
                    callers.spawn_local(callers::call(shared.clone(), sender.clone()));
                }
                // The connection ends when nobody can send any more.
                drop(sender);
            }
            callers.join_all().await;
        }
        if shared.pace.is_over() {
            return;
        }
        sleep(PAUSE).await;
        line = http2::connect(&job.endpoint).await.ok();
        if line.is_none() {
            shared.tally.borrow_mut().failed(Cause::broken(), 1, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for (number, of) in [(64, 8), (7, 8), (10, 3), (1, 1)] {
            let shares: Vec<u32> = (0..of).map(|place| share(number, place, of)).collect();
            assert_eq!(shares.iter().sum::<u32>(), number);
            let (least, most) = (shares.iter().min(), shares.iter().max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{shares:?}");
        }
    }
}
