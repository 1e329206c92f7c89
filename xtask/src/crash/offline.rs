//! Where an offline merge is, told by what the disks are asked for: nothing of merge-ctl's own says it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::vm::disks::{Asked, Random, Watcher};

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Reading,
    Copying,
    Verifying,
    Flushing,
    Clearing,
}

/// In the order of the rounds: what is worth most comes first.
const STAGES: [Stage; 5] =
    [Stage::Copying, Stage::Clearing, Stage::Flushing, Stage::Verifying, Stage::Reading];

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

impl Stage {
    /// After a request to a disk.
    fn then(self, disk: &str, asked: Asked) -> Self {
        match (disk, asked) {
            ("cow", Asked::Write) => Self::Clearing,
            ("real", Asked::Flush) if self < Self::Clearing => Self::Flushing,
            ("real", Asked::Write) => Self::Copying,
            ("real", Asked::Read) if self > Self::Reading && self < Self::Clearing => {
                Self::Verifying
            }
            _ => self,
        }
    }
}

/// A stage, and so many requests in it.
pub(super) fn aim(turn: u32, random: &mut Random) -> (Stage, u64) {
    let stage = STAGES[turn as usize % STAGES.len()];
    // Nobody knows how many requests a stage will take: few or many, each as often.
    let bits = match stage {
        Stage::Copying | Stage::Verifying => 1 + random.below(9),
        Stage::Reading => random.below(6),
        Stage::Clearing => random.below(4),
        Stage::Flushing => random.below(2),
    };
    (stage, random.below(1 << bits))
}

/// The stage that an offline merge is in.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<AtomicUsize>);

impl Seen {
    /// Right now.
    pub(super) fn stage(&self) -> Stage {
        const ORDER: [Stage; 5] =
            [Stage::Reading, Stage::Copying, Stage::Verifying, Stage::Flushing, Stage::Clearing];
        ORDER[self.0.load(Ordering::SeqCst)]
    }

    /// Follows the requests, and cuts the power in the midst of the one that is aimed at, or of the
    /// first one after its stage.
    pub(super) fn watcher(&self, (aim, requests): (Stage, u64)) -> Watcher {
        let seen = self.clone();
        let mut left = requests;
        Box::new(move |disk, asked| {
            let stage = seen.stage().then(disk, asked);
            seen.0.store(stage as usize, Ordering::SeqCst);
            if stage == aim && left > 0 {
                left -= 1;
                return false;
            }
            stage >= aim
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A merge with `--verify`, request by request, and the stage after each.
    const MERGE: [(&str, Asked, Stage); 11] = [
        ("cow", Asked::Read, Stage::Reading),
        ("cow", Asked::Read, Stage::Reading),
        ("real", Asked::Write, Stage::Copying),
        ("cow", Asked::Read, Stage::Copying),
        ("real", Asked::Write, Stage::Copying),
        ("real", Asked::Read, Stage::Verifying),
        ("cow", Asked::Read, Stage::Verifying),
        ("real", Asked::Flush, Stage::Flushing),
        ("cow", Asked::Write, Stage::Clearing),
        ("cow", Asked::Flush, Stage::Clearing),
        ("cow", Asked::Write, Stage::Clearing),
    ];

    #[test]
    fn requests_tell_the_stage() {
        let seen = Seen::default();
        let mut watcher = seen.watcher((Stage::Clearing, 100));
        for (disk, asked, stage) in MERGE {
            assert!(!watcher(disk, asked));
            assert_eq!(seen.stage(), stage, "{disk} {asked:?}");
        }
    }

    #[test]
    fn the_cut_falls_into_the_stage_or_right_after_it() {
        let cut_at = |aim| {
            let mut watcher = Seen::default().watcher(aim);
            MERGE.iter().position(|(disk, asked, _)| watcher(disk, *asked))
        };
        assert_eq!(cut_at((Stage::Reading, 0)), Some(0));
        assert_eq!(cut_at((Stage::Copying, 1)), Some(3));
        assert_eq!(cut_at((Stage::Verifying, 9)), Some(7));
        assert_eq!(cut_at((Stage::Flushing, 0)), Some(7));
        assert_eq!(cut_at((Stage::Flushing, 1)), Some(8));
        assert_eq!(cut_at((Stage::Clearing, 2)), Some(10));
        assert_eq!(cut_at((Stage::Clearing, 3)), None);
    }

    #[test]
    fn every_stage_has_its_turn() {
        let mut random = Random::new(1);
        let mut aims: Vec<_> = (0..5).map(|turn| aim(turn, &mut random).0).collect();
        aims.sort_unstable();
        aims.dedup();
        assert_eq!(aims.len(), 5);
    }
}
