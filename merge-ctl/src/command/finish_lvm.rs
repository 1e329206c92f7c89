//! `merge-ctl finish` of a logical volume: lvm2 does it, we see to it that it has.
//!
//! For a merge that nobody polls: of a root volume that the initramfs activated with `--sysinit`,
//! or whose `lvconvert` was killed. What always holds: the table is swapped by lvm2 alone, after we
//! have made it look; done is only what lvm2's own metadata and the kernel both say. A merge of which
//! LVM's metadata knows nothing is refused: lvm2 would not finish it, and at the next activation
//! would show the origin as if nothing had been merged.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use merge_ctl::dm::device::Slot;
use merge_ctl::dm::{Control, DeviceId, Host, Target};
use merge_ctl::harmless::argument;
use merge_ctl::human;
use merge_ctl::lvm::lvm2::{Lvm, Volume};
use merge_ctl::lvm::names::VolumeName;
use merge_ctl::merge::preflight::{Obstacle, Refusal};

use super::terminal;
use crate::exit::Exit;

/// How long lvm2 may take once it was made to look.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is made to look.
const NUDGE_EVERY: Duration = Duration::from_secs(10);
/// Between two looks at the table.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Makes lvm2 finish the merge that is done in the kernel, and waits until it has.
///
/// # Errors
/// [`Refusal`] where LVM knows of no merge; what lvm2 or device-mapper answers.
pub(crate) fn run(control: &Control, origin: &VolumeName) -> anyhow::Result<Exit> {
    let lvm = Lvm::find()?;
    let Some(snapshot) = merging_into(&lvm.volumes()?, origin) else {
        // lvm2's own look may have come in between; it holds its lock until the table is swapped.
        if !is_plain(control, origin)? {
            return Err(unknown_to_lvm(origin).into());
        }
        terminal::print(&format!(
            "{} lvm2 has just finished the merge.",
            plainly(control, origin)?
        ))?;
        return Ok(Exit::Done);
    };
    let begun = Instant::now();
    let mut nudged = None;
    loop {
        if nudged.is_none_or(|at: Instant| at.elapsed() >= NUDGE_EVERY) {
            nudged = Some(Instant::now());
            lvm.poll(&origin.vg, &origin.lv)?;
        }
        // The kernel is asked often, lvm2 once the kernel says yes: its answers cost locks and scans.
        if is_plain(control, origin)? && merging_into(&lvm.volumes()?, origin).is_none() {
            terminal::print(&format!("{} LVM has dropped {snapshot}.", plainly(control, origin)?))?;
            return Ok(Exit::Done);
        }
        if begun.elapsed() >= PATIENCE {
            terminal::tell(&format!(
                "lvm2 was asked to finish the merge of {snapshot} into {origin}, and has \
                 not for {}. See what it says: lvchange --poll y -v {}",
                human::duration(PATIENCE.as_secs() * 1_000_000_000),
                argument(&origin.to_string())
            ));
            return Ok(Exit::StillMerging);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// The snapshot that LVM says is merged into a volume.
fn merging_into(volumes: &[Volume], origin: &VolumeName) -> Option<String> {
    let is_ours = |volume: &&Volume| {
        volume.vg == origin.vg && volume.origin == origin.lv && volume.is_merging_snapshot()
    };
    volumes.iter().find(is_ours).map(|volume| format!("{}/{}", volume.vg, volume.lv))
}

fn is_plain(control: &Control, origin: &VolumeName) -> anyhow::Result<bool> {
    let table = control.table(DeviceId::Name(&origin.to_dm()), Slot::Live)?;
    Ok(!matches!(table.only(), Some(Target::SnapshotMerge(_))))
}

/// What the origin is now, in a sentence.
fn plainly(control: &Control, origin: &VolumeName) -> anyhow::Result<String> {
    let host = Host::read(control)?;
    let device = host.by_name(&origin.to_dm()).with_context(|| format!("{origin} is gone"))?;
    let siblings = device.origin_of().map_or(0, |real| host.snapshots_of(real).count());
    Ok(match siblings {
        0 => format!("{origin} is an ordinary volume again."),
        count => {
            let snapshots = human::counted(count as u64, "snapshot");
            format!("{origin} is an origin with {snapshots} again.")
        }
    })
}

fn unknown_to_lvm(origin: &VolumeName) -> Refusal {
    Refusal {
        obstacle: Obstacle::Unfit,
        reason: format!(
            "The kernel has merged a snapshot into {origin}, and LVM's metadata knows nothing of it"
        ),
        way_out:
            "Somebody swapped its table behind LVM's back. lvm2 will not finish this merge, and \
                  at the next activation shows the origin as it was before. Do not deactivate it: \
                  copy its content away first."
                .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_merge_that_lvm_knows_of_is_finished() {
        let volume = |vg: &str, lv: &str, attr: &str, origin: &str| Volume {
            vg: vg.to_owned(),
            lv: lv.to_owned(),
            attr: attr.to_owned(),
            segment_type: "linear".to_owned(),
            origin: origin.to_owned(),
            active: "active".to_owned(),
            merging: String::new(),
            uuid: String::new(),
            health: String::new(),
            vg_attr: "wz--n-".to_owned(),
            missing_disks: "0".to_owned(),
        };
        let volumes = [
            volume("vg", "data", "Owi-a-s---", ""),
            volume("vg", "old", "swi-a-s---", "data"),
            volume("vg", "snap", "Swi-a-s---", "data"),
            volume("other", "snap", "Swi-a-s---", "else"),
        ];
        let into = |vg, lv| merging_into(&volumes, &VolumeName::new(vg, lv));
        assert_eq!(into("vg", "data").as_deref(), Some("vg/snap"));
        assert_eq!((into("other", "data"), into("vg", "else")), (None, None));
    }
}
