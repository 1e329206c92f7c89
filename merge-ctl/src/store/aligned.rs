//! A buffer that direct I/O can fill: it begins on a page boundary. No unsafe code: the vector is
//! a page too long, and only its aligned part is shown.

/// What the buffer's address is a multiple of: no block device wants more.
const ALIGNMENT_BYTES: usize = 4096;

/// A buffer of fixed length whose address is a multiple of [`ALIGNMENT_BYTES`].
pub(crate) struct AlignedBuffer {
    // Never grown, so the allocation never moves.
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    pub(crate) fn new(length: usize) -> Self {
        let bytes = vec![0; length + ALIGNMENT_BYTES];
        let start = bytes.as_ptr().align_offset(ALIGNMENT_BYTES);
        Self { bytes, start, length }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aligned_and_as_long_as_asked() {
        for length in [0, 1, 512, 4096, 1 << 20] {
            let mut buffer = AlignedBuffer::new(length);
            assert_eq!(buffer.as_slice().as_ptr() as usize % ALIGNMENT_BYTES, 0);
            assert_eq!(buffer.as_mut_slice().len(), length);
        }
    }
}
