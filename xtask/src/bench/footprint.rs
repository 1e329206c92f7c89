//! `cargo xtask bench footprint`: what merge-ctl itself uses of a host: beside a slow merge with 1, 10 and
//! 100 snapshots in a VM, and beside 100,000 writes a second on this host.
//!
//! The VM's part is `merge-ctl/examples/figures/footprint.rs`.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::device::RamDevice;
use super::figures::{self, Report};
use super::findings::{Claim, Findings};
use super::fio::Fio;
use super::stop;
use super::tracer::Tracer;
use crate::build;
use crate::kernels;
use crate::run::say;
use crate::workspace::Workspace;

const MEMORY_MIB: u32 = 3072;
const PROGRAMS: [&str; 2] = ["monitor", "export"];
const SNAPSHOTS: [&str; 3] = ["1", "10", "100"];
const WRITES_PER_S: u32 = 100_000;
/// What the tracer of `merge-ctl` may take of one core beside these.
const AIM_PERCENT: f64 = 1.0;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each is watched
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0)]
    seconds: f64,
    /// 5.10, 6.1, 6.12, sid or experimental
    #[arg(long, value_name = "NAME", default_value = kernels::DEFAULT_VM)]
    kernel: String,
}

/// What a process used.
struct Used {
    iops: f64,
    cpu_percent: f64,
    peak_kib: u64,
}

/// Measures.
pub(super) fn run(workspace: &Workspace, args: &Args) -> Result<Findings> {
    let busy = beside_writes(workspace, args.seconds)?;
    let words = ["footprint".to_owned(), args.seconds.to_string()];
    let report = figures::in_vm(workspace, &args.kernel, MEMORY_MIB, &words)?;
    let slower = figures::slower_in_vm(workspace, &report)?;
    let how = vec![format!("{} s each", args.seconds), report.vm.clone()];
    let (body, mut claims) = table(&report, slower)?;
    claims.insert(0, claim(&busy));
    Ok(Findings { how, body: format!("{}\n{body}", on_host(&busy)), claims })
}

/// Traces a device of this host that takes so many writes, as `monitor` samples it.
fn beside_writes(workspace: &Workspace, seconds: f64) -> Result<Used> {
    if !rustix::process::geteuid().is_root() {
        bail!("tracing the block layer needs root");
    }
    let trace = build::example(workspace, "trace")?;
    let device = RamDevice::new()?;
    let path = device.path();
    let fio = Fio::new(&path, seconds).at_most(WRITES_PER_S);
    say(format_args!("{WRITES_PER_S} writes a second on {}", device.kind()));
    let tracer = Tracer::merge_ctl(&trace, device.number()?, false)?;
    let before = tracer.processor_time()?;
    let done = fio.run();
    stop::check()?;
    let spent: Duration = tracer.processor_time()?.saturating_sub(before);
    let peak_kib = tracer.peak_kib()?;
    tracer.stop()?;
    let done = done?;
    Ok(Used { iops: done.iops, cpu_percent: spent.as_secs_f64() / seconds * 100.0, peak_kib })
}

fn on_host(used: &Used) -> String {
    format!(
        "On this host, the tracer with a sample five times a second, watching a RAM device:\n\n\
         | writes a second | processor time | peak memory |\n|---|---|---|\n\
         | {:.0} | {:.2} % of a core | {:.1} MiB |\n",
        used.iops,
        used.cpu_percent,
        used.peak_kib as f64 / 1024.0
    )
}

fn claim(used: &Used) -> Claim {
    let figure = format!(
        "{:.2} % of a core, {:.0} MiB at {:.0} writes/s",
        used.cpu_percent,
        used.peak_kib as f64 / 1024.0,
        used.iops
    );
    let met = used.cpu_percent <= AIM_PERCENT;
    let aim = format!("≤ {AIM_PERCENT} % of a core");
    Claim::judged("merge-ctl's own process beside 100,000 writes/s", aim, figure, met)
}

fn table(report: &Report, slower: f64) -> Result<(String, Vec<Claim>)> {
    let mut table = format!(
        "In the VM, whose processors take {slower:.1} times as long for the same warm loop as this host's, and far \
         longer for code that they meet for the first time:\n\n\
         | program | snapshots | processor time, emulated | peak memory |\n|---|---|---|---|\n"
    );
    let mut highest_mib: f64 = 0.0;
    for program in PROGRAMS {
        for snapshots in SNAPSHOTS {
            let words = ["used", program, snapshots];
            let cpu = report.spread(&words, 0).context(program)?.median * 100.0;
            let mib = report.spread(&words, 1)?.median / 1024.0;
            highest_mib = highest_mib.max(mib);
            // Writing into a String cannot fail.
            let _ = writeln!(table, "| {program} | {snapshots} | {cpu:.1} % | {mib:.1} MiB |");
        }
    }
    let what = "peak memory of monitor and export beside a merge, up to 100 snapshots";
    Ok((table, vec![Claim::plain(what, format!("{highest_mib:.0} MiB"))]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_highest_of_all() {
        let mut report = String::new();
        for program in PROGRAMS {
            for snapshots in SNAPSHOTS {
                let _ = writeln!(report, "used {program} {snapshots} 0.031 {snapshots}024");
            }
        }
        let (table, claims) = table(&Report::of(&report, String::new()), 2.5).unwrap();
        assert!(table.contains("| export | 100 | 3.1 % | 97.7 MiB |"), "{table}");
        assert_eq!(claims[0].figure, "98 MiB");
        assert!(super::table(&Report::of("", String::new()), 1.0).is_err());
    }

    #[test]
    fn the_aim_is_for_one_core() {
        let used = |cpu_percent| Used { iops: 1e5, cpu_percent, peak_kib: 2048 };
        assert_eq!(claim(&used(0.5)).met, Some(true));
        assert_eq!(claim(&used(1.5)).met, Some(false));
        assert!(on_host(&used(0.5)).contains("| 100000 | 0.50 % of a core | 2.0 MiB |"));
    }
}
