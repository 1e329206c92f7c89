//! One merge whose power is cut: what it is, and when.

use std::fmt;

use serde_json::{Value, json};

use super::offline::{self, Stage};
use crate::vm::disks::Random;

/// Who owns the stack that is crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Nobody: merge-ctl's own steps and journal
    Raw,
    /// lvm2
    Lvm,
    /// Nobody: merge-ctl's own engine merges, and the kernel alone goes on
    #[value(skip)]
    Offline,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Lvm => "lvm",
            Self::Offline => "offline",
        })
    }
}

/// When the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// When the guest has been seen in this state, and then so many requests to the disks later: in
    /// the midst of one.
    Requests(&'static str, u64),
    /// So many milliseconds later.
    Milliseconds(&'static str, u64),
    /// While merge-ctl is held after so many of its steps.
    Step(u32),
    /// In the midst of a request of an offline merge, so many into this stage.
    Stage(Stage, u64),
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(state, requests) => write!(f, "{state} + {requests} requests"),
            Self::Milliseconds(state, ms) => write!(f, "{state} + {ms} ms"),
            Self::Step(step) => write!(f, "step {step}"),
            Self::Stage(stage, requests) => write!(f, "{stage} + {requests} requests"),
        }
    }
}

/// A merge to be cut, and what is known of it once it was.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) number: u32,
    pub(super) seed: u64,
    pub(super) kind: Kind,
    pub(super) aim: Aim,
    /// Cut once more, so many requests into the recovery.
    pub(super) again: Option<u64>,
    /// Where the cut fell.
    pub(super) fell: String,
    /// So many of the guest's writes on the merging origin are durable.
    pub(super) durable: u64,
    /// The kernel was seen merging.
    pub(super) begun: bool,
}

impl Round {
    /// What the guest is told.
    pub(super) fn plan(&self) -> Value {
        let step = match self.aim {
            Aim::Step(step) => Some(step),
            _ => None,
        };
        json!({
            "seed": self.seed,
            "kind": self.kind.to_string(),
            "step": step,
            "durable": self.durable,
            "begun": self.begun,
            "options": self.options(),
        })
    }
}

impl Round {
    /// How the engine is told to merge.
    fn options(&self) -> Vec<&'static str> {
        let Aim::Stage(stage, _) = self.aim else { return Vec::new() };
        let requests = ["1", "4", "64"][(self.seed % 3) as usize];
        let mut options = vec!["--requests", requests];
        if stage == Stage::Verifying || self.seed.is_multiple_of(4) {
            options.push("--verify");
        }
        options
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, seed, kind, aim, fell, durable, .. } = self;
        write!(f, "#{number} {kind}, seed {seed}, aimed at {aim}, fell {fell}, {durable} durable")
    }
}

/// Rounds for so many cuts: every state of a merge has its turn, most have the merging.
pub(super) fn rounds(cuts: u32, only: Option<Kind>, random: &mut Random) -> Vec<Round> {
    (0..cuts)
        .map(|number| {
            let kind = only.unwrap_or(if number % 5 < 3 { Kind::Raw } else { Kind::Lvm });
            let turn = if only.is_some() { number } else { number / 5 * 2 + number % 5 };
            let aim = match kind {
                Kind::Offline => {
                    let (stage, requests) = offline::aim(number, random);
                    Aim::Stage(stage, requests)
                }
                kind => aim(turn % 8, kind, random),
            };
            Round {
                number,
                seed: random.next() >> 16,
                kind,
                aim,
                // Offline, the kernel recovers, whose own crashes are not judged here.
                again: (number % 6 == 3 && kind != Kind::Offline).then(|| 10 + random.below(400)),
                fell: String::new(),
                durable: 0,
                begun: false,
            }
        })
        .collect()
}

fn aim(turn: u32, kind: Kind, random: &mut Random) -> Aim {
    match turn {
        0 | 3 | 6 => Aim::Requests("merging", random.below(1000)),
        // Most of lvm2's steps are in processes of its own.
        1 if kind == Kind::Raw => Aim::Step(1 + random.below(22) as u32),
        1 | 5 => Aim::Milliseconds("handover", random.below(8)),
        2 => Aim::Milliseconds("done", random.below(12)),
        4 => Aim::Milliseconds("finishing", random.below(4)),
        _ => Aim::Milliseconds("ready", random.below(1500)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_turn_with_each_kind() {
        let rounds = rounds(25, None, &mut Random::new(1));
        for kind in [Kind::Raw, Kind::Lvm] {
            for state in ["ready", "handover", "merging", "done", "finishing"] {
                let aimed = rounds.iter().filter(|round| {
                    round.kind == kind
                        && matches!(round.aim, Aim::Requests(at, _) | Aim::Milliseconds(at, _) if at == state)
                });
                assert!(aimed.count() > 0, "{kind} {state}");
            }
        }
        assert!(rounds.iter().any(|round| matches!(round.aim, Aim::Step(_))));
        assert!(rounds.iter().any(|round| round.again.is_some()));
    }
}
