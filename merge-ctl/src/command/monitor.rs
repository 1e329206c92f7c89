//! `merge-ctl monitor [ORIGIN]`: attach to any merge, whoever started it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use merge_ctl::dm::{Control, Device, Host, resolve};
use merge_ctl::model::Model;
use merge_ctl::probe::Probe;
use merge_ctl::sample::Owner;
use merge_ctl::sampler::Sampler;

use super::chooser;
use super::face::Face;
use super::live::{self, Ended, Finisher, Following, LeaveSignals};
use super::throttle::Beside;
use super::wish::Wish;
use crate::cli::{Live, Monitor, Output};
use crate::exit::{Exit, NoMerge};

/// How long somebody else has to finish a merge that is done, before we say that nobody does.
const PATIENCE: Duration = Duration::from_secs(2);
/// lvm2 looks every 15 s.
const PATIENCE_WITH_LVM: Duration = Duration::from_secs(20);

/// Shows one merge after the other, until the user leaves or there is nothing more to see.
pub(crate) async fn run(options: &Monitor) -> anyhow::Result<ExitCode> {
    let output = live::output(&options.live)?;
    let control = Control::open()?;
    let mut host = Host::read(&control)?;
    let Some(mut origin) = pick(&host, options.origin.as_deref(), output, &control).await? else {
        return Ok(Exit::Done.into());
    };
    let mut signals = LeaveSignals::listen()?;
    let mut parts = (control, Probe::attach(live::probe_options(&options.live)));
    let mut face = Face::new(output, &options.live)?;
    loop {
        let (model, ended, sampler) =
            follow(parts, &host, &origin, &options.live, &mut face, &mut signals).await?;
        parts = sampler.into_parts();
        let step = match ended {
            Ended::Wished(Wish::Next) => 1,
            Ended::Wished(Wish::Previous) => -1,
            Ended::Over | Ended::Wished(Wish::Leave) => {
                face.end(&model)?;
                return Ok(live::exit_of(&model).into());
            }
        };
        host = Host::read(&parts.0)?;
        origin = neighbour(&host, &origin, step);
    }
}

async fn follow(
    (control, probe): (Control, Probe),
    host: &Host,
    origin: &str,
    live: &Live,
    face: &mut Face,
    signals: &mut LeaveSignals,
) -> anyhow::Result<(Model, Ended, Sampler)> {
    let device = host.by_name(origin).ok_or_else(|| NoMerge(origin.to_owned()))?;
    let args = device.merge().ok_or_else(|| NoMerge(device.label()))?;
    let mut sampler = Sampler::new(control, probe, host, device, args, None)?;
    let first = sampler.first_sample();
    let stall_after_ns = live::nanoseconds(live.stall_after);
    let model = Model::first(sampler.identity().clone(), &first, stall_after_ns);
    face.begin(&model, place(host, origin))?;
    face.show(&model, &first.runs)?;
    let mut onlooker = Onlooker(device.owner());
    let tier = sampler.identity().probes.tier;
    let mut throttle = Beside::begin(live, tier, &device.label())?;
    let mut following = Following {
        sampler: &mut sampler,
        face,
        finisher: &mut onlooker,
        signals,
        throttle: &mut throttle,
    };
    let (model, ended) = following.until_the_end(model).await?;
    throttle.end().iter().for_each(|line| face.log(line));
    Ok((model, ended, sampler))
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

/// The merge that is meant: the named one, the only one, or one of a list.
async fn pick(
    host: &Host,
    name: Option<&str>,
    output: Output,
    control: &Control,
) -> anyhow::Result<Option<String>> {
    if let Some(name) = name {
        let device = resolve::resolve(host, name)?;
        return match merging(host, device) {
            Some(origin) => Ok(Some(origin.info.name.clone())),
            None => Err(NoMerge(device.label()).into()),
        };
    }
    let merges: Vec<&Device> = host.merges().collect();
    match merges.as_slice() {
        [] => bail!(NoMerge("any volume of this host".to_owned())),
        [only] => Ok(Some(only.info.name.clone())),
        _ if output == Output::Tui => chooser::choose(control).await,
        several => {
            let names: Vec<String> = several.iter().map(|merge| merge.label()).collect();
            bail!(crate::exit::Usage(format!(
                "several merges are running: name one of {}",
                names.join(", ")
            )))
        }
    }
}

/// The merging origin that a device stands for: itself, or what its data is merged into.
pub(crate) fn merging<'a>(host: &'a Host, device: &'a Device) -> Option<&'a Device> {
    if device.merge().is_some() {
        return Some(device);
    }
    let real = device.origin_of().or_else(|| device.snapshot()?.real.number());
    real.and_then(|real| host.origin_over(real)).filter(|origin| origin.merge().is_some())
}

fn place(host: &Host, origin: &str) -> (usize, usize) {
    let index = host.merges().position(|merge| merge.info.name == origin).unwrap_or(0);
    (index, host.merges().count().max(1))
}

/// The merge that stands `step` places from this one, round and round; this one where there is no
/// other.
fn neighbour(host: &Host, origin: &str, step: isize) -> String {
    let (index, count) = place(host, origin);
    let next = (index as isize + step).rem_euclid(count as isize);
    host.merges()
        .nth(next as usize)
        .map_or_else(|| origin.to_owned(), |merge| merge.info.name.clone())
}
