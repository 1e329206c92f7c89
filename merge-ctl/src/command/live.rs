//! Follows one merge until it is over or the user leaves.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use merge_ctl::dm::Control;
use merge_ctl::model::{Model, State};
use merge_ctl::probe::ProbeOptions;
use merge_ctl::sample::ProbeTier;
use merge_ctl::sampler::Sampler;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::face::Face;
use super::throttle::Beside;
use super::wish::Wish;
use crate::cli::{Live, Output, Probes};
use crate::exit::{Exit, Usage};

/// How often the kernel is asked for the status. Asking takes the snapshot's lock for writing, so
/// it must not be often; the probes tell an end at once.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);

/// Why the following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing more will happen.
    Over,
    /// The user left, or asked for another merge.
    Wished(Wish),
}

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

/// Signals that ask us to leave.
pub(crate) struct LeaveSignals([Signal; 3]);

impl LeaveSignals {
    /// Listens from now on.
    ///
    /// # Errors
    /// Where the process may have no more signal handlers.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Returns when one of them comes.
    pub(crate) async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// One merge that is followed.
pub(crate) struct Following<'a> {
    /// Where the samples come from.
    pub(crate) sampler: &'a mut Sampler,
    /// What shows the merge.
    pub(crate) face: &'a mut Face,
    /// What finishes it.
    pub(crate) finisher: &'a mut dyn Finisher,
    /// What makes us leave.
    pub(crate) signals: &'a mut LeaveSignals,
    /// What slows the merge down meanwhile.
    pub(crate) throttle: &'a mut Beside,
}

impl Following<'_> {
    /// Shows the merge from its first model on, to its end or until the user leaves.
    ///
    /// # Errors
    /// As [`Self::until_the_end`].
    pub(crate) async fn show(mut self, model: Model) -> anyhow::Result<Model> {
        self.face.begin(&model, (0, 1))?;
        self.until_the_end(model).await.map(|(model, _)| model)
    }

    /// Follows the merge from `model` on.
    ///
    /// # Errors
    /// What cannot be printed, read from the terminal, or finished.
    pub(crate) async fn until_the_end(
        &mut self,
        mut model: Model,
    ) -> anyhow::Result<(Model, Ended)> {
        let mut ticker = every(SAMPLE_EVERY);
        let mut done_since = None;
        loop {
            tokio::select! {
                _ = ticker.tick() => {}
                () = self.sampler.something_happened() => {}
                () = self.signals.any() => return Ok((model, Ended::Wished(Wish::Leave))),
                wish = self.face.wish(&model) => return Ok((model, Ended::Wished(wish?))),
            }
            let sample = self.sampler.sample();
            for line in self.sampler.drain_log() {
                self.face.log(&format!("probes: {line}"));
            }
            model = model.next(&sample);
            if let Some(line) = self.throttle.step(&model) {
                self.face.log(&line);
            }
            self.face.show(&model, &sample.runs)?;
            match model.state {
                State::DoneNotFinished => {
                    self.finisher.finish(&model, self.sampler.control())?;
                    let since = *done_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= self.finisher.patience() {
                        return Ok((model, Ended::Over));
                    }
                }
                state if state.is_over() => return Ok((model, Ended::Over)),
                _ => done_since = None,
            }
        }
    }
}

/// The output that was asked for, or that fits where it goes.
///
/// # Errors
/// A dashboard that was asked for and has no terminal: to be found out before a merge begins.
pub(crate) fn output(live: &Live) -> Result<Output, Usage> {
    let terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    match live.output {
        Some(Output::Tui) if !terminal => {
            Err(Usage("the dashboard needs a terminal: try --output plain".to_owned()))
        }
        Some(output) => Ok(output),
        None if terminal => Ok(Output::Tui),
        None => Ok(Output::Plain),
    }
}

/// What the probes may do.
pub(crate) fn probe_options(live: &Live) -> ProbeOptions {
    ProbeOptions { best: best_tier(live.probes), log: live.verbose, stats: false }
}

/// The best tier that the probes may try for.
pub(crate) const fn best_tier(probes: Probes) -> ProbeTier {
    match probes {
        Probes::Full => ProbeTier::Full,
        Probes::Block => ProbeTier::BlockOnly,
        Probes::None => ProbeTier::None,
    }
}

/// A duration as the model takes it.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The exit status for the last that was seen of a merge.
pub(crate) const fn exit_of(model: &Model) -> Exit {
    match model.state {
        State::Finished => Exit::Done,
        State::Failed | State::Invalid => Exit::Failed,
        State::Gone => Exit::Error,
        _ => Exit::StillMerging,
    }
}

fn every(period: Duration) -> Interval {
    let mut ticker = interval(period);
    // After a slow sample the next one waits for its turn, it does not make up for lost ones.
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
