//! The table of I/O in flight, read where the programs write it: mapped into our own memory.
//!
//! The one place here with unsafe code. The table is read-only for us, and changes under our hands:
//! an entry that changed while it was copied is taken again, or left out.
#![expect(unsafe_code, reason = "shared memory with the kernel")]

use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{Ordering, fence};

use merge_common::{IN_FLIGHT_SLOTS, InFlightIo};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// How often an entry that changes is tried again.
const TRIES: usize = 3;

/// The mapped table.
pub(super) struct InFlightTable {
    slots: NonNull<InFlightIo>,
}

// SAFETY: the mapping is not tied to a thread, and is only read.
unsafe impl Send for InFlightTable {}

impl InFlightTable {
    /// How long the mapping is.
    const BYTES: usize = IN_FLIGHT_SLOTS * size_of::<InFlightIo>();

    /// Maps the table of a map's file descriptor.
    pub(super) fn new(map: impl AsFd) -> rustix::io::Result<Self> {
        // SAFETY: a new mapping, at a place of the kernel's choice.
        let memory = unsafe {
            mmap(ptr::null_mut(), Self::BYTES, ProtFlags::READ, MapFlags::SHARED, map, 0)
        }?;
        let slots = NonNull::new(memory.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { slots })
    }

    /// Copies of the entries that are in use.
    pub(super) fn entries(&self) -> impl Iterator<Item = InFlightIo> {
        (0..IN_FLIGHT_SLOTS).filter_map(|index| self.entry(index))
    }

    fn entry(&self, index: usize) -> Option<InFlightIo> {
        for _ in 0..TRIES {
            let before = self.mark(index)?;
            fence(Ordering::Acquire);
            // SAFETY: inside the mapping, aligned, and valid for every bit pattern.
            let entry = unsafe { self.slot(index).read_volatile() };
            fence(Ordering::Acquire);
            if self.mark(index)? == before {
                return Some(entry);
            }
        }
        None
    }

    /// What tells one use of a slot from another; nothing where it is free.
    fn mark(&self, index: usize) -> Option<(u64, u64)> {
        let slot = self.slot(index);
        // SAFETY: inside the mapping, aligned, and valid for every bit pattern.
        let bio = unsafe { (&raw const (*slot).bio).read_volatile() };
        // SAFETY: as above.
        let queued_ns = unsafe { (&raw const (*slot).queued_ns).read_volatile() };
        (bio != 0).then_some((bio, queued_ns))
    }

    fn slot(&self, index: usize) -> *const InFlightIo {
        assert!(index < IN_FLIGHT_SLOTS);
        // SAFETY: inside the mapping by the check above.
        unsafe { self.slots.add(index) }.as_ptr()
    }
}

impl Drop for InFlightTable {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; nobody has a reference into it. It can only fail for
        // arguments that are wrong.
        _ = unsafe { munmap(self.slots.as_ptr().cast(), Self::BYTES) };
    }
}
