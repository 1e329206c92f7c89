//! How many requests, and how many bytes, may be under way at once, so that a stop is heeded soon on a
//! slow device too. Pure.
//!
//! What is under way when somebody asks for a stop has to end first. A request's time says how long
//! that takes: while requests are quick the window grows, and when they are slow it is halved; on the
//! average of some, since single ones are late for many reasons. A device that is slow at a single
//! request, whatever else it has to do, keeps a window of some requests. Bytes alone would not do: a
//! disk may be slow at each request, however short.

use std::time::{Duration, Instant};

/// Slower than this is slow.
const SLOW: Duration = Duration::from_millis(400);
/// It begins here, and never gets smaller.
const LEAST: Extent = Extent { requests: 8, bytes: 4 << 20 };
/// A request's part in the average.
const WEIGHT: f64 = 1.0 / 16.0;

/// Requests, and their data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) requests: usize,
    pub(super) bytes: u64,
}

impl Extent {
    /// With one more.
    pub(super) const fn and(self, length: usize) -> Self {
        Self { requests: self.requests + 1, bytes: self.bytes + length as u64 }
    }

    /// Without one of them.
    pub(super) const fn without(self, length: usize) -> Self {
        Self { requests: self.requests - 1, bytes: self.bytes - length as u64 }
    }

    fn most(self, other: Self) -> Self {
        Self { requests: self.requests.max(other.requests), bytes: self.bytes.max(other.bytes) }
    }

    fn least(self, other: Self) -> Self {
        Self { requests: self.requests.min(other.requests), bytes: self.bytes.min(other.bytes) }
    }

    const fn half(self) -> Self {
        Self { requests: self.requests / 2, bytes: self.bytes / 2 }
    }

    const fn is_within(self, other: Self) -> bool {
        self.requests <= other.requests && self.bytes <= other.bytes
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Window {
    now: Extent,
    largest: Extent,
    /// The average time of a request.
    mean_s: f64,
    cut_at: Option<Instant>,
}

impl Window {
    pub(super) fn new(largest: Extent) -> Self {
        Self { now: LEAST, largest: largest.most(LEAST), mean_s: 0.0, cut_at: None }
    }

    /// Whether a request may begin beside those under way. One always may.
    pub(super) fn admits(&self, under_way: Extent, length: usize) -> bool {
        under_way.requests == 0 || under_way.and(length).is_within(self.now)
    }

    /// Learns from a request that has ended now.
    pub(super) fn ended(&mut self, length: usize, begun: Instant, now: Instant) {
        let took_s = now.saturating_duration_since(begun).as_secs_f64();
        self.mean_s += WEIGHT * (took_s - self.mean_s);
        if self.mean_s < SLOW.as_secs_f64() {
            self.now = self.now.and(length).least(self.largest);
        } else if self.cut_at.is_none_or(|cut_at| begun >= cut_at) {
            // Requests that began before the last cut say nothing of it.
            self.now = self.now.half().most(LEAST);
            self.cut_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// Whether so many requests of this length, and one more, may be under way.
    fn admits(window: &Window, requests: usize, length: usize) -> bool {
        window.admits(Extent { requests, bytes: (requests * length) as u64 }, length)
    }

    #[test]
    fn quick_requests_open_it_and_slow_ones_close_it_once_a_round() {
        let begun = Instant::now();
        let mut window = Window::new(Extent { requests: 128, bytes: 64 << 20 });
        assert!(admits(&window, 3, MIB) && !admits(&window, 4, MIB));
        for _ in 0..100 {
            window.ended(MIB, begun, begun + Duration::from_millis(10));
        }
        assert!(admits(&window, 63, MIB) && !admits(&window, 64, MIB));
        let slow = begun + Duration::from_millis(900);
        for _ in 0..64 {
            window.ended(MIB, begun, slow);
        }
        assert!(admits(&window, 31, MIB) && !admits(&window, 32, MIB));
        for round in 1..10 {
            let second = |number| slow + Duration::from_secs(number);
            window.ended(MIB, second(round), second(round + 1));
        }
        assert!(admits(&window, 3, MIB) && !admits(&window, 4, MIB));
    }

    /// A disk that serves one request after the other, each of them short and slow.
    #[test]
    fn short_requests_are_few_too_where_each_is_slow() {
        let begun = Instant::now();
        let at = |number: u32| begun + Duration::from_millis(400) * number;
        let mut window = Window::new(Extent { requests: 128, bytes: 64 << 20 });
        let mut queue = std::collections::VecDeque::new();
        let mut most = 0;
        for served in 0..200 {
            while admits(&window, queue.len(), 4096) {
                queue.push_back(at(served));
            }
            most = most.max(queue.len());
            window.ended(4096, queue.pop_front().unwrap(), at(served + 1));
        }
        assert!(queue.len() < 8 && most < 16, "{} at the end, {most} at most", queue.len());
    }

    #[test]
    fn short_requests_are_as_many_as_there_may_be_where_they_are_quick() {
        let begun = Instant::now();
        let mut window = Window::new(Extent { requests: 128, bytes: 64 << 20 });
        assert!(admits(&window, 7, 4096) && !admits(&window, 8, 4096));
        for _ in 0..120 {
            window.ended(4096, begun, begun + Duration::from_millis(1));
        }
        assert!(admits(&window, 127, 4096) && !admits(&window, 128, 4096));
    }

    #[test]
    fn one_request_always_may_begin() {
        let window = Window::new(Extent::default());
        assert!(window.admits(Extent::default(), 64 * MIB));
    }
}
