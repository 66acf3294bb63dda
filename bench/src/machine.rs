//! Where the benchmark runs, and how busy that is.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::report::Machine;
use crate::stats::Spread;

/// Linux counts processor time in these.
const TICKS_A_SECOND: u64 = 100;

impl Machine {
    /// This one. The time to sync is measured in `folder`.
    pub(crate) fn here(folder: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: field("/proc/meminfo", "MemTotal")
                .and_then(|size| size.split(' ').next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib * 1024),
            os: system(),
            sync_us: sync_times(folder)?,
        })
    }
}

fn system() -> String {
    let read = |path| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let kernel = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let name = fs::read_to_string("/etc/os-release").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
        Some(line.trim_matches('"').to_owned())
    });
    match name {
        Some(name) => format!("{name}, Linux {kernel}"),
        None => format!("{} {kernel}", std::env::consts::OS),
    }
}

/// The value of `name: value` in a file of Linux's `/proc`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn sync_times(folder: &Path) -> anyhow::Result<Spread> {
    const SYNCS: usize = 50;
    let mut file = tempfile::tempfile_in(folder)?;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let started = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(Spread::of(times))
}

/// Waits until the machine has been all but idle for `window`, a minute at most: until engines have
/// merged and cleaned up what was stored at once.
pub(crate) async fn quiet(window: Duration) {
    const AT_MOST: Duration = Duration::from_mins(1);
    let started = Instant::now();
    while started.elapsed() < AT_MOST {
        let busy = busy_time();
        tokio::time::sleep(window).await;
        if busy_time().saturating_sub(busy) < window / 10 {
            return;
        }
    }
}

/// How long the machine's processors have worked since it started; zero where that cannot be told.
pub(crate) fn busy_time() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, idle, waiting for disks, interrupts, soft interrupts.
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|place| ticks.get(*place)).sum();
    ticks_to_time(busy)
}

/// How long process `pid` has worked; zero where that cannot be told.
pub(crate) fn process_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before the last parenthesis may hold anything. State is the first word after it.
    let words: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = [11, 12].iter().filter_map(|place| words.get(*place)?.parse::<u64>().ok()).sum();
    ticks_to_time(ticks)
}

fn ticks_to_time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_A_SECOND)
}

/// This process's resident memory in bytes; zero where that cannot be told.
pub(crate) fn resident_bytes() -> u64 {
    let status = field("/proc/self/status", "VmRSS");
    let kib = status.and_then(|size| size.split(' ').next()?.parse::<u64>().ok());
    kib.map_or(0, |kib| kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_the_time_of_the_process_and_of_the_machine() {
        let (machine, process) = (busy_time(), process_time(std::process::id()));
        let started = Instant::now();
        while process_time(std::process::id()) < process + Duration::from_millis(50) {
            assert!(started.elapsed() < Duration::from_mins(1), "no work shows");
            std::hint::black_box((0..100_000_u64).sum::<u64>());
        }
        assert!(busy_time() > machine);
    }

    #[test]
    fn memory_is_counted_in_bytes() {
        assert!(resident_bytes() > 100 * 1024);
    }
}
