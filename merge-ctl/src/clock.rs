//! The clock of all times here: `CLOCK_MONOTONIC`, which the kernel's programs read too.

use rustix::time::{ClockId, clock_gettime};

/// What it shows, in nanoseconds.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
