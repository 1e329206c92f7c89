//! `merge-ctl monitor [ORIGIN]`: attach to a merge, or to all of this host, whoever started them.

use std::process::ExitCode;
use std::time::Duration;

use merge_ctl::dm::{Control, Device, Host, resolve};
use merge_ctl::merge::preflight::Obstacle;
use merge_ctl::model::Model;
use merge_ctl::probe::Probe;
use merge_ctl::sample::Owner;
use merge_ctl::sampler::{FIRST_SAMPLE_WAITS, Watch};

use super::attach;
use super::elsewhere::{self, Elsewhere};
use super::face::Face;
use super::followed::{Finisher, Followed};
use super::live::{self, LeaveSignals, Live};
use super::privilege;
use super::recording::Recording;
use super::terminal;
use crate::cli::{self, Monitor};
use crate::exit::NoMerge;

/// How long somebody else has to finish a merge that is done, before we say that nobody does.
const PATIENCE: Duration = Duration::from_secs(2);
/// lvm2 looks every 15 s.
const PATIENCE_WITH_LVM: Duration = Duration::from_secs(20);

/// Shows one merge, or all of them and those that begin meanwhile, until all are over or the user
/// leaves.
pub(crate) async fn run(options: &Monitor) -> anyhow::Result<ExitCode> {
    let output = live::output(&options.live)?;
    Recording::check(options.record.record.as_deref())?;
    let control = Control::open()?;
    let host = Host::read(&control)?;
    let origins = pick(&host, options.origin.as_slice(), &elsewhere::all(&host))?;
    let signals = LeaveSignals::listen()?;
    drop_privileges(options)?;
    let mut watch = Watch::new(control, Probe::attach(live::probe_options(&options.live)));
    let merges = followed(&mut watch, &host, &origins, &options.live)?;
    let record = options.record.record.as_deref();
    let live = Live {
        watch,
        face: Face::new(output, &options.live)?,
        signals,
        merges,
        newcomers: options.origin.is_none().then_some(onlooker),
        recording: Recording::asked_for(record, "monitor", &options.live)?,
        options: &options.live,
    };
    Ok(live.run().await?.into())
}

/// Keeps what looking needs, before any thread is started. Where it does more than look, nothing is dropped: a
/// throttle is changed, and left to a guard that may do so too, and hooks are the operator's own programs.
fn drop_privileges(options: &Monitor) -> anyhow::Result<()> {
    let live = &options.live;
    let throttles = live.throttle_goal.with(live.throttle)?.is_some();
    if throttles || live.hooks.on_stall.is_some() || live.hooks.on_done.is_some() {
        return Ok(());
    }
    privilege::keep_what_is_needed(options.record.record.as_deref().map(privilege::directory_of))
}

/// The merges that are meant: the named ones, or all. One that is named twice is there once.
pub(crate) fn pick<'a>(
    host: &'a Host,
    names: &[String],
    offline: &[Elsewhere],
) -> anyhow::Result<Vec<&'a Device>> {
    if names.is_empty() {
        let merges: Vec<&Device> = host.merges().collect();
        if let ([], [first, others @ ..]) = (&merges[..], offline) {
            for other in others {
                terminal::tell(&other.sentence());
            }
            return Err(first.refusal(Obstacle::StillMerging).into());
        }
        for other in offline {
            terminal::tell(&other.sentence());
        }
        return match merges.as_slice() {
            [] => Err(NoMerge("any volume of this host".to_owned()).into()),
            _ => Ok(merges),
        };
    }
    let mut picked: Vec<&Device> = Vec::new();
    for name in names {
        let meant = attach::name_of(host, name);
        let is_meant = |it: &&Elsewhere| meant.as_deref().is_some_and(|name| it.is_called(name));
        if let Some(it) = offline.iter().find(is_meant) {
            return Err(it.refusal(Obstacle::StillMerging).into());
        }
        let device = resolve::resolve(host, name)?;
        let origin = merging(host, device).ok_or_else(|| NoMerge(device.label()))?;
        if !picked.iter().any(|known| known.info.dev == origin.info.dev) {
            picked.push(origin);
        }
    }
    Ok(picked)
}

/// The merging origin that a device stands for: itself, or what its data is merged into.
pub(crate) fn merging<'a>(host: &'a Host, device: &'a Device) -> Option<&'a Device> {
    if device.merge().is_some() {
        return Some(device);
    }
    let real = device.origin_of().or_else(|| device.snapshot()?.real.number());
    real.and_then(|real| host.origin_over(real)).filter(|origin| origin.merge().is_some())
}

/// All of them, each with its first sample; their stores are read at the same time.
pub(crate) fn followed(
    watch: &mut Watch,
    host: &Host,
    origins: &[&Device],
    options: &cli::Live,
) -> anyhow::Result<Vec<Followed>> {
    let mut places = Vec::new();
    for origin in origins {
        let args = origin.merge().ok_or_else(|| NoMerge(origin.label()))?;
        places.push(watch.add(host, origin, args, None)?);
    }
    for &place in &places {
        watch.read_store(place, None, FIRST_SAMPLE_WAITS);
    }
    let merges = places.into_iter().zip(origins);
    Ok(merges
        .map(|(place, origin)| Followed::new(watch, place, options).finished_by(onlooker(origin)))
        .collect())
}

/// Who watches a merge of this origin and does nothing.
pub(crate) fn onlooker(origin: &Device) -> Box<dyn Finisher> {
    Box::new(Onlooker(origin.owner()))
}

/// Watches and does nothing.
struct Onlooker(Owner);

impl Finisher for Onlooker {
    fn finish(&mut self, _: &Model, _: &Control) -> anyhow::Result<()> {
        Ok(())
    }

    fn patience(&self) -> Duration {
        match self.0 {
            Owner::Lvm => PATIENCE_WITH_LVM,
            Owner::DeviceMapper => PATIENCE,
        }
    }
}
