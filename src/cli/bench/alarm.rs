//! A clock that rings to within a tenth of a millisecond; tokio's own timer has whole milliseconds, in which
//! an open loop of 40,000 calls a second would send 40 at once.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Instant;

use tokio::sync::Notify;

/// Rings at one time after another. Its thread ends with it.
#[derive(Debug)]
pub(super) struct Alarm {
    times: Sender<Instant>,
    rung: Arc<Notify>,
}

impl Alarm {
    pub(super) fn new() -> Self {
        let (times, asked) = channel::<Instant>();
        let rung = Arc::new(Notify::new());
        let bell = rung.clone();
        thread::spawn(move || {
            for time in asked {
                thread::sleep(time.saturating_duration_since(Instant::now()));
                bell.notify_one();
            }
        });
        Self { times, rung }
    }

    /// Waits for a time.
    pub(super) async fn at(&mut self, time: Instant) {
        // The thread stands as long as this does.
        let _ = self.times.send(time);
        self.rung.notified().await;
    }
}
