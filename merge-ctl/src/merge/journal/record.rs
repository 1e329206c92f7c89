//! What a journal says of a merge.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use super::below::{Below, Mapping};
use crate::dm::{SnapshotArgs, Table, Target};
use crate::store::{Opened, Source, Store, StoreError};
use crate::units::{ChunkSize, Sectors};

/// How far the merge has come: what may have been done already, never less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// Tables may have been loaded and devices suspended. Where the origin's live table is still
    /// the old one, all can be undone.
    Starting,
    /// The kernel merges, or has merged, or the engine may have copied something: there is no way
    /// back.
    Merging,
    /// All was merged; the origin may carry its plain table already.
    Finishing {
        /// That table.
        plain: Table,
    },
    /// The kernel gave up, or the engine met a device that cannot be read or written. The devices
    /// must be taken down and made anew.
    Failed {
        /// What was seen of it, in words.
        why: String,
    },
}

/// A merge by our own steps, as it was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// How far it has come.
    #[serde(flatten)]
    pub phase: Phase,
    /// Whether merge-ctl's own engine merges, with both devices put aside: then *merging* means that
    /// it may have written to the origin, whatever the tables are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offline: bool,
    /// The boot of which the device numbers in the tables are; see [`boot_id`].
    pub boot_id: String,
    /// When it was begun, in seconds since 1970, UTC.
    pub begun_unix_s: u64,
    /// The merging origin.
    pub origin: Named,
    /// The origin's table before.
    pub origin_before: Table,
    /// The origin's table while it merges: snapshot-merge.
    pub origin_merging: Table,
    /// The snapshot's device; none where the merge began without one.
    pub snapshot: Option<SnapshotRecord>,
    /// Allocated sectors of the status line before the merge.
    pub allocated: Sectors,
    /// What the exception store began with.
    pub store: StoreMark,
    /// What the data and the exceptions lie on.
    pub below: Below,
}

/// A device-mapper device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its UUID; empty where it has none.
    pub uuid: String,
}

/// The snapshot's device, which goes away with the beginning of the merge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// The device.
    #[serde(flatten)]
    pub device: Named,
    /// Its table before.
    pub before: Table,
    /// Its table in between: error, of the same length.
    pub error: Table,
}

impl Record {
    /// The arguments of the merge target.
    pub fn args(&self) -> Option<&SnapshotArgs> {
        match self.origin_merging.only()? {
            Target::SnapshotMerge(args) => Some(args),
            _ => None,
        }
    }

    /// The same record over devices that have other numbers now.
    #[must_use]
    pub fn over(&self, now: &Mapping, boot_id: String) -> Self {
        let table = |table: &Table| table.over(|dev| now.get(dev));
        let phase = match &self.phase {
            Phase::Finishing { plain } => Phase::Finishing { plain: table(plain) },
            phase => phase.clone(),
        };
        Self {
            phase,
            boot_id,
            origin_before: table(&self.origin_before),
            origin_merging: table(&self.origin_merging),
            snapshot: self
                .snapshot
                .clone()
                .map(|snapshot| SnapshotRecord { before: table(&snapshot.before), ..snapshot }),
            below: self.below.over(now),
            ..self.clone()
        }
    }
}

/// This boot of the machine. Source: `/proc/sys/kernel/random/boot_id`.
///
/// # Errors
/// From procfs.
pub fn boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned())
}

/// By what an exception store is known again. A merge clears a store from its end, so what stands
/// at its beginning stays until the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreMark {
    /// The chunk size in its header.
    pub chunk_size: ChunkSize,
    /// Old and new chunk of its first exceptions, at most [`StoreMark::EXCEPTIONS`].
    pub first: Vec<(u64, u64)>,
}

impl StoreMark {
    /// How many exceptions are remembered.
    pub const EXCEPTIONS: usize = 32;

    /// Reads the mark of a store; nothing where there is no valid one.
    ///
    /// # Errors
    /// What the reader finds wrong, or cannot read.
    pub fn read(source: impl Source, origin: Sectors) -> Result<Option<Self>, StoreError> {
        let Opened::Usable(store) = Store::open(source, Some(origin))? else { return Ok(None) };
        Self::of(&store).map(Some)
    }

    fn of<S: Source>(store: &Store<S>) -> Result<Self, StoreError> {
        let mut first = Vec::new();
        for placed in store.exceptions().take(Self::EXCEPTIONS) {
            let exception = placed?.exception;
            first.push((exception.old_chunk, exception.new_chunk));
        }
        Ok(Self { chunk_size: store.layout().chunk_size(), first })
    }

    /// Whether a store with the mark `now` can be the one that had this mark before a part of it,
    /// or all, was merged; or before somebody wrote to the origin, up to the beginning of the merge.
    pub fn may_have_become(&self, now: &Self) -> bool {
        let has_grown = !self.first.is_empty() && now.first.starts_with(&self.first);
        self.chunk_size == now.chunk_size && (self.first.starts_with(&now.first) || has_grown)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        Table::parse(text).unwrap()
    }

    /// The record of a merge of `snap` into `origin`, just before its first step.
    pub(crate) fn record() -> Record {
        let named = |name: &str| Named { name: name.to_owned(), uuid: String::new() };
        Record {
            phase: Phase::Starting,
            offline: false,
            boot_id: "this boot".to_owned(),
            begun_unix_s: 1_800_000_000,
            origin: named("origin"),
            origin_before: table("0 800 snapshot-origin 253:0"),
            origin_merging: table("0 800 snapshot-merge 253:0 253:2 P 8"),
            snapshot: Some(SnapshotRecord {
                device: named("snap"),
                before: table("0 800 snapshot 253:0 253:2 P 8"),
                error: table("0 800 error"),
            }),
            allocated: Sectors(64),
            store: mark(&[(3, 2), (7, 3)]),
            below: Below::default(),
        }
    }

    fn mark(first: &[(u64, u64)]) -> StoreMark {
        StoreMark { chunk_size: ChunkSize::from_sectors(8).unwrap(), first: first.to_vec() }
    }

    #[test]
    fn a_record_comes_back() {
        let plain = table("0 800 linear 253:0 0");
        for phase in [Phase::Merging, Phase::Finishing { plain }] {
            let record = Record { phase, ..record() };
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        }
    }

    #[test]
    fn a_store_is_known_by_what_it_began_with() {
        let before = mark(&[(3, 2), (7, 3)]);
        for now in [&[][..], &[(3, 2)], &[(3, 2), (7, 3)], &[(3, 2), (7, 3), (8, 4)]] {
            assert!(before.may_have_become(&mark(now)), "{now:?}");
        }
        for now in [&[(7, 3)][..], &[(3, 2), (7, 4)]] {
            assert!(!before.may_have_become(&mark(now)), "{now:?}");
        }
        assert!(!mark(&[]).may_have_become(&before), "what was empty has nothing to be known by");
        let chunk_size = ChunkSize::from_sectors(16).unwrap();
        assert!(!before.may_have_become(&StoreMark { chunk_size, ..before.clone() }));
    }
}
