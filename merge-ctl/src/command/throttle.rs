//! `merge-ctl throttle`: slow a merge down while it lasts, say what it does, and put the setting back.

mod beside;
mod left;

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
use merge_ctl::throttle::others::Others;
use merge_ctl::throttle::throttler::Recent;
use merge_ctl::throttle::{Doing, Goal, Place, Profile, Restored, Throttler};
use tokio::time::{MissedTickBehavior, interval};

pub(crate) use self::beside::Beside;
pub(crate) use self::left::{Watch, look_back};
use super::live::{self, LeaveSignals};
use super::monitor;
use super::terminal;
use crate::cli::{LineOutput, Throttle};
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
            _ => Exit::of(model).into(),
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
