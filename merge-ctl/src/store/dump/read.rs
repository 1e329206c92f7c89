//! A dump as a source: reads as the COW device did, where the dump holds something.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use super::DumpFault;
use super::container::{
    FOOTER_BYTES, Footer, INDEX_ENTRY_BYTES, MAGIC, PREAMBLE_BYTES, Preamble, damaged,
};
use super::frame::{self, FRAME_BYTES};
use crate::store::format::{HEADER_BYTES, Header, Layout};
use crate::store::source::Source;
use crate::units::{ChunkSize, SECTOR_BYTES, Sectors};

/// Whether a file begins as a dump does.
///
/// # Errors
/// Where it cannot be read.
pub fn is_dump(file: &File) -> io::Result<bool> {
    let mut magic = [0; MAGIC.len()];
    match file.read_exact_at(&mut magic, 0) {
        Ok(()) => Ok(magic == MAGIC),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// What [`save()`](super::save()) wrote, to be read as the device that it was made of.
///
/// Only the header and the areas can be read. One frame is kept unpacked, so that reading on from
/// where one was, in either direction, is cheap.
#[derive(Debug)]
pub struct DumpSource {
    bytes: Bytes,
    preamble: Preamble,
    footer: Footer,
    /// None where the header has no usable chunk size: then there is nothing but the header.
    layout: Option<Layout>,
    /// Where the frames begin and end in the file.
    bounds: Vec<u64>,
    held: Mutex<Option<(u64, Vec<u8>)>>,
}

#[derive(Debug)]
enum Bytes {
    File(File),
    Memory(Vec<u8>),
}

impl DumpSource {
    /// From a file. No frame is read yet.
    ///
    /// # Errors
    /// [`DumpFault`] inside, where it is no whole dump; a failed read.
    pub fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Self::open(Bytes::File(file), length)
    }

    /// From bytes in memory.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_bytes(bytes: Vec<u8>) -> io::Result<Self> {
        let length = bytes.len() as u64;
        Self::open(Bytes::Memory(bytes), length)
    }

    fn open(bytes: Bytes, length: u64) -> io::Result<Self> {
        let mut preamble = [0; PREAMBLE_BYTES];
        bytes.read_at(&mut preamble, 0).map_err(|error| cut_off(error, "even its beginning"))?;
        let preamble = Preamble::decode(&preamble).map_err(io::Error::other)?;
        let (footer, bounds) = read_end(&bytes, length)?;
        let layout = layout_of(&preamble);
        if layout.is_none() && footer.saved_bytes > 0 {
            return Err(io::Error::other(damaged("it holds areas of no known size")));
        }
        Ok(Self { bytes, preamble, footer, layout, bounds, held: Mutex::new(None) })
    }

    /// The size of the origin, where it was known.
    pub fn origin_size(&self) -> Option<Sectors> {
        Some(self.preamble.origin_size).filter(|size| size.0 > 0)
    }

    /// How many bytes of metadata it holds.
    pub fn saved_bytes(&self) -> u64 {
        self.footer.saved_bytes
    }

    /// Reads what stands at `at_bytes` of the device, as far as one frame or the header goes;
    /// returns how much that was.
    fn read_some(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<usize> {
        if at_bytes < SECTOR_BYTES {
            return Ok(self.read_first_sector(at_bytes as usize, into));
        }
        let (stream_bytes, in_chunk) = self.place_in_stream(at_bytes).map_err(io::Error::other)?;
        let number = stream_bytes / FRAME_BYTES as u64;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_none_or(|(held, _)| *held != number) {
            *held = None;
            *held = Some((number, self.load(number)?));
        }
        let frame = held.as_ref().map_or(&[][..], |(_, frame)| frame);
        let rest = frame.get((stream_bytes % FRAME_BYTES as u64) as usize..).unwrap_or_default();
        let length = into.len().min(rest.len()).min(in_chunk as usize);
        into[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    /// Behind the header nothing means anything.
    fn read_first_sector(&self, at: usize, into: &mut [u8]) -> usize {
        let mut sector = [0; SECTOR_BYTES as usize];
        sector[..HEADER_BYTES].copy_from_slice(&self.preamble.header);
        let length = into.len().min(sector.len() - at);
        into[..length].copy_from_slice(&sector[at..at + length]);
        length
    }

    /// Where a byte of the device stands in the row of all areas, and how many follow it in its.
    fn place_in_stream(&self, at_bytes: u64) -> Result<(u64, u64), DumpFault> {
        let not_saved = |why| DumpFault::NotSaved { at_bytes, why };
        let no_data = "only the exceptions are saved, and no data";
        let layout = self.layout.ok_or_else(|| not_saved(no_data))?;
        let chunk_bytes = layout.chunk_size().bytes();
        let (chunk, within) = (at_bytes / chunk_bytes, at_bytes % chunk_bytes);
        let area = area_at(layout, chunk).ok_or_else(|| not_saved(no_data))?;
        // An area inside the device, so no product overflows.
        let stream_bytes = area * chunk_bytes + within;
        if stream_bytes >= self.footer.saved_bytes {
            return Err(not_saved(self.footer.reach.why()));
        }
        Ok((stream_bytes, chunk_bytes - within))
    }

    fn load(&self, number: u64) -> io::Result<Vec<u8>> {
        let wrong = |what: &str| {
            let frames = self.footer.frames();
            io::Error::other(damaged(&format!("part {} of {frames}: {what}", number + 1)))
        };
        let [start, end] = self
            .bounds
            .get(number as usize..)
            .and_then(<[u64]>::first_chunk)
            .ok_or_else(|| wrong("it is not there"))?;
        // The index was checked: no part is longer than a frame can be.
        let mut packed = vec![0; (end - start) as usize];
        self.bytes.read_at(&mut packed, *start).map_err(|error| wrong(&error.to_string()))?;
        frame::unpack(&packed, self.footer.frame_bytes(number))
            .map_err(|error| wrong(&error.to_string()))
    }
}

/// The footer, and where each frame is.
fn read_end(bytes: &Bytes, length: u64) -> io::Result<(Footer, Vec<u64>)> {
    let cut_off = || io::Error::other(DumpFault::CutOff { missing: "its end" });
    let footer_at = length.checked_sub(FOOTER_BYTES as u64).ok_or_else(cut_off)?;
    let mut footer = [0; FOOTER_BYTES];
    bytes.read_at(&mut footer, footer_at)?;
    let footer = Footer::decode(&footer).map_err(io::Error::other)?;
    let index_bytes = footer.frames() * INDEX_ENTRY_BYTES as u64;
    let index_at = footer_at.checked_sub(index_bytes).filter(|at| *at >= PREAMBLE_BYTES as u64);
    let index_at = index_at.ok_or_else(cut_off)?;
    let mut index = vec![0; index_bytes as usize];
    bytes.read_at(&mut index, index_at)?;
    let bounds = footer.bounds(&index).map_err(io::Error::other)?;
    if bounds.last() != Some(&index_at) {
        return Err(io::Error::other(damaged("parts in its middle are missing, or too many")));
    }
    Ok((footer, bounds))
}

fn layout_of(preamble: &Preamble) -> Option<Layout> {
    Layout::new(ChunkSize::from_sectors(Header::decode(&preamble.header).chunk_sectors)?)
}

/// The number of the area in a chunk, where one is there.
fn area_at(layout: Layout, chunk: u64) -> Option<u64> {
    let area = chunk.checked_sub(1)? / (u64::from(layout.exceptions_per_area()) + 1);
    (layout.area_chunk(area) == Some(chunk)).then_some(area)
}

fn cut_off(error: io::Error, missing: &'static str) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return io::Error::other(DumpFault::CutOff { missing });
    }
    error
}

impl Bytes {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(into, at),
            Self::Memory(bytes) => {
                let part =
                    usize::try_from(at).ok().and_then(|at| bytes.get(at..)?.get(..into.len()));
                into.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

impl Source for DumpSource {
    fn size(&self) -> Sectors {
        self.preamble.cow_size
    }

    fn block_bytes(&self) -> u32 {
        SECTOR_BYTES as u32
    }

    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        let end = at_bytes.checked_add(into.len() as u64);
        if end.is_none_or(|end| end > self.size().bytes()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < into.len() {
            done += self.read_some(at_bytes + done as u64, &mut into[done..])?;
        }
        Ok(())
    }
}
