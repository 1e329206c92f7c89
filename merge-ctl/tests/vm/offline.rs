//! merge-ctl's own engine on an origin and a COW device that nobody uses, and the kernel as its judge.
//!
//! The judge is a plain snapshot-merge target over both: what it shows right after it was loaded, what
//! it shows once it has merged the rest, and what is then on the origin, must all be the same.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use merge_ctl::dm::device::Removal;
use merge_ctl::dm::{
    Control, DeviceId, Persistence, SnapshotArgs, Subject, Table, Target, Usage, nodes,
};
use merge_ctl::store::{FileSource, Opened, Store};
use merge_ctl::units::{ChunkSize, Sectors};

use rustix::io::Errno;

use super::merge_ctl::{Ended, merge_ctl};
use super::testbed::{SECTOR, Testbed, dmsetup, image_of};

/// No merge by the kernel takes as long here.
const PATIENCE: Duration = Duration::from_secs(120);
/// A request of a process that was killed may hold a device until it is answered.
const LET_GO: Duration = Duration::from_secs(30);

/// An origin and a COW device with nothing above them.
pub(crate) struct Pair {
    pub(crate) real: PathBuf,
    pub(crate) cow: PathBuf,
    pub(crate) sectors: u64,
    pub(crate) chunk_sectors: u64,
    /// Of the device that judges.
    judge: String,
}

impl Pair {
    /// These.
    pub(crate) fn new(real: &Path, cow: &Path, sectors: u64, chunk_sectors: u64) -> Self {
        let judge = format!("judge-{}", real.file_name().unwrap().to_string_lossy());
        Self { real: real.to_owned(), cow: cow.to_owned(), sectors, chunk_sectors, judge }
    }

    /// Those of a testbed, whose upper devices are taken away.
    pub(crate) fn below(bed: &Testbed, chunk_sectors: u64) -> Self {
        dmsetup(&["remove", "--retry", &bed.dm("origin")]);
        dmsetup(&["remove", "--retry", &bed.dm("snap")]);
        Self::new(&bed.path("real"), &bed.path("cow"), bed.sectors(), chunk_sectors)
    }

    /// The arguments that merge it offline.
    fn arguments<'a>(&'a self, options: &[&'a str]) -> Vec<&'a str> {
        let [real, cow] = [&self.real, &self.cow].map(|path| path.to_str().unwrap());
        let words = ["start", "--offline", "--yes", "--output", "plain"];
        let devices = ["--origin-device", real, "--cow-device", cow];
        [&words[..], &devices, options].concat()
    }

    /// Merges it offline.
    pub(crate) fn merge(&self, options: &[&str]) -> Ended {
        merge_ctl(&self.arguments(options))
    }

    /// The same, without waiting for its end.
    pub(crate) fn spawn(&self, options: &[&str]) -> Child {
        self.command(options).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The same, to be asked what it said.
    pub(crate) fn spawn_loud(&self, options: &[&str]) -> Child {
        self.command(options).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new("merge-ctl");
        command.args(self.arguments(options)).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// The device of the judge.
    pub(crate) fn judge(&self) -> PathBuf {
        Path::new("/dev/mapper").join(&self.judge)
    }

    /// Loads `snapshot` or `snapshot-merge` over both.
    pub(crate) fn load(&self, target: &str) {
        let control = Control::open().unwrap();
        let began = Instant::now();
        let dev = control.create(&self.judge, None).unwrap().dev;
        let table = Table::single(Sectors(self.sectors), self.target(target));
        // Somebody who was killed may hold the devices until the last request is answered.
        while let Err(error) = control.load(self.judge.as_str(), &table, false) {
            let is_held = error.errno == Some(Errno::BUSY);
            assert!(is_held && began.elapsed() < LET_GO, "{table:?}: {error:?}");
            thread::sleep(Duration::from_millis(50));
        }
        control.resume(Subject::name(self.judge.as_str())).unwrap();
        nodes::ensure(&self.judge, dev).unwrap();
    }

    fn target(&self, target: &str) -> Target {
        let dev = |path: &Path| nodes::block_device_of(path).unwrap().unwrap();
        let args = SnapshotArgs {
            real: dev(&self.real).into(),
            cow: dev(&self.cow).into(),
            persistence: Persistence::Persistent,
            chunk_size: ChunkSize::from_sectors(self.chunk_sectors as u32).unwrap(),
            features: Vec::new(),
        };
        match target {
            "snapshot" => Target::Snapshot(args),
            "snapshot-merge" => Target::SnapshotMerge(args),
            other => panic!("{other}"),
        }
    }

    /// Removes what [`Self::load`] made.
    pub(crate) fn unload(&self) {
        let control = Control::open().unwrap();
        let dev = nodes::block_device_of(&self.judge()).unwrap().unwrap();
        assert_eq!(control.remove(self.judge.as_str(), false).unwrap(), Removal::Done);
        nodes::forget(&self.judge, dev).unwrap();
    }

    /// How much of the store is in use, and how much of that by metadata, as the loaded target says: the
    /// same where there are no exceptions.
    pub(crate) fn usage(&self) -> Usage {
        let status = Control::open().unwrap().status(DeviceId::Name(&self.judge), true).unwrap();
        let snapshot = status.snapshot().unwrap_or_else(|| panic!("no snapshot: {status:?}"));
        snapshot.usage().unwrap_or_else(|| panic!("{snapshot}"))
    }

    /// Waits until the loaded snapshot-merge target has merged all.
    pub(crate) fn wait_merged(&self) {
        let began = Instant::now();
        while !self.usage().is_empty() {
            assert!(began.elapsed() < PATIENCE, "no end: {:?}", self.usage());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The kernel alone, from whatever there is: the view is right at once, and at the end, and then on
    /// the origin itself. `what` names the situation.
    #[track_caller]
    pub(crate) fn kernel_completes(&self, promised: &[u8], what: &str) {
        self.load("snapshot-merge");
        same(&image_of(&self.judge()), promised, &format!("{what}: the view right after the load"));
        self.wait_merged();
        same(&image_of(&self.judge()), promised, &format!("{what}: the view of the merged origin"));
        self.unload();
        self.is_merged(promised, what);
    }

    /// The origin holds this, and the store is empty.
    #[track_caller]
    pub(crate) fn is_merged(&self, promised: &[u8], what: &str) {
        same(&image_of(&self.real), promised, &format!("{what}: the origin"));
        assert_eq!(self.exceptions(), 0, "{what}: the store is not empty");
    }

    /// The first area of the merged store is all zeroes: the kernel reads it whole when it uses the store
    /// again, and what stood behind the end would come back once it has filled the area up to there
    /// (`read_exceptions`, `persistent_commit_exception`).
    #[track_caller]
    pub(crate) fn nothing_can_come_back(&self, what: &str) {
        let chunk = (self.chunk_sectors * SECTOR) as usize;
        let area = &image_of(&self.cow)[chunk..2 * chunk];
        let left = area.iter().position(|byte| *byte != 0);
        assert_eq!(left, None, "{what}: the first area is not clear at this byte");
    }

    /// How many exceptions are in the store.
    #[track_caller]
    pub(crate) fn exceptions(&self) -> u64 {
        let source = FileSource::open(&self.cow).unwrap();
        match Store::open(source, None).unwrap() {
            Opened::Usable(store) => store.survey_runs().unwrap().0.exceptions,
            other => panic!("no exception store on {}: {other:?}", self.cow.display()),
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if self.judge().exists() {
            let _ = Command::new("dmsetup").args(["remove", "--retry", &self.judge]).status();
        }
    }
}

/// The first sector where two images differ, if any.
#[track_caller]
pub(crate) fn same(found: &[u8], wanted: &[u8], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what} has another length");
    let different = found.chunks(512).zip(wanted.chunks(512)).position(|(a, b)| a != b);
    assert_eq!(different, None, "{what} differs at this sector");
}

/// What a device has been asked for, as its counters in sysfs say
/// (`Documentation/block/stat.rst`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) read_sectors: u64,
    pub(crate) written_sectors: u64,
}

impl Traffic {
    /// So far.
    pub(crate) fn of(device: &Path) -> Self {
        let number = std::fs::metadata(device).unwrap().rdev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let stat = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).unwrap();
        let fields: Vec<u64> =
            stat.split_whitespace().map(|field| field.parse().unwrap()).collect();
        Self { read_sectors: fields[2], written_sectors: fields[6] }
    }

    /// From then to now.
    pub(crate) fn since(self, then: Self) -> Self {
        Self {
            read_sectors: self.read_sectors - then.read_sectors,
            written_sectors: self.written_sectors - then.written_sectors,
        }
    }
}
