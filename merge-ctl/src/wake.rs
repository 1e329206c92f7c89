//! Waiting for something to read without looking at it again and again: the ring buffer of the
//! probes, the control device of device-mapper.
#![expect(unsafe_code, reason = "tokio asks for a promise about the file descriptor")]

use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Wakes when a file descriptor has something new.
#[derive(Debug)]
pub struct Wake(AsyncFd<OwnedFd>);

impl Wake {
    /// Nothing where the kernel or the runtime cannot do it.
    pub fn new(source: impl AsFd) -> Option<Self> {
        let fd = source.as_fd().try_clone_to_owned().ok()?;
        // SAFETY: an owned descriptor stays open, and the same, until it is dropped.
        unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.ok().map(Self)
    }

    /// Returns when there is something, or there was since the last time; `false` where waiting does
    /// not work.
    pub async fn ready(&self) -> bool {
        // What comes after the clearing raises it again; what came before, the caller drains now.
        self.0.readable().await.map(|mut ready| ready.clear_ready()).is_ok()
    }
}
