//! `start --when-quiet`: waits, before anything is changed, until the origin's writes are few.
//!
//! What quiet means is decided in [`merge_ctl::merge::quiet`]; here are the looks, the run that the
//! merge would begin with, which changes as long as the snapshot grows, and the telling. Whoever
//! called looks at the host anew afterwards, and once more at the writes right before the begin.

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
use merge_ctl::sample::{KernelInFlight, Sample};
use merge_ctl::sampler;
use merge_ctl::store::Run;
use merge_ctl::units::{ChunkSize, DeviceNumber, Sectors};
use tokio::time::{MissedTickBehavior, interval};

use super::live::{self, LeaveSignals};
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

/// The waiting for one origin.
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

    /// Waits until the origin of this plan is quiet. Changes nothing.
    ///
    /// # Errors
    /// Where device-mapper does not answer, or nothing can be told.
    pub(crate) async fn wait(
        &mut self,
        control: &Control,
        probe: &mut Probe,
        plan: &Plan<'_>,
        signals: &mut LeaveSignals,
    ) -> anyhow::Result<Waited> {
        if let Way::Lvm { origin_in_use: true, .. } = plan.way {
            // LVM begins at the next activation, whoever writes now.
            return Ok(Waited::GoOn);
        }
        let target = Target::of(plan)?;
        // Where it cannot be watched the kernel's own count has to do; the report says why.
        let _ = probe.watch(target.origin_dev);
        let outcome = self.until_quiet(control, probe, &target, signals).await;
        self.teller.end()?;
        outcome
    }

    async fn until_quiet(
        &mut self,
        control: &Control,
        probe: &Probe,
        target: &Target,
        signals: &mut LeaveSignals,
    ) -> anyhow::Result<Waited> {
        let mut watch = Watch::new(live::nanoseconds(self.for_), target.chunk_size);
        let mut first = FirstRunFinder::default();
        let mut ticker = interval(LOOK_EVERY.min(self.for_ / LEAST_LOOKS as u32));
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticker.tick() => {}
                () = signals.any() => return Ok(Waited::Left),
            }
            if first.look(control, target, false)?.is_none() {
                return Ok(Waited::GoOn);
            }
            watch.look(self.look(probe, target.origin_dev));
            match watch.verdict(first.known) {
                Verdict::Quiet if first.look(control, target, true)? != Some(false) => {
                    return Ok(Waited::GoOn);
                }
                // The snapshot has grown: its first run is looked up before the next look.
                Verdict::Quiet => {}
                Verdict::Waiting(waiting) => self.tell(target, &waiting, first.known)?,
            }
            if self.give_up_after.is_some_and(|patience| self.began.elapsed() >= patience) {
                return Ok(Waited::GaveUp);
            }
        }
    }

    /// The writes in flight now. What the kernel alone counts must be there before and after the
    /// probes were asked: else it came or went in between.
    fn look(&self, probe: &Probe, origin: DeviceNumber) -> Look {
        let at_ns = live::nanoseconds(self.began.elapsed());
        let before = in_flight::read(origin).ok();
        let io = probe.io(origin);
        let kernel = before.zip(in_flight::read(origin).ok());
        let both =
            |(a, b): (KernelInFlight, KernelInFlight)| if a.writes < b.writes { a } else { b };
        Look::new(at_ns, io, kernel.map(both))
    }

    fn tell(&mut self, target: &Target, waiting: &Waiting, first: FirstRun) -> io::Result<()> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.teller.tell(&WaitingFor {
            origin: &target.origin,
            label: &target.label,
            unix_s: unix.as_secs(),
            for_ns: live::nanoseconds(self.for_),
            waited_ns: live::nanoseconds(self.began.elapsed()),
            waiting,
            first_run: first,
        })
    }

    /// Whether nobody writes at this sample, the last one before the begin.
    pub(crate) fn still_quiet(&self, first: &Sample) -> bool {
        Look::new(first.at_ns, first.io.clone(), first.kernel_in_flight).in_flight == 0
    }

    /// What to say where it took too long.
    pub(crate) fn gave_up(&self) -> String {
        let last = self.teller.last.as_deref().unwrap_or("it was not quiet");
        format!(
            "{last}; gave up after {}",
            human::duration(live::nanoseconds(self.began.elapsed()))
        )
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

    fn tell(&mut self, now: &WaitingFor<'_>) -> io::Result<()> {
        self.last = Some(quiet::words(now));
        if self.next.is_some_and(|at| Instant::now() < at) {
            return Ok(());
        }
        self.next = Some(Instant::now() + self.every);
        match self.output {
            Output::Json => print(&quiet::json(now)),
            Output::Tui if io::stderr().is_terminal() => self.replace_line(&quiet::words(now)),
            Output::Tui | Output::Plain => print(&quiet::line(now)),
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
