//! What the kernel tells of this process.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use merge_ctl::metrics::Own;
use rustix::time::{ClockId, clock_gettime};

/// This process, which began at a time; what it sees is for the caller to say.
pub(super) fn of_process(started_unix_s: f64) -> Own {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    Own {
        started_unix_s,
        cpu_s: Some(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9),
        resident_bytes: resident_bytes(),
        ..Own::default()
    }
}

/// Now, in seconds since 1970, UTC.
pub(super) fn unix_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The second number of `/proc/self/statm` (`fs/proc/array.c`, `proc_pid_statm`), which is in pages.
fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}
