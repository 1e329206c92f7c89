//! A source that is watched: a read that a real device would refuse (outside, not aligned, empty), or
//! more reading than a walk can need, panics. The first is an over-read, the second an endless loop.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::Source;
use crate::units::Sectors;

/// See the module.
#[derive(Debug)]
pub(crate) struct Guard<S> {
    source: S,
    /// How many bytes may still be read.
    allowance: AtomicU64,
}

impl<S: Source> Guard<S> {
    /// Nothing may be read yet.
    pub(crate) fn new(source: S) -> Self {
        Self { source, allowance: AtomicU64::new(0) }
    }

    /// Sets how much may be read from now on.
    pub(crate) fn allow(&self, bytes: u64) {
        self.allowance.store(bytes, Ordering::Relaxed);
    }
}

impl<S: Source> Source for Guard<S> {
    fn size(&self) -> Sectors {
        self.source.size()
    }

    fn block_bytes(&self) -> u32 {
        self.source.block_bytes()
    }

    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        let (block, length) = (u64::from(self.block_bytes()), into.len() as u64);
        assert!(length > 0, "an empty read at {at_bytes}");
        assert!(
            at_bytes.is_multiple_of(block) && length.is_multiple_of(block),
            "{length} bytes at {at_bytes} are no blocks"
        );
        assert!(
            (into.as_ptr().addr() as u64).is_multiple_of(block),
            "the buffer is not aligned to {block} bytes"
        );
        let end = at_bytes.checked_add(length);
        assert!(
            end.is_some_and(|end| end <= self.size().0 * 512),
            "{length} bytes at {at_bytes} lie outside the device"
        );
        let left = self.allowance.load(Ordering::Relaxed).checked_sub(length);
        self.allow(left.expect("more is read than can be needed"));
        self.source.read_at(at_bytes, into)
    }
}
