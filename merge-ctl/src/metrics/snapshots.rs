//! The points of a snapshot that does not merge.

use super::list;
use super::merges::Who;
use super::page::Page;
use crate::model::filling::Filling;
use crate::sample::Owner;
use crate::units::{DeviceNumber, Sectors};

/// What was read of a snapshot that does not merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// The snapshot's device.
    pub dev: DeviceNumber,
    /// Its device-mapper name.
    pub name: String,
    /// The same as its users call it.
    pub label: String,
    /// Whose it is.
    pub owner: Owner,
    /// The origin, as its users call it; empty where there is none.
    pub origin_label: String,
    /// What the device with its exceptions is called.
    pub cow_label: String,
    /// What the kernel says of it.
    pub state: SnapshotState,
}

/// What the kernel says of a snapshot that does not merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotState {
    /// It works.
    Active {
        /// Holds metadata or exceptions.
        allocated: Sectors,
        /// The whole COW device.
        total: Sectors,
        /// Holds metadata.
        metadata: Sectors,
    },
    /// It cannot be used any more: it was full, or its COW device failed.
    Invalid,
    /// It is full, and somebody has said that he would see to it.
    Overflow,
    /// A merge of it has failed.
    MergeFailed,
    /// The kernel says something else, or nothing.
    Unknown,
}

impl SnapshotState {
    /// All words.
    pub const NAMES: [&'static str; 5] =
        ["active", "invalid", "overflow", "merge-failed", "unknown"];

    /// The state's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active { .. } => "active",
            Self::Invalid => "invalid",
            Self::Overflow => "overflow",
            Self::MergeFailed => "merge-failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Adds all that is known of a snapshot.
pub fn add_snapshot(page: &mut Page, facts: &SnapshotFacts, filling: &Filling) {
    let who = Who::of(facts.dev, &facts.name, &facts.label, facts.owner);
    page.put(&list::SNAP_INFO, &who.and(&[&facts.origin_label, &facts.cow_label]), 1.0);
    for name in SnapshotState::NAMES {
        let is_it = u8::from(name == facts.state.name());
        page.put(&list::SNAP_STATE, &who.and(&[name]), f64::from(is_it));
    }
    let SnapshotState::Active { allocated, total, metadata } = facts.state else { return };
    page.put(&list::SNAP_USED, &who.and(&[]), allocated.bytes() as f64);
    page.put(&list::SNAP_SIZE, &who.and(&[]), total.bytes() as f64);
    page.put(&list::SNAP_METADATA, &who.and(&[]), metadata.bytes() as f64);
    page.put_known(&list::SNAP_FULL, &who.and(&[]), filling.full_in_s());
}
