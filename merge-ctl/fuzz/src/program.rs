//! An input as a small program: what was written to a snapshot, and what happened to its COW device
//! afterwards. Or simply bytes.
//!
//! Random bytes as a device would seldom get past the header, and hardly ever to a second area;
//! every program does.

use std::ops::RangeInclusive;

use libfuzzer_sys::arbitrary::{self, Arbitrary, Unstructured};

use crate::slow::device::Device;
use crate::units::Sectors;

/// More only take time.
const MAX_WRITERS: usize = 8;
/// What a long writer writes: enough to reach the second MiB of an area, to fill a page of the
/// bitmaps that are searched for duplicates, and to use up the memory of that search.
const LONG_CHUNKS: u64 = 70_000;
/// No block device is larger.
const MAX_DEVICE_SECTORS: u64 = i64::MAX as u64 / 512;

/// One input.
#[derive(Arbitrary, Debug)]
pub enum Input<'a> {
    /// A store that was written and then damaged.
    Written(Program),
    /// Whatever the bytes are.
    Bytes {
        /// See [`Case::from`].
        from: u16,
        /// As in [`Program`].
        origin: Origin,
        /// The device.
        bytes: &'a [u8],
    },
}

/// What is to be read.
pub struct Case {
    pub(crate) device: Device,
    pub(crate) origin: Option<Sectors>,
    /// The entry before which one more walk backwards begins.
    pub(crate) from: u64,
}

impl Input<'_> {
    /// The device that the input describes.
    pub fn case(&self) -> Case {
        match self {
            Self::Written(program) => program.case(),
            Self::Bytes { from, origin, bytes } => {
                Case { device: Device::of(bytes), origin: origin.sectors(), from: (*from).into() }
            }
        }
    }
}

/// A store in the making. What is short comes first: of a short input nothing is left for the last
/// fields.
#[derive(Arbitrary, Debug)]
pub struct Program {
    #[arbitrary(with = chunk_log2)]
    chunk_log2: u32,
    /// Whether the first writer is a long one.
    #[arbitrary(with = rarely)]
    long: bool,
    /// One in so many chunks is lost in a crash; none where it is 0.
    lost: u8,
    end: End,
    origin: Origin,
    blocks_of_4096: bool,
    from: u16,
    writers: Vec<Writer>,
    damage: Vec<Damage>,
}

/// One stretch of application writes.
#[derive(Arbitrary, Debug)]
struct Writer {
    #[arbitrary(with = small_or_any)]
    start: u64,
    order: Order,
    chunks: u8,
}

#[derive(Arbitrary, Debug)]
enum Order {
    Ascending,
    Descending,
    /// Every so many chunks.
    Strided(u16),
    /// All over a range of this many bits.
    Random {
        bits: u8,
    },
    /// Two ascending stretches this far apart take turns.
    Interleaved(u16),
    Overwriting,
}

/// Where the device ends.
#[derive(Arbitrary, Debug)]
enum End {
    /// Behind the areas in use, and one more.
    Roomy,
    /// So many sectors before.
    Before(u16),
    /// So many chunks before.
    ChunksBefore(u8),
    /// As large as a device can be.
    Largest,
    /// Anywhere.
    At(u64),
}

/// What is known of the origin.
#[derive(Arbitrary, Debug)]
pub enum Origin {
    /// Nothing.
    Unknown,
    /// A size that the writers may well exceed.
    Small(u16),
    /// Any size in sectors.
    Any(u64),
}

#[derive(Arbitrary, Debug)]
enum Damage {
    /// A field of an entry says something else.
    Entry { entry: u16, new: bool, value: Value },
    /// A whole entry is cleared.
    Cleared { entry: u16 },
    /// A number in the header says something else.
    Header { field: u8, value: u32 },
    /// One byte of the metadata is another.
    Byte { entry: u16, offset: u8, value: u8 },
}

#[derive(Arbitrary, Debug)]
enum Value {
    Any(u64),
    /// What is there, and a little more or less.
    Near(i8),
    /// What an entry says.
    Of {
        entry: u16,
        new: bool,
    },
    /// The chunk of an area, or next to it.
    Area {
        area: u8,
        off: i8,
    },
    /// About where the device ends.
    DeviceEnd(i8),
}

impl Program {
    pub(crate) fn case(&self) -> Case {
        let chunk_sectors = 1 << self.chunk_log2;
        let writers = self.writers.iter().take(MAX_WRITERS).enumerate();
        let old_chunks = writers.flat_map(|(index, writer)| {
            let long = self.long && index == 0;
            writer.old_chunks(if long { LONG_CHUNKS } else { writer.chunks.into() })
        });
        let lost = usize::from(self.lost);
        let mut device = Device::written(chunk_sectors, old_chunks, |index| {
            index.checked_rem(lost) == Some(lost.wrapping_sub(1))
        });
        device.size = self.end.size(device.size, chunk_sectors.into());
        if self.blocks_of_4096 {
            device.block_bytes = 4096;
            device.size &= !7;
        }
        for damage in &self.damage {
            damage.happen(&mut device, chunk_sectors);
        }
        Case { device, origin: self.origin.sectors(), from: self.from.into() }
    }
}

impl Program {
    /// Where the entry with this number stands, or would stand, on the device.
    pub(crate) fn entry_at(&self, entry: u16) -> u64 {
        Device::entry_at(1 << self.chunk_log2, entry.into())
    }
}

impl Writer {
    fn old_chunks(&self, chunks: u64) -> Box<dyn Iterator<Item = u64>> {
        let start = self.start;
        let numbers = 0..chunks;
        match self.order {
            Order::Ascending => Box::new(numbers.map(move |n| start.wrapping_add(n))),
            Order::Descending => Box::new(numbers.map(move |n| start.wrapping_sub(n))),
            Order::Strided(by) => {
                Box::new(numbers.map(move |n| start.wrapping_add(n * u64::from(by))))
            }
            Order::Random { bits } => {
                let mask = u64::MAX >> (bits % 64);
                Box::new(numbers.map(move |n| scattered(start.wrapping_add(n)) & mask))
            }
            Order::Interleaved(apart) => {
                Box::new(numbers.map(move |n| {
                    start.wrapping_add(n / 2).wrapping_add(u64::from(apart) * (n % 2))
                }))
            }
            Order::Overwriting => Box::new(numbers.map(move |n| start.wrapping_add(n % 7))),
        }
    }
}

impl End {
    fn size(&self, roomy: u64, chunk_sectors: u64) -> u64 {
        match *self {
            Self::Roomy => roomy,
            Self::Before(sectors) => roomy.saturating_sub(sectors.into()),
            Self::ChunksBefore(chunks) => roomy.saturating_sub(u64::from(chunks) * chunk_sectors),
            Self::Largest => MAX_DEVICE_SECTORS,
            Self::At(sectors) => sectors % (MAX_DEVICE_SECTORS + 1),
        }
    }
}

impl Origin {
    fn sectors(&self) -> Option<Sectors> {
        match *self {
            Self::Unknown => None,
            Self::Small(sectors) => Some(Sectors(sectors.into())),
            Self::Any(sectors) => Some(Sectors(sectors)),
        }
    }
}

impl Damage {
    fn happen(&self, device: &mut Device, chunk_sectors: u32) {
        let field = |entry: u16, new: bool| {
            Device::entry_at(chunk_sectors, entry.into()) + 8 * u64::from(new)
        };
        match *self {
            Self::Entry { entry, new, ref value } => {
                let at = field(entry, new);
                let value = value.number(device, chunk_sectors, device.number_at(at));
                device.put(at, &value.to_le_bytes());
            }
            Self::Cleared { entry } => device.put(field(entry, false), &[0; 16]),
            Self::Header { field, value } => {
                device.put(u64::from(field % 4) * 4, &value.to_le_bytes());
            }
            Self::Byte { entry, offset, value } => {
                device.put(field(entry, false) + u64::from(offset % 16), &[value]);
            }
        }
    }
}

impl Value {
    fn number(&self, device: &Device, chunk_sectors: u32, there: u64) -> u64 {
        let near = |number: u64, off: i8| number.wrapping_add_signed(off.into());
        let sectors = u64::from(chunk_sectors);
        match *self {
            Self::Any(number) => number,
            Self::Near(off) => near(there, off),
            Self::Of { entry, new } => {
                let at = Device::entry_at(chunk_sectors, entry.into()) + 8 * u64::from(new);
                device.number_at(at)
            }
            Self::Area { area, off } => near(1 + u64::from(area) * (sectors * 32 + 1), off),
            Self::DeviceEnd(off) => near(device.size / sectors, off),
        }
    }
}

/// Small chunks mostly: they fill areas, and take less time to read.
fn chunk_log2(u: &mut Unstructured<'_>) -> arbitrary::Result<u32> {
    const SMALL: RangeInclusive<u32> = 0..=3;
    const ALL: RangeInclusive<u32> = 0..=21;
    let range = if u.ratio(7, 8)? { SMALL } else { ALL };
    u.int_in_range(range)
}

fn small_or_any(u: &mut Unstructured<'_>) -> arbitrary::Result<u64> {
    if u.ratio(3, 4)? { Ok(u16::arbitrary(u)?.into()) } else { u.arbitrary() }
}

/// Long ones take their time.
fn rarely(u: &mut Unstructured<'_>) -> arbitrary::Result<bool> {
    u.ratio(1, 64)
}

/// Numbers that look like chance: a multiplication by an odd constant, mixed once.
fn scattered(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}
