//! How long a merge may still take: the runs that lie ahead, at what runs have cost so far.
//!
//! The run list comes from the exception store, the place in it from what the kernel says is left
//! ([`ahead`]), the costs from the runs that the probes saw, or without them from how the status
//! line moved ([`costs`]). Where the store was not read, nothing is estimated here.

mod ahead;
mod costs;
#[cfg(test)]
mod tests;

pub use ahead::Ahead;

use ahead::{Remaining, RunsAhead};
use costs::{Costs, Hints, Observation};

use crate::cost::TimeRange;
use crate::sample::{Phase, Run, StorePicture, StoreView};
use crate::store::format::EXCEPTION_BYTES;

/// What is known of a merge's runs and their costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Estimator {
    list: Option<List>,
    costs: Costs,
    phases: PhaseMeans,
    /// When the last run finished, or the status line moved last.
    last_end_ns: Option<u64>,
    /// What the status line told last, and where the observation began that is going on.
    last_exceptions_left: Option<u64>,
    anchor: Option<Anchor>,
    /// Sizes of finished runs that were seen, by power of two.
    sizes_seen: u32,
}

/// The run list, and what was seen of it.
#[derive(Clone, Debug, PartialEq)]
struct List {
    runs: RunsAhead,
    read_ns: u64,
    reads: Reads,
    initial_runs: u64,
    /// Runs that finished since the list was read, as the probes tell.
    seen_runs: u64,
    seen_chunks: u64,
}

/// How long reads take. Seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Reads {
    /// A chunk of the COW device.
    cow_s: Option<f64>,
    /// A chunk of the origin.
    real_s: Option<f64>,
    /// A byte read from the one and a byte read from the other.
    byte_s: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Anchor {
    at_ns: u64,
    exceptions_left: u64,
}

/// Means of phases of a run, recent ones counting most. Seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct PhaseMeans {
    runs: u64,
    copy: f64,
    flush: f64,
    commit: f64,
    between: f64,
}

/// An instant of the merge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) at_ns: u64,
    pub(super) elapsed_ns: u64,
    pub(super) exceptions_left: u64,
    pub(super) chunk_bytes: u64,
}

/// An estimate from less than this would be noise.
const MIN_ELAPSED_NS: u64 = 1_000_000_000;
/// From so many runs that were seen to finish.
const MIN_RUNS: u64 = 2;
/// How long the status line is watched for one observation.
const BLOCK_NS: u64 = 800_000_000;
/// How far such a block may be off: it is asked for a few times a second.
const BLOCK_BLUR_S: f64 = 0.1;
/// A byte at 200 MB/s, read and written: where nothing was measured.
const BYTE_S: f64 = 1e-8;
/// However fast a byte is read, it is not written faster than this: a cached read would say so.
const LEAST_BYTE_S: f64 = 2e-9;
/// The part of the cost that no filter knows of: a relative standard deviation.
const MODEL_SD: f64 = 0.06;
/// What the estimate may be off by for runs of a size that was not seen yet.
const UNSEEN_SD: f64 = 0.15;
/// How far the least time of a copy may be off: a relative standard deviation.
const COPY_DOUBT: f64 = 0.4;
/// How much of the rest of a copy may be fixed as well, where reads were timed.
const REST_DOUBT: f64 = 0.2;
/// How far the time of a byte may be off, whatever its hint: as many times as it.
const BYTE_DOUBT: f64 = 6.0;
/// How far flush, commit and the time between runs may be off, relative: not all of it need be the
/// same for every length.
const ALWAYS_DOUBT: f64 = 0.1;
/// How far a run's fixed part may be off where only reads were timed: relative.
const STATUS_DOUBT: f64 = 0.6;
/// However long a merge is, the drift to come is no more than this.
const MAX_DRIFT_SD: f64 = 0.25;
/// The ends of the range, in standard deviations.
const RANGE: f64 = 2.0;
/// No end of the range is farther from its middle than by this factor.
const MAX_FACTOR: f64 = 8.0;

impl Estimator {
    /// Takes in the run list. `runs_before` were seen before it came.
    pub(super) fn take_store(&mut self, store: &StoreView, runs_before: &Seen<'_>) {
        let StoreView::Read(picture) = store else { return };
        let runs = RunsAhead::new(&picture.segments);
        let mut list = List {
            initial_runs: runs.total().runs,
            runs,
            read_ns: picture.read_ns,
            reads: Reads::of(picture),
            seen_runs: 0,
            seen_chunks: 0,
        };
        list.initial_runs += runs_before.before(picture.read_ns);
        for run in runs_before.recent {
            list.see(run);
        }
        self.list = Some(list);
    }

    /// Takes in a finished run.
    pub(super) fn take_run(&mut self, run: &Run) {
        let began_ns = match self.last_end_ns {
            Some(last_ns) if last_ns <= run.started_ns => last_ns,
            _ => run.started_ns,
        };
        let seconds = |ns: u64| ns as f64 / 1e9;
        self.phases.push(run, seconds(run.started_ns.saturating_sub(began_ns)));
        self.costs.observe(Observation {
            at_ns: run.finished_ns,
            runs: 1.0,
            chunks: f64::from(run.chunks),
            seconds: seconds(run.finished_ns.saturating_sub(began_ns)),
            blur_s: 0.0,
        });
        self.sizes_seen |= 1 << ahead::size_class(f64::from(run.chunks));
        self.last_end_ns = Some(run.finished_ns);
        if let Some(list) = &mut self.list {
            list.see(run);
        }
    }

    /// Without probes: takes in how the status line moved. What is watched begins where it moved
    /// for the first time: since when the run before was under way, nobody knows.
    pub(super) fn take_status(&mut self, now: Now) {
        let before = self.last_exceptions_left.replace(now.exceptions_left);
        if before.is_none_or(|before| now.exceptions_left >= before) {
            return;
        }
        self.last_end_ns = Some(now.at_ns);
        let here = Anchor { at_ns: now.at_ns, exceptions_left: now.exceptions_left };
        match self.anchor {
            Some(anchor) if here.at_ns.saturating_sub(anchor.at_ns) < BLOCK_NS => {}
            Some(anchor) => {
                self.take_block(anchor, here);
                self.anchor = Some(here);
            }
            None => self.anchor = Some(here),
        }
    }

    fn take_block(&mut self, from: Anchor, to: Anchor) {
        let Some(list) = &self.list else { return };
        let before = list.runs.at(from.exceptions_left);
        let after = list.runs.at(to.exceptions_left);
        let runs = before.runs - after.runs;
        let chunks = before.chunks.saturating_sub(after.chunks) as f64;
        if runs > 0.0 {
            self.sizes_seen |= 1 << ahead::size_class(chunks / runs);
        }
        self.costs.observe(Observation {
            at_ns: to.at_ns,
            runs,
            chunks,
            seconds: to.at_ns.saturating_sub(from.at_ns) as f64 / 1e9,
            blur_s: BLOCK_BLUR_S,
        });
    }

    /// Time passes that has nothing to do with what runs cost: the merge is suspended.
    pub(super) fn interrupt(&mut self) {
        (self.anchor, self.last_end_ns) = (None, None);
    }

    /// What lies ahead; none where the store was not read, or held nothing of what there is.
    pub(super) fn ahead(&self, exceptions_left: u64) -> Option<Ahead> {
        let list = self.list.as_ref()?;
        if list.runs.total().chunks == 0 && exceptions_left > 0 {
            return None;
        }
        let remaining = list.remaining(exceptions_left);
        Some(Ahead {
            initial_runs: list.initial_runs,
            runs: remaining.runs.ceil() as u64,
            chunks: remaining.chunks,
            largest_run_chunks: u64::from(remaining.largest),
        })
    }

    /// What a run of so many chunks takes, in seconds; none where too little was seen.
    pub(super) fn run_s(&self, chunks: u32, chunk_bytes: u64) -> Option<f64> {
        let list = self.list.as_ref()?;
        let enough = if self.phases.runs > 0 { MIN_RUNS } else { 1 };
        let hints = self.hints(list, chunk_bytes);
        (self.costs.observations >= enough)
            .then(|| self.costs.predict(1.0, f64::from(chunks), &hints).seconds)
    }

    /// Time left; none where the store was not read, or too little was seen.
    pub(super) fn time_left(&self, now: Now) -> Option<TimeRange> {
        let list = self.list.as_ref()?;
        let remaining = list.remaining(now.exceptions_left);
        if remaining.chunks == 0
            || now.elapsed_ns < MIN_ELAPSED_NS
            || self.costs.observations < if self.phases.runs > 0 { MIN_RUNS } else { 1 }
        {
            return None;
        }
        let hints = self.hints(list, now.chunk_bytes);
        let all = self.costs.predict(remaining.runs, remaining.chunks as f64, &hints);
        let this = self.costs.predict(1.0, remaining.here, &hints);
        let begun_s =
            self.last_end_ns.map_or(0.0, |end_ns| now.at_ns.saturating_sub(end_ns) as f64 / 1e9);
        let middle_s = (all.seconds - begun_s.min(0.9 * this.seconds)).max(0.0);
        let drift = (costs::DRIFT * middle_s.sqrt()).min(MAX_DRIFT_SD);
        let unseen = UNSEEN_SD * self.unseen(list, now.exceptions_left, &hints);
        let sd = [all.relative_sd, drift, unseen].into_iter().fold(MODEL_SD, f64::hypot);
        let factor = (RANGE * sd).exp().min(MAX_FACTOR);
        Some(TimeRange { low_s: middle_s / factor, high_s: middle_s * factor })
    }

    /// The share of the time left that goes into runs unlike any that was seen.
    fn unseen(&self, list: &List, exceptions_left: u64, hints: &Hints) -> f64 {
        let (mut unseen, mut all) = (0.0, 0.0);
        for (class, runs) in list.runs.by_size(exceptions_left).into_iter().enumerate() {
            if runs > 0.0 {
                let chunks = runs * 1.5 * (1_u64 << class) as f64;
                let seconds = self.costs.predict(runs, chunks, hints).seconds;
                all += seconds;
                if self.sizes_seen & (0b111 << class >> 1) == 0 {
                    unseen += seconds;
                }
            }
        }
        if all > 0.0 { unseen / all } else { 0.0 }
    }

    /// What is known of the split between a run's fixed part and its chunks.
    fn hints(&self, list: &List, chunk_bytes: u64) -> Hints {
        let reads = list.reads;
        let bytes = reads.byte_s.unwrap_or(BYTE_S) * chunk_bytes as f64;
        // Each area that the merge steps back to is read: a chunk, for as many chunks as it lists.
        let area =
            reads.cow_s.unwrap_or(self.phases.commit) * EXCEPTION_BYTES as f64 / chunk_bytes as f64;
        let chunk = (bytes + area, (BYTE_DOUBT * bytes).hypot(COPY_DOUBT * area));
        let fixed = if self.phases.runs > 0 {
            let PhaseMeans { copy, flush, commit, between, .. } = self.phases;
            let always = flush + commit + between;
            // A chunk is read from the COW device and written to the origin. Where no read was
            // timed, a commit and a flush are the nearest to these that there is.
            let least_copy = reads.cow_s.unwrap_or(commit) + reads.real_s.unwrap_or(0.0).max(flush);
            let least_copy = least_copy.min(copy);
            // What of the copy is not explained so may be fixed as well.
            let timed = reads.cow_s.is_some() && reads.real_s.is_some();
            let rest = (copy - least_copy) * if timed { REST_DOUBT } else { COPY_DOUBT };
            let doubt = (COPY_DOUBT * least_copy).hypot(rest);
            (always + least_copy, doubt.hypot(ALWAYS_DOUBT * always))
        } else if let (Some(cow_s), Some(real_s)) = (reads.cow_s, reads.real_s) {
            // On the COW device a read and a write, on the origin a write; and a flush of each,
            // which may cost nothing, or most of all.
            let fixed = 2.5 * cow_s + 1.5 * real_s;
            (fixed, STATUS_DOUBT * fixed)
        } else {
            let run = self.costs.predict(1.0, 0.0, &Hints::NONE).seconds;
            (run, run)
        };
        Hints { fixed, chunk }
    }
}

/// What was seen before the run list was there.
pub(super) struct Seen<'a> {
    /// All runs.
    pub(super) runs: u64,
    /// The last of them.
    pub(super) recent: &'a std::collections::VecDeque<Run>,
}

impl Seen<'_> {
    /// How many runs had finished at that time.
    fn before(&self, at_ns: u64) -> u64 {
        let after = self.recent.iter().filter(|run| run.finished_ns > at_ns).count();
        self.runs.saturating_sub(after as u64)
    }
}

impl List {
    fn see(&mut self, run: &Run) {
        if run.finished_ns > self.read_ns {
            self.seen_runs += 1;
            self.seen_chunks += u64::from(run.chunks);
        }
    }

    /// What is left. The runs that were seen count where they agree with the status line: it was
    /// asked a moment before or after, so a run or two are no contradiction.
    fn remaining(&self, exceptions_left: u64) -> Remaining {
        let by_status = self.runs.at(exceptions_left);
        let total = self.runs.total();
        let chunks = total.chunks.saturating_sub(self.seen_chunks);
        let close = 2 * u64::from(by_status.largest.max(self.runs.at(chunks).largest));
        if self.seen_runs == 0 || chunks.abs_diff(by_status.chunks) > close {
            return by_status;
        }
        let runs = total.runs.saturating_sub(self.seen_runs) as f64;
        Remaining { runs, ..self.runs.at(chunks) }
    }
}

impl Reads {
    fn of(picture: &StorePicture) -> Self {
        let small = |times: Option<crate::sample::ReadTimes>| Some(times?.small_ns as f64 / 1e9);
        let byte = |times: Option<crate::sample::ReadTimes>| {
            let times = times?;
            let bytes = times.large_bytes.checked_sub(times.small_bytes).filter(|n| *n > 0)?;
            Some(times.large_ns.saturating_sub(times.small_ns) as f64 / 1e9 / bytes as f64)
        };
        Self {
            cow_s: small(picture.cow_reads),
            real_s: small(picture.real_reads),
            byte_s: byte(picture.cow_reads)
                .zip(byte(picture.real_reads))
                .map(|(cow, real)| (cow + real).max(LEAST_BYTE_S)),
        }
    }
}

impl PhaseMeans {
    /// How fast the means follow.
    const GAIN: f64 = 0.02;
    /// A phase that takes longer than so many times the mean counts as if it took that long.
    const CUT: f64 = 4.0;

    fn push(&mut self, run: &Run, between_s: f64) {
        self.runs += 1;
        let gain = Self::GAIN.max(1.0 / self.runs as f64);
        let follow = |mean: &mut f64, seconds: f64| {
            let cut = if gain < 0.2 { seconds.min(Self::CUT * *mean) } else { seconds };
            *mean += gain * (cut - *mean);
        };
        let phase = |phase: Phase| run.phase_ns[phase as usize] as f64 / 1e9;
        follow(&mut self.copy, phase(Phase::Copy));
        follow(&mut self.flush, phase(Phase::Flush));
        follow(&mut self.commit, phase(Phase::Commit));
        follow(&mut self.between, between_s);
    }
}
