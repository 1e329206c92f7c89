//! A volume that is not active: the kernel does not know where it lies, so it is activated to look,
//! and is down again at the end, whatever the end is.

use std::process::ExitCode;

use merge_ctl::dm::{Control, Host, resolve};
use merge_ctl::harmless::{argument, printable};
use merge_ctl::lvm::lvm2::{Lvm, Volume};
use merge_ctl::lvm::names::VolumeName;
use merge_ctl::lvm::offline::{Names, leftovers};
use merge_ctl::merge::journal::Driver;
use merge_ctl::merge::journal::driver::driver_of;
use merge_ctl::merge::preflight::gather::lvm_view;
use merge_ctl::merge::preflight::{Obstacle, Refusal, facts::LvmView};
use merge_ctl::output::dry_run::DryRun;

use super::super::follow::Whose;
use super::super::{dry_run, engine};
use super::{Agreed, agree, dm_name, merge, words};
use crate::cli::Start;
use crate::command::{plans, terminal};
use crate::exit::{self, Exit};

/// Merges the snapshot that is asked for, where LVM knows it and it is not active; nothing where that
/// is not so. What a killed run has left behind is cleaned first.
///
/// # Errors
/// [`Refusal`]; what lvm2 or device-mapper answers.
pub(in crate::command::offline) async fn run_asleep(
    control: &Control,
    options: &Start,
) -> anyhow::Result<Option<ExitCode>> {
    clean_leftovers(control, options)?;
    let [given] = &options.snapshots[..] else { return Ok(None) };
    let Some(names) = sleeping(&Host::read(control)?, given)? else { return Ok(None) };
    if options.offline.dry_run {
        let snapshot = names.snapshot();
        let run = DryRun {
            origin: &dm_name(&names),
            origin_label: &names.origin(),
            snapshot: Some(&snapshot),
            owner: "lvm",
            devices: None,
            terms: Whose::Lvm.terms(&engine(options)),
            counted: None,
            steps: &words::steps_asleep(&names),
            notes: &[],
        };
        dry_run::print(&run, &words::dry_run_asleep(&names), options)?;
        return Ok(Some(Exit::Done.into()));
    }
    let driver = Driver::take(&dm_name(&names))?;
    terminal::tell(&words::woken(&names));
    let lvm = Lvm::find()?;
    lvm.activate(&names.vg, &names.origin)?;
    match awake(control, options, &lvm) {
        Ok(Agreed::Yes(captured)) => {
            merge(control, lvm, *captured, options, driver).await.map(Some)
        }
        Ok(Agreed::No(exit)) => {
            lvm.deactivate(&names.vg, &names.origin)?;
            Ok(Some(exit.into()))
        }
        Err(error) => {
            if let Err(down) = lvm.deactivate(&names.vg, &names.origin) {
                terminal::tell(&exit::words(&down.into()));
            }
            Err(error)
        }
    }
}

/// Removes what a killed run has left behind.
pub(super) fn clean_leftovers(control: &Control, options: &Start) -> anyhow::Result<()> {
    if options.offline.dry_run {
        return Ok(());
    }
    for name in leftovers::clean(control)? {
        let name = printable(&name);
        terminal::tell(&format!("removed {name}, which a killed offline merge had left"));
    }
    Ok(())
}

/// The same as of one that was active.
fn awake(control: &Control, options: &Start, lvm: &Lvm) -> anyhow::Result<Agreed> {
    let host = plans::settled_host(control, &options.snapshots)?;
    let plans = plans::gate(control, &host, &options.snapshots, false)?;
    let [plan] = &plans[..] else {
        anyhow::bail!("one snapshot at a time is merged offline: name one");
    };
    agree(control, &host, plan, options, lvm, false)
}

/// The volumes, where the name means a snapshot that LVM knows and the kernel does not.
fn sleeping(host: &Host, given: &str) -> Result<Option<Names>, Refusal> {
    if resolve::resolve(host, given).is_ok() {
        return Ok(None);
    }
    let name = resolve::reading(given).and_then(|name| VolumeName::from_dm(&name));
    let Some(VolumeName { vg, lv, .. }) = name else { return Ok(None) };
    // Whatever else is in the way is told by the gate, which looks as well.
    let LvmView::Volumes(volumes) = lvm_view(&vg) else { return Ok(None) };
    let Some(volume) = volumes.iter().find(|it| it.vg == vg && it.lv == lv) else {
        return Ok(None);
    };
    let names = Names { vg, origin: volume.origin.clone(), snapshot: lv };
    if is_up(host, &names) {
        return Ok(None);
    }
    if let Some(pid) = driver_of(&dm_name(&names)) {
        return Err(busy(&names, pid));
    }
    judge(volume, names)
}

fn is_up(host: &Host, names: &Names) -> bool {
    host.by_name(&dm_name(names)).is_some()
}

/// Another process is about to merge it, or about to bring it up again.
fn busy(names: &Names, pid: u32) -> Refusal {
    let origin = names.origin();
    Refusal {
        obstacle: Obstacle::AlreadyMerging,
        reason: format!(
            "{} is being merged offline into {} by process {pid}.",
            printable(&names.snapshot()),
            printable(&origin)
        ),
        way_out: format!("To wait for it: merge-ctl wait {}.", argument(&origin)),
    }
}

fn judge(volume: &Volume, names: Names) -> Result<Option<Names>, Refusal> {
    if volume.is_merging_snapshot() {
        let (origin, snapshot) = (names.origin(), names.snapshot());
        return Err(Refusal {
            obstacle: Obstacle::AlreadyMerging,
            reason: format!(
                "LVM has the merge of {snapshot} on record already, and {origin} is not active: the \
                 kernel merges what is left once it is."
            ),
            way_out: format!(
                "Let it: lvchange -ay {volume}. Or merge it offline first: \
                 merge-ctl start --offline --scheduled {volume}",
                volume = argument(&origin)
            ),
        });
    }
    Ok(volume.is_thick_snapshot().then_some(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_on_record_is_gone_on_with_by_an_activation() {
        let volume = |attr: &str| -> Volume {
            let text = format!(
                r#"{{"vg_name":"vg","lv_name":"snap","lv_attr":"{attr}","segtype":"linear",
                "origin":"data","lv_active":"","lv_merging":"","lv_uuid":""}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let names = Names { vg: "vg".into(), origin: "data".into(), snapshot: "snap".into() };
        assert_eq!(judge(&volume("swi---s---"), names.clone()), Ok(Some(names.clone())));
        assert_eq!(judge(&volume("Vwi---tz-k"), names.clone()), Ok(None));
        let refusal = judge(&volume("Swi---s---"), names).unwrap_err();
        assert!(refusal.way_out.contains("lvchange -ay vg/data"), "{}", refusal.way_out);
        assert!(refusal.way_out.ends_with("--offline --scheduled vg/data"), "{}", refusal.way_out);
    }
}
