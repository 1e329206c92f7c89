//! Who writes, and in which order: what decides the runs of a merge.
//!
//! Pure: an order is a row of chunks of the origin, a write is one application write.

use super::random::Random;

/// Which device is written. Both make the exception: a write to the snapshot puts the new data on
/// the COW device, one to the origin the old data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Snapshot,
    Origin,
}

/// How much of a chunk is written at once.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// All of it: the kernel need not copy first.
    Whole,
    /// Some sectors: the kernel copies the chunk first.
    Part,
    /// Rising neighbours in one go, which the kernel takes apart.
    Long,
}

/// One application write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) door: Door,
    /// The first chunk.
    pub(crate) chunk: u64,
    /// How many.
    pub(crate) chunks: u64,
    /// Only the sectors in the middle.
    pub(crate) part: bool,
}

/// The longest write.
const LONGEST_BYTES: u64 = 128 * 1024;

/// Turns an order into the writes of one writer.
pub(crate) fn writes(random: &mut Random, order: &[u64], chunk_bytes: u64) -> Vec<Write> {
    let door = random.pick(&[Door::Snapshot, Door::Snapshot, Door::Origin]);
    let shape = random.pick(&[Shape::Whole, Shape::Part, Shape::Long]);
    let longest = (LONGEST_BYTES / chunk_bytes).max(1);
    let mut writes: Vec<Write> = Vec::new();
    for &chunk in order {
        match (shape, writes.last_mut()) {
            (Shape::Long, Some(last))
                if last.chunk + last.chunks == chunk && last.chunks < longest =>
            {
                last.chunks += 1;
            }
            _ => {
                let part = matches!(shape, Shape::Part);
                writes.push(Write { door, chunk, chunks: 1, part });
            }
        }
    }
    writes
}

/// Rising stretches, some `wanted` chunks in all.
pub(crate) fn sequential(random: &mut Random, chunks: u64, wanted: u64) -> Vec<u64> {
    let stretches = random.within(1, 5);
    (0..stretches).flat_map(|_| stretch(random, chunks, wanted / stretches)).collect()
}

/// Any chunks.
pub(crate) fn scattered(random: &mut Random, chunks: u64, wanted: u64) -> Vec<u64> {
    (0..wanted).map(|_| random.within(0, chunks)).collect()
}

/// Falling stretches.
pub(crate) fn descending(random: &mut Random, chunks: u64, wanted: u64) -> Vec<u64> {
    let stretches = random.within(1, 4);
    (0..stretches).flat_map(|_| stretch(random, chunks, wanted / stretches).rev()).collect()
}

/// Two to four streams that take turns of one to eight chunks.
pub(crate) fn interleaved(random: &mut Random, chunks: u64, wanted: u64) -> Vec<u64> {
    let streams = random.within(2, 5);
    let turn = random.within(1, 9);
    let length = wanted / streams;
    let starts: Vec<u64> = (0..streams).map(|_| stretch(random, chunks, length).start).collect();
    let turns = (0..length).step_by(turn as usize);
    turns
        .flat_map(|at| starts.iter().map(move |start| (start + at, start + length)))
        .flat_map(|(from, end)| from..end.min(from + turn))
        .filter(|chunk| *chunk < chunks)
        .collect()
}

/// The same chunks more than once, the later times with others among them.
pub(crate) fn overwriting(random: &mut Random, chunks: u64, wanted: u64) -> Vec<u64> {
    let mut order = sequential(random, chunks, wanted / 2);
    order.extend(scattered(random, chunks, wanted / 4));
    let again: Vec<u64> = order.iter().copied().filter(|_| random.once_in(2)).collect();
    order.extend(again);
    let (from, to) = (order[0].saturating_sub(8), (order[0] + 16).min(chunks));
    order.extend(from..to);
    order
}

/// All of `wanted` chunks, each once, in stretches of up to `longest` that mostly rise.
pub(crate) fn stretches(random: &mut Random, chunks: u64, wanted: u64, longest: u64) -> Vec<u64> {
    let mut cuts = vec![0];
    while let Some(&last) = cuts.last().filter(|last| **last < chunks) {
        cuts.push((last + random.within(1, longest + 1)).min(chunks));
    }
    let mut parts: Vec<_> = cuts.windows(2).map(|ends| ends[0]..ends[1]).collect();
    random.shuffle(&mut parts);
    let mut order: Vec<u64> = Vec::new();
    for part in parts {
        if random.once_in(5) { order.extend(part.rev()) } else { order.extend(part) }
    }
    order.truncate(wanted as usize);
    order
}

/// Up to chunk 0, away from it, or it alone between others.
pub(crate) fn around_chunk_0(random: &mut Random, chunks: u64, wanted: u64) -> Vec<u64> {
    let length = (wanted / 2).clamp(1, chunks);
    let mut order = if random.once_in(2) { scattered(random, chunks, 8) } else { Vec::new() };
    match random.within(0, 4) {
        0 => order.extend(0..length),
        1 => order.extend((0..length).rev()),
        2 => order.extend([chunks - 1, 0]),
        _ => order.extend([1, 0, 2]),
    }
    order.extend(sequential(random, chunks, wanted / 2));
    order
}

/// Up to the last chunk, or it before the others.
pub(crate) fn around_last_chunk(random: &mut Random, chunks: u64, wanted: u64) -> Vec<u64> {
    let length = (wanted / 2).clamp(1, chunks);
    let mut order = if random.once_in(2) { sequential(random, chunks, wanted / 2) } else { vec![] };
    match random.within(0, 3) {
        0 => order.extend(chunks - length..chunks),
        1 => order.extend((chunks - length..chunks).rev()),
        _ => order.extend([chunks - 1, 0, 1]),
    }
    order
}

/// A stretch of up to `length` chunks somewhere on the origin.
fn stretch(random: &mut Random, chunks: u64, length: u64) -> std::ops::Range<u64> {
    let length = length.clamp(1, chunks);
    let start = random.within(0, chunks - length + 1);
    start..start + length
}
