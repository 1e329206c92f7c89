//! `merge-ctl throttle`: slow a merge down while it lasts, say what it does, and put the setting back.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use merge_ctl::dm::{Control, Device, Host, resolve, throttle as knob};
use merge_ctl::model::{Model, State};
use merge_ctl::output::throttle::{self as output, Moment, Report, Setting};
use merge_ctl::probe::{Probe, ProbeOptions};
use merge_ctl::sample::{Owner, ProbeTier};
use merge_ctl::sampler::Watch as Sampling;
use merge_ctl::throttle::lease::LeaseError;
use merge_ctl::throttle::others::Others;
use merge_ctl::throttle::throttler::Recent;
use merge_ctl::throttle::{Doing, Goal, Holder, Place, Profile, Restored, Throttler};
use tokio::time::{MissedTickBehavior, interval};

use super::followed::{Companion, exit_of};
use super::live::{self, LeaveSignals};
use super::monitor;
use super::terminal;
use crate::cli::{Command, LineOutput, Live, Throttle};
use crate::exit::{Blind, Exit, NoMerge, Usage};

/// As the other live commands do.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);
/// How long a merge that is done is watched for somebody to finish it, and how long where that is
/// lvm2, which looks every 15 s.
const PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE_WITH_LVM: Duration = Duration::from_secs(20);

/// Throttles, shows the setting, or puts it back.
pub(crate) async fn run(options: &Throttle) -> anyhow::Result<ExitCode> {
    let json = options.json || options.output == Some(LineOutput::Json);
    if options.reset {
        let restored = Restored::from(Place::of_this_host().reset()?);
        terminal::print(&output::restored(restored))?;
        return Ok(Exit::Done.into());
    }
    let wanted = options.wanted()?;
    match (wanted, &options.origin) {
        (None, origin) => show(origin.as_deref(), json),
        (Some(_), None) => {
            Err(Usage("name the merging origin that is to be slowed down".to_owned()).into())
        }
        (Some(wanted), Some(origin)) => throttle(options, origin, wanted, json).await,
    }
}

fn show(origin: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let host = Host::read(&Control::open()?)?;
    if let Some(origin) = origin {
        merging(&host, origin)?;
    }
    let lease = Place::of_this_host().read()?;
    let setting = Setting {
        percent: knob::read().context("cannot read the throttle")?,
        lease: lease.as_ref().map(|lease| (lease, lease.holder.is_alive())),
        others: &Others::of(&host, None),
    };
    let print = if json { output::setting_json } else { output::setting };
    terminal::print(&print(&setting))?;
    Ok(Exit::Done.into())
}

fn merging<'a>(host: &'a Host, name: &str) -> anyhow::Result<&'a Device> {
    let device = resolve::resolve(host, name)?;
    Ok(monitor::merging(host, device).ok_or_else(|| NoMerge(device.label()))?)
}

async fn throttle(
    options: &Throttle,
    origin: &str,
    (goal, profile): (Goal, Option<Profile>),
    json: bool,
) -> anyhow::Result<ExitCode> {
    let control = Control::open()?;
    let host = Host::read(&control)?;
    let device = merging(&host, origin)?;
    let args = device.merge().ok_or_else(|| NoMerge(device.label()))?;
    let mut signals = LeaveSignals::listen()?;
    let best = live::best_tier(options.probes);
    let probe = Probe::attach(ProbeOptions { best, ..ProbeOptions::default() });
    let mut watch = Sampling::new(control, probe);
    let place = watch.add(&host, device, args, None)?;
    let first = watch.first_sample(place);
    let stall_after_ns = merge_ctl::model::DEFAULT_STALL_AFTER_NS;
    let model = Model::first(watch.identity(place).clone(), &first, stall_after_ns);
    can_see(&goal, &model)?;
    let throttler = Throttler::begin(goal, profile, &device.label())?;
    if let Some(left) = throttler.left_behind() {
        terminal::tell(&format!("another throttler had died: {}", output::restored(left)));
    }
    let patience = match device.owner() {
        Owner::Lvm => PATIENCE_WITH_LVM,
        Owner::DeviceMapper => PATIENCE,
    };
    let others = Others::of(&host, Some(device));
    let mut at_work = AtWork { throttler, json, interval: options.interval, patience };
    at_work.begin(&model, &others)?;
    let followed = at_work.follow((&mut watch, place), &mut signals, model).await;
    // Also where following has failed: the setting first.
    let restored = at_work.throttler.end()?;
    at_work.end(&followed?, restored)
}

/// A loop needs to see the writes.
fn can_see(goal: &Goal, model: &Model) -> anyhow::Result<()> {
    let probes = &model.identity.probes;
    if matches!(goal, Goal::Fixed { .. }) {
        return Ok(());
    }
    match probes.tier {
        ProbeTier::None => Err(Blind(format!(
            "a latency cannot be held that is not seen: {} Try a fixed percentage",
            probes.missing.join(" ")
        ))
        .into()),
        ProbeTier::BlockOnly => {
            terminal::tell(&format!(
                "runs are not seen here, so writes that wait for one are not told from \
                 others. Whether slowing down helps is found out by trying. {}",
                probes.missing.join(" ")
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A throttler, and how it is shown.
struct AtWork {
    throttler: Throttler,
    json: bool,
    interval: Duration,
    patience: Duration,
}

impl AtWork {
    fn begin(&mut self, model: &Model, others: &Others) -> io::Result<()> {
        self.tell(model, Moment::Begin(others))
    }

    /// Follows the merge to its end, or until somebody wants us to leave.
    async fn follow(
        &mut self,
        (watch, place): (&mut Sampling, usize),
        signals: &mut LeaveSignals,
        mut model: Model,
    ) -> anyhow::Result<Model> {
        let mut ticker = interval(SAMPLE_EVERY);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Instant::now();
        let mut done_since = None;
        loop {
            tokio::select! {
                _ = ticker.tick() => {}
                () = watch.something_happened() => {}
                () = signals.any() => return Ok(model),
            }
            model = model.next(&watch.sample(place));
            match model.state {
                State::DoneNotFinished => {
                    self.throttler.end()?;
                    let since = *done_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= self.patience {
                        return Ok(model);
                    }
                    continue;
                }
                state if state.is_over() => return Ok(model),
                _ => {}
            }
            let throttling = self.throttler.step(&model)?;
            if self.throttler.found_no_effect() {
                self.tell(&model, Moment::NoEffect)?;
            }
            let yielded = throttling.doing == Doing::Yielded;
            if yielded || told.elapsed() >= self.interval {
                told = Instant::now();
                self.tell(&model, Moment::Line)?;
            }
            if yielded {
                return Ok(model);
            }
        }
    }

    fn end(&mut self, model: &Model, restored: Option<Restored>) -> anyhow::Result<ExitCode> {
        // Where all was merged it was put back before.
        let restored = restored.unwrap_or(Restored::To(self.throttler.previous_percent()));
        self.tell(model, Moment::End(restored))?;
        Ok(match restored {
            Restored::Foreign(_) => Exit::Error.into(),
            _ => exit_of(model).into(),
        })
    }

    fn tell(&mut self, model: &Model, moment: Moment<'_>) -> io::Result<()> {
        let recent = match moment {
            Moment::Line => self.throttler.take_recent(),
            _ => Recent::default(),
        };
        let report = Report {
            throttling: self.throttler.throttling(),
            percent: self.throttler.percent(),
            previous_percent: self.throttler.previous_percent(),
            percentile: self.throttler.percentile(),
            recent: &recent,
            log: self.throttler.log(),
        };
        if self.json {
            return terminal::print(&output::json(model, &report, moment));
        }
        let text = match moment {
            Moment::Begin(others) => output::begin(model, &report, others),
            Moment::Line => output::line(model, &report),
            Moment::NoEffect => output::no_effect(model).to_owned(),
            Moment::End(restored) => output::end(model, &report, restored),
        };
        terminal::print(&terminal::for_stdout(&text))
    }
}

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

/// Looks, before another command begins, whether a throttler has died and left its setting: those
/// that change something put it back, those that only look tell of it.
pub(crate) fn look_back(command: &Command) {
    let place = Place::of_this_host();
    match command {
        Command::Start(_) | Command::Resume(_) | Command::Finish(_) => match place.tidy() {
            Ok(Some((lease, put_back))) => terminal::tell(&format!(
                "process {} died while it throttled {}: {}",
                lease.holder.pid,
                merge_ctl::human::printable(&lease.origin),
                output::restored(put_back.into())
            )),
            Ok(None) => {}
            Err(error) => terminal::tell(&error.to_string()),
        },
        Command::Status(_) | Command::Monitor(_) | Command::Wait(_) => {
            // Who may not read it could not do anything about it either.
            let left = place.read().ok().flatten().filter(|lease| !lease.holder.is_alive());
            if let Some(lease) = left {
                terminal::tell(&format!(
                    "process {} died while it throttled {}; the throttle was {} % before: \
                     `merge-ctl throttle --reset` puts it back",
                    lease.holder.pid,
                    merge_ctl::human::printable(&lease.origin),
                    lease.previous_percent
                ));
            }
        }
        _ => {}
    }
}

/// What a guard needs to put the setting of a dead throttler back.
pub(crate) struct Watch {
    place: Place,
    holder: Holder,
}

impl Watch {
    /// Over the lease in this file.
    ///
    /// # Errors
    /// Where there is none, or it cannot be read.
    pub(crate) fn over(lease: &std::path::Path) -> io::Result<Self> {
        let place = Place::of_lease(lease);
        let lease = place.read().map_err(io::Error::other)?;
        let holder = lease.ok_or(io::ErrorKind::NotFound)?.holder;
        Ok(Self { place, holder })
    }

    /// Puts it back, and says so where somebody may still read it.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub(crate) fn act(&self) -> Result<(), LeaseError> {
        if let Some((_, put_back)) = self.place.end_for(&self.holder)? {
            let words = output::restored(put_back.into());
            terminal::tell(&format!("the throttler was killed: {words}"));
        }
        Ok(())
    }
}
