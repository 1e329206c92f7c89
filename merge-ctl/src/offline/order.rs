//! The exceptions in the order of the origin, in bounded memory, however many there are.
//!
//! What does not fit into memory takes more than one walk over the metadata. Each walk keeps the
//! exceptions with the lowest old chunks that were not kept before: whenever the list is full, the
//! upper half of it is dropped, and from then on whatever lies there. So each walk but the last
//! brings between a half and the whole of what fits, wherever the chunks lie, and the usual merge
//! takes one.

use super::OfflineError;
use super::meter::Meter;
use super::target::Target;
use crate::store::{EntryFault, Exception, Store, StoreError};

/// The exceptions of one walk that are wanted, and fit.
#[derive(Debug)]
pub(super) struct Selection {
    kept: Vec<Exception>,
    /// How many fit: two at least.
    most: usize,
    /// Old chunks below this one were in the walks before.
    from: u64,
    /// Old chunks from this one on do not fit.
    below: Option<u64>,
}

/// Some of the exceptions, by rising old chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) exceptions: Vec<Exception>,
    /// Where the next part begins; none after the last.
    pub(super) next_from: Option<u64>,
}

impl Selection {
    pub(super) fn new(most: usize, from: u64) -> Self {
        Self { kept: Vec::new(), most: most.max(2), from, below: None }
    }

    pub(super) fn add(&mut self, exception: Exception) {
        let old = exception.old_chunk;
        if old < self.from || self.below.is_some_and(|below| old >= below) {
            return;
        }
        if self.kept.len() == self.most {
            self.halve();
            if self.below.is_some_and(|below| old >= below) {
                return;
            }
        }
        self.grow();
        self.kept.push(exception);
    }

    /// A list that doubles would for a moment take more than it may.
    fn grow(&mut self) {
        const STEP: usize = 1 << 16;
        if self.kept.len() == self.kept.capacity() {
            let more = self.kept.len().clamp(256, STEP.max(self.most / 16));
            self.kept.reserve_exact(more.min(self.most - self.kept.len()));
        }
    }

    fn halve(&mut self) {
        let half = self.most / 2;
        self.kept.select_nth_unstable_by_key(half, |exception| exception.old_chunk);
        self.below = Some(self.kept[half].old_chunk);
        self.kept.truncate(half);
    }

    /// # Errors
    /// The first exception whose old chunk another one has too.
    pub(super) fn into_part(mut self) -> Result<Part, Exception> {
        self.kept.sort_unstable_by_key(|exception| (exception.old_chunk, exception.new_chunk));
        match self.kept.windows(2).find(|two| two[0].old_chunk == two[1].old_chunk) {
            Some(two) => Err(two[1]),
            None => Ok(Part { exceptions: self.kept, next_from: self.below }),
        }
    }
}

/// All parts of a store, one after the other; each but the first costs a walk. As often as wanted.
pub(super) struct Order<'a> {
    store: &'a Store<&'a Target>,
    most: usize,
    part: Part,
    /// Where the part at hand begins.
    from: u64,
    meter: &'a Meter,
}

impl<'a> Order<'a> {
    /// With the first part, which the first walk has brought already.
    pub(super) fn new(
        store: &'a Store<&'a Target>,
        most: usize,
        first: Selection,
        meter: &'a Meter,
    ) -> Result<Self, OfflineError> {
        let part = sorted(store, first)?;
        Ok(Self { store, most, part, from: 0, meter })
    }

    /// The exceptions at hand.
    pub(super) fn part(&self) -> &[Exception] {
        &self.part.exceptions
    }

    /// Puts the next part in the place of this one; false after the last.
    pub(super) fn advance(&mut self) -> Result<bool, OfflineError> {
        let Some(from) = self.part.next_from else { return Ok(false) };
        self.load(from)?;
        Ok(true)
    }

    /// Back to the first part.
    pub(super) fn rewind(&mut self) -> Result<(), OfflineError> {
        if self.from == 0 { Ok(()) } else { self.load(0) }
    }

    fn load(&mut self, from: u64) -> Result<(), OfflineError> {
        // Its memory is needed for the next one.
        self.part.exceptions = Vec::new();
        let mut selection = Selection::new(self.most, from);
        // Where somebody asked for a stop, whoever takes this part heeds it before anything else.
        for placed in self.store.exceptions().take_while(|_| !self.meter.is_stopped()) {
            selection.add(placed.map_err(|source| unreadable(self.store, source))?.exception);
            self.meter.walked(1);
        }
        self.part = sorted(self.store, selection)?;
        self.from = from;
        Ok(())
    }
}

pub(super) fn unreadable(store: &Store<&Target>, source: StoreError) -> OfflineError {
    OfflineError::Store { cow: store.source().label().to_owned(), source }
}

fn sorted(store: &Store<&Target>, selection: Selection) -> Result<Part, OfflineError> {
    selection.into_part().map_err(|twice| unreadable(store, named_twice(store, twice)))
}

/// The error that says where an exception stands whose old chunk another one has too.
fn named_twice(store: &Store<&Target>, twice: Exception) -> StoreError {
    for placed in store.exceptions() {
        match placed {
            Ok(placed) if placed.exception == twice => {
                let fault = EntryFault::OldTwice;
                return StoreError::Entry { place: placed.place, exception: twice, fault };
            }
            Ok(_) => {}
            Err(error) => return error,
        }
    }
    StoreError::Changed { place: crate::store::Place::default() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exceptions(old_chunks: &[u64]) -> Vec<Exception> {
        let numbered = old_chunks.iter().zip(2..);
        numbered
            .map(|(old_chunk, new_chunk)| Exception { old_chunk: *old_chunk, new_chunk })
            .collect()
    }

    fn part(all: &[Exception], most: usize, from: u64) -> Result<Part, Exception> {
        let mut selection = Selection::new(most, from);
        for exception in all {
            selection.add(*exception);
            assert!(selection.kept.capacity() <= most.max(2));
        }
        selection.into_part()
    }

    proptest! {
        /// All parts together are the sorted list, each once, in no more walks than promised.
        #[test]
        fn parts_are_the_sorted_list(
            old_chunks in prop::collection::hash_set(any::<u64>(), 0..400),
            most in 2_usize..100,
        ) {
            let all = exceptions(&old_chunks.into_iter().collect::<Vec<_>>());
            let (mut found, mut from, mut walks) = (Vec::new(), Some(0), 0);
            while let Some(next) = from {
                let part = part(&all, most, next).unwrap();
                found.extend(part.exceptions);
                from = part.next_from;
                walks += 1;
            }
            let mut expected = all.clone();
            expected.sort_by_key(|exception| exception.old_chunk);
            prop_assert_eq!(found, expected);
            prop_assert!(walks <= 1 + all.len() / (most / 2));
            prop_assert!(all.len() > most || walks == 1);
        }
    }

    #[test]
    fn what_fits_takes_one_walk() {
        let part = part(&exceptions(&[7, 1, 5]), 3, 0).unwrap();
        assert_eq!(part.next_from, None);
        assert_eq!(part.exceptions.iter().map(|e| e.old_chunk).collect::<Vec<_>>(), [1, 5, 7]);
    }

    #[test]
    fn an_old_chunk_that_is_there_twice_is_told() {
        let twice = part(&exceptions(&[9, 3, 9]), 10, 0).unwrap_err();
        assert_eq!((twice.old_chunk, twice.new_chunk), (9, 4));
    }
}
