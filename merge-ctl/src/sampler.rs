//! Takes samples of one merge: asks device-mapper, the probes, the exception store and sysfs, and
//! interprets nothing.

mod read_times;
mod store;

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::dm::control::DeviceStatus;
use crate::dm::{
    Control, Device, DeviceId, DeviceRef, DmErrorKind, Host, SnapshotArgs, SnapshotStatus, Usage,
    disk_stats, in_flight, throttle,
};
use crate::probe::{Event, Probe, What};
use crate::sample::{
    CurrentRun, Disks, End, KernelView, MergeIdentity, ProbeReport, ProbeTier, Run, Sample,
    StoreView,
};
use crate::throttle::{Place, Throttling};
use crate::units::{DeviceNumber, Sectors};
use store::StoreReading;

/// How long the first sample waits for the exception store: nobody waits longer for a first screen.
const FIRST_SAMPLE_WAITS: Duration = Duration::from_secs(2);

/// One merge, and everything that its samples are read from.
pub struct Sampler {
    control: Control,
    probe: Probe,
    identity: MergeIdentity,
    /// Whether no other merge runs on this host, so that a run whose device is not known yet can
    /// only be ours.
    alone: bool,
    /// Runs that were told and not sampled yet.
    runs: Vec<Run>,
    end: Option<End>,
    /// The exception store, as long as it is being read.
    reading: Option<StoreReading>,
    /// Where a throttler says what it does.
    throttle: Place,
}

impl Sampler {
    /// For the merge of the snapshot with these arguments into `origin`, begun or about to begin.
    ///
    /// # Errors
    /// Where a device below has no number in the kernel's table.
    pub fn new(
        control: Control,
        mut probe: Probe,
        host: &Host,
        origin: &Device,
        args: &SnapshotArgs,
        snapshot: Option<&Device>,
    ) -> io::Result<Self> {
        let mut identity = identity(host, origin, args, snapshot)?;
        probe.set_siblings(!identity.siblings.is_empty());
        identity.probes = probe.report().clone();
        if identity.probes.tier != ProbeTier::None
            && let Err(error) = probe.watch(identity.origin_dev)
        {
            identity.probes.missing.push(format!("I/O on the origin is not seen: {error}."));
        }
        let alone = host.merges().all(|merge| merge.info.dev == identity.origin_dev);
        let (runs, throttle) = (Vec::new(), Place::of_this_host());
        Ok(Self { control, probe, identity, alone, runs, end: None, reading: None, throttle })
    }

    /// What stays the same.
    pub fn identity(&self) -> &MergeIdentity {
        &self.identity
    }

    /// The device-mapper that is asked.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Gives back what outlives this merge.
    pub fn into_parts(mut self) -> (Control, Probe) {
        // Refused only where the programs are gone, and the watch with them.
        let _ = self.probe.unwatch(self.identity.origin_dev);
        (self.control, self.probe)
    }

    /// What the eBPF programs have to say of themselves.
    pub fn drain_log(&mut self) -> Vec<String> {
        self.probe.drain_log()
    }

    /// Returns when the probes have told the end of this merge; never without probes.
    pub async fn something_happened(&mut self) {
        loop {
            self.probe.readable().await;
            let ended_before = self.end.is_some();
            if self.drain() && !ended_before {
                return;
            }
        }
    }

    /// Takes in what the probes told; whether an end was among it.
    fn drain(&mut self) -> bool {
        let mut ended = false;
        for Event { cow_dev, what, .. } in self.probe.drain() {
            if cow_dev != Some(self.identity.cow_dev) {
                // An end without a device is no proof that it is ours, but reason enough to ask.
                ended |= cow_dev.is_none();
                continue;
            }
            match what {
                What::Run(run) => self.runs.push(run),
                What::End(end) => {
                    ended = true;
                    self.end = Some(end);
                }
            }
        }
        ended
    }

    /// A sample of the merging origin.
    pub fn sample(&mut self) -> Sample {
        let kernel = self.kernel_view();
        self.sample_with(kernel)
    }

    /// The first sample: as any other, with what the exception store holds where it can be read.
    pub fn first_sample(&mut self) -> Sample {
        let kernel = self.kernel_view();
        let metadata = match kernel {
            KernelView::Merging { metadata, .. } => metadata,
            _ => Sectors(0),
        };
        let store = Some(self.begin_reading(metadata));
        Sample { store, ..self.sample() }
    }

    /// The first sample of a merge that has not begun: the snapshot's own figures are what there
    /// will be to merge.
    pub fn sample_before(&mut self, usage: Usage) -> Sample {
        let store = Some(self.begin_reading(usage.metadata));
        let kernel = merging(usage, false);
        Sample { store, ..self.sample_with(kernel) }
    }

    /// A sample of a merge that LVM has put off.
    pub fn sample_scheduled(&mut self) -> Sample {
        self.sample_with(KernelView::Scheduled)
    }

    fn sample_with(&mut self, kernel: KernelView) -> Sample {
        let store = self.store_if_read(&kernel);
        self.drain();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin = self.identity.origin_dev;
        Sample {
            at_ns: now_ns(),
            unix_s: unix.as_secs(),
            kernel,
            store,
            runs: std::mem::take(&mut self.runs),
            current: self.current(),
            end: self.end.clone(),
            io: self.probe.io(origin),
            kernel_in_flight: in_flight::read(origin).ok(),
            throttle_percent: throttle::read().ok().flatten(),
            throttling: self.throttling(),
            disks: self.disks().ok(),
            dropped: self.probe.dropped(),
        }
    }

    /// What a living throttler does. One that cannot be read is as good as none: the setting itself
    /// is in the sample.
    fn throttling(&self) -> Option<Throttling> {
        let lease = self.throttle.read().ok().flatten()?;
        lease.holder.is_alive().then_some(lease.throttling)
    }

    fn disks(&self) -> io::Result<Disks> {
        Ok(Disks {
            cow: disk_stats::read(self.identity.cow_dev)?,
            real: disk_stats::read(self.identity.real_dev)?,
        })
    }

    fn current(&self) -> Option<CurrentRun> {
        let mine = |cow: Option<DeviceNumber>| match cow {
            Some(cow) => cow == self.identity.cow_dev,
            None => self.alone,
        };
        self.probe.current().into_iter().find(|run| mine(run.cow_dev)).map(|run| run.run)
    }

    fn kernel_view(&self) -> KernelView {
        match self.control.status(DeviceId::Name(&self.identity.origin), true) {
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

    /// Begins to read the exception store, of which so much metadata is in use, and waits for it as
    /// long as a first sample may.
    fn begin_reading(&mut self, metadata: Sectors) -> StoreView {
        if self.disks().is_ok_and(|disks| disks.cow.suspended || disks.real.suspended) {
            return StoreView::Unread {
                why: "a device below is suspended, and a read would wait until somebody resumes it"
                    .to_owned(),
            };
        }
        let reading = StoreReading::begin(&self.identity, metadata);
        let store = reading.wait(FIRST_SAMPLE_WAITS);
        self.reading = (store == StoreView::Reading).then_some(reading);
        store
    }

    /// The exception store, in the first sample after it was read to its end.
    fn store_if_read(&mut self, kernel: &KernelView) -> Option<StoreView> {
        let store = self.reading.as_ref()?.wait(Duration::ZERO);
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

/// The clock of the samples.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn merging(usage: Usage, suspended: bool) -> KernelView {
    let Usage { allocated, total, metadata } = usage;
    KernelView::Merging { allocated, total, metadata, suspended }
}

fn identity(
    host: &Host,
    origin: &Device,
    args: &SnapshotArgs,
    snapshot: Option<&Device>,
) -> io::Result<MergeIdentity> {
    let number = |dev: &DeviceRef| {
        dev.number().ok_or_else(|| io::Error::other(format!("{dev} has no device number")))
    };
    let (real_dev, cow_dev) = (number(&args.real)?, number(&args.cow)?);
    let siblings = host
        .snapshots_of(real_dev)
        .filter(|other| snapshot.is_none_or(|snapshot| snapshot.info.dev != other.info.dev));
    Ok(MergeIdentity {
        origin: origin.info.name.clone(),
        origin_label: origin.label(),
        snapshot_label: snapshot
            .map(Device::label)
            .or_else(|| host.by_dev(cow_dev)?.snapshot_of_lvm().map(|volume| volume.to_string())),
        origin_dev: origin.info.dev,
        real_dev,
        cow_dev,
        real_label: host.label_of(real_dev),
        cow_label: host.label_of(cow_dev),
        owner: origin.owner(),
        // Only who starts a merge knows the snapshot's device, and sees the merge to its end.
        finished_here: snapshot.is_some(),
        chunk_size: args.chunk_size,
        size: origin.size(),
        siblings: siblings.map(Device::label).collect(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        probes: ProbeReport { tier: ProbeTier::None, missing: Vec::new() },
    })
}
