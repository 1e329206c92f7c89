//! From bytes to exceptions, every one checked.
//!
//! [`Store::open`] judges the header. Then exceptions stream forwards ([`Store::exceptions`], in
//! the order in which they were committed) or backwards ([`Store::backwards`], the order in which
//! a merge takes them). Memory is one buffer of at most 1 MiB, whatever the chunk size, since an
//! area is read in pieces. A walk ends at the latest with the device: each area is further out
//! than the one before.
//!
//! On a block device a walk reads ahead, with at most 4 MiB of buffers more. Forwards it does so
//! only as far as areas are known to be in use: all of them where nobody else has the device, else
//! those that [`Store::with_metadata_in_use`] tells. The kernel clears an area just before it begins
//! to use it, and what was read there before that is from another time.
//!
//! A store may be read while the kernel merges it: exceptions are cleared from the end, and a
//! sector is written whole, so a walk forwards sees each exception that is still to be merged. A
//! walk backwards may meet entries that were cleared since the end was found: it then says
//! [`StoreError::Changed`]. [`Store::survey_runs`] walks forwards only, and is the one to use then.

use super::aligned::AlignedBuffer;
use super::bounds::Bounds;
use super::duplicates::{Duplicates, PAGES_BYTES, Seen};
use super::error::{EntryFault, StoreError};
use super::format::{HEADER_BYTES, Header, Layout, MAGIC, Place, Placed, Usage, VERSION};
use super::pieces::{Direction, PieceReader, settled_areas};
use super::runs::{Run, RunList, Runs};
use super::source::Source;
use crate::units::{ChunkSize, SECTOR_BYTES, Sectors};

/// How many exceptions a survey looks at together: an area's at chunks of 4 KiB. They stay in the
/// processor's first cache.
const BATCH: usize = 256;

/// What the header of a store says.
#[derive(Debug)]
pub enum Opened<S> {
    /// All zeroes where the magic should be: new, no exception yet, no chunk size either.
    New,
    /// The snapshot was invalidated. Nothing in the store may be used.
    Invalid,
    /// The exceptions can be read.
    Usable(Store<S>),
}

/// An exception store whose header is right.
#[derive(Debug)]
pub struct Store<S> {
    source: S,
    bounds: Bounds,
    /// Areas below this one hold nothing but this store's entries, whoever may be adding to it.
    settled_areas: u64,
}

/// What a whole walk over a store found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survey {
    /// How many exceptions there are.
    pub exceptions: u64,
    /// The first free entry: where a merge begins, backwards.
    pub end: Place,
    /// The COW device as a status line shows it for a snapshot that was just loaded.
    pub usage: Usage,
    /// Exceptions of which it is not known whether another one names the same old or new chunk,
    /// for want of memory. 0 but for origins far above 1 TiB.
    pub not_searched_for_duplicates: u64,
}

impl<S: Source> Store<S> {
    /// Reads the header, and judges it in the kernel's order (`persistent_read_metadata`,
    /// `read_header`): magic, chunk size, version, validity.
    ///
    /// `origin` is the size of the origin, where it is known: without it, an old chunk behind the
    /// origin's end is not noticed.
    ///
    /// # Errors
    /// All of [`StoreError`] that concerns the header or the device's size; a failed read.
    pub fn open(source: S, origin: Option<Sectors>) -> Result<Opened<S>, StoreError> {
        let header = Header::decode(&read_header(&source)?);
        if header.magic == 0 {
            return Ok(Opened::New);
        }
        if header.magic != MAGIC {
            return Err(StoreError::NotAStore { magic: header.magic });
        }
        let layout = layout_of(header, source.block_bytes())?;
        if header.version != VERSION {
            return Err(StoreError::UnknownVersion { version: header.version });
        }
        if header.valid == 0 {
            return Ok(Opened::Invalid);
        }
        let bounds = Bounds::new(layout, source.size(), origin);
        let settled_areas = settled_areas(&source, layout, Sectors(0));
        Ok(Opened::Usable(Self { source, bounds, settled_areas }))
    }

    /// Lets walks forwards read ahead in a store that is in use, as far as the kernel's status line
    /// has shown it to be: `metadata` is the last number of that line ([`Usage::metadata`]), taken
    /// at any time since the snapshot was loaded. Where nobody uses the device, it changes nothing.
    #[must_use]
    pub fn with_metadata_in_use(self, metadata: Sectors) -> Self {
        let areas = settled_areas(&self.source, self.bounds.layout, metadata);
        Self { settled_areas: self.settled_areas.max(areas), ..self }
    }

    /// Where its bytes come from.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// The chunk size and what follows from it.
    pub const fn layout(&self) -> Layout {
        self.bounds.layout
    }

    /// The exceptions from the first committed to the last. Ends after an error.
    ///
    /// Every entry is checked by itself; only [`Self::survey`] searches for duplicates.
    pub fn exceptions(&self) -> Exceptions<'_, S> {
        Exceptions {
            store: self,
            entries: self.pieces(Direction::Forwards),
            next: Place::default(),
            ended: false,
        }
    }

    /// Where the store ends, found from the beginning of an area that is known to be in use, or to
    /// be the next: the status line of a snapshot tells it ([`Usage::metadata`]).
    ///
    /// # Errors
    /// The first fault from there on; a failed read.
    pub fn end_from(&self, area: u64) -> Result<Place, StoreError> {
        let mut walk = Exceptions { next: Place { area, entry: 0 }, ..self.exceptions() };
        for placed in walk.by_ref() {
            placed?;
        }
        Ok(walk.next)
    }

    /// The exceptions before `end`, last first, so as a merge takes them. Ends after an error.
    pub fn backwards(&self, end: Place) -> Backwards<'_, S> {
        Backwards { store: self, entries: self.pieces(Direction::Backwards), end: Some(end) }
    }

    fn pieces(&self, direction: Direction) -> PieceReader<'_, S> {
        PieceReader::new(&self.source, self.bounds, self.settled_areas, direction)
    }

    /// The runs of a merge that begins at `end`, in its order.
    pub fn runs(&self, end: Place) -> Runs<Backwards<'_, S>> {
        Runs::new(self.backwards(end))
    }

    /// The same merge, one chunk at a time: every run broken up, its last chunk first.
    pub fn single_chunks(
        &self,
        end: Place,
    ) -> impl Iterator<Item = Result<Run, StoreError>> + use<'_, S> {
        self.backwards(end).map(|placed| Ok(Run::of_one(placed?.exception)))
    }

    /// Walks the whole store, checks all there is to check, and shows each exception to `each`.
    ///
    /// # Errors
    /// The first fault; a failed read.
    pub fn survey(&self, each: impl FnMut(Placed)) -> Result<Survey, StoreError> {
        self.survey_within(PAGES_BYTES, || false, each)
    }

    /// [`Self::survey`], and the runs of a merge that begins where the store ends now, in its
    /// order. For a store that is being merged: what was found first stays true longest.
    ///
    /// Needs memory for every run; [`Self::runs`] does not.
    ///
    /// # Errors
    /// As [`Self::survey`].
    pub fn survey_runs(&self) -> Result<(Survey, Vec<Run>), StoreError> {
        let mut list = RunList::default();
        let survey = self.survey(|placed| list.add(placed))?;
        Ok((survey, list.into_merge_order()))
    }

    /// [`Self::survey`] with so much memory for the search for duplicates, where that is less, until
    /// it is told to stop: it then tells of the exceptions that it came to.
    pub(crate) fn survey_within(
        &self,
        pages_bytes: usize,
        is_stopped: impl Fn() -> bool,
        mut each: impl FnMut(Placed),
    ) -> Result<Survey, StoreError> {
        let mut seen = Duplicates::within(pages_bytes.min(PAGES_BYTES));
        let mut not_searched = 0;
        // The header and the first area are never free.
        let mut next_free = 2;
        let mut walk = self.exceptions();
        let mut batch = Vec::with_capacity(BATCH);
        while !walk.ended && !is_stopped() {
            batch.clear();
            // A fault behind these exceptions counts only if there is none among them.
            let outcome = walk.fill(&mut batch);
            not_searched += self.search(&batch, &mut seen)?;
            for placed in &batch {
                next_free = next_free.max(placed.exception.new_chunk + 1);
                each(*placed);
            }
            outcome?;
        }
        let end = walk.next;
        Ok(Survey {
            exceptions: self.bounds.layout.entries_before(end),
            end,
            usage: self.usage(end, next_free),
            not_searched_for_duplicates: not_searched,
        })
    }

    /// `persistent_usage` after `read_exceptions`.
    fn usage(&self, end: Place, next_free: u64) -> Usage {
        let sectors = |chunks: u64| Sectors(chunks * self.bounds.layout.chunk_size().sectors());
        Usage {
            allocated: sectors(self.bounds.layout.skip_metadata(next_free)),
            metadata: sectors(end.area + 2),
        }
    }

    /// Searches for chunks that were named before, and tells how many entries could not be searched
    /// for; an error at the first that names such a chunk.
    fn search(&self, batch: &[Placed], seen: &mut Duplicates) -> Result<u64, StoreError> {
        seen.touch(batch.iter().map(|placed| placed.exception.old_chunk));
        let mut not_searched = 0;
        for placed in batch {
            let Placed { place, exception } = *placed;
            let twice = |fault| Err(StoreError::Entry { place, exception, fault });
            // An entry that was checked names a data chunk.
            let Some(index) = self.bounds.layout.data_index(exception.new_chunk) else {
                return twice(EntryFault::NewIsMetadata);
            };
            match (seen.add_old(exception.old_chunk), seen.add_new(index)) {
                (Seen::Again, _) => return twice(EntryFault::OldTwice),
                (_, Seen::Again) => return twice(EntryFault::NewTwice),
                (Seen::New, Seen::New) => {}
                (Seen::Unknown, _) | (_, Seen::Unknown) => not_searched += 1,
            }
        }
        Ok(not_searched)
    }

    /// An entry that can be right by itself.
    fn check(&self, placed: Placed) -> Result<Placed, StoreError> {
        let Placed { place, exception } = placed;
        match self.bounds.fault_of(exception) {
            None => Ok(placed),
            Some(fault) => Err(StoreError::Entry { place, exception, fault }),
        }
    }
}

/// The header, from the first block: the chunk size is not known yet.
pub(super) fn read_header(source: &impl Source) -> Result<[u8; HEADER_BYTES], StoreError> {
    let block_bytes = source.block_bytes();
    let (size, needed) = (source.size(), Sectors(u64::from(block_bytes) / SECTOR_BYTES));
    if size < needed {
        return Err(StoreError::TooSmall { size, needed });
    }
    let mut block = AlignedBuffer::new(block_bytes as usize);
    let bytes = block.as_slice().len();
    source.read_at(0, block.as_mut_slice()).map_err(|source| StoreError::Read {
        at_bytes: 0,
        bytes,
        source,
    })?;
    let header = block.as_slice().first_chunk();
    header.copied().ok_or(StoreError::TooSmall { size, needed: Sectors(1) })
}

/// The layout that the header's chunk size gives.
pub(super) fn layout_of(header: Header, block_bytes: u32) -> Result<Layout, StoreError> {
    let sectors = header.chunk_sectors;
    let chunk_size = ChunkSize::from_sectors(sectors).ok_or(StoreError::ChunkSize { sectors })?;
    let layout = Layout::new(chunk_size).ok_or(StoreError::ChunkSize { sectors })?;
    if chunk_size.bytes() < u64::from(block_bytes) {
        return Err(StoreError::ChunkBelowBlock { sectors, block_bytes });
    }
    Ok(layout)
}

/// See [`Store::exceptions`].
pub struct Exceptions<'a, S> {
    store: &'a Store<S>,
    entries: PieceReader<'a, S>,
    next: Place,
    ended: bool,
}

impl<S: Source> Exceptions<'_, S> {
    fn step(&mut self) -> Result<Option<Placed>, StoreError> {
        let placed = self.entries.entry(self.next)?;
        if placed.exception.is_end() {
            return Ok(None);
        }
        let placed = self.store.check(placed)?;
        self.next = self.store.bounds.layout.after(self.next);
        Ok(Some(placed))
    }

    /// Appends what comes next until there are [`BATCH`], or the walk ends.
    fn fill(&mut self, batch: &mut Vec<Placed>) -> Result<(), StoreError> {
        while batch.len() < BATCH
            && let Some(placed) = self.next()
        {
            batch.push(placed?);
        }
        Ok(())
    }
}

impl<S: Source> Iterator for Exceptions<'_, S> {
    type Item = Result<Placed, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step().transpose();
        self.ended = !matches!(step, Some(Ok(_)));
        step
    }
}

/// See [`Store::backwards`].
pub struct Backwards<'a, S> {
    store: &'a Store<S>,
    entries: PieceReader<'a, S>,
    /// The place after the next entry; none after an error.
    end: Option<Place>,
}

impl<S: Source> Backwards<'_, S> {
    fn at(&mut self, place: Place) -> Result<Placed, StoreError> {
        let placed = self.entries.entry(place)?;
        if placed.exception.is_end() {
            return Err(StoreError::Changed { place });
        }
        self.store.check(placed)
    }
}

impl<S: Source> Iterator for Backwards<'_, S> {
    type Item = Result<Placed, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let place = self.store.bounds.layout.before(self.end?)?;
        let placed = self.at(place);
        self.end = placed.is_ok().then_some(place);
        Some(placed)
    }
}

#[cfg(test)]
mod tests;
