//! What the operating system knows of this process. Only Linux is asked.

/// What a process uses.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    /// Since the Unix epoch.
    pub(super) start_time_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) open_fds: u64,
    /// Unless there is no limit.
    pub(super) max_fds: Option<u64>,
}

/// What this process uses now; nothing where that can't be told.
#[cfg(target_os = "linux")]
pub(super) async fn look() -> Option<Process> {
    // Counting the open files of many connections takes a while.
    tokio::task::spawn_blocking(|| read().ok()).await.ok().flatten()
}

/// Nothing: where it stands depends on the system.
#[cfg(not(target_os = "linux"))]
pub(super) async fn look() -> Option<Process> {
    None
}

#[cfg(target_os = "linux")]
#[allow(clippy::cast_precision_loss, reason = "2^53 ticks are longer than any machine runs")]
fn read() -> procfs::ProcResult<Process> {
    use procfs::process::LimitValue;

    let process = procfs::process::Process::myself()?;
    let stat = process.stat()?;
    let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
    Ok(Process {
        cpu_seconds: seconds(stat.utime + stat.stime),
        start_time_seconds: procfs::boot_time_secs()? as f64 + seconds(stat.starttime),
        resident_bytes: stat.rss * procfs::page_size(),
        virtual_bytes: stat.vsize,
        open_fds: process.fd_count()? as u64,
        max_fds: match process.limits()?.max_open_files.soft_limit {
            LimitValue::Unlimited => None,
            LimitValue::Value(count) => Some(count),
        },
    })
}
