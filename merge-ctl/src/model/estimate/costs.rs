//! What runs cost, learned from those that finished: a fixed part a run and a part a chunk.
//!
//! Both are followed with a Kalman filter: two unknowns that drift slowly and mostly together (a
//! device that becomes busy makes everything dearer), seen through noise that is proportional to
//! what a run costs. Recent runs count most, what was learned of sizes that do not come by any
//! more is kept and only becomes less certain, and the filter says how certain it is.
//!
//! One stall is cut to a few times the usual noise before it counts. What is cut off is added up,
//! all but the largest: hiccups that come again and again will come again, a single one need not.
//!
//! As long as all runs had one size, nothing in their totals tells the fixed part from the other.
//! Then [`Hints`] do, taken in when something is asked and not before, so that they never grow
//! into more than they are.

/// What is known of a run's cost apart from totals. Seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hints {
    /// The fixed part, and its standard deviation.
    pub(super) fixed: (f64, f64),
    /// The part a chunk, and its standard deviation.
    pub(super) chunk: (f64, f64),
}

impl Hints {
    /// Nothing is known.
    pub(super) const NONE: Self = Self { fixed: (0.0, 1e9), chunk: (0.0, 1e9) };
}

/// The filter. Seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Costs {
    /// The cost of a run apart from its chunks, and of a chunk.
    mean: [f64; 2],
    covariance: [[f64; 2]; 2],
    /// The noise of a run's cost, relative to it.
    spread: f64,
    pub(super) observations: u64,
    last_ns: u64,
    hiccups: Hiccups,
}

/// What was cut off the observations, and of how much time. Seconds, the older ones faded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Hiccups {
    sum: f64,
    largest: f64,
    of: f64,
}

impl Hiccups {
    fn fade(&mut self, seconds: f64) {
        let kept = (-seconds / HICCUPS_FADE_S).exp();
        for seconds in [&mut self.sum, &mut self.largest, &mut self.of] {
            *seconds *= kept;
        }
    }

    fn add(&mut self, cut_off: f64, of: f64) {
        self.sum += cut_off;
        self.largest = self.largest.max(cut_off);
        self.of += of;
    }

    /// What they add to what is expected, relative to it.
    fn share(&self) -> f64 {
        // Until there was a second, a share of it says nothing.
        ((self.sum - self.largest) / self.of.max(1.0)).clamp(0.0, 1.0)
    }
}

/// Some runs that finished.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation {
    pub(super) at_ns: u64,
    pub(super) runs: f64,
    pub(super) chunks: f64,
    /// How long they took together.
    pub(super) seconds: f64,
    /// How far that may be off by the way it was measured: a standard deviation.
    pub(super) blur_s: f64,
}

/// How long what is left will take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Prediction {
    pub(super) seconds: f64,
    /// The standard deviation that comes of not knowing the costs well, relative.
    pub(super) relative_sd: f64,
}

/// The relative drift of both costs together: a standard deviation for the square root of a second.
pub(super) const DRIFT: f64 = 0.012;
/// The same for each of them apart.
const DRIFT_APART: f64 = 0.003;
/// How far off an observation may be before it is cut, in standard deviations.
const CUT: f64 = 3.5;
/// Bounds of the relative noise of a run's cost.
const SPREAD: (f64, f64) = (0.03, 1.0);
/// How fast the noise is followed.
const SPREAD_GAIN: f64 = 0.02;
/// How long a hiccup is remembered: the time in which it fades to a third.
const HICCUPS_FADE_S: f64 = 120.0;
/// What has not been seen for longer is as uncertain as after so many seconds.
const MAX_GAP_S: f64 = 60.0;

impl Costs {
    /// Takes in what some runs cost.
    pub(super) fn observe(&mut self, seen: Observation) {
        if !(seen.seconds > 0.0 && seen.runs > 0.0) {
            return;
        }
        if self.observations == 0 {
            self.begin(seen);
        }
        self.drift(seen.at_ns);
        let h = [seen.runs, seen.chunks];
        let expected = dot(h, self.mean);
        let scale = expected.max(seen.seconds / 4.0);
        let from_costs = quadratic(h, self.covariance);
        let noise = (self.spread * scale).powi(2) / seen.runs.max(1.0) + seen.blur_s.powi(2);
        let off = seen.seconds - expected;
        self.follow_spread(off, from_costs + seen.blur_s.powi(2), scale, seen.runs);
        // Rounding can leave the uncertainty of far-off figures a little below nothing.
        let limit = CUT * (from_costs + noise).max(0.0).sqrt();
        if !(off.is_finite() && limit.is_finite()) {
            // Figures that no merge has: what comes next is the first again.
            *self = Self::default();
            return;
        }
        self.hiccups.add((off - limit).max(0.0), seen.seconds.min(expected.max(0.0) + limit));
        update(&mut self.mean, &mut self.covariance, h, off.clamp(-limit, limit), noise);
        self.observations += 1;
    }

    /// As if nothing were known but the order of magnitude.
    fn begin(&mut self, seen: Observation) {
        let (run, chunk) = (seen.seconds / seen.runs, seen.seconds / seen.chunks.max(1.0));
        self.mean = [run / 2.0, chunk / 2.0];
        self.covariance = [[(3.0 * run).powi(2), 0.0], [0.0, (3.0 * chunk).powi(2)]];
        self.spread = 0.3;
        self.last_ns = seen.at_ns;
    }

    fn drift(&mut self, at_ns: u64) {
        let seconds = (at_ns.saturating_sub(self.last_ns) as f64 / 1e9).min(MAX_GAP_S);
        self.last_ns = self.last_ns.max(at_ns);
        self.hiccups.fade(seconds);
        for i in 0..2 {
            for j in 0..2 {
                self.covariance[i][j] += DRIFT.powi(2) * seconds * self.mean[i] * self.mean[j];
            }
            self.covariance[i][i] += DRIFT_APART.powi(2) * seconds * self.mean[i].powi(2);
        }
    }

    /// What is left of the difference when what is not known of the costs is taken off.
    fn follow_spread(&mut self, off: f64, explained: f64, scale: f64, runs: f64) {
        let seen = (off.powi(2) - explained).max(0.0) * runs.max(1.0) / scale.powi(2);
        let gain = SPREAD_GAIN.max(1.0 / (self.observations as f64 + 4.0));
        let cut = seen.min((CUT * self.spread).powi(2));
        let square = self.spread.powi(2) + gain * (cut - self.spread.powi(2));
        self.spread = square.sqrt().clamp(SPREAD.0, SPREAD.1);
    }

    /// The costs with the hints taken in, never negative; and their covariance.
    fn with(&self, hints: &Hints) -> ([f64; 2], [[f64; 2]; 2]) {
        let (mut mean, mut covariance) = (self.mean, self.covariance);
        for (h, (value, sd)) in [([1.0, 0.0], hints.fixed), ([0.0, 1.0], hints.chunk)] {
            let off = value - dot(h, mean);
            update(&mut mean, &mut covariance, h, off, sd.powi(2));
        }
        for (i, h) in [[1.0, 0.0], [0.0, 1.0]].into_iter().enumerate() {
            if mean[i] < 0.0 {
                let off = -mean[i];
                update(&mut mean, &mut covariance, h, off, 0.0);
            }
        }
        (mean.map(|cost| cost.max(0.0)), covariance)
    }

    /// What so many runs with so many chunks will take.
    pub(super) fn predict(&self, runs: f64, chunks: f64, hints: &Hints) -> Prediction {
        let (mean, covariance) = self.with(hints);
        let h = [runs, chunks];
        let expected = dot(h, mean);
        let hiccups = self.hiccups.share();
        let seconds = expected * (1.0 + hiccups);
        let sd = quadratic(h, covariance).max(0.0).sqrt();
        let noise = self.spread / runs.max(1.0).sqrt();
        let relative_sd = match expected > 0.0 {
            true => (sd / expected).hypot(noise).hypot(hiccups / 2.0),
            false => 1.0,
        };
        Prediction { seconds, relative_sd }
    }
}

fn dot(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

fn times(matrix: [[f64; 2]; 2], h: [f64; 2]) -> [f64; 2] {
    matrix.map(|row| dot(row, h))
}

fn quadratic(h: [f64; 2], matrix: [[f64; 2]; 2]) -> f64 {
    dot(h, times(matrix, h))
}

/// One measurement of `h` times the unknowns: `off` from what was expected, with this variance.
fn update(
    mean: &mut [f64; 2],
    covariance: &mut [[f64; 2]; 2],
    h: [f64; 2],
    off: f64,
    variance: f64,
) {
    let ph = times(*covariance, h);
    let total = dot(h, ph) + variance;
    if total <= 0.0 {
        return;
    }
    for i in 0..2 {
        mean[i] += ph[i] / total * off;
    }
    for (i, row) in covariance.iter_mut().enumerate() {
        for (j, cell) in row.iter_mut().enumerate() {
            *cell -= ph[i] * ph[j] / total;
        }
        // Rounding must not make a variance negative.
        row[i] = row[i].max(0.0);
    }
}
