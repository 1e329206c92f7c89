//! How many bytes may be under way at once, so that a stop is heeded soon on a slow device too. Pure.
//!
//! What is under way when somebody asks for a stop has to end first. A request's time says how long
//! that takes: while requests are quick the window grows, and when they are slow it is halved. A device
//! that is slow at a single request, whatever else it has to do, keeps a window of some requests.

use std::time::{Duration, Instant};

/// Slower than this is slow.
const SLOW: Duration = Duration::from_millis(400);
/// It begins here, and never gets smaller.
const LEAST_BYTES: u64 = 4 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Window {
    bytes: u64,
    most_bytes: u64,
    cut_at: Option<Instant>,
}

impl Window {
    pub(super) fn new(most_bytes: u64) -> Self {
        Self { bytes: LEAST_BYTES, most_bytes: most_bytes.max(LEAST_BYTES), cut_at: None }
    }

    /// Whether a request may begin while so many bytes are under way.
    pub(super) const fn admits(&self, under_way_bytes: u64, length: usize) -> bool {
        under_way_bytes == 0 || under_way_bytes + length as u64 <= self.bytes
    }

    /// Learns from a request that has ended now.
    pub(super) fn ended(&mut self, length: usize, begun: Instant, now: Instant) {
        if now.saturating_duration_since(begun) < SLOW {
            self.bytes = (self.bytes + length as u64).min(self.most_bytes);
        } else if self.cut_at.is_none_or(|cut_at| begun >= cut_at) {
            // Requests that began before the last cut say nothing of it.
            self.bytes = (self.bytes / 2).max(LEAST_BYTES);
            self.cut_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_requests_open_it_and_slow_ones_close_it_once_a_round() {
        let begun = Instant::now();
        let mut window = Window::new(64 << 20);
        assert!(window.admits(3 << 20, 1 << 20) && !window.admits(4 << 20, 1 << 20));
        for _ in 0..100 {
            window.ended(1 << 20, begun, begun + Duration::from_millis(10));
        }
        assert!(window.admits(63 << 20, 1 << 20) && !window.admits(64 << 20, 512));
        let slow = begun + Duration::from_millis(900);
        for _ in 0..64 {
            window.ended(1 << 20, begun, slow);
        }
        assert!(window.admits(31 << 20, 1 << 20) && !window.admits(32 << 20, 512));
        for round in 1..10 {
            let second = |number| slow + Duration::from_secs(number);
            window.ended(1 << 20, second(round), second(round + 1));
        }
        assert!(window.admits(3 << 20, 1 << 20) && !window.admits(4 << 20, 512));
    }
}
