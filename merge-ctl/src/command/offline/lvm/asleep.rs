//! A volume that is not active: the kernel does not know where it lies, so it is activated to look,
//! and is down again at the end, whatever the end is.

use std::process::ExitCode;

use merge_ctl::dm::{Control, Host, resolve};
use merge_ctl::harmless::{argument, printable};
use merge_ctl::lvm::lvm2::{Lvm, Volume};
use merge_ctl::lvm::names::{Layer, VolumeName};
use merge_ctl::lvm::offline::{Names, leftovers};
use merge_ctl::merge::preflight::gather::lvm_view;
use merge_ctl::merge::preflight::{Obstacle, Refusal, facts::LvmView};

use super::{Agreed, agree, merge, words};
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
        crate::command::offline::for_people(options)?;
        println!("{}", words::dry_run_asleep(&names));
        return Ok(Some(Exit::Done.into()));
    }
    terminal::tell(&words::woken(&names));
    let lvm = Lvm::find()?;
    lvm.activate(&names.vg, &names.origin)?;
    match awake(control, options, &lvm) {
        Ok(Agreed::Yes(captured)) => merge(control, lvm, *captured, options).await.map(Some),
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
    if is_in_other_hands(host, &names) {
        return Err(busy(&names));
    }
    judge(volume, names)
}

fn is_up(host: &Host, names: &Names) -> bool {
    host.by_name(&VolumeName::new(&names.vg, &names.origin).to_dm()).is_some()
}

/// Whether private devices stand in for the volume's own: they go with the process that made them.
pub(super) fn is_in_other_hands(host: &Host, names: &Names) -> bool {
    let real = VolumeName { layer: Layer::Real, ..VolumeName::new(&names.vg, &names.origin) };
    host.by_name(&real.to_dm()).is_some_and(|it| it.info.uuid.starts_with(leftovers::UUID_PREFIX))
}

pub(super) fn busy(names: &Names) -> Refusal {
    let (origin, snapshot) = (names.origin(), names.snapshot());
    Refusal {
        obstacle: Obstacle::AlreadyMerging,
        reason: format!("Another merge-ctl merges {snapshot} into {origin} offline right now."),
        way_out: format!(
            "Let it end, or stop it (Ctrl-C, kill -INT). To wait for it: lvchange -ay {}",
            argument(&origin)
        ),
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
