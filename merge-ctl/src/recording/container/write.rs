//! Makes the frames. Pure: records in, bytes out.

use std::io;

use flate2::{Compress, Compression, FlushCompress, Status};

use super::frame::{
    FrameHeader, KEY, MAX_UNPACKED_BYTES, NEXT, PREAMBLE_BYTES, VERSION, checksum, preamble_of,
};
use super::numbers;

/// What every file begins with.
pub fn preamble() -> [u8; PREAMBLE_BYTES] {
    preamble_of(VERSION)
}

/// Adds a record of this kind to the records of a frame.
pub fn push_record(records: &mut Vec<u8>, kind: u8, body: &[u8]) {
    records.push(kind);
    numbers::put(records, body.len() as u64);
    records.extend_from_slice(body);
}

/// Packs frames, one after the other.
#[derive(Debug)]
pub struct Packer {
    deflate: Compress,
    sequence: u32,
}

impl Default for Packer {
    fn default() -> Self {
        Self { deflate: Compress::new(Compression::new(6), false), sequence: 0 }
    }
}

impl Packer {
    /// The frame with these records, the last of which is of `at_ns`. `key`: it begins a group.
    ///
    /// # Errors
    /// Where there are too many for a frame: [`MAX_UNPACKED_BYTES`].
    pub fn frame(&mut self, key: bool, at_ns: u64, records: &[u8]) -> io::Result<Vec<u8>> {
        if records.len() > MAX_UNPACKED_BYTES {
            return Err(io::Error::other("too much for a frame of a recording"));
        }
        if key {
            self.deflate.reset();
        }
        let payload = self.pack(records)?;
        let header = FrameHeader {
            kind: if key { KEY } else { NEXT },
            sequence: self.sequence,
            unpacked_bytes: records.len() as u32,
            packed_bytes: payload.len() as u32,
            at_ns,
            payload_sum: checksum(&payload),
        };
        self.sequence = self.sequence.wrapping_add(1);
        let mut frame = header.encode().to_vec();
        frame.extend_from_slice(&payload);
        Ok(frame)
    }

    /// Packs all of it, up to a byte's border.
    fn pack(&mut self, records: &[u8]) -> io::Result<Vec<u8>> {
        let mut packed = Vec::with_capacity(records.len() / 2 + 64);
        let begun = self.deflate.total_in();
        loop {
            let taken = (self.deflate.total_in() - begun) as usize;
            let status =
                self.deflate.compress_vec(&records[taken..], &mut packed, FlushCompress::Sync);
            let all_in = (self.deflate.total_in() - begun) as usize == records.len();
            match status? {
                // Room was left: nothing more is to come.
                Status::Ok | Status::BufError if all_in && packed.len() < packed.capacity() => {
                    return Ok(packed);
                }
                Status::Ok | Status::BufError => packed.reserve(packed.capacity().max(64)),
                Status::StreamEnd => return Err(io::Error::other("deflate ended by itself")),
            }
        }
    }
}
