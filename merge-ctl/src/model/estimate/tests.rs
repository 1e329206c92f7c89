//! Whole merges, made up, sample by sample: what was predicted meanwhile against what came true.

use proptest::prelude::*;

use super::super::{DEFAULT_STALL_AFTER_NS, Model, State};
use crate::sample::*;
use crate::store::Segment;
use crate::units::{ChunkSize, DeviceNumber, Sectors};

const S: f64 = 1e9;
const MS: f64 = 1e-3;
const CHUNK_SECTORS: u64 = 8;
const SAMPLE_EVERY_NS: u64 = 200_000_000;

/// A merge to be.
struct Merge {
    /// The chunks of its runs, in the order of the merge.
    runs: Vec<u32>,
    probes: bool,
    /// Reads of the COW device and of the origin. Seconds.
    reads: Option<(f64, f64)>,
    /// What a run takes by phase, given its number and its chunks. Seconds.
    cost: Box<dyn Fn(usize, f64) -> [f64; 6]>,
}

/// What was predicted at a time.
#[derive(Clone, Copy, Debug)]
struct Point {
    elapsed_s: f64,
    /// Of the total time: the low end, the middle, the high end.
    total_s: Option<[f64; 3]>,
    /// Runs left as the model tells, and as they are.
    runs: (Option<u64>, u64),
}

struct Told {
    total_s: f64,
    points: Vec<Point>,
}

/// An operation on the COW device takes `cow_s`, one on the origin `real_s`, a chunk `chunk_s`.
fn costs(cow_s: f64, real_s: f64, chunk_s: f64) -> Box<dyn Fn(usize, f64) -> [f64; 6]> {
    Box::new(move |run, chunks| {
        let noise = 1.0 + 0.3 * (random(run) - 0.5);
        let area = if chunks >= 256.0 || run.is_multiple_of(256) { cow_s } else { 0.0 };
        let copy = cow_s + real_s + chunks * chunk_s;
        [area, 0.0, 1e-5 * chunks, copy, real_s, 2.0 * cow_s].map(|seconds| seconds * noise)
    })
}

/// From 0 to 1, always the same for the same number.
fn random(seed: usize) -> f64 {
    let word = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (word >> 11) as f64 / (1_u64 << 53) as f64
}

fn identity(probes: bool) -> MergeIdentity {
    let dev = |minor| DeviceNumber { major: 253, minor };
    let tier = if probes { ProbeTier::Full } else { ProbeTier::None };
    MergeIdentity {
        origin: "origin".to_owned(),
        origin_label: "origin".to_owned(),
        snapshot_label: None,
        origin_dev: dev(0),
        real_dev: dev(1),
        cow_dev: dev(2),
        real_label: String::new(),
        cow_label: String::new(),
        owner: Owner::DeviceMapper,
        finished_here: true,
        driven_by: None,
        chunk_size: ChunkSize::from_sectors(CHUNK_SECTORS as u32).unwrap(),
        size: Sectors(CHUNK_SECTORS << 24),
        siblings: Vec::new(),
        kernel: String::new(),
        probes: ProbeReport { tier, missing: Vec::new() },
        offline: None,
    }
}

impl Merge {
    fn new(runs: &[(usize, u32)], cost: Box<dyn Fn(usize, f64) -> [f64; 6]>) -> Self {
        let runs = runs.iter().flat_map(|(count, chunks)| vec![*chunks; *count]).collect();
        Self { runs, probes: true, reads: None, cost }
    }

    fn picture(&self) -> StorePicture {
        let segment = |chunks: &u32| Segment::from((1, u64::from(*chunks), *chunks));
        let times = |seconds: f64| ReadTimes {
            small_bytes: 4096,
            small_ns: (seconds * S) as u64,
            large_bytes: 1 << 20,
            large_ns: (seconds * S) as u64 + 2_000_000,
        };
        StorePicture {
            segments: self.runs.iter().map(segment).collect(),
            cow_reads: self.reads.map(|(cow_s, _)| times(cow_s)),
            real_reads: self.reads.map(|(_, real_s)| times(real_s)),
            ..StorePicture::default()
        }
    }

    /// The runs as the probes would tell them, one after the other from the time 0 on.
    fn finished(&self) -> Vec<Run> {
        let mut now_ns = 0;
        let finish = |(number, chunks): (usize, &u32)| {
            let phase_ns = (self.cost)(number, f64::from(*chunks)).map(|s| (s * S) as u64);
            let started_ns = now_ns + 20_000;
            now_ns = started_ns + phase_ns.iter().sum::<u64>();
            Run {
                old_chunk: 0,
                new_chunk: 2,
                chunks: *chunks,
                started_ns,
                finished_ns: now_ns,
                phase_ns,
            }
        };
        self.runs.iter().enumerate().map(finish).collect()
    }

    /// The samples: the first at the time 0, the last when nothing is left.
    fn samples(&self) -> Vec<Sample> {
        let mut finished = self.finished().into_iter().peekable();
        let mut left: u64 = self.runs.iter().map(|chunks| u64::from(*chunks)).sum();
        let mut samples = vec![sample(0, left, Vec::new())];
        samples[0].store = Some(StoreView::Read(self.picture()));
        while left > 0 {
            let at_ns = samples.len() as u64 * SAMPLE_EVERY_NS;
            let mut runs = Vec::new();
            while let Some(run) = finished.next_if(|run| run.finished_ns <= at_ns) {
                left -= u64::from(run.chunks);
                runs.push(run);
            }
            samples.push(sample(at_ns, left, if self.probes { runs } else { Vec::new() }));
        }
        samples
    }

    fn told(&self) -> Told {
        let samples = self.samples();
        let mut runs_left = self.finished();
        let mut model = Model::first(identity(self.probes), &samples[0], DEFAULT_STALL_AFTER_NS);
        let mut points = Vec::new();
        for sample in &samples[1..] {
            model = model.next(sample);
            runs_left.retain(|run| run.finished_ns > sample.at_ns);
            let elapsed_s = model.elapsed_ns as f64 / S;
            let total = |left: f64| elapsed_s + left;
            points.push(Point {
                elapsed_s,
                total_s: model
                    .left
                    .map(|left| [left.low_s, left.middle_s(), left.high_s].map(total)),
                runs: (model.ahead.map(|ahead| ahead.runs), runs_left.len() as u64),
            });
        }
        Told { total_s: model.elapsed_ns as f64 / S, points }
    }
}

fn sample(at_ns: u64, left_chunks: u64, runs: Vec<Run>) -> Sample {
    let kernel = KernelView::Merging {
        allocated: Sectors((left_chunks + 2) * CHUNK_SECTORS),
        total: Sectors(1 << 40),
        metadata: Sectors(2 * CHUNK_SECTORS),
        suspended: false,
    };
    Sample { runs, ..Sample::of(at_ns, 0, kernel) }
}

impl Told {
    /// What was predicted at a share of the time.
    fn at(&self, share: f64) -> Point {
        let until = self.total_s * share;
        *self.points.iter().rev().find(|point| point.elapsed_s <= until).unwrap()
    }

    /// The prediction lies within `percent` of the truth, and the range holds the truth.
    fn assert_right(&self, share: f64, percent: f64) {
        let point = self.at(share);
        let [low, middle, high] = point.total_s.unwrap_or_else(|| panic!("nothing at {share}"));
        let off = (middle / self.total_s - 1.0) * 100.0;
        assert!(off.abs() <= percent, "{off:.1} % off at {share}: {point:?} of {}", self.total_s);
        assert!((low..=high).contains(&self.total_s), "{point:?} does not hold {}", self.total_s);
        assert!(high - low < 2.0 * self.total_s, "{point:?} says nothing of {}", self.total_s);
    }

    /// How far the predictions of a stretch lie apart, relative to the truth.
    fn moves(&self, from: f64, to: f64) -> f64 {
        let stretch = self.total_s * from..self.total_s * to;
        let middles = self.points.iter().filter(|point| stretch.contains(&point.elapsed_s));
        let middles: Vec<f64> = middles.filter_map(|point| Some(point.total_s?[1])).collect();
        let most = middles.iter().copied().fold(f64::MIN, f64::max);
        let least = middles.iter().copied().fold(f64::MAX, f64::min);
        (most - least) / self.total_s
    }
}

#[test]
fn the_total_does_not_jump_where_the_sequential_part_ends() {
    for (cow, real, chunk) in
        [(5.0, 5.0, 0.01), (9.0, 0.2, 0.01), (0.2, 9.0, 0.01), (1.0, 2.0, 0.1)]
    {
        let cost = costs(cow * MS, real * MS, chunk * MS);
        let merge = Merge::new(&[(400, 256), (1500, 1)], cost);
        let told = Merge { reads: Some((cow * MS, real * MS)), ..merge }.told();
        let border = told.points.iter().position(|point| point.runs.1 < 1500).unwrap();
        let border = told.points[border].elapsed_s / told.total_s;
        let moved = told.moves(border - 0.1, border + 0.1);
        assert!(moved < 0.12, "{moved:.2} around {border:.2} at {cow}, {real}, {chunk}");
        for share in [0.1, 0.25, 0.5] {
            told.assert_right(share, 15.0);
        }
    }
}

#[test]
fn the_total_is_right_where_the_fragmented_part_comes_first() {
    let merge = Merge::new(&[(1500, 1), (400, 256)], costs(5.0 * MS, 5.0 * MS, 0.01 * MS));
    let told = Merge { reads: Some((5.0 * MS, 5.0 * MS)), ..merge }.told();
    for share in [0.25, 0.5, 0.75] {
        told.assert_right(share, 15.0);
    }
}

#[test]
fn stripes_are_no_news_after_the_first() {
    let stripes: Vec<_> = (0..20).flat_map(|_| [(20, 64), (60, 1)]).collect();
    let told = Merge::new(&stripes, costs(3.0 * MS, 6.0 * MS, 0.02 * MS)).told();
    for share in [0.1, 0.25, 0.5, 0.9] {
        told.assert_right(share, 10.0);
    }
    assert!(told.moves(0.1, 1.0) < 0.1);
}

#[test]
fn runs_of_one_size_are_easy_and_the_range_says_so() {
    let told = Merge::new(&[(2000, 1)], costs(5.0 * MS, 5.0 * MS, 0.01 * MS)).told();
    for share in [0.1, 0.25, 0.5] {
        told.assert_right(share, 5.0);
        let [low, _, high] = told.at(share).total_s.unwrap();
        assert!((high - low) / told.total_s < 0.4, "{low} to {high}");
    }
}

#[test]
fn a_device_that_becomes_slower_is_followed() {
    let before = costs(3.0 * MS, 3.0 * MS, 0.01 * MS);
    let after = costs(6.0 * MS, 6.0 * MS, 0.02 * MS);
    let cost = move |run, chunks| if run < 1000 { before(run, chunks) } else { after(run, chunks) };
    let stripes: Vec<_> = (0..30).flat_map(|_| [(20, 64), (60, 1)]).collect();
    let told = Merge::new(&stripes, Box::new(cost)).told();
    // A thousand of 2400 runs, at half of the price, are a quarter of the time.
    told.assert_right(0.6, 10.0);
    told.assert_right(0.8, 5.0);
}

#[test]
fn one_stall_takes_its_time_and_no_more() {
    let plain = costs(4.0 * MS, 4.0 * MS, 0.01 * MS);
    let stalls = costs(4.0 * MS, 4.0 * MS, 0.01 * MS);
    let cost = move |run: usize, chunks| {
        let mut phases = stalls(run, chunks);
        phases[4] += if run == 500 { 20.0 } else { 0.0 };
        phases
    };
    let shape = [(600, 1), (200, 64), (800, 1)];
    let without = Merge::new(&shape, plain).told();
    let told = Merge::new(&shape, Box::new(cost)).told();
    let stalled = told.points.iter().filter(|point| point.total_s.is_none()).count();
    assert!(stalled > 50, "nothing is promised while nothing moves: {stalled}");
    let just_after = told.points.iter().find(|point| point.runs.1 < 1090).unwrap();
    let [_, middle, _] = just_after.total_s.unwrap();
    let expected = without.total_s + 20.0;
    assert!((middle / expected - 1.0).abs() < 0.06, "{middle} of {expected}");
}

#[test]
fn without_probes_the_status_line_must_do() {
    let stripes: Vec<_> = (0..20).flat_map(|_| [(60, 1), (20, 64)]).collect();
    let merges: [&[_]; 3] = [&stripes, &[(2000, 1), (300, 64)], &[(700, 64), (1000, 1)]];
    for runs in merges {
        let cost = costs(5.0 * MS, 2.0 * MS, 0.02 * MS);
        let merge = Merge::new(runs, cost);
        let told = Merge { probes: false, reads: Some((5.0 * MS, 2.0 * MS)), ..merge }.told();
        for share in [0.25, 0.5, 0.9] {
            told.assert_right(share, 15.0);
        }
    }
}

#[test]
fn the_runs_left_are_exact_with_probes_and_where_the_list_is_short() {
    for probes in [true, false] {
        let merge = Merge::new(&[(50, 200), (100, 1), (30, 17)], costs(4.0 * MS, 4.0 * MS, 0.0));
        let told = Merge { probes, ..merge }.told();
        for point in &told.points {
            assert_eq!(point.runs.0, Some(point.runs.1), "{point:?}");
        }
    }
}

#[test]
fn a_list_that_comes_late_counts_from_then_on() {
    let merge = Merge::new(&[(300, 10), (700, 1)], costs(4.0 * MS, 4.0 * MS, 0.01 * MS));
    let mut samples = merge.samples();
    // The walk met the end when a hundred runs were gone; a sample later it is there.
    let read_ns = merge.finished()[99].finished_ns;
    let late = samples.iter().position(|sample| sample.at_ns > read_ns + SAMPLE_EVERY_NS).unwrap();
    let mut picture = merge.picture();
    picture.segments.drain(..100);
    picture.read_ns = read_ns;
    samples[0].store = Some(StoreView::Reading);
    samples[late].store = Some(StoreView::Read(picture));
    let mut model = Model::first(identity(true), &samples[0], DEFAULT_STALL_AFTER_NS);
    assert!(model.store_unread.as_deref().is_some_and(|why| why.contains("being read")));
    for sample in &samples[1..] {
        model = model.next(sample);
        assert_eq!(model.ahead.is_some(), sample.at_ns >= samples[late].at_ns);
        if let Some(ahead) = model.ahead {
            assert_eq!((ahead.initial_runs, ahead.runs), (1000, 1000 - model.totals.runs));
            assert_eq!(model.store_unread, None);
        }
    }
}

#[test]
fn why_the_store_was_not_read_is_kept_and_the_rate_must_do() {
    let merge = Merge::new(&[(500, 8)], costs(4.0 * MS, 4.0 * MS, 0.0));
    let mut samples = merge.samples();
    samples[0].store = Some(StoreView::Unread { why: "no permission".to_owned() });
    let model = Model::first(identity(true), &samples[0], DEFAULT_STALL_AFTER_NS);
    let model = samples[1..20].iter().fold(model, Model::next);
    assert_eq!((model.store_unread.as_deref(), model.ahead), (Some("no permission"), None));
    let left = model.left.unwrap();
    assert!(left.high_s / left.low_s >= 4.0, "a rate says little of runs: {left:?}");
}

/// A real merge (kernel 6.1 in a VM): 350 runs of 32 chunks, then 450 of one, writes to the origin
/// delayed, its flushes not.
#[test]
fn a_recorded_merge_is_predicted_across_its_border() {
    let mut lines = include_str!("../../../tests/recorded/long-first.jsonl").lines();
    let identity: MergeIdentity = serde_json::from_str(lines.next().unwrap()).unwrap();
    let samples: Vec<Sample> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut model = Model::first(identity, &samples[0], DEFAULT_STALL_AFTER_NS);
    let mut points = Vec::new();
    for sample in &samples[1..] {
        model = model.next(sample);
        let elapsed_s = model.elapsed_ns as f64 / S;
        let total = |left: f64| elapsed_s + left;
        points.push(Point {
            elapsed_s,
            total_s: model.left.map(|left| [left.low_s, left.middle_s(), left.high_s].map(total)),
            runs: (model.ahead.map(|ahead| ahead.runs), 0),
        });
    }
    assert_eq!(model.state, State::DoneNotFinished);
    assert_eq!(model.ahead.unwrap().initial_runs, model.totals.runs);
    let told = Told { total_s: model.elapsed_ns as f64 / S, points };
    for share in [0.1, 0.25, 0.5] {
        told.assert_right(share, 10.0);
    }
    assert!(told.moves(0.1, 0.9) < 0.1, "{}", told.moves(0.1, 0.9));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is merged, at whatever price: a range is a range, and the runs left only fall.
    #[test]
    fn an_estimate_is_a_range_of_time_and_runs_only_fall(
        runs in prop::collection::vec((1_usize..200, 1_u32..300), 1..6),
        prices in (0.0..20.0_f64, 0.0..20.0_f64, 0.0..0.5_f64),
        probes: bool,
        reads in prop::option::of((0.0..0.02_f64, 0.0..0.02_f64)),
    ) {
        let cost = costs(prices.0 * MS, prices.1 * MS, prices.2 * MS);
        let told = Merge { probes, reads, ..Merge::new(&runs, cost) }.told();
        let mut left = u64::MAX;
        for point in &told.points {
            prop_assert!(point.runs.0.unwrap() <= left);
            left = point.runs.0.unwrap();
            if let Some([low, middle, high]) = point.total_s {
                prop_assert!(point.elapsed_s <= low && low <= middle && middle <= high);
                prop_assert!(high.is_finite());
            }
        }
    }

    /// Samples with any figures give a model, and again the same.
    #[test]
    fn no_figures_panic(
        segments in prop::collection::vec((0_u64..1 << 40, 0_u64..1 << 50, any::<u32>()), 0..20),
        steps in prop::collection::vec((0_u64..1 << 40, 0_u64..1 << 50, any::<u32>()), 0..20),
        probes: bool,
    ) {
        let segments = segments.into_iter().map(Segment::from).collect();
        let picture = StorePicture { segments, ..StorePicture::default() };
        let mut first = sample(0, 1 << 30, Vec::new());
        first.store = Some(StoreView::Read(picture));
        let run = |at_ns, chunks| Run {
            old_chunk: 0,
            new_chunk: 2,
            chunks,
            started_ns: at_ns / 2,
            finished_ns: at_ns,
            phase_ns: [at_ns / 7; 6],
        };
        let samples: Vec<_> = steps
            .into_iter()
            .map(|(at_ns, left, chunks)| sample(at_ns, left, vec![run(at_ns, chunks)]))
            .collect();
        let replay = || {
            let model = Model::first(identity(probes), &first, DEFAULT_STALL_AFTER_NS);
            samples.iter().fold(model, Model::next)
        };
        let model = replay();
        prop_assert!(model == replay());
        prop_assert!(model.state != State::Unknown);
    }
}
