//! What of the probes works on this host, one after the other: for `merge-ctl doctor`.
//!
//! Each program is loaded, attached and taken off again before the next one. Nothing is watched
//! meanwhile, and no module is loaded for it: a function of a module that is not there is not tried.
//! It rests on what [`Probe::attach`](super::Probe::attach) rests on, so it cannot find otherwise.

use super::kallsyms::{self, MergeCallback};
use super::layout::Layout;
use super::load::{LoadError, Programs, RUNS, SIBLINGS, block};
use super::tier::{lift_memory_limit, why, why_no_kprobe};

pub(crate) use super::tier::has_kprobes;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// What the kernel tells of its types, or why it tells nothing.
    pub types: Result<Types, String>,
    /// Whether it tells its addresses.
    pub addresses: Addresses,
    /// Whether it has kprobes.
    pub kprobes: bool,
    /// Whether the eBPF object could be loaded, or why not; none where that was not tried.
    pub object: Option<Result<(), String>>,
    /// Each program.
    pub trials: Vec<Trial>,
}

/// What BTF tells of what the programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types {
    /// Of block devices: without it runs cannot be told apart.
    pub block_devices: bool,
    /// Of I/O.
    pub bio: bool,
    /// Of dm-snapshot's own.
    pub snapshot: bool,
}

/// Whether the kernel tells where dm-snapshot's functions are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// It does.
    Told,
    /// It hides addresses from this process.
    Hidden,
    /// dm-snapshot is not loaded.
    NotLoaded,
    /// They cannot be read, for this reason.
    Unreadable(String),
}

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Runs and their phases.
    Runs,
    /// Telling a run's wait for siblings from its drain.
    Siblings,
    /// I/O in flight.
    Io,
}

/// One program, tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The program's name. `bio_queue` has another one on kernels that hand out the queue first.
    pub program: &'static str,
    /// The function or tracepoint that it is attached to.
    pub at: &'static str,
    /// What it is for.
    pub part: Part,
    /// How it went.
    pub outcome: Outcome,
}

/// How a trial went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was attached, and taken off again.
    Attached,
    /// The kernel refused, for this reason.
    Refused(String),
    /// Something that it needs is missing.
    NotTried,
}

/// Whether the kernel tells its types at all.
pub(crate) fn has_types() -> bool {
    Layout::is_there()
}

/// Tries each program; `may_load` says whether this process may load any. It blocks for some hundred
/// milliseconds.
pub fn survey(may_load: bool) -> Survey {
    let layout = Layout::of_running_kernel();
    let callback = kallsyms::merge_callback();
    let mut survey = Survey {
        types: layout.as_ref().map(types).map_err(ToString::to_string),
        addresses: addresses(&callback),
        kprobes: has_kprobes(),
        object: None,
        trials: untried(layout.as_ref().ok()),
    };
    let (Ok(layout), true) = (layout, may_load) else { return survey };
    let address = match callback {
        Ok(MergeCallback::At(address)) => address,
        _ => 0,
    };
    lift_memory_limit();
    match Programs::load(&layout, address, false) {
        Ok(mut programs) => {
            survey.object = Some(Ok(()));
            let snapshot_is_loaded = survey.addresses != Addresses::NotLoaded;
            for trial in &mut survey.trials {
                let can_be_tried = match trial.part {
                    Part::Io => layout.bio.is_some(),
                    Part::Runs | Part::Siblings => snapshot_is_loaded,
                };
                if can_be_tried {
                    trial.outcome = attempt(&mut programs, trial);
                }
            }
        }
        Err(error) => survey.object = Some(Err(why(&error))),
    }
    survey
}

fn types(layout: &Layout) -> Types {
    Types {
        block_devices: layout.bdev_dev.is_some(),
        bio: layout.bio.is_some(),
        snapshot: layout.snapshot.devices.is_some(),
    }
}

fn addresses(callback: &std::io::Result<MergeCallback>) -> Addresses {
    match callback {
        Ok(MergeCallback::At(_)) => Addresses::Told,
        Ok(MergeCallback::Hidden) => Addresses::Hidden,
        Ok(MergeCallback::NotLoaded) => Addresses::NotLoaded,
        Err(error) => Addresses::Unreadable(error.to_string()),
    }
}

/// All programs that this kernel would get.
fn untried(layout: Option<&Layout>) -> Vec<Trial> {
    let queue_first = layout.and_then(|it| it.bio).is_some_and(|bio| bio.queue_first);
    let of = |part| {
        move |(program, at): (&'static str, &'static str)| Trial {
            program,
            at,
            part,
            outcome: Outcome::NotTried,
        }
    };
    // In the order in which a run calls them.
    let runs = RUNS.into_iter().rev().map(of(Part::Runs));
    let siblings = SIBLINGS.into_iter().rev().map(of(Part::Siblings));
    runs.chain(siblings).chain(block(queue_first).into_iter().rev().map(of(Part::Io))).collect()
}

fn attempt(programs: &mut Programs, trial: &Trial) -> Outcome {
    let (tried, why): (_, fn(&LoadError) -> String) = match trial.part {
        Part::Io => (programs.try_tracepoint(trial.program, trial.at), why),
        Part::Runs | Part::Siblings => {
            (programs.try_kprobe(trial.program, trial.at), why_no_kprobe)
        }
    };
    tried.map_or_else(|error| Outcome::Refused(why(&error)), |()| Outcome::Attached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_right_nothing_is_tried_and_every_program_is_named() {
        let survey = survey(false);
        assert_eq!(survey.object, None);
        assert_eq!(survey.trials.len(), RUNS.len() + SIBLINGS.len() + 2);
        assert!(survey.trials.iter().all(|trial| trial.outcome == Outcome::NotTried));
        assert_eq!(survey.trials[0].program, "prepare_merge");
    }
}
