//! Makes exception stores to measure with, and measures passes over them: what
//! `cargo xtask bench store` runs.
//!
//! - `store make FILE KIND EXCEPTIONS` writes a COW device with chunks of 4 KiB, as a sparse file or
//!   onto a device: of an origin of 1 TiB that was written in rising order (`sequential`), in no
//!   order (`random`), or by one writer of either kind in turn (`mixed`).
//! - `store pass FILE WHAT` makes one pass, in a process of its own so that the peak memory is that
//!   of the pass, and prints `name value` lines.
//! - `store device AREAS DELAY_MS ROUNDS`, in a VM only, makes a slow device and prints how long its
//!   areas take to read, one line a measurement. It loads modules and makes device-mapper devices.

mod device;
mod make;
mod passes;

use anyhow::{Result, bail};

/// Bytes of a chunk, and so of an area.
const CHUNK_BYTES: u64 = 4096;
/// Entries of an area.
const ENTRIES: u64 = CHUNK_BYTES / 16;
/// Chunks of the origin: 1 TiB.
const ORIGIN_CHUNKS: u64 = 1 << 28;

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["make", file, kind, exceptions] => make::run(file.as_ref(), kind, exceptions.parse()?),
        ["pass", file, what] => passes::run(file.as_ref(), what),
        ["device", areas, delay_ms, rounds] => {
            device::run(areas.parse()?, delay_ms.parse()?, rounds.parse()?)
        }
        _ => bail!(
            "usage: store make FILE KIND EXCEPTIONS | pass FILE WHAT | device AREAS MS ROUNDS"
        ),
    }
}

/// Where an area begins, in bytes.
const fn area_at(area: u64) -> u64 {
    (1 + area * (ENTRIES + 1)) * CHUNK_BYTES
}
