//! The status line of a `snapshot` or `snapshot-merge` target as a type.
//!
//! Source: `snapshot_status` in `drivers/md/dm-snap.c`. Never panics, whatever the text is.

use std::fmt;

use crate::units::Sectors;

/// What the kernel says of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotStatus {
    /// The exception store cannot be used any more: full, or an error while writing it.
    Invalid,
    /// The merge stopped for good. Remaining exceptions still serve I/O.
    MergeFailed,
    /// The COW device is full, and user space said (`PO`) that it would see to it.
    Overflow,
    /// It works.
    Usage(Usage),
    /// `Unknown`, or anything that no kernel we know says.
    Unknown(String),
}

/// How full a COW device is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Holds metadata or exceptions.
    pub allocated: Sectors,
    /// The whole device.
    pub total: Sectors,
    /// Holds metadata.
    pub metadata: Sectors,
}

impl Usage {
    /// Exceptions: what a merge has left to copy.
    pub const fn exceptions(&self) -> Sectors {
        self.allocated.saturating_sub(self.metadata)
    }

    /// Whether no exception is left: a merge is complete.
    pub const fn is_empty(&self) -> bool {
        self.allocated.0 == self.metadata.0
    }

    /// Fill from 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.total.0 == 0 { 0.0 } else { self.allocated.0 as f64 / self.total.0 as f64 }
    }
}

impl SnapshotStatus {
    /// From the target's status text.
    pub fn parse(text: &str) -> Self {
        match text.trim() {
            "Invalid" => Self::Invalid,
            "Merge failed" => Self::MergeFailed,
            "Overflow" => Self::Overflow,
            text => parse_usage(text).map_or_else(|| Self::Unknown(text.to_owned()), Self::Usage),
        }
    }

    /// The figures, where it works.
    pub const fn usage(&self) -> Option<Usage> {
        match self {
            Self::Usage(usage) => Some(*usage),
            _ => None,
        }
    }
}

fn parse_usage(text: &str) -> Option<Usage> {
    let mut words = text.split_ascii_whitespace();
    let (allocated, total) = words.next()?.split_once('/')?;
    let metadata = words.next()?;
    if words.next().is_some() {
        return None;
    }
    let sectors = |word: &str| word.parse().ok().map(Sectors);
    Some(Usage {
        allocated: sectors(allocated)?,
        total: sectors(total)?,
        metadata: sectors(metadata)?,
    })
}

impl fmt::Display for SnapshotStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str("Invalid"),
            Self::MergeFailed => f.write_str("Merge failed"),
            Self::Overflow => f.write_str("Overflow"),
            Self::Usage(usage) => {
                write!(f, "{}/{} {}", usage.allocated.0, usage.total.0, usage.metadata.0)
            }
            Self::Unknown(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_the_kernel_is_known() {
        assert_eq!(SnapshotStatus::parse("Invalid"), SnapshotStatus::Invalid);
        assert_eq!(SnapshotStatus::parse("Merge failed"), SnapshotStatus::MergeFailed);
        assert_eq!(SnapshotStatus::parse("Overflow"), SnapshotStatus::Overflow);
        assert_eq!(SnapshotStatus::parse("Unknown"), SnapshotStatus::Unknown("Unknown".into()));
        let usage = SnapshotStatus::parse("16/131072 16").usage().unwrap();
        assert!(usage.is_empty());
        assert_eq!(usage.total, Sectors(131_072));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_all_comes_back(text in ".{0,40}") {
            prop_assert_eq!(SnapshotStatus::parse(&text).to_string().trim().is_empty(),
                text.trim().is_empty());
        }

        #[test]
        fn figures_come_back(allocated: u64, total: u64, metadata: u64) {
            let text = format!("{allocated}/{total} {metadata}");
            let status = SnapshotStatus::parse(&text);
            prop_assert!(status.usage().is_some());
            prop_assert_eq!(status.to_string(), text);
        }
    }
}
