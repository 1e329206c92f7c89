//! What merge-ctl itself uses beside a slow merge, by the number of snapshots of the host. Lines: `used
//! PROGRAM SNAPSHOTS CPU PEAK_KIB`, the CPU in seconds a second; and `spin SECONDS`.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use merge_ctl::dm::Control;

use super::host::LargeHost;
use super::merging;
use super::process::{self, Beside};

const SNAPSHOTS: [usize; 3] = [1, 10, 100];
/// Attaching, and reading the store, are over by then.
const SETTLED: Duration = Duration::from_secs(4);

pub(crate) fn run(seconds: f64) -> Result<()> {
    merging::load_modules()?;
    process::spin();
    let control = Control::open()?;
    for snapshots in SNAPSHOTS {
        let host = LargeHost::new(&control, snapshots, 1)?;
        beside("monitor", snapshots, seconds)?;
        beside("export", snapshots, seconds)?;
        drop(host);
    }
    Ok(())
}

fn beside(program: &str, snapshots: usize, seconds: f64) -> Result<()> {
    let words: &[&str] = match program {
        "monitor" => &["merge-ctl", "monitor", "--output", "plain"],
        _ => &["merge-ctl", "export", "--textfile", "/tmp"],
    };
    let beside = Beside::start(words)?;
    thread::sleep(SETTLED);
    let before = beside.used()?;
    thread::sleep(Duration::from_secs_f64(seconds));
    let after = beside.used()?;
    if program == "export" {
        let page = std::fs::read_to_string("/tmp/merge-ctl.prom")?;
        let told = page.lines().filter(|line| line.contains("-snap")).count();
        if told < snapshots {
            bail!("export tells of {told} lines for {snapshots} snapshots:\n{page}");
        }
    }
    println!("used {program} {snapshots} {} {}", after.cpu_since(before), after.peak_kib);
    Ok(())
}
