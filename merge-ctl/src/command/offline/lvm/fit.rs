//! Whether a snapshot that preflight lets pass may be merged offline too: nobody uses anything, there
//! are no other snapshots, and its places on the disks are known.

use std::thread;
use std::time::Duration;

use merge_ctl::dm::{Control, Device, DeviceId, Host, holders};
use merge_ctl::harmless::{argument, printable};
use merge_ctl::lvm::lvm2::{Lvm, Volume};
use merge_ctl::lvm::offline::captured::Captured;
use merge_ctl::lvm::offline::{Names, StepError};
use merge_ctl::merge::preflight::{Obstacle, Plan, Refusal, Way};

/// How often a device that is in use is looked at again: a scan is over in a moment.
const LOOKS: u32 = 8;
/// Between two such looks.
const PAUSE: Duration = Duration::from_millis(200);

/// What the merge must know, where it may be done.
///
/// # Errors
/// [`Refusal`]; what lvm2 or device-mapper answers.
pub(super) fn captured(
    control: &Control,
    host: &Host,
    plan: &Plan<'_>,
    lvm: &Lvm,
    found_active: bool,
) -> anyhow::Result<Captured> {
    let names = names(plan)?;
    unused(control, plan.origin)?;
    unused(control, plan.snapshot)?;
    let volumes = lvm.volumes_of(&names.vg)?;
    alone(&volumes, &names)?;
    here(&volumes, &names)?;
    let segments = lvm.segments_of(&names.vg)?;
    match Captured::of(host, names.clone(), &plan.args, found_active, &segments) {
        Ok(captured) => Ok(captured),
        Err(StepError::Unfit(unfit)) => Err(unfit_for_offline(&format!("{unfit}."), &names).into()),
        Err(error) => Err(error.into()),
    }
}

fn names(plan: &Plan<'_>) -> anyhow::Result<Names> {
    let Way::Lvm { vg, snapshot, origin, .. } = &plan.way else {
        anyhow::bail!("{} is no volume of LVM", plan.snapshot.label());
    };
    Ok(Names { vg: vg.clone(), origin: origin.clone(), snapshot: snapshot.clone() })
}

/// Refuses a device that somebody has open, by name.
fn unused(control: &Control, device: &Device) -> anyhow::Result<()> {
    for look in 1..=LOOKS {
        if control.info(DeviceId::Uuid(&device.info.uuid))?.open_count == 0 {
            return Ok(());
        }
        if look < LOOKS {
            thread::sleep(PAUSE);
        }
    }
    let holders = holders::holders_of(device.info.dev).unwrap_or_default();
    let who = if holders.0.is_empty() {
        "by somebody who cannot be seen from here".to_owned()
    } else {
        holders.to_string()
    };
    let label = device.label();
    Err(Refusal {
        obstacle: Obstacle::InUse,
        reason: format!("{label} is in use: {who}. An offline merge takes it down."),
        way_out: "Stop or unmount what uses it; or merge without --offline, while it is in use."
            .to_owned(),
    }
    .into())
}

/// Other snapshots see the origin's old data through it: what is copied behind it would change them.
pub(super) fn alone(volumes: &[Volume], names: &Names) -> Result<(), Refusal> {
    let is_other =
        |it: &&Volume| it.vg == names.vg && it.origin == names.origin && it.lv != names.snapshot;
    let others: Vec<_> =
        volumes.iter().filter(is_other).map(|it| format!("{}/{}", it.vg, it.lv)).collect();
    if others.is_empty() {
        return Ok(());
    }
    let origin = names.origin();
    let reason = format!(
        "{origin} has other snapshots ({}): an offline merge would change what they show.",
        others.join(", ")
    );
    Err(unfit_for_offline(&reason, names))
}

/// Our lock keeps others out on this host only.
pub(super) fn here(volumes: &[Volume], names: &Names) -> Result<(), Refusal> {
    if !volumes.iter().any(|it| it.vg == names.vg && it.is_in_shared_group()) {
        return Ok(());
    }
    let reason = format!(
        "The volume group {} is shared with other hosts, which an offline merge cannot hold off.",
        names.vg
    );
    Err(unfit_for_offline(&reason, names))
}

fn unfit_for_offline(reason: &str, names: &Names) -> Refusal {
    Refusal {
        obstacle: Obstacle::Unfit,
        reason: printable(reason),
        way_out: format!(
            "Let the kernel merge it: merge-ctl start {}.",
            argument(&names.snapshot())
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(lv: &str, origin: &str, vg_attr: &str) -> Volume {
        let text = format!(
            r#"{{"vg_name":"vg","lv_name":"{lv}","lv_attr":"swi-a-s---","segtype":"linear",
            "origin":"{origin}","lv_active":"","lv_merging":"","lv_uuid":"","vg_attr":"{vg_attr}"}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn siblings_and_shared_groups_are_refused_by_name() {
        let names = Names { vg: "vg".into(), origin: "data".into(), snapshot: "snap".into() };
        let one = volume("snap", "data", "wz--n-");
        let other = volume("daily", "data", "wz--n-");
        let elsewhere = volume("x", "root", "wz--n-");
        alone(&[one.clone(), elsewhere.clone()], &names).unwrap();
        here(std::slice::from_ref(&one), &names).unwrap();
        let refusal = alone(&[one, elsewhere, other], &names).unwrap_err().to_string();
        assert!(refusal.contains("vg/daily") && !refusal.contains("vg/x"), "{refusal}");
        assert!(refusal.contains("merge-ctl start vg/snap"), "{refusal}");
        for attr in ["wz--ns", "wz--nc"] {
            here(&[volume("snap", "data", attr)], &names).unwrap_err();
        }
    }
}
