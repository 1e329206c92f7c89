//! How a volume stands: whether something is merged into it, is to be, or not at all.
//!
//! Asks device-mapper first, and lvm2 and the journals only where the kernel merges nothing: what is
//! put off, interrupted or not active is known to them alone. Changes nothing.

use merge_ctl::dm::resolve::{self, ResolveError};
use merge_ctl::dm::{Control, Device, Host};
use merge_ctl::harmless::argument;
use merge_ctl::lvm::lvm2::{Lvm, LvmError, Volume};
use merge_ctl::lvm::names::VolumeName;
use merge_ctl::merge::journal::{Journal, Phase, driver, intent};
use merge_ctl::sample::Owner;
use merge_ctl::state::State;

use super::super::elsewhere::{self, Elsewhere};
use crate::exit::Exit;

/// How a volume stands.
#[derive(Debug)]
pub(super) enum Standing {
    /// The kernel has the merge; the origin's device-mapper name.
    Merging(Host, String),
    /// Another merge-ctl is about to begin or to finish it.
    Driven,
    /// Another process merges it offline.
    Offline(Elsewhere),
    /// Another merge-ctl, this process, waits for the moment to begin it.
    Announced(u32),
    /// It is to be merged, and nothing happens until somebody acts.
    Pending(Pending),
    /// Nothing is merged, and nothing is to be.
    Nothing {
        /// The device-mapper name that was meant.
        dm_name: String,
        /// As its users call it.
        label: String,
    },
}

/// A merge that waits for somebody.
#[derive(Debug)]
pub(super) struct Pending {
    /// The origin's device-mapper name.
    pub(super) dm_name: String,
    /// As its users call it.
    pub(super) label: String,
    /// The snapshot, as its users call it.
    pub(super) snapshot: Option<String>,
    pub(super) owner: Owner,
    /// The state's word.
    pub(super) state: &'static str,
    /// What is the matter.
    pub(super) sentence: String,
    /// What ends it.
    pub(super) next: String,
    /// The exit status of who waits for it.
    pub(super) exit: Exit,
}

/// How the volume of a name stands.
///
/// # Errors
/// [`ResolveError`] where nothing is called so; what device-mapper, lvm2 or the journal answers.
pub(super) fn look(control: &Control, given: &str) -> anyhow::Result<Standing> {
    let host = Host::read(control)?;
    let resolved = resolve::resolve(&host, given);
    let reading = resolve::reading(given);
    let merging = match &resolved {
        Ok(device) => merge_of(&host, device),
        Err(_) => reading.as_deref().and_then(|name| host.merge_of_lvm_snapshot(name)),
    };
    if let Some(origin) = merging {
        let origin = origin.info.name.clone();
        return Ok(Standing::Merging(host, origin));
    }
    if let Some(elsewhere) = elsewhere::of(&host, given) {
        return Ok(Standing::Offline(elsewhere));
    }
    match resolved {
        Ok(device) => not_merging(origin_meant(&host, device)),
        Err(error) => not_active(reading, error),
    }
}

/// The merging origin that a device stands for: itself, or what its data is merged into.
fn merge_of<'a>(host: &'a Host, device: &'a Device) -> Option<&'a Device> {
    let origin = origin_meant(host, device);
    if origin.merge().is_some() {
        return Some(origin);
    }
    // What LVM leaves of a snapshot while it is merged carries its name, and no data.
    host.merge_of_lvm_snapshot(&device.info.name)
}

/// The origin of a snapshot; any other device itself.
fn origin_meant<'a>(host: &'a Host, device: &'a Device) -> &'a Device {
    host.origin_of_snapshot(device).unwrap_or(device)
}

fn not_merging(device: &Device) -> anyhow::Result<Standing> {
    let name = &device.info.name;
    let standing = match (device.owner(), device.volume()) {
        (Owner::Lvm, Some(volume)) => recorded(&volume)?,
        _ => journalled(name)?,
    };
    let announced = || intent::announced_by(name).map(Standing::Announced);
    Ok(standing.or_else(announced).unwrap_or_else(|| nothing(name, device.label())))
}

fn nothing(dm_name: &str, label: String) -> Standing {
    Standing::Nothing { dm_name: dm_name.to_owned(), label }
}

/// A name that device-mapper does not know: LVM or a journal may.
fn not_active(reading: Option<String>, error: ResolveError) -> anyhow::Result<Standing> {
    let Some(name) = reading else { return Err(error.into()) };
    if let Some(standing) = journalled(&name)? {
        return Ok(standing);
    }
    let Some(volume) = VolumeName::from_dm(&name) else { return Err(error.into()) };
    match Lvm::find().and_then(|lvm| lvm.volumes()) {
        Err(LvmError::Missing) => Err(error.into()),
        Err(failed) => Err(failed.into()),
        Ok(volumes) => match merge_in(&volumes, &volume) {
            Some(pending) => Ok(driven_or(pending)),
            None => match find(&volumes, &volume) {
                // It is down, and LVM is still to be told of the merge.
                Some(named) if is_driven(named) => Ok(Standing::Driven),
                Some(_) => Ok(nothing(&name, volume.to_string())),
                None => Err(error.into()),
            },
        },
    }
}

/// Whether another merge-ctl is at work on a volume, or on the origin of a snapshot.
fn is_driven(volume: &Volume) -> bool {
    let origin = if volume.origin.is_empty() { &volume.lv } else { &volume.origin };
    driver::driver_of(&VolumeName::new(&volume.vg, origin).to_dm()).is_some()
}

/// What a journal says of an origin by that name.
fn journalled(origin: &str) -> anyhow::Result<Option<Standing>> {
    let Some(journal) = Journal::of(origin)? else { return Ok(None) };
    if driver::driver_of(origin).is_some() {
        return Ok(Some(Standing::Driven));
    }
    let label = journal.record().origin.name.clone();
    let (state, exit, sentence) = match &journal.record().phase {
        Phase::Failed { why } => {
            (State::Failed.name(), Exit::Failed, format!("The merge has failed: {why}."))
        }
        _ => (
            "interrupted",
            Exit::StillMerging,
            "A merge was begun, and neither the kernel nor a merge-ctl works on it now.".to_owned(),
        ),
    };
    Ok(Some(Standing::Pending(Pending {
        dm_name: origin.to_owned(),
        snapshot: journal.record().snapshot.as_ref().map(|snapshot| snapshot.device.name.clone()),
        owner: Owner::DeviceMapper,
        state,
        exit,
        sentence,
        next: format!("Go on with it: merge-ctl resume {}", argument(&label)),
        label,
    })))
}

/// What LVM has recorded for a volume.
fn recorded(volume: &VolumeName) -> anyhow::Result<Option<Standing>> {
    if driver::driver_of(&volume.to_dm()).is_some() {
        return Ok(Some(Standing::Driven));
    }
    Ok(merge_in(&Lvm::find()?.volumes()?, volume).map(driven_or))
}

/// What LVM has on record waits for nobody while another merge-ctl is at work on it.
fn driven_or(pending: Pending) -> Standing {
    match driver::driver_of(&pending.dm_name) {
        Some(_) => Standing::Driven,
        None => Standing::Pending(pending),
    }
}

fn find<'a>(volumes: &'a [Volume], name: &VolumeName) -> Option<&'a Volume> {
    volumes.iter().find(|volume| volume.vg == name.vg && volume.lv == name.lv)
}

/// The merge that LVM has recorded for a volume, or for the origin of a snapshot.
fn merge_in(volumes: &[Volume], name: &VolumeName) -> Option<Pending> {
    let named = find(volumes, name)?;
    let origin = match named.is_merging_snapshot() {
        true => find(volumes, &VolumeName::new(&name.vg, &named.origin))?,
        false => named,
    };
    let snapshot = volumes.iter().find(|volume| {
        volume.vg == origin.vg && volume.origin == origin.lv && volume.is_merging_snapshot()
    });
    origin.is_merging_origin().then(|| put_off(origin, snapshot))
}

/// The merge into an origin that LVM is to begin, or to go on with.
fn put_off(origin: &Volume, snapshot: Option<&Volume>) -> Pending {
    let volume = VolumeName::new(&origin.vg, &origin.lv);
    let label = volume.to_string();
    let shown = argument(&label);
    let (state, sentence, next) = if origin.active.is_empty() {
        (
            "inactive",
            "The volume is not active: LVM begins the merge, or goes on with it, at the next \
             activation.",
            format!("Activate it: lvchange -ay {shown}"),
        )
    } else {
        (
            "scheduled",
            "LVM has recorded the merge and begins it at the next activation; until then nothing \
             is merged.",
            format!(
                "Stop or unmount what uses {label}, then: lvchange -an {shown} && lvchange -ay {shown}"
            ),
        )
    };
    Pending {
        dm_name: volume.to_dm(),
        snapshot: snapshot.map(|snapshot| format!("{}/{}", snapshot.vg, snapshot.lv)),
        owner: Owner::Lvm,
        state,
        sentence: sentence.to_owned(),
        next,
        exit: Exit::StillMerging,
        label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(lv: &str, attr: &str, origin: &str, active: &str) -> Volume {
        Volume {
            vg: "my-vg".to_owned(),
            lv: lv.to_owned(),
            attr: attr.to_owned(),
            segment_type: "linear".to_owned(),
            origin: origin.to_owned(),
            active: active.to_owned(),
            merging: String::new(),
            uuid: String::new(),
            health: String::new(),
            vg_attr: "wz--n-".to_owned(),
            missing_disks: "0".to_owned(),
        }
    }

    #[test]
    fn what_lvm_has_recorded_is_scheduled_or_inactive() {
        for (active, state) in [("active", "scheduled"), ("", "inactive")] {
            let volumes = [
                volume("a-b", "Owi-a-s---", "", active),
                volume("old", "swi-a-s---", "a-b", active),
                volume("snap", "Swi-a-s---", "a-b", active),
                volume("other", "owi-a-s---", "", active),
            ];
            for name in ["a-b", "snap"] {
                let pending = merge_in(&volumes, &VolumeName::new("my-vg", name)).unwrap();
                assert_eq!((pending.state, &*pending.dm_name), (state, "my--vg-a--b"));
                assert_eq!(pending.snapshot.as_deref(), Some("my-vg/snap"));
                assert!(pending.next.contains("lvchange -ay my-vg/a-b"), "{}", pending.next);
            }
            for name in ["other", "old", "absent"] {
                assert!(merge_in(&volumes, &VolumeName::new("my-vg", name)).is_none(), "{name}");
            }
        }
    }
}
