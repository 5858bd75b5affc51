//! When the next call begins: at once (closed loop), or at its place in a schedule (open loop).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::alarm::Alarm;
use super::tally::Window;

/// Calls at fixed times: this thread's share of a rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    start: Instant,
    /// Calls a second, of all threads together.
    rate: u64,
    thread: u64,
    threads: u64,
}

impl Schedule {
    pub(super) fn new(start: Instant, rate: u32, thread: u32, threads: u32) -> Self {
        Self { start, rate: rate.into(), thread: thread.into(), threads: threads.into() }
    }

    /// When the call with this number, from 0, is due.
    fn due(&self, number: u64) -> Instant {
        let number = u128::from(number * self.threads + self.thread);
        let nanos = number * 1_000_000_000 / u128::from(self.rate);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many calls are due before a time.
    fn due_before(&self, time: Instant) -> u64 {
        let nanos = time.saturating_duration_since(self.start).as_nanos();
        let all = (nanos * u128::from(self.rate)).div_ceil(1_000_000_000);
        let all = u64::try_from(all).unwrap_or(u64::MAX);
        all.saturating_sub(self.thread).div_ceil(self.threads)
    }
}

/// Tells the callers of one thread when to call.
#[derive(Debug)]
pub(super) struct Pace {
    window: Window,
    /// Set to end early.
    stop: Arc<AtomicBool>,
    /// None in a closed loop.
    schedule: Option<Schedule>,
    /// How many calls have got their turn, or wait for it.
    taken: Cell<u64>,
    /// How many there may be in all.
    limit: u64,
    /// Callers whose call isn't due yet, in order of their times.
    waiting: RefCell<VecDeque<(Instant, oneshot::Sender<()>)>>,
    has_waiting: Notify,
}

impl Pace {
    pub(super) fn new(
        window: Window,
        stop: Arc<AtomicBool>,
        schedule: Option<Schedule>,
        limit: Option<u64>,
    ) -> Self {
        Self {
            window,
            stop,
            schedule,
            taken: Cell::new(0),
            limit: limit.unwrap_or(u64::MAX),
            waiting: RefCell::default(),
            has_waiting: Notify::new(),
        }
    }

    /// Whether no further call begins.
    pub(super) fn is_over(&self) -> bool {
        self.taken.get() >= self.limit
            || self.stop.load(Ordering::Relaxed)
            || Instant::now() >= self.window.end
    }

    /// Waits for the time of the next call, and tells when it was due; none when it is over.
    pub(super) async fn turn(&self) -> Option<Instant> {
        let due = self.take()?;
        if self.schedule.is_some() && due > Instant::now() {
            let (bell, rung) = oneshot::channel();
            self.waiting.borrow_mut().push_back((due, bell));
            self.has_waiting.notify_one();
            // Whoever lets go of it wants it to go on.
            let _ = rung.await;
        }
        (!self.stop.load(Ordering::Relaxed)).then_some(due)
    }

    /// Calls that are due now, so many at the most.
    pub(super) fn further_turns(&self, count: usize) -> Vec<Instant> {
        let now = Instant::now();
        let is_due = || match &self.schedule {
            None => true,
            Some(schedule) => schedule.due(self.taken.get()) <= now,
        };
        let mut turns = Vec::new();
        while turns.len() < count && is_due() {
            let Some(due) = self.take() else { break };
            turns.push(due);
        }
        turns
    }

    fn take(&self) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        let number = self.taken.get();
        let due = match &self.schedule {
            None => Instant::now(),
            Some(schedule) => schedule.due(number),
        };
        if due >= self.window.end {
            return None;
        }
        self.taken.set(number + 1);
        Some(due)
    }

    /// Wakes callers when their calls are due, for as long as it is polled and the clock goes.
    pub(super) async fn ring(&self, alarm: &Alarm) -> io::Error {
        loop {
            let next = self.waiting.borrow().front().map(|(due, _)| *due);
            match next {
                None => self.has_waiting.notified().await,
                Some(due) => match alarm.at(due).await {
                    Ok(()) => self.ring_all_before(Instant::now()),
                    Err(error) => return error,
                },
            }
        }
    }

    /// Wakes everybody, also those whose calls aren't due.
    pub(super) fn ring_all(&self) {
        self.waiting.borrow_mut().clear();
    }

    fn ring_all_before(&self, now: Instant) {
        let mut waiting = self.waiting.borrow_mut();
        while waiting.front().is_some_and(|(due, _)| *due <= now) {
            waiting.pop_front();
        }
    }

    /// How many calls were due within the window, up to now, and have not got their turn.
    pub(super) fn unsent(&self) -> u64 {
        let until = self.window.end.min(Instant::now());
        let due = self.schedule.map_or(0, |schedule| schedule.due_before(until));
        due.saturating_sub(self.taken.get())
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Kind;
    use super::super::tally::Tally;
    use super::*;

    #[test]
    fn threads_share_a_schedule() {
        let start = Instant::now();
        let micros = |schedule: &Schedule| -> Vec<u128> {
            (0..3).map(|number| (schedule.due(number) - start).as_micros()).collect()
        };
        assert_eq!(micros(&Schedule::new(start, 1000, 0, 1)), [0, 1000, 2000]);
        assert_eq!(micros(&Schedule::new(start, 1000, 0, 2)), [0, 2000, 4000]);
        assert_eq!(micros(&Schedule::new(start, 1000, 1, 2)), [1000, 3000, 5000]);
        for (thread, millis, expected) in [(0, 0, 0), (0, 1, 1), (1, 1, 0), (0, 10, 5), (1, 10, 5)]
        {
            let schedule = Schedule::new(start, 1000, thread, 2);
            let time = start + Duration::from_millis(millis);
            assert_eq!(schedule.due_before(time), expected, "thread {thread}, {millis} ms");
        }
    }

    /// A bank that answers in a millisecond, but stands still for the second second of ten. In the open
    /// loop 1000 calls were due meanwhile, and each is charged with what was left of that second; in the
    /// closed loop there was one.
    #[test]
    fn a_stall_is_seen_in_an_open_loop() {
        const ANSWER: Duration = Duration::from_millis(1);
        let start = Instant::now();
        let second = |number| start + Duration::from_secs(number);
        let window = Window { start, measured_from: start, end: second(10) };
        let answered_at = |sent: Instant, time: Duration| {
            let begun = if (second(1)..second(2)).contains(&sent) { second(2) } else { sent };
            begun + time
        };

        let mut closed = Tally::new(window);
        let mut now = start;
        while now < window.end {
            let answer = answered_at(now, ANSWER);
            closed.answered(Kind::Transfer, 1, now, answer);
            now = answer;
        }

        let schedule = Schedule::new(start, 1000, 0, 1);
        let mut open = Tally::new(window);
        let mut now = start;
        for number in 0..schedule.due_before(window.end) {
            let due = schedule.due(number);
            // One caller: a call is sent when it is due and the one before it was answered. What comes late
            // is answered in half the time, so that it catches up.
            let sent = due.max(now);
            let answer = answered_at(sent, if sent > due { ANSWER / 2 } else { ANSWER });
            open.answered(Kind::Transfer, 1, due, answer);
            now = answer;
        }

        let p99 = |tally: &Tally| tally.all().latencies.value_at_quantile(0.99);
        assert!(p99(&closed) < 2_000, "closed: {} us", p99(&closed));
        assert!(p99(&open) > 900_000, "open: {} us", p99(&open));
        let p75 = open.all().latencies.value_at_quantile(0.75);
        assert!(p75 < 2_000, "open: {p75} us");
    }

    #[tokio::test]
    async fn what_could_not_be_sent_is_told() {
        let start = Instant::now();
        let window = Window { start, measured_from: start, end: start };
        let second_ago = start.checked_sub(Duration::from_secs(1)).expect("the clock has run");
        let schedule = Schedule::new(second_ago, 1000, 0, 1);
        let pace = Pace::new(window, Arc::default(), Some(schedule), None);
        assert_eq!(pace.turn().await, None);
        assert_eq!(pace.unsent(), 1000);
    }

    #[tokio::test]
    async fn a_limit_ends_it() {
        let start = Instant::now();
        let end = start + Duration::from_secs(3600);
        let window = Window { start, measured_from: start, end };
        let pace = Pace::new(window, Arc::default(), None, Some(3));
        assert!(pace.turn().await.is_some());
        assert_eq!(pace.further_turns(5).len(), 2);
        assert!(pace.is_over());
        assert_eq!(pace.turn().await, None);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_to_end() {
        let start = Instant::now();
        let end = start + Duration::from_secs(3600);
        let window = Window { start, measured_from: start, end };
        let stop = Arc::new(AtomicBool::new(false));
        let schedule = Schedule::new(start + Duration::from_secs(1800), 1, 0, 1);
        let pace = Pace::new(window, stop.clone(), Some(schedule), None);
        let waiting = pace.turn();
        let stopping = async {
            stop.store(true, Ordering::Relaxed);
            pace.ring_all();
        };
        let (turn, ()) = tokio::join!(waiting, stopping);
        assert_eq!(turn, None);
    }
}
