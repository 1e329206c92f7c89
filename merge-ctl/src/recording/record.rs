//! What the records of a recording say.
//!
//! All but a sample are JSON objects. Fields may be added with a default; a kind that is not known is
//! left out.

use serde::{Deserialize, Serialize};

use crate::sample::{MergeIdentity, Sample};

/// Numbers of the kinds.
pub(super) mod kind {
    pub(in super::super) const FACTS: u8 = 1;
    pub(in super::super) const MERGE: u8 = 2;
    pub(in super::super) const SAMPLE: u8 = 3;
    pub(in super::super) const IDENTITY: u8 = 4;
    pub(in super::super) const NOTE: u8 = 5;
    pub(in super::super) const LOST: u8 = 6;
    pub(in super::super) const END: u8 = 7;
}

/// Where, when and by what was recorded. Stands at the beginning of every group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// The version of the merge-ctl that recorded.
    pub merge_ctl: String,
    /// Its subcommand.
    pub command: String,
    /// When the recording began, in seconds since 1970, UTC.
    pub unix_s: u64,
    /// Time between two lines of progress of the command.
    pub interval_ns: u64,
    /// The running kernel's release.
    pub kernel: String,
    /// The machine's architecture.
    pub machine: String,
    /// How many CPUs merge-ctl may run on.
    pub cpus: u64,
    /// The machine's memory; 0 where it is not known.
    pub memory_bytes: u64,
}

/// A merge. Stands before its first sample, and again at the beginning of every group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// What its samples are known by.
    pub merge: u32,
    /// What stays the same of it.
    pub identity: MergeIdentity,
    /// What waits for so long is a stall.
    pub stall_after_ns: u64,
    /// Whether it was shown from its beginning; LVM may have put it off.
    pub shown: bool,
}

/// The identity of a merge has changed: another snapshot of its origin came or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewIdentity {
    /// The merge.
    pub merge: u32,
    /// What it is now.
    pub identity: MergeIdentity,
}

/// What merge-ctl told its user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// In words.
    pub words: String,
}

/// What is not in the recording, since the last record of this kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lost {
    /// Samples that were left out because the file could not be written fast enough. Their runs are in
    /// the next.
    pub samples: u64,
    /// Runs of these for which there was no room.
    pub runs: u64,
    /// Samples of which only the oldest writes in flight are listed, for the file's size.
    pub shortened: u64,
    /// Words to the user that are left out.
    pub notes: u64,
}

impl Lost {
    /// Whether nothing is.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Both together.
    pub(super) fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.runs += other.runs;
        self.shortened += other.shortened;
        self.notes += other.notes;
    }
}

/// How a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All merges are over.
    Over,
    /// Whoever watched has left; merges may have gone on.
    Left,
    /// The command failed.
    Failed,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) outcome: Outcome,
}

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Where it comes from.
    Facts(Box<Facts>),
    /// A merge.
    Merge(Box<Merge>),
    /// What was read of it at an instant.
    Sample {
        /// The merge.
        merge: u32,
        /// Whether it was shown by itself, and not only at the end of all.
        shown: bool,
        /// What was read.
        sample: Box<Sample>,
    },
    /// What a merge is called now.
    Identity(Box<NewIdentity>),
    /// What the user was told.
    Note(Note),
    /// What is missing here.
    Lost(Lost),
    /// The end.
    End(Outcome),
}
