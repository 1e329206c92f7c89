//! What the merge of a snapshot would be like, or what is left of one, from its runs alone.

use super::measured::longest_chunks;
use super::thresholds::{LONG_COPY_BYTES, SHORT_RUN};
use super::{Cause, Finding, Value, advice};
use crate::human;
use crate::units::ChunkSize;

/// The runs that a merge will make of an exception store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// How many.
    pub runs: u64,
    /// How many chunks they have together.
    pub chunks: u64,
    /// How many chunks the longest has.
    pub largest_chunks: u64,
    /// How many have one chunk.
    pub of_one_chunk: u64,
    /// The snapshot's chunk size; none for a snapshot that nothing was ever written to.
    pub chunk_size: Option<ChunkSize>,
}

impl Outlook {
    /// No exceptions.
    pub const EMPTY: Self =
        Self { runs: 0, chunks: 0, largest_chunks: 0, of_one_chunk: 0, chunk_size: None };

    /// Counts one more run.
    pub fn add(&mut self, chunks: u32) {
        let chunks = u64::from(chunks);
        self.runs += 1;
        self.chunks += chunks;
        self.largest_chunks = self.largest_chunks.max(chunks);
        self.of_one_chunk += u64::from(chunks == 1);
    }

    /// Chunks a run has on average; 0 where there is none.
    pub fn mean_chunks(&self) -> f64 {
        self.chunks as f64 / self.runs.max(1) as f64
    }
}

/// A snapshot whose exceptions the kernel has given up.
pub fn invalid() -> Finding {
    let sentence = "The snapshot is invalid: it cannot be merged, and what it held is lost.";
    Finding::new(Cause::Invalid, sentence).advise(vec![
        "Remove it. Most often its COW device was full: next time, make that larger.".to_owned(),
    ])
}

/// A snapshot whose merge LVM has recorded and not begun.
pub fn scheduled(origin: &str) -> Finding {
    let sentence = "LVM has recorded its merge and begins it at the next activation of the origin.";
    Finding::new(Cause::Scheduled, sentence).advise(advice::scheduled(origin))
}

/// What these runs promise for a merge that has not begun, so that there still is a choice.
pub fn before(runs: &Outlook) -> Finding {
    let mut finding = outlook(runs);
    if finding.cause == Cause::Fragmentation {
        let offline = "If the origin has no other snapshots and can be taken out of use, merge it \
                       offline: merge-ctl start --offline copies in the origin's order, many pieces at once, and pays for \
                       no run. merge-ctl plan says how long either takes.";
        finding.advice.insert(0, offline.to_owned());
    }
    finding
}

/// What these runs promise.
pub fn outlook(runs: &Outlook) -> Finding {
    let (Some(chunk_size), 1..) = (runs.chunk_size, runs.runs) else {
        return Finding::new(Cause::NothingToMerge, "The snapshot holds nothing to merge.")
            .with("runs", Value::Count(0))
            .advise(vec!["Nothing has to be done: a merge of it is over at once.".to_owned()]);
    };
    let chunk_bytes = chunk_size.bytes();
    let longest = longest_chunks(chunk_bytes);
    promise(runs, chunk_bytes, longest)
        .with("runs", Value::Count(runs.runs))
        .with("chunks", Value::Count(runs.chunks))
        .with("chunks_per_run", Value::Mean(runs.mean_chunks()))
        .with("largest_run_chunks", Value::Count(runs.largest_chunks))
        .with("runs_of_one_chunk", Value::Count(runs.of_one_chunk))
        .with("longest_possible_chunks", Value::Count(longest))
        .with("chunk_bytes", Value::Bytes(chunk_bytes))
}

fn promise(runs: &Outlook, chunk_bytes: u64, longest: u64) -> Finding {
    let mean = runs.mean_chunks();
    let mean_bytes = mean * chunk_bytes as f64;
    let fragmented = mean < longest as f64 * SHORT_RUN && mean_bytes < LONG_COPY_BYTES as f64;
    // A single run, or what one run could hold, cannot be in fewer pieces than it is in.
    let fragmented = fragmented && runs.runs > runs.chunks.div_ceil(longest);
    let counted = format!(
        "{} to merge in {} of {} on average",
        human::bytes(runs.chunks.saturating_mul(chunk_bytes)),
        human::counted(runs.runs, "run"),
        human::bytes(mean_bytes as u64),
    );
    if fragmented {
        let sentence = format!(
            "{counted}: fragmented. Each run pays for a copy, a flush and a commit in a row, so \
             their number decides how long it takes."
        );
        Finding::new(Cause::Fragmentation, sentence).advise(vec![
            "Take other load off the devices while it merges: each run waits for its few small I/Os."
                .to_owned(),
            advice::larger_chunks(chunk_bytes),
        ])
    } else {
        let sentence =
            format!("{counted}: long runs. The devices' speed decides how long it takes.");
        Finding::new(Cause::DeviceSpeed, sentence)
            .advise(vec!["Take other load off the devices while it merges.".to_owned()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(runs: &[u32]) -> Finding {
        let mut outlook = Outlook { chunk_size: ChunkSize::from_sectors(8), ..Outlook::EMPTY };
        for chunks in runs {
            outlook.add(*chunks);
        }
        super::outlook(&outlook)
    }

    #[test]
    fn short_runs_are_fragmented_and_long_ones_are_not() {
        assert_eq!(of(&[1; 100]).cause, Cause::Fragmentation);
        assert_eq!(of(&[63; 100]).cause, Cause::Fragmentation);
        assert_eq!(of(&[64; 100]).cause, Cause::DeviceSpeed);
        assert_eq!(of(&[256; 4]).cause, Cause::DeviceSpeed);
    }

    #[test]
    fn offline_is_advised_before_a_fragmented_merge_begins_and_not_once_it_has() {
        let mut outlook = Outlook { chunk_size: ChunkSize::from_sectors(8), ..Outlook::EMPTY };
        outlook.add(1);
        assert!(!before(&outlook).advice.join(" ").contains("--offline"));
        (0..99).for_each(|_| outlook.add(1));
        assert!(before(&outlook).advice[0].contains("merge-ctl start --offline"));
        assert!(!super::outlook(&outlook).advice.join(" ").contains("--offline"));
    }

    #[test]
    fn one_run_is_never_in_pieces() {
        assert_eq!(of(&[1]).cause, Cause::DeviceSpeed);
        assert_eq!(of(&[1, 1]).cause, Cause::Fragmentation);
    }

    #[test]
    fn nothing_to_merge_is_said() {
        assert_eq!(of(&[]).cause, Cause::NothingToMerge);
        assert_eq!(outlook(&Outlook::EMPTY).cause, Cause::NothingToMerge);
    }
}
