//! Snapshots to measure the offline merge engine with, and merges of them: what
//! `cargo xtask bench offline-host` runs.
//!
//! - `offline_host make ORIGIN COW SHAPE MIB` fills both with data, and makes a store on the COW device:
//!   of an origin that was written in rising order (`sequential`), in falling order (`descending`), or in
//!   no order, a chunk in four (`scattered`). Chunks have 4 KiB.
//! - `offline_host refill COW SHAPE MIB` writes the exceptions again, after a merge has cleared them.
//! - `offline_host merge ORIGIN COW BACKEND REQUESTS MIB` merges, by `uring` or `threads`, with so many
//!   requests and so much memory, and prints `name value` lines: seconds, by stage.
//! - `offline_host size SHAPE MIB` prints the bytes that the origin and the COW device need.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Result, bail};
use merge_ctl::offline::meter::Meter;
use merge_ctl::offline::options::Backend;
use merge_ctl::offline::{Devices, Options, Outcome, Target, merge};

const CHUNK_BYTES: u64 = 4096;
const ENTRIES: u64 = CHUNK_BYTES / 16;
const STAGES: [&str; 5] = ["reading", "copying", "verifying", "flushing", "clearing"];

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["make", origin, cow, shape, mib] => {
            let shape = Shape::parse(shape, mib)?;
            fill(origin.as_ref(), shape.origin_bytes(), 1)?;
            fill(cow.as_ref(), shape.cow_bytes(), 2)?;
            refill(cow.as_ref(), shape)
        }
        ["refill", cow, shape, mib] => refill(cow.as_ref(), Shape::parse(shape, mib)?),
        ["merge", origin, cow, backend, requests, memory_mib] => {
            let options = Options {
                backend: parse_backend(backend)?,
                requests: requests.parse()?,
                memory_bytes: memory_mib.parse::<u64>()? << 20,
                ..Options::default()
            };
            run(origin.as_ref(), cow.as_ref(), &options)
        }
        ["size", shape, mib] => {
            let shape = Shape::parse(shape, mib)?;
            println!("origin {}\ncow {}", shape.origin_bytes(), shape.cow_bytes());
            Ok(())
        }
        _ => bail!("usage: see the top of this example"),
    }
}

/// Which chunks of the origin were written, in which order.
#[derive(Clone, Copy)]
struct Shape {
    old_chunk: fn(u64, u64) -> u64,
    /// Chunks of the origin for each exception.
    spread: u64,
    /// How many exceptions: a power of two.
    chunks: u64,
}

impl Shape {
    fn parse(name: &str, mib: &str) -> Result<Self> {
        let chunks = (mib.parse::<u64>()? << 20) / CHUNK_BYTES;
        if !chunks.is_power_of_two() {
            bail!("{mib} MiB is no power of two of chunks");
        }
        let (old_chunk, spread): (fn(u64, u64) -> u64, _) = match name {
            "sequential" => (|index, _| index, 1),
            "descending" => (|index, chunks| chunks - 1 - index, 1),
            "scattered" => (|index, chunks| 4 * shuffled(index, chunks), 4),
            _ => bail!("a shape is sequential, descending or scattered, not {name}"),
        };
        Ok(Self { old_chunk, spread, chunks })
    }

    const fn origin_bytes(self) -> u64 {
        self.chunks * self.spread * CHUNK_BYTES
    }

    const fn cow_bytes(self) -> u64 {
        area_at(self.chunks / ENTRIES + 1)
    }
}

/// A number below `below`, a power of two, and another one for each.
const fn shuffled(index: u64, below: u64) -> u64 {
    let (mask, half) = (below - 1, below.trailing_zeros() / 2);
    let word = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask;
    let word = (word ^ (word >> half)).wrapping_mul(0xd6e8_feb8_6659_fd93) & mask;
    word ^ (word >> half)
}

/// Where an area begins, in bytes.
const fn area_at(area: u64) -> u64 {
    (1 + area * (ENTRIES + 1)) * CHUNK_BYTES
}

fn open(path: &Path) -> Result<File> {
    Ok(File::options().read(true).write(true).create(true).truncate(false).open(path)?)
}

/// Writes data that no device can make smaller.
fn fill(path: &Path, bytes: u64, seed: u64) -> Result<()> {
    let file = open(path)?;
    let mut block = vec![0; 1 << 20];
    let mut word = seed;
    for at in (0..bytes).step_by(block.len()) {
        for bytes in block.chunks_exact_mut(8) {
            word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let length = (bytes - at).min(block.len() as u64) as usize;
        file.write_all_at(&block[..length], at)?;
    }
    Ok(file.sync_all()?)
}

fn refill(cow: &Path, shape: Shape) -> Result<()> {
    let file = open(cow)?;
    let mut header = vec![0; CHUNK_BYTES as usize];
    header[..16].copy_from_slice(b"SnAp\x01\0\0\0\x01\0\0\0\x08\0\0\0");
    file.write_all_at(&header, 0)?;
    for area in 0..=shape.chunks / ENTRIES {
        let mut entries = vec![0; CHUNK_BYTES as usize];
        let indexes = area * ENTRIES..((area + 1) * ENTRIES).min(shape.chunks);
        for (entry, index) in entries.chunks_exact_mut(16).zip(indexes) {
            let new_chunk = 2 + index + index / ENTRIES;
            entry[..8].copy_from_slice(&(shape.old_chunk)(index, shape.chunks).to_le_bytes());
            entry[8..].copy_from_slice(&new_chunk.to_le_bytes());
        }
        file.write_all_at(&entries, area_at(area))?;
    }
    Ok(file.sync_all()?)
}

fn parse_backend(name: &str) -> Result<Backend> {
    Ok(match name {
        "uring" => Backend::Uring,
        "threads" => Backend::Threads,
        _ => bail!("by uring or threads, not {name}"),
    })
}

fn run(origin: &Path, cow: &Path, options: &Options) -> Result<()> {
    let devices =
        Devices { origin: Target::open(origin, "origin")?, cow: Target::open(cow, "cow")? };
    let Outcome::Merged(merged) = merge(&devices, options, &Meter::default())? else {
        bail!("it was stopped");
    };
    println!("bytes {}", merged.bytes);
    for (name, time) in STAGES.into_iter().zip(merged.stages) {
        println!("{name} {}", time.as_secs_f64());
    }
    Ok(())
}
