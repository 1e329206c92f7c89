//! `merge-ctl resume [ORIGIN]`: go on with merges after a crash or a reboot.
//!
//! The journal says what was wanted, the host what is there; [`machine`] what is next. Here is what
//! they do not know: whose turn it is, the devices below after a reboot, whether the exceptions on
//! disk are still those of the merge, and what the user has to say yes to.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use merge_ctl::dm::{
    Control, Device, Host, SnapshotArgs, SnapshotStatus, disk_identity, holders, resolve,
};
use merge_ctl::harmless::argument;
use merge_ctl::human::printable;
use merge_ctl::lvm::lvm2::{Lvm, Volume};
use merge_ctl::lvm::names::VolumeName;
use merge_ctl::merge::executor::Executor;
use merge_ctl::merge::journal::below::{self, Mapping};
use merge_ctl::merge::journal::{self, Journal, Phase, Record, boot_id};
use merge_ctl::merge::live::LiveExecutor;
use merge_ctl::merge::machine::{self, Goal, Place, Scene};
use merge_ctl::merge::preflight::{self, Obstacle, Refusal};
use merge_ctl::merge::recording;
use merge_ctl::probe::Probe;
use merge_ctl::sample::Owner;
use merge_ctl::sampler::{FIRST_SAMPLE_WAITS, Watch};
use merge_ctl::state::State;

use super::attach::{self, Turn};
use super::begin::Driver;
use super::face::Face;
use super::followed::Followed;
use super::live::{self, LeaveSignals, Live};
use super::raw::Raw;
use super::recording::Recording;
use super::recover_failed::{self, Recovery};
use super::terminal;
use crate::cli::{self, Resume};
use crate::exit::{self, Exit, NoMerge};

/// What a recording says of who made it.
const COMMAND: &str = "resume";
/// More devices than any merge stands on, each with its three steps.
const STEPS_BELOW: usize = 300;

/// Goes on with the named merge, or with all.
pub(crate) async fn run(options: &Resume) -> anyhow::Result<ExitCode> {
    // Before anything is changed: a dashboard that cannot be had is a wrong usage.
    live::output(&options.live)?;
    Recording::check(options.record.as_deref())?;
    let control = Control::open()?;
    let exit = match &options.origin {
        Some(name) => one(control, name, options).await?,
        None => all(&control, options).await?,
    };
    Ok(exit.into())
}

async fn one(control: Control, name: &str, options: &Resume) -> anyhow::Result<Exit> {
    let host = Host::read(&control)?;
    let device = resolve::resolve(&host, name).ok();
    // After a reboot there may be no device of that name yet.
    let known = device.map(|device| device.info.name.clone()).or_else(|| resolve::reading(name));
    if let Some(journal) = known.map(|name| Journal::of(&name)).transpose()?.flatten() {
        return go_on(journal.record().origin.name.clone(), options).await;
    }
    match (device, merging(&host, device)) {
        (_, Some(origin)) if origin.status == Some(SnapshotStatus::MergeFailed) => {
            recover(control, &origin.info.name, options).await
        }
        (_, Some(origin)) => {
            attach(control, &host, origin, &options.live, record_to(options)?).await
        }
        (Some(device), None) if device.owner() == Owner::Lvm => {
            at_activation(device, &options.live)
        }
        (Some(device), None) => Err(NoMerge(device.label()).into()),
        (None, None) => match merging_volume(name) {
            Some(volume) => activate(control, &volume, options).await,
            None => Err(resolve::resolve(&host, name)
                .err()
                .map_or_else(|| NoMerge(printable(name)).into(), anyhow::Error::from)),
        },
    }
}

/// A volume of LVM that has no device and, by LVM's metadata, a snapshot that merges into it. Where
/// lvm2 cannot be asked, there is none.
fn merging_volume(name: &str) -> Option<VolumeName> {
    let volume = VolumeName::from_dm(&resolve::reading(name)?)?;
    let volumes = Lvm::find().ok()?.volumes().ok()?;
    let is_it = |it: &Volume| it.vg == volume.vg && it.lv == volume.lv && it.is_merging_origin();
    volumes.iter().any(is_it).then_some(volume)
}

async fn all(control: &Control, options: &Resume) -> anyhow::Result<Exit> {
    let mut origins = Vec::new();
    let mut exits = Vec::new();
    for journal in journal::list().context("cannot list the journals")? {
        match journal {
            Ok(journal) => origins.push(journal.record().origin.name.clone()),
            Err(error) => {
                terminal::tell(&exit::words(&error.into()));
                exits.push(Exit::Error);
            }
        }
    }
    if origins.is_empty() && exits.is_empty() {
        say(
            &options.live,
            "There is nothing to resume: no merge was begun here and not finished.",
        )?;
        let merges = Host::read(control)?.merges().count();
        if merges > 0 {
            say(&options.live, &format!("{merges} begun by others: see `merge-ctl status`."))?;
        }
    }
    for origin in origins {
        let exit = go_on(origin, options).await;
        exits.push(exit.unwrap_or_else(|error| {
            terminal::tell(&exit::words(&error));
            exit::of(&error)
        }));
    }
    Ok(Exit::worst(exits))
}

/// Says how it stands with a merge of which there is nothing to show. Where a program reads our
/// output, that is not for it.
fn say(options: &cli::Live, words: &str) -> io::Result<()> {
    match options.output {
        Some(cli::Output::Json) => {
            terminal::tell(words);
            Ok(())
        }
        _ => terminal::print(words),
    }
}

/// What is merging under the name of a device: itself, or what its data is merged into.
fn merging<'a>(host: &'a Host, device: Option<&'a Device>) -> Option<&'a Device> {
    let device = device?;
    if device.merge().is_some() {
        return Some(device);
    }
    let real = device.origin_of().or_else(|| device.snapshot()?.real.number())?;
    host.origin_over(real).filter(|origin| origin.merge().is_some())
}

/// A volume of LVM that does not merge now.
fn at_activation(device: &Device, options: &cli::Live) -> anyhow::Result<Exit> {
    let label = device.label();
    let Some(volume) = device.volume() else { return Err(NoMerge(label).into()) };
    let volumes = Lvm::find()?.volumes()?;
    let waits = volumes.iter().filter(|it| it.vg == volume.vg).any(|it| {
        (it.lv == volume.lv && (it.is_merging_origin() || it.is_merging_snapshot()))
            || (it.is_merging_snapshot() && it.origin == volume.lv)
    });
    if !waits {
        return Err(NoMerge(label).into());
    }
    let shown = argument(&label);
    let words = format!(
        "LVM begins the merge into {label}, or goes on with it, when the volume is activated: \
         deactivate it (lvchange -an {shown}) once nobody uses it, and activate it again \
         (lvchange -ay {shown})."
    );
    say(options, &words)?;
    Ok(Exit::StillMerging)
}

/// Goes on with the merge of a journal, and shows it to its end.
async fn go_on(origin: String, options: &Resume) -> anyhow::Result<Exit> {
    let control = Control::open()?;
    let driver = match attach::turn(&control, &origin)? {
        Turn::Ours(driver) => driver,
        Turn::Theirs => {
            terminal::tell(&format!(
                "another merge-ctl drives the merge into {}",
                printable(&origin)
            ));
            let host = Host::read(&control)?;
            let device = host.by_name(&origin).with_context(|| format!("{origin} is gone"))?;
            return attach(control, &host, device, &options.live, record_to(options)?).await;
        }
    };
    // It may have been finished while we waited for our turn.
    let Some(journal) = Journal::of(&origin)? else { return Ok(Exit::Done) };
    match prepare(Raw::new(journal, driver), &control, options.yes)? {
        Ready::Over(words) => {
            say(&options.live, &words)?;
            Ok(Exit::Done)
        }
        Ready::Declined => Ok(declined()),
        Ready::Merging(raw) => {
            let host = Host::read(&control)?;
            let device = host.by_name(&origin).with_context(|| format!("{origin} is gone"))?;
            // It merges already, and is to be followed with a file or without.
            let recording = Recording::or_none(options.record.as_deref(), COMMAND, &options.live);
            show(control, &host, device, Driver::raw(*raw), &options.live, recording).await
        }
    }
}

/// The recording that is asked for.
fn record_to(options: &Resume) -> anyhow::Result<Option<Recording>> {
    Recording::asked_for(options.record.as_deref(), COMMAND, &options.live)
}

/// What became of a merge that was taken up.
enum Ready {
    /// It merges.
    Merging(Box<Raw>),
    /// It is over; in words.
    Over(String),
    /// Whoever was asked said no; nothing was changed.
    Declined,
}

/// Brings the devices of a journal to where the merge goes on.
fn prepare(mut raw: Raw, control: &Control, yes: bool) -> anyhow::Result<Ready> {
    rebuild_below(&mut raw, control, yes)?;
    let mut host = Host::read(control)?;
    let mut scene = raw.scene(control, &host)?;
    let name = printable(&raw.record().origin.name);
    if machine::state(raw.record(), &scene) == State::Failed {
        if recover_failed::with_journal(control, raw.journal(), yes)? == Recovery::Declined {
            return Ok(Ready::Declined);
        }
        host = Host::read(control)?;
        scene = raw.scene(control, &host)?;
    }
    if let Phase::Finishing { .. } = raw.record().phase {
        raw.finish(control)?;
        return Ok(Ready::Over(format!("The merge into {name} is finished.")));
    }
    if let Phase::Failed { .. } = raw.record().phase {
        // The devices were taken down since: the metadata is read again from disk.
        raw.journal().advance(Phase::Merging)?;
    }
    let place = machine::place(raw.record(), &scene);
    if machine::reads_the_store(raw.record(), &scene) {
        let left = exceptions_left(raw.record(), &host)?;
        if !left && place == Place::Plain {
            raw.close()?;
            return Ok(Ready::Over(format!("The merge into {name} was finished by others.")));
        }
    }
    if place == Place::Plain {
        may_begin_anew(raw.record(), &host, &scene, yes)?;
    }
    raw.drive(&Goal::Merge, "resumed", control)?;
    Ok(Ready::Merging(Box::new(raw)))
}

/// Goes on with a failed merge that is not in a journal, and shows it to its end.
async fn recover(control: Control, origin: &str, options: &Resume) -> anyhow::Result<Exit> {
    let drives = journal::Driver::take(origin)?;
    let recovery = recover_failed::without_journal(&control, origin, options.yes)?;
    drop(drives);
    shown(control, origin, recovery, options).await
}

/// The same for a volume of LVM that was taken down and not brought back.
async fn activate(control: Control, volume: &VolumeName, options: &Resume) -> anyhow::Result<Exit> {
    let recovery = recover_failed::activate(volume, options.yes)?;
    shown(control, &volume.to_dm(), recovery, options).await
}

fn declined() -> Exit {
    terminal::tell("nothing was changed");
    Exit::Refused
}

async fn shown(
    control: Control,
    origin: &str,
    recovery: Recovery,
    options: &Resume,
) -> anyhow::Result<Exit> {
    if recovery == Recovery::Declined {
        return Ok(declined());
    }
    let host = Host::read(&control)?;
    if let Some(origin) = host.by_name(origin).filter(|device| device.merge().is_some()) {
        attach(control, &host, origin, &options.live, record_to(options)?).await
    } else {
        terminal::tell(&format!("the merge into {} is done", printable(origin)));
        Ok(Exit::Done)
    }
}

/// After a reboot, or where the devices were taken down: finds the disks below, makes plain devices
/// on them again, and brings the journal up to date with their new numbers.
fn rebuild_below(raw: &mut Raw, control: &Control, yes: bool) -> anyhow::Result<()> {
    let boot = boot_id().context("cannot tell this boot from others")?;
    let same_boot = raw.record().boot_id == boot;
    let scene = raw.scene(control, &Host::read(control)?)?;
    let place = machine::place(raw.record(), &scene);
    let finished = place == Place::Plain && matches!(raw.record().phase, Phase::Finishing { .. });
    // Tables that are live hold on to the devices below. Without them a number of the record may
    // belong to another device by now, on the same boot too.
    if finished || (same_boot && !machine::reads_the_store(raw.record(), &scene)) {
        return Ok(());
    }
    let mapping = make_below(raw.record(), control)?;
    if !same_boot && !mapping.by_name_alone.is_empty() {
        let names = mapping.by_name_alone.join(", ");
        let question = format!(
            "{names}: known by name and size alone, because the hardware tells no serial number. \
             Another disk may have that name after a reboot. Is it the one of the merge?"
        );
        agreed(&question, yes, false)?;
    }
    let record = raw.record().over(&mapping, boot);
    if record != *raw.record() {
        raw.journal().replace(record)?;
    }
    Ok(())
}

fn make_below(record: &Record, control: &Control) -> anyhow::Result<Mapping> {
    for _ in 0..STEPS_BELOW {
        let host = Host::read(control)?;
        let disks = disk_identity::all().context("cannot list the disks")?;
        match record.below.next(&host, &disks)? {
            below::Next::There(mapping) => return Ok(mapping),
            below::Next::Step(step) => LiveExecutor::new(control, &host.devices).act(&step)?,
        }
    }
    anyhow::bail!("the devices below the merge cannot be made: each step is done, and none helps")
}

/// Whether the exceptions on disk are those of the merge, and any is left.
fn exceptions_left(record: &Record, host: &Host) -> anyhow::Result<bool> {
    let cow = record.args().and_then(|args| args.cow.number());
    let cow = cow.context("the journal names no device with the exceptions")?;
    let now = recording::mark(host, cow, record.origin_merging.length())?;
    if record.store.may_have_become(&now) {
        return Ok(!now.first.is_empty());
    }
    let origin = printable(&record.origin.name);
    Err(Refusal {
        obstacle: Obstacle::Unfit,
        reason: format!(
            "{} holds other exceptions than the merge into {origin} was begun with.",
            host.label_of(cow)
        ),
        way_out: "Somebody has used the device for something else since. Nothing was changed."
            .to_owned(),
    }
    .into())
}

/// A merge that is not under way, because its start was undone or because somebody has made the
/// origin anew: the same is asked as at a start.
fn may_begin_anew(record: &Record, host: &Host, scene: &Scene, yes: bool) -> anyhow::Result<()> {
    let at_rest =
        |seen: &merge_ctl::merge::executor::Seen| !seen.suspended && seen.inactive.is_none();
    if !scene.origin.iter().chain(&scene.snapshot).all(at_rest) {
        // Half-way into a start that was agreed to: nobody can use what is suspended.
        return Ok(());
    }
    let holders_of = |dev| holders::holders_of(dev).unwrap_or_default();
    let origin = host.by_name(&record.origin.name);
    let snapshot = record.snapshot.as_ref().and_then(|it| host.by_name(&it.device.name));
    match (snapshot, origin) {
        (Some(snapshot), _) => drop(preflight::check(host, snapshot, &holders_of)?),
        (None, Some(origin)) if origin.info.open_count > 0 => {
            return Err(Refusal {
                obstacle: Obstacle::InUse,
                reason: format!("{} is in use.", origin.label()),
                way_out: "Its content changes in an instant: stop what uses it first.".to_owned(),
            }
            .into());
        }
        _ => {}
    }
    let origin = printable(&record.origin.name);
    let question = format!(
        "The merge into {origin} is not running. What was written to {origin} since the snapshot \
         was taken will be lost, and a merge that has begun cannot be called off. Begin it?"
    );
    agreed(&question, yes, true)
}

/// Asks on a terminal; elsewhere nobody can answer, and `unasked` decides.
fn agreed(question: &str, yes: bool, unasked: bool) -> anyhow::Result<()> {
    let answer = if yes {
        true
    } else if io::stdin().is_terminal() {
        let mut err = io::stderr().lock();
        write!(err, "{question} [y/N] ")?;
        err.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        matches!(answer.trim(), "y" | "Y" | "yes")
    } else {
        unasked
    };
    if answer {
        return Ok(());
    }
    Err(Refusal {
        obstacle: Obstacle::Unfit,
        reason: question.to_owned(),
        way_out: "Nobody said yes: --yes does. Nothing was changed.".to_owned(),
    }
    .into())
}

/// Whether a merge that is no longer there has come to its end.
fn nothing_is_left(control: &Control, args: &SnapshotArgs, origin: &Device) -> bool {
    let mark = || {
        let host = Host::read(control).ok()?;
        recording::mark(&host, args.cow.number()?, origin.size()).ok()
    };
    mark().is_some_and(|mark| mark.first.is_empty())
}

/// Shows a merge that somebody else began, and finishes it if nobody else does.
///
/// # Errors
/// What cannot be shown or finished.
pub(crate) async fn attach(
    control: Control,
    host: &Host,
    origin: &Device,
    options: &cli::Live,
    recording: Option<Recording>,
) -> anyhow::Result<Exit> {
    let driver = match (origin.owner(), origin.volume()) {
        (Owner::Lvm, Some(volume)) => Driver::lvm(&volume.vg, &volume.lv),
        _ => Driver::Onlooker(origin.info.name.clone()),
    };
    show(control, host, origin, driver, options, recording).await
}

async fn show(
    control: Control,
    host: &Host,
    origin: &Device,
    driver: Driver,
    options: &cli::Live,
    recording: Option<Recording>,
) -> anyhow::Result<Exit> {
    let output = live::output(options)?;
    let signals = LeaveSignals::listen()?;
    let args = origin.merge().with_context(|| format!("{} does not merge", origin.label()))?;
    let mut watch = Watch::new(control, Probe::attach(live::probe_options(options)));
    let place = watch.add(host, origin, args, None)?;
    if driver.finishes() {
        watch.will_finish(place);
    }
    watch.read_store(place, None, FIRST_SAMPLE_WAITS);
    let merge = Followed::new(&mut watch, place, options).finished_by(Box::new(driver));
    if merge.model.state == State::Gone && nothing_is_left(watch.control(), args, origin) {
        let origin = printable(&origin.label());
        say(options, &format!("The merge into {origin} was finished by another."))?;
        return Ok(Exit::Done);
    }
    let face = Face::new_or_lines(output, options);
    let merges = vec![merge];
    let live = Live { watch, face, signals, merges, newcomers: None, recording, options };
    live.run().await
}
