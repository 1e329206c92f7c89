//! Takes samples of merges: asks device-mapper, the probes, the exception stores and sysfs, and
//! interprets nothing.
//!
//! A [`Watch`] is all that a process watches: device-mapper and the probes once, and for each merge
//! what is its own. A merge is called by the place that [`Watch::add`] gave it, which stays the
//! same also when others are over.
//!
//! What always holds: what the probes tell goes to the merge whose COW device they name; what they
//! tell of a device that they cannot name yet goes to nobody, unless one merge is alone on this
//! host, as far as that was [looked at](Watch::look). What is the same for all merges is read once
//! a [round](Watch::round), so that a round costs in proportion to the merges.

mod identity;
mod merge;
mod next_runs;
pub mod offline;
mod read_times;
mod store;

use std::io;
use std::thread;
use std::time::Duration;

use crate::dm::{Control, Device, Host, SnapshotArgs, Usage, throttle};
use crate::probe::{Event, InProgress, Probe, What};
use crate::sample::{Dropped, KernelView, MergeIdentity, ProbeTier, Sample};
use crate::throttle::{Place, Throttling};
use crate::units::DeviceNumber;
use merge::MergeSampler;
pub use next_runs::first_run;

/// How long the first sample waits for the exception store: nobody waits longer for a first screen.
pub const FIRST_SAMPLE_WAITS: Duration = Duration::from_secs(2);

/// How long the probes may be behind the status line of a merge that failed.
const LAST_WORD: Duration = Duration::from_millis(50);

/// The merges that this process watches, and what they share.
pub struct Watch {
    control: Control,
    probe: Probe,
    merges: Vec<MergeSampler>,
    /// Whether merges run here that are not watched.
    strangers: bool,
}

/// What is the same for all merges at one instant.
struct Shared {
    current: Vec<InProgress>,
    throttle_percent: Option<u32>,
    throttling: Option<Throttling>,
    dropped: Dropped,
    /// Whether no other merge runs on this host, so that a run whose device is not known yet can
    /// only be of the one that does.
    alone: bool,
}

impl Watch {
    /// Watches nothing yet.
    pub const fn new(control: Control, probe: Probe) -> Self {
        Self { control, probe, merges: Vec::new(), strangers: false }
    }

    /// Watches the merge of the snapshot with these arguments into `origin`, begun or about to
    /// begin; gives its place. `snapshot`: its device, where this process begins the merge, and so
    /// finishes it.
    ///
    /// # Errors
    /// Where a device below has no number in the kernel's table.
    pub fn add(
        &mut self,
        host: &Host,
        origin: &Device,
        args: &SnapshotArgs,
        snapshot: Option<&Device>,
    ) -> io::Result<usize> {
        let mut merge = MergeSampler::new(identity::read(host, origin, args, snapshot)?);
        if self.probe.report().tier != ProbeTier::None
            && let Err(error) = self.probe.watch(merge.identity.origin_dev)
        {
            merge.unseen = Some(format!("I/O on the origin is not seen: {error}."));
        }
        self.merges.push(merge);
        let _changed = self.look(host);
        Ok(self.merges.len() - 1)
    }

    /// Takes in what is on this host now: other merges, and other snapshots of the origins that are
    /// watched. Gives the places of the merges whose identity has changed by it.
    pub fn look(&mut self, host: &Host) -> Vec<usize> {
        let watched =
            |dev| self.active().any(|place| self.merges[place].identity.origin_dev == dev);
        self.strangers = host.merges().any(|merge| !watched(merge.info.dev));
        let mut changed = Vec::new();
        for place in self.active().collect::<Vec<_>>() {
            let identity = &mut self.merges[place].identity;
            let siblings = identity::siblings(host, identity.real_dev, identity.cow_dev);
            if siblings != identity.siblings {
                identity.siblings = siblings;
                changed.push(place);
            }
        }
        let siblings = self.active().any(|place| !self.merges[place].identity.siblings.is_empty());
        self.probe.set_siblings(siblings);
        for (place, merge) in self.merges.iter_mut().enumerate() {
            if merge.take_report(self.probe.report()) && !changed.contains(&place) {
                changed.push(place);
            }
        }
        changed
    }

    /// Ends the watch over one merge, which keeps its place; no [round](Self::round) has it any
    /// more.
    pub fn leave(&mut self, place: usize) {
        self.merges[place].leave();
        // Refused only where the programs are gone, and the watch with them.
        let _ = self.probe.unwatch(self.merges[place].identity.origin_dev);
    }

    /// Gives back what it watched with; what was watched is not any more.
    pub fn into_parts(mut self) -> (Control, Probe) {
        for place in self.active().collect::<Vec<_>>() {
            self.leave(place);
        }
        (self.control, self.probe)
    }

    /// The probes that all merges share.
    pub const fn probe(&self) -> &Probe {
        &self.probe
    }

    /// What stays the same of a merge.
    pub fn identity(&self, place: usize) -> &MergeIdentity {
        &self.merges[place].identity
    }

    /// Says that whoever takes the samples of a merge finishes it once it is done.
    pub fn will_finish(&mut self, place: usize) {
        self.merges[place].identity.finished_here = true;
    }

    /// The device-mapper that is asked.
    pub const fn control(&self) -> &Control {
        &self.control
    }

    /// What the eBPF programs have to say of themselves.
    pub fn drain_log(&mut self) -> Vec<String> {
        self.probe.drain_log()
    }

    /// Returns when the probes have told the end of a merge that is watched; never without probes.
    pub async fn something_happened(&mut self) {
        loop {
            self.probe.readable().await;
            if self.collect() {
                return;
            }
        }
    }

    /// Takes in what the probes told, as every sample does; whether the end of a merge was among
    /// it. To be called now and then where no sample is taken for long: the kernel keeps only so
    /// much.
    pub fn collect(&mut self) -> bool {
        let mut ended = false;
        for Event { cow_dev, what, .. } in self.probe.drain() {
            let Some(cow_dev) = cow_dev else {
                // An end without a device is no proof that it is ours, but reason enough to ask.
                ended |= matches!(what, What::End(_));
                continue;
            };
            let mut merges = self.merges.iter_mut();
            if let Some(merge) = merges.find(|merge| merge.is_watched_on(cow_dev)) {
                ended |= merge.take(what);
            }
        }
        ended
    }

    /// Begins to read a merge's exception store, for its [first sample](Self::first_sample) and,
    /// where that takes longer than `patience`, for a later one.
    ///
    /// `before`: the snapshot's own figures, where the merge has not begun: they are then what there
    /// will be to merge, and the first sample says so.
    pub fn read_store(&mut self, place: usize, before: Option<Usage>, patience: Duration) {
        self.merges[place].read_store(&self.control, before, patience);
    }

    /// The first sample of a merge, with what became of reading its store, where that was begun.
    pub fn first_sample(&mut self, place: usize) -> Sample {
        let (store, kernel) = self.merges[place].first(&self.control);
        let sample = self.sample_with(place, kernel);
        // What was read while the sample was taken is newer.
        Sample { store: sample.store.or(store), ..sample }
    }

    /// A sample of one merge.
    pub fn sample(&mut self, place: usize) -> Sample {
        let kernel = self.merges[place].kernel_view(&self.control);
        self.sample_with(place, kernel)
    }

    /// A sample of a merge that LVM has put off.
    pub fn sample_scheduled(&mut self, place: usize) -> Sample {
        self.sample_with(place, KernelView::Scheduled)
    }

    /// A sample of every merge that is watched.
    pub fn round(&mut self) -> Vec<(usize, Sample)> {
        let control = &self.control;
        let kernels: Vec<_> =
            self.active().map(|place| (place, self.merges[place].kernel_view(control))).collect();
        // After the status lines, so that what a line already counts is never told later.
        self.collect();
        for (place, kernel) in &kernels {
            self.hear_its_end(*place, kernel);
        }
        let shared = self.shared();
        let mut sample =
            |place: usize, kernel| (place, self.merges[place].sample(kernel, &self.probe, &shared));
        kernels.into_iter().map(|(place, kernel)| sample(place, kernel)).collect()
    }

    fn sample_with(&mut self, place: usize, kernel: KernelView) -> Sample {
        self.collect();
        self.hear_its_end(place, &kernel);
        let shared = self.shared();
        self.merges[place].sample(kernel, &self.probe, &shared)
    }

    /// Waits for the probes' last word on a merge that has just failed. Of a failed flush they learn
    /// only when the kernel is through with it, a moment after the status line says so.
    fn hear_its_end(&mut self, place: usize, kernel: &KernelView) {
        if *kernel == KernelView::MergeFailed && self.merges[place].may_hear_its_end() {
            thread::sleep(LAST_WORD);
            self.collect();
        }
    }

    fn shared(&self) -> Shared {
        Shared {
            current: self.probe.current(),
            throttle_percent: throttle::read().ok().flatten(),
            throttling: throttling(),
            dropped: self.probe.dropped(),
            alone: !self.strangers && self.active().count() == 1,
        }
    }

    /// The places of the merges that are watched.
    fn active(&self) -> impl Iterator<Item = usize> {
        (0..self.merges.len()).filter(|&place| self.merges[place].is_watched())
    }
}

impl Shared {
    /// The run in progress that belongs to the merge from this device.
    fn current_on(&self, cow_dev: DeviceNumber) -> Option<&InProgress> {
        current_on(&self.current, cow_dev, self.alone)
    }
}

/// The run of the merge from `cow_dev`; one whose device is not known only where it is `alone`.
fn current_on(runs: &[InProgress], cow_dev: DeviceNumber, alone: bool) -> Option<&InProgress> {
    runs.iter().find(|run| run.cow_dev.map_or(alone, |cow| cow == cow_dev))
}

/// What a living throttler does. One that cannot be read is as good as none: the setting itself is in
/// the sample.
fn throttling() -> Option<Throttling> {
    let lease = Place::of_this_host().read().ok().flatten()?;
    lease.holder.is_alive().then_some(lease.throttling)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{CurrentRun, Phase};

    fn run(cow_minor: Option<u32>, old_chunk: u64) -> InProgress {
        let run = CurrentRun {
            old_chunk,
            new_chunk: 0,
            chunks: 1,
            phase: Phase::Copy,
            started_ns: 0,
            phase_started_ns: 0,
            phase_ns: [0; 6],
        };
        InProgress { cow_dev: cow_minor.map(dev), real_dev: None, run }
    }

    fn dev(minor: u32) -> DeviceNumber {
        DeviceNumber { major: 253, minor }
    }

    #[test]
    fn a_run_goes_to_the_merge_whose_device_it_names() {
        let runs = [run(Some(1), 10), run(Some(2), 20)];
        let chunk = |cow| current_on(&runs, dev(cow), false).map(|run| run.run.old_chunk);
        assert_eq!([chunk(1), chunk(2), chunk(3)], [Some(10), Some(20), None]);
    }

    #[test]
    fn a_run_of_an_unknown_device_belongs_to_a_merge_alone_and_else_to_none() {
        let runs = [run(None, 10)];
        assert!(current_on(&runs, dev(1), true).is_some());
        assert!(current_on(&runs, dev(1), false).is_none());
    }
}
