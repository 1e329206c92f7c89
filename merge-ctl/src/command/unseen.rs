//! Merges that are followed without being shown: what `record` and `report` have in common.

use std::path::Path;

use merge_ctl::dm::{Control, Host};
use merge_ctl::probe::Probe;
use merge_ctl::sampler::Watch;

use super::elsewhere;
use super::face::Face;
use super::followed::Followed;
use super::live::{self, LeaveSignals, Live};
use super::monitor::{followed, onlooker, pick};
use super::privilege;
use super::recording::Recording;
use crate::cli;

/// They are watched, and nothing is told yet.
pub(crate) struct Unseen {
    watch: Watch,
    signals: LeaveSignals,
    merges: Vec<Followed>,
}

impl Unseen {
    /// Begins to follow the merges into these origins; into all, where none is named. What looking does
    /// not need is given up. `output`: the file that will be made of it.
    ///
    /// # Errors
    /// Where an origin is none, or carries no merge; what device-mapper answers.
    pub(crate) fn begin(
        origins: &[String],
        output: &Path,
        options: &cli::Live,
    ) -> anyhow::Result<Self> {
        let control = Control::open()?;
        let host = Host::read(&control)?;
        let origins = pick(&host, origins, &elsewhere::all(&host))?;
        let signals = LeaveSignals::listen()?;
        privilege::keep_what_is_needed(Some(privilege::directory_of(output)))?;
        let mut watch = Watch::new(control, Probe::attach(live::probe_options(options)));
        let merges = followed(&mut watch, &host, &origins, options)?;
        Ok(Self { watch, signals, merges })
    }

    /// What is followed, by name.
    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self.merges.iter().map(Followed::name).collect();
        names.join(", ")
    }

    /// The loop that follows them. `newcomers`: whether merges that begin later are followed too.
    pub(crate) fn live(
        self,
        recording: Option<Recording>,
        newcomers: bool,
        options: &cli::Live,
    ) -> Live<'_> {
        Live {
            watch: self.watch,
            face: Face::Silent,
            signals: self.signals,
            merges: self.merges,
            newcomers: newcomers.then_some(onlooker),
            recording,
            options,
        }
    }
}
