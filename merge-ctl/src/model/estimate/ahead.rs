//! What lies ahead of a merge: the run list, and where in it the merge is.
//!
//! The kernel takes runs from the list's front and never goes back, and its status line tells how
//! many exceptions are left. So the place in the list follows from that number alone: exactly
//! where a segment is one run, and evenly spread inside a longer one.

use crate::store::Segment;

/// What of the run list lies ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Runs that there were at the first look.
    pub initial_runs: u64,
    /// Runs that are left, the one in progress among them.
    pub runs: u64,
    /// Their chunks.
    pub chunks: u64,
    /// The chunks of the largest of them.
    pub largest_run_chunks: u64,
}

/// A run list with the sums from each of its places to the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RunsAhead {
    segments: Vec<Segment>,
    /// For each segment what it and all behind it hold; at the end, nothing.
    left: Vec<Segment>,
}

/// What is left at a place of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Remaining {
    /// Runs; a part of one where the place is inside a segment.
    pub(super) runs: f64,
    pub(super) chunks: u64,
    pub(super) largest: u32,
    /// Chunks of an average run at the place.
    pub(super) here: f64,
}

impl RunsAhead {
    /// The list of these segments, in the order of the merge.
    pub(super) fn new(segments: &[Segment]) -> Self {
        let mut left = vec![Segment::default()];
        let mut sum = Segment::default();
        for segment in segments.iter().rev() {
            sum = sum.and(*segment);
            left.push(sum);
        }
        left.reverse();
        Self { segments: segments.to_vec(), left }
    }

    /// All of it.
    pub(super) fn total(&self) -> Segment {
        self.left.first().copied().unwrap_or_default()
    }

    /// What is left when so many exceptions are.
    pub(super) fn at(&self, exceptions_left: u64) -> Remaining {
        let chunks = exceptions_left.min(self.total().chunks);
        // The last segment that still has all of what is left in it or behind it.
        let index = self.left.partition_point(|left| left.chunks >= chunks).saturating_sub(1);
        let (Some(segment), Some(behind)) = (self.segments.get(index), self.left.get(index + 1))
        else {
            return Remaining::default();
        };
        let of_segment = chunks.saturating_sub(behind.chunks) as f64 / segment.chunks.max(1) as f64;
        Remaining {
            runs: behind.runs as f64 + of_segment * segment.runs as f64,
            chunks,
            largest: self.left[index].largest,
            here: segment.chunks as f64 / segment.runs.max(1) as f64,
        }
    }

    /// The shares of what is left by size: for each power of two of chunks the runs, counted as if
    /// each run of a segment were of its average size.
    pub(super) fn by_size(&self, exceptions_left: u64) -> [f64; 32] {
        let mut runs = [0.0; 32];
        let mut chunks = exceptions_left;
        for segment in self.segments.iter().rev() {
            if chunks == 0 {
                break;
            }
            let taken = segment.chunks.min(chunks);
            chunks -= taken;
            let share = taken as f64 / segment.chunks.max(1) as f64;
            runs[size_class(segment.chunks as f64 / segment.runs.max(1) as f64)] +=
                share * segment.runs as f64;
        }
        runs
    }
}

/// The power of two below, or at, a size in chunks.
pub(super) fn size_class(chunks: f64) -> usize {
    (chunks.max(1.0).log2() as usize).min(31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(runs: u64, chunks: u64, largest: u32) -> Segment {
        Segment { runs, chunks, largest }
    }

    fn list() -> RunsAhead {
        RunsAhead::new(&[segment(1, 256, 256), segment(4, 20, 10), segment(1, 1, 1)])
    }

    #[test]
    fn the_place_follows_from_what_is_left() {
        let list = list();
        let at = |left| {
            let remaining = list.at(left);
            (remaining.runs, remaining.largest)
        };
        assert_eq!(list.total(), segment(6, 277, 256));
        assert_eq!(at(277), (6.0, 256));
        assert_eq!(at(1000), (6.0, 256), "a crash lost chunks, or the store grew meanwhile");
        assert_eq!(at(21), (5.0, 10));
        assert_eq!(at(11), (3.0, 10), "half of a segment is half of its runs");
        assert_eq!(at(1), (1.0, 1));
        assert_eq!(at(0).0, 0.0);
        assert_eq!(RunsAhead::default().at(7), Remaining::default());
    }

    #[test]
    fn what_is_left_is_counted_by_size() {
        let runs = list().by_size(21);
        assert_eq!((runs[0], runs[2], runs[8]), (1.0, 4.0, 0.0));
        assert_eq!(list().by_size(11)[2], 2.0);
    }
}
