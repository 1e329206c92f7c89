//! Recordings, whole and damaged, and bytes that are none.

#![no_main]

use libfuzzer_sys::fuzz_target;
use merge_ctl_fuzz::recorded::Input;

fuzz_target!(|input: Input<'_>| merge_ctl_fuzz::recording(&input));
