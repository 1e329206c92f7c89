//! A snapshot to be merged in spite of all, and what must hold after each crash.

use std::path::Path;
use std::time::{Duration, Instant};

use merge_ctl::dm::{Control, DeviceId};
use rustix::process::{Pid, Signal, kill_process};

use super::random;
use crate::merge_ctl::merge_ctl;
use crate::testbed::{BLOCK, Testbed, dmsetup, mix};

/// A guard acts at once; the slow devices that it waits for take their time.
const AT_ONCE: Duration = Duration::from_secs(3);

/// A testbed with a random snapshot, slowed down.
pub(super) struct Scene {
    pub(super) bed: Testbed,
    content: Vec<u8>,
}

impl Scene {
    pub(super) fn new(name: &str, turn: u64) -> Self {
        let random = |part: u64| random(turn * 1000 + part);
        let chunk_sectors = [8, 8, 16, 32, 128][(random(0) % 5) as usize];
        let bed = Testbed::new(name, 8, chunk_sectors);
        let blocks = bed.bytes() / BLOCK as u64;
        let from = random(1) % (blocks / 2);
        let scattered = (0..20 + random(2) % 40).map(|at| mix(random(3) ^ at) % blocks);
        bed.write_snapshot((from..from + random(4) % 200).chain(scattered), random(5));
        let content = bed.image("snap");
        bed.slow_down(1);
        Self { bed, content }
    }

    /// The command that begins the merge. Without probes: they take longer than the merge.
    pub(super) fn start(&self) -> Vec<String> {
        let words = ["merge-ctl", "start", "--yes", "--output", "json", "--probes", "none"];
        let mut command = words.map(str::to_owned).to_vec();
        command.push(self.bed.dm("snap"));
        command
    }

    /// The command that takes it up again.
    pub(super) fn resume(&self) -> Vec<String> {
        let words = ["merge-ctl", "resume", "--yes", "--output", "json", "--probes", "none"];
        let mut command = words.map(str::to_owned).to_vec();
        command.push(self.bed.dm("origin"));
        command
    }

    /// Which devices are suspended.
    pub(super) fn suspended(&self) -> Vec<&'static str> {
        let control = Control::open().unwrap();
        let is_suspended = |what: &&str| {
            let info = control.info(DeviceId::Name(&self.bed.dm(what)));
            info.is_ok_and(|info| info.suspended)
        };
        ["origin", "snap", "real", "cow"].into_iter().filter(is_suspended).collect()
    }

    /// How long something was suspended from now on: with a guard, hardly at all.
    #[track_caller]
    pub(super) fn comes_back_by_itself(&self) -> Duration {
        let began = Instant::now();
        loop {
            let suspended = self.suspended();
            if suspended.is_empty() {
                return began.elapsed();
            }
            assert!(began.elapsed() < AT_ONCE, "nobody resumes {suspended:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the kernel has it; a node in /dev may be there without.
    fn exists(&self, what: &str) -> bool {
        Control::open().unwrap().info(DeviceId::Name(&self.bed.dm(what))).is_ok()
    }

    /// The type of the origin's table; nothing where it is not there.
    pub(super) fn table(&self) -> String {
        if !self.exists("origin") {
            return String::new();
        }
        let table = dmsetup(&["table", &self.bed.dm("origin")]);
        table.split_whitespace().nth(2).unwrap_or_default().to_owned()
    }

    /// What an operator does: `resume`, and `start` where nothing had begun. In the end all is well.
    #[track_caller]
    pub(super) fn brought_to_its_end(&self) {
        let table = self.table();
        let known = ["snapshot-origin", "snapshot-merge", "linear"];
        assert!(known.contains(&table.as_str()), "the origin's table is {table:?}");
        // Nobody waits for slow devices any more; these are the suite's own, and at rest.
        if self.suspended().is_empty() {
            self.bed.slow_down(0);
        }
        merge_ctl(&["resume", "--yes", "--output", "plain"]).expect(0);
        // No udev is here to remove the node of a device whose remover was killed.
        dmsetup(&["mknodes"]);
        assert_eq!(self.suspended(), [""; 0]);
        if self.table() == "snapshot-origin" {
            merge_ctl(&["start", "--yes", "--output", "json", &self.bed.dm("snap")]).expect(0);
        }
        self.is_merged();
    }

    /// The origin is plain and holds what the snapshot held; nothing is left of the merge.
    #[track_caller]
    pub(super) fn is_merged(&self) {
        assert_eq!(self.suspended(), [""; 0]);
        assert_eq!(self.table(), "linear");
        assert!(self.bed.image("origin") == self.content, "the origin differs from the snapshot");
        assert!(!self.exists("snap"), "the snapshot's device is left");
        assert_eq!(journals(), [""; 0]);
    }
}

/// The journals of merges that are not over.
fn journals() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/var/lib/merge-ctl/merges") else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.strip_suffix(".merge").is_some()).collect()
}

/// Kills a process at once.
pub(super) fn kill(pid: u32) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        // It may have ended, which is as good.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The guards that a process has.
pub(super) fn guards_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let directory = Path::new("/proc").join(pid.to_string());
            let stat = std::fs::read_to_string(directory.join("stat")).unwrap_or_default();
            let command = std::fs::read(directory.join("cmdline")).unwrap_or_default();
            // After the name in brackets: the state, the parent.
            let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            let of_parent = after_name.split_whitespace().nth(1) == Some(&parent.to_string());
            of_parent && command.split(|byte| *byte == 0).any(|word| word == b"guard")
        })
        .collect()
}
