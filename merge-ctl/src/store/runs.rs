//! The run finder: which chunks the kernel merges in one go, and in which order.
//!
//! Pure. It follows `persistent_prepare_merge` and `persistent_commit_merge`
//! (`drivers/md/dm-snap-persistent.c`). The kernel keeps `current_area` and, as
//! `current_committed`, the number of entries in use there. `persistent_prepare_merge` takes the
//! last of these entries and counts backwards as long as the old and the new chunk are both lower
//! by one than in the entry before, down to entry 0 of that area and no further; it changes
//! nothing. `persistent_commit_merge` clears these entries on disk, and only then lowers
//! `current_committed`. The area itself changes in the next `persistent_prepare_merge`: where no
//! entry is left, it steps back one area, reads it, and takes it for full; before area 0 it
//! returns 0 and the merge is over. So an area's runs depend on that area alone, and the whole
//! list on the exceptions backwards.
//!
//! Whether two neighbours in an area belong together depends on these two only. So the same runs
//! come of a walk forwards, in the opposite order: [`RunList`] does that where one walk must do,
//! because a merge eats the store from its end meanwhile.

use serde::{Deserialize, Serialize};

use super::format::{Exception, Placed};

/// Consecutive chunks that a merge copies in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Run {
    /// The lowest chunk on the origin.
    pub old_chunk: u64,
    /// The lowest chunk on the COW device.
    pub new_chunk: u64,
    /// How many chunks, on both.
    pub chunks: u32,
}

impl Run {
    /// A run of one chunk.
    pub const fn of_one(exception: Exception) -> Self {
        Self { old_chunk: exception.old_chunk, new_chunk: exception.new_chunk, chunks: 1 }
    }

    /// The run with this exception put before it, where both its chunks are the next lower ones.
    fn extended_by(self, exception: Exception) -> Option<Self> {
        let fits = self.old_chunk.checked_sub(1) == Some(exception.old_chunk)
            && self.new_chunk.checked_sub(1) == Some(exception.new_chunk);
        // An area's entries are far fewer than a u32 counts; input that says otherwise starts a
        // new run.
        let chunks = self.chunks.checked_add(1).filter(|_| fits)?;
        Some(Self { chunks, ..Self::of_one(exception) })
    }
}

/// Makes runs of exceptions that come backwards: what `persistent_prepare_merge` returns, call
/// after call.
///
/// After an error it ends; the run that was being counted is then not told, since it may be longer.
#[derive(Clone, Debug)]
pub struct Runs<I> {
    backwards: I,
    /// The run so far, and its area.
    counting: Option<(u64, Run)>,
    ended: bool,
}

impl<I> Runs<I> {
    /// The runs of exceptions that come last first.
    pub const fn new(backwards: I) -> Self {
        Self { backwards, counting: None, ended: false }
    }

    /// Counts one more exception; a run that it does not belong to is over.
    fn count(&mut self, placed: Placed) -> Option<Run> {
        let Placed { place, exception } = placed;
        let extended = self
            .counting
            .filter(|(area, _)| *area == place.area)
            .and_then(|(_, run)| run.extended_by(exception));
        let run = extended.unwrap_or(Run::of_one(exception));
        let before = self.counting.replace((place.area, run));
        if extended.is_some() { None } else { before.map(|(_, run)| run) }
    }
}

impl<I, E> Iterator for Runs<I>
where
    I: Iterator<Item = Result<Placed, E>>,
{
    type Item = Result<Run, E>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.backwards.next() {
                Some(Ok(placed)) => {
                    if let Some(run) = self.count(placed) {
                        return Some(Ok(run));
                    }
                }
                Some(Err(error)) => {
                    (self.ended, self.counting) = (true, None);
                    return Some(Err(error));
                }
                None => self.ended = true,
            }
        }
        self.counting.take().map(|(_, run)| Ok(run))
    }
}

/// The runs of a whole store, collected in a walk forwards: one walk, no second look at a store
/// that a merge may be changing.
///
/// Needs memory for every run, 24 bytes each; [`Runs`] needs none.
#[derive(Clone, Debug, Default)]
pub struct RunList {
    runs: Vec<Run>,
    neighbours: Neighbours,
}

/// Whether exceptions that come in the order of their commits belong to one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Neighbours {
    /// The exception that came last, and its area.
    last: Option<Exception>,
    area: u64,
}

impl Neighbours {
    /// Whether this exception belongs to the same run as the one that came before it.
    pub(super) fn follows(&mut self, placed: Placed) -> bool {
        let Placed { place, exception } = placed;
        let follows = place.area == self.area
            && self.last.is_some_and(|last| {
                last.old_chunk.checked_add(1) == Some(exception.old_chunk)
                    && last.new_chunk.checked_add(1) == Some(exception.new_chunk)
            });
        (self.last, self.area) = (Some(exception), place.area);
        follows
    }
}

impl RunList {
    /// Adds the exception that was committed next.
    pub fn add(&mut self, placed: Placed) {
        let follows = self.neighbours.follows(placed);
        match self.runs.last_mut() {
            Some(run) if follows => run.chunks = run.chunks.saturating_add(1),
            _ => self.runs.push(Run::of_one(placed.exception)),
        }
    }

    /// All runs, in the order in which they are merged.
    pub fn into_merge_order(mut self) -> Vec<Run> {
        self.runs.reverse();
        self.runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::format::Place;

    /// Entries of areas as (old, new), first committed first, told backwards.
    fn backwards(areas: &[&[(u64, u64)]]) -> Vec<Result<Placed, &'static str>> {
        let placed = areas.iter().zip(0..).flat_map(|(entries, area)| {
            entries.iter().zip(0..).map(move |((old_chunk, new_chunk), entry)| {
                let exception = Exception { old_chunk: *old_chunk, new_chunk: *new_chunk };
                Ok(Placed { place: Place { area, entry }, exception })
            })
        });
        let mut placed: Vec<_> = placed.collect();
        placed.reverse();
        placed
    }

    /// The runs, by way of both walks.
    fn runs(areas: &[&[(u64, u64)]]) -> Vec<(u64, u64, u32)> {
        let runs: Vec<Run> = Runs::new(backwards(areas).into_iter()).map(Result::unwrap).collect();
        let mut list = RunList::default();
        backwards(areas).into_iter().rev().for_each(|placed| list.add(placed.unwrap()));
        assert_eq!(list.into_merge_order(), runs);
        runs.iter().map(|run| (run.old_chunk, run.new_chunk, run.chunks)).collect()
    }

    #[test]
    fn nothing_gives_no_run() {
        assert!(runs(&[]).is_empty());
    }

    #[test]
    fn a_run_needs_both_chunks_to_fall_by_one() {
        assert_eq!(runs(&[&[(7, 2), (8, 3), (9, 4)]]), [(7, 2, 3)]);
        assert_eq!(runs(&[&[(7, 2), (8, 4)]]), [(8, 4, 1), (7, 2, 1)]);
        assert_eq!(runs(&[&[(7, 2), (9, 3)]]), [(9, 3, 1), (7, 2, 1)]);
        assert_eq!(runs(&[&[(9, 2), (8, 3)]]), [(8, 3, 1), (9, 2, 1)]);
    }

    #[test]
    fn old_chunk_0_ends_a_run_as_any_other() {
        assert_eq!(runs(&[&[(0, 2), (1, 3)]]), [(0, 2, 2)]);
        assert_eq!(runs(&[&[(u64::MAX, 2), (0, 3)]]), [(0, 3, 1), (u64::MAX, 2, 1)]);
    }

    #[test]
    fn a_run_ends_with_its_area() {
        assert_eq!(runs(&[&[(0, 2), (1, 3)], &[(2, 4), (3, 5)]]), [(2, 4, 2), (0, 2, 2)]);
    }

    #[test]
    fn an_error_ends_it_and_takes_the_unfinished_run_along() {
        let mut input = backwards(&[&[(1, 2), (8, 3), (9, 4)]]);
        input[2] = Err("unreadable");
        let told: Vec<_> = Runs::new(input.into_iter()).collect();
        assert_eq!(told, [Err("unreadable")]);
    }
}
