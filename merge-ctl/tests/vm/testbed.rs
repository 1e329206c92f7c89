//! An origin and a snapshot on RAM disks, made with dmsetup, for tests and the demo in a VM.
//!
//! Four devices: `NAME-real` and `NAME-cow` below, `NAME-origin` and `NAME-snap` above. All are
//! gone when the testbed is dropped, also after a panic.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use merge_ctl::merge::journal;

/// Bytes in a sector.
pub(crate) const SECTOR: u64 = 512;
/// RAM disks that there are; each testbed takes two.
const RAM_DISKS: usize = 24;
/// O_DIRECT wants buffers, places and lengths that are multiples of this.
pub(crate) const BLOCK: usize = 4096;

static LOAD_MODULES: Once = Once::new();
static NEXT_RAM_DISK: AtomicUsize = AtomicUsize::new(0);

/// Runs a command and returns its output; panics where it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs dmsetup.
pub(crate) fn dmsetup(arguments: &[&str]) -> String {
    run("dmsetup", arguments)
}

/// Columns of all devices, a device a line. One that goes while dmsetup lists them makes it fail: then they
/// are listed again.
pub(crate) fn listed(options: &[&str]) -> String {
    let arguments = [&["info", "-c", "--noheadings", "--separator", " "], options].concat();
    for _ in 0..10 {
        let output = Command::new("dmsetup").args(&arguments).output().unwrap();
        if output.status.success() {
            return String::from_utf8_lossy(&output.stdout).into_owned();
        }
    }
    dmsetup(&arguments)
}

/// An origin and one snapshot of it.
pub(crate) struct Testbed {
    name: String,
    sectors: u64,
    real_disk: String,
    cow_disk: String,
    siblings: Vec<String>,
}

impl Testbed {
    /// An origin of `mib` MiB full of a pattern, and an empty snapshot with chunks of
    /// `chunk_sectors`.
    pub(crate) fn new(name: &str, mib: u64, chunk_sectors: u64) -> Self {
        Self::on_disks(name, mib, chunk_sectors, &ram_disk(), &ram_disk())
    }

    /// The same on other disks than RAM disks.
    pub(crate) fn on_disks(
        name: &str,
        mib: u64,
        chunk_sectors: u64,
        real_disk: &str,
        cow_disk: &str,
    ) -> Self {
        LOAD_MODULES.call_once(load_modules);
        let bed = Self {
            name: name.to_owned(),
            sectors: mib * 1024 * 1024 / SECTOR,
            real_disk: real_disk.to_owned(),
            cow_disk: cow_disk.to_owned(),
            siblings: Vec::new(),
        };
        let end = bed.sectors;
        create(&bed.dm("real"), &format!("0 {end} linear {} 0", bed.real_disk));
        create(&bed.dm("cow"), &format!("0 {end} linear {} 0", bed.cow_disk));
        fill(&bed.path("real"), end * SECTOR, 1);
        wipe_header(&bed.path("cow"));
        let (real, cow) = (bed.path("real"), bed.path("cow"));
        create(
            &bed.dm("snap"),
            &format!("0 {end} snapshot {} {} P {chunk_sectors}", real.display(), cow.display()),
        );
        create(&bed.dm("origin"), &format!("0 {end} snapshot-origin {}", real.display()));
        bed
    }

    /// One more snapshot of the same origin, with a COW device of so many MiB.
    pub(crate) fn add_sibling(&mut self, mib: u64, chunk_sectors: u64) -> String {
        self.add_sibling_on(mib * 1024 * 1024 / SECTOR, chunk_sectors, 'P')
    }

    /// One more snapshot of the same origin, with a COW device of so many sectors, persistent (`P`)
    /// or transient (`N`).
    pub(crate) fn add_sibling_on(
        &mut self,
        cow_sectors: u64,
        chunk_sectors: u64,
        persistence: char,
    ) -> String {
        let what = format!("sibling{}", self.siblings.len());
        let disk = ram_disk();
        let cow = format!("{what}-cow");
        create(&self.dm(&cow), &format!("0 {cow_sectors} linear {disk} 0"));
        wipe_header(&self.path(&cow));
        let (real, cow) = (self.path("real"), self.path(&cow));
        let table = format!(
            "0 {} snapshot {} {} {persistence} {chunk_sectors}",
            self.sectors,
            real.display(),
            cow.display()
        );
        create(&self.dm(&what), &table);
        self.siblings.push(what.clone());
        what
    }

    /// The device-mapper name of `real`, `cow`, `origin`, `snap` or a sibling.
    pub(crate) fn dm(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }

    /// The path of such a device.
    pub(crate) fn path(&self, what: &str) -> PathBuf {
        PathBuf::from("/dev/mapper").join(self.dm(what))
    }

    /// How long the origin is.
    pub(crate) fn bytes(&self) -> u64 {
        self.sectors * SECTOR
    }

    /// The same in sectors.
    pub(crate) fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Delays every read and write of both lower devices by `ms`; 0 for no delay.
    pub(crate) fn slow_down(&self, ms: u32) {
        self.slow_down_one("real", ms);
        self.slow_down_one("cow", ms);
    }

    /// Delays every read and write of `real` or `cow`.
    pub(crate) fn slow_down_one(&self, what: &str, ms: u32) {
        let disk = if what == "real" { &self.real_disk } else { &self.cow_disk };
        match ms {
            0 => self.replace(what, &format!("linear {disk} 0")),
            ms => self.replace(what, &format!("delay {disk} 0 {ms}")),
        }
    }

    /// Makes every write to `real` or `cow` fail.
    pub(crate) fn fail_writes(&self, what: &str) {
        let disk = if what == "real" { &self.real_disk } else { &self.cow_disk };
        self.replace(what, &format!("flakey {disk} 0 0 60 1 error_writes"));
    }

    /// Swaps the table of a lower device.
    fn replace(&self, what: &str, target: &str) {
        let device = self.dm(what);
        dmsetup(&["load", &device, "--table", &format!("0 {} {target}", self.sectors)]);
        // Not flushed: what is in flight on a slow device would hold the swap up.
        dmsetup(&["suspend", "--noflush", "--nolockfs", &device]);
        dmsetup(&["resume", &device]);
    }

    /// Opens a device for reading and writing past the page cache.
    pub(crate) fn open(&self, what: &str) -> File {
        open_direct(&self.path(what))
    }

    /// All that a device holds, read past the page cache.
    pub(crate) fn image(&self, what: &str) -> Vec<u8> {
        image_of(&self.path(what))
    }

    /// Writes `blocks` of 4 KiB to the snapshot, one after the other, each with a content of its
    /// own that depends on `seed`.
    pub(crate) fn write_snapshot(&self, blocks: impl IntoIterator<Item = u64>, seed: u64) {
        let file = self.open("snap");
        let mut buffer = AlignedBuffer::new(BLOCK);
        for block in blocks {
            stamp(buffer.as_mut(), seed, block);
            file.write_all_at(buffer.as_mut(), block * BLOCK as u64).unwrap();
        }
    }
}

impl Testbed {
    /// A merge that a test left unfinished is nobody's to resume.
    fn forget_journal(&self) {
        match std::fs::remove_file(journal::path_of(&self.dm("origin"))) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                eprintln!("testbed: the journal of {} stays: {error}", self.dm("origin"));
            }
            _ => {}
        }
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        self.forget_journal();
        // Whatever state a test left: what lies above goes first, and a failure to remove what is
        // no longer there is none.
        let mut devices = vec!["origin".to_owned(), "snap".to_owned()];
        devices.extend(self.siblings.iter().cloned());
        devices.extend(self.siblings.iter().map(|sibling| format!("{sibling}-cow")));
        devices.extend(["cow".to_owned(), "real".to_owned()]);
        for device in devices {
            let name = self.dm(&device);
            if self.path(&device).exists() {
                let removed = Command::new("dmsetup").args(["remove", "--retry", &name]).status();
                if !removed.is_ok_and(|status| status.success()) {
                    eprintln!("testbed: {name} could not be removed");
                }
            }
        }
    }
}

/// Slows merges down by the kernel's own throttle, for as long as this lives.
pub(crate) struct Throttled;

impl Throttled {
    const PARAMETER: &str = "/sys/module/dm_snapshot/parameters/snapshot_copy_throttle";

    /// Copying may take this share of the time.
    pub(crate) fn at(percent: u32) -> Self {
        std::fs::write(Self::PARAMETER, percent.to_string()).unwrap();
        Self
    }
}

impl Drop for Throttled {
    fn drop(&mut self) {
        std::fs::write(Self::PARAMETER, "100").unwrap();
    }
}

/// The path of a RAM disk that no other test has right now.
pub(crate) fn ram_disk() -> String {
    LOAD_MODULES.call_once(load_modules);
    format!("/dev/ram{}", NEXT_RAM_DISK.fetch_add(1, Ordering::Relaxed) % RAM_DISKS)
}

fn load_modules() {
    run("modprobe", &["brd", &format!("rd_nr={RAM_DISKS}"), "rd_size=524288"]);
    for module in ["dm-snapshot", "dm-delay", "dm-flakey"] {
        run("modprobe", &[module]);
    }
}

/// All that a device holds, read past the page cache.
pub(crate) fn image_of(path: &std::path::Path) -> Vec<u8> {
    let mut buffer = AlignedBuffer::new(1024 * 1024);
    let mut image = Vec::new();
    let mut file = open_direct(path);
    loop {
        match file.read(buffer.as_mut()).unwrap() {
            0 => return image,
            read => image.extend_from_slice(&buffer.as_mut()[..read]),
        }
    }
}

/// Writes an image to the beginning of a device, past the page cache.
pub(crate) fn put(device: &std::path::Path, image: &[u8]) {
    let file = open_direct(device);
    let mut buffer = AlignedBuffer::new(1024 * 1024);
    let length = buffer.length;
    for (piece, number) in image.chunks(length).zip(0..) {
        let bytes = &mut buffer.as_mut()[..piece.len()];
        bytes.copy_from_slice(piece);
        file.write_all_at(bytes, number * length as u64).unwrap();
    }
}

/// Opens a device for reading and writing past the page cache.
pub(crate) fn open_direct(path: &std::path::Path) -> File {
    File::options()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32)
        .open(path)
        .unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()))
}

fn create(name: &str, table: &str) {
    dmsetup(&["create", name, "--table", table]);
}

/// A new exception store begins with a chunk of zeros.
pub(crate) fn wipe_header(path: &std::path::Path) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.write_all(&vec![0; 64 * 1024]).unwrap();
    file.sync_all().unwrap();
}

/// Fills a device with blocks that all differ.
pub(crate) fn fill(path: &std::path::Path, bytes: u64, seed: u64) {
    let mut file = File::options().write(true).open(path).unwrap();
    let mut chunk = vec![0; 1024 * 1024];
    let mut block = 0;
    for _ in 0..bytes / chunk.len() as u64 {
        for part in chunk.chunks_mut(BLOCK) {
            stamp(part, seed, block);
            block += 1;
        }
        file.write_all(&chunk).unwrap();
    }
    file.sync_all().unwrap();
}

/// Fills a block with what tells it apart: its number and a seed, mixed, eight bytes at a time.
pub(crate) fn stamp(block: &mut [u8], seed: u64, number: u64) {
    let mut word = mix(seed ^ mix(number));
    for bytes in block.chunks_exact_mut(8) {
        bytes.copy_from_slice(&word.to_le_bytes());
        word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
}

/// Spreads a number over all 64 bits (the finaliser of SplitMix64).
pub(crate) fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A buffer whose start is a multiple of [`BLOCK`], as O_DIRECT wants it.
pub(crate) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// A buffer of `length` bytes.
    pub(crate) fn new(length: usize) -> Self {
        let memory = vec![0; length + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        Self { memory, start, length }
    }
}

impl AsMut<[u8]> for AlignedBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}
