//! Slowing a merge down, for as long as somebody stays who remembers how fast it was.
//!
//! The kernel has one setting for it, `snapshot_copy_throttle`: the share of time in which copies
//! may be under way, for all snapshots of the host. It sleeps a tenth of a second at a time before a
//! piece of a copy, at most ten times, and then goes ahead; flushes and metadata writes it leaves
//! alone (`drivers/md/dm-kcopyd.c`, `io_job_start`). So what a percentage does can only be measured.
//!
//! * [`goal`]: what is wanted. [`control`]: the law that finds the percentage for a target, pure.
//!   [`evidence`] and [`effect`]: what the models say of writes and of the merge, pure.
//! * [`lease`]: who ([`holder`]) has changed the setting and what it was, for whoever has to put it back.
//! * [`throttler`]: all of it at work.
//!
//! What always holds: nobody changes the setting without a lease and a guard process; it is put back
//! only while it still is what we made it; two throttlers never work at the same time.

pub mod blame;
pub mod control;
pub mod effect;
pub mod evidence;
pub mod goal;
pub mod holder;
pub mod lease;
pub mod others;
pub mod throttler;

#[cfg(test)]
mod plants;

pub use effect::Effect;
pub use goal::{Doing, Goal, Percentile, Profile, Target, Throttling, Useless};
pub use holder::Holder;
pub use lease::{Lease, Place};
pub use throttler::{Restored, ThrottleError, Throttler};
