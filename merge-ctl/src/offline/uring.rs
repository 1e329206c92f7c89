//! Requests by io_uring: one thread keeps all of them under way, from buffers that the kernel knows
//! beforehand. It does not know the files beforehand: registered ones stay open for a moment after the
//! ring and the process are gone, and so do locks on them and exclusive opens of devices. Whoever comes
//! next would find them busy.
//!
//! This is the engine's only room with unsafe code, because the kernel writes into memory that Rust
//! cannot see it write into. What makes that sound: the buffers are one mapping that never moves
//! and is taken down only when nothing is under way; whoever calls keeps to [`Queue`], so that no slice of
//! a buffer is alive while a request for it is under way; every request lies within its buffer.
//!
//! Only what Linux 5.10 has is used. Where buffers cannot be registered, for want of memory that may
//! be locked, requests name plain memory.
#![expect(unsafe_code, reason = "the kernel writes into memory that it is told of")]

use std::ffi::c_void;
use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr::{self, NonNull};

use io_uring::{IoUring, opcode, squeue, types};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use super::budget::Slots;
use super::queue::{Ended, Queue, Request, Way};
use super::threads::Files;

/// The kernel registers no larger buffer.
const MOST_REGISTERED_BYTES: usize = 1 << 30;

/// See the module.
pub(super) struct Uring {
    // Dropped before the buffers: by then nothing is under way.
    ring: IoUring,
    buffers: Buffers,
    /// How many slots share one registered buffer; none where they are not registered.
    registered: Option<usize>,
    under_way: usize,
    /// They stay open as long as something may be under way.
    files: Files,
}

impl Uring {
    /// # Errors
    /// What the kernel answers: among others `EPERM` and `ENOSYS`, where io_uring is forbidden.
    pub(super) fn new(files: Files, slots: Slots, requests: usize) -> io::Result<Self> {
        let ring = ring(requests)?;
        let buffers = Buffers::new(slots)?;
        let registered = buffers.register(&ring);
        Ok(Self { ring, buffers, registered, under_way: 0, files })
    }

    fn entry(&self, token: usize, request: Request) -> squeue::Entry {
        let file = types::Fd(self.files.of(request.side).as_raw_fd());
        let place = self.buffers.place(request.slot, request.from, request.length);
        // No buffer is that long.
        let length = u32::try_from(request.length).unwrap_or(u32::MAX);
        let at = request.at_bytes;
        let index = self.registered.map(|shared| (request.slot / shared) as u16);
        let entry = match (request.way, index) {
            (Way::Read, Some(index)) => {
                opcode::ReadFixed::new(file, place, length, index).offset(at).build()
            }
            (Way::Write, Some(index)) => {
                opcode::WriteFixed::new(file, place, length, index).offset(at).build()
            }
            (Way::Read, None) => opcode::Read::new(file, place, length).offset(at).build(),
            (Way::Write, None) => opcode::Write::new(file, place, length).offset(at).build(),
        };
        entry.user_data(token as u64)
    }

    fn next_ended(&mut self) -> Option<Ended> {
        let entry = self.ring.completion().next()?;
        self.under_way -= 1;
        let answer = match entry.result() {
            moved @ 0.. => Ok(moved as usize),
            error => Err(io::Error::from_raw_os_error(-error)),
        };
        Some(Ended { token: entry.user_data() as usize, answer })
    }

    /// Hands over what was begun, and waits until something has ended.
    fn submit_and_wait(&self) -> io::Result<()> {
        match self.ring.submit_and_wait(1) {
            Ok(_) => Ok(()),
            // A signal; or the kernel wants its answers to be taken first.
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A ring for so many requests at once.
pub(super) fn ring(requests: usize) -> io::Result<IoUring> {
    let entries = u32::try_from(requests.next_power_of_two()).unwrap_or(u32::MAX);
    IoUring::new(entries)
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, ResourceBusy, WouldBlock};
    matches!(error.kind(), Interrupted | ResourceBusy | WouldBlock)
}

impl Queue for Uring {
    fn begin(&mut self, token: usize, request: Request) -> io::Result<()> {
        let entry = self.entry(token, request);
        let full = |_| io::Error::other("the ring has no room for a request");
        // SAFETY: the entry names an open file and memory within a buffer (`place` checks
        // that), which lives until nothing is under way (`drop` waits) and of which nobody has a
        // slice (the contract of `Queue`).
        unsafe { self.ring.submission().push(&entry) }.map_err(full)?;
        self.under_way += 1;
        Ok(())
    }

    fn wait(&mut self) -> io::Result<Ended> {
        loop {
            if let Some(ended) = self.next_ended() {
                return Ok(ended);
            }
            self.submit_and_wait()?;
        }
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.buffers.slice(slot)
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        while self.under_way > 0 {
            if self.next_ended().is_none() && self.submit_and_wait().is_err() {
                // The kernel may still write into them: rather lose the memory.
                self.buffers.leak = true;
                return;
            }
        }
    }
}

/// All buffers: one mapping of anonymous memory, which begins on a page boundary.
struct Buffers {
    start: NonNull<c_void>,
    bytes: usize,
    slots: Slots,
    leak: bool,
}

// SAFETY: it owns its memory, and nothing in it belongs to a thread.
unsafe impl Send for Buffers {}

impl Buffers {
    fn new(slots: Slots) -> io::Result<Self> {
        let missing = || io::Error::from(io::ErrorKind::OutOfMemory);
        let bytes = slots.count.checked_mul(slots.bytes).ok_or_else(missing)?;
        let read_write = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses where, so no other memory is touched.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), bytes, read_write, MapFlags::PRIVATE)? };
        let start = NonNull::new(start).ok_or_else(missing)?;
        let buffers = Self { start, bytes, slots, leak: false };
        // Huge pages make registration and large requests cheaper; without them all goes as well.
        // SAFETY: the range is the mapping's, and the advice changes no content.
        let _only_faster = unsafe { madvise(start.as_ptr(), bytes, Advice::LinuxHugepage) };
        Ok(buffers)
    }

    /// Lets the kernel know them; how many slots share one registered buffer.
    fn register(&self, ring: &IoUring) -> Option<usize> {
        let shared = MOST_REGISTERED_BYTES / self.slots.bytes;
        let all: Vec<_> = (0..self.slots.count)
            .step_by(shared)
            .map(|first| libc::iovec {
                iov_base: self.place(first, 0, 0).cast(),
                iov_len: shared.min(self.slots.count - first) * self.slots.bytes,
            })
            .collect();
        // SAFETY: each lies within the mapping, which lives longer than the ring.
        unsafe { ring.submitter().register_buffers(&all) }.is_ok().then_some(shared)
    }

    /// Where a part of a slot is.
    fn place(&self, slot: usize, from: usize, length: usize) -> *mut u8 {
        let Slots { count, bytes } = self.slots;
        assert!(slot < count && from <= bytes && length <= bytes - from, "outside the buffers");
        // SAFETY: as was just seen, it is within the mapping.
        unsafe { self.start.as_ptr().cast::<u8>().add(slot * bytes + from) }
    }

    fn slice(&mut self, slot: usize) -> &mut [u8] {
        let bytes = self.slots.bytes;
        // SAFETY: the place is within the mapping, whose bytes the kernel set to 0 at its start; no
        // other slice of it can be alive while `self` is borrowed, and no request for this slot is
        // under way (the contract of `Queue`).
        unsafe { std::slice::from_raw_parts_mut(self.place(slot, 0, bytes), bytes) }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if !self.leak {
            // SAFETY: it is the mapping, whole, and nothing is under way any more.
            let unmapped = unsafe { munmap(self.start.as_ptr(), self.bytes) };
            debug_assert!(unmapped.is_ok(), "a mapping of one's own can be taken down");
        }
    }
}
