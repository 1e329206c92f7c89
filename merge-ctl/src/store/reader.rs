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

use super::ahead::Ahead;
use super::aligned::AlignedBuffer;
use super::duplicates::{Duplicates, PAGES_BYTES, Seen};
use super::error::{EntryFault, StoreError};
use super::format::{
    EXCEPTION_BYTES, Exception, HEADER_BYTES, HEADER_CHUNKS, Header, Layout, MAGIC, MAX_DEVICE,
    Place, Placed, Usage, VERSION,
};
use super::runs::{Run, RunList, Runs};
use super::source::Source;
use crate::units::{ChunkSize, SECTOR_BYTES, Sectors};

/// How much of an area is read at once, at most.
const PIECE_BYTES: u64 = 1 << 20;

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
    layout: Layout,
    /// Whole chunks of the COW device.
    cow_chunks: u64,
    /// Chunks of the origin, or of the largest device there can be.
    origin_chunks: u64,
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
        let header = read_header(&source)?;
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
        let chunk = layout.chunk_size();
        let cow_chunks = source.size().0 / chunk.sectors();
        let origin_chunks = chunk.chunks_in(origin.unwrap_or(MAX_DEVICE).min(MAX_DEVICE));
        let settled_areas = if source.may_grow() { 0 } else { u64::MAX };
        Ok(Opened::Usable(Self { source, layout, cow_chunks, origin_chunks, settled_areas }))
    }

    /// Lets walks forwards read ahead in a store that is in use, as far as the kernel's status line
    /// has shown it to be: `metadata` is the last number of that line ([`Usage::metadata`]), taken
    /// at any time since the snapshot was loaded. Where nobody uses the device, it changes nothing.
    #[must_use]
    pub fn with_metadata_in_use(self, metadata: Sectors) -> Self {
        let chunks = metadata.0 / self.layout.chunk_size().sectors();
        let areas = chunks.saturating_sub(HEADER_CHUNKS);
        Self { settled_areas: self.settled_areas.max(areas), ..self }
    }

    /// The chunk size and what follows from it.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// The exceptions from the first committed to the last. Ends after an error.
    ///
    /// Every entry is checked by itself; only [`Self::survey`] searches for duplicates.
    pub fn exceptions(&self) -> Exceptions<'_, S> {
        Exceptions {
            entries: Entries::new(self, Direction::Forwards),
            next: Place::default(),
            ended: false,
        }
    }

    /// The exceptions before `end`, last first, so as a merge takes them. Ends after an error.
    pub fn backwards(&self, end: Place) -> Backwards<'_, S> {
        Backwards { entries: Entries::new(self, Direction::Backwards), end: Some(end) }
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
        self.survey_within(PAGES_BYTES, each)
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

    fn survey_within(
        &self,
        pages_bytes: usize,
        mut each: impl FnMut(Placed),
    ) -> Result<Survey, StoreError> {
        let mut seen = Duplicates::within(pages_bytes);
        let mut not_searched = 0;
        // The header and the first area are never free.
        let mut next_free = 2;
        let mut walk = self.exceptions();
        let mut batch = Vec::with_capacity(BATCH);
        while !walk.ended {
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
            exceptions: self.layout.entries_before(end),
            end,
            usage: self.usage(end, next_free),
            not_searched_for_duplicates: not_searched,
        })
    }

    /// `persistent_usage` after `read_exceptions`.
    fn usage(&self, end: Place, next_free: u64) -> Usage {
        let sectors = |chunks: u64| Sectors(chunks * self.layout.chunk_size().sectors());
        Usage {
            allocated: sectors(self.layout.skip_metadata(next_free)),
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
            let Some(index) = self.layout.data_index(exception.new_chunk) else {
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

    /// All that can be said of an entry alone.
    fn check(&self, placed: Placed) -> Result<Placed, StoreError> {
        let Placed { place, exception } = placed;
        let (cow_chunks, origin_chunks) = (self.cow_chunks, self.origin_chunks);
        let fault = if exception.new_chunk >= cow_chunks {
            EntryFault::NewOutside { cow_chunks }
        } else if self.layout.is_metadata(exception.new_chunk) {
            EntryFault::NewIsMetadata
        } else if exception.old_chunk >= origin_chunks {
            EntryFault::OldOutside { origin_chunks }
        } else {
            return Ok(placed);
        };
        Err(StoreError::Entry { place, exception, fault })
    }
}

/// The header, from the first block: the chunk size is not known yet.
fn read_header(source: &impl Source) -> Result<Header, StoreError> {
    let block_bytes = source.block_bytes();
    let needed = Sectors(u64::from(block_bytes) / SECTOR_BYTES);
    if source.size() < needed {
        return Err(StoreError::TooSmall { size: source.size(), needed });
    }
    let mut buffer = AlignedBuffer::new(block_bytes as usize);
    read(source, 0, buffer.as_mut_slice())?;
    let bytes = buffer.as_slice().first_chunk::<HEADER_BYTES>();
    bytes
        .map(Header::decode)
        .ok_or(StoreError::TooSmall { size: source.size(), needed: Sectors(1) })
}

/// The layout that the header's chunk size gives.
fn layout_of(header: Header, block_bytes: u32) -> Result<Layout, StoreError> {
    let sectors = header.chunk_sectors;
    let chunk_size = ChunkSize::from_sectors(sectors).ok_or(StoreError::ChunkSize { sectors })?;
    let layout = Layout::new(chunk_size).ok_or(StoreError::ChunkSize { sectors })?;
    if chunk_size.bytes() < u64::from(block_bytes) {
        return Err(StoreError::ChunkBelowBlock { sectors, block_bytes });
    }
    Ok(layout)
}

fn read(source: &impl Source, at_bytes: u64, into: &mut [u8]) -> Result<(), StoreError> {
    let bytes = into.len();
    source.read_at(at_bytes, into).map_err(|source| StoreError::Read { at_bytes, bytes, source })
}

/// Which way a walk goes.
#[derive(Clone, Copy)]
enum Direction {
    Forwards,
    Backwards,
}

/// A part of an area that is read at once.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Piece {
    area: u64,
    /// Its number in the area, from 0.
    number: u32,
}

/// How areas are divided into pieces.
#[derive(Clone, Copy)]
struct Pieces {
    bytes: usize,
    /// Entries of a piece, a power of two: its exponent.
    entries_log2: u32,
    /// The number of an area's last piece.
    last: u32,
}

impl Pieces {
    fn of(layout: Layout) -> Self {
        let area_bytes = layout.chunk_size().bytes();
        let bytes = area_bytes.min(PIECE_BYTES);
        Self {
            bytes: bytes as usize,
            entries_log2: (bytes / EXCEPTION_BYTES as u64).ilog2(),
            last: (area_bytes / bytes - 1) as u32,
        }
    }

    /// The piece with this entry, and where in it the entry begins, in bytes.
    const fn of_entry(self, Place { area, entry }: Place) -> (Piece, usize) {
        let number = entry >> self.entries_log2;
        let within = entry & ((1 << self.entries_log2) - 1);
        (Piece { area, number }, within as usize * EXCEPTION_BYTES)
    }

    /// The piece that a walk comes to after this one.
    fn next(self, Piece { area, number }: Piece, direction: Direction) -> Option<Piece> {
        Some(match direction {
            Direction::Forwards if number < self.last => Piece { area, number: number + 1 },
            Direction::Forwards => Piece { area: area.checked_add(1)?, number: 0 },
            Direction::Backwards if number > 0 => Piece { area, number: number - 1 },
            Direction::Backwards => Piece { area: area.checked_sub(1)?, number: self.last },
        })
    }
}

/// Entries by their place, read in pieces of an area. Holds the piece that was read last.
struct Entries<'a, S> {
    store: &'a Store<S>,
    pieces: Pieces,
    direction: Direction,
    buffer: AlignedBuffer,
    /// What is in the buffer.
    held: Option<Piece>,
    ahead: Option<Ahead>,
}

impl<'a, S: Source> Entries<'a, S> {
    fn new(store: &'a Store<S>, direction: Direction) -> Self {
        let pieces = Pieces::of(store.layout);
        Self {
            store,
            pieces,
            direction,
            buffer: AlignedBuffer::new(pieces.bytes),
            held: None,
            ahead: store.source.beside().map(|source| Ahead::new(source, pieces.bytes)),
        }
    }

    /// The entry at a place, unchecked.
    #[inline]
    fn at(&mut self, place: Place) -> Result<Placed, StoreError> {
        let (piece, start) = self.pieces.of_entry(place);
        if self.held != Some(piece) {
            self.load(piece)?;
        }
        let bytes = self.buffer.as_slice()[start..].first_chunk::<EXCEPTION_BYTES>();
        // Pieces are whole numbers of entries, so the bytes are there.
        let exception = bytes.map_or(Exception { old_chunk: 0, new_chunk: 0 }, Exception::decode);
        Ok(Placed { place, exception })
    }

    #[cold]
    fn load(&mut self, piece: Piece) -> Result<(), StoreError> {
        let (area, cow_chunks) = (piece.area, self.store.cow_chunks);
        let outside = StoreError::AreaOutside { area, cow_chunks };
        let at_bytes = self.store.place_bytes(piece, self.pieces).ok_or(outside)?;
        self.held = None;
        let taken = self.ahead.as_mut().and_then(|ahead| ahead.take(at_bytes, &mut self.buffer));
        match taken {
            Some(result) => result.map_err(|source| StoreError::Read {
                at_bytes,
                bytes: self.pieces.bytes,
                source,
            })?,
            None => read(&self.store.source, at_bytes, self.buffer.as_mut_slice())?,
        }
        self.held = Some(piece);
        self.read_on(piece);
        Ok(())
    }

    /// Has the pieces read that the walk will come to after this one.
    fn read_on(&mut self, piece: Piece) {
        let Some(ahead) = &mut self.ahead else { return };
        let (store, pieces, direction) = (self.store, self.pieces, self.direction);
        let may_be_read = |next: &Piece| match direction {
            Direction::Forwards => next.area == piece.area || next.area < store.settled_areas,
            Direction::Backwards => true,
        };
        let following = std::iter::successors(Some(piece), |piece| pieces.next(*piece, direction));
        let following = following.skip(1).take_while(may_be_read);
        ahead.read_on(following.map_while(|piece| store.place_bytes(piece, pieces)));
    }
}

impl<S> Store<S> {
    /// Where a piece is; none if its area is outside the device.
    fn place_bytes(&self, piece: Piece, pieces: Pieces) -> Option<u64> {
        let chunk = self.layout.area_chunk(piece.area).filter(|chunk| *chunk < self.cow_chunks)?;
        // Inside the device, so no product overflows.
        let within = u64::from(piece.number) * pieces.bytes as u64;
        Some(chunk * self.layout.chunk_size().bytes() + within)
    }
}

/// See [`Store::exceptions`].
pub struct Exceptions<'a, S> {
    entries: Entries<'a, S>,
    next: Place,
    ended: bool,
}

impl<S: Source> Exceptions<'_, S> {
    fn step(&mut self) -> Result<Option<Placed>, StoreError> {
        let placed = self.entries.at(self.next)?;
        if placed.exception.is_end() {
            return Ok(None);
        }
        let placed = self.entries.store.check(placed)?;
        self.next = self.entries.store.layout.after(self.next);
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
    entries: Entries<'a, S>,
    /// The place after the next entry; none after an error.
    end: Option<Place>,
}

impl<S: Source> Backwards<'_, S> {
    fn at(&mut self, place: Place) -> Result<Placed, StoreError> {
        let placed = self.entries.at(place)?;
        if placed.exception.is_end() {
            return Err(StoreError::Changed { place });
        }
        self.entries.store.check(placed)
    }
}

impl<S: Source> Iterator for Backwards<'_, S> {
    type Item = Result<Placed, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let place = self.entries.store.layout.before(self.end?)?;
        let placed = self.at(place);
        self.end = placed.is_ok().then_some(place);
        Some(placed)
    }
}

#[cfg(test)]
mod tests;
