//! How an offline merge is to be done.

use std::num::NonZeroU64;

/// What may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Memory for the list of exceptions, the search for duplicates and the buffers together, in
    /// bytes. Less than [`super::LEAST_MEMORY_BYTES`] counts as that.
    pub memory_bytes: u64,
    /// How many requests may be under way at once: 1 to 4096.
    pub requests: u32,
    /// Read back all that was copied, and compare it, before the metadata is touched.
    pub verify: bool,
    /// How many bytes a second may be copied, and then compared; none for as many as go.
    pub bandwidth_bytes: Option<NonZeroU64>,
    /// How requests are made.
    pub backend: Backend,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            requests: 128,
            verify: false,
            bandwidth_bytes: None,
            backend: Backend::Auto,
        }
    }
}

/// How requests are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// By io_uring, where the kernel lets us, else by threads.
    #[default]
    Auto,
    /// By io_uring.
    Uring,
    /// By a pool of threads that read and write.
    Threads,
}
