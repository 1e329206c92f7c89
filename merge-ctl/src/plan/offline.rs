//! The same merge while nobody uses the origin: what the order of the origin would save.
//!
//! Old chunks are unique, so without users they may be copied in any order: sorted, neighbours in
//! one piece, many at a time, with one flush at the end; then the areas are cleared, from the last
//! to the first. This is an estimate of what the offline engine does ([`crate::offline`]) as it comes,
//! without `--verify` and without a limit, and what that makes worth advising.

use super::Work;
use super::costs::{Costs, MergeCosts, range};
use crate::cost::TimeRange;

/// I/Os that the devices answer at once: as many as the engine has under way if it goes well, few if
/// not, as on a disk with one head.
const DEPTH: (f64, f64) = (64.0, 4.0);
/// The largest piece that the engine copies in one go.
const PIECE_BYTES: u64 = 1 << 20;
/// What has to be saved at the most before it is worth taking an origin out of use.
const WORTH_S: f64 = 60.0;

/// An offline merge, estimated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offline {
    /// Pieces of the origin that would be written; none where memory did not suffice to count
    /// them. There are never more than chunks.
    pub extents: Option<u64>,
    /// Areas that would be cleared, a write each.
    pub areas: u64,
    /// How long it would take.
    pub time: Option<TimeRange>,
    /// Whether that would be faster.
    pub faster: Option<Faster>,
    /// Which of both is to be advised; none where no time is known, or it merges already.
    pub advice: Option<Advice>,
}

/// Which way to merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Offline: it is faster for certain, and saves enough to take the origin out of use for it.
    Offline,
    /// By the kernel: offline it would not be faster for certain.
    Online,
    /// By the kernel: that takes so little that an origin need not be taken out of use for it.
    OnlineIsShort,
    /// By the kernel: an origin with other snapshots cannot be merged offline.
    OnlineForSiblings,
}

impl Advice {
    /// The word of the way, for JSON.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Online | Self::OnlineIsShort | Self::OnlineForSiblings => "online",
        }
    }
}

/// What speaks for a way besides time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Whether it merges already.
    pub merging: bool,
    /// Whether the origin has other snapshots.
    pub siblings: bool,
}

/// How two ranges of time compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faster {
    /// For certain, as far as the ranges are right.
    Yes,
    /// It would be slower.
    No,
    /// The ranges overlap.
    Perhaps,
}

impl Offline {
    /// The estimate for this work. `merge` is how long the kernel takes.
    pub fn new(
        work: Work,
        extents: Option<u64>,
        costs: Option<&MergeCosts>,
        merge: Option<TimeRange>,
        circumstances: Circumstances,
    ) -> Self {
        let time = costs.map(|costs| {
            // As many as there are chunks, where the pieces could not be counted.
            let most = extents.unwrap_or(work.chunks);
            range(low_ns(&costs.low, work, extents.unwrap_or(0)), high_ns(&costs.high, work, most))
        });
        let both = time.zip(merge);
        let faster = both.map(|(offline, merge)| compare(&offline, &merge));
        let advice = match circumstances {
            Circumstances { merging: true, .. } => None,
            Circumstances { siblings: true, .. } => Some(Advice::OnlineForSiblings),
            _ => both.map(|(offline, merge)| advised(&offline, &merge)),
        };
        Self { extents, areas: work.areas, time, faster, advice }
    }
}

fn advised(offline: &TimeRange, merge: &TimeRange) -> Advice {
    match compare(offline, merge) {
        Faster::No | Faster::Perhaps => Advice::Online,
        Faster::Yes if merge.high_s - offline.low_s < WORTH_S => Advice::OnlineIsShort,
        Faster::Yes => Advice::Offline,
    }
}

fn compare(offline: &TimeRange, merge: &TimeRange) -> Faster {
    if offline.high_s < merge.low_s {
        Faster::Yes
    } else if offline.low_s > merge.high_s {
        Faster::No
    } else {
        Faster::Perhaps
    }
}

fn low_ns(costs: &Costs, work: Work, extents: u64) -> f64 {
    // One read at least for each piece that is written.
    let ios = (costs.read_ns + costs.write_ns) * pieces(work, extents) / DEPTH.0;
    reading_ns(costs, work) + ios.max(costs.byte_ns * work.bytes as f64) + clearing_ns(costs, work)
}

fn high_ns(costs: &Costs, work: Work, extents: u64) -> f64 {
    // A read at most for each run: sorting puts runs together and tears none apart.
    let reads = pieces(work, work.runs.max(extents));
    let ios = costs.read_ns * reads + costs.write_ns * pieces(work, extents);
    // A flush after the copy, and one after each area, which cost an I/O here.
    let flushes = costs.write_ns * (work.areas + 1) as f64;
    // The exceptions are read twice, or more often where memory is short.
    2.0 * reading_ns(costs, work)
        + ios / DEPTH.1
        + costs.byte_ns * work.bytes as f64
        + clearing_ns(costs, work)
        + flushes
}

/// Requests for so many stretches: those that are long are cut.
fn pieces(work: Work, stretches: u64) -> f64 {
    stretches.max(work.bytes.div_ceil(PIECE_BYTES)) as f64
}

/// Areas are read one after the other.
fn reading_ns(costs: &Costs, work: Work) -> f64 {
    (costs.area_ns + costs.metadata_byte_ns * work.chunk_bytes as f64) * work.areas as f64
}

/// Areas are cleared one after the other.
fn clearing_ns(costs: &Costs, work: Work) -> f64 {
    (costs.write_ns + costs.metadata_byte_ns * work.chunk_bytes as f64) * work.areas as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::costs::Timed;

    const MS: u64 = 1_000_000;

    /// So many one-chunk runs on devices that answer in so many milliseconds.
    fn scattered(runs: u64, ms: u64, circumstances: Circumstances) -> Offline {
        let timed = Timed {
            small_ns: vec![ms * MS; 5],
            large_ns: vec![(ms + 1) * MS; 5],
            write_cache: Some(false),
        };
        let costs = MergeCosts::measured(&timed, &timed, 5_000).unwrap();
        let areas = runs.div_ceil(256);
        let work = Work { chunks: runs, bytes: runs * 4096, runs, areas, chunk_bytes: 4096 };
        let merge = Some(costs.time(work));
        Offline::new(work, Some(runs), Some(&costs), merge, circumstances)
    }

    fn advice(runs: u64, ms: u64) -> Option<Advice> {
        scattered(runs, ms, Circumstances::default()).advice
    }

    #[test]
    fn a_snapshot_written_at_random_is_merged_offline_where_that_saves_a_minute() {
        assert_eq!(advice(100_000, 5), Some(Advice::Offline));
        assert_eq!(advice(500, 5), Some(Advice::OnlineIsShort));
    }

    #[test]
    fn other_snapshots_and_a_merge_that_goes_on_leave_no_choice() {
        let siblings = Circumstances { siblings: true, ..Circumstances::default() };
        let offline = scattered(100_000, 5, siblings);
        assert_eq!(offline.advice, Some(Advice::OnlineForSiblings));
        assert_eq!(offline.advice.map(Advice::code), Some("online"));
        let merging = Circumstances { merging: true, siblings: true };
        assert_eq!(scattered(100_000, 5, merging).advice, None);
    }

    #[test]
    fn what_is_not_faster_for_certain_is_merged_by_the_kernel() {
        let range = |low_s, high_s| TimeRange { low_s, high_s };
        assert_eq!(advised(&range(100.0, 300.0), &range(200.0, 900.0)), Advice::Online);
        assert_eq!(advised(&range(950.0, 999.0), &range(200.0, 900.0)), Advice::Online);
        assert_eq!(advised(&range(20.0, 100.0), &range(200.0, 900.0)), Advice::Offline);
    }
}
