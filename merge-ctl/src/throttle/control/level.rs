//! What is remembered of a longer while.

use super::window::Window;

/// What is remembered of the writes counts half after so long.
const MEMORY_NS: f64 = 30e9;

/// How it was for a while: sums that fade.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Level {
    /// How long in all; this does not fade.
    pub(super) lasted_ns: u64,
    pub(super) span_ns: f64,
    pub(super) writes: f64,
    pub(super) slow: f64,
    pub(super) bytes: f64,
    pub(super) runs: f64,
    pub(super) copy_ns: f64,
    pub(super) let_through_ns: f64,
    pub(super) sees_runs: bool,
}

impl Level {
    pub(super) fn take(&mut self, window: &Window) {
        let keep = 0.5_f64.powf(window.span_ns as f64 / MEMORY_NS);
        let mut add = |sum: fn(&mut Self) -> &mut f64, more: f64| {
            let sum = sum(self);
            *sum = *sum * keep + more;
        };
        add(|level| &mut level.span_ns, window.span_ns as f64);
        add(|level| &mut level.writes, (window.writes + window.stuck) as f64);
        add(|level| &mut level.slow, window.slow + window.stuck as f64);
        add(|level| &mut level.bytes, window.merged_bytes as f64);
        add(|level| &mut level.runs, window.runs.unwrap_or(0) as f64);
        add(|level| &mut level.copy_ns, window.copy_ns as f64);
        add(|level| &mut level.let_through_ns, window.let_through_ns as f64);
        self.lasted_ns += window.span_ns;
        self.sees_runs |= window.runs.is_some();
    }

    pub(super) fn slow_share(&self) -> f64 {
        self.slow / self.writes.max(1.0)
    }

    pub(super) fn bytes_per_s(&self) -> f64 {
        self.bytes * 1e9 / self.span_ns.max(1.0)
    }

    pub(super) fn runs_per_s(&self) -> Option<f64> {
        (self.sees_runs && self.span_ns > 0.0).then(|| self.runs * 1e9 / self.span_ns)
    }

    /// The part of the time that copies took; none where no run was seen.
    pub(super) fn copy_share(&self) -> Option<f64> {
        (self.runs > 0.0).then(|| self.copy_ns / self.span_ns.max(1.0))
    }

    pub(super) fn let_through_share(&self) -> f64 {
        self.let_through_ns / self.span_ns.max(1.0)
    }
}
