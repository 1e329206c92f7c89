//! Reads the frames, whatever became of the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use flate2::{Decompress, FlushDecompress, Status};

use super::frame::{
    FRAME_HEADER_BYTES, FrameHeader, KEY, MAGIC, NEXT, PREAMBLE_BYTES, SYNC, VERSION, checksum,
    preamble_of, u32_at,
};

/// How much is looked through at once for the next frame.
const SEARCH_BYTES: usize = 64 << 10;
/// Of a frame's unpacked bytes so many are made room for at once: a few bytes must not ask for much.
const STEP_BYTES: usize = 64 << 10;

/// Bytes that can be read at any place.
pub trait Bytes {
    /// How many there are.
    ///
    /// # Errors
    /// What the kernel answers.
    fn length(&self) -> io::Result<u64>;

    /// Fills a buffer from this place on, as far as there are bytes, and tells how many.
    ///
    /// # Errors
    /// What the kernel answers.
    fn fill_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;
}

impl Bytes for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn fill_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.read_at(&mut into[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl Bytes for &[u8] {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn fill_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let filled = rest.len().min(into.len());
        into[..filled].copy_from_slice(&rest[..filled]);
        Ok(filled)
    }
}

/// Why a file is not read at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is something else.
    #[error("this is no recording of merge-ctl")]
    NoRecording,
    /// It was written by a newer merge-ctl.
    #[error(
        "its format is version {version}, and this merge-ctl reads version {VERSION}: use a newer \
         merge-ctl"
    )]
    TooNew {
        /// Its version.
        version: u32,
    },
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A part of the file that cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes {from} to {until}: {kind}")]
pub struct Fault {
    /// Its first byte.
    pub from: u64,
    /// The first byte behind it.
    pub until: u64,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What is wrong with a part of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// The preamble.
    #[error("the beginning of the file is damaged")]
    Preamble,
    /// No frame stands there.
    #[error("damaged: no frame stands there")]
    NoFrame,
    /// Not what was written.
    #[error("damaged: the checksum is wrong")]
    Checksum,
    /// The file ends within a frame: whoever wrote it was stopped.
    #[error("the file is cut off here")]
    CutOff,
    /// A frame before it is lost.
    #[error("sound, but it builds on what was lost before it")]
    BuildsOnLost,
    /// The checksum is right, and yet it means nothing.
    #[error("it cannot be understood: {0}")]
    Meaningless(String),
}

/// What comes next in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// The records of a frame.
    Records {
        /// Where the frame begins.
        from: u64,
        /// Where it ends.
        until: u64,
        /// Whether it begins a group, and so needs nothing before it.
        key: bool,
        /// The time of the last record.
        at_ns: u64,
        /// The records.
        bytes: Vec<u8>,
    },
    /// A part that cannot be shown.
    Fault(Fault),
}

/// Reads frames in their order.
pub struct Reader<S> {
    source: S,
    length: u64,
    at: u64,
    inflate: Decompress,
    /// The number of the next frame, as long as nothing of the group is lost.
    expected: Option<u32>,
    /// Sound frames that build on what is lost, until they are told of.
    left_out: Option<Fault>,
    /// What was met and is to be told next.
    next: Option<Block>,
}

impl<S: Bytes> Reader<S> {
    /// Looks at the beginning of a file.
    ///
    /// # Errors
    /// Where it is no recording, or one of a newer format, or cannot be read.
    pub fn open(source: S) -> Result<Self, OpenError> {
        let length = source.length()?;
        let mut bytes = [0; PREAMBLE_BYTES];
        let filled = source.fill_at(0, &mut bytes)?;
        let mut reader = Self {
            source,
            length,
            at: PREAMBLE_BYTES as u64,
            inflate: Decompress::new(false),
            expected: None,
            left_out: None,
            next: None,
        };
        if filled == PREAMBLE_BYTES && bytes == preamble_of(VERSION) {
            return Ok(reader);
        }
        let version = u32_at(&bytes, 8);
        if version > VERSION && bytes == preamble_of(version) {
            return Err(OpenError::TooNew { version });
        }
        if filled < PREAMBLE_BYTES
            || (bytes[..8] != MAGIC && reader.header_at(reader.at)?.is_none())
        {
            return Err(OpenError::NoRecording);
        }
        let until = PREAMBLE_BYTES as u64;
        reader.next = Some(Block::Fault(Fault { from: 0, until, kind: FaultKind::Preamble }));
        Ok(reader)
    }

    /// Goes on at a group that begins there, as [`Block::Records`] has told.
    pub fn go_to(&mut self, key_from: u64) {
        (self.at, self.expected, self.left_out, self.next) = (key_from, None, None, None);
    }

    /// What comes next; none at the end of the file.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn next_block(&mut self) -> io::Result<Option<Block>> {
        loop {
            if let Some(block) = self.next.take() {
                return Ok(Some(block));
            }
            let block = self.next_frame()?;
            match (block, self.left_out.take()) {
                (Met::LeftOut(fault), before) => {
                    let from = before.map_or(fault.from, |before| before.from);
                    self.left_out = Some(Fault { from, ..fault });
                }
                (Met::Nothing, None) => return Ok(None),
                (Met::Nothing, Some(fault)) => return Ok(Some(Block::Fault(fault))),
                (Met::Unknown, left_out) => self.left_out = left_out,
                (Met::Block(block), None) => return Ok(Some(block)),
                (Met::Block(block), Some(fault)) => {
                    self.next = Some(block);
                    return Ok(Some(Block::Fault(fault)));
                }
            }
        }
    }

    fn next_frame(&mut self) -> io::Result<Met> {
        let from = self.at;
        if from >= self.length {
            return Ok(Met::Nothing);
        }
        let Some(header) = self.header_at(from)? else {
            return self.search(from);
        };
        let until = from + header.frame_bytes();
        let fault = |kind, until| Met::Block(Block::Fault(Fault { from, until, kind }));
        if until > self.length {
            (self.at, self.expected) = (self.length, None);
            return Ok(fault(FaultKind::CutOff, self.length));
        }
        self.at = until;
        let mut payload = vec![0; header.packed_bytes as usize];
        self.source.fill_at(from + FRAME_HEADER_BYTES as u64, &mut payload)?;
        if checksum(&payload) != header.payload_sum {
            self.expected = None;
            return Ok(fault(FaultKind::Checksum, until));
        }
        Ok(self.frame(&header, from, &payload))
    }

    /// What a frame holds whose bytes are as they were written; it goes on from `from` to where this stands.
    fn frame(&mut self, header: &FrameHeader, from: u64, payload: &[u8]) -> Met {
        let until = self.at;
        let builds_on = self.expected.replace(header.sequence.wrapping_add(1));
        match header.kind {
            KEY => self.inflate.reset(false),
            NEXT if builds_on == Some(header.sequence) => {}
            NEXT => {
                self.expected = None;
                return Met::LeftOut(Fault { from, until, kind: FaultKind::BuildsOnLost });
            }
            // It takes no part in the stream of its group.
            _ => {
                self.expected = self.expected.filter(|_| builds_on == Some(header.sequence));
                return Met::Unknown;
            }
        }
        match self.unpack(payload, header.unpacked_bytes as usize) {
            Ok(bytes) => {
                let (key, at_ns) = (header.kind == KEY, header.at_ns);
                Met::Block(Block::Records { from, until, key, at_ns, bytes })
            }
            Err(what) => {
                self.expected = None;
                let kind = FaultKind::Meaningless(what.to_owned());
                Met::Block(Block::Fault(Fault { from, until, kind }))
            }
        }
    }

    fn header_at(&self, at: u64) -> io::Result<Option<FrameHeader>> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let filled = self.source.fill_at(at, &mut bytes)?;
        Ok(FrameHeader::decode(&bytes).filter(|_| filled == FRAME_HEADER_BYTES))
    }

    /// No frame begins at `from`: finds the next one.
    fn search(&mut self, from: u64) -> io::Result<Met> {
        self.expected = None;
        let mut at = from + 1;
        let mut window = vec![0; SEARCH_BYTES];
        while at < self.length {
            let filled = self.source.fill_at(at, &mut window)?;
            if filled < SYNC.len() {
                break;
            }
            let places = window[..filled].windows(SYNC.len()).enumerate();
            for (place, _) in places.filter(|(_, bytes)| **bytes == SYNC) {
                let place = at + place as u64;
                if self.header_at(place)?.is_some() {
                    return Ok(self.no_frame(from, place));
                }
            }
            // What stands across the border is looked at once more.
            at += (filled - (SYNC.len() - 1)) as u64;
        }
        Ok(self.no_frame(from, self.length))
    }

    fn no_frame(&mut self, from: u64, until: u64) -> Met {
        self.at = until;
        // A header that was begun and nothing more: whoever wrote it was stopped.
        let kind = match until == self.length && until - from < FRAME_HEADER_BYTES as u64 {
            true => FaultKind::CutOff,
            false => FaultKind::NoFrame,
        };
        Met::Block(Block::Fault(Fault { from, until, kind }))
    }

    /// Unpacks a frame, which must give exactly so many bytes.
    fn unpack(&mut self, packed: &[u8], unpacked_bytes: usize) -> Result<Vec<u8>, &'static str> {
        let mut bytes = Vec::new();
        let begun = self.inflate.total_in();
        loop {
            // One more than may come, so that too many are seen.
            let room = (unpacked_bytes + 1 - bytes.len()).min(STEP_BYTES);
            bytes.reserve(room);
            let taken = (self.inflate.total_in() - begun) as usize;
            let before = (taken, bytes.len());
            let status =
                self.inflate.decompress_vec(&packed[taken..], &mut bytes, FlushDecompress::Sync);
            let taken = (self.inflate.total_in() - begun) as usize;
            if bytes.len() > unpacked_bytes {
                return Err("it holds more than it says");
            }
            match status {
                Err(_) => return Err("it cannot be unpacked"),
                Ok(Status::StreamEnd) if taken < packed.len() => {
                    return Err("it ends before its end");
                }
                Ok(_) if taken == packed.len() && bytes.len() < bytes.capacity() => break,
                Ok(_) if (taken, bytes.len()) == before => {
                    return Err("it cannot be unpacked to its end");
                }
                Ok(_) => {}
            }
        }
        if bytes.len() == unpacked_bytes { Ok(bytes) } else { Err("it holds less than it says") }
    }
}

/// What stands at a place.
enum Met {
    Block(Block),
    /// A sound frame that nothing can be done with.
    LeftOut(Fault),
    /// A sound frame of a kind that is not known.
    Unknown,
    /// The end.
    Nothing,
}
