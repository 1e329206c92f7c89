//! What stays the same while a merge is watched.

use serde::{Deserialize, Serialize};

use super::OfflineTerms;
use crate::units::{ChunkSize, DeviceNumber, Sectors};

/// What stays the same while a merge is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeIdentity {
    /// The device-mapper name of the merging origin.
    pub origin: String,
    /// The same as its users call it: `vg/lv` for a logical volume, else the name.
    pub origin_label: String,
    /// The snapshot that is merged, as its users call it, where that is known.
    pub snapshot_label: Option<String>,
    /// The merging origin: what users mount.
    pub origin_dev: DeviceNumber,
    /// The device below it, which holds its data.
    pub real_dev: DeviceNumber,
    /// The device that holds the exceptions.
    pub cow_dev: DeviceNumber,
    /// What `real_dev` is called.
    #[serde(default)]
    pub real_label: String,
    /// What `cow_dev` is called.
    #[serde(default)]
    pub cow_label: String,
    /// Who has to finish the merge.
    pub owner: Owner,
    /// Whether the merge-ctl that takes the samples finishes it as soon as it is done.
    pub finished_here: bool,
    /// Another process of merge-ctl that drives it, where there was one when that was looked for last.
    #[serde(default)]
    pub driven_by: Option<u32>,
    /// The snapshot's chunk size.
    pub chunk_size: ChunkSize,
    /// The origin's size.
    pub size: Sectors,
    /// Other snapshots of the same origin.
    pub siblings: Vec<String>,
    /// The running kernel's release.
    pub kernel: String,
    /// What the probes can see here.
    pub probes: ProbeReport,
    /// What was agreed for an offline merge; none where the kernel merges.
    #[serde(default)]
    pub offline: Option<OfflineTerms>,
}

/// Who owns a volume, and so who has to finish its merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// Nobody: plain device-mapper; merge-ctl finishes it.
    DeviceMapper,
    /// LVM: lvm2 finishes it.
    Lvm,
}

impl MergeIdentity {
    /// Who owns the volume, in a word that never changes; `image` where there is no device-mapper
    /// around it.
    pub fn owner_code(&self) -> &'static str {
        match (self.owner, &self.offline) {
            (_, Some(OfflineTerms { images: true, .. })) => "image",
            (Owner::Lvm, _) => "lvm",
            (Owner::DeviceMapper, _) => "devicemapper",
        }
    }
}

/// How much of a merge the probes can see, from all to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeTier {
    /// Runs and their phases, and the I/O in flight on the origin.
    Full,
    /// As `Full`, but a run's merge is known only once its copy began (no BTF of dm-snapshot).
    NoModuleBtf,
    /// I/O in flight on the origin only: no kprobes.
    BlockOnly,
    /// Nothing: the kernel's status line alone.
    None,
}

/// The tier that was reached, and why it is not a better one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// What can be seen.
    pub tier: ProbeTier,
    /// What is missing, in words for an operator, one sentence each; empty for `Full`.
    pub missing: Vec<String>,
}
