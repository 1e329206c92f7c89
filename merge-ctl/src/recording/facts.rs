//! The facts of this host that a recording begins with.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::system::{sysinfo, uname};

use super::record::Facts;
use crate::units::nanoseconds;

impl Facts {
    /// Of this host, now. `command`: the subcommand that records, with so long between two lines.
    pub fn of_this_host(command: &str, interval: Duration) -> Self {
        let (system, info) = (uname(), sysinfo());
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            merge_ctl: env!("CARGO_PKG_VERSION").to_owned(),
            command: command.to_owned(),
            unix_s: since_1970.as_secs(),
            interval_ns: nanoseconds(interval),
            kernel: system.release().to_string_lossy().into_owned(),
            machine: system.machine().to_string_lossy().into_owned(),
            cpus: thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64),
            memory_bytes: info.totalram.saturating_mul(u64::from(info.mem_unit)),
        }
    }
}
