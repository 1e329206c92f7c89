//! The merges: how the snapshot was written, and how slow the devices are.

use super::testbed::{BLOCK, SECTOR, Testbed, mix};

/// A merge to be.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) mib: u64,
    pub(super) chunk_sectors: u64,
    /// Delays of each read and each write.
    pub(super) cow_ms: u32,
    pub(super) real_ms: u32,
    pub(super) probes: bool,
    /// Applications that write to the origin meanwhile.
    pub(super) writers: u64,
    /// What is written to the snapshot, first to last. The merge goes from last to first.
    parts: &'static [Part],
    /// How often all of it comes, each time farther out.
    times: u64,
}

/// A part of a snapshot's history.
enum Part {
    /// So many runs of so many chunks.
    Runs(u64, u64),
    /// So many runs of a length between these two.
    Mixed(u64, u64, u64),
    /// Several writers that take turns: how many, how many chunks a turn, how many turns each.
    Writers(u64, u64, u64),
}
use Part::{Mixed, Runs, Writers};

const BASE: Case = Case {
    name: "",
    mib: 64,
    chunk_sectors: 8,
    cow_ms: 1,
    real_ms: 1,
    probes: true,
    writers: 0,
    parts: &[],
    times: 1,
};

/// Merged first: long runs. Merged last: single chunks.
const LONG_FIRST: &[Part] = &[Runs(450, 1), Runs(350, 32)];
/// The other way round.
const SINGLE_FIRST: &[Part] = &[Runs(350, 32), Runs(450, 1)];
/// Alternating, so many times.
const STRIPES: &[Part] = &[Runs(60, 1), Runs(40, 32)];

pub(super) const CASES: &[Case] = &[
    Case { name: "long first, both slow", parts: LONG_FIRST, ..BASE },
    Case { name: "long first, COW slow", cow_ms: 5, real_ms: 0, parts: LONG_FIRST, ..BASE },
    Case { name: "long first, origin slow", cow_ms: 0, real_ms: 13, parts: LONG_FIRST, ..BASE },
    Case {
        name: "long first, 16 KiB, COW slower",
        mib: 96,
        chunk_sectors: 32,
        cow_ms: 6,
        parts: &[Runs(350, 1), Runs(300, 16)],
        ..BASE
    },
    Case { name: "long first, no probes", probes: false, parts: LONG_FIRST, ..BASE },
    Case { name: "whole areas first", mib: 96, parts: &[Runs(600, 1), Runs(80, 255)], ..BASE },
    Case {
        name: "whole areas first, COW very slow",
        mib: 96,
        cow_ms: 24,
        real_ms: 0,
        parts: &[Runs(250, 1), Runs(1, 20_000)],
        ..BASE
    },
    Case { name: "single first, both slow", parts: SINGLE_FIRST, ..BASE },
    Case { name: "single first, COW slow", cow_ms: 5, real_ms: 0, parts: SINGLE_FIRST, ..BASE },
    Case {
        name: "single first, 64 KiB, origin slower",
        mib: 160,
        chunk_sectors: 128,
        real_ms: 5,
        parts: &[Runs(150, 10), Runs(400, 1)],
        ..BASE
    },
    Case { name: "single first, no probes", probes: false, parts: SINGLE_FIRST, ..BASE },
    Case { name: "stripes, both slow", parts: STRIPES, times: 8, ..BASE },
    Case {
        name: "stripes, 16 KiB, origin slow",
        mib: 128,
        chunk_sectors: 32,
        cow_ms: 0,
        real_ms: 13,
        parts: &[Runs(60, 1), Runs(40, 18)],
        times: 8,
        ..BASE
    },
    Case { name: "stripes, no probes", probes: false, parts: STRIPES, times: 8, ..BASE },
    Case { name: "medium first", parts: &[Runs(400, 1), Mixed(500, 2, 16)], ..BASE },
    Case {
        name: "medium last, 16 KiB",
        mib: 128,
        chunk_sectors: 32,
        cow_ms: 5,
        parts: &[Mixed(400, 4, 24), Runs(250, 1)],
        ..BASE
    },
    Case {
        name: "medium, 64 KiB, COW slow",
        mib: 256,
        chunk_sectors: 128,
        cow_ms: 9,
        real_ms: 0,
        parts: &[Runs(250, 1), Mixed(350, 2, 12)],
        ..BASE
    },
    Case { name: "four writers, then one", parts: &[Writers(4, 4, 150), Runs(30, 200)], ..BASE },
    Case {
        name: "one writer, then four",
        parts: &[Runs(30, 200), Writers(4, 1, 100), Writers(4, 8, 80)],
        ..BASE
    },
    Case {
        name: "long first, application writes",
        writers: 2,
        parts: &[Runs(350, 1), Runs(300, 32)],
        ..BASE
    },
    Case {
        name: "stripes, application writes",
        writers: 2,
        cow_ms: 4,
        parts: STRIPES,
        times: 6,
        ..BASE
    },
];

impl Case {
    /// Writes the snapshot's history: one block in each chunk, which is enough for an exception.
    pub(super) fn write(&self, bed: &Testbed) {
        let chunks = bed.bytes() / (self.chunk_sectors * SECTOR);
        let blocks_per_chunk = self.chunk_sectors * SECTOR / BLOCK as u64;
        let mut history = Vec::new();
        let mut next = 0;
        for _ in 0..self.times {
            for part in self.parts {
                part.write(&mut next, &mut history);
            }
        }
        assert!(next <= chunks, "{}: {next} chunks do not fit into {chunks}", self.name);
        bed.write_snapshot(history.into_iter().map(|chunk| chunk * blocks_per_chunk), 7);
    }
}

impl Part {
    /// Appends the chunks in the order in which they are written; `next` is the first free one.
    fn write(&self, next: &mut u64, history: &mut Vec<u64>) {
        match *self {
            Runs(runs, length) => Mixed(runs, length, length).write(next, history),
            Mixed(runs, shortest, longest) => {
                for run in 0..runs {
                    let length = shortest + mix(run) % (longest - shortest + 1);
                    history.extend(*next..*next + length);
                    // A chunk is left out, so that the next run is one of its own.
                    *next += length + 1;
                }
            }
            Writers(writers, a_turn, turns) => {
                let each = a_turn * turns + 1;
                for turn in 0..turns {
                    for writer in 0..writers {
                        let begin = *next + writer * each + turn * a_turn;
                        history.extend(begin..begin + a_turn);
                    }
                }
                *next += writers * each;
            }
        }
    }
}
