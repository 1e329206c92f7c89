//! `start --when-quiet`: waits, before anything is changed, until the origin's writes are few.
//!
//! What quiet means is decided in [`merge_ctl::merge::quiet`]; here are the looks, the run that the
//! merge would begin with, which changes as long as the snapshot grows, and the telling. Whoever
//! called looks at the host anew afterwards, and once more at the writes right before the begin. Of
//! several origins all have to be quiet at once.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use merge_ctl::dm::{Control, DeviceId, SnapshotStatus, Usage, in_flight};
use merge_ctl::human;
use merge_ctl::merge::preflight::{Plan, Way};
use merge_ctl::merge::quiet::{FirstRun, LEAST_LOOKS, Look, Verdict, Waiting, Watch};
use merge_ctl::output::quiet::{self, WaitingFor};
use merge_ctl::probe::Probe;
use merge_ctl::sample::KernelInFlight;
use merge_ctl::sampler;
use merge_ctl::store::Run;
use merge_ctl::units::{ChunkSize, DeviceNumber, Sectors, nanoseconds};
use tokio::time::{MissedTickBehavior, interval};

use super::live::LeaveSignals;
use crate::cli::{Live, Output, WhenQuiet};

/// The longest time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the snapshot is asked how full it is. Asking takes its lock.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// How the waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// The origin is quiet; or something has changed that preflight has to judge.
    GoOn,
    /// The user left.
    Left,
    /// It took too long.
    GaveUp,
}

/// The waiting for all origins that a merge is to begin on.
pub(crate) struct QuietWait {
    for_: Duration,
    give_up_after: Option<Duration>,
    began: Instant,
    teller: Teller,
}

/// What is waited for, by name and number.
struct Target {
    origin: String,
    label: String,
    origin_dev: DeviceNumber,
    snapshot: String,
    cow: DeviceNumber,
    size: Sectors,
    chunk_size: ChunkSize,
}

impl Target {
    fn of(plan: &Plan<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            origin: plan.origin.info.name.clone(),
            label: plan.origin.label(),
            origin_dev: plan.origin.info.dev,
            snapshot: plan.snapshot.info.name.clone(),
            cow: plan.args.cow.number().context("the COW device has no number")?,
            size: plan.origin.size(),
            chunk_size: plan.args.chunk_size,
        })
    }
}

impl QuietWait {
    /// A waiting, if one was asked for, that begins now.
    pub(crate) fn asked_for(options: &WhenQuiet, live: &Live, output: Output) -> Option<Self> {
        options.when_quiet.then(|| Self {
            for_: options.quiet_for,
            give_up_after: options.give_up_after,
            began: Instant::now(),
            teller: Teller::new(output, live.interval),
        })
    }

    /// Waits until the origins of these plans are quiet. Changes nothing.
    ///
    /// # Errors
    /// Where device-mapper does not answer, or nothing can be told.
    pub(crate) async fn wait(
        &mut self,
        control: &Control,
        probe: &mut Probe,
        plans: &[Plan<'_>],
        signals: &mut LeaveSignals,
    ) -> anyhow::Result<Waited> {
        let mut origins = Vec::new();
        for plan in plans.iter().filter(|plan| begins_now(plan)) {
            let target = Target::of(plan)?;
            // Where it cannot be watched the kernel's own count has to do; the report says why.
            let _ = probe.watch(target.origin_dev);
            origins.push(Origin::new(target, self.for_));
        }
        let outcome = self.until_quiet(control, probe, &mut origins, signals).await;
        self.teller.end()?;
        outcome
    }

    async fn until_quiet(
        &mut self,
        control: &Control,
        probe: &Probe,
        origins: &mut [Origin],
        signals: &mut LeaveSignals,
    ) -> anyhow::Result<Waited> {
        let mut ticker = interval(LOOK_EVERY.min(self.for_ / LEAST_LOOKS as u32));
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticker.tick() => {}
                () = signals.any() => return Ok(Waited::Left),
            }
            let at_ns = nanoseconds(self.began.elapsed());
            let mut all_quiet = true;
            for origin in &mut *origins {
                match origin.look(control, probe, at_ns)? {
                    Some(quiet) => all_quiet = all_quiet && quiet,
                    None => return Ok(Waited::GoOn),
                }
            }
            if all_quiet {
                return Ok(Waited::GoOn);
            }
            self.tell(origins)?;
            if self.give_up_after.is_some_and(|patience| self.began.elapsed() >= patience) {
                return Ok(Waited::GaveUp);
            }
        }
    }

    fn tell(&mut self, origins: &[Origin]) -> io::Result<()> {
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let all: Vec<_> = origins
            .iter()
            .filter_map(|origin| {
                Some(WaitingFor {
                    origin: &origin.target.origin,
                    label: &origin.target.label,
                    unix_s,
                    for_ns: nanoseconds(self.for_),
                    waited_ns: nanoseconds(self.began.elapsed()),
                    waiting: origin.waiting.as_ref()?,
                    first_run: origin.first.known,
                })
            })
            .collect();
        self.teller.tell(&all)
    }

    /// What to say where it took too long.
    pub(crate) fn gave_up(&self) -> String {
        let last = self.teller.last.as_deref().unwrap_or("it was not quiet");
        format!("{last}; gave up after {}", human::duration(nanoseconds(self.began.elapsed())))
    }
}

/// Whether the merge of a plan begins when it is asked for: LVM begins one on an origin in use at
/// its next activation, whoever writes now.
const fn begins_now(plan: &Plan<'_>) -> bool {
    !matches!(plan.way, Way::Lvm { origin_in_use: true, .. })
}

/// Whether nobody writes to these origins now: the last look before the begin.
pub(crate) fn still_quiet(watch: &sampler::Watch, plans: &[Plan<'_>]) -> bool {
    let in_flight = |plan: &Plan<'_>| look(watch.probe(), plan.origin.info.dev, 0).in_flight;
    plans.iter().filter(|plan| begins_now(plan)).all(|plan| in_flight(plan) == 0)
}

/// The writes in flight now. What the kernel alone counts must be there before and after the probes
/// were asked: else it came or went in between.
fn look(probe: &Probe, origin: DeviceNumber, at_ns: u64) -> Look {
    let before = in_flight::read(origin).ok();
    let io = probe.io(origin);
    let kernel = before.zip(in_flight::read(origin).ok());
    let both = |(a, b): (KernelInFlight, KernelInFlight)| if a.writes < b.writes { a } else { b };
    Look::new(at_ns, io, kernel.map(both))
}

/// One of the origins that have to be quiet.
struct Origin {
    target: Target,
    watch: Watch,
    first: FirstRunFinder,
    /// What it waits for; none while it is quiet, or nothing was seen yet.
    waiting: Option<Waiting>,
}

impl Origin {
    fn new(target: Target, for_: Duration) -> Self {
        let watch = Watch::new(nanoseconds(for_), target.chunk_size);
        Self { target, watch, first: FirstRunFinder::default(), waiting: None }
    }

    /// Takes a look: whether it is quiet; none where preflight has to judge anew.
    fn look(
        &mut self,
        control: &Control,
        probe: &Probe,
        at_ns: u64,
    ) -> anyhow::Result<Option<bool>> {
        if self.first.look(control, &self.target, false)?.is_none() {
            return Ok(None);
        }
        self.watch.look(look(probe, self.target.origin_dev, at_ns));
        self.waiting = match self.watch.verdict(self.first.known) {
            Verdict::Waiting(waiting) => Some(waiting),
            Verdict::Quiet => None,
        };
        match self.waiting {
            Some(_) => Ok(Some(false)),
            // Where the snapshot has grown, its first run is looked up before the next look.
            None => self.first.look(control, &self.target, true),
        }
    }
}

/// The first run, nothing where there is nothing to merge, or why it cannot be told.
type Found = Result<Option<Run>, String>;

/// Keeps up with the run that a merge would begin with: the newest exceptions, as long as writes
/// to the origin make new ones.
struct FirstRunFinder {
    known: FirstRun,
    /// How full the snapshot was when that was looked up.
    known_at: Option<Usage>,
    looking: Option<(Usage, Receiver<Found>)>,
    next_status: Option<Instant>,
}

impl Default for FirstRunFinder {
    fn default() -> Self {
        Self { known: FirstRun::Unknown, known_at: None, looking: None, next_status: None }
    }
}

impl FirstRunFinder {
    /// Brings itself up to date, without waiting for a device; with `now` at once, else once in a
    /// while. Whether what is known is of the snapshot as it is; none where it is no snapshot that
    /// can be merged any more.
    fn look(
        &mut self,
        control: &Control,
        target: &Target,
        now: bool,
    ) -> anyhow::Result<Option<bool>> {
        self.take_result();
        if !now && self.next_status.is_some_and(|at| Instant::now() < at) {
            return Ok(Some(false));
        }
        self.next_status = Some(Instant::now() + STATUS_EVERY);
        let status = control.status(DeviceId::Name(&target.snapshot), true)?;
        let Some(SnapshotStatus::Usage(usage)) = status.snapshot() else { return Ok(None) };
        if self.known_at == Some(usage) {
            return Ok(Some(true));
        }
        if self.looking.is_none() {
            self.begin(target, usage);
        }
        Ok(Some(false))
    }

    fn begin(&mut self, target: &Target, usage: Usage) {
        let (sender, result) = sync_channel(1);
        let (cow, size) = (target.cow, target.size);
        let thread = thread::Builder::new().name("first-run".to_owned());
        // Where there can be no thread, the sender is dropped with it. Nobody may wait any more.
        let _ = thread.spawn(move || {
            let _ = sender.send(sampler::first_run(cow, size, usage.metadata));
        });
        self.looking = Some((usage, result));
    }

    fn take_result(&mut self) {
        let Some((usage, result)) = &self.looking else { return };
        let known = match result.try_recv() {
            Err(TryRecvError::Empty) => return,
            Ok(Ok(Some(run))) => FirstRun::Is(run),
            Ok(Ok(None)) => FirstRun::Nothing,
            // Then any write may go there.
            Ok(Err(_)) | Err(TryRecvError::Disconnected) => FirstRun::Unknown,
        };
        (self.known, self.known_at, self.looking) = (known, Some(*usage), None);
    }
}

/// Says what is waited for, now and then.
struct Teller {
    output: Output,
    every: Duration,
    next: Option<Instant>,
    /// Whether a line stands on the terminal that the next one takes the place of.
    open: bool,
    last: Option<String>,
}

impl Teller {
    fn new(output: Output, every: Duration) -> Self {
        Self { output, every, next: None, open: false, last: None }
    }

    fn tell(&mut self, all: &[WaitingFor<'_>]) -> io::Result<()> {
        let Some(first) = all.first() else { return Ok(()) };
        self.last = Some(quiet::words(first));
        if self.next.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        self.next = Some(Instant::now() + self.every);
        match self.output {
            Output::Tui if io::stderr().is_terminal() => self.replace_line(&quiet::words(first)),
            Output::Json => all.iter().try_for_each(|now| print(&quiet::json(now))),
            Output::Tui | Output::Plain => all.iter().try_for_each(|now| print(&quiet::line(now))),
        }
    }

    fn replace_line(&mut self, text: &str) -> io::Result<()> {
        let columns = crossterm::terminal::size().map_or(80, |(columns, _)| columns.into());
        let line: String = format!("merge-ctl: {text}").chars().take(columns - 1).collect();
        self.open = true;
        let mut err = io::stderr().lock();
        // Back to the first column, and whatever is left of a longer line goes.
        write!(err, "\r{line}\x1b[K")?;
        err.flush()
    }

    fn end(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.open) {
            writeln!(io::stderr())?;
        }
        Ok(())
    }
}

fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
