//! Waiting for a change of any device: created, removed, renamed, a new table.
//!
//! The kernel raises nothing at the end of a merge itself (`drivers/md/dm-snap.c` has no
//! `dm_table_event` there); what is seen here is who puts the plain table back.

use super::control::Control;
use super::error::DmError;
use crate::wake::Wake;

/// Tells when something has changed.
#[derive(Debug)]
pub struct Changes {
    control: Control,
    wake: Option<Wake>,
}

impl Changes {
    /// On a control device of its own; counts from now on. Where the kernel cannot tell, nothing is
    /// ever told.
    ///
    /// # Errors
    /// As [`Control::open`].
    pub fn watch() -> Result<Self, DmError> {
        let control = Control::open()?;
        let wake = control.arm_poll().ok().and_then(|()| Wake::new(&control));
        Ok(Self { control, wake })
    }

    /// Returns once something has changed since the last time; what that was, the caller looks at.
    pub async fn next(&mut self) {
        let woken = match &self.wake {
            Some(wake) => wake.ready().await,
            None => false,
        };
        // Armed before the caller looks: what changes after the look is told the next time.
        if !woken || self.control.arm_poll().is_err() {
            self.wake = None;
            std::future::pending::<()>().await;
        }
    }
}
