//! Why a merge goes as it goes: a closed list of causes, each with the figures that must hold
//! before it is named, and with what an operator can do about it.
//!
//! [`of`] is pure: a [`Model`] in, findings out, the most important first. What is wrong or over
//! (`state`) comes before where the time goes (`share`): there, a finding's share is the part of
//! the time that would go away with its cause, and the largest leads. Two causes may claim the same
//! time, so the shares do not add up to 1. A snapshot that is not merging yet is judged by its runs
//! alone ([`mod@outlook`]).
//!
//! What always holds: a sentence says no more than the figures in it; below the thresholds of
//! [`thresholds`] nothing is blamed. `docs/causes.md` has an entry for every cause.

mod advice;
mod finding;
mod measured;
mod offline;
pub mod outlook;
mod share;
mod slow;
mod stall;
mod state;
pub mod thresholds;

#[cfg(test)]
mod tests;

pub use finding::{Figure, Finding, Value};
pub use outlook::{Outlook, before, outlook};

use super::{Model, State};
use measured::Measured;

/// Everything that can be to blame. Closed: JSON carries the codes, `docs/causes.md` explains them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The kernel gave up after an I/O error.
    Failed,
    /// The exception store cannot be used any more.
    Invalid,
    /// The device carries something else, and the end of the merge was not seen.
    Gone,
    /// The kernel's status cannot be read.
    StatusUnreadable,
    /// LVM has recorded the merge and begins it at the next activation.
    Scheduled,
    /// An offline merge was told to stop before it had cleared anything.
    Stopped,
    /// The origin, or a device below it, is suspended.
    Suspended,
    /// All is merged, and nobody has put the plain table back.
    NotFinished,
    /// All is merged and the origin is a plain device again.
    Finished,
    /// Runs are short, and each pays for a copy, a flush and a commit.
    Fragmentation,
    /// Flush and commit are dear in themselves.
    FlushLatency,
    /// The COW device is much slower than the origin's.
    SlowCow,
    /// The origin's device is much slower than the COW device.
    SlowOrigin,
    /// Runs wait for application writes that began before them.
    DrainingWriters,
    /// Old data is copied into other snapshots first.
    Siblings,
    /// `snapshot_copy_throttle` makes the copying sleep.
    Throttle,
    /// Large runs, and copying takes what the devices need for it.
    DeviceSpeed,
    /// An offline merge: what the stage that it is in does, or the one that took longest.
    Offline,
    /// An offline merge copies as fast as `--bandwidth` lets it.
    Bandwidth,
    /// Several things, none of which stands out.
    NoSingleCause,
    /// Too little has been seen to tell.
    NothingYet,
    /// Runs cannot be seen here.
    NotSeen,
    /// The snapshot holds nothing to merge.
    NothingToMerge,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Failed,
        Self::Invalid,
        Self::Gone,
        Self::StatusUnreadable,
        Self::Scheduled,
        Self::Stopped,
        Self::Suspended,
        Self::NotFinished,
        Self::Finished,
        Self::Fragmentation,
        Self::FlushLatency,
        Self::SlowCow,
        Self::SlowOrigin,
        Self::DrainingWriters,
        Self::Siblings,
        Self::Throttle,
        Self::DeviceSpeed,
        Self::Offline,
        Self::Bandwidth,
        Self::NoSingleCause,
        Self::NothingYet,
        Self::NotSeen,
        Self::NothingToMerge,
    ];

    /// The cause's code, for JSON and for `docs/causes.md`. Never changes.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Gone => "gone",
            Self::StatusUnreadable => "status-unreadable",
            Self::Scheduled => "scheduled",
            Self::Stopped => "stopped",
            Self::Suspended => "suspended",
            Self::NotFinished => "not-finished",
            Self::Finished => "finished",
            Self::Fragmentation => "fragmentation",
            Self::FlushLatency => "flush-latency",
            Self::SlowCow => "slow-cow",
            Self::SlowOrigin => "slow-origin",
            Self::DrainingWriters => "draining-writers",
            Self::Siblings => "siblings",
            Self::Throttle => "throttle",
            Self::DeviceSpeed => "device-speed",
            Self::Offline => "offline",
            Self::Bandwidth => "bandwidth",
            Self::NoSingleCause => "no-single-cause",
            Self::NothingYet => "nothing-yet",
            Self::NotSeen => "not-seen",
            Self::NothingToMerge => "nothing-to-merge",
        }
    }

    /// The page for operators about it, from the top of the repository. The name never changes; packages
    /// have the same tree below `/usr/share/doc/merge-ctl`.
    pub fn page(self) -> String {
        format!("docs/operations/{}.md", self.code())
    }
}

/// What is to blame, most important first. Never empty.
pub fn of(model: &Model) -> Vec<Finding> {
    if let Some(offline) = &model.offline {
        return offline::findings(model, offline);
    }
    let mut findings: Vec<Finding> = state::finding(model).into_iter().collect();
    match model.state {
        State::Merging => findings.extend(share::findings(&Measured::last_minute(model))),
        State::Stalled => {
            let measured = Measured::last_minute(model);
            if findings.is_empty() {
                findings.extend(stall::finding(&measured));
            }
            let others = share::findings(&measured).into_iter();
            let told: Vec<Cause> = findings.iter().map(|finding| finding.cause).collect();
            let is_new = |finding: &Finding| !told.contains(&finding.cause);
            findings.extend(others.filter(|finding| finding.share.is_some() && is_new(finding)));
        }
        State::DoneNotFinished | State::Finished => {
            let shares = share::findings(&Measured::since_start(model));
            findings.extend(shares.into_iter().filter(|finding| finding.share.is_some()));
        }
        _ => {}
    }
    findings
}

/// The findings in a sentence or two: the first; for a merge that is over, also where its time went.
pub fn verdict(findings: &[Finding]) -> String {
    let with_next = |first: &Finding| matches!(first.cause, Cause::NotFinished | Cause::Finished);
    let sentences = match findings {
        [first, next, ..] if with_next(first) => vec![&*first.sentence, &*next.sentence],
        [first, ..] => vec![&*first.sentence],
        [] => Vec::new(),
    };
    sentences.join(" ")
}
