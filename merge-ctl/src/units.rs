//! Units as types: a bare `u64` that means sectors is a bug in waiting.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bytes in a sector, everywhere in the block layer.
pub const SECTOR_BYTES: u64 = 512;

/// A length, or a place on a device, in sectors of 512 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sectors(pub u64);

impl Sectors {
    /// The same length in bytes.
    pub const fn bytes(self) -> u64 {
        self.0 * SECTOR_BYTES
    }

    /// The difference, or nothing where `other` is larger.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Sectors {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Sectors {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl fmt::Display for Sectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, if self.0 == 1 { "sector" } else { "sectors" })
    }
}

/// The unit of copying of a snapshot: how many sectors a chunk has. A power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChunkSize(u32);

impl ChunkSize {
    /// A chunk size as the kernel takes it: a power of two of sectors, not 0.
    pub const fn from_sectors(sectors: u32) -> Option<Self> {
        if sectors.is_power_of_two() { Some(Self(sectors)) } else { None }
    }

    /// Sectors in a chunk.
    pub const fn sectors(self) -> u64 {
        self.0 as u64
    }

    /// Bytes in a chunk.
    pub const fn bytes(self) -> u64 {
        self.sectors() * SECTOR_BYTES
    }

    /// The chunk that holds a sector.
    pub const fn chunk_of(self, sector: u64) -> u64 {
        sector / self.sectors()
    }

    /// How many chunks cover a length; the last may be partial.
    pub const fn chunks_in(self, length: Sectors) -> u64 {
        length.0.div_ceil(self.sectors())
    }
}

/// A block device's number.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct DeviceNumber {
    /// Names the driver.
    pub major: u32,
    /// Names the device among the driver's.
    pub minor: u32,
}

impl DeviceNumber {
    /// From the kernel's own `dev_t` (`MINORBITS` is 20), as eBPF programs read it.
    pub const fn from_kernel(dev: u32) -> Self {
        Self { major: dev >> 20, minor: dev & 0xf_ffff }
    }

    /// To the kernel's own `dev_t`.
    pub const fn to_kernel(self) -> u32 {
        self.major << 20 | self.minor
    }

    /// From the `dev_t` that `stat(2)` and the device-mapper ioctls use.
    pub fn from_user(dev: u64) -> Self {
        Self { major: rustix::fs::major(dev), minor: rustix::fs::minor(dev) }
    }

    /// To the `dev_t` that `stat(2)` and the device-mapper ioctls use.
    pub fn to_user(self) -> u64 {
        rustix::fs::makedev(self.major, self.minor)
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// A duration in whole nanoseconds, as times are kept here. Five hundred years are the most.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_keep_large_minors() {
        let dev = DeviceNumber { major: 253, minor: 70_000 };
        assert_eq!(DeviceNumber::from_kernel(dev.to_kernel()), dev);
        assert_eq!(DeviceNumber::from_user(dev.to_user()), dev);
    }

    #[test]
    fn a_chunk_size_is_a_power_of_two() {
        assert!(ChunkSize::from_sectors(0).is_none());
        assert!(ChunkSize::from_sectors(12).is_none());
        let chunk = ChunkSize::from_sectors(8).unwrap();
        assert_eq!((chunk.bytes(), chunk.chunk_of(15), chunk.chunks_in(Sectors(17))), (4096, 1, 3));
    }
}
