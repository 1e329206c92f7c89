//! How a merge ended, and what made it fail.

use serde::{Deserialize, Serialize};

use super::Phase;

/// How a merge ended, as the probes saw it or the kernel log tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum End {
    /// The last run is committed; the store is empty.
    Done {
        /// When.
        at_ns: u64,
    },
    /// The kernel gave up.
    Failed {
        /// When.
        at_ns: u64,
        /// What failed; none where nobody tells.
        fault: Option<Fault>,
        /// How it is known.
        #[serde(default)]
        told_by: ToldBy,
        /// The negative errno, or 0 where the kernel tells none.
        errno: i32,
        /// The failed run's lowest chunk on the origin.
        old_chunk: u64,
        /// How many chunks it had; 0 where the run is not known, or there was none yet.
        chunks: u32,
    },
}

/// How an end is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToldBy {
    /// The probes saw it happen, to this merge.
    #[default]
    Probes,
    /// The kernel log's last word on a merge that failed. It names no device.
    KernelLog,
}

/// What made a merge fail: a step of the kernel's on one of the two devices. One code a cause; the
/// names are those of `merge_common::failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// An area of metadata could not be read from the COW device.
    MetadataReadCow,
    /// A run could not be read from the COW device.
    CopyReadCow,
    /// A run could not be written to the origin's device.
    CopyWriteOrigin,
    /// The write cache of the origin's device could not be flushed.
    FlushOrigin,
    /// The metadata could not be written to the COW device.
    CommitCow,
}

/// One of the two devices below a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// The device that holds the exceptions.
    Cow,
    /// The device that holds the origin's data.
    Real,
}

impl Fault {
    /// All, in the order in which a run takes its steps.
    pub const ALL: [Self; 5] = [
        Self::MetadataReadCow,
        Self::CopyReadCow,
        Self::CopyWriteOrigin,
        Self::FlushOrigin,
        Self::CommitCow,
    ];

    /// The stable code, as in JSON.
    pub const fn code(self) -> &'static str {
        match self {
            Self::MetadataReadCow => "metadata-read-cow",
            Self::CopyReadCow => "copy-read-cow",
            Self::CopyWriteOrigin => "copy-write-origin",
            Self::FlushOrigin => "flush-origin",
            Self::CommitCow => "commit-cow",
        }
    }

    /// The phase of the run that failed.
    pub const fn phase(self) -> Phase {
        match self {
            Self::MetadataReadCow => Phase::Metadata,
            Self::CopyReadCow | Self::CopyWriteOrigin => Phase::Copy,
            Self::FlushOrigin => Phase::Flush,
            Self::CommitCow => Phase::Commit,
        }
    }

    /// The device that answered with an error.
    pub const fn below(self) -> Below {
        match self {
            Self::MetadataReadCow | Self::CopyReadCow | Self::CommitCow => Below::Cow,
            Self::CopyWriteOrigin | Self::FlushOrigin => Below::Real,
        }
    }

    /// The fault of a number of `merge_common::failure`.
    pub fn from_record(number: u32) -> Option<Self> {
        Self::ALL.get((number as usize).checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_the_numbers_and_the_codes_that_others_know_them_by() {
        use merge_common::failure;
        let numbers = [
            failure::METADATA_READ_COW,
            failure::COPY_READ_COW,
            failure::COPY_WRITE_ORIGIN,
            failure::FLUSH_ORIGIN,
            failure::COMMIT_COW,
        ];
        for (number, fault) in numbers.into_iter().zip(Fault::ALL) {
            assert_eq!(Fault::from_record(number), Some(fault));
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.code());
        }
        assert_eq!(Fault::from_record(failure::NONE), None);
        assert_eq!(Fault::from_record(99), None);
    }
}
