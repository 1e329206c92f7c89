//! The fixed parts: the preamble of the file, and the header of a frame. All numbers are little-endian.

use flate2::Crc;

/// The version that is written, and the newest that is read.
pub const VERSION: u32 = 1;
/// The first bytes of every recording.
pub(super) const MAGIC: [u8; 8] = *b"mctlrec\n";
/// Bytes of the preamble.
pub const PREAMBLE_BYTES: usize = 16;
/// The first bytes of every frame: what is looked for behind damage.
pub(super) const SYNC: [u8; 4] = *b"\xf5mrF";
/// Bytes before a frame's payload.
pub const FRAME_HEADER_BYTES: usize = 36;
/// What a frame holds at most, unpacked.
pub const MAX_UNPACKED_BYTES: usize = 4 << 20;
/// The same as it stands in the file: deflate adds a little to what it cannot pack.
pub(super) const MAX_PACKED_BYTES: usize = MAX_UNPACKED_BYTES + (64 << 10);

/// What a frame is. Kinds that are not known are left out.
pub(super) const KEY: u8 = 1;
/// Builds on the frame before it.
pub(super) const NEXT: u8 = 2;

/// What stands before a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) kind: u8,
    /// Counts the frames of the file, from 0.
    pub(super) sequence: u32,
    pub(super) unpacked_bytes: u32,
    pub(super) packed_bytes: u32,
    /// The time of the last record in it.
    pub(super) at_ns: u64,
    pub(super) payload_sum: u32,
}

impl FrameHeader {
    pub(super) fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&SYNC);
        bytes[4] = self.kind;
        bytes[8..12].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.unpacked_bytes.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.packed_bytes.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.at_ns.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.payload_sum.to_le_bytes());
        let sum = checksum(&bytes[..32]);
        bytes[32..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The header that these bytes are; none where they are none, or not as they were written.
    pub(super) fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> Option<Self> {
        if bytes[..4] != SYNC || u32_at(bytes, 32) != checksum(&bytes[..32]) {
            return None;
        }
        let header = Self {
            kind: bytes[4],
            sequence: u32_at(bytes, 8),
            unpacked_bytes: u32_at(bytes, 12),
            packed_bytes: u32_at(bytes, 16),
            at_ns: u64::from(u32_at(bytes, 20)) | u64::from(u32_at(bytes, 24)) << 32,
            payload_sum: u32_at(bytes, 28),
        };
        let fits = header.unpacked_bytes as usize <= MAX_UNPACKED_BYTES
            && header.packed_bytes as usize <= MAX_PACKED_BYTES;
        fits.then_some(header)
    }

    /// Bytes of the whole frame.
    pub(super) const fn frame_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + self.packed_bytes as u64
    }
}

/// The preamble of this version.
pub(super) fn preamble_of(version: u32) -> [u8; PREAMBLE_BYTES] {
    let mut bytes = [0; PREAMBLE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let sum = checksum(&bytes[..12]);
    bytes[12..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = Crc::new();
    sum.update(bytes);
    sum.sum()
}

/// The number at a place that is there.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().copied().map_or(0, u32::from_le_bytes)
}
