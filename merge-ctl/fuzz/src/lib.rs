//! What the fuzz targets share: the code under test, and how an input becomes a device.
//!
//! The store is compiled from its files here rather than taken from the library merge-ctl. So a
//! fuzz build needs neither the eBPF programs nor the two hundred crates of a dashboard, and takes
//! seconds. It holds as long as the store uses nothing of merge-ctl but `units`, which is as it
//! should be. The container of recordings uses nothing of it at all.
//!
//! The store has no unsafe code (it is denied here), so there is nothing for a sanitizer to find:
//! an index out of bounds or an overflow panics by itself. Without one the stable compiler will do,
//! and inputs run several times as fast.

use std::alloc::System;
use std::panic;
use std::sync::Once;

use cap::Cap;

pub mod dumped;
pub mod program;
pub mod recorded;

#[path = "../../src/recording/container/mod.rs"]
pub mod container;
#[path = "../../src/store/slow/mod.rs"]
mod slow;
#[path = "../../src/store/mod.rs"]
pub mod store;
#[path = "../../src/units.rs"]
pub mod units;

/// What one input may take, in bytes: the 64 MiB that a walk over a store is allowed, and what the
/// reference and the input need.
const MEMORY_BYTES: usize = 80 << 20;

// An allocation above the limit aborts at once. libFuzzer's own limit, which is off, would look once
// a second, and only at memory that was touched.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, MEMORY_BYTES);

/// Does something that may allocate only so many bytes, all that it frees again counted too. A
/// limit would not do here: who asks with `try_reserve`, as the standard library does where it reads
/// to an end, takes a refusal for an error like any other.
fn within<T>(bytes: usize, what: impl FnOnce() -> T) -> T {
    let before = MEMORY.total_allocated();
    let told = what();
    let took = MEMORY.total_allocated() - before;
    assert!(took <= bytes, "{took} bytes were allocated, and not {bytes} at most");
    told
}

/// Lets a panic have what memory it wants: a backtrace that is refused some hangs, and what was found
/// is told as a time-out.
fn give_memory_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // The program ends here, so nothing is lost if it cannot be had.
            let _ = MEMORY.set_limit(usize::MAX);
            hook(info);
        }));
    });
}

/// Runs one input of the target `store`.
///
/// # Panics
/// Where the store is not read as it should be: what a fuzzer looks for.
pub fn store(input: &program::Input<'_>) {
    give_memory_to_panics();
    let program::Case { device, origin, from } = input.case();
    slow::check(&device, origin, from);
}

/// Runs one input of the target `recording`.
///
/// # Panics
/// Where a recording does not hold what was put in, or a damaged one is read as it should not be.
pub fn recording(input: &recorded::Input<'_>) {
    give_memory_to_panics();
    input.run();
}

/// Runs one input of the target `dump`.
///
/// # Panics
/// Where a dump is not what it was made of, or a damaged one is read as it should not be.
pub fn dump(input: &dumped::Input<'_>) {
    give_memory_to_panics();
    input.run();
}
