//! What a throttler that was killed has left: who puts it back, or tells of it.
//!
//! Its guard does so at once; where that was killed too, the next command that changes something.

use std::io;

use merge_ctl::output::throttle as output;
use merge_ctl::throttle::lease::LeaseError;
use merge_ctl::throttle::{Holder, Place};

use crate::cli::Command;
use crate::command::terminal;

/// Looks, before another command begins, whether a throttler has died and left its setting: those
/// that change something put it back, those that only look tell of it.
pub(crate) fn look_back(command: &Command) {
    let place = Place::of_this_host();
    match command {
        Command::Start(_) | Command::Resume(_) | Command::Finish(_) => match place.tidy() {
            Ok(Some((lease, put_back))) => terminal::tell(&format!(
                "process {} died while it throttled {}: {}",
                lease.holder.pid,
                merge_ctl::human::printable(&lease.origin),
                output::restored(put_back.into())
            )),
            Ok(None) => {}
            Err(error) => terminal::tell(&error.to_string()),
        },
        Command::Status(_) | Command::Monitor(_) | Command::Wait(_) => {
            // Who may not read it could not do anything about it either.
            let left = place.read().ok().flatten().filter(|lease| !lease.holder.is_alive());
            if let Some(lease) = left {
                terminal::tell(&format!(
                    "process {} died while it throttled {}; the throttle was {} % before: \
                     `merge-ctl throttle --reset` puts it back",
                    lease.holder.pid,
                    merge_ctl::human::printable(&lease.origin),
                    lease.previous_percent
                ));
            }
        }
        _ => {}
    }
}

/// What a guard needs to put the setting of a dead throttler back.
pub(crate) struct Watch {
    place: Place,
    holder: Holder,
}

impl Watch {
    /// Over the lease in this file.
    ///
    /// # Errors
    /// Where there is none, or it cannot be read.
    pub(crate) fn over(lease: &std::path::Path) -> io::Result<Self> {
        let place = Place::of_lease(lease);
        let lease = place.read().map_err(io::Error::other)?;
        let holder = lease.ok_or(io::ErrorKind::NotFound)?.holder;
        Ok(Self { place, holder })
    }

    /// Puts it back, and says so where somebody may still read it.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub(crate) fn act(&self) -> Result<(), LeaseError> {
        if let Some((_, put_back)) = self.place.end_for(&self.holder)? {
            let words = output::restored(put_back.into());
            terminal::tell(&format!("the throttler was killed: {words}"));
        }
        Ok(())
    }
}
