//! `cargo xtask bench offline-vm`: how long the kernel and merge-ctl's own engine take to merge the same
//! snapshots on slow devices, by the length of their runs.
//!
//! The merges are `merge-ctl/examples/offline.rs`, which runs in a VM; here they are put into a table.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::findings::{Claim, Findings};
use super::machine;
use super::ratios::Spread;
use crate::build;
use crate::kernels::{self, Choice};
use crate::run::say;
use crate::vm::Vm;
use crate::workspace::Workspace;

/// The kernel takes half a minute for the shortest runs, and the machine may have other work.
const TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);
/// The devices are RAM disks, and the copies to begin with are in memory too.
const MEMORY_MIB: u32 = 4096;

/// Snapshots: how long a run is, and how much there is in all.
struct Size {
    run_kib: u64,
    data_mib: u64,
    /// How many times faster the engine is to be.
    aim: Option<f64>,
}

/// Less data where the kernel takes long for it.
const SIZES: [Size; 5] = [
    Size { run_kib: 4, data_mib: 4, aim: Some(50.0) },
    Size { run_kib: 16, data_mib: 8, aim: None },
    Size { run_kib: 64, data_mib: 16, aim: None },
    Size { run_kib: 256, data_mib: 32, aim: None },
    Size { run_kib: 1024, data_mib: 64, aim: Some(3.0) },
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each snapshot is merged each way
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// The delay of each request to the origin and the COW device
    #[arg(long, value_name = "MS", default_value_t = 1)]
    delay_ms: u32,
    /// 5.10, 6.1, 6.12, sid or experimental
    #[arg(long, value_name = "NAME", default_value = kernels::DEFAULT_VM)]
    kernel: String,
    /// Only runs of these lengths in KiB
    #[arg(value_name = "KIB")]
    runs_kib: Vec<u64>,
}

/// Measures.
pub(super) fn run(workspace: &Workspace, args: &Args) -> Result<Findings> {
    let kernel = kernels::ensure(workspace, &Choice::Named(kernels::parse(&args.kernel)?), false)?;
    let mut vm = Vm::new(kernel);
    vm.memory_mib = MEMORY_MIB;
    vm.timeout = Some(TIMEOUT);
    vm.copies = vec![build::merge_ctl(workspace)?, build::vm_example(workspace, "offline")?];
    say("the same merges by the kernel and offline, some minutes");
    let sizes: Vec<&Size> = SIZES.iter().filter(|size| args.wants(size)).collect();
    let numbers = [args.rounds, args.delay_ms].map(|number| number.to_string().into());
    let mut command: Vec<OsString> = vec!["offline".into()];
    command.extend(numbers);
    command.extend(sizes.iter().map(|size| format!("{}={}", size.run_kib, size.data_mib).into()));
    let mut report = Vec::new();
    let status = vm.run_into(workspace, &command, &mut report, &mut std::io::stderr())?;
    let report = String::from_utf8_lossy(&report);
    if status != 0 {
        bail!("the VM's command ended with status {status} after:\n{report}");
    }
    let how = vec![
        machine::rounds(args.rounds),
        format!("delay {} ms", args.delay_ms),
        machine::in_vm(&vm.kernel.version),
    ];
    let (body, claims) = table(&report, &sizes)?;
    Ok(Findings { how, body, claims })
}

impl Args {
    fn wants(&self, size: &Size) -> bool {
        self.runs_kib.is_empty() || self.runs_kib.contains(&size.run_kib)
    }
}

fn table(report: &str, sizes: &[&Size]) -> Result<(String, Vec<Claim>)> {
    let mut claims = Vec::new();
    let mut table =
        "| run | data | runs | kernel, median | engine, median | quartiles | times faster | with \
         --verify | aim |\n|---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for size in sizes {
        let Size { run_kib, data_mib, aim } = size;
        let of = |way: &str| seconds(report, *run_kib, way);
        let (kernel, engine, verify) = (of("kernel")?, of("engine")?, of("verify")?);
        let times = kernel.median / engine.median;
        let aim = match aim {
            None => String::new(),
            Some(aim) => {
                claims.push(Claim::judged(
                    format!("offline merge beside the kernel's, runs of {run_kib} KiB"),
                    format!("≥ {aim} times as fast"),
                    format!("{times:.1} times"),
                    times >= *aim,
                ));
                format!("{aim} ×: {}", if times >= *aim { "met" } else { "missed" })
            }
        };
        table += &format!(
            "| {run_kib} KiB | {data_mib} MiB | {} | {:.2} s | {:.2} s | {:.2} to {:.2} s | {times:.1} | \
             {:.2} s | {aim} |\n",
            data_mib * 1024 / run_kib,
            kernel.median,
            engine.median,
            engine.low,
            engine.high,
            verify.median,
        );
    }
    Ok((table, claims))
}

/// What the lines `RUN_KIB WAY SECONDS` say of one kind of merge.
fn seconds(report: &str, run_kib: u64, way: &str) -> Result<Spread> {
    let begin = format!("{run_kib} {way} ");
    let figures = report.lines().filter_map(|line| line.strip_prefix(&begin)?.trim().parse().ok());
    Spread::of(figures).with_context(|| format!("no {begin}in the report:\n{report}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_the_medians() {
        let report =
            "4 kernel 30\n4 engine 0.5\n4 verify 1\n4 kernel 20\n4 kernel 25\n4 engine 0.5\n";
        let (table, claims) = table(report, &[&SIZES[0]]).unwrap();
        assert_eq!((claims.len(), claims[0].met), (1, Some(true)));
        let row = "| 4 KiB | 4 MiB | 1024 | 25.00 s | 0.50 s | 0.50 to 0.50 s | 50.0 | 1.00 s | 50 ×: met |";
        assert!(table.contains(row), "{table}");
        assert!(seconds(report, 16, "kernel").is_err());
    }
}
