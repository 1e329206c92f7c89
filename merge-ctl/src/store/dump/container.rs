//! The fixed parts of a dump: the preamble at its start, the index and the footer at its end.
//!
//! All numbers are little-endian. Pure: bytes in, checked values out.

use flate2::Crc;

use super::DumpFault;
use super::frame::{FRAME_BYTES, MAX_PACKED_BYTES};
use crate::store::format::{EXCEPTION_BYTES, HEADER_BYTES, MAX_DEVICE};
use crate::units::Sectors;

/// The first bytes of every dump.
pub(super) const MAGIC: [u8; 8] = *b"mctldump";
/// The last bytes of every whole dump.
const END_MAGIC: [u8; 8] = *b"dumpends";
/// The version that is written, and the only one that is read.
pub(super) const VERSION: u32 = 1;
/// Bytes of the preamble.
pub(super) const PREAMBLE_BYTES: usize = 48;
/// Bytes of the footer.
pub(super) const FOOTER_BYTES: usize = 28;
/// Bytes of the footer that its checksum covers.
const FOOTER_CHECKED_BYTES: usize = 16;
/// Bytes of the index for each frame.
pub(super) const INDEX_ENTRY_BYTES: usize = 4;
/// As many as 2^38 exceptions fill. Bounds the index in memory to 32 MiB.
pub(super) const MAX_FRAMES: u64 = 1 << 22;

/// What stands before the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Preamble {
    /// The size of the COW device.
    pub(super) cow_size: Sectors,
    /// The size of the origin; 0 where it was not known.
    pub(super) origin_size: Sectors,
    /// The store's header, as it was.
    pub(super) header: [u8; HEADER_BYTES],
}

impl Preamble {
    pub(super) fn encode(&self) -> [u8; PREAMBLE_BYTES] {
        let mut bytes = [0; PREAMBLE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.cow_size.0.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.origin_size.0.to_le_bytes());
        bytes[28..44].copy_from_slice(&self.header);
        let sum = checksum([&bytes[..44]]);
        bytes[44..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; PREAMBLE_BYTES]) -> Result<Self, DumpFault> {
        if bytes[..8] != MAGIC {
            return Err(damaged("it does not begin as a dump does"));
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(DumpFault::UnknownVersion { version });
        }
        if u32_at(bytes, 44) != checksum([&bytes[..44]]) {
            return Err(damaged("the checksum of its beginning is wrong"));
        }
        let (cow_size, origin_size) = (Sectors(u64_at(bytes, 12)), Sectors(u64_at(bytes, 20)));
        if cow_size.max(origin_size) > MAX_DEVICE {
            return Err(damaged("it names a device larger than any can be"));
        }
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&bytes[28..44]);
        Ok(Self { cow_size, origin_size, header })
    }
}

/// Why a dump holds no more than it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It holds all there is.
    Whole,
    /// The device could not be read any further.
    ReadFailed,
    /// What came next does not look like exceptions.
    TooDamaged,
    /// It holds all that counts. What stood behind the end of the store did not look like
    /// exceptions, and zeroes stand for it.
    WithoutRemains,
}

impl Reach {
    fn from_number(number: u32) -> Option<Self> {
        [Self::Whole, Self::ReadFailed, Self::TooDamaged, Self::WithoutRemains]
            .into_iter()
            .find(|reach| *reach as u32 == number)
    }

    /// Why what comes behind is not there.
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Whole | Self::WithoutRemains => "only the exceptions are saved, and no data",
            Self::ReadFailed => "when it was made, the COW device could not be read further",
            Self::TooDamaged => "what came there did not look like exceptions",
        }
    }
}

/// What stands at the very end, behind the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    /// How many bytes of metadata the frames hold together.
    pub(super) saved_bytes: u64,
    /// Why it ends there.
    pub(super) reach: Reach,
    checksum: u32,
}

impl Footer {
    /// For these frames, by the lengths that they have in the file.
    pub(super) fn encode(saved_bytes: u64, reach: Reach, index: &[u8]) -> [u8; FOOTER_BYTES] {
        let frames = (index.len() / INDEX_ENTRY_BYTES) as u32;
        let mut bytes = [0; FOOTER_BYTES];
        bytes[..8].copy_from_slice(&saved_bytes.to_le_bytes());
        bytes[8..12].copy_from_slice(&frames.to_le_bytes());
        bytes[12..16].copy_from_slice(&(reach as u32).to_le_bytes());
        let sum = checksum([index, &bytes[..FOOTER_CHECKED_BYTES]]);
        bytes[16..20].copy_from_slice(&sum.to_le_bytes());
        bytes[20..].copy_from_slice(&END_MAGIC);
        bytes
    }

    pub(super) fn decode(bytes: &[u8; FOOTER_BYTES]) -> Result<Self, DumpFault> {
        if bytes[20..] != END_MAGIC {
            return Err(DumpFault::CutOff { missing: "its end, with the index of what it holds" });
        }
        let saved_bytes = u64_at(bytes, 0);
        let footer = Self {
            saved_bytes,
            reach: Reach::from_number(u32_at(bytes, 12))
                .ok_or_else(|| damaged("its end does not say why it is there"))?,
            checksum: u32_at(bytes, 16),
        };
        let counted = u64::from(u32_at(bytes, 8));
        let whole = saved_bytes.is_multiple_of(EXCEPTION_BYTES as u64);
        if !whole || counted != footer.frames() || counted > MAX_FRAMES {
            return Err(damaged("the lengths at its end contradict each other"));
        }
        Ok(footer)
    }

    /// How many frames there must be.
    pub(super) const fn frames(&self) -> u64 {
        self.saved_bytes.div_ceil(FRAME_BYTES as u64)
    }

    /// How many bytes a frame holds when it is unpacked.
    pub(super) fn frame_bytes(&self, frame: u64) -> usize {
        let left = self.saved_bytes.saturating_sub(frame.saturating_mul(FRAME_BYTES as u64));
        left.min(FRAME_BYTES as u64) as usize
    }

    /// Where the frames end in the file, each, and in the first place where the first begins.
    pub(super) fn bounds(&self, index: &[u8]) -> Result<Vec<u64>, DumpFault> {
        let mut checked = [0; FOOTER_CHECKED_BYTES];
        checked[..8].copy_from_slice(&self.saved_bytes.to_le_bytes());
        checked[8..12].copy_from_slice(&(self.frames() as u32).to_le_bytes());
        checked[12..].copy_from_slice(&(self.reach as u32).to_le_bytes());
        if checksum([index, &checked]) != self.checksum {
            return Err(damaged("the checksum of its index is wrong"));
        }
        let mut at = PREAMBLE_BYTES as u64;
        let mut bounds = Vec::with_capacity(index.len() / INDEX_ENTRY_BYTES + 1);
        bounds.push(at);
        for entry in index.chunks_exact(INDEX_ENTRY_BYTES) {
            let packed_bytes = u32_at(entry, 0);
            if packed_bytes as usize > MAX_PACKED_BYTES {
                return Err(damaged("its index names a part that is too long"));
            }
            at += u64::from(packed_bytes);
            bounds.push(at);
        }
        Ok(bounds)
    }
}

pub(super) fn damaged(what: &str) -> DumpFault {
    DumpFault::Damaged { what: what.to_owned() }
}

fn checksum<const N: usize>(parts: [&[u8]; N]) -> u32 {
    let mut sum = Crc::new();
    for part in parts {
        sum.update(part);
    }
    sum.sum()
}

/// The number at a place that is there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().copied().map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().copied().map_or(0, u64::from_le_bytes)
}
