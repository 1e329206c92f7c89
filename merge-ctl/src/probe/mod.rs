//! What eBPF shows of merges: the runs and their phases, and the I/O in flight on the origins.
//!
//! [`Probe::attach`] never fails. It attaches what the kernel and our privileges allow, and its
//! [report](Probe::report) says what is missing and what to do about it; everything else then gives
//! nothing, or what there is. Nothing here interprets: events and counters go into a sample as they
//! are. Dropping the [`Probe`] takes every program off.

mod btf;
mod in_flight;
mod io;
mod kallsyms;
mod layout;
mod leftover;
mod load;
mod log;
mod runs;
pub mod survey;
mod tier;

use std::os::fd::OwnedFd;

use aya::maps::{MapData, PerCpuArray};
use merge_common::dropped;

pub use self::io::WatchError;
pub use self::runs::{Event, InProgress, What};
use crate::clock::now_ns;
use crate::sample::{Dropped, IoSample, ProbeReport, ProbeTier};
use crate::units::DeviceNumber;

/// What to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeOptions {
    /// The best tier to try for.
    pub best: ProbeTier,
    /// Whether the programs log what rarely happens; see [`Probe::drain_log`].
    pub log: bool,
    /// Whether the kernel measures what the programs cost; see [`Probe::costs`]. Measuring makes
    /// every eBPF program of the host a little slower.
    pub stats: bool,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self { best: ProbeTier::Full, log: false, stats: false }
    }
}

/// What a program has cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramCost {
    /// The program's name.
    pub program: String,
    /// How often it ran while the kernel measured.
    pub runs: u64,
    /// How long that took, in nanoseconds.
    pub ns: u64,
}

/// The attached programs.
pub struct Probe {
    report: ProbeReport,
    parts: tier::Parts,
    /// The kernel measures as long as this is open.
    _stats: Option<OwnedFd>,
}

impl Probe {
    /// Attaches what can be attached; it blocks for some hundred milliseconds.
    ///
    /// dm-snapshot has to be loaded for its runs to be seen. Where it is unloaded and loaded again,
    /// attach anew.
    pub fn attach(options: ProbeOptions) -> Self {
        let (parts, mut report) = tier::attach(options);
        let stats = options.stats.then(|| aya::sys::enable_stats(aya::sys::Stats::RunTime));
        let stats = stats.transpose().unwrap_or_else(|error| {
            report.missing.push(format!("What the probes cost cannot be measured: {error}."));
            None
        });
        Self { report, parts, _stats: stats }
    }

    /// What can be seen, and what not.
    pub fn report(&self) -> &ProbeReport {
        &self.report
    }

    /// Counts a device's I/O from now on, beginning at zero. For a device that is watched already,
    /// nothing changes.
    ///
    /// # Errors
    /// The block tracepoints are not attached, or there is no room.
    pub fn watch(&mut self, origin: DeviceNumber) -> Result<(), WatchError> {
        self.parts.io.as_mut().ok_or(WatchError::NotAttached)?.watch(origin)
    }

    /// Stops that. For a device that is not watched, nothing changes.
    ///
    /// # Errors
    /// The kernel refused; the figures are gone all the same.
    pub fn unwatch(&mut self, origin: DeviceNumber) -> Result<(), WatchError> {
        match &mut self.parts.io {
            Some(io) => Ok(io.unwatch(origin)?),
            None => Ok(()),
        }
    }

    /// Whether to tell the wait for siblings from the drain of application writes. It costs every
    /// application write on any origin with snapshots a little, so ask for it only where a merging
    /// origin has siblings. Where it cannot be had, the report says so.
    pub fn set_siblings(&mut self, wanted: bool) {
        if let Err(sentence) = self.parts.set_siblings(wanted)
            && !self.report.missing.contains(&sentence)
        {
            self.report.missing.push(sentence);
        }
    }

    /// Returns when there may be something to [drain](Probe::drain); never, where runs are not seen.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time.
    pub async fn readable(&mut self) {
        match &mut self.parts.runs {
            Some(runs) => runs.readable().await,
            None => std::future::pending().await,
        }
    }

    /// What happened since the last time, in order.
    pub fn drain(&mut self) -> Vec<Event> {
        self.parts.runs.as_mut().map_or_else(Vec::new, runs::Runs::drain)
    }

    /// All runs in progress on this host.
    pub fn current(&self) -> Vec<InProgress> {
        self.parts.runs.as_ref().map_or_else(Vec::new, runs::Runs::current)
    }

    /// A watched device's I/O.
    pub fn io(&self, origin: DeviceNumber) -> Option<IoSample> {
        self.parts.io.as_ref()?.sample(origin)
    }

    /// What was lost since the programs were attached.
    pub fn dropped(&self) -> Dropped {
        let count = |why| self.parts.dropped.as_ref().map_or(0, |counts| total(counts, why));
        Dropped {
            runs: count(dropped::RING_FULL),
            in_flight: count(dropped::IN_FLIGHT_FULL),
            merges: count(dropped::MERGES_FULL),
            half_seen: count(dropped::RUN_HALF_SEEN),
            missed: self.parts.programs.as_ref().map_or(0, load::Programs::missed),
        }
    }

    /// What each loaded program has cost; all zero unless the options ask for it.
    pub fn costs(&self) -> Vec<ProgramCost> {
        self.parts.programs.as_ref().map_or_else(Vec::new, load::Programs::costs)
    }

    /// What the programs logged since the last time; nothing unless the options ask for it.
    pub fn drain_log(&mut self) -> Vec<String> {
        self.parts.log.as_mut().map_or_else(Vec::new, log::ProgramLog::drain)
    }
}

/// A counter's sum over all CPUs; 0 where the kernel does not give it.
fn total(counts: &PerCpuArray<MapData, u64>, why: u32) -> u64 {
    counts.get(&why, 0).map_or(0, |cpus| cpus.iter().sum())
}
