//! Follows all merges of the host and looks at its snapshots now and then; shows nothing.
//!
//! The probes are attached only while something is merged: on an idle host nothing of ours runs in the
//! kernel, and dm-snapshot may be loaded at any time. What changes on the host is noticed as `monitor` does
//! it; snapshots that do not merge tell of their fill only when asked, and are asked seldom.
//!
//! A host without device-mapper, or one that does not answer for a while, ends nothing: it is tried again,
//! and the page says so. A merge stays on the page until its target has left the device and
//! [`KEPT`] is over, so that a scrape now and then still meets its end.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use merge_ctl::clock::now_ns;
use merge_ctl::dm::{Control, Device, DmErrorKind, Host, SnapshotStatus};
use merge_ctl::metrics::{self, Own, Page, SnapshotFacts, SnapshotState};
use merge_ctl::model::filling::Filling;
use merge_ctl::model::{Model, State};
use merge_ctl::probe::{Probe, ProbeOptions};
use merge_ctl::sample::{Dropped, ProbeTier};
use merge_ctl::sampler::Watch;
use merge_ctl::units::nanoseconds;
use tokio::time::Interval;

use super::{own, told_once};
use crate::cli::Export;
use crate::command::live;
use crate::command::lookout::Lookout;

/// How long a merge that is over is still told.
const KEPT: Duration = Duration::from_secs(15 * 60);
/// How often device-mapper is tried where it is not there.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Follower {
    probes: ProbeOptions,
    stall_after_ns: u64,
    snapshots_every: Duration,
    ticker: Interval,
    eyes: Option<Eyes>,
    /// When it was last tried to open device-mapper.
    tried: Option<Instant>,
    merges: Vec<Followed>,
    snapshots: Vec<(SnapshotFacts, Filling)>,
    /// What probes lost that are not attached any more.
    dropped_before: Dropped,
    /// What those lost that are.
    dropped: Dropped,
    answers: bool,
    started_unix_s: f64,
    sampled_unix_s: Option<f64>,
    trouble: Option<String>,
    trouble_of_merges: Option<String>,
}

/// What the host is seen with.
struct Eyes {
    watch: Watch,
    /// Whether it has probes.
    probing: bool,
    lookout: Lookout,
    /// When the snapshots were looked at; none before the first time.
    looked: Option<Instant>,
}

/// A merge on the page.
struct Followed {
    /// Its place in the watch, as long as it is watched.
    place: Option<usize>,
    model: Model,
    over_since: Option<Instant>,
}

impl Follower {
    /// Takes the first look.
    ///
    /// # Errors
    /// Where this process may not ask device-mapper: that does not change any more.
    pub(super) fn new(options: &Export) -> anyhow::Result<Self> {
        let eyes = match Control::open() {
            Ok(control) => Some(Eyes::new(control)),
            Err(error) if error.kind == DmErrorKind::Privilege => return Err(error.into()),
            Err(_) => None,
        };
        let best = live::best_tier(options.watching.probes);
        let mut follower = Self {
            probes: ProbeOptions { best, log: false, stats: false },
            stall_after_ns: nanoseconds(options.watching.stall_after),
            snapshots_every: options.snapshot_interval,
            ticker: live::every(options.interval),
            eyes,
            tried: None,
            merges: Vec::new(),
            snapshots: Vec::new(),
            dropped_before: Dropped::default(),
            dropped: Dropped::default(),
            answers: false,
            started_unix_s: own::unix_s(),
            sampled_unix_s: None,
            trouble: None,
            trouble_of_merges: None,
        };
        follower.round();
        Ok(follower)
    }

    /// Waits until it is time for it, or a merge has ended, and takes a round.
    pub(super) async fn next_round(&mut self) {
        let happened = async {
            match &mut self.eyes {
                Some(eyes) => eyes.watch.something_happened().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.ticker.tick() => {}
            () = happened => {}
        }
        self.round();
    }

    /// All that is known now.
    pub(super) fn page(&self) -> Page {
        let mut page = Page::new(own::unix_s());
        for merge in &self.merges {
            metrics::add_merge(&mut page, &merge.model);
        }
        for (facts, filling) in &self.snapshots {
            metrics::add_snapshot(&mut page, facts, filling);
        }
        metrics::add_own(&mut page, &self.own());
        page
    }

    fn own(&self) -> Own {
        Own {
            sampled_unix_s: self.sampled_unix_s,
            device_mapper: self.answers,
            dropped: Some(sum(self.dropped_before, self.dropped)),
            ..own::of_process(self.started_unix_s)
        }
    }

    fn round(&mut self) {
        let seen = self.see();
        self.answers = seen.is_ok();
        if seen.is_ok() {
            self.sampled_unix_s = Some(own::unix_s());
        }
        told_once(&mut self.trouble, seen);
        self.merges.retain(|merge| merge.over_since.is_none_or(|since| since.elapsed() < KEPT));
    }

    fn see(&mut self) -> anyhow::Result<()> {
        self.take_samples();
        let host = self.look()?;
        if let Some(host) = host {
            self.take_host(&host);
        }
        self.close_eyes();
        Ok(())
    }

    /// The host, where something may have changed on it, or it is time to look at the snapshots.
    fn look(&mut self) -> anyhow::Result<Option<Host>> {
        let eyes = match &mut self.eyes {
            Some(eyes) => eyes,
            none => none.insert(open(&mut self.tried, self.trouble.as_deref())?),
        };
        eyes.look(self.snapshots_every).context("device-mapper does not answer")
    }

    fn take_samples(&mut self) {
        let Some(Eyes { watch, .. }) = &mut self.eyes else { return };
        for (place, sample) in watch.round() {
            let mut merges = self.merges.iter_mut();
            let Some(merge) = merges.find(|merge| merge.place == Some(place)) else { continue };
            merge.model.advance(&sample);
            self.dropped = sample.dropped;
            if matches!(merge.model.state, State::Finished | State::Gone) {
                watch.leave(place);
                merge.place = None;
                merge.over_since = Some(Instant::now());
            }
        }
    }

    fn take_host(&mut self, host: &Host) {
        self.take_snapshots(host);
        if let Some(Eyes { watch, .. }) = &mut self.eyes {
            for place in watch.look(host) {
                let mut merges = self.merges.iter_mut();
                if let Some(merge) = merges.find(|merge| merge.place == Some(place)) {
                    merge.model.identity = watch.identity(place).clone();
                }
            }
        }
        let mut trouble = Ok(());
        for origin in host.merges() {
            // One merge's trouble is its own.
            if let Err(error) = self.take_merge(host, origin) {
                trouble = Err(error.context(format!("{} cannot be followed", origin.label())));
            }
        }
        told_once(&mut self.trouble_of_merges, trouble);
    }

    /// Follows a merge, where it is not followed yet.
    fn take_merge(&mut self, host: &Host, origin: &Device) -> anyhow::Result<()> {
        let Some(args) = origin.merge() else { return Ok(()) };
        let is_it = |merge: &Followed| {
            let identity = &merge.model.identity;
            merge.place.is_some()
                && identity.origin_dev == origin.info.dev
                && args.cow.number() == Some(identity.cow_dev)
        };
        if self.merges.iter().any(is_it) {
            return Ok(());
        }
        self.eyes = self.eyes.take().map(|eyes| eyes.with_probes(self.probes));
        let Some(Eyes { watch, .. }) = &mut self.eyes else { return Ok(()) };
        let place = watch.add(host, origin, args, None)?;
        // Nobody must wait for its store.
        watch.read_store(place, None, Duration::ZERO);
        let first = watch.first_sample(place);
        let identity = watch.identity(place).clone();
        let model = Model::first(identity, &first, self.stall_after_ns);
        self.merges.retain(|merge| {
            let other = &merge.model.identity;
            other.origin_dev != origin.info.dev && other.origin != origin.info.name
        });
        self.merges.push(Followed { place: Some(place), model, over_since: None });
        Ok(())
    }

    fn take_snapshots(&mut self, host: &Host) {
        let mut before = std::mem::take(&mut self.snapshots);
        let now_ns = now_ns();
        for device in host.snapshots() {
            let Some(facts) = facts_of(host, device) else { continue };
            let is_it = |(it, _): &(SnapshotFacts, _)| it.dev == facts.dev && it.name == facts.name;
            let known = before.iter().position(is_it).map(|place| before.swap_remove(place).1);
            let mut filling = known.unwrap_or_default();
            if let SnapshotState::Active { allocated, total, .. } = facts.state {
                filling.look(now_ns, allocated.bytes(), total.bytes());
            }
            self.snapshots.push((facts, filling));
        }
    }

    /// Takes the probes off where nothing is merged any more.
    fn close_eyes(&mut self) {
        if self.merges.iter().any(|merge| merge.place.is_some()) {
            return;
        }
        self.eyes = match self.eyes.take() {
            Some(eyes) if eyes.probing => {
                self.dropped_before = sum(self.dropped_before, self.dropped);
                self.dropped = Dropped::default();
                Some(eyes.without_probes())
            }
            eyes => eyes,
        };
    }
}

impl Eyes {
    fn new(control: Control) -> Self {
        let lookout = Lookout::new(&control);
        let watch = Watch::new(control, no_probes());
        Self { watch, probing: false, lookout, looked: None }
    }

    /// The host, where it is time to look, or it has changed.
    fn look(&mut self, every: Duration) -> anyhow::Result<Option<Host>> {
        let control = self.watch.control();
        if self.looked.is_some_and(|looked| looked.elapsed() < every) {
            return Ok(self.lookout.look(control)?);
        }
        // Before the look: what changes during it is a change for the next.
        self.lookout = Lookout::new(control);
        let host = Host::read(control)?;
        self.looked = Some(Instant::now());
        Ok(Some(host))
    }

    /// With probes; nothing is watched then, where there were none.
    fn with_probes(self, options: ProbeOptions) -> Self {
        if self.probing {
            return self;
        }
        let (control, _) = self.watch.into_parts();
        Self { watch: Watch::new(control, Probe::attach(options)), probing: true, ..self }
    }

    fn without_probes(self) -> Self {
        let (control, _) = self.watch.into_parts();
        Self { watch: Watch::new(control, no_probes()), probing: false, ..self }
    }
}

/// Opens device-mapper, where it is time to try that again; else it is still the same trouble.
fn open(tried: &mut Option<Instant>, trouble: Option<&str>) -> anyhow::Result<Eyes> {
    if let Some(words) = trouble.filter(|_| tried.is_some_and(|it| it.elapsed() < AGAIN_AFTER)) {
        anyhow::bail!("{words}");
    }
    *tried = Some(Instant::now());
    Ok(Eyes::new(Control::open()?))
}

fn no_probes() -> Probe {
    Probe::attach(ProbeOptions { best: ProbeTier::None, log: false, stats: false })
}

fn facts_of(host: &Host, device: &Device) -> Option<SnapshotFacts> {
    let args = device.snapshot()?;
    let state = match device.status {
        Some(SnapshotStatus::Usage(usage)) => SnapshotState::Active {
            allocated: usage.allocated,
            total: usage.total,
            metadata: usage.metadata,
        },
        Some(SnapshotStatus::Invalid) => SnapshotState::Invalid,
        Some(SnapshotStatus::Overflow) => SnapshotState::Overflow,
        Some(SnapshotStatus::MergeFailed) => SnapshotState::MergeFailed,
        Some(SnapshotStatus::Unknown(_)) | None => SnapshotState::Unknown,
    };
    Some(SnapshotFacts {
        dev: device.info.dev,
        name: device.info.name.clone(),
        label: device.label(),
        owner: device.owner(),
        origin_label: host.origin_of_snapshot(device).map(Device::label).unwrap_or_default(),
        cow_label: args.cow.number().map(|cow| host.label_of(cow)).unwrap_or_default(),
        state,
    })
}

fn sum(one: Dropped, other: Dropped) -> Dropped {
    Dropped {
        runs: one.runs + other.runs,
        in_flight: one.in_flight + other.in_flight,
        merges: one.merges + other.merges,
        half_seen: one.half_seen + other.half_seen,
        missed: one.missed + other.missed,
    }
}
