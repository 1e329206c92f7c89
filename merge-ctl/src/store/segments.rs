//! The runs of a merge, squeezed into a list of bounded length: enough to know how many runs, how
//! many chunks and how large a run lie ahead at any point of the merge.
//!
//! Pure and streaming: exceptions come in the order of their commits, so that one walk forwards
//! does. A segment stands for neighbouring runs, each segment but the last for the same number of
//! them. When the list is full, neighbours are put together, two and two, so that it is at least
//! half full from then on, whatever the store's size.
//!
//! A segment keeps no sizes beyond the sum and the largest: what a run costs is taken to be linear
//! in its chunks (`crate::cost`), and for that the two sums are all there is to know.

use serde::{Deserialize, Serialize};

use super::format::Placed;
use super::runs::ForwardRuns;

/// Neighbouring runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u32)", into = "(u64, u64, u32)")]
pub struct Segment {
    /// How many.
    pub runs: u64,
    /// Their chunks.
    pub chunks: u64,
    /// The chunks of the largest of them.
    pub largest: u32,
}

impl From<(u64, u64, u32)> for Segment {
    fn from((runs, chunks, largest): (u64, u64, u32)) -> Self {
        Self { runs, chunks, largest }
    }
}

impl From<Segment> for (u64, u64, u32) {
    fn from(segment: Segment) -> Self {
        (segment.runs, segment.chunks, segment.largest)
    }
}

impl Segment {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            runs: self.runs + other.runs,
            chunks: self.chunks + other.chunks,
            largest: self.largest.max(other.largest),
        }
    }

    const fn of_one_run(chunks: u32) -> Self {
        Self { runs: 1, chunks: chunks as u64, largest: chunks }
    }
}

/// Makes segments of exceptions.
#[derive(Clone, Debug)]
pub struct Segments {
    /// Full ones, in the order of the commits.
    full: Vec<Segment>,
    /// The one that is being filled with whole runs.
    filling: Segment,
    /// The run that may still grow.
    runs: ForwardRuns,
    runs_per_segment: u64,
    most: usize,
}

impl Segments {
    /// At most `most` segments, two at least.
    pub fn new(most: usize) -> Self {
        Self {
            full: Vec::new(),
            filling: Segment::default(),
            runs: ForwardRuns::default(),
            runs_per_segment: 1,
            most: most.max(2),
        }
    }

    /// Adds the exception that was committed next.
    pub fn add(&mut self, placed: Placed) {
        if let Some(ended) = self.runs.add(placed) {
            self.end_run(ended.run.chunks);
        }
    }

    fn end_run(&mut self, chunks: u32) {
        self.filling = self.filling.and(Segment::of_one_run(chunks));
        if self.filling.runs >= self.runs_per_segment {
            self.end_segment();
        }
    }

    fn end_segment(&mut self) {
        self.full.push(std::mem::take(&mut self.filling));
        // One place is kept for the segment that the end of the store leaves half filled.
        if self.full.len() + 1 >= self.most {
            self.squeeze();
        }
    }

    /// Halves the list. A segment without a partner becomes the one that is being filled.
    fn squeeze(&mut self) {
        self.runs_per_segment *= 2;
        let pairs = self.full.len() / 2;
        if self.full.len() % 2 == 1 {
            self.filling = self.full.pop().unwrap_or_default();
        }
        for pair in 0..pairs {
            self.full[pair] = self.full[2 * pair].and(self.full[2 * pair + 1]);
        }
        self.full.truncate(pairs);
    }

    /// The segments, in the order in which they are merged.
    pub fn into_merge_order(mut self) -> Vec<Segment> {
        if let Some(last) = std::mem::take(&mut self.runs).finish() {
            self.end_run(last.run.chunks);
        }
        if self.filling.runs > 0 {
            self.full.push(self.filling);
        }
        self.full.reverse();
        self.full
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::RunList;
    use crate::store::format::{Exception, Place};

    const ENTRIES: u32 = 32;

    /// Exceptions whose runs have these lengths, but where an area ends.
    fn exceptions(lengths: &[u64]) -> Vec<Placed> {
        let mut old = 0;
        let mut placed: Vec<Placed> = Vec::new();
        for length in lengths {
            old += 7;
            for _ in 0..*length {
                let index = placed.len() as u64;
                let entries = u64::from(ENTRIES);
                let place = Place { area: index / entries, entry: (index % entries) as u32 };
                let exception = Exception { old_chunk: old, new_chunk: 2 + index + place.area };
                placed.push(Placed { place, exception });
                old += 1;
            }
        }
        placed
    }

    fn segments(placed: &[Placed], most: usize) -> Vec<Segment> {
        let mut segments = Segments::new(most);
        for placed in placed {
            segments.add(*placed);
        }
        segments.into_merge_order()
    }

    #[test]
    fn a_list_with_room_for_all_is_the_list_of_runs() {
        let segments = segments(&exceptions(&[3, 1, 40]), 100);
        let sizes: Vec<_> = segments.iter().map(|s| (s.runs, s.chunks, s.largest)).collect();
        assert_eq!(sizes, [(1, 12, 12), (1, 28, 28), (1, 1, 1), (1, 3, 3)]);
    }

    #[test]
    fn nothing_gives_no_segment() {
        assert!(segments(&[], 10).is_empty());
    }

    #[test]
    fn a_segment_is_written_down_as_three_numbers() {
        let segment = Segment { runs: 2, chunks: 300, largest: 256 };
        let text = serde_json::to_string(&segment).unwrap();
        assert_eq!(text, "[2,300,256]");
        assert_eq!(serde_json::from_str::<Segment>(&text).unwrap(), segment);
    }

    proptest! {
        /// Squeezed or not, the segments are the run list: in its order, and complete.
        #[test]
        fn segments_are_the_run_list_put_together(
            lengths in prop::collection::vec(1_u64..60, 0..300),
            most in 2_usize..40,
        ) {
            let placed = exceptions(&lengths);
            let segments = segments(&placed, most);
            prop_assert!(segments.len() <= most);
            let mut list = RunList::default();
            for placed in &placed {
                list.add(*placed);
            }
            let mut runs = list.into_merge_order().into_iter();
            for segment in &segments {
                let these: Vec<_> = runs.by_ref().take(segment.runs as usize).collect();
                prop_assert_eq!(these.len() as u64, segment.runs);
                let chunks: u64 = these.iter().map(|run| u64::from(run.chunks)).sum();
                prop_assert_eq!(chunks, segment.chunks);
                prop_assert_eq!(these.iter().map(|run| run.chunks).max(), Some(segment.largest));
            }
            prop_assert_eq!(runs.next(), None);
        }
    }
}
