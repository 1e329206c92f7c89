//! One of the merges that a live command follows: its model, who finishes it, who else looks on.

use std::time::{Duration, Instant};

use merge_ctl::dm::Control;
use merge_ctl::model::{Model, State};
use merge_ctl::sample::Sample;
use merge_ctl::sampler::Watch;
use merge_ctl::units::nanoseconds;

use super::throttle::Beside;
use crate::cli::Live;
use crate::exit::{self, Exit};

/// What is done when the kernel has nothing left to merge.
pub(crate) trait Finisher {
    /// Called at every sample of a merge that is done and not finished.
    ///
    /// # Errors
    /// Why the merge cannot be finished.
    fn finish(&mut self, model: &Model, control: &Control) -> anyhow::Result<()>;
    /// How long a done merge is watched for somebody to finish it.
    fn patience(&self) -> Duration;
}

/// Sees every model of one merge, to the last, and acts on what it sees: starts
/// commands, steers the throttle. What it cannot do it tells, and the merge is followed all the same.
pub(crate) trait Companion {
    /// Called with each model but the first, which is made before a merge begins: five times a
    /// second and at the merge's end. It must not wait. Gives what the user should know.
    fn see(&mut self, model: &Model) -> Option<String>;
}

/// The companions that the command line asks for, for the merge of this model.
fn companions(options: &Live, _first: &Model) -> Vec<Box<dyn Companion>> {
    let mut companions: Vec<Box<dyn Companion>> = Vec::new();
    if let Some(throttle) = Beside::wanted(options) {
        companions.push(Box::new(throttle));
    }
    companions
}

/// A merge that is followed.
pub(crate) struct Followed {
    /// Its place in the [`Watch`].
    pub(crate) place: usize,
    /// The merge as it stands, or as it was last seen.
    pub(crate) model: Model,
    /// None of a merge that has not begun.
    finisher: Option<Box<dyn Finisher>>,
    companions: Vec<Box<dyn Companion>>,
    /// The samples that nothing was shown of yet: the first, and that of a merge that was put off.
    unshown: Vec<Sample>,
    /// Since when all is merged and the merge not finished.
    done_since: Option<Instant>,
    is_over: bool,
    /// Why it could not be finished.
    failure: Option<anyhow::Error>,
}

impl Followed {
    /// Takes the first sample of the merge at this place of the watch.
    pub(crate) fn new(watch: &mut Watch, place: usize, options: &Live) -> Self {
        let first = watch.first_sample(place);
        let stall_after_ns = nanoseconds(options.watching.stall_after);
        let model = Model::first(watch.identity(place).clone(), &first, stall_after_ns);
        let companions = companions(options, &model);
        Self {
            place,
            model,
            finisher: None,
            companions,
            unshown: vec![first],
            done_since: None,
            is_over: false,
            failure: None,
        }
    }

    /// A merge that no [`Watch`] knows, and that nobody else acts on: an offline one, or a recorded one.
    pub(crate) fn alone(model: Model) -> Self {
        Self {
            place: 0,
            model,
            finisher: None,
            companions: Vec::new(),
            unshown: Vec::new(),
            done_since: None,
            is_over: false,
            failure: None,
        }
    }

    /// Says who finishes it.
    pub(crate) fn finished_by(self, finisher: Box<dyn Finisher>) -> Self {
        Self { finisher: Some(finisher), ..self }
    }

    /// The samples that nothing was shown of yet, the first of all first; once.
    pub(crate) fn take_unshown(&mut self) -> Vec<Sample> {
        std::mem::take(&mut self.unshown)
    }

    /// Takes in a sample; gives what companions have to tell.
    pub(crate) fn advance(&mut self, sample: &Sample) -> Vec<String> {
        self.model.advance(sample);
        self.companions.iter_mut().filter_map(|companion| companion.see(&self.model)).collect()
    }

    /// Does what is to be done at this model.
    pub(crate) fn go_on(&mut self, control: &Control) {
        match self.model.state {
            State::DoneNotFinished => {
                let since = *self.done_since.get_or_insert_with(Instant::now);
                let Some(finisher) = &mut self.finisher else { return };
                // Asked before: on a busy host the finishing itself may take longer than that.
                let waited = since.elapsed() >= finisher.patience();
                self.failure = finisher.finish(&self.model, control).err();
                self.is_over = self.failure.is_some() || waited;
            }
            state if state.is_over() => self.is_over = true,
            _ => self.done_since = None,
        }
    }

    /// LVM has put it off: there is nothing more to see.
    pub(crate) fn put_off(&mut self, sample: Sample) {
        self.model.advance(&sample);
        self.unshown.push(sample);
        self.is_over = true;
    }

    /// Whether nothing more will happen.
    pub(crate) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Why it could not be finished, where that was tried.
    pub(crate) const fn failure(&self) -> Option<&anyhow::Error> {
        self.failure.as_ref()
    }

    /// What its origin is called, for a terminal.
    pub(crate) fn name(&self) -> String {
        merge_ctl::human::printable(&self.model.identity.origin_label)
    }

    /// The exit status for the last that was seen of it.
    pub(crate) fn exit(&self) -> Exit {
        if let Some(error) = &self.failure {
            return exit::of(error);
        }
        Exit::of(&self.model)
    }
}
