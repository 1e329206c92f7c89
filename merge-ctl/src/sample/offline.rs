//! What an offline merge has in its samples: the engine's own figures, and how it ended.

use std::io;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::Fault;
use crate::human;
use crate::offline::meter::Reading;
use crate::offline::{Act, OfflineError};
use crate::store::StoreError;

/// What was agreed for an offline merge, and stays the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfflineTerms {
    /// Whether these are devices or files without device-mapper around them.
    pub images: bool,
    /// Whether LVM had the merge on record for the next activation, which is to come still.
    #[serde(default)]
    pub scheduled: bool,
    /// Whether all is read back and compared before the exceptions are cleared.
    pub verify: bool,
    /// How many bytes a second may be copied; none for as many as go.
    pub bandwidth_bytes: Option<NonZeroU64>,
    /// How many requests may be under way at once.
    pub requests: u32,
    /// How much memory may be used, in bytes.
    pub memory_bytes: u64,
}

/// What the engine says at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OfflineFacts {
    /// Its figures.
    pub reading: Reading,
    /// Whether somebody has asked it to stop.
    pub stopping: bool,
    /// How it ended; none while it works.
    pub end: Option<OfflineEnd>,
}

/// How the engine ended, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum OfflineEnd {
    /// All is merged and the store is empty; the volume is still to be given back.
    Merged,
    /// The same, and nothing is left to do.
    Finished,
    /// It was told to stop, before it had cleared anything.
    Stopped,
    /// It met an error.
    Failed(OfflineFault),
}

/// The error that an offline merge met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfflineFault {
    /// Its code: those of [`Fault`], and `verify-read-origin`, `verify-differs`, `store`, `unfit`, `open`,
    /// `resource`.
    pub code: String,
    /// What was tried, and what the kernel answered.
    pub words: String,
    /// The device that answered, as its users call it.
    pub device: Option<String>,
    /// The first sector of it that is concerned.
    pub sector: Option<u64>,
    /// The negative errno, or 0 where there is none.
    pub errno: i32,
}

impl OfflineFault {
    /// What this error is. `origin`: what the origin's device is called.
    pub fn of(error: &OfflineError, origin: &str) -> Self {
        let (device, sector, source) = match error {
            OfflineError::Io { device, at, source, .. } => (Some(device), Some(at.0), Some(source)),
            OfflineError::Differs { origin, at, .. } => (Some(origin), Some(at.0), None),
            OfflineError::Store { cow: device, .. }
            | OfflineError::NoStore(device)
            | OfflineError::Invalid(device)
            | OfflineError::Same(device)
            | OfflineError::Blocks { origin: device, .. } => (Some(device), None, None),
            OfflineError::Open { source, .. } | OfflineError::Resource { source, .. } => {
                (None, None, Some(source))
            }
        };
        Self {
            code: code(error, origin).to_owned(),
            words: human::in_full(error),
            device: device.cloned(),
            sector,
            errno: source.and_then(io::Error::raw_os_error).map_or(0, |errno| -errno),
        }
    }
}

fn code(error: &OfflineError, origin: &str) -> &'static str {
    match error {
        OfflineError::Io { device, act, .. } => match (device == origin, act) {
            (true, Act::Read) => "verify-read-origin",
            (true, Act::Write) => Fault::CopyWriteOrigin.code(),
            (true, Act::Flush) => Fault::FlushOrigin.code(),
            (false, Act::Read) => Fault::CopyReadCow.code(),
            (false, Act::Write | Act::Flush) => Fault::CommitCow.code(),
        },
        OfflineError::Differs { .. } => "verify-differs",
        OfflineError::Store { source: StoreError::Read { .. }, .. } => {
            Fault::MetadataReadCow.code()
        }
        OfflineError::Store { .. } | OfflineError::NoStore(_) | OfflineError::Invalid(_) => "store",
        OfflineError::Same(_) | OfflineError::Blocks { .. } => "unfit",
        OfflineError::Open { .. } => "open",
        OfflineError::Resource { .. } => "resource",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Sectors;

    #[test]
    fn an_error_tells_the_device_the_sector_and_which_step_it_was() {
        let io = |device: &str, act| OfflineError::Io {
            device: device.to_owned(),
            act,
            at: Sectors(4711),
            source: io::Error::from_raw_os_error(5),
        };
        let fault = OfflineFault::of(&io("vg/data", Act::Write), "vg/data");
        assert_eq!((fault.code.as_str(), fault.errno), ("copy-write-origin", -5));
        assert_eq!((fault.device.as_deref(), fault.sector), (Some("vg/data"), Some(4711)));
        assert!(fault.words.contains("sector 4711"), "{}", fault.words);
        let code = |device, act| OfflineFault::of(&io(device, act), "vg/data").code;
        assert_eq!(code("vg/data", Act::Flush), "flush-origin");
        assert_eq!(code("vg/snap", Act::Read), "copy-read-cow");
        assert_eq!(code("vg/snap", Act::Write), "commit-cow");
        let invalid = OfflineFault::of(&OfflineError::Invalid("vg/snap".to_owned()), "vg/data");
        assert_eq!((invalid.code.as_str(), invalid.sector), ("store", None));
    }
}
