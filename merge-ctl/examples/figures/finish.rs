//! How long it takes from the kernel's last chunk to the plain device, by who finishes the merge. Lines:
//! `finish WAY SECONDS MERGE_SECONDS`.
//!
//! A thread looks every few milliseconds. What polls finds the end at any moment of its period, so merges
//! of several lengths spread over it.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use merge_ctl::dm::{Control, DeviceId};

use super::disk::{Aligned, Disk, command};
use super::merging;

const LOOK_EVERY: Duration = Duration::from_millis(4);
const PATIENCE: Duration = Duration::from_secs(180);
const DISK_MIB: u64 = 160;
const DATA_MIB: u64 = 48;
const COW_MIB: u64 = 64;
const VG: &str = "finishvg";
const DISK: &str = "finish-disk";
/// The delay of a device during a merge, in milliseconds, and what a run then takes, in seconds: a first
/// guess.
const DELAY_MS: u32 = 1;
const RUN_S: f64 = 0.025;
/// How often lvm2 looks, if nobody says otherwise.
const LVM_PERIOD_S: f64 = 15.0;
/// As an operator would write it, once a second.
const SCRIPT: &str = "set -e
merge=$1 plain=$2
dmsetup suspend plain-origin
dmsetup remove plain-snap
dmsetup load plain-origin --table \"$merge\"
dmsetup resume plain-origin
while :; do
    set -- $(dmsetup status plain-origin)
    if [ \"${4%/*}\" = \"$5\" ]; then break; fi
    sleep 1
done
dmsetup suspend plain-origin
dmsetup load plain-origin --table \"$plain\"
dmsetup resume plain-origin";

/// Who begins and finishes a merge.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    period_s: f64,
    is_lvm: bool,
}

const WAYS: [Way; 5] = [
    Way { name: "lvm-merge-ctl", period_s: 1.0, is_lvm: true },
    Way { name: "lvm-lvconvert", period_s: LVM_PERIOD_S, is_lvm: true },
    Way { name: "lvm-lvconvert-1s", period_s: 1.0, is_lvm: true },
    Way { name: "dm-merge-ctl", period_s: 1.0, is_lvm: false },
    Way { name: "dm-script", period_s: 1.0, is_lvm: false },
];

pub(crate) fn run(rounds: u32) -> Result<()> {
    merging::load_modules()?;
    command("modprobe", &["dm-delay"])?;
    let control = Control::open()?;
    let disk = Disk::new("finish", DISK_MIB, 0)?;
    command("dmsetup", &["create", DISK, "--table", &table(&disk, 0)])?;
    let mut run_s = RUN_S;
    for round in 0..rounds {
        for way in WAYS {
            // Spread over the period, and two seconds at the least.
            let wanted_s = way.period_s * (1.0 + (f64::from(round) + 0.5) / f64::from(rounds));
            let runs = (wanted_s.max(2.0 + wanted_s % 1.0) / run_s) as u64;
            let (finish_s, merge_s) = match way.is_lvm {
                true => of_lvm(&control, &disk, way.name, runs)?,
                false => of_device_mapper(&control, &disk, way.name, runs)?,
            };
            println!("finish {} {finish_s} {merge_s}", way.name);
            run_s = (merge_s / runs as f64).max(0.001);
        }
    }
    command("dmsetup", &["remove", "--retry", DISK]).map(drop)
}

fn table(disk: &Disk, delay_ms: u32) -> String {
    let (sectors, name) = (disk.mib * 2048, disk.name());
    match delay_ms {
        0 => format!("0 {sectors} linear {name} 0"),
        ms => format!("0 {sectors} delay {name} 0 {ms}"),
    }
}

fn slow_down(disk: &Disk, delay_ms: u32) -> Result<()> {
    command("dmsetup", &["load", DISK, "--table", &table(disk, delay_ms)])?;
    command("dmsetup", &["suspend", "--noflush", "--nolockfs", DISK])?;
    command("dmsetup", &["resume", DISK]).map(drop)
}

/// A chunk in two of the snapshot is written, so that each is a run.
fn write_runs(path: &str, runs: u64) -> Result<()> {
    use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let file = std::fs::File::options().write(true).custom_flags(direct).open(path)?;
    let block = Aligned::new(4096);
    (0..runs).try_for_each(|run| file.write_all_at(block.bytes(), run * 2 * 4096))?;
    Ok(())
}

fn of_lvm(control: &Control, disk: &Disk, way: &str, runs: u64) -> Result<(f64, f64)> {
    let device = format!("/dev/mapper/{DISK}");
    let lvm = |words: &str| command("lvm", &words.split(' ').collect::<Vec<_>>());
    lvm(&format!("pvcreate -q -y {device}"))?;
    lvm(&format!("vgcreate -q {VG} {device}"))?;
    lvm(&format!("lvcreate -q -y -W n -L {DATA_MIB}M -n data {VG}"))?;
    lvm(&format!("lvcreate -q -y -s -c 4k -L {COW_MIB}M -n snap {VG}/data"))?;
    write_runs(&format!("/dev/{VG}/snap"), runs)?;
    slow_down(disk, DELAY_MS)?;
    let snapshot = format!("{VG}/snap");
    let words: &[&str] = match way {
        "lvm-merge-ctl" => &["merge-ctl", "start", "--yes", "--output", "plain", &snapshot],
        "lvm-lvconvert" => &["lvm", "lvconvert", "--merge", &snapshot],
        _ => &["lvm", "lvconvert", "--interval", "1", "--merge", &snapshot],
    };
    let gone = [format!("{VG}-snap"), format!("{VG}-snap-cow"), format!("{VG}-data-real")];
    let times = watched(control, words, &format!("{VG}-data"), &gone)?;
    slow_down(disk, 0)?;
    lvm(&format!("vgremove -q -y -f {VG}"))?;
    lvm(&format!("pvremove -q -y {device}"))?;
    Ok(times)
}

fn of_device_mapper(control: &Control, disk: &Disk, way: &str, runs: u64) -> Result<(f64, f64)> {
    let (data, cow) = (DATA_MIB * 2048, COW_MIB * 2048);
    let device = format!("/dev/mapper/{DISK}");
    let create = |what: &str, table: &str| {
        command("dmsetup", &["create", &format!("plain-{what}"), "--table", table])
    };
    create("real", &format!("0 {data} linear {device} 2048"))?;
    create("cow", &format!("0 {cow} linear {device} {}", 2048 + data))?;
    command(
        "dd",
        &["if=/dev/zero", "of=/dev/mapper/plain-cow", "bs=64k", "count=1", "conv=fsync"],
    )?;
    let (real, cow) = ("/dev/mapper/plain-real", "/dev/mapper/plain-cow");
    create("snap", &format!("0 {data} snapshot {real} {cow} P 8"))?;
    create("origin", &format!("0 {data} snapshot-origin {real}"))?;
    write_runs("/dev/mapper/plain-snap", runs)?;
    slow_down(disk, DELAY_MS)?;
    let (merge, plain) =
        (format!("0 {data} snapshot-merge {real} {cow} P 8"), format!("0 {data} linear {real} 0"));
    let words: &[&str] = match way {
        "dm-merge-ctl" => &["merge-ctl", "start", "--yes", "--output", "plain", "plain-snap"],
        _ => &["bash", "-c", SCRIPT, "script", &merge, &plain],
    };
    let times = watched(control, words, "plain-origin", &["plain-snap".to_owned()])?;
    slow_down(disk, 0)?;
    for what in ["origin", "cow", "real"] {
        command("dmsetup", &["remove", "--retry", &format!("plain-{what}")])?;
    }
    Ok(times)
}

/// Runs a command that merges: seconds from the last chunk to the plain device, and of the merge itself.
fn watched(control: &Control, words: &[&str], origin: &str, gone: &[String]) -> Result<(f64, f64)> {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {words:?}"))?;
    let (begun, mut merging) = (Instant::now(), None);
    let mut merged: Option<(Instant, bool)> = None;
    let seconds = loop {
        if begun.elapsed() > PATIENCE {
            bail!("{words:?} does not finish");
        }
        thread::sleep(LOOK_EVERY);
        // LVM takes devices away and makes them anew.
        let Ok(status) = control.status(DeviceId::Name(origin), true) else { continue };
        let now = Instant::now();
        if status.is_merging() {
            merging = merging.or(Some(now));
            let usage = status.snapshot().and_then(|status| status.usage());
            let is_empty = usage.is_some_and(|usage| usage.is_empty());
            // A table that is not resumed yet says that it is empty. One that is finished between two
            // looks is as good as merged at the last of them.
            if !is_empty || merged.is_none_or(|(_, was_empty)| !was_empty) {
                merged = Some((now, is_empty));
            }
            continue;
        }
        let (Some(merging), Some((merged, _))) = (merging, merged) else { continue };
        let names = control.list()?;
        if !status.info.suspended && !names.iter().any(|it| gone.contains(&it.name)) {
            break ((now - merged).as_secs_f64(), (merged - merging).as_secs_f64());
        }
    };
    let status = child.wait()?;
    if !status.success() {
        bail!("{words:?}: {status}");
    }
    Ok(seconds)
}
