//! Follows merges, one or several in one loop, until all are over or the user leaves.
//!
//! A round takes a sample of every merge that is not over, advances its model, shows all, and then
//! lets the finishers act. One merge's trouble is its own: where it cannot be finished, the others
//! are followed on, and it is told at the end.
//!
//! Who else has to see the models, merge by merge, is a [`Companion`](super::followed::Companion):
//! `companions` in `followed` makes them from the command line, and that is the only place to add
//! one. Hooks see all merges, for they share places to run in; so does a
//! [`Recording`], which is one file of all of them.
//!
//! The exit status is that of the merge that ended worst: [`Exit::worst`].

use std::io::{self, IsTerminal};
use std::time::Duration;

use merge_ctl::dm::{Device, Host};
use merge_ctl::harmless::printable;
use merge_ctl::merge::journal::driver;
use merge_ctl::model::State;
use merge_ctl::output::advice;
use merge_ctl::probe::ProbeOptions;
use merge_ctl::recording::Outcome;
use merge_ctl::sample::ProbeTier;
use merge_ctl::sampler::Watch;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::face::Face;
pub(crate) use super::followed::Finisher;
use super::followed::Followed;
use super::hooks::Hooks;
use super::lookout::Lookout;
use super::recording::Recording;
use super::terminal;
use crate::cli::{self, Output, Probes};
use crate::exit::{self, Exit, Usage};

/// How often the kernel is asked for the status. Asking takes the snapshot's lock for writing, so
/// it must not be often; the probes tell an end at once.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_millis(200);

/// Signals that ask us to leave.
pub(crate) struct LeaveSignals {
    signals: [Signal; 3],
    hangup_counts: bool,
}

impl LeaveSignals {
    /// Listens from now on.
    ///
    /// # Errors
    /// Where the process may have no more signal handlers.
    pub(crate) fn listen() -> io::Result<Self> {
        let signals = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ];
        Ok(Self { signals, hangup_counts: true })
    }

    /// The same for who has no terminal that could hang up.
    #[must_use]
    pub(crate) fn deaf_to_hangup(self) -> Self {
        Self { hangup_counts: false, ..self }
    }

    /// Returns when one of them comes.
    pub(crate) async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv(), if self.hangup_counts => {}
        }
    }

    /// Whether one of them has come; it is not told again.
    pub(crate) async fn have_come(&mut self) -> bool {
        // Long enough for the runtime to look for what has arrived.
        timeout(Duration::from_millis(1), self.any()).await.is_ok()
    }
}

/// Who finishes a merge that somebody else has begun.
pub(crate) type FinisherFor = fn(&Device) -> Box<dyn Finisher>;

/// What is followed, and what it is shown with.
pub(crate) struct Live<'a> {
    /// Where the samples come from.
    pub(crate) watch: Watch,
    /// What shows the merges.
    pub(crate) face: Face,
    /// What makes us leave.
    pub(crate) signals: LeaveSignals,
    /// The merges, in the order of their tabs.
    pub(crate) merges: Vec<Followed>,
    /// Whether merges that begin meanwhile are followed too, and then who finishes them.
    pub(crate) newcomers: Option<FinisherFor>,
    /// Where all of it is kept.
    pub(crate) recording: Option<Recording>,
    /// How they are shown.
    pub(crate) options: &'a cli::Live,
}

impl Live<'_> {
    /// Shows the merges until all are over or the user leaves, and sums up; gives the exit status
    /// of the one that ended worst.
    ///
    /// # Errors
    /// What cannot be printed, or read from the terminal. The merges go on.
    pub(crate) async fn run(mut self) -> anyhow::Result<Exit> {
        let mut hooks = Hooks::new(&self.options.hooks, self.face.is_dashboard());
        match self.until_the_end(&mut hooks).await {
            Ok(()) => self.end_with(hooks).await,
            Err(error) => {
                // The view has failed, the merges have not.
                drop(self.face);
                if let Some(recording) = self.recording {
                    recording.end(Outcome::Failed);
                }
                let ours = |merge: &&Followed| merge.model.identity.finished_here;
                for merge in self.merges.iter().filter(ours) {
                    if let Some(words) = advice::come_back(&merge.model) {
                        terminal::tell(&words);
                    }
                }
                Err(error)
            }
        }
    }

    async fn until_the_end(&mut self, hooks: &mut Hooks) -> anyhow::Result<()> {
        let mut lookout = Lookout::new(self.watch.control());
        for (tab, merge) in self.merges.iter_mut().enumerate() {
            let unshown = merge.take_unshown();
            if let Some(recording) = &mut self.recording {
                recording.begin(tab, &merge.model.identity, &unshown, !merge.is_over());
            }
            if !merge.is_over() {
                let runs = unshown.first().map_or(&[][..], |first| &first.runs);
                self.face.begin(tab, &merge.model, runs)?;
            }
        }
        self.face.draw(&self.merges)?;
        let mut ticker = every(SAMPLE_EVERY);
        while !self.merges.iter().all(Followed::is_over) {
            tokio::select! {
                _ = ticker.tick() => {}
                () = self.watch.something_happened() => {}
                () = self.signals.any() => return Ok(()),
                left = self.face.left(&self.merges) => return Ok(left?),
            }
            self.round(hooks)?;
            self.look_around(&mut lookout)?;
        }
        Ok(())
    }

    fn round(&mut self, hooks: &mut Hooks) -> anyhow::Result<()> {
        let samples = self.watch.round();
        for line in self.watch.drain_log() {
            tell(&mut self.face, &mut self.recording, &format!("probes: {line}"));
        }
        for (place, sample) in &samples {
            let mut merges = self.merges.iter_mut().enumerate();
            let Some((tab, merge)) = merges.find(|(_, merge)| merge.place == *place) else {
                continue;
            };
            for words in merge.advance(sample) {
                tell(&mut self.face, &mut self.recording, &words);
            }
            if let Some(recording) = &mut self.recording {
                recording.sample(tab, sample, true);
            }
            self.face.show(tab, &merge.model, &sample.runs)?;
            hooks.see(&merge.model);
        }
        for line in hooks.news() {
            tell(&mut self.face, &mut self.recording, &line);
        }
        if let Some(words) = self.recording.as_mut().and_then(Recording::trouble) {
            self.face.tell(&words);
        }
        // Before the finishers act, which may take a moment.
        self.face.draw(&self.merges)?;
        for merge in self.merges.iter_mut().filter(|merge| !merge.is_over()) {
            merge.go_on(self.watch.control());
            if merge.is_over() {
                self.watch.leave(merge.place);
            }
        }
        Ok(())
    }

    /// Takes in what others have changed on this host.
    fn look_around(&mut self, lookout: &mut Lookout) -> anyhow::Result<()> {
        let host = match lookout.look(self.watch.control()) {
            Ok(Some(host)) => host,
            Ok(None) => return Ok(()),
            Err(error) => {
                let words = format!("What changes on this host is not seen: {error}.");
                tell(&mut self.face, &mut self.recording, &words);
                return Ok(());
            }
        };
        for place in self.watch.look(&host) {
            let mut merges = self.merges.iter_mut().enumerate();
            if let Some((tab, merge)) = merges.find(|(_, merge)| merge.place == place) {
                merge.model.identity = self.watch.identity(place).clone();
                if let Some(recording) = &mut self.recording {
                    recording.identity(tab, &merge.model.identity);
                }
            }
        }
        match self.newcomers {
            Some(finisher_for) => self.take_in(&host, finisher_for),
            None => Ok(()),
        }
    }

    /// Follows the merges that are not followed yet.
    fn take_in(&mut self, host: &Host, finisher_for: FinisherFor) -> anyhow::Result<()> {
        for origin in host.merges() {
            let Some(args) = origin.merge() else { continue };
            if self.merges.iter().any(|merge| is_still(merge, origin)) {
                continue;
            }
            let place = self.watch.add(host, origin, args, None)?;
            // The others must not wait for its store.
            self.watch.read_store(place, None, Duration::ZERO);
            let merge = Followed::new(&mut self.watch, place, self.options);
            let mut merge = merge.finished_by(finisher_for(origin));
            let (tab, unshown) = (self.merges.len(), merge.take_unshown());
            if let Some(recording) = &mut self.recording {
                recording.begin(tab, &merge.model.identity, &unshown, true);
            }
            let runs = unshown.first().map_or(&[][..], |first| &first.runs);
            self.face.begin(tab, &merge.model, runs)?;
            self.merges.push(merge);
        }
        Ok(())
    }

    /// The same, and tells the hooks what nobody follows any longer.
    async fn end_with(mut self, mut hooks: Hooks) -> anyhow::Result<Exit> {
        self.look_who_drives();
        let summed_up = self.face.end(&self.merges);
        if let Some(recording) = self.recording {
            let is_over = self.merges.iter().all(Followed::is_over);
            recording.end(if is_over { Outcome::Over } else { Outcome::Left });
        }
        summed_up?;
        for merge in &self.merges {
            hooks.see_last(&merge.model);
        }
        let exit = told(&self.merges);
        let mut signals = self.signals;
        hooks.end(signals.any()).await;
        Ok(exit)
    }

    /// Closes the view and sums up.
    ///
    /// # Errors
    /// What cannot be printed.
    pub(crate) fn end(mut self) -> anyhow::Result<Exit> {
        self.look_who_drives();
        self.face.end(&self.merges)?;
        Ok(told(&self.merges))
    }

    /// Whoever drives a merge that goes on finishes it too; we do not any more.
    fn look_who_drives(&mut self) {
        for (tab, merge) in self.merges.iter_mut().enumerate() {
            let identity = &mut merge.model.identity;
            let pid = driver::driver_of(&identity.origin).filter(|pid| *pid != std::process::id());
            let is_news = identity.driven_by != pid;
            identity.driven_by = pid;
            if let Some(recording) = self.recording.as_mut().filter(|_| is_news) {
                recording.identity(tab, identity);
            }
        }
    }
}

/// Tells the user, and whoever will watch the recording.
fn tell(face: &mut Face, recording: &mut Option<Recording>, words: &str) {
    face.tell(words);
    if let Some(recording) = recording {
        recording.note(words);
    }
}

/// Says which merges could not be finished, and why; gives the exit status of the worst.
fn told(merges: &[Followed]) -> Exit {
    for merge in merges {
        if let Some(error) = merge.failure() {
            terminal::tell(&format!("{}: {}", printable(&merge.name()), exit::words(error)));
        }
    }
    Exit::worst(merges.iter().map(Followed::exit))
}

/// Whether what is merged into `origin` is the merge that is followed here. One that is over, with
/// its target gone from the origin, is not: another has begun since.
fn is_still(merge: &Followed, origin: &Device) -> bool {
    let identity = &merge.model.identity;
    let cow = origin.merge().and_then(|args| args.cow.number());
    let has_left = matches!(merge.model.state, State::Finished | State::Gone);
    identity.origin_dev == origin.info.dev
        && cow == Some(identity.cow_dev)
        && !(merge.is_over() && has_left)
}

/// The output that was asked for, or that fits where it goes.
///
/// # Errors
/// A dashboard that was asked for and has no terminal: to be found out before a merge begins.
pub(crate) fn output(live: &cli::Live) -> Result<Output, Usage> {
    // Also this is to be found out before a merge begins.
    live.throttle_goal.with(live.throttle)?;
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
pub(crate) fn probe_options(live: &cli::Live) -> ProbeOptions {
    ProbeOptions { best: best_tier(live.watching.probes), log: live.verbose, stats: false }
}

/// The best tier that the probes may try for.
pub(crate) const fn best_tier(probes: Probes) -> ProbeTier {
    match probes {
        Probes::Full => ProbeTier::Full,
        Probes::Block => ProbeTier::BlockOnly,
        Probes::None => ProbeTier::None,
    }
}

/// A ticker that makes up for no tick that it has missed.
pub(crate) fn every(period: Duration) -> Interval {
    let mut ticker = interval(period);
    // After a slow sample the next one waits for its turn, it does not make up for lost ones.
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
