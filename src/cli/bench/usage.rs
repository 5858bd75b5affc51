//! What a process of this machine uses: processor time and memory. Told by Linux alone.

use std::time::{Duration, Instant};

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
struct Usage {
    at: Instant,
    cpu: Duration,
    memory_bytes: u64,
}

impl Usage {
    /// None where it can't be told.
    #[cfg(target_os = "linux")]
    fn of(process: u32) -> Option<Self> {
        let stat = procfs::process::Process::new(process.try_into().ok()?).ok()?.stat().ok()?;
        let ticks = stat.utime + stat.stime;
        let cpu = Duration::from_secs(ticks) / u32::try_from(procfs::ticks_per_second()).ok()?;
        let memory_bytes = stat.rss * procfs::page_size();
        Some(Self { at: Instant::now(), cpu, memory_bytes })
    }

    #[cfg(not(target_os = "linux"))]
    fn of(_process: u32) -> Option<Self> {
        None
    }
}

/// Looks at a process now and then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    process: u32,
    first: Option<Usage>,
    last: Option<Usage>,
}

impl Watched {
    pub(super) fn new(process: u32) -> Self {
        Self { process, first: None, last: None }
    }

    pub(super) fn look(&mut self) {
        let usage = Usage::of(self.process);
        self.first = self.first.or(usage);
        self.last = usage.or(self.last);
    }

    /// How many processors it has kept busy between the first look and the last.
    pub(super) fn cores(&self) -> Option<f64> {
        let (first, last) = self.first.zip(self.last)?;
        let time = last.at - first.at;
        (!time.is_zero())
            .then(|| last.cpu.saturating_sub(first.cpu).as_secs_f64() / time.as_secs_f64())
    }

    /// Its resident memory at the first look and at the last, in bytes.
    pub(super) fn memory_bytes(&self) -> Option<(u64, u64)> {
        self.first.zip(self.last).map(|(first, last)| (first.memory_bytes, last.memory_bytes))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_something() {
        let mut watched = Watched::new(std::process::id());
        watched.look();
        watched.look();
        assert!(watched.memory_bytes().is_some_and(|(first, _)| first > 1 << 20));
        let mut gone = Watched::new(u32::MAX >> 1);
        gone.look();
        assert!(gone.cores().is_none() && gone.memory_bytes().is_none());
    }
}
