//! Making a dump: the header and the areas of a store, in the order in which they were filled.
//!
//! What is saved reaches from the first entry to the piece (an area, or 1 MiB of a larger one) in
//! which the first free entry stands. Entries that cannot be right are saved as they are: they are
//! what a bug report is about. But where more than [`MAX_FAULTS`] of them are, the place may be no
//! metadata at all but somebody's data, and nothing is saved from there on.

use std::io::{self, Write};

use super::container::{Footer, INDEX_ENTRY_BYTES, MAX_FRAMES, Preamble, Reach};
use super::frame::{self, FRAME_BYTES};
use crate::store::bounds::Bounds;
use crate::store::error::StoreError;
use crate::store::format::{
    EXCEPTION_BYTES, Exception, HEADER_BYTES, Header, Layout, MAGIC, MAX_DEVICE, Place, VERSION,
};
use crate::store::pieces::{Direction, PieceReader, settled_areas};
use crate::store::reader::{layout_of, read_header};
use crate::store::source::Source;
use crate::units::Sectors;

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

/// What is known of a store besides its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The size of the origin.
    pub origin: Option<Sectors>,
    /// The last number of the status line of a snapshot in use; 0 where nobody has told: see
    /// [`Store::with_metadata_in_use`](crate::store::Store::with_metadata_in_use).
    pub metadata_in_use: Sectors,
}

/// Saves header and areas of the store on `source`. Asks `called_off` before each read. Memory is bounded, whatever the chunk size.
///
/// A snapshot that was invalidated is saved like any other.
///
/// # Errors
/// [`SaveError`]. A failed read of an area is none: what comes before it is saved, and
/// [`Saved::ending`] tells.
pub fn save(
    source: &impl Source,
    known: Known,
    into: &mut impl Write,
    called_off: impl Fn() -> bool,
) -> Result<Saved, SaveError> {
    let Known { origin, metadata_in_use } = known;
    let header_bytes = store_header(source)?;
    let header = Header::decode(&header_bytes);
    let origin_size = origin.filter(|size| *size <= MAX_DEVICE).unwrap_or_default();
    let preamble = Preamble { cow_size: source.size(), origin_size, header: header_bytes };
    let mut frames = Frames::new(into);
    frames.write(&preamble.encode())?;
    let mut examiner = None;
    let ending = match areas_of(header, source.block_bytes()) {
        _ if header.magic == 0 => Ending::New,
        Err(error) => Ending::Header(error),
        Ok(layout) => {
            let bounds = Bounds::new(layout, source.size(), origin);
            let settled = settled_areas(source, layout, metadata_in_use);
            let pieces = PieceReader::new(source, bounds, settled, Direction::Forwards);
            walk(pieces, examiner.insert(Examiner::new(bounds)), &mut frames, called_off)?
        }
    };
    let (metadata_bytes, dump_bytes) = frames.finish(ending.reach())?;
    let (exceptions, faults, first_fault) =
        examiner.map_or((0, 0, None), |found| (found.exceptions, found.faults, found.first_fault));
    let invalid = header.magic == MAGIC && header.valid == 0;
    Ok(Saved { exceptions, metadata_bytes, dump_bytes, faults, first_fault, invalid, ending })
}

/// The header, unless something else is there.
fn store_header(source: &impl Source) -> Result<[u8; HEADER_BYTES], StoreError> {
    let bytes = read_header(source)?;
    match Header::decode(&bytes).magic {
        0 | MAGIC => Ok(bytes),
        magic => Err(StoreError::NotAStore { magic }),
    }
}

/// Where the areas are, where the header tells.
fn areas_of(header: Header, block_bytes: u32) -> Result<Layout, StoreError> {
    let layout = layout_of(header, block_bytes)?;
    match header.version {
        VERSION => Ok(layout),
        version => Err(StoreError::UnknownVersion { version }),
    }
}

/// Saves piece after piece, to the end of the store.
fn walk(
    mut pieces: PieceReader<'_, impl Source>,
    examiner: &mut Examiner,
    frames: &mut Frames<impl Write>,
    called_off: impl Fn() -> bool,
) -> Result<Ending, SaveError> {
    loop {
        if called_off() {
            return Err(SaveError::CalledOff);
        }
        let piece = match pieces.piece(examiner.place) {
            Ok(piece) => frames.take(piece),
            Err(error @ StoreError::AreaOutside { .. }) => return Ok(Ending::Device(error)),
            Err(error) => return Ok(Ending::Unreadable(error)),
        };
        let piece_bytes = piece.len();
        let ending = examiner.examine(piece);
        frames.keep(piece_bytes)?;
        if let Some(ending) = ending {
            return Ok(ending);
        }
    }
}

/// Looks at every entry on its way into the dump.
struct Examiner {
    bounds: Bounds,
    place: Place,
    exceptions: u64,
    faults: u64,
    first_fault: Option<StoreError>,
}

impl Examiner {
    fn new(bounds: Bounds) -> Self {
        Self { bounds, place: Place::default(), exceptions: 0, faults: 0, first_fault: None }
    }

    /// Says whether the store ends in this piece. Puts zeroes where too much is wrong.
    fn examine(&mut self, piece: &mut [u8]) -> Option<Ending> {
        let (entries, _) = piece.as_chunks_mut::<EXCEPTION_BYTES>();
        for index in 0..entries.len() {
            let exception = Exception::decode(&entries[index]);
            if exception.is_end() {
                return Some(self.examine_remains(&mut entries[index..]));
            }
            if let Some(fault) = self.bounds.fault_of(exception) {
                let place = self.place;
                if self.faults == MAX_FAULTS {
                    entries[index..].fill([0; EXCEPTION_BYTES]);
                    return Some(Ending::TooDamaged(place));
                }
                self.faults += 1;
                self.first_fault.get_or_insert(StoreError::Entry { place, exception, fault });
            }
            self.exceptions += 1;
            self.place = self.bounds.layout.after(self.place);
        }
        None
    }

    /// What stands from the end of the store on does not count, but may tell how it came to be.
    fn examine_remains(&self, entries: &mut [[u8; EXCEPTION_BYTES]]) -> Ending {
        let mut strange = self.faults;
        for index in 0..entries.len() {
            let entry = &entries[index];
            let is_strange = *entry != [0; EXCEPTION_BYTES]
                && self.bounds.fault_of(Exception::decode(entry)).is_some();
            strange += u64::from(is_strange);
            if strange > MAX_FAULTS {
                entries[index..].fill([0; EXCEPTION_BYTES]);
                return Ending::WithoutRemains;
            }
        }
        Ending::Store
    }
}

/// Collects pieces and writes them, a frame at a time.
struct Frames<'a, W> {
    into: &'a mut W,
    /// The frame that is being filled.
    frame: Vec<u8>,
    filled: usize,
    /// The length of each frame in the dump, as the index has it.
    index: Vec<u8>,
    /// Metadata so far.
    saved_bytes: u64,
    written_bytes: u64,
}

impl<'a, W: Write> Frames<'a, W> {
    fn new(into: &'a mut W) -> Self {
        let frame = vec![0; FRAME_BYTES];
        Self { into, frame, filled: 0, index: Vec::new(), saved_bytes: 0, written_bytes: 0 }
    }

    /// Copies the next piece into the frame, to be looked at before it is kept. Pieces are of one
    /// length, and a frame is some of them.
    fn take(&mut self, piece: &[u8]) -> &mut [u8] {
        let room = &mut self.frame[self.filled..][..piece.len()];
        room.copy_from_slice(piece);
        room
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
        let packed = frame::pack(&self.frame[..self.filled]).map_err(SaveError::Write)?;
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
