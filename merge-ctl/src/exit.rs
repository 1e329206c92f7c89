//! Exit codes, and the one place that turns an error into a message and a code.
//!
//! Scripts depend on the codes: none changes its meaning. A code goes by what an error is, never by its words.

use std::io;
use std::process::ExitCode;

use merge_ctl::dm::resolve::ResolveError;
use merge_ctl::dm::{DmError, DmErrorKind};
use merge_ctl::harmless::printable_lines;
use merge_ctl::hooks;
use merge_ctl::merge::journal::below::Missing;
use merge_ctl::merge::journal::{DriverError, JournalError};
use merge_ctl::merge::preflight::{Obstacle, Refusal};
use merge_ctl::merge::recording::RecordError;
use merge_ctl::model::{Model, State};
use merge_ctl::offline::OfflineError;
use merge_ctl::store::StoreError;
use merge_ctl::throttle::ThrottleError;
use merge_ctl::throttle::lease::LeaseError;

/// How a command ended, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Another error.
    Error = 1,
    /// Wrong usage.
    Usage = 2,
    /// Still merging, or merged and not finished.
    StillMerging = 3,
    /// The merge stands still.
    Stalled = 4,
    /// The merge failed, or the snapshot is invalid.
    Failed = 5,
    /// A privilege or a kernel feature is missing.
    Missing = 6,
    /// The time was over before the merge was.
    Timeout = 7,
    /// Refused; nothing was changed.
    Refused = 8,
}

impl Exit {
    /// For the last that was seen of a merge.
    pub(crate) fn of(model: &Model) -> Self {
        match model.state {
            State::Finished => Self::Done,
            State::Stalled => Self::Stalled,
            State::Suspended if hooks::lasting(model).is_some() => Self::Stalled,
            State::Failed | State::Invalid => Self::Failed,
            State::Gone => Self::Error,
            _ => Self::StillMerging,
        }
    }

    /// The worst of several: what somebody has to look at first. Nothing at all is done.
    pub(crate) fn worst(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().max_by_key(|exit| exit.rank()).unwrap_or(Self::Done)
    }

    /// From harmless to bad.
    const fn rank(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::StillMerging => 1,
            Self::Stalled => 2,
            Self::Timeout => 3,
            Self::Missing => 4,
            Self::Refused => 5,
            Self::Usage => 6,
            Self::Error => 7,
            Self::Failed => 8,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The command line asks for something that cannot be meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// There is no merge where one was looked for.
#[derive(Debug, thiserror::Error)]
#[error("no snapshot is being merged into {0}. `merge-ctl status` lists what there is")]
pub(crate) struct NoMerge(pub(crate) String);

/// Somebody changed their mind before anything was.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; nothing was changed")]
pub(crate) struct Interrupted;

/// The time was over before anything was changed.
#[derive(Debug, thiserror::Error)]
#[error("the time limit is over; nothing was changed")]
pub(crate) struct TimeOver;

/// What would have to be seen cannot be seen here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Blind(pub(crate) String);

/// An error as people are told it: harmless, whatever names are in it.
pub(crate) fn words(error: &anyhow::Error) -> String {
    printable_lines(&format!("{error:#}"))
}

/// The exit status of an error.
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    if error.is::<Usage>() || error.is::<ResolveError>() {
        return Exit::Usage;
    }
    let refusal = error.chain().find_map(|cause| cause.downcast_ref::<Refusal>());
    if let Some(refusal) = refusal {
        return match refusal.obstacle {
            Obstacle::Unfit | Obstacle::InUse | Obstacle::AlreadyMerging => Exit::Refused,
            Obstacle::Missing => Exit::Missing,
            Obstacle::StillMerging => Exit::StillMerging,
            Obstacle::Failed => Exit::Failed,
        };
    }
    if error.is::<Interrupted>() {
        return Exit::Refused;
    }
    if error.is::<TimeOver>() {
        return Exit::Timeout;
    }
    if error.is::<Blind>() {
        return Exit::Missing;
    }
    if let Some(lease) = lease_error(error) {
        return of_lease(lease);
    }
    if let Some(engine) = error.chain().find_map(|cause| cause.downcast_ref::<OfflineError>()) {
        return of_engine(engine);
    }
    if needs_another_hand(error) {
        return Exit::Refused;
    }
    if may_not_open(error) {
        return Exit::Missing;
    }
    let dm = error.chain().find_map(|cause| cause.downcast_ref::<DmError>());
    match dm.map(|error| error.kind) {
        Some(DmErrorKind::Privilege | DmErrorKind::KernelFeatureMissing) => Exit::Missing,
        _ => Exit::Error,
    }
}

fn lease_error(error: &anyhow::Error) -> Option<&LeaseError> {
    error.downcast_ref::<LeaseError>().or_else(|| match error.downcast_ref::<ThrottleError>()? {
        ThrottleError::Lease(lease) => Some(lease),
        ThrottleError::Guard(_) => None,
    })
}

fn of_lease(error: &LeaseError) -> Exit {
    match error {
        LeaseError::Held(_) => Exit::Refused,
        LeaseError::NotLoaded => Exit::Missing,
        LeaseError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Exit::Missing
        }
        _ => Exit::Error,
    }
}

/// Of the offline merge engine: what could not be opened, or holds no store, was not touched.
fn of_engine(error: &OfflineError) -> Exit {
    match error {
        OfflineError::Open { source, .. } => match source.kind() {
            io::ErrorKind::PermissionDenied => Exit::Missing,
            io::ErrorKind::NotFound => Exit::Usage,
            _ => Exit::Refused,
        },
        OfflineError::NoStore(_) | OfflineError::Same(_) | OfflineError::Blocks { .. } => {
            Exit::Refused
        }
        OfflineError::Store { source, .. } => match source {
            StoreError::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Exit::Missing
            }
            StoreError::NotAStore { .. } | StoreError::TooSmall { .. } => Exit::Refused,
            _ => Exit::Failed,
        },
        OfflineError::Resource { .. } => Exit::Error,
        OfflineError::Invalid(_) | OfflineError::Io { .. } | OfflineError::Differs { .. } => {
            Exit::Failed
        }
    }
}

/// Whether nothing was changed because another merge-ctl drives the merge, an earlier one has to be
/// gone on with, or a device below, or what should be on it, is not there.
fn needs_another_hand(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(cause.downcast_ref(), Some(JournalError::Exists { .. }))
            || matches!(cause.downcast_ref(), Some(DriverError::Taken { .. }))
            || matches!(
                cause.downcast_ref(),
                Some(RecordError::NoStore(_) | RecordError::Suspended(_))
            )
            || cause.is::<Missing>()
    })
}

/// Whether a device or a file may not be read by whoever asks.
fn may_not_open(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<StoreError>()).any(|error| {
        matches!(error, StoreError::Open { source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offline_merge_that_failed_is_told_from_one_that_was_refused() {
        let open =
            |kind: io::ErrorKind| OfflineError::Open { path: "/dev/x".into(), source: kind.into() };
        let exit = |error: OfflineError| of(&anyhow::Error::new(error).context("while merging"));
        assert_eq!(exit(open(io::ErrorKind::ResourceBusy)), Exit::Refused);
        assert_eq!(exit(open(io::ErrorKind::PermissionDenied)), Exit::Missing);
        assert_eq!(exit(open(io::ErrorKind::NotFound)), Exit::Usage);
        assert_eq!(exit(OfflineError::Same("x".to_owned())), Exit::Refused);
        assert_eq!(exit(OfflineError::NoStore("x".to_owned())), Exit::Refused);
        assert_eq!(exit(OfflineError::Invalid("x".to_owned())), Exit::Failed);
        let (device, act) = ("x".to_owned(), merge_ctl::offline::Act::Write);
        let (at, source) = (merge_ctl::units::Sectors(8), io::ErrorKind::StorageFull.into());
        assert_eq!(exit(OfflineError::Io { device, act, at, source }), Exit::Failed);
    }

    #[test]
    fn the_worst_is_what_somebody_has_to_look_at_first() {
        let worst = |all: &[Exit]| Exit::worst(all.iter().copied());
        assert_eq!(worst(&[]), Exit::Done);
        assert_eq!(worst(&[Exit::Done, Exit::StillMerging, Exit::Done]), Exit::StillMerging);
        assert_eq!(worst(&[Exit::Failed, Exit::Error, Exit::StillMerging]), Exit::Failed);
        assert_eq!(worst(&[Exit::Refused, Exit::StillMerging]), Exit::Refused);
    }
}
