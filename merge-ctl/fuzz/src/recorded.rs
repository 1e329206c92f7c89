//! An input as a recording: as it was written, or with damage done to the file afterwards. Or simply bytes.

use flate2::Crc;
use libfuzzer_sys::arbitrary::{self, Arbitrary};

use crate::container::{
    Block, FRAME_HEADER_BYTES, MAX_UNPACKED_BYTES, PREAMBLE_BYTES, Packer, Reader, delta, numbers,
    preamble,
};

/// One input. What is short comes first: of a short input nothing is left for the last fields.
#[derive(Arbitrary, Debug)]
pub enum Input<'a> {
    /// A list and the one before it, as they are told.
    List {
        /// How long the one before was.
        before: u8,
        /// What tells of the change.
        told: &'a [u8],
    },
    /// A recording as it was written: it must be read so.
    Whole(Vec<Frame<'a>>),
    /// A recording that something happened to: what is read of it must be what was written.
    Damaged {
        /// Whether the checksums of the headers are put right: then it need only be read somehow.
        mended: bool,
        /// Where it is cut.
        length: Option<u16>,
        /// Which bytes are others.
        damage: Vec<(u16, u8)>,
        /// What was written.
        frames: Vec<Frame<'a>>,
    },
    /// Whatever the bytes are.
    Bytes(&'a [u8]),
}

/// What is put into a frame.
#[derive(Arbitrary, Debug)]
pub struct Frame<'a> {
    /// Whether it begins a group.
    key: bool,
    /// How often the records are repeated, as a power of two.
    times_log2: u8,
    /// The records.
    records: &'a [u8],
}

impl Frame<'_> {
    fn bytes(&self) -> Vec<u8> {
        self.records.repeat(1 << (self.times_log2 % 12))
    }
}

impl Input<'_> {
    /// Checks it.
    pub(crate) fn run(&self) {
        match self {
            Self::List { before, told } => {
                let rows = delta::take(&mut &told[..], (*before).into(), 300);
                assert!(rows.map_or(0, |rows| rows.len()) <= 300);
                let mut rest = *told;
                while numbers::take(&mut rest).is_ok() {}
            }
            Self::Whole(frames) => whole(frames),
            Self::Damaged { mended, length, damage, frames } => {
                let (mut bytes, places) = written(frames);
                let end = bytes.len();
                for (at, value) in damage {
                    bytes[usize::from(*at) % end] = *value;
                }
                if *mended {
                    for place in &places {
                        mend(&mut bytes[*place..]);
                    }
                }
                bytes.truncate(length.map_or(end, Into::into));
                let read = read(&bytes);
                let known = |bytes: &Vec<u8>| frames.iter().any(|frame| frame.bytes() == *bytes);
                assert!(*mended || read.iter().all(known), "nobody wrote that");
            }
            Self::Bytes(bytes) => drop(read(bytes)),
        }
    }
}

fn whole(frames: &[Frame<'_>]) {
    let (bytes, _) = written(frames);
    let fits = |frame: &&Frame<'_>| frame.bytes().len() <= MAX_UNPACKED_BYTES;
    // Before the first group there is nothing that can be understood.
    let expected = frames.iter().filter(fits).skip_while(|frame| !frame.key);
    let expected: Vec<_> = expected.map(Frame::bytes).collect();
    assert!(read(&bytes) == expected, "not what was written");
}

fn written(frames: &[Frame<'_>]) -> (Vec<u8>, Vec<usize>) {
    let (mut packer, mut bytes, mut places) = (Packer::default(), preamble().to_vec(), Vec::new());
    for (frame, at_ns) in frames.iter().zip(0..) {
        places.push(bytes.len());
        // What is too long is refused, and what was written before it stays.
        if let Ok(frame) = packer.frame(frame.key, at_ns, &frame.bytes()) {
            bytes.extend(frame);
        }
    }
    (bytes, places)
}

/// Puts the checksum of a frame's header right.
fn mend(frame: &mut [u8]) {
    let Some(header) = frame.first_chunk_mut::<FRAME_HEADER_BYTES>() else { return };
    let mut sum = Crc::new();
    sum.update(&header[..FRAME_HEADER_BYTES - 4]);
    header[FRAME_HEADER_BYTES - 4..].copy_from_slice(&sum.sum().to_le_bytes());
}

/// The frames that can be read. What cannot must be named without gaps or overlaps.
fn read(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Ok(mut reader) = Reader::open(bytes) else { return Vec::new() };
    let (mut frames, mut reached) = (Vec::new(), 0);
    while let Ok(Some(block)) = reader.next_block() {
        let (from, until) = match block {
            Block::Records { from, until, bytes, .. } => {
                frames.push(bytes);
                (from, until)
            }
            Block::Fault(fault) => (fault.from, fault.until),
        };
        assert!(from >= reached && until > from && until <= bytes.len() as u64, "{from} {until}");
        reached = until;
    }
    assert!(reached == 0 || reached >= PREAMBLE_BYTES as u64);
    frames
}
