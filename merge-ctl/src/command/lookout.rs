//! Notices what others change on this host: merges that begin, snapshots that come and go.
//!
//! Device-mapper counts every table that is swapped and every device that is made, renamed or
//! removed, and the control device tells when the count has changed; so nothing is asked of the
//! devices while nothing happens. A kernel that cannot tell is asked every two seconds.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use merge_ctl::dm::{Control, DmError, Host};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often the devices are looked at, at the most: each look asks every one of them.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// The same where the kernel does not tell of changes.
const UNTOLD_EVERY: Duration = Duration::from_secs(2);

/// Remembers what was looked at.
pub(crate) struct Lookout {
    looked: Instant,
    /// Whether the kernel tells of changes since then.
    told: bool,
}

impl Lookout {
    /// Looks for changes from now on.
    pub(crate) fn new(control: &Control) -> Self {
        Self { looked: Instant::now(), told: control.arm_poll().is_ok() }
    }

    /// The host, where something may have changed on it since the last time.
    ///
    /// # Errors
    /// As [`Host::read`].
    pub(crate) fn look(&mut self, control: &Control) -> Result<Option<Host>, DmError> {
        let since = self.looked.elapsed();
        let is_due = match self.told {
            true => since >= AT_MOST_EVERY && has_changed(control),
            false => since >= UNTOLD_EVERY,
        };
        if !is_due {
            return Ok(None);
        }
        // Before the look: what changes during it is a change for the next.
        *self = Self::new(control);
        Host::read(control).map(Some)
    }
}

/// Whether the control device tells of a change; where it cannot be asked, there may be one.
fn has_changed(control: &Control) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(control.as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).map_or(true, |ready| ready > 0)
}
