//! When a hook is due, and what it is told.
//!
//! Pure: here is decided that a hook is due and which facts it gets; the command that runs it is
//! the binary's. What always holds: a stall is told once, when the model first calls it one, and
//! while it lasts; the outcome of a merge is told once. Facts are data: a name goes into the
//! environment as it is, whatever is in it, and into nothing that takes it for code.

use crate::human::printable;
use crate::model::{Model, Stall, State};
use crate::sample::{End, Fault, OfflineEnd};

/// What a hook is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something has waited for longer than the threshold, and still does.
    Stall,
    /// The merge is over, one way or the other.
    Done,
}

impl Event {
    /// The event's word, in the environment and for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stall => "stall",
            Self::Done => "done",
        }
    }
}

/// What was told of one merge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The beginning of the last stall that was told.
    stall_ns: Option<u64>,
    done: bool,
}

impl Told {
    /// What is due at this model, and not told yet. Nothing is due for a merge that is done and
    /// still to be finished, as long as somebody may finish it.
    pub fn due(&self, model: &Model) -> Option<Event> {
        if model.state == State::DoneNotFinished {
            return None;
        }
        if model.state.is_over() {
            return self.due_at_end(model);
        }
        let stall = lasting(model)?;
        (self.stall_ns != Some(stall.started_ns)).then_some(Event::Stall)
    }

    /// The same for the last model: nobody waits any longer for somebody to finish the merge.
    pub fn due_at_end(&self, model: &Model) -> Option<Event> {
        (model.state.is_over() && !self.done).then_some(Event::Done)
    }

    /// Remembers that it was told.
    pub fn told(&mut self, event: Event, model: &Model) {
        match event {
            Event::Stall => self.stall_ns = lasting(model).map(|stall| stall.started_ns),
            Event::Done => self.done = true,
        }
    }
}

/// The stall that lasts.
pub fn lasting(model: &Model) -> Option<&Stall> {
    model.stalls.back().filter(|stall| stall.ended_ns.is_none())
}

/// The environment of a hook: names and values, as `docs/hooks.md` lists them. `exit` is the exit
/// status that merge-ctl would end with now.
pub fn facts(event: Event, model: &Model, exit: u8) -> Vec<(&'static str, String)> {
    let identity = &model.identity;
    let cause = model.cause().map_or("", |cause| cause.code());
    let mut facts = vec![
        ("MERGE_CTL_EVENT", event.name().to_owned()),
        ("MERGE_CTL_ORIGIN", identity.origin_label.clone()),
        ("MERGE_CTL_ORIGIN_DM", identity.origin.clone()),
        ("MERGE_CTL_SNAPSHOT", identity.snapshot_label.clone().unwrap_or_default()),
        ("MERGE_CTL_OWNER", identity.owner_code().to_owned()),
        ("MERGE_CTL_STATE", model.state.name().to_owned()),
        ("MERGE_CTL_CAUSE", cause.to_owned()),
        ("MERGE_CTL_ELAPSED_S", seconds(model.elapsed_ns)),
        ("MERGE_CTL_INITIAL_BYTES", model.progress.initial_bytes.to_string()),
        ("MERGE_CTL_MERGED_BYTES", model.progress.merged_bytes().to_string()),
        ("MERGE_CTL_LEFT_BYTES", model.progress.left_bytes.to_string()),
        ("MERGE_CTL_EXIT", exit.to_string()),
    ];
    facts.extend(match event {
        Event::Stall => of_a_stall(model),
        Event::Done => of_the_end(model),
    });
    facts
}

fn of_a_stall(model: &Model) -> Vec<(&'static str, String)> {
    let Some(stall) = lasting(model) else { return Vec::new() };
    vec![
        ("MERGE_CTL_STALLED_S", seconds(stall.duration_ns(model.now_ns))),
        ("MERGE_CTL_WAITS_IN", stall.cause.name().to_owned()),
        ("MERGE_CTL_DETAIL", printable(&stall.detail)),
    ]
}

fn of_the_end(model: &Model) -> Vec<(&'static str, String)> {
    let mut facts = vec![("MERGE_CTL_DETAIL", printable(&model.verdict()))];
    if let Some(End::Failed { fault, errno, .. }) = &model.end {
        facts.push(("MERGE_CTL_FAULT", fault.map_or("unknown", Fault::code).to_owned()));
        facts.push(("MERGE_CTL_PHASE", fault.map_or("", |fault| fault.phase().name()).to_owned()));
        facts.push(("MERGE_CTL_ERRNO", errno.to_string()));
    }
    let offline = model.offline.as_ref();
    if let Some(OfflineEnd::Failed(fault)) = offline.and_then(|offline| offline.end.as_ref()) {
        facts.push(("MERGE_CTL_FAULT", fault.code.clone()));
        facts.push(("MERGE_CTL_ERRNO", fault.errno.to_string()));
    }
    facts
}

/// Whole seconds.
fn seconds(ns: u64) -> String {
    (ns / 1_000_000_000).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;
    use crate::sample::ToldBy;

    fn value(facts: &[(&str, String)], name: &str) -> String {
        let found = facts.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("no {name} in {facts:?}")).1.clone()
    }

    fn failed_commit() -> Model {
        let (fault, told_by) = (Some(Fault::CommitCow), ToldBy::default());
        let end = End::Failed { at_ns: 0, fault, told_by, errno: -5, old_chunk: 0, chunks: 1 };
        Model { end: Some(end), ..fixture::failed() }
    }

    #[test]
    fn a_stall_is_told_once_and_the_next_one_again() {
        let (mut told, mut model) = (Told::default(), fixture::stalled());
        assert_eq!(told.due(&model), Some(Event::Stall));
        told.told(Event::Stall, &model);
        assert_eq!(told.due(&model), None);
        let mut next = model.stalls.back().unwrap().clone();
        model.stalls.back_mut().unwrap().ended_ns = Some(model.now_ns);
        assert_eq!(told.due(&model), None);
        next.started_ns += 1;
        model.stalls.push_back(next);
        assert_eq!(told.due(&model), Some(Event::Stall));
    }

    #[test]
    fn the_outcome_is_told_once_and_not_while_somebody_may_still_finish() {
        let mut told = Told::default();
        assert_eq!(told.due(&fixture::merging()), None);
        assert_eq!(told.due_at_end(&fixture::merging()), None);
        assert_eq!(told.due(&fixture::done()), None);
        assert_eq!(told.due_at_end(&fixture::done()), Some(Event::Done));
        for model in [fixture::finished(), fixture::failed()] {
            assert_eq!(told.due(&model), Some(Event::Done));
        }
        told.told(Event::Done, &fixture::finished());
        assert_eq!(told.due(&fixture::finished()), None);
        assert_eq!(told.due_at_end(&fixture::finished()), None);
    }

    #[test]
    fn a_stalled_merge_that_fails_is_an_outcome_and_no_stall() {
        let model = Model { stalls: fixture::stalled().stalls, ..fixture::failed() };
        assert_eq!(Told::default().due(&model), Some(Event::Done));
    }

    #[test]
    fn the_facts_tell_what_stalls_and_how_it_ended() {
        let model = fixture::stalled();
        let facts_of_stall = facts(Event::Stall, &model, 4);
        assert_eq!(value(&facts_of_stall, "MERGE_CTL_EVENT"), "stall");
        assert_eq!(value(&facts_of_stall, "MERGE_CTL_ORIGIN"), "vg/data");
        assert_eq!(value(&facts_of_stall, "MERGE_CTL_ORIGIN_DM"), "vg-data");
        assert_eq!(value(&facts_of_stall, "MERGE_CTL_STATE"), "stalled");
        assert_eq!(value(&facts_of_stall, "MERGE_CTL_EXIT"), "4");
        let stall = model.stalls.back().unwrap();
        assert_eq!(value(&facts_of_stall, "MERGE_CTL_WAITS_IN"), stall.cause.name());
        let facts_of_failure = facts(Event::Done, &failed_commit(), 5);
        assert_eq!(value(&facts_of_failure, "MERGE_CTL_STATE"), "failed");
        assert_eq!(value(&facts_of_failure, "MERGE_CTL_CAUSE"), "failed");
        assert_eq!(value(&facts_of_failure, "MERGE_CTL_FAULT"), "commit-cow");
        assert_eq!(value(&facts_of_failure, "MERGE_CTL_PHASE"), "commit");
        assert_eq!(value(&facts_of_failure, "MERGE_CTL_ERRNO"), "-5");
    }

    #[test]
    fn a_name_is_handed_on_as_it_is_and_words_for_people_are_made_harmless() {
        let mut model = fixture::stalled();
        let hostile = "x\u{1b}[2J$(reboot)\n'; rm -rf \"/\"";
        model.identity.origin_label = hostile.to_owned();
        model.stalls.back_mut().unwrap().detail = hostile.to_owned();
        let facts = facts(Event::Stall, &model, 4);
        assert_eq!(value(&facts, "MERGE_CTL_ORIGIN"), hostile);
        assert!(!value(&facts, "MERGE_CTL_DETAIL").contains(char::is_control));
    }

    #[test]
    fn every_fact_is_documented() {
        let text = include_str!("../../docs/hooks.md");
        for (event, model) in [(Event::Stall, fixture::stalled()), (Event::Done, failed_commit())] {
            for (name, _) in facts(event, &model, 0) {
                assert!(text.contains(&format!("`{name}`")), "docs/hooks.md lacks {name}");
            }
        }
    }
}
