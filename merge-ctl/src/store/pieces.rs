//! The areas of a store, read in pieces of at most 1 MiB, one after the other in either direction;
//! on a block device the next ones are read ahead.

use super::ahead::Ahead;
use super::aligned::AlignedBuffer;
use super::bounds::Bounds;
use super::error::StoreError;
use super::format::{EXCEPTION_BYTES, Exception, HEADER_CHUNKS, Layout, Place, Placed};
use super::source::Source;
use crate::units::Sectors;

/// How much of an area is read at once, at most.
pub(super) const PIECE_BYTES: u64 = 1 << 20;

/// Which way a walk goes.
#[derive(Clone, Copy)]
pub(super) enum Direction {
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

    /// Where a piece is; none if its area is outside the device.
    fn place_bytes(self, piece: Piece, bounds: &Bounds) -> Option<u64> {
        let within = u64::from(piece.number) * self.bytes as u64;
        bounds.area_bytes(piece.area).map(|area| area + within)
    }
}

/// How many areas, from the first on, hold nothing but the entries of the store on `source`,
/// whoever may be adding to it. `metadata` is what its status line has shown to be in use.
pub(super) fn settled_areas(source: &impl Source, layout: Layout, metadata: Sectors) -> u64 {
    if !source.may_grow() {
        return u64::MAX;
    }
    let chunks = metadata.0 / layout.chunk_size().sectors();
    chunks.saturating_sub(HEADER_CHUNKS)
}

/// Reads pieces, and holds the one that was read last.
pub(super) struct PieceReader<'a, S> {
    source: &'a S,
    bounds: Bounds,
    /// As [`settled_areas`] tells.
    settled_areas: u64,
    pieces: Pieces,
    direction: Direction,
    buffer: AlignedBuffer,
    /// What is in the buffer.
    held: Option<Piece>,
    ahead: Option<Ahead>,
}

impl<'a, S: Source> PieceReader<'a, S> {
    pub(super) fn new(
        source: &'a S,
        bounds: Bounds,
        settled_areas: u64,
        direction: Direction,
    ) -> Self {
        let pieces = Pieces::of(bounds.layout);
        Self {
            source,
            bounds,
            settled_areas,
            pieces,
            direction,
            buffer: AlignedBuffer::new(pieces.bytes),
            held: None,
            ahead: source.beside().map(|source| Ahead::new(source, pieces.bytes)),
        }
    }

    /// The entry at a place, unchecked.
    #[inline]
    pub(super) fn entry(&mut self, place: Place) -> Result<Placed, StoreError> {
        let (piece, start) = self.pieces.of_entry(place);
        if self.held != Some(piece) {
            self.load(piece)?;
        }
        let bytes = self.buffer.as_slice()[start..].first_chunk::<EXCEPTION_BYTES>();
        // Pieces are whole numbers of entries, so the bytes are there.
        let exception = bytes.map_or(Exception { old_chunk: 0, new_chunk: 0 }, Exception::decode);
        Ok(Placed { place, exception })
    }

    /// The whole piece that has this entry.
    pub(super) fn piece(&mut self, place: Place) -> Result<&[u8], StoreError> {
        let (piece, _) = self.pieces.of_entry(place);
        if self.held != Some(piece) {
            self.load(piece)?;
        }
        Ok(self.buffer.as_slice())
    }

    #[cold]
    fn load(&mut self, piece: Piece) -> Result<(), StoreError> {
        let outside =
            StoreError::AreaOutside { area: piece.area, cow_chunks: self.bounds.cow_chunks };
        let at_bytes = self.pieces.place_bytes(piece, &self.bounds).ok_or(outside)?;
        self.held = None;
        let taken = self.ahead.as_mut().and_then(|ahead| ahead.take(at_bytes, &mut self.buffer));
        taken
            .unwrap_or_else(|| self.source.read_at(at_bytes, self.buffer.as_mut_slice()))
            .map_err(|source| StoreError::Read { at_bytes, bytes: self.pieces.bytes, source })?;
        self.held = Some(piece);
        self.read_on(piece);
        Ok(())
    }

    /// Has the pieces read that the walk will come to after this one.
    fn read_on(&mut self, piece: Piece) {
        let Some(ahead) = &mut self.ahead else { return };
        let (bounds, pieces, direction) = (&self.bounds, self.pieces, self.direction);
        let settled_areas = self.settled_areas;
        let may_be_read = |next: &Piece| match direction {
            Direction::Forwards => next.area == piece.area || next.area < settled_areas,
            Direction::Backwards => true,
        };
        let following = std::iter::successors(Some(piece), |piece| pieces.next(*piece, direction));
        let following = following.skip(1).take_while(may_be_read);
        ahead.read_on(following.map_while(|piece| pieces.place_bytes(piece, bounds)));
    }
}
