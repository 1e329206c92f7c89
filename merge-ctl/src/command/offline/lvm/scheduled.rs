//! `start --offline --scheduled`: a merge that LVM has on record, of a volume that is not active, and
//! that is not active afterwards: before a root is activated, above all.
//!
//! What always holds: nothing is activated here, and lvm2 is only asked. Whether the merge is wanted is
//! not asked either: it is on record, and nobody can call it off. Whatever the end is, an ordinary
//! activation merges what is left.

use std::process::ExitCode;

use merge_ctl::dm::{Control, Host, resolve};
use merge_ctl::harmless::{argument, printable};
use merge_ctl::lvm::lvm2::{Lvm, Volume};
use merge_ctl::lvm::names::{Layer, VolumeName};
use merge_ctl::lvm::offline::captured::Captured;
use merge_ctl::lvm::offline::hands::LvmHands;
use merge_ctl::lvm::offline::{self as steps, Names, StepError};
use merge_ctl::merge::journal::Driver;
use merge_ctl::merge::preflight::{Obstacle, Refusal};
use merge_ctl::offline::Outcome;
use merge_ctl::output::dry_run::DryRun;

use super::super::follow::{Subject, Volume as Left, Whose, follow_then};
use super::super::{dry_run, engine, is_over};
use super::asleep::clean_leftovers;
use super::{abandoned, dm_name, fit, halted, hands, not_held, stopped, words};
use crate::cli::Start;
use crate::command::live::LeaveSignals;
use crate::command::terminal;
use crate::exit::{Exit, TimeOver, Usage};

/// See the module.
///
/// # Errors
/// [`Refusal`]; what lvm2 or device-mapper answers.
pub(in crate::command::offline) async fn run_scheduled(
    control: &Control,
    options: &Start,
) -> anyhow::Result<ExitCode> {
    let name = asked_for(&options.snapshots)?;
    clean_leftovers(control, options)?;
    let lvm = Lvm::find()?;
    let volumes = lvm.volumes_of(&name.vg)?;
    let Some(names) = on_record(&volumes, &name)? else {
        terminal::tell(&words::nothing_on_record(&name.to_string()));
        return Ok(Exit::Done.into());
    };
    let host = Host::read(control)?;
    fit(&volumes, &names)?;
    let captured = captured(&host, &lvm, &names)?;
    if !captured.active_in(&host).is_empty() {
        return Err(active(&host, &names).into());
    }
    if options.offline.dry_run {
        rehearse(&lvm, &captured, options)?;
        return Ok(Exit::Done.into());
    }
    if is_over(options) {
        return Err(TimeOver.into());
    }
    let driver = Driver::take(&dm_name(&names))?;
    terminal::tell(&words::taken_up(&names));
    merge(&names, hands(control, lvm, captured, options), options, driver).await
}

/// Says what would be done.
fn rehearse(lvm: &Lvm, captured: &Captured, options: &Start) -> anyhow::Result<()> {
    let names = &captured.names;
    let steps = words::steps_recorded(captured, &lvm.disks_of(&names.vg)?);
    let (snapshot, real, cow) = (names.snapshot(), captured.real.label(), captured.cow.label());
    let run = DryRun {
        origin: &dm_name(names),
        origin_label: &names.origin(),
        snapshot: Some(&snapshot),
        owner: "lvm",
        devices: Some([&real, &cow]),
        terms: Whose::LvmOnRecord.terms(&engine(options)),
        // Only an activated volume, or private devices, could be read.
        counted: None,
        steps: &steps,
        notes: &[],
    };
    dry_run::print(&run, &words::dry_run_recorded(names, &steps), options)
}

fn asked_for(given: &[String]) -> Result<VolumeName, Usage> {
    let [given] = given else {
        return Err(Usage("one volume at a time is merged offline: name one".to_owned()));
    };
    let name = resolve::reading(given).and_then(|name| VolumeName::from_dm(&name));
    name.filter(|name| name.layer == Layer::Top)
        .ok_or_else(|| Usage(format!("{} is no name of a logical volume", printable(given))))
}

/// The merge on record that this name means, as origin or as snapshot; nothing where there is none.
fn on_record(volumes: &[Volume], name: &VolumeName) -> Result<Option<Names>, Usage> {
    let volumes = || volumes.iter().filter(|it| it.vg == name.vg);
    if !volumes().any(|it| it.lv == name.lv) {
        return Err(Usage(format!("LVM knows no volume {}", printable(&name.to_string()))));
    }
    let is_meant = |it: &&Volume| {
        it.is_merging_snapshot()
            && it.is_thick_snapshot()
            && (it.lv == name.lv || it.origin == name.lv)
    };
    Ok(volumes().find(is_meant).map(|it| Names {
        vg: it.vg.clone(),
        origin: it.origin.clone(),
        snapshot: it.lv.clone(),
    }))
}

type Is = fn(&Volume) -> bool;

/// Refuses what may not be merged offline, by what LVM says of it.
fn fit(volumes: &[Volume], names: &Names) -> Result<(), Refusal> {
    let by_kernel = |refusal| Refusal { way_out: way_out(names), ..refusal };
    fit::alone(volumes, names).map_err(by_kernel)?;
    fit::here(volumes, names).map_err(by_kernel)?;
    let own =
        |it: &&Volume| it.vg == names.vg && [&names.origin, &names.snapshot].contains(&&it.lv);
    let is_any = |is: Is| volumes.iter().filter(own).any(is);
    let obstacles: [(Is, &str); 4] = [
        (Volume::is_in_partial_group, "a disk of its group is missing"),
        (Volume::is_in_exported_group, "its group is exported"),
        (Volume::is_in_read_only_group, "its group is read-only"),
        (Volume::is_locked, "it is being moved or converted"),
    ];
    match obstacles.into_iter().find(|(is, _)| is_any(*is)) {
        Some((_, why)) => Err(unfit(why, names)),
        None => Ok(()),
    }
}

fn captured(host: &Host, lvm: &Lvm, names: &Names) -> anyhow::Result<Captured> {
    let (parts, disks) = (lvm.parts_of(&names.vg)?, lvm.group_disks_of(&names.vg)?);
    let segments = lvm.segments_of(&names.vg)?;
    match Captured::on_record(host, names.clone(), &parts, &disks, &segments) {
        Ok(captured) => Ok(captured),
        Err(StepError::Unfit(why)) => Err(unfit(&why.to_string(), names).into()),
        Err(error) => Err(error.into()),
    }
}

fn unfit(why: &str, names: &Names) -> Refusal {
    let origin = printable(&names.origin());
    Refusal {
        obstacle: Obstacle::Unfit,
        reason: format!("{origin} cannot be merged offline: {}.", printable(why)),
        way_out: way_out(names),
    }
}

fn way_out(names: &Names) -> String {
    format!("Let the kernel merge it: lvchange -ay {}", argument(&names.origin()))
}

fn active(host: &Host, names: &Names) -> Refusal {
    let (origin, volume) = (printable(&names.origin()), argument(&names.origin()));
    if host.by_name(&dm_name(names)).is_some_and(|device| device.merge().is_some()) {
        return Refusal {
            obstacle: Obstacle::AlreadyMerging,
            reason: format!("{origin} is active: the kernel merges already."),
            way_out: format!("To watch it: merge-ctl monitor {volume}"),
        };
    }
    Refusal {
        obstacle: Obstacle::InUse,
        reason: format!(
            "{origin} is active, or a part of it is: the merge on record begins at its next activation."
        ),
        way_out: format!(
            "Stop or unmount what uses it, then: lvchange -an {volume}, and ask again. For a root \
             volume: at the next boot (docs/offline.md, \"At boot\")."
        ),
    }
}

/// Does it. `_driver` tells others who is at work on the volume, as long as that is so.
async fn merge(
    names: &Names,
    mut hands: LvmHands<'_>,
    options: &Start,
    _driver: Driver,
) -> anyhow::Result<ExitCode> {
    let subject = Subject {
        origin: printable(&names.origin()),
        dm_name: Some(dm_name(names)),
        snapshot: Some(printable(&names.snapshot())),
        whose: Whose::LvmOnRecord,
        origin_dev: None,
    };
    let mut signals = LeaveSignals::listen()?;
    let devices = match steps::prepare_recorded(&mut hands) {
        Ok(devices) => devices,
        Err(halt) => return Ok(not_held(halt, names, options).into()),
    };
    if signals.have_come().await {
        drop(devices);
        return Ok(stopped(steps::abandon(&mut hands), names).into());
    }
    let mut left = None;
    let outcome = follow_then(&subject, devices, options, signals, async |outcome| {
        left = Some(match outcome {
            Ok(Outcome::Merged(_)) => given_up(&mut hands, names),
            Ok(Outcome::Stopped) => stopped(steps::abandon(&mut hands), names),
            Err(_) => abandoned(&mut hands, names),
        });
        // It is for the activation to finish it.
        Ok(Left::NotYet)
    })
    .await;
    outcome?;
    Ok(left.unwrap_or(Exit::Error).into())
}

/// All is merged; the rest comes with the activation.
fn given_up(hands: &mut LvmHands<'_>, names: &Names) -> Exit {
    match steps::abandon(hands) {
        Ok(()) => {
            terminal::tell(&words::emptied(names));
            Exit::Done
        }
        Err(halt) => halted(halt, names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(lv: &str, attr: &str, origin: &str, vg_attr: &str) -> Volume {
        let text = format!(
            r#"{{"vg_name":"vg","lv_name":"{lv}","lv_attr":"{attr}","segtype":"linear",
            "origin":"{origin}","lv_active":"","lv_merging":"","lv_uuid":"","vg_attr":"{vg_attr}"}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn volumes() -> Vec<Volume> {
        vec![
            volume("root", "Owi---s---", "", "wz--n-"),
            volume("snap", "Swi---s---", "root", "wz--n-"),
            volume("data", "owi---s---", "", "wz--n-"),
            volume("daily", "swi---s---", "data", "wz--n-"),
        ]
    }

    fn names() -> Names {
        Names { vg: "vg".into(), origin: "root".into(), snapshot: "snap".into() }
    }

    #[test]
    fn a_merge_on_record_is_found_by_either_name() {
        let found = |lv: &str| on_record(&volumes(), &VolumeName::new("vg", lv));
        assert_eq!(found("root").unwrap(), Some(names()));
        assert_eq!(found("snap").unwrap(), Some(names()));
        assert_eq!(found("data").unwrap(), None);
        assert_eq!(found("daily").unwrap(), None);
        assert!(found("rot").unwrap_err().to_string().contains("vg/rot"));
    }

    #[test]
    fn a_name_is_taken_in_every_form() {
        let read = |given: &str| asked_for(&[given.to_owned()]).map(|name| name.to_string());
        for given in ["my-vg/root", "/dev/my-vg/root", "/dev/mapper/my--vg-root", "my--vg-root"] {
            assert_eq!(read(given).unwrap(), "my-vg/root", "{given}");
        }
        for given in ["root", "vg-root-real", "/dev/sda1/x/y"] {
            read(given).unwrap_err();
        }
        asked_for(&["vg/a".to_owned(), "vg/b".to_owned()]).unwrap_err();
    }

    #[test]
    fn what_lvm_says_of_the_group_is_heeded() {
        fit(&volumes(), &names()).unwrap();
        for vg_attr in ["wz-pn-", "wzx-n-", "rz--n-", "wz--ns"] {
            let all = [volume("root", "Owi---s---", "", vg_attr)];
            let refusal = fit(&all, &names()).unwrap_err();
            assert!(refusal.way_out.ends_with("lvchange -ay vg/root"), "{refusal}");
        }
        let mut all = volumes();
        all.push(volume("other", "swi---s---", "root", "wz--n-"));
        assert!(fit(&all, &names()).unwrap_err().reason.contains("vg/other"));
    }
}
