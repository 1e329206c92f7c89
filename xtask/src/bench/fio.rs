//! The application: fio, writing 4 KiB at random places as fast as the device takes them.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::run::Command;

/// The application, ready to run.
pub(super) struct Fio<'a> {
    device: &'a Path,
    seconds: f64,
    engine: &'static str,
    /// Writes a second, where not as many as the device takes.
    rate: Option<u32>,
}

/// What a run did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) ios: u64,
    pub(super) iops: f64,
}

impl<'a> Fio<'a> {
    /// With the steadiest way to submit I/O that fio and the kernel have; `seconds` for one run.
    pub(super) fn new(device: &'a Path, seconds: f64) -> Self {
        // A device that cannot refuse to wait makes io_uring hand each I/O to another thread, and
        // then the scheduler is what is measured.
        let libaio = Self { device, seconds: 0.1, engine: "libaio", rate: None };
        let engine = if libaio.run().is_ok() { "libaio" } else { "io_uring" };
        Self { device, seconds, engine, rate: None }
    }

    /// No more than so many writes a second.
    pub(super) fn at_most(self, rate: u32) -> Self {
        Self { rate: Some(rate), ..self }
    }

    /// What runs, for readers.
    pub(super) fn describe(&self) -> Result<String> {
        let version = Command::new("fio").arg("--version").output()?;
        Ok(format!("{}, {}, 4k randwrite, direct, queue depth 16", version.trim(), self.engine))
    }

    /// One run.
    pub(super) fn run(&self) -> Result<Done> {
        let report = Command::new("fio")
            .args(["--name=overhead", "--rw=randwrite", "--bs=4k", "--direct=1", "--iodepth=16"])
            // zram keeps a page of zeros without compressing it, and what fio does for itself
            // would only hide what the tracer costs.
            .args(["--zero_buffers", "--norandommap", "--gtod_reduce=1", "--time_based"])
            .arg(format!("--ioengine={}", self.engine))
            .arg(format!("--runtime={}ms", (self.seconds * 1000.0).round()))
            .arg(format!("--filename={}", self.device.display()))
            .arg("--output-format=json")
            .args(self.rate.map(|rate| format!("--rate_iops={rate}")))
            .output()?;
        done(&report).context("fio's report is not understood")
    }
}

/// Reads fio's report. fio may say something before it.
fn done(report: &str) -> Option<Done> {
    let json: Value = serde_json::from_str(report.get(report.find('{')?..)?).ok()?;
    let write = &json["jobs"][0]["write"];
    Some(Done { ios: write["total_ios"].as_u64()?, iops: write["iops"].as_f64()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_found_behind_a_warning() {
        let report = "fio: a note\n{\"jobs\": [{\"write\": {\"total_ios\": 7, \"iops\": 3.5}}]}";
        let done = done(report).unwrap();
        assert_eq!((done.ios, done.iops), (7, 3.5));
        assert!(super::done("{\"jobs\": []}").is_none());
    }
}
