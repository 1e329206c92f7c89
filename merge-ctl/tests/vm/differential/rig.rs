//! The devices of one snapshot after the other, on two RAM disks, through the library's own ioctls:
//! no process is started, so a snapshot takes a fraction of a second.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use merge_ctl::dm::device::Removal;
use merge_ctl::dm::holders::Holders;
use merge_ctl::dm::{
    Control, DeviceId, Host, Persistence, SnapshotArgs, Subject, Table, Target, Usage, nodes,
};
use merge_ctl::merge::drive::{Unwritten, drive};
use merge_ctl::merge::live::LiveExecutor;
use merge_ctl::merge::machine::Goal;
use merge_ctl::merge::preflight::{self, Way};
use merge_ctl::merge::recording;
use merge_ctl::probe::{Probe, ProbeOptions, What};
use merge_ctl::sample::{End, ProbeTier};
use merge_ctl::store::Run;
use merge_ctl::units::{ChunkSize, DeviceNumber, Sectors};

use super::case::{Case, Entry, entries_per_area};
use super::writers::{Door, Write};
use crate::testbed::{AlignedBuffer, BLOCK, SECTOR, fill, open_direct, ram_disk, stamp};

const REAL: &str = "diff-real";
pub(crate) const COW: &str = "diff-cow";
const SNAPSHOT: &str = "diff-snap";
const ORIGIN: &str = "diff-origin";

/// How much of both disks is filled beforehand: no snapshot needs more.
const FILLED_BYTES: u64 = 48 << 20;
/// The longest write, and the longest read.
const BUFFER_BYTES: usize = 1 << 20;
/// No merge here takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Rig {
    control: Control,
    /// None where nobody asks for the runs.
    probe: Option<Probe>,
    real_disk: DeviceNumber,
    cow_disk: DeviceNumber,
    /// Which devices there are, the lower ones first.
    made: Vec<(&'static str, DeviceNumber)>,
}

#[expect(clippy::unused_self, reason = "there is content only as long as the devices are")]
impl Rig {
    /// Attaches the probes, for all snapshots to come.
    pub(crate) fn new() -> Self {
        let probe = Probe::attach(ProbeOptions::default());
        let report = probe.report();
        assert!(report.tier <= ProbeTier::NoModuleBtf, "runs are not seen: {report:?}");
        let mut rig = Self::without_probes();
        rig.probe = Some(probe);
        rig
    }

    /// The same for merges whose runs do not matter.
    pub(crate) fn without_probes() -> Self {
        let disks = [ram_disk(), ram_disk()];
        for (disk, seed) in disks.iter().zip(1..) {
            fill(Path::new(disk), FILLED_BYTES, seed);
        }
        let [real_disk, cow_disk] =
            disks.map(|disk| nodes::block_device_of(Path::new(&disk)).unwrap().unwrap());
        Self {
            control: Control::open().unwrap(),
            probe: None,
            real_disk,
            cow_disk,
            made: Vec::new(),
        }
    }

    /// Makes the devices of a snapshot whose store is new, or is written by hand.
    pub(crate) fn set_up(&mut self, case: &Case, crafted: Option<&[Entry]>) {
        let (real_disk, cow_disk) = (self.real_disk, self.cow_disk);
        self.make(REAL, case.origin_sectors, linear(real_disk));
        self.make(COW, case.cow_sectors, linear(cow_disk));
        // What else is on the COW device stays there from the snapshot before.
        match crafted {
            Some(entries) => craft(&open(COW), case.chunk_sectors, entries),
            None => write_direct(&open(COW), 0, &[0; BLOCK]),
        }
        self.make_snapshot(case);
        self.make(
            ORIGIN,
            case.origin_sectors,
            Target::SnapshotOrigin { real: self.dev(REAL).into() },
        );
    }

    /// Removes them all.
    pub(crate) fn tear_down(&mut self) {
        while let Some((name, _)) = self.made.last() {
            self.unmake(name);
        }
    }

    /// Removes the snapshot and the origin; what is below stays.
    pub(crate) fn remove_upper(&mut self) {
        for name in [ORIGIN, SNAPSHOT] {
            self.unmake(name);
        }
    }

    /// The path of the origin's device below.
    pub(crate) fn real_path() -> PathBuf {
        path(REAL)
    }

    /// The path of the device with the exceptions.
    pub(crate) fn cow_path() -> PathBuf {
        path(COW)
    }

    /// Writes as the applications of the case do, each in a thread of its own.
    pub(crate) fn write(&self, case: &Case, rows: &[Vec<Write>]) {
        thread::scope(|scope| {
            for (row, seed) in rows.iter().zip(case.seed << 8..) {
                scope.spawn(move || write_row(case, row, seed));
            }
        });
    }

    /// Deactivates the snapshot and reads it from disk again.
    pub(crate) fn reload(&mut self, case: &Case) {
        self.unmake(SNAPSHOT);
        self.make_snapshot(case);
    }

    /// The snapshot's status line.
    pub(crate) fn usage(&self) -> Usage {
        self.usage_of(SNAPSHOT)
    }

    /// All that the snapshot holds.
    pub(crate) fn snapshot_content(&self, case: &Case) -> Vec<u8> {
        read_all(SNAPSHOT, case)
    }

    /// All that the origin holds.
    pub(crate) fn origin_content(&self, case: &Case) -> Vec<u8> {
        read_all(ORIGIN, case)
    }

    /// Begins the merge by handing over the exceptions of the active snapshot, as `start` does.
    pub(crate) fn hand_over(&mut self) {
        self.forget_events();
        let host = Host::read(&self.control).unwrap();
        let snapshot = host.by_name(SNAPSHOT).unwrap();
        let plan = preflight::check(&host, snapshot, &|_| Holders::default()).unwrap();
        let Way::DeviceMapper(handover) = &plan.way else { panic!("{:?}", plan.way) };
        let mut executor = LiveExecutor::new(&self.control, [plan.origin, plan.snapshot]);
        let mut log = Unwritten(recording::of_handover(&host, handover).unwrap());
        let outcome = drive(&Goal::Merge, &mut executor, &mut log);
        assert!(outcome.is_reached() && outcome.failures.is_empty(), "{outcome:?}");
        assert!(executor.notes().is_empty(), "{:?}", executor.notes());
        self.made.retain(|(name, _)| *name != SNAPSHOT);
    }

    /// Begins the merge with no snapshot active.
    pub(crate) fn merge_inactive(&mut self, case: &Case) {
        self.forget_events();
        self.unmake(SNAPSHOT);
        let table = self.merge_table(case);
        self.control.load(ORIGIN, &table, false).unwrap();
        self.control.resume(ORIGIN).unwrap();
    }

    /// Removes the origin while it merges, and tells the runs up to there.
    pub(crate) fn interrupt(&mut self) -> Vec<Run> {
        self.unmake(ORIGIN);
        self.drain_runs().0
    }

    /// Loads the merge that was interrupted again.
    pub(crate) fn go_on(&mut self, case: &Case) {
        let target = self.merge_target(case);
        self.make(ORIGIN, case.origin_sectors, target);
    }

    /// The runs of the merge that was begun, up to its end.
    pub(crate) fn merged_runs(&mut self) -> Vec<Run> {
        let deadline = Instant::now() + PATIENCE;
        let mut runs = Vec::new();
        loop {
            let (more, ended) = self.drain_runs();
            runs.extend(more);
            if ended {
                break;
            }
            assert!(Instant::now() < deadline, "no end of the merge after {} runs", runs.len());
            thread::sleep(Duration::from_millis(1));
        }
        assert!(self.usage_of(ORIGIN).is_empty(), "the merge has ended, and something is left");
        runs
    }

    /// What the probes have missed since they were attached.
    pub(crate) fn dropped(&mut self) -> u64 {
        let dropped = self.probe().dropped();
        dropped.runs + dropped.merges + dropped.half_seen
    }

    fn probe(&mut self) -> &mut Probe {
        self.probe.as_mut().expect("runs are asked for")
    }

    fn drain_runs(&mut self) -> (Vec<Run>, bool) {
        let cow = self.dev(COW);
        let (mut runs, mut ended) = (Vec::new(), false);
        for event in self.probe().drain() {
            match event.what {
                What::Run(run) => {
                    assert_eq!(event.cow_dev, Some(cow), "a run of another merge");
                    runs.push(Run {
                        old_chunk: run.old_chunk,
                        new_chunk: run.new_chunk,
                        chunks: run.chunks,
                    });
                }
                What::End(End::Done { .. }) => ended = true,
                What::End(end) => panic!("{end:?}"),
            }
        }
        (runs, ended)
    }

    fn forget_events(&mut self) {
        drop(self.probe().drain());
    }

    fn usage_of(&self, name: &str) -> Usage {
        let status = self.control.status(DeviceId::Name(name), true).unwrap();
        let snapshot = status.snapshot().unwrap_or_else(|| panic!("{name} is no snapshot"));
        snapshot.usage().unwrap_or_else(|| panic!("{name}: {snapshot}"))
    }

    fn make_snapshot(&mut self, case: &Case) {
        let args = self.args(case);
        self.make(SNAPSHOT, case.origin_sectors, Target::Snapshot(args));
    }

    fn merge_target(&self, case: &Case) -> Target {
        Target::SnapshotMerge(self.args(case))
    }

    fn merge_table(&self, case: &Case) -> Table {
        Table::single(Sectors(case.origin_sectors), self.merge_target(case))
    }

    fn args(&self, case: &Case) -> SnapshotArgs {
        SnapshotArgs {
            real: self.dev(REAL).into(),
            cow: self.dev(COW).into(),
            persistence: Persistence::Persistent,
            chunk_size: ChunkSize::from_sectors(case.chunk_sectors as u32).unwrap(),
            features: Vec::new(),
        }
    }

    fn dev(&self, name: &str) -> DeviceNumber {
        let found = self.made.iter().find(|(made, _)| *made == name);
        found.unwrap_or_else(|| panic!("there is no {name}")).1
    }

    fn make(&mut self, name: &'static str, sectors: u64, target: Target) {
        let dev = self.control.create(name, None).unwrap().dev;
        self.made.push((name, dev));
        self.control.load(name, &Table::single(Sectors(sectors), target), false).unwrap();
        self.control.resume(Subject::name(name)).unwrap();
        nodes::ensure(name, dev).unwrap();
    }

    fn unmake(&mut self, name: &str) {
        let at = self.made.iter().position(|(made, _)| *made == name).unwrap();
        let (name, dev) = self.made.remove(at);
        assert_eq!(self.control.remove(name, false).unwrap(), Removal::Done);
        nodes::forget(name, dev).unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // After a panic anything may be there, and suspended.
        for (name, dev) in self.made.iter().rev() {
            let removed =
                self.control.resume(*name).is_ok() | self.control.remove(*name, false).is_ok();
            println!("clean-up of {name}: {removed} {:?}", nodes::forget(name, *dev));
        }
    }
}

fn path(name: &str) -> PathBuf {
    Path::new("/dev/mapper").join(name)
}

fn open(name: &str) -> File {
    open_direct(&path(name))
}

fn linear(device: DeviceNumber) -> Target {
    Target::Linear { device: device.into(), offset: Sectors(0) }
}

fn write_row(case: &Case, row: &[Write], seed: u64) {
    let [snapshot, origin] = [open(SNAPSHOT), open(ORIGIN)];
    let mut buffer = AlignedBuffer::new(BUFFER_BYTES);
    for (write, number) in row.iter().zip(0..) {
        let (from, sectors) = extent(case, *write);
        let bytes = &mut buffer.as_mut()[..(sectors * SECTOR) as usize];
        stamp(bytes, seed, number);
        let file = if write.door == Door::Snapshot { &snapshot } else { &origin };
        file.write_all_at(bytes, from * SECTOR).unwrap();
    }
}

/// The sectors of a write: where it begins, and how many.
fn extent(case: &Case, write: Write) -> (u64, u64) {
    let from = write.chunk * case.chunk_sectors;
    let to = ((write.chunk + write.chunks) * case.chunk_sectors).min(case.origin_sectors);
    let skipped = if write.part { (to - from) / 3 } else { 0 };
    (from + skipped, to - from - 2 * skipped)
}

fn read_all(name: &str, case: &Case) -> Vec<u8> {
    let file = open(name);
    let mut content = Vec::with_capacity((case.origin_sectors * SECTOR) as usize);
    let mut buffer = AlignedBuffer::new(BUFFER_BYTES);
    while content.len() < content.capacity() {
        let wanted = (content.capacity() - content.len()).min(BUFFER_BYTES);
        let part = &mut buffer.as_mut()[..wanted];
        file.read_exact_at(part, content.len() as u64).unwrap();
        content.extend_from_slice(part);
    }
    content
}

fn write_direct(file: &File, at_bytes: u64, bytes: &[u8]) {
    let mut buffer = AlignedBuffer::new(bytes.len());
    buffer.as_mut().copy_from_slice(bytes);
    file.write_all_at(buffer.as_mut(), at_bytes).unwrap();
}

/// Writes a store: the header, and areas of these entries. What is behind the end is noise.
fn craft(cow: &File, chunk_sectors: u64, entries: &[Entry]) {
    let chunk_bytes = chunk_sectors * SECTOR;
    let per_area = entries_per_area(chunk_sectors);
    let header = [0x7041_6e53_u32, 1, 1, chunk_sectors as u32];
    let mut chunk = vec![0; chunk_bytes as usize];
    chunk[..16].copy_from_slice(header.map(u32::to_le_bytes).as_flattened());
    write_direct(cow, 0, &chunk);
    for area in 0..=entries.len() as u64 / per_area {
        stamp(&mut chunk, 99, area);
        let here = entries.iter().skip((area * per_area) as usize);
        let with_end = here.copied().chain([(7, 0)]);
        for (place, (old, new)) in chunk.chunks_exact_mut(16).zip(with_end) {
            place.copy_from_slice([old, new].map(u64::to_le_bytes).as_flattened());
        }
        write_direct(cow, (1 + area * (per_area + 1)) * chunk_bytes, &chunk);
    }
}
