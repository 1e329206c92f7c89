//! How large a recording may grow: under 20 MiB in an hour, as long as only lists of writes make it large.
//!
//! A bucket that fills with time. Where it is empty, samples list fewer writes in flight; all that is
//! counted, and every run, is recorded always.

/// What may be written at once.
const CAPACITY_BYTES: i64 = 5 << 20;
/// What may be written in an hour beside that.
const HOURLY_BYTES: u64 = 14 << 20;
const HOUR_NS: u64 = 3_600_000_000_000;

/// What may be written yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Below 0 where more was written: that has to be earned first.
    left_bytes: i64,
    /// Up to when the bucket was filled; none before the first look.
    at_ns: Option<u64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left_bytes: CAPACITY_BYTES, at_ns: None }
    }
}

impl Budget {
    /// Whether there is none left at this time.
    pub(super) fn is_used_up(&mut self, at_ns: u64) -> bool {
        let before_ns = *self.at_ns.get_or_insert(at_ns);
        let earned = u128::from(at_ns.saturating_sub(before_ns)) * u128::from(HOURLY_BYTES)
            / u128::from(HOUR_NS);
        if earned > 0 {
            let earned = i64::try_from(earned).unwrap_or(i64::MAX);
            self.left_bytes = self.left_bytes.saturating_add(earned).min(CAPACITY_BYTES);
            self.at_ns = Some(at_ns);
        }
        self.left_bytes <= 0
    }

    /// So much was written.
    pub(super) fn spend(&mut self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_less_than_twenty_mebibytes() {
        let mut budget = Budget::default();
        let mut written = 0;
        for tick in 0..5 * 3600 {
            let at_ns = 7 + tick * 200_000_000;
            if !budget.is_used_up(at_ns) {
                budget.spend(9_000);
                written += 9_000;
            }
        }
        assert!((18 << 20..20 << 20).contains(&written), "{written}");
        assert!(!budget.is_used_up(2 * HOUR_NS));
    }
}
