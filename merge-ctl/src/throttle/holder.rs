//! Which process has changed the throttle.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// When it was started, in clock ticks since boot (`/proc/PID/stat`).
    pub started_ticks: u64,
}

impl Holder {
    /// This process.
    ///
    /// # Errors
    /// Where `/proc` cannot be read.
    pub fn of_this_process() -> io::Result<Self> {
        let pid = std::process::id();
        let started_ticks = started(pid)?
            .ok_or_else(|| io::Error::other("/proc does not know when this process was started"))?;
        Ok(Self { pid, started_ticks })
    }

    /// Whether it lives. Where that cannot be found out it is taken to.
    pub fn is_alive(&self) -> bool {
        match started(self.pid) {
            Ok(started) => started == Some(self.started_ticks),
            Err(_) => true,
        }
    }
}

/// When a process was started; none where there is none, or it is dead and nobody has asked how it
/// ended.
fn started(pid: u32) -> io::Result<Option<u64>> {
    let stat = match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        // The second: it ended while the file was read.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    Ok(started_of(&stat))
}

/// Out of `PID (NAME) STATE …`; the name may contain anything.
fn started_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    // The state is the third field, the start the twenty-second.
    fields.nth(18)?.parse().ok().filter(|_| !matches!(state, "Z" | "X"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_whatever_it_is_called() {
        let fields = |state: &str| format!("7 (a) b) {state} {} 4711 0", "0 ".repeat(18).trim());
        assert_eq!(started_of(&fields("S")), Some(4711));
        assert_eq!(started_of(&fields("Z")), None, "dead, and not asked after");
        assert_eq!(started_of("7 (x"), None);
        let me = Holder::of_this_process().unwrap();
        assert!(me.is_alive());
        assert!(!Holder { started_ticks: me.started_ticks + 1, ..me }.is_alive());
        assert!(!Holder { pid: u32::MAX - 1, started_ticks: 0 }.is_alive());
    }
}
