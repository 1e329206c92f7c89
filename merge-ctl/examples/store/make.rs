//! Stores as a kernel would leave them, without the data.

use std::fs::File;
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Result, bail};

use super::{ENTRIES, ORIGIN_CHUNKS, area_at};

/// How many chunks each of two writers takes in turn.
const TURN: u64 = 8;

/// Writes a store.
pub(crate) fn run(file: &Path, kind: &str, exceptions: u64) -> Result<()> {
    let old_chunk: fn(u64) -> u64 = match kind {
        "sequential" => |index| index,
        "random" => |index| shuffled(index, ORIGIN_CHUNKS),
        "mixed" => mixed,
        _ => bail!("a store is sequential, random or mixed, not {kind}"),
    };
    if exceptions > ORIGIN_CHUNKS {
        bail!("the origin has {ORIGIN_CHUNKS} chunks");
    }
    let mut file =
        BufWriter::new(File::options().write(true).create(true).truncate(true).open(file)?);
    file.write_all(b"SnAp\x01\0\0\0\x01\0\0\0\x08\0\0\0")?;
    // One area more than are full: there the store ends.
    let areas = exceptions / ENTRIES + 1;
    for area in 0..areas {
        file.seek(SeekFrom::Start(area_at(area)))?;
        for index in area * ENTRIES..((area + 1) * ENTRIES).min(exceptions) {
            let new_chunk = 2 + index + index / ENTRIES;
            file.write_all(&old_chunk(index).to_le_bytes())?;
            file.write_all(&new_chunk.to_le_bytes())?;
        }
    }
    let file = file.into_inner()?;
    if file.metadata()?.is_file() {
        // Room for the data that is named; nothing reads it.
        return Ok(file.set_len(area_at(areas))?);
    }
    // A device is read past the page cache.
    Ok(file.sync_all()?)
}

/// A number below `below`, a power of two, and another one for each: multiplying by odd numbers
/// and folding the upper half down can be undone.
const fn shuffled(index: u64, below: u64) -> u64 {
    let (mask, half) = (below - 1, below.trailing_zeros() / 2);
    let word = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask;
    let word = (word ^ (word >> half)).wrapping_mul(0xd6e8_feb8_6659_fd93) & mask;
    word ^ (word >> half)
}

/// One writer goes up through the lower half of the origin, one is anywhere in the upper half.
const fn mixed(index: u64) -> u64 {
    let (turn, within) = (index / TURN, index % TURN);
    let own = turn / 2 * TURN + within;
    let half = ORIGIN_CHUNKS / 2;
    if turn.is_multiple_of(2) { own } else { half + shuffled(own, half) }
}
