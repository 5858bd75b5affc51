//! A clock that rings to within some hundredths of a millisecond, where the system has one.
//!
//! tokio's own timer has whole milliseconds, in which an open loop of 40,000 calls a second would send 40 at
//! once.

use std::io;
use std::time::Instant;

/// Rings at one time after another.
#[derive(Debug)]
pub(super) struct Alarm {
    #[cfg(target_os = "linux")]
    timer: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
}

#[cfg(target_os = "linux")]
impl Alarm {
    /// A clock of the runtime that runs now.
    #[allow(
        deprecated,
        reason = "its unsafe successor asks that the descriptor stays the same, as an OwnedFd's does"
    )]
    pub(super) fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { timer: tokio::io::unix::AsyncFd::new(timer)? })
    }

    /// Waits for a time.
    pub(super) async fn at(&self, time: Instant) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let wait = time.saturating_duration_since(Instant::now());
        // A time of 0 would stop the clock.
        if wait.is_zero() {
            return Ok(());
        }
        let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec::try_from(wait).map_err(|_| io::ErrorKind::InvalidInput)?;
        let once = Itimerspec { it_interval: nothing, it_value };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = self.timer.readable().await?;
            let rung = ready.try_io(|timer| {
                let mut count = [0; 8];
                Ok(rustix::io::read(timer.get_ref(), &mut count)?)
            });
            if let Ok(rung) = rung {
                return rung.map(|_| ());
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Alarm {
    /// A clock of the runtime that runs now.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for a time.
    pub(super) async fn at(&self, time: Instant) -> io::Result<()> {
        tokio::time::sleep_until(time.into()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_rings_again_and_again_and_never_early() {
        let alarm = Alarm::new().expect("there are timers");
        let mut time = Instant::now();
        for _ in 0..20 {
            time += Duration::from_micros(300);
            alarm.at(time).await.expect("it rings");
            assert!(Instant::now() >= time);
        }
        // A time that has passed is rung at once.
        alarm.at(time).await.expect("it rings");
    }
}
