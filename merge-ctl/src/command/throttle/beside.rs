//! A throttler beside another command's view: `--throttle` and `--write-latency` of `monitor`, `start` and `resume`.
//!
//! It never ends what it stands beside: what it cannot do it says, and does nothing.

use merge_ctl::model::Model;
use merge_ctl::output::throttle as output;
use merge_ctl::sample::ProbeTier;
use merge_ctl::throttle::{Doing, Goal, Profile, Throttler};

use crate::cli::Live;
use crate::command::followed::Companion;

/// A throttler beside a live view. It begins with the first model that it sees; where another is at
/// work already, or it cannot see what it has to hold, it says so and does nothing.
pub(crate) enum Beside {
    /// Not begun.
    Wanted(Goal, Option<Profile>),
    /// At work.
    AtWork(Box<Throttler>),
    /// It has nothing to do any more.
    Over,
}

impl Beside {
    /// What the options ask for, for a merge; none where they ask for nothing.
    pub(crate) fn wanted(live: &Live) -> Option<Self> {
        // What does not fit together was found out before.
        let (goal, profile) = live.throttle_goal.with(live.throttle).ok().flatten()?;
        Some(Self::Wanted(goal, profile))
    }

    fn begin(&mut self, goal: Goal, profile: Option<Profile>, model: &Model) -> String {
        *self = Self::Over;
        let blind = model.identity.probes.tier == ProbeTier::None;
        if blind && matches!(goal, Goal::WriteLatency(_)) {
            return "no throttle: a latency cannot be held that is not seen, and there are no probes \
                    here. Try a fixed percentage"
                .to_owned();
        }
        match Throttler::begin(goal, profile, &model.identity.origin_label) {
            Ok(throttler) => {
                let words = format!(
                    "throttle {goal} while the merge is shown; it was {} % and will be again. It is \
                     one setting for all snapshots of this host",
                    throttler.previous_percent()
                );
                *self = Self::AtWork(Box::new(throttler));
                words
            }
            Err(error) => format!("no throttle: {error}"),
        }
    }

    fn step(&mut self, model: &Model) -> Option<String> {
        let Self::AtWork(throttler) = self else { return None };
        if model.state.is_over() {
            return self.end();
        }
        match throttler.step(model) {
            Ok(throttling) if throttling.doing == Doing::Yielded => self.end(),
            Ok(_) if throttler.found_no_effect() => Some(output::no_effect(model).to_owned()),
            Ok(_) => None,
            Err(error) => {
                let put_back = self.end().unwrap_or_default();
                Some(format!("the throttle cannot be changed: {error}. {put_back}"))
            }
        }
    }

    /// Puts the setting back; what became of it.
    fn end(&mut self) -> Option<String> {
        match std::mem::replace(self, Self::Over) {
            Self::AtWork(mut throttler) => match throttler.end() {
                Ok(restored) => restored.map(output::restored),
                Err(error) => Some(format!("the throttle could not be put back: {error}")),
            },
            _ => None,
        }
    }
}

impl Companion for Beside {
    fn see(&mut self, model: &Model) -> Option<String> {
        match *self {
            Self::Wanted(goal, profile) if !model.state.is_over() => {
                Some(self.begin(goal, profile, model))
            }
            _ => self.step(model),
        }
    }
}
