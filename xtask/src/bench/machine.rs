//! The machine that a figure belongs to.

use std::fs;

use anyhow::{Context as _, Result};

/// Its processor, its cores, and what else it has to do.
pub(super) fn processor() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism()?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split_whitespace().next().context("no load average")?;
    let model = model.map_or("unknown processor", |(_, model)| model);
    Ok(format!("{model}, {cores} cores, load {load} before"))
}

/// The release of its kernel.
pub(super) fn kernel() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned())
}
