//! Frames: up to 1 MiB of metadata each, packed one by one so that a dump can be read from any
//! place on, backwards too.
//!
//! An entry mostly differs little from the one before, so differences are packed, byte planes apart:
//! first the lowest byte of every old chunk's difference, and so on. Differences wrap and signs are
//! folded into the lowest bit, so any bytes whatever come back as they were.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

use crate::store::format::{EXCEPTION_BYTES, Exception};

/// How much metadata a frame holds; only the last may hold less.
pub(super) const FRAME_BYTES: usize = 1 << 20;
/// No frame is longer in the file: what cannot be packed grows by a few bytes in ten thousand.
pub(super) const MAX_PACKED_BYTES: usize = FRAME_BYTES + (64 << 10);

/// Packs whole entries.
pub(super) fn pack(entries: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::new(6));
    packed.write_all(&to_planes(entries))?;
    packed.finish()
}

/// Unpacks a frame that holds exactly `length` bytes, and no more than that is ever unpacked.
pub(super) fn unpack(packed: &[u8], length: usize) -> io::Result<Vec<u8>> {
    let mut decoder = GzDecoder::new(packed);
    let mut planes = vec![0; length];
    decoder.read_exact(&mut planes)?;
    // Only at its end does the decoder compare the checksum.
    if decoder.read(&mut [0])? != 0 || !decoder.into_inner().is_empty() {
        return Err(io::Error::other("it holds more than it should"));
    }
    Ok(from_planes(&planes))
}

fn to_planes(entries: &[u8]) -> Vec<u8> {
    let count = entries.len() / EXCEPTION_BYTES;
    let mut planes = vec![0; count * EXCEPTION_BYTES];
    let mut before = Exception { old_chunk: 0, new_chunk: 0 };
    let (entries, _) = entries.as_chunks::<EXCEPTION_BYTES>();
    for (row, entry) in entries.iter().enumerate() {
        let now = Exception::decode(entry);
        let old = fold(now.old_chunk.wrapping_sub(before.old_chunk)).to_le_bytes();
        let new = fold(now.new_chunk.wrapping_sub(before.new_chunk)).to_le_bytes();
        for (plane, byte) in old.into_iter().chain(new).enumerate() {
            planes[plane * count + row] = byte;
        }
        before = now;
    }
    planes
}

fn from_planes(planes: &[u8]) -> Vec<u8> {
    let count = planes.len() / EXCEPTION_BYTES;
    let mut entries = vec![0; count * EXCEPTION_BYTES];
    let (mut old, mut new) = (0_u64, 0_u64);
    let (rows, _) = entries.as_chunks_mut::<EXCEPTION_BYTES>();
    for (row, entry) in rows.iter_mut().enumerate() {
        for (plane, byte) in entry.iter_mut().enumerate() {
            *byte = planes[plane * count + row];
        }
        let difference = Exception::decode(entry);
        old = old.wrapping_add(unfold(difference.old_chunk));
        new = new.wrapping_add(unfold(difference.new_chunk));
        entry[..8].copy_from_slice(&old.to_le_bytes());
        entry[8..].copy_from_slice(&new.to_le_bytes());
    }
    entries
}

/// Small numbers of either sign as small numbers.
const fn fold(difference: u64) -> u64 {
    (difference << 1) ^ (difference.cast_signed() >> 63).cast_unsigned()
}

const fn unfold(folded: u64) -> u64 {
    (folded >> 1) ^ (folded & 1).wrapping_neg()
}
