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
//! come of a walk forwards, in the opposite order: [`ForwardRuns`] finds them there, and
//! [`RunList`] keeps them to turn them round, where one walk must do, because a merge eats the store
//! from its end meanwhile.

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

    /// The run with this exception put after it, where both its chunks are the next higher ones.
    fn continued_by(self, exception: Exception) -> Option<Self> {
        let length = u64::from(self.chunks);
        let fits = self.old_chunk.checked_add(length) == Some(exception.old_chunk)
            && self.new_chunk.checked_add(length) == Some(exception.new_chunk);
        let chunks = self.chunks.checked_add(1).filter(|_| fits)?;
        Some(Self { chunks, ..self })
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

/// A run and the area that its entries stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AreaRun {
    /// The area, from 0.
    pub area: u64,
    /// The run.
    pub run: Run,
}

/// Finds the runs in a walk forwards, each as soon as it is known to be over: the order is the
/// opposite of a merge's. Needs no memory but for the run that is being counted.
///
/// ```
/// # use merge_ctl::store::{Exception, ForwardRuns, Place, Placed};
/// let mut runs = ForwardRuns::default();
/// let mut found = Vec::new();
/// for (entry, (old_chunk, new_chunk)) in (0..).zip([(7, 2), (8, 3), (1, 4)]) {
///     let exception = Exception { old_chunk, new_chunk };
///     found.extend(runs.add(Placed { place: Place { area: 0, entry }, exception }));
/// }
/// found.extend(runs.finish());
/// let chunks: Vec<u32> = found.iter().map(|found| found.run.chunks).collect();
/// assert_eq!(chunks, [2, 1]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct ForwardRuns {
    counting: Option<AreaRun>,
}

impl ForwardRuns {
    /// Counts the exception that was committed next. A run that it does not belong to is over, and
    /// is returned.
    #[inline]
    pub fn add(&mut self, placed: Placed) -> Option<AreaRun> {
        let Placed { place, exception } = placed;
        if let Some(counting) = &mut self.counting
            && counting.area == place.area
            && let Some(run) = counting.run.continued_by(exception)
        {
            counting.run = run;
            return None;
        }
        self.counting.replace(AreaRun { area: place.area, run: Run::of_one(exception) })
    }

    /// The last run: call it once the store is at its end.
    pub const fn finish(self) -> Option<AreaRun> {
        self.counting
    }
}

/// The runs of a whole store, collected in a walk forwards: one walk, no second look at a store
/// that a merge may be changing.
///
/// Needs memory for every run, 24 bytes each; [`Runs`] and [`ForwardRuns`] need none.
#[derive(Clone, Debug, Default)]
pub struct RunList {
    runs: Vec<Run>,
    forward: ForwardRuns,
}

impl RunList {
    /// Adds the exception that was committed next.
    #[inline]
    pub fn add(&mut self, placed: Placed) {
        self.runs.extend(self.forward.add(placed).map(|finished| finished.run));
    }

    /// All runs, in the order in which they are merged.
    pub fn into_merge_order(mut self) -> Vec<Run> {
        self.runs.extend(self.forward.finish().map(|last| last.run));
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
        let mut forward = ForwardRuns::default();
        let mut found: Vec<AreaRun> = backwards(areas)
            .into_iter()
            .rev()
            .filter_map(|placed| forward.add(placed.unwrap()))
            .collect();
        found.extend(forward.finish());
        assert!(found.is_sorted_by_key(|found| found.area));
        found.reverse();
        assert!(found.iter().map(|found| found.run).eq(runs.iter().copied()));
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
    fn forwards_a_run_is_told_with_its_area_as_soon_as_it_is_over() {
        let mut forward = ForwardRuns::default();
        let mut add = |area, entry, old_chunk, new_chunk| {
            let exception = Exception { old_chunk, new_chunk };
            forward.add(Placed { place: Place { area, entry }, exception })
        };
        let run = |old_chunk, new_chunk, chunks| Run { old_chunk, new_chunk, chunks };
        assert_eq!(add(4, 62, 10, 2), None);
        assert_eq!(add(4, 63, 11, 3), None);
        assert_eq!(add(5, 0, 12, 4), Some(AreaRun { area: 4, run: run(10, 2, 2) }));
        assert_eq!(add(5, 1, 13, 6), Some(AreaRun { area: 5, run: run(12, 4, 1) }));
        assert_eq!(forward.finish(), Some(AreaRun { area: 5, run: run(13, 6, 1) }));
    }

    #[test]
    fn an_error_ends_it_and_takes_the_unfinished_run_along() {
        let mut input = backwards(&[&[(1, 2), (8, 3), (9, 4)]]);
        input[2] = Err("unreadable");
        let told: Vec<_> = Runs::new(input.into_iter()).collect();
        assert_eq!(told, [Err("unreadable")]);
    }
}
