//! A merge's points, out of its model.

use merge_common::latency_bucket_floor_ns;

use super::list;
use super::page::{Histogram, Page};
use crate::model::{Latencies, Model, RunSizes, State};
use crate::sample::{MergeIdentity, Owner, Phase, ProbeTier};
use crate::units::DeviceNumber;

/// Runs of 1 chunk, of 2 to 3, and so on up to 32,768 and more: no run is longer than an area of
/// metadata, which has so many exceptions with the largest chunks that anybody uses.
const RUN_SIZES: usize = 16;
/// Latencies from 32 µs to 17 s, by powers of two: the octaves of the probes' own histogram.
const LATENCY_OCTAVES: std::ops::RangeInclusive<usize> = 5..=24;

/// The labels that name a device.
pub(super) struct Who {
    device: String,
    name: String,
    vg: String,
    lv: String,
}

impl Who {
    /// A device of device-mapper. `label`: `vg/lv` where it is LVM's.
    pub(super) fn of(dev: DeviceNumber, name: &str, label: &str, owner: Owner) -> Self {
        let volume = label.split_once('/').filter(|_| owner == Owner::Lvm);
        let (vg, lv) = volume.unwrap_or_default();
        Self {
            // The kernel's own name for it (`drivers/md/dm.c`, `alloc_dev`).
            device: format!("dm-{}", dev.minor),
            name: crate::harmless::printable(name),
            vg: vg.to_owned(),
            lv: lv.to_owned(),
        }
    }

    /// Their values, and those of further labels.
    pub(super) fn and<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&[&*self.device, &*self.name, &*self.vg, &*self.lv], more].concat()
    }
}

/// Adds all that a model tells of its merge.
pub fn add_merge(page: &mut Page, model: &Model) {
    let MergeIdentity { origin_dev, origin, origin_label, owner, .. } = &model.identity;
    let who = Who::of(*origin_dev, origin, origin_label, *owner);
    let since = model.unix_s.saturating_sub(model.elapsed_ns / 1_000_000_000) as f64;
    add_identity(page, &who, &model.identity);
    add_state(page, &who, model);
    if model.sees_runs() {
        add_runs(page, &who, model, since);
    }
    for count in &model.stall_counts {
        let labels = who.and(&[count.cause.name()]);
        page.count(&list::MERGE_STALLS, &labels, count.stalls as f64, since);
        page.count(&list::MERGE_STALLED, &labels, seconds(count.ns), since);
    }
    if let Some(writes) = &model.writes {
        page.put(&list::MERGE_IN_FLIGHT, &who.and(&[]), writes.in_flight as f64);
        page.put(&list::MERGE_HELD, &who.and(&[]), writes.held as f64);
        page.put(&list::MERGE_AWAITED, &who.and(&[]), writes.awaited as f64);
    }
    if let Some(latency) = &model.latency {
        page.histogram(&list::MERGE_LATENCY, &who.and(&[]), write_latency(latency), since);
    }
}

fn add_identity(page: &mut Page, who: &Who, identity: &MergeIdentity) {
    let probes = match identity.probes.tier {
        ProbeTier::Full => "full",
        ProbeTier::NoModuleBtf => "no-module-btf",
        ProbeTier::BlockOnly => "block-only",
        ProbeTier::None => "none",
    };
    let labels = who.and(&[
        identity.snapshot_label.as_deref().unwrap_or_default(),
        identity.owner_code(),
        &identity.cow_label,
        &identity.real_label,
        probes,
        &identity.kernel,
    ]);
    page.put(&list::MERGE_INFO, &labels, 1.0);
    page.put(&list::MERGE_CHUNK, &who.and(&[]), identity.chunk_size.bytes() as f64);
}

fn add_state(page: &mut Page, who: &Who, model: &Model) {
    for state in State::ALL {
        let is_it = u8::from(state == model.state);
        page.put(&list::MERGE_STATE, &who.and(&[state.name()]), f64::from(is_it));
    }
    let labels = who.and(&[]);
    page.put(&list::MERGE_INITIAL, &labels, model.progress.initial_bytes as f64);
    page.put(&list::MERGE_REMAINING, &labels, model.progress.left_bytes as f64);
    page.put(&list::MERGE_ELAPSED, &labels, seconds(model.elapsed_ns));
    if let Some(fill) = &model.fill {
        page.put(&list::MERGE_USED, &labels, fill.used_bytes as f64);
        page.put(&list::MERGE_SIZE, &labels, fill.size_bytes as f64);
    }
    if let Some(left) = &model.left {
        page.put(&list::MERGE_LEFT, &who.and(&["low"]), left.low_s);
        page.put(&list::MERGE_LEFT, &who.and(&["high"]), left.high_s);
    }
}

fn add_runs(page: &mut Page, who: &Who, model: &Model, since: f64) {
    page.histogram(&list::MERGE_RUNS, &who.and(&[]), run_lengths(&model.sizes), since);
    for place in 0..=RUN_SIZES {
        let chunks = sum(&model.sizes, place, |bucket| bucket.chunks) as f64;
        page.count(&list::MERGE_CHUNKS, &who.and(&[&size_name(place)]), chunks, since);
    }
    let time = &model.phases.finished;
    let phases = Phase::ALL.iter().map(|phase| (phase.name(), time.ns[*phase as usize]));
    for (name, ns) in phases.chain([("between", time.between_ns)]) {
        page.count(&list::MERGE_PHASE, &who.and(&[name]), seconds(ns), since);
    }
    if let Some(run) = &model.current {
        let so_long = seconds(model.now_ns.saturating_sub(run.phase_started_ns));
        page.put(&list::MERGE_CURRENT, &who.and(&[run.phase.name()]), so_long);
    }
}

/// `1`, `2-3`, `4-7` and so on; the last has no end.
fn size_name(place: usize) -> String {
    let from = 1_u64 << place;
    match place {
        0 => "1".to_owned(),
        RUN_SIZES => format!("{from}-"),
        _ => format!("{from}-{}", 2 * from - 1),
    }
}

/// One bucket of the model's; the last has all that are larger.
fn sum(sizes: &RunSizes, place: usize, of: impl Fn(&crate::model::RunSizeBucket) -> u64) -> u64 {
    let and_larger = if place == RUN_SIZES { usize::MAX } else { 1 };
    sizes.buckets.iter().skip(place).take(and_larger).map(of).fold(0, u64::saturating_add)
}

fn run_lengths(sizes: &RunSizes) -> Histogram {
    Histogram {
        bounds: (0..RUN_SIZES).map(|place| ((2_u64 << place) - 1) as f64).collect(),
        counts: (0..=RUN_SIZES).map(|place| sum(sizes, place, |bucket| bucket.runs)).collect(),
        sum: sizes.buckets.iter().map(|bucket| bucket.chunks as f64).sum(),
    }
}

fn write_latency(latency: &Latencies) -> Histogram {
    // The first bucket is all below the first octave; each octave has four.
    let first_of = |octave: usize| octave * 4 + 1;
    let ends = LATENCY_OCTAVES.map(first_of);
    let begins = std::iter::once(0).chain(ends.clone());
    let total = latency.write_counts.len();
    let count = |from: usize, to: usize| -> u64 {
        latency.write_counts.iter().take(to).skip(from).sum::<u64>()
    };
    Histogram {
        bounds: ends.clone().map(|end| seconds(latency_bucket_floor_ns(end))).collect(),
        counts: begins.zip(ends.chain([total])).map(|(from, to)| count(from, to)).collect(),
        sum: seconds(latency.write_ns),
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
