//! Requests, and what carries them out: the one seam between the engine and the two ways to make
//! requests, and the place where tests put devices that fail.
//!
//! A queue owns the buffers, numbered from 0. It carries out what is begun in any order, and answers
//! what the device answers: a short read is told as a short read. Dropped, it waits for what is under
//! way: nobody else may have the memory before.

use std::io;

/// Which of the two devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Origin,
    Cow,
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the device into the buffer.
    Read,
    /// From the buffer to the device.
    Write,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) side: Side,
    pub(super) way: Way,
    /// Where on the device, in bytes.
    pub(super) at_bytes: u64,
    /// Which buffer, from which byte on.
    pub(super) slot: usize,
    pub(super) from: usize,
    /// How many bytes.
    pub(super) length: usize,
}

/// A request that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// What it was begun with.
    pub(super) token: usize,
    /// How many bytes went over, or what the device said.
    pub(super) answer: io::Result<usize>,
}

/// See the module.
pub(super) trait Queue {
    /// Begins a request. `token` names no other one that is under way, and is below the number of
    /// requests that the queue was made for.
    ///
    /// # Errors
    /// The queue itself is broken; nothing was begun.
    fn begin(&mut self, token: usize, request: Request) -> io::Result<()>;

    /// Waits until one request has ended. Some must be under way.
    ///
    /// # Errors
    /// The queue itself is broken.
    fn wait(&mut self) -> io::Result<Ended>;

    /// A buffer for which nothing is under way.
    fn buffer(&mut self, slot: usize) -> &mut [u8];
}

impl Queue for Box<dyn Queue> {
    fn begin(&mut self, token: usize, request: Request) -> io::Result<()> {
        (**self).begin(token, request)
    }

    fn wait(&mut self) -> io::Result<Ended> {
        (**self).wait()
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        (**self).buffer(slot)
    }
}
