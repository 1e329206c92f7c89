//! Runs the engine on a thread of its own, and shows what it does: in the same dashboard, the same plain
//! lines and the same JSON as a merge by the kernel.
//!
//! What always holds: the engine lives in this process, so nobody who leaves the view leaves it running.
//! Whatever asks for an end (`q`, Ctrl-C, SIGTERM, SIGHUP, a terminal that goes away, `--time-limit`) asks
//! the engine to stop between two requests, once or many times, and then it is waited for; nothing here
//! ends before the engine has. A view that fails ends the view alone.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use anyhow::Context;
use merge_ctl::human;
use merge_ctl::model::Model;
use merge_ctl::offline::meter::{Meter, Stage};
use merge_ctl::offline::{self, Devices, OfflineError, Options, Outcome};
use merge_ctl::recording::Outcome as Recorded;
use merge_ctl::sample::{MergeIdentity, OfflineEnd, OfflineFault, OfflineTerms, Owner};
use merge_ctl::sampler::offline::{Names, Sampler, identity};
use merge_ctl::units::{DeviceNumber, nanoseconds};
use tokio::task::{JoinError, JoinHandle};

use super::super::face::Face;
use super::super::followed::Followed;
use super::super::hooks::Hooks;
use super::super::live::{self, LeaveSignals, SAMPLE_EVERY};
use super::super::recording::Recording;
use super::super::terminal;
use crate::cli::{Output, Start};

/// What is merged, as people call it.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The origin.
    pub(super) origin: String,
    /// Its device-mapper name, where it has one.
    pub(super) dm_name: Option<String>,
    /// The snapshot; none where there are only images.
    pub(super) snapshot: Option<String>,
    /// Whose the origin is.
    pub(super) whose: Whose,
    /// The number of the origin's own device, where it has one while it is merged.
    pub(super) origin_dev: Option<DeviceNumber>,
}

/// Who has to be asked for the origin, and gets it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// LVM.
    Lvm,
    /// LVM, which has had the merge on record and gives the volume to its next activation.
    LvmOnRecord,
    /// Nobody: plain device-mapper.
    DeviceMapper,
    /// Nobody: two devices or files.
    Images,
}

/// What became of the volume once the engine was through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Volume {
    /// It is an ordinary one again, or was never held back.
    GivenBack,
    /// Somebody still has to do that.
    NotYet,
}

/// Merges and shows it, until it is done or somebody stops it. What is done with a volume afterwards
/// is not in the summary: [`follow_then`] has it there.
pub(super) async fn follow(
    subject: &Subject,
    devices: Devices,
    options: &Start,
) -> anyhow::Result<Outcome> {
    let volume = match subject.whose {
        Whose::Images => Volume::GivenBack,
        Whose::Lvm | Whose::LvmOnRecord | Whose::DeviceMapper => Volume::NotYet,
    };
    follow_then(subject, devices, options, LeaveSignals::listen()?, async |_| Ok(volume)).await
}

/// The same, and `then`, once the engine has ended and nobody holds the devices any more, gives the
/// volume back, or leaves it to the kernel. It comes before the summary and before `--on-done`, which so
/// tell how all of it ended. Whoever has listened to `signals` before has lost none of them.
pub(super) async fn follow_then(
    subject: &Subject,
    devices: Devices,
    options: &Start,
    mut signals: LeaveSignals,
    then: impl AsyncFnOnce(&Result<Outcome, OfflineError>) -> anyhow::Result<Volume>,
) -> anyhow::Result<Outcome> {
    let output = live::output(&options.live)?;
    let engine = super::engine(options);
    let Some(identity) = identity(&devices, &subject.names(), subject.whose.terms(&engine)) else {
        // There is nothing to show; the engine says why.
        let outcome = offline::merge(&devices, &engine, &Meter::default());
        drop(devices);
        then(&outcome).await?;
        return Ok(outcome?);
    };
    let devices = Arc::new(devices);
    let meter = Arc::new(Meter::default());
    let sampler = Sampler::begin(Arc::clone(&meter), &devices, identity.chunk_size);
    let face = Face::new_or_lines(output, &options.live);
    let mut view = View::new(identity, face, sampler, options);
    let engine = begin(devices, engine, &meter);
    let outcome = view.until_the_end(engine, &meter, &mut signals).await;
    let outcome = outcome.context("the engine panicked")?;
    view.ended(&outcome);
    let volume = then(&outcome).await;
    if matches!((&outcome, &volume), (Ok(Outcome::Merged(_)), Ok(Volume::GivenBack))) {
        view.finished();
    }
    view.sum_up(&mut signals).await;
    // What the volume is now comes before why the engine failed.
    volume?;
    Ok(outcome?)
}

/// The engine, on a thread of its own. It holds the devices, and lets go of them when it ends.
fn begin(
    devices: Arc<Devices>,
    engine: Options,
    meter: &Arc<Meter>,
) -> JoinHandle<Result<Outcome, OfflineError>> {
    let meter = Arc::clone(meter);
    tokio::task::spawn_blocking(move || offline::merge(&devices, &engine, &meter))
}

impl Subject {
    fn names(&self) -> Names {
        Names {
            origin: self.dm_name.clone().unwrap_or_else(|| self.origin.clone()),
            origin_label: self.origin.clone(),
            snapshot_label: self.snapshot.clone(),
            owner: match self.whose {
                Whose::Lvm | Whose::LvmOnRecord => Owner::Lvm,
                Whose::DeviceMapper | Whose::Images => Owner::DeviceMapper,
            },
            origin_dev: self.origin_dev,
        }
    }
}

impl Whose {
    /// What is agreed with the engine.
    pub(super) fn terms(self, engine: &Options) -> OfflineTerms {
        OfflineTerms {
            images: self == Self::Images,
            scheduled: self == Self::LvmOnRecord,
            verify: engine.verify,
            bandwidth_bytes: engine.bandwidth_bytes,
            requests: engine.requests,
            memory_bytes: engine.memory_bytes,
        }
    }
}

/// What shows the merge.
struct View<'a> {
    /// None once it has failed.
    face: Option<Face>,
    merge: [Followed; 1],
    sampler: Sampler,
    hooks: Hooks,
    recording: Option<Recording>,
    options: &'a Start,
}

impl<'a> View<'a> {
    fn new(identity: MergeIdentity, face: Face, mut sampler: Sampler, options: &'a Start) -> Self {
        let stall_after_ns = nanoseconds(options.live.watching.stall_after);
        let first = sampler.sample(None);
        let record = options.record.record.as_deref();
        let mut recording = Recording::or_none(record, "start", &options.live);
        if let Some(recording) = &mut recording {
            recording.begin(0, &identity, std::slice::from_ref(&first), true);
        }
        let model = Model::first(identity, &first, stall_after_ns);
        let hooks = Hooks::new(&options.live.hooks, face.is_dashboard());
        let merge = [Followed::alone(model)];
        Self { face: Some(face), merge, sampler, hooks, recording, options }
    }

    /// Shows the engine until it has ended.
    async fn until_the_end<T>(
        &mut self,
        mut engine: JoinHandle<T>,
        meter: &Meter,
        signals: &mut LeaveSignals,
    ) -> Result<T, JoinError> {
        self.show(|face, [merge]| face.begin(0, &merge.model, &[]));
        self.draw();
        let mut ticker = live::every(SAMPLE_EVERY);
        // A terminal that has gone would ask again at once, for ever.
        let mut has_asked = false;
        let mut over = pin!(over(self.options));
        let mut is_over = false;
        loop {
            let asks = tokio::select! {
                outcome = &mut engine => return outcome,
                _ = ticker.tick() => { has_asked = false; false }
                () = signals.any() => true,
                () = &mut over, if !is_over => {
                    is_over = true;
                    self.tell_over(meter.read().stage);
                    true
                }
                () = left(&mut self.face, &self.merge), if !has_asked => { has_asked = true; true }
            };
            if asks {
                meter.stop();
                self.tell(stopping(meter.read().stage));
            }
            self.advance();
        }
    }

    /// Takes a sample and shows it.
    fn advance(&mut self) {
        self.take(None, true);
        let [merge] = &self.merge;
        self.hooks.see(&merge.model);
        for line in self.hooks.news() {
            self.tell(&line);
        }
        if let Some(words) = self.recording.as_mut().and_then(Recording::trouble) {
            self.tell(&words);
        }
        self.show(|face, [merge]| face.show(0, &merge.model, &[]));
        self.draw();
    }

    /// The engine has ended, and the devices are free.
    fn ended(&mut self, outcome: &Result<Outcome, OfflineError>) {
        self.sampler.let_go();
        let end = self.end_of(outcome);
        self.take(Some(end), true);
        self.show(|face, [merge]| face.show(0, &merge.model, &[]));
        // What gives the volume back may ask, or say, something.
        if self.face.as_ref().is_some_and(Face::is_dashboard) {
            self.face = Some(Face::new_or_lines(Output::Plain, &self.options.live));
        }
    }

    /// The volume is given back.
    fn finished(&mut self) {
        self.take(Some(OfflineEnd::Finished), false);
    }

    /// Takes a sample. `shown`: whether it is shown by itself.
    fn take(&mut self, end: Option<OfflineEnd>, shown: bool) {
        let sample = self.sampler.sample(end);
        if let Some(recording) = &mut self.recording {
            recording.sample(0, &sample, shown);
        }
        let [merge] = &mut self.merge;
        for words in merge.advance(&sample) {
            self.tell(&words);
        }
    }

    fn end_of(&self, outcome: &Result<Outcome, OfflineError>) -> OfflineEnd {
        let [merge] = &self.merge;
        match outcome {
            Ok(Outcome::Merged(_)) => OfflineEnd::Merged,
            Ok(Outcome::Stopped) => OfflineEnd::Stopped,
            Err(error) => {
                OfflineEnd::Failed(OfflineFault::of(error, &merge.model.identity.real_label))
            }
        }
    }

    /// Leaves the summary, and waits for the hooks. Nobody may be there to read it: that changes nothing
    /// about how the merge ended.
    async fn sum_up(mut self, signals: &mut LeaveSignals) {
        if let Some(Err(error)) = self.face.take().map(|face| face.end(&self.merge)) {
            terminal::tell(&format!("the summary cannot be written: {error}"));
        }
        if let Some(recording) = self.recording.take() {
            recording.end(Recorded::Over);
        }
        let [merge] = &self.merge;
        self.hooks.see_last(&merge.model);
        self.hooks.end(signals.any()).await;
    }

    fn tell_over(&mut self, stage: Stage) {
        let after_ns = self.options.offline.time_limit.map_or(0, |it| nanoseconds(it.after));
        let heeded = if stage < Stage::Clearing { "" } else { " It comes too late to be heeded." };
        self.tell(&format!("The time limit of {} is over.{heeded}", human::duration(after_ns)));
    }

    fn tell(&mut self, words: &str) {
        if let Some(recording) = &mut self.recording {
            recording.note(words);
        }
        match &mut self.face {
            Some(face) => face.tell(words),
            None => terminal::tell(words),
        }
    }

    fn draw(&mut self) {
        self.show(|face, merge| face.draw(merge));
    }

    /// Does something with the view. One that fails is given up, and the merge goes on without it.
    fn show(&mut self, act: impl FnOnce(&mut Face, &[Followed; 1]) -> io::Result<()>) {
        let Some(face) = &mut self.face else { return };
        if let Err(error) = act(face, &self.merge) {
            self.face = None;
            terminal::tell(&format!(
                "it cannot be shown any more: {error}. The merge goes on; Ctrl-C stops it"
            ));
        }
    }
}

/// Returns once, when the time limit is over.
async fn over(options: &Start) {
    match options.offline.time_limit {
        Some(limit) => tokio::time::sleep_until(limit.at.into()).await,
        None => std::future::pending().await,
    }
}

/// Returns when the user asks for an end.
async fn left(face: &mut Option<Face>, merge: &[Followed; 1]) {
    match face {
        // A terminal that cannot be read has nobody in front of it.
        Some(face) => drop(face.left(merge).await),
        None => std::future::pending().await,
    }
}

/// What a stop means at this stage.
const fn stopping(stage: Stage) -> &'static str {
    match stage {
        Stage::Clearing | Stage::Done => {
            "All is copied: the exceptions are being cleared, which takes a moment and is not \
             interrupted."
        }
        _ => {
            "Stopping after the requests under way. The store keeps all of it: the kernel merges it, \
             or another run from the beginning."
        }
    }
}
