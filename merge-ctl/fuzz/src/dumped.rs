//! An input as a dump: of a store that a program describes, as it was saved or with damage done to
//! the file afterwards. Or simply bytes.
//!
//! Checksums guard most of a dump, and a fuzzer does not guess them. So after the damage they may
//! be put right again, where the format (`docs/exception-store.md`) says that they are.

use std::io::Write as _;

use flate2::write::GzEncoder;
use flate2::{Compression, Crc};
use libfuzzer_sys::arbitrary::{self, Arbitrary};

use crate::program::{Case, Program};
use crate::slow;
use crate::slow::guard::Guard;
use crate::store::dump::{Ending, Known, save};
use crate::store::{DumpSource, Opened, Source, Store};
use crate::within;

const PREAMBLE_BYTES: usize = 48;
const FOOTER_BYTES: usize = 28;

/// One input. What is short comes first: of a short input nothing is left for the last fields.
#[derive(Arbitrary, Debug)]
pub enum Input<'a> {
    /// A dump as it was saved: it must tell what the device tells.
    Whole {
        /// An entry whose sector is read by itself, with the one behind it, whether they were
        /// saved or not.
        entry: u16,
        /// The store on the device.
        program: Program,
    },
    /// A dump that something happened to: it must be refused, or tell the same in every way.
    Damaged {
        /// Whether its checksums are put right.
        mended: bool,
        /// What happened to the file.
        damage: Vec<Damage>,
        /// The store that it was made of.
        program: Program,
    },
    /// Whatever the bytes are.
    Bytes(&'a [u8]),
}

/// What happens to a dump. Places are counted from its beginning or back from its end.
#[derive(Arbitrary, Debug)]
pub enum Damage {
    /// One byte is another.
    Byte {
        /// Counted from the end.
        from_end: bool,
        /// Where.
        at: u16,
        /// What it is then.
        value: u8,
    },
    /// A number of the preamble or the footer is another.
    Number {
        /// Which.
        field: Field,
        /// What it says then.
        value: u64,
    },
    /// A number of the footer says a little more or less.
    Near {
        /// Which.
        field: Field,
        /// How much.
        by: i8,
    },
    /// All frames give way to one, which holds a byte so many times.
    Frame {
        /// The byte.
        byte: u8,
        /// How often, as a power of two: up to sixteen frames' worth.
        times_log2: u8,
        /// Whether the index tells its length.
        indexed: bool,
    },
    /// The end is cut off.
    Cut(u16),
}

/// A number in a dump.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Field {
    /// The size of the COW device.
    CowSize,
    /// The size of the origin.
    OriginSize,
    /// The chunk size in the store's header, and its version.
    Header,
    /// How many bytes the frames hold.
    SavedBytes,
    /// How many frames there are, and why it ends.
    Frames,
}

impl Input<'_> {
    pub(crate) fn run(&self) {
        match self {
            Self::Whole { program, entry } => {
                whole(&program.case(), program.entry_at(*entry) / 512 * 512);
            }
            Self::Damaged { program, damage, mended } => {
                let case = program.case();
                let Some((mut dump, _)) = saved(&case) else { return };
                for damage in damage {
                    damage.happen(&mut dump);
                }
                if *mended {
                    mend(&mut dump);
                }
                read_freely(dump);
            }
            Self::Bytes(bytes) => read_freely(bytes.to_vec()),
        }
    }
}

/// The dump of a device, and why it ends; none where no store is on it.
fn saved(case: &Case) -> Option<(Vec<u8>, Ending)> {
    let guard = Guard::new(&case.device);
    // Nothing is read but the header and areas, and no area beyond those that were written.
    guard.allow(2 * (case.device.written_bytes() + (1 << 20)));
    let mut dump = Vec::new();
    let saved =
        save(&guard, Known { origin: case.origin, ..Known::default() }, &mut dump, || false)
            .ok()?;
    assert_eq!(saved.dump_bytes, dump.len() as u64);
    Some((dump, saved.ending))
}

fn whole(case: &Case, at_bytes: u64) {
    let Case { device, origin, .. } = case;
    let Some((dump, ending)) = saved(case) else { return };
    let source = DumpSource::of_bytes(dump).expect("what was saved is a dump");
    assert_eq!(source.size(), device.size());
    let known = origin.filter(|origin| (1..1 << 54).contains(&origin.0));
    assert_eq!(source.origin_size(), known);
    if device.block_bytes == 512 {
        // Where it ends early, that is behind the first fault, and no walk goes further.
        slow::compare(&source, device, *origin, None);
    }
    let (mut told, mut there) = ([0; 1024], [0; 1024]);
    if source.read_at(at_bytes, &mut told).is_ok() && matches!(ending, Ending::Store) {
        device.read_at(at_bytes, &mut there).expect("memory can be read");
        assert_eq!(told, there, "the sectors at byte {at_bytes}");
    }
}

/// Reads a dump of which nothing is known; it must agree with itself.
fn read_freely(dump: Vec<u8>) {
    let Ok(source) = DumpSource::of_bytes(dump) else { return };
    let (origin, saved_bytes) = (source.origin_size(), source.saved_bytes());
    let guard = Guard::new(source);
    let walk = || guard.allow(2 * (saved_bytes + (2 << 20)));
    walk();
    let Ok(Opened::Usable(store)) = Store::open(&guard, origin) else { return };
    walk();
    // Two frames, what one is packed in, and the piece of an area that is read.
    within(8 << 20, || drop(store.exceptions().next()));
    walk();
    let mut shown = Vec::new();
    let told: Vec<_> = store.exceptions().map_while(Result::ok).collect();
    assert!(told.len() as u64 <= saved_bytes / 16, "more entries than were saved");
    walk();
    let survey = store.survey(|placed| shown.push(placed));
    assert!(told.starts_with(&shown), "two walks tell two things");
    let Ok(survey) = survey else { return };
    assert_eq!(shown.len(), told.len());
    walk();
    let back: Result<Vec<_>, _> = store.backwards(survey.end).collect();
    shown.reverse();
    assert_eq!(back.expect("backwards it is the same dump"), shown);
}

impl Damage {
    fn happen(&self, dump: &mut Vec<u8>) {
        match *self {
            Self::Byte { from_end, at, value } => {
                let at = usize::from(at);
                let at = if from_end { dump.len().checked_sub(at) } else { Some(at) };
                if let Some(byte) = at.and_then(|at| dump.get_mut(at)) {
                    *byte = value;
                }
            }
            Self::Number { field, value } => field.change(dump, |_| value),
            Self::Near { field, by } => {
                field.change(dump, |value| value.wrapping_add_signed(by.into()));
            }
            Self::Frame { byte, times_log2, indexed } => {
                one_frame(dump, byte, 1 << (times_log2 % 25), indexed);
            }
            Self::Cut(bytes) => dump.truncate(dump.len().saturating_sub(bytes.into())),
        }
    }
}

impl Field {
    fn change(self, dump: &mut [u8], to: impl FnOnce(u64) -> u64) {
        let at = match self {
            Self::CowSize => Some(12),
            Self::OriginSize => Some(20),
            Self::Header => Some(36),
            Self::SavedBytes => dump.len().checked_sub(FOOTER_BYTES),
            Self::Frames => dump.len().checked_sub(FOOTER_BYTES - 8),
        };
        let bytes = at.and_then(|at| dump.get_mut(at..)?.first_chunk_mut());
        if let Some(bytes) = bytes {
            *bytes = to(u64::from_le_bytes(*bytes)).to_le_bytes();
        }
    }
}

/// Puts one frame in the place of all, of that many bytes; in the footer the number stays.
fn one_frame(dump: &mut Vec<u8>, byte: u8, times: usize, indexed: bool) {
    let Some(footer_at) = dump.len().checked_sub(FOOTER_BYTES) else { return };
    let footer = dump.split_off(footer_at);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = packed.write_all(&vec![byte; times]).and_then(|()| packed.finish());
    let packed = packed.expect("memory can be written");
    dump.truncate(PREAMBLE_BYTES);
    dump.extend_from_slice(&packed);
    if indexed {
        dump.extend_from_slice(&(packed.len() as u32).to_le_bytes());
    }
    dump.extend_from_slice(&footer);
}

/// Makes the checksums of preamble and footer those of what they cover now.
fn mend(dump: &mut [u8]) {
    if let Some((covered, sum)) = dump.split_at_mut_checked(PREAMBLE_BYTES - 4) {
        put(sum, checksum(covered));
    }
    let Some(footer_at) = dump.len().checked_sub(FOOTER_BYTES) else { return };
    let (before, footer) = dump.split_at_mut(footer_at);
    let frames = footer[8..].first_chunk().copied().map_or(0, u32::from_le_bytes);
    let index_at = before.len().saturating_sub(4_usize.saturating_mul(frames as usize));
    let covered = [&before[index_at..], &footer[..16]].concat();
    put(&mut footer[16..], checksum(&covered));
}

fn put(into: &mut [u8], number: [u8; 4]) {
    if let Some(bytes) = into.first_chunk_mut() {
        *bytes = number;
    }
}

fn checksum(covered: &[u8]) -> [u8; 4] {
    let mut sum = Crc::new();
    sum.update(covered);
    sum.sum().to_le_bytes()
}
