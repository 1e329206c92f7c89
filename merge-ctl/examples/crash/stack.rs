//! The two kinds of stack that are crashed: device-mapper by hand, and LVM.
//!
//! All lie on disks that are found by their serial numbers, because names like vda mean nothing
//! after the next boot.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

use crate::content::{Content, ORIGIN_SECTORS};
use crate::testbed::{dmsetup, mix, run, wipe_header};

const COW_SECTORS: u64 = 40 * 1024;
/// Where devices begin on their disks: a journal has to know.
const REAL_AT: u64 = 2048;
pub(crate) const COW_AT: u64 = 4096;
const GROUP: &str = "crash";

/// Who owns the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Nobody: merge-ctl's own steps and journal.
    Raw,
    /// lvm2.
    Lvm,
    /// Nobody, and nothing stands above it while it merges.
    Offline,
}

/// An origin with a snapshot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stack {
    pub(crate) kind: Kind,
    seed: u64,
}

impl Stack {
    pub(crate) const fn new(kind: Kind, seed: u64) -> Self {
        Self { kind, seed }
    }

    /// The origin's device-mapper name.
    pub(crate) const fn origin(self) -> &'static str {
        match self.kind {
            Kind::Raw | Kind::Offline => "raw-origin",
            Kind::Lvm => "crash-data",
        }
    }

    /// The snapshot's device-mapper name.
    pub(crate) const fn snapshot(self) -> &'static str {
        match self.kind {
            Kind::Raw | Kind::Offline => "raw-snap",
            Kind::Lvm => "crash-snap",
        }
    }

    /// How merge-ctl is told of the snapshot.
    pub(crate) const fn snapshot_name(self) -> &'static str {
        match self.kind {
            Kind::Raw | Kind::Offline => "raw-snap",
            Kind::Lvm => "crash/snap",
        }
    }

    pub(crate) fn chunk_sectors(self) -> u64 {
        let sizes = match self.kind {
            // Small chunks make small areas, and many of them.
            Kind::Offline => [1, 2, 4, 8, 32],
            Kind::Raw | Kind::Lvm => [8, 8, 16, 32, 128],
        };
        sizes[(mix(self.seed ^ 0x4d) % 5) as usize]
    }

    /// Makes it anew with this content.
    pub(crate) fn set_up(self, content: &Content) {
        match self.kind {
            Kind::Raw | Kind::Offline => {
                self.take_down();
                create_lower();
                content.fill(&path("raw-real"));
                wipe_header(&path("raw-cow"));
                self.create_upper();
            }
            Kind::Lvm => {
                let size = format!("{ORIGIN_SECTORS}s");
                let _ = quietly("lvm", &["lvremove", "-qff", "-y", GROUP]);
                lvm(&["lvcreate", "-q", "-y", "-L", &size, "-n", "data", "-Wn", "-Zn", GROUP]);
                content.fill(&path(self.origin()));
                let chunk = format!("{}s", self.chunk_sectors());
                let origin = format!("{GROUP}/data");
                let size = format!("{COW_SECTORS}s");
                lvm(&["lvcreate", "-q", "-s", "-c", &chunk, "-L", &size, "-n", "snap", &origin]);
            }
        }
        content.write(&path(self.origin()), &path(self.snapshot()));
    }

    /// The raw stack above its lower devices, as it is before a merge.
    pub(crate) fn create_upper(self) {
        let chunk = self.chunk_sectors();
        let table = format!("0 {ORIGIN_SECTORS} snapshot {} {} P {chunk}", real(), cow());
        dmsetup(&["create", self.snapshot(), "--table", &table]);
        let table = format!("0 {ORIGIN_SECTORS} snapshot-origin {}", real());
        dmsetup(&["create", self.origin(), "--table", &table]);
    }

    /// Removes what there is of the raw stack.
    fn take_down(self) {
        // There is no udev here, and who made a device need not have made its node.
        dmsetup(&["mknodes"]);
        for name in [self.origin(), self.snapshot(), "raw-cow", "raw-real"] {
            if path(name).exists() {
                dmsetup(&["remove", "--retry", name]);
            }
        }
    }
}

/// Makes the volume group; once, on new disks.
pub(crate) fn create_group() {
    let disks = [disk("pv0"), disk("pv1")];
    let disks = disks.each_ref().map(|disk| disk.to_str().unwrap_or_default());
    lvm(&["vgcreate", "-q", "-s", "512k", GROUP, disks[0], disks[1]]);
}

/// Makes durable what lvm2 wrote to its disks: it does not flush them itself.
pub(crate) fn flush_group() {
    for serial in ["pv0", "pv1"] {
        fs::File::open(disk(serial)).unwrap().sync_all().unwrap();
    }
}

/// Activates the volumes, as a boot does.
pub(crate) fn activate_group() {
    lvm(&["vgchange", "-q", "-ay", GROUP]);
}

/// lvm2's volumes with their attributes.
pub(crate) fn volumes() -> String {
    lvm(&["lvs", "-a", "--noheadings", "-o", "lv_name,lv_attr", GROUP])
}

/// The lower devices of the raw stack, if they are not there.
pub(crate) fn create_lower() {
    let lower =
        [("raw-real", "real", REAL_AT, ORIGIN_SECTORS), ("raw-cow", "cow", COW_AT, COW_SECTORS)];
    for (name, serial, at, sectors) in lower {
        if !path(name).exists() {
            let table = format!("0 {sectors} linear {} {at}", disk(serial).display());
            dmsetup(&["create", name, "--table", &table]);
        }
    }
}

/// The path of a device-mapper device.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from("/dev/mapper").join(name)
}

/// The disk of this serial number.
pub(crate) fn disk(serial: &str) -> PathBuf {
    for entry in fs::read_dir("/sys/block").unwrap().flatten() {
        let found = fs::read_to_string(entry.path().join("serial")).unwrap_or_default();
        if found.trim() == serial {
            return PathBuf::from("/dev").join(entry.file_name());
        }
    }
    panic!("there is no disk {serial}");
}

/// Runs a program that may fail; whether it did not.
fn quietly(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

fn real() -> String {
    path("raw-real").display().to_string()
}

fn cow() -> String {
    path("raw-cow").display().to_string()
}

fn lvm(arguments: &[&str]) -> String {
    run("lvm", arguments)
}
