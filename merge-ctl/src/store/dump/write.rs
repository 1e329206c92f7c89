//! Making a dump: the header and the areas of a store, in the order in which they were filled.
//!
//! What is saved reaches from the first entry to the piece (an area, or 1 MiB of a larger one) in
//! which the first free entry stands. Entries that cannot be right are saved as they are: they are
//! what a bug report is about. But where more than [`MAX_FAULTS`] of them are, the place may be no
//! metadata at all but somebody's data, and nothing is saved from there on.

use std::io::{self, Write};

use super::container::{Footer, INDEX_ENTRY_BYTES, MAX_FRAMES, Preamble, Reach};
use super::frame::{self, FRAME_BYTES};
use super::place_after;
use crate::store::aligned::AlignedBuffer;
use crate::store::error::{EntryFault, StoreError};
use crate::store::format::{
    EXCEPTION_BYTES, Exception, HEADER_BYTES, Header, Layout, MAGIC, MAX_DEVICE, Place, VERSION,
};
use crate::store::source::Source;
use crate::units::{ChunkSize, SECTOR_BYTES, Sectors};

/// How many entries that cannot be right a dump holds at most: 1 KiB of them.
pub(super) const MAX_FAULTS: u64 = 64;

/// What was saved.
#[derive(Debug)]
pub struct Saved {
    /// Entries before the end of the store, those that cannot be right among them.
    pub exceptions: u64,
    /// Metadata in the dump, in bytes, the header not counted.
    pub metadata_bytes: u64,
    /// The length of the dump.
    pub dump_bytes: u64,
    /// How many of the entries cannot be right, each by itself.
    pub faults: u64,
    /// The first of them.
    pub first_fault: Option<StoreError>,
    /// Whether the header says that the snapshot was invalidated.
    pub invalid: bool,
    /// Where it ended, and why.
    pub ending: Ending,
}

/// Where the saving of a store ended.
#[derive(Debug)]
pub enum Ending {
    /// At the end of the store.
    Store,
    /// At the end of the store; what stood behind it did not look like exceptions and is left out.
    WithoutRemains,
    /// Behind the header, which says zero where the magic should be: there is no exception yet.
    New,
    /// Behind the header: it does not tell where the areas are.
    Header(StoreError),
    /// At the end of the device, without an end of the store.
    Device(StoreError),
    /// Before this area, or in it, because it cannot be read.
    Unreadable(StoreError),
    /// At this entry, with more faults before it than can be damage to exceptions.
    TooDamaged(Place),
}

impl Ending {
    /// Whether everything that counts was saved.
    pub const fn is_whole(&self) -> bool {
        !matches!(self, Self::Unreadable(_) | Self::TooDamaged(_))
    }

    const fn reach(&self) -> Reach {
        match self {
            Self::Store | Self::New | Self::Header(_) | Self::Device(_) => Reach::Whole,
            Self::WithoutRemains => Reach::WithoutRemains,
            Self::Unreadable(_) => Reach::ReadFailed,
            Self::TooDamaged(_) => Reach::TooDamaged,
        }
    }
}

/// Why there is no dump.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// No store is there, or its header cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is to hold the dump cannot be written.
    #[error("cannot write the dump")]
    Write(#[source] io::Error),
    /// More exceptions than a dump can hold.
    #[error("the store has more exceptions than a dump can hold ({} areas of 1 MiB)", MAX_FRAMES)]
    TooLarge,
    /// It was called off.
    #[error("called off")]
    CalledOff,
}

/// Saves header and areas of the store on `source`; `origin` is the size of the origin, where it is
/// known. Asks `called_off` before each read. Memory is bounded, whatever the chunk size.
///
/// A snapshot that was invalidated is saved like any other.
///
/// # Errors
/// [`SaveError`]. A failed read of an area is none: what comes before it is saved, and
/// [`Saved::ending`] tells.
pub fn save(
    source: &impl Source,
    origin: Option<Sectors>,
    into: &mut impl Write,
    called_off: impl Fn() -> bool,
) -> Result<Saved, SaveError> {
    let header_bytes = read_header(source)?;
    let header = Header::decode(&header_bytes);
    let origin_size = origin.filter(|size| *size <= MAX_DEVICE).unwrap_or_default();
    let preamble = Preamble { cow_size: source.size(), origin_size, header: header_bytes };
    let mut frames = Frames::new(into);
    frames.write(&preamble.encode())?;
    let mut examiner = None;
    let ending = match layout_of(header) {
        _ if header.magic == 0 => Ending::New,
        Err(error) => Ending::Header(error),
        Ok(layout) => {
            let examiner = examiner.insert(Examiner::new(layout, source.size(), origin));
            walk(source, examiner, &mut frames, called_off)?
        }
    };
    let (metadata_bytes, dump_bytes) = frames.finish(ending.reach())?;
    let (exceptions, faults, first_fault) =
        examiner.map_or((0, 0, None), |found| (found.exceptions, found.faults, found.first_fault));
    let invalid = header.magic == MAGIC && header.valid == 0;
    Ok(Saved { exceptions, metadata_bytes, dump_bytes, faults, first_fault, invalid, ending })
}

fn read_header(source: &impl Source) -> Result<[u8; HEADER_BYTES], SaveError> {
    let block_bytes = source.block_bytes();
    let needed = Sectors(u64::from(block_bytes) / SECTOR_BYTES);
    let too_small = StoreError::TooSmall { size: source.size(), needed };
    if source.size() < needed {
        return Err(too_small.into());
    }
    let mut block = AlignedBuffer::new(block_bytes as usize);
    read(source, 0, block.as_mut_slice())?;
    let Some(bytes) = block.as_slice().first_chunk::<HEADER_BYTES>() else {
        return Err(too_small.into());
    };
    match Header::decode(bytes).magic {
        0 | MAGIC => Ok(*bytes),
        magic => Err(StoreError::NotAStore { magic }.into()),
    }
}

/// Where the areas are, where the header tells.
fn layout_of(header: Header) -> Result<Layout, StoreError> {
    let sectors = header.chunk_sectors;
    let layout = ChunkSize::from_sectors(sectors).and_then(Layout::new);
    let layout = layout.ok_or(StoreError::ChunkSize { sectors })?;
    if header.version != VERSION {
        return Err(StoreError::UnknownVersion { version: header.version });
    }
    Ok(layout)
}

fn read(source: &impl Source, at_bytes: u64, into: &mut [u8]) -> Result<(), StoreError> {
    let bytes = into.len();
    source.read_at(at_bytes, into).map_err(|source| StoreError::Read { at_bytes, bytes, source })
}

/// Saves piece after piece, to the end of the store.
fn walk(
    source: &impl Source,
    examiner: &mut Examiner,
    frames: &mut Frames<impl Write>,
    called_off: impl Fn() -> bool,
) -> Result<Ending, SaveError> {
    let chunk_bytes = examiner.layout.chunk_size().bytes();
    if chunk_bytes < u64::from(source.block_bytes()) {
        let sectors = examiner.layout.chunk_size().sectors() as u32;
        let block_bytes = source.block_bytes();
        return Ok(Ending::Header(StoreError::ChunkBelowBlock { sectors, block_bytes }));
    }
    let piece_bytes = chunk_bytes.min(FRAME_BYTES as u64) as usize;
    loop {
        if called_off() {
            return Err(SaveError::CalledOff);
        }
        let Place { area, .. } =
            place_after(frames.saved_bytes, examiner.layout.exceptions_per_area());
        let cow_chunks = examiner.cow_chunks;
        let chunk = examiner.layout.area_chunk(area).filter(|chunk| *chunk < cow_chunks);
        let Some(chunk) = chunk else {
            return Ok(Ending::Device(StoreError::AreaOutside { area, cow_chunks }));
        };
        let at_bytes = chunk * chunk_bytes + frames.saved_bytes % chunk_bytes;
        let piece = frames.room_for(piece_bytes);
        if let Err(error) = read(source, at_bytes, piece) {
            return Ok(Ending::Unreadable(error));
        }
        let ending = examiner.examine(piece);
        frames.keep(piece_bytes)?;
        if let Some(ending) = ending {
            return Ok(ending);
        }
    }
}

/// Looks at every entry on its way into the dump.
struct Examiner {
    layout: Layout,
    cow_chunks: u64,
    origin_chunks: u64,
    place: Place,
    exceptions: u64,
    faults: u64,
    first_fault: Option<StoreError>,
}

impl Examiner {
    fn new(layout: Layout, cow_size: Sectors, origin: Option<Sectors>) -> Self {
        let chunk = layout.chunk_size();
        Self {
            layout,
            cow_chunks: cow_size.0 / chunk.sectors(),
            origin_chunks: chunk.chunks_in(origin.unwrap_or(MAX_DEVICE).min(MAX_DEVICE)),
            place: Place::default(),
            exceptions: 0,
            faults: 0,
            first_fault: None,
        }
    }

    /// Says whether the store ends in this piece. Puts zeroes where too much is wrong.
    fn examine(&mut self, piece: &mut [u8]) -> Option<Ending> {
        let (entries, _) = piece.as_chunks_mut::<EXCEPTION_BYTES>();
        for index in 0..entries.len() {
            let exception = Exception::decode(&entries[index]);
            if exception.is_end() {
                return Some(self.examine_remains(&mut entries[index..]));
            }
            if let Some(fault) = self.fault_of(exception) {
                let place = self.place;
                if self.faults == MAX_FAULTS {
                    entries[index..].fill([0; EXCEPTION_BYTES]);
                    return Some(Ending::TooDamaged(place));
                }
                self.faults += 1;
                self.first_fault.get_or_insert(StoreError::Entry { place, exception, fault });
            }
            self.exceptions += 1;
            self.place = self.layout.after(self.place);
        }
        None
    }

    /// What stands from the end of the store on does not count, but may tell how it came to be.
    fn examine_remains(&self, entries: &mut [[u8; EXCEPTION_BYTES]]) -> Ending {
        let mut strange = self.faults;
        for index in 0..entries.len() {
            let entry = &entries[index];
            let is_strange =
                *entry != [0; EXCEPTION_BYTES] && self.fault_of(Exception::decode(entry)).is_some();
            strange += u64::from(is_strange);
            if strange > MAX_FAULTS {
                entries[index..].fill([0; EXCEPTION_BYTES]);
                return Ending::WithoutRemains;
            }
        }
        Ending::Store
    }

    /// All that can be said of an entry alone.
    fn fault_of(&self, exception: Exception) -> Option<EntryFault> {
        let Self { cow_chunks, origin_chunks, .. } = *self;
        if exception.new_chunk >= cow_chunks {
            Some(EntryFault::NewOutside { cow_chunks })
        } else if self.layout.is_metadata(exception.new_chunk) {
            Some(EntryFault::NewIsMetadata)
        } else if exception.old_chunk >= origin_chunks {
            Some(EntryFault::OldOutside { origin_chunks })
        } else {
            None
        }
    }
}

/// Collects pieces and writes them, a frame at a time.
struct Frames<'a, W> {
    into: &'a mut W,
    /// The frame that is being filled.
    frame: AlignedBuffer,
    filled: usize,
    /// The length of each frame in the dump, as the index has it.
    index: Vec<u8>,
    /// Metadata so far.
    saved_bytes: u64,
    written_bytes: u64,
}

impl<'a, W: Write> Frames<'a, W> {
    fn new(into: &'a mut W) -> Self {
        let frame = AlignedBuffer::new(FRAME_BYTES);
        Self { into, frame, filled: 0, index: Vec::new(), saved_bytes: 0, written_bytes: 0 }
    }

    /// Where the next piece goes. Pieces are of one length, and a frame is some of them.
    fn room_for(&mut self, piece_bytes: usize) -> &mut [u8] {
        &mut self.frame.as_mut_slice()[self.filled..][..piece_bytes]
    }

    fn keep(&mut self, piece_bytes: usize) -> Result<(), SaveError> {
        self.filled += piece_bytes;
        self.saved_bytes += piece_bytes as u64;
        if self.filled < FRAME_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), SaveError> {
        if self.filled == 0 {
            return Ok(());
        }
        if (self.index.len() / INDEX_ENTRY_BYTES) as u64 >= MAX_FRAMES {
            return Err(SaveError::TooLarge);
        }
        let packed =
            frame::pack(&self.frame.as_slice()[..self.filled]).map_err(SaveError::Write)?;
        self.filled = 0;
        // A frame is not longer than its bound, which fits.
        self.index.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        self.write(&packed)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SaveError> {
        self.written_bytes += bytes.len() as u64;
        self.into.write_all(bytes).map_err(SaveError::Write)
    }

    /// Writes the rest. Returns how many bytes of metadata the dump holds, and its own length.
    fn finish(mut self, reach: Reach) -> Result<(u64, u64), SaveError> {
        self.flush()?;
        let index = std::mem::take(&mut self.index);
        self.write(&index)?;
        self.write(&Footer::encode(self.saved_bytes, reach, &index))?;
        self.into.flush().map_err(SaveError::Write)?;
        Ok((self.saved_bytes, self.written_bytes))
    }
}
