//! The eBPF programs of merge-ctl: what one run of a merge is doing ([`runs`]), and the I/O in
//! flight on the devices that merge ([`io`]).
//!
//! What always holds: every program does a bounded, small amount of work; all memory is bounded and
//! what does not fit is counted ([`maps::count_dropped`]); kernel memory is read in [`kernel`] alone,
//! at offsets that user space set from the running kernel's own type information.
//! What is refused: events per I/O, strings on common paths, and any effect on the kernel.

#![no_std]
#![no_main]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the macros hand each program its context by value"
)]
#![expect(
    clippy::inline_always,
    reason = "each program is one function, so that the verifier has no call to follow"
)]

mod io;
mod kernel;
mod maps;
mod runs;

/// No program can get here: the verifier would not load it.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[expect(unsafe_code, reason = "the kernel looks for it by this name in this section")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
