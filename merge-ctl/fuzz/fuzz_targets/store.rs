//! Exception stores of every kind, whole and damaged, and bytes that are none, read in every way.

#![no_main]

use std::alloc::System;

use cap::Cap;
use libfuzzer_sys::fuzz_target;
use merge_ctl_fuzz::{MEMORY_BYTES, program::Input};

// An allocation above the limit aborts at once. libFuzzer's own limit looks once a second, and only
// at memory that was touched.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, MEMORY_BYTES);

fuzz_target!(|input: Input<'_>| merge_ctl_fuzz::store(&input));
