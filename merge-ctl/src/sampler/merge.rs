//! What is read about one merge alone.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Shared;
use super::next_runs::NextRunsReader;
use super::store::StoreReading;
use crate::clock::now_ns;
use crate::dm::device::DeviceStatus;
use crate::dm::kernel_log::LoggedFailure;
use crate::dm::{
    Control, DeviceId, DmErrorKind, SnapshotStatus, Usage, disk_stats, in_flight, kernel_log,
};
use crate::probe::{Probe, What};
use crate::sample::{
    CurrentRun, Disks, End, KernelView, MergeIdentity, NextRuns, ProbeReport, ProbeTier, Run,
    Sample, StoreView, ToldBy,
};
use crate::units::{DeviceNumber, Sectors};

/// One merge, and what its samples are made of beside what all merges share.
pub(super) struct MergeSampler {
    pub(super) identity: MergeIdentity,
    /// Why I/O on this origin is not seen, though it could be on others.
    pub(super) unseen: Option<String>,
    /// Runs that were told and not sampled yet.
    runs: Vec<Run>,
    end: Option<End>,
    /// Whether the kernel log was asked about a failure.
    log_asked: bool,
    /// The snapshot's own figures, where the merge has not begun.
    before: Option<Usage>,
    /// What became of the exception store, until the first sample tells it.
    store: Option<StoreView>,
    /// The exception store, as long as it is being read, and until when a first sample waits.
    reading: Option<(StoreReading, Instant)>,
    /// What reads on where the next runs that are known come to an end.
    next_runs: Option<NextRunsReader>,
    watched: bool,
}

impl MergeSampler {
    pub(super) const fn new(identity: MergeIdentity) -> Self {
        Self {
            identity,
            unseen: None,
            runs: Vec::new(),
            end: None,
            log_asked: false,
            before: None,
            store: None,
            reading: None,
            next_runs: None,
            watched: true,
        }
    }

    pub(super) const fn is_watched(&self) -> bool {
        self.watched
    }

    pub(super) fn is_watched_on(&self, cow_dev: DeviceNumber) -> bool {
        self.watched && self.identity.cow_dev == cow_dev
    }

    pub(super) fn leave(&mut self) {
        self.watched = false;
        self.reading = None;
        self.next_runs = None;
    }

    /// Takes what the probes can see into the identity; whether that changes it.
    pub(super) fn take_report(&mut self, report: &ProbeReport) -> bool {
        let mut probes = report.clone();
        probes.missing.extend(self.unseen.clone());
        let changes = probes != self.identity.probes;
        self.identity.probes = probes;
        changes
    }

    /// Takes what happened; whether it was an end, and the first.
    pub(super) fn take(&mut self, what: What) -> bool {
        match what {
            What::Run(run) => {
                self.runs.push(run);
                false
            }
            What::End(end) => self.end.replace(end).is_none(),
        }
    }

    /// Begins to read the exception store, for a first sample that waits so long for it.
    pub(super) fn read_store(
        &mut self,
        control: &Control,
        before: Option<Usage>,
        patience: Duration,
    ) {
        self.before = before;
        if self.disks().is_ok_and(|disks| disks.cow.suspended || disks.real.suspended) {
            self.store = Some(StoreView::Unread {
                why: "a device below is suspended, and a read would wait until somebody resumes it"
                    .to_owned(),
            });
            return;
        }
        let metadata = match before {
            Some(usage) => usage.metadata,
            None => match self.kernel_view(control) {
                KernelView::Merging { metadata, .. } => metadata,
                _ => Sectors(0),
            },
        };
        let reading = StoreReading::begin(&self.identity, metadata);
        self.reading = Some((reading, Instant::now() + patience));
    }

    /// What the first sample says of the store and of the kernel.
    pub(super) fn first(&mut self, control: &Control) -> (Option<StoreView>, KernelView) {
        let store = self.store.take().or_else(|| {
            let (reading, until) = self.reading.as_ref()?;
            Some(reading.wait(until.saturating_duration_since(Instant::now())))
        });
        if store != Some(StoreView::Reading) {
            self.reading = None;
        }
        self.begin_reading_on(store.as_ref());
        let kernel = match self.before {
            Some(usage) => merging(usage, false),
            None => self.kernel_view(control),
        };
        (store, kernel)
    }

    /// A sample with what the kernel has said.
    pub(super) fn sample(&mut self, kernel: KernelView, probe: &Probe, shared: &Shared) -> Sample {
        let store = self.store_if_read(&kernel);
        if kernel == KernelView::MergeFailed {
            self.ask_the_log(shared.alone);
        }
        self.begin_reading_on(store.as_ref());
        let disks = self.disks().ok();
        let next_runs = self.more_runs(&kernel, disks.as_ref());
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin = self.identity.origin_dev;
        Sample {
            at_ns: now_ns(),
            unix_s: unix.as_secs(),
            kernel,
            store,
            next_runs,
            runs: std::mem::take(&mut self.runs),
            current: self.current(shared),
            end: self.end.clone(),
            io: probe.io(origin),
            kernel_in_flight: in_flight::read(origin).ok(),
            throttle_percent: shared.throttle_percent,
            throttling: shared.throttling,
            disks,
            dropped: shared.dropped,
            offline: None,
        }
    }

    /// Whether the probes may still tell how this merge ended: asked once.
    pub(super) fn may_hear_its_end(&self) -> bool {
        self.end.is_none() && !self.log_asked && self.identity.probes.tier <= ProbeTier::NoModuleBtf
    }

    /// For a failure that the probes did not see: what the kernel log says. It can only mean this
    /// merge where that is `alone`.
    fn ask_the_log(&mut self, alone: bool) {
        if self.log_asked || self.end.is_some() {
            return;
        }
        self.log_asked = true;
        // A log that may not be read tells nothing; the cause is then shown as unknown.
        let told = kernel_log::last_failure().ok().flatten().filter(|_| alone);
        self.end = told.map(|LoggedFailure { at_ns, fault }| End::Failed {
            at_ns,
            fault: Some(fault),
            told_by: ToldBy::KernelLog,
            errno: 0,
            old_chunk: 0,
            chunks: 0,
        });
    }

    fn current(&self, shared: &Shared) -> Option<CurrentRun> {
        shared.current_on(self.identity.cow_dev).map(|in_progress| in_progress.run.clone())
    }

    fn disks(&self) -> io::Result<Disks> {
        Ok(Disks {
            cow: disk_stats::read(self.identity.cow_dev)?,
            real: disk_stats::read(self.identity.real_dev)?,
        })
    }

    /// What the kernel says of the origin.
    pub(super) fn kernel_view(&self, control: &Control) -> KernelView {
        match control.status(DeviceId::Name(&self.identity.origin), true) {
            Ok(status) => self.view_of(&status),
            Err(error) if error.kind == DmErrorKind::NoSuchDevice => {
                KernelView::NotMerging { target: None }
            }
            Err(error) => KernelView::Unknown { text: error.to_string() },
        }
    }

    fn view_of(&self, status: &DeviceStatus) -> KernelView {
        if status.info.dev != self.identity.origin_dev {
            return KernelView::NotMerging { target: None };
        }
        if !status.is_merging() {
            let target = status.lines.first().map(|line| line.kind.clone());
            return KernelView::NotMerging { target };
        }
        match status.snapshot() {
            Some(SnapshotStatus::Usage(usage)) => merging(usage, status.info.suspended),
            Some(SnapshotStatus::MergeFailed) => KernelView::MergeFailed,
            Some(SnapshotStatus::Invalid | SnapshotStatus::Overflow) => KernelView::Invalid,
            Some(SnapshotStatus::Unknown(text)) => KernelView::Unknown { text },
            None => KernelView::Unknown { text: String::new() },
        }
    }

    fn begin_reading_on(&mut self, store: Option<&StoreView>) {
        let Some(StoreView::Read(picture)) = store else { return };
        let MergeIdentity { cow_dev, size, .. } = self.identity;
        self.next_runs = Some(NextRunsReader::new(cow_dev, size, &picture.next_runs));
    }

    /// Runs behind those that were told, when it is time for them.
    fn more_runs(&mut self, kernel: &KernelView, disks: Option<&Disks>) -> Option<NextRuns> {
        let KernelView::Merging { allocated, metadata, suspended, .. } = kernel else {
            return None;
        };
        let usage = crate::store::Usage { allocated: *allocated, metadata: *metadata };
        let left = usage.exceptions_left(self.identity.chunk_size);
        let may_read = !suspended && disks.is_some_and(|disks| !disks.cow.suspended);
        self.next_runs.as_mut()?.poll(left, may_read, now_ns())
    }

    /// The exception store, in the first sample after it was read to its end.
    fn store_if_read(&mut self, kernel: &KernelView) -> Option<StoreView> {
        let (reading, _) = self.reading.as_ref()?;
        let store = reading.wait(Duration::ZERO);
        let left = match kernel {
            KernelView::Merging { allocated, metadata, .. } => allocated > metadata,
            _ => false,
        };
        if store != StoreView::Reading || !left {
            // Whoever finishes the merge wants the COW device for himself.
            self.reading = None;
        }
        Some(store).filter(|store| *store != StoreView::Reading)
    }
}

fn merging(usage: Usage, suspended: bool) -> KernelView {
    let Usage { allocated, total, metadata } = usage;
    KernelView::Merging { allocated, total, metadata, suspended }
}
