//! A bandwidth limit: a bucket that fills with the time, and that each batch takes its bytes from.
//! Pure: it is told the time.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// The bucket is full after this time, so that pauses are short and a stop is heeded soon.
const FULL_AFTER: Duration = Duration::from_millis(100);

/// A piece is no smaller for the sake of a limit than this.
const LEAST_PIECE_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Limit {
    bytes_per_s: f64,
    /// What may be taken; below 0 after a batch that was larger.
    level_bytes: f64,
    since: Instant,
}

impl Limit {
    /// A full bucket.
    pub(super) fn new(bytes_per_s: NonZeroU64, now: Instant) -> Self {
        let bytes_per_s = bytes_per_s.get() as f64;
        Self { bytes_per_s, level_bytes: bytes_per_s * FULL_AFTER.as_secs_f64(), since: now }
    }

    /// How large a piece may be under this limit, of at most so many bytes: about a bucket.
    pub(super) fn piece(&self, most_bytes: usize) -> usize {
        let bucket = (self.bytes_per_s * FULL_AFTER.as_secs_f64()) as usize;
        let whole = bucket / LEAST_PIECE_BYTES * LEAST_PIECE_BYTES;
        whole.max(LEAST_PIECE_BYTES).min(most_bytes)
    }

    /// How long to wait before anything may be taken.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        let gained = now.saturating_duration_since(self.since).as_secs_f64() * self.bytes_per_s;
        let full = self.bytes_per_s * FULL_AFTER.as_secs_f64();
        self.level_bytes = (self.level_bytes + gained).min(full);
        self.since = now;
        // A batch that is larger than the bucket is paid for afterwards.
        Duration::try_from_secs_f64(-self.level_bytes / self.bytes_per_s).unwrap_or_default()
    }

    /// Takes.
    pub(super) fn take(&mut self, bytes: u64) {
        self.level_bytes -= bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_no_more_is_taken_than_the_limit_and_a_bucket() {
        let begun = Instant::now();
        let mut limit = Limit::new(NonZeroU64::new(1 << 20).unwrap(), begun);
        let (mut now, mut taken) = (begun, 0);
        for bytes in [4096, 1 << 20, 512, 3 << 20, 65536].into_iter().cycle().take(50) {
            now += limit.wait(now);
            limit.take(bytes);
            taken += bytes;
        }
        now += limit.wait(now);
        let rate = taken as f64 / (now - begun).as_secs_f64();
        assert!((0.9 * 1_048_576.0..1.1 * 1_048_576.0).contains(&rate), "{rate}");
    }

    #[test]
    fn pieces_fit_the_bucket_where_they_can() {
        let piece = |bytes_per_s| {
            let limit = Limit::new(NonZeroU64::new(bytes_per_s).unwrap(), Instant::now());
            limit.piece(1 << 20)
        };
        assert_eq!([piece(1), piece(2 << 20), piece(1 << 30)], [64 << 10, 192 << 10, 1 << 20]);
    }

    #[test]
    fn a_pause_saves_up_no_more_than_a_bucket() {
        let begun = Instant::now();
        let mut limit = Limit::new(NonZeroU64::new(1000).unwrap(), begun);
        let later = begun + Duration::from_secs(3600);
        assert_eq!(limit.wait(later), Duration::ZERO);
        limit.take(1100);
        assert_eq!(limit.wait(later).as_millis(), 1000);
    }
}
