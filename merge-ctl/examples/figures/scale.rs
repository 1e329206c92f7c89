//! How long merge-ctl takes to answer on a large host. Lines: `answer WHAT WALL CPU PEAK_KIB`; `tick WHAT
//! SECONDS` for each gap between two samples of one merge; `used WHAT CPU PEAK_KIB`; `fresh SECONDS` for
//! the age of export's page; `spin SECONDS`.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use merge_ctl::dm::Control;
use serde_json::Value;

use super::disk::{Aligned, Disk};
use super::host::LargeHost;
use super::merging::{self, Device};
use super::process::{self, Beside, measured};

const SNAPSHOTS: usize = 100;
const MERGES: usize = 10;
const TIB: u64 = 1 << 40;
/// Blocks that are written to the snapshot of the large origin, far apart.
const WRITES: u64 = 64;

pub(crate) fn run(rounds: u32, seconds: f64) -> Result<()> {
    merging::load_modules()?;
    process::spin();
    let control = Control::open()?;
    large_origin(&control, rounds)?;
    let host = LargeHost::new(&control, SNAPSHOTS, 0)?;
    for _ in 0..rounds {
        answer("version", &["merge-ctl", "--version"])?;
        answer("status", &["merge-ctl", "status"])?;
        answer("dmsetup-status", &["dmsetup", "status"])?;
        answer("plan", &["merge-ctl", "plan", "many03-snap4"])?;
    }
    export("export-snapshots", seconds)?;
    drop(host);
    let host = LargeHost::new(&control, SNAPSHOTS, MERGES)?;
    for _ in 0..rounds {
        answer("status-merges", &["merge-ctl", "status"])?;
        answer("dmsetup-status-merges", &["dmsetup", "status"])?;
    }
    monitor(seconds)?;
    export("export-merges", seconds)?;
    drop(host);
    Ok(())
}

fn answer(what: &str, words: &[&str]) -> Result<()> {
    let took = measured(words)?;
    println!("answer {what} {} {} {}", took.wall_s, took.cpu_s, took.peak_kib);
    Ok(())
}

/// Follows all merges, with all probes, five samples a second.
fn monitor(seconds: f64) -> Result<()> {
    let words = ["merge-ctl", "monitor", "--output", "json", "--interval", "200ms"];
    let mut beside = Beside::start(&words)?;
    let begun = Instant::now();
    beside.wait_for("\"progress\"")?;
    println!("tick monitor-first {}", begun.elapsed().as_secs_f64());
    thread::sleep(Duration::from_secs(3));
    let (said_before, before) = (beside.said()?.len(), beside.used()?);
    thread::sleep(Duration::from_secs_f64(seconds));
    let after = beside.used()?;
    println!("used monitor {} {}", after.cpu_since(before), after.peak_kib);
    let said = beside.said()?;
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for line in said[said_before..].lines().skip(1) {
        // The last line may be half written.
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        if let (Some("progress"), Some(origin), Some(at_ns)) =
            (line["type"].as_str(), line["origin"].as_str(), line["at_ns"].as_u64())
            && let Some(before_ns) = last.insert(origin.to_owned(), at_ns)
        {
            println!("tick monitor {}", (at_ns - before_ns) as f64 / 1e9);
        }
    }
    if last.len() != MERGES {
        bail!("monitor told of {} merges, not {MERGES}:\n{said}", last.len());
    }
    Ok(())
}

fn export(what: &str, seconds: f64) -> Result<()> {
    let page = "/tmp/merge-ctl.prom";
    let beside = Beside::start(&["merge-ctl", "export", "--textfile", "/tmp"])?;
    let begun = Instant::now();
    while !std::path::Path::new(page).exists() && begun.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(20));
    }
    println!("tick {what}-first {}", begun.elapsed().as_secs_f64());
    thread::sleep(Duration::from_secs(3));
    let before = beside.used()?;
    let ends = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < ends {
        thread::sleep(Duration::from_millis(310));
        let written = std::fs::metadata(page).context("export writes no page")?.modified()?;
        let age = SystemTime::now().duration_since(written).unwrap_or_default();
        println!("tick {what}-age {}", age.as_secs_f64());
    }
    let after = beside.used()?;
    println!("used {what} {} {}", after.cpu_since(before), after.peak_kib);
    Ok(())
}

/// An origin of 16 TiB, all of it zeros that nobody keeps, and a snapshot with writes all over it.
fn large_origin(control: &Control, rounds: u32) -> Result<()> {
    let sectors = 16 * TIB / 512;
    let disk = Disk::new("large", 64, 0)?;
    let real = Device::new(control, "large-real", &format!("0 {sectors} zero"))?;
    let real_path = real.path();
    let table = format!("0 {sectors} snapshot {real_path} {} P 8", disk.name());
    let snapshot = Device::new(control, "large-snap", &table)?;
    let origin =
        Device::new(control, "large", &format!("0 {sectors} snapshot-origin {real_path}"))?;
    write_all_over(&snapshot)?;
    for _ in 0..rounds {
        answer("large-status", &["merge-ctl", "status", "large-snap"])?;
        answer("large-plan", &["merge-ctl", "plan", "large-snap"])?;
        answer("large-check", &["merge-ctl", "start", "--check", "--yes", "large-snap"])?;
    }
    answer("large-start", &["merge-ctl", "start", "--yes", "--output", "plain", "large-snap"])?;
    // merge-ctl has taken the snapshot away; what lies above goes first.
    drop((origin, snapshot));
    drop(real);
    Ok(())
}

fn write_all_over(snapshot: &Device<'_>) -> Result<()> {
    use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let file = std::fs::File::options().write(true).custom_flags(direct).open(snapshot.path())?;
    let block = Aligned::new(4096);
    for number in 0..WRITES {
        file.write_all_at(block.bytes(), number * (16 * TIB / WRITES))?;
    }
    Ok(())
}
