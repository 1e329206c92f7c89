//! What must be where, sector by sector, computed from a seed: no copy that could be wrong too.
//!
//! A sector of 512 bytes says who wrote it. Four have a turn: the origin as it was when the
//! snapshot was made, the snapshot's writer, a writer on the origin before the merge (whose writes
//! the merge takes back), and one on the origin while it merges (whose writes stay).

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::testbed::{AlignedBuffer, BLOCK, SECTOR, mix, open_direct, stamp};

/// How long the origin is.
pub(crate) const ORIGIN_SECTORS: u64 = 24 * 1024;
const BLOCK_SECTORS: u64 = BLOCK as u64 / SECTOR;
const BLOCKS: u64 = ORIGIN_SECTORS / BLOCK_SECTORS;
const BUFFER_BYTES: usize = 1024 * 1024;

/// How many of the writes that are not known to be durable may have come through: only so many
/// can be under way, or be told of while the power goes.
const UNDER_WAY: u64 = 64;

/// Who wrote a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Writer {
    /// The origin, before there was a snapshot.
    Origin,
    /// The snapshot's writer.
    Snapshot,
    /// The writer on the origin before the merge.
    Before,
    /// The writer on the merging origin: its so-manieth write.
    During(u64),
}

/// Who may have written a block: exactly one of these each sector.
type Allowed = Vec<Writer>;

/// One round's content.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    seed: u64,
    snapshot: Vec<u64>,
    snapshot_set: BTreeSet<u64>,
    before: BTreeSet<u64>,
}

impl Content {
    /// Of a seed. Where the snapshot is written decides the runs: some long, many short.
    pub(crate) fn of(seed: u64) -> Self {
        let at = |turn: u64, below: u64| mix(seed ^ mix(turn)) % below;
        let mut snapshot = Vec::new();
        for stretch in 0..2 {
            let length = 16 + at(stretch, 112);
            let from = at(10 + stretch, BLOCKS - length);
            snapshot.extend(from..from + length);
        }
        snapshot.extend((0..80 + at(20, 80)).map(|turn| at(100 + turn, BLOCKS)));
        let before = (0..60).map(|turn| at(1000 + turn, BLOCKS)).collect();
        let snapshot_set = snapshot.iter().copied().collect();
        Self { seed, snapshot, snapshot_set, before }
    }

    fn stamp(&self, buffer: &mut [u8], writer: Writer, block: u64) {
        let tag = match writer {
            Writer::Origin => 1,
            Writer::Snapshot => 2,
            Writer::Before => 3,
            Writer::During(turn) => 16 + turn,
        };
        let sectors = buffer.chunks_exact_mut(SECTOR as usize);
        for (sector, number) in sectors.zip(block * BLOCK_SECTORS..) {
            stamp(sector, mix(self.seed ^ mix(tag)), number);
        }
    }

    /// Fills the origin, which has no snapshot yet.
    pub(crate) fn fill(&self, device: &Path) {
        let file = open_direct(device);
        let mut buffer = AlignedBuffer::new(BUFFER_BYTES);
        let blocks_at_once = (BUFFER_BYTES / BLOCK) as u64;
        for first in (0..BLOCKS).step_by(BUFFER_BYTES / BLOCK) {
            for (bytes, block) in buffer.as_mut().chunks_exact_mut(BLOCK).zip(first..) {
                self.stamp(bytes, Writer::Origin, block);
            }
            let length = blocks_at_once.min(BLOCKS - first) as usize * BLOCK;
            file.write_all_at(&buffer.as_mut()[..length], first * BLOCK as u64).unwrap();
        }
        file.sync_all().unwrap();
    }

    /// Makes the exceptions: through the snapshot, and through the origin before the merge.
    pub(crate) fn write(&self, origin: &Path, snapshot: &Path) {
        self.write_blocks(origin, self.before.iter().copied().take(20), Writer::Before);
        self.write_blocks(snapshot, self.snapshot.iter().copied(), Writer::Snapshot);
        self.write_blocks(origin, self.before.iter().copied().skip(20), Writer::Before);
    }

    fn write_blocks(&self, device: &Path, blocks: impl Iterator<Item = u64>, writer: Writer) {
        let file = open_direct(device);
        let mut buffer = AlignedBuffer::new(BLOCK);
        for block in blocks {
            self.stamp(buffer.as_mut(), writer, block);
            file.write_all_at(buffer.as_mut(), block * BLOCK as u64).unwrap();
        }
        file.sync_all().unwrap();
    }

    /// Where the writer on the merging origin goes: to what is merged as often as elsewhere.
    fn place_during(&self, turn: u64) -> u64 {
        let random = mix(self.seed ^ mix(turn + 5000));
        match turn % 2 {
            0 => self.snapshot[(random % self.snapshot.len() as u64) as usize],
            _ => random % BLOCKS,
        }
    }

    /// Makes the next write of the writer on the merging origin, durably.
    pub(crate) fn write_during(&self, file: &File, turn: u64) -> std::io::Result<()> {
        let mut buffer = AlignedBuffer::new(BLOCK);
        let block = self.place_during(turn);
        self.stamp(buffer.as_mut(), Writer::During(turn), block);
        file.write_all_at(buffer.as_mut(), block * BLOCK as u64)?;
        file.sync_data()
    }

    /// What the snapshot shows.
    pub(crate) fn in_snapshot(&self, block: u64) -> Writer {
        if self.snapshot_set.contains(&block) { Writer::Snapshot } else { Writer::Origin }
    }

    /// What the origin shows before the merge.
    pub(crate) fn on_origin_before(&self, block: u64) -> Writer {
        if self.before.contains(&block) { Writer::Before } else { Writer::Origin }
    }

    /// What the origin shows once the merge has begun, for good: the snapshot's content with
    /// `durable` writes of the writer on top, and any of those that were under way.
    pub(crate) fn merged(&self, durable: u64) -> Vec<Allowed> {
        let mut allowed: Vec<_> = (0..BLOCKS).map(|block| vec![self.in_snapshot(block)]).collect();
        for turn in 0..durable {
            allowed[self.place_during(turn) as usize] = vec![Writer::During(turn)];
        }
        for turn in durable..durable + UNDER_WAY {
            allowed[self.place_during(turn) as usize].push(Writer::During(turn));
        }
        allowed
    }

    /// Compares every sector of a device with what it must hold.
    pub(crate) fn check(&self, device: &Path, allowed: &[Allowed]) -> Result<(), String> {
        let file = open_direct(device);
        let mut buffer = AlignedBuffer::new(BUFFER_BYTES);
        let mut wrong = Vec::new();
        for first in (0..BLOCKS).step_by(BUFFER_BYTES / BLOCK) {
            let length = ((BLOCKS - first) as usize * BLOCK).min(BUFFER_BYTES);
            let bytes = &mut buffer.as_mut()[..length];
            file.read_exact_at(bytes, first * BLOCK as u64).map_err(|e| format!("read: {e}"))?;
            for (bytes, block) in bytes.chunks_exact(BLOCK).zip(first..) {
                self.check_block(bytes, block, &allowed[block as usize], &mut wrong);
            }
        }
        match wrong.as_slice() {
            [] => Ok(()),
            wrong => Err(format!(
                "{}: {} sectors are wrong: {}",
                device.display(),
                wrong.len(),
                wrong[..wrong.len().min(8)].join("; ")
            )),
        }
    }

    fn check_block(&self, bytes: &[u8], block: u64, allowed: &[Writer], wrong: &mut Vec<String>) {
        let mut expected = vec![0; BLOCK];
        let mut open: Vec<usize> = (0..BLOCK / SECTOR as usize).collect();
        let sector = |bytes: &[u8], number: usize| {
            let at = number * SECTOR as usize;
            bytes[at..at + SECTOR as usize].to_vec()
        };
        for writer in allowed {
            self.stamp(&mut expected, *writer, block);
            open.retain(|number| sector(bytes, *number) != sector(&expected, *number));
            if open.is_empty() {
                return;
            }
        }
        for number in open {
            let found = self.who_wrote(&sector(bytes, number), block, number);
            wrong.push(format!("block {block}.{number}: {found}, not of {allowed:?}"));
        }
    }

    fn who_wrote(&self, sector: &[u8], block: u64, number: usize) -> String {
        if sector.iter().all(|byte| *byte == 0) {
            return "zeros".into();
        }
        let others = [Writer::Origin, Writer::Snapshot, Writer::Before].into_iter();
        let mut expected = vec![0; BLOCK];
        let at = number * SECTOR as usize;
        for writer in others.chain((0..20_000).map(Writer::During)) {
            if matches!(writer, Writer::During(turn) if self.place_during(turn) != block) {
                continue;
            }
            self.stamp(&mut expected, writer, block);
            if sector == &expected[at..at + SECTOR as usize] {
                return format!("{writer:?}");
            }
        }
        format!("something else, {:02x?}…", &sector[..16])
    }

    /// The same content everywhere.
    pub(crate) fn only(one: impl Fn(u64) -> Writer) -> Vec<Allowed> {
        (0..BLOCKS).map(|block| vec![one(block)]).collect()
    }
}
