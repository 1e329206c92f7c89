//! Dumps of stores of every kind, whole and damaged, and bytes that are none, read in every way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use merge_ctl_fuzz::dumped::Input;

fuzz_target!(|input: Input<'_>| merge_ctl_fuzz::dump(&input));
