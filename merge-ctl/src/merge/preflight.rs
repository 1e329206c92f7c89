//! Whether a snapshot may be merged, and how: decided from a picture of the host, before anything
//! is changed. When unsure, it refuses.

use std::fmt;

use super::handover::Handover;
use crate::dm::holders::{Holder, Holders};
use crate::dm::{Device, Host, SnapshotArgs, SnapshotStatus, Table, Target};
use crate::lvm::names::VolumeName;
use crate::sample::Owner;
use crate::units::{DeviceNumber, Sectors};

/// Why a merge is refused, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}\n{way_out}")]
pub struct Refusal {
    /// What sort of obstacle it is.
    pub obstacle: Obstacle,
    /// What is in the way.
    pub reason: String,
    /// What to do about it.
    pub way_out: String,
}

/// Obstacles that call for different answers of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// What was asked for does not fit what is there.
    Unfit,
    /// Somebody has a device open. It may be a scan that is over in a moment.
    InUse,
    /// The merge still runs.
    StillMerging,
    /// The merge failed, or its store is invalid.
    Failed,
}

/// What is merged, and how.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// The snapshot.
    pub snapshot: &'a Device,
    /// What it is merged into.
    pub origin: &'a Device,
    /// The snapshot's table.
    pub args: SnapshotArgs,
    /// Data in the snapshot that has to be copied back.
    pub to_merge: Sectors,
    /// The way.
    pub way: Way,
    /// What is worth knowing before it begins, a sentence each.
    pub notes: Vec<String>,
}

/// The two ways to begin a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By our own steps.
    DeviceMapper(Box<Handover>),
    /// By lvm2, which has to know of it.
    Lvm {
        /// The volume group.
        vg: String,
        /// The snapshot's volume.
        snapshot: String,
        /// The origin's volume.
        origin: String,
        /// Whether somebody uses the origin, so that LVM will put the merge off.
        origin_in_use: bool,
    },
}

/// Who holds a device open, as far as anybody can tell.
pub trait HoldersOf {
    /// The holders of one device.
    fn holders_of(&self, dev: DeviceNumber) -> Holders;
}

impl<F: Fn(DeviceNumber) -> Holders> HoldersOf for F {
    fn holders_of(&self, dev: DeviceNumber) -> Holders {
        self(dev)
    }
}

/// Decides whether and how `device` is merged into its origin.
///
/// # Errors
/// The first thing that is in the way.
pub fn check<'a>(
    host: &'a Host,
    device: &'a Device,
    holders: &impl HoldersOf,
) -> Result<Plan<'a>, Refusal> {
    let args = a_snapshot(host, device)?;
    let to_merge = a_mergeable_store(device, args)?;
    let origin = its_origin(host, device, args)?;
    for device in [device, origin] {
        at_rest(device)?;
    }
    not_in_use(device, holders)?;
    let (way, notes) = match (device.owner(), origin.owner()) {
        (Owner::Lvm, Owner::Lvm) => (by_lvm(device, origin)?, Vec::new()),
        (Owner::DeviceMapper, Owner::DeviceMapper) => {
            let notes = origin_free(origin, holders)?;
            (Way::DeviceMapper(Box::new(handover(device, origin, args))), notes)
        }
        _ => return Err(half_of_lvm(device, origin)),
    };
    Ok(Plan { snapshot: device, origin, args: args.clone(), to_merge, way, notes })
}

pub(super) fn refusal(reason: impl Into<String>, way_out: impl Into<String>) -> Refusal {
    Refusal { obstacle: Obstacle::Unfit, reason: reason.into(), way_out: way_out.into() }
}

fn a_snapshot<'a>(host: &Host, device: &'a Device) -> Result<&'a SnapshotArgs, Refusal> {
    let label = device.label();
    if let Some(args) = device.snapshot() {
        return Ok(args);
    }
    if device.merge().is_some() {
        return Err(already_merging(device));
    }
    if let Some(real) = device.origin_of() {
        let snapshots: Vec<_> = host.snapshots_of(real).map(Device::label).collect();
        return Err(refusal(
            format!("{label} is not a snapshot: it is the origin of {}.", join(&snapshots, "none")),
            "Name the snapshot that is to be merged into it.",
        ));
    }
    match device.table.only().map(Target::kind) {
        Some("thin") => Err(refusal(
            format!("{label} is a thin volume, not a snapshot with exceptions of its own."),
            format!(
                "A thin snapshot is not copied back, it takes its origin's place: \
                 `lvconvert --merge {label}`."
            ),
        )),
        kind => Err(refusal(
            format!(
                "{label} is not a snapshot but {}.",
                kind.unwrap_or("several targets in a row")
            ),
            format!(
                "Snapshots on this host: {}.",
                join(&host.snapshots().map(Device::label).collect::<Vec<_>>(), "none")
            ),
        )),
    }
}

fn already_merging(origin: &Device) -> Refusal {
    let label = origin.label();
    refusal(
        format!("A snapshot is already being merged into {label}."),
        format!("Watch it: merge-ctl monitor {label}."),
    )
}

fn a_mergeable_store(device: &Device, args: &SnapshotArgs) -> Result<Sectors, Refusal> {
    let label = device.label();
    let lost = "What it held cannot be had back from it; restore from a backup, and remove it.";
    if !args.persistence.is_on_disk() {
        return Err(refusal(
            format!(
                "{label} is transient (N): its exceptions are in memory, and the kernel \
                     merges only persistent ones (P)."
            ),
            "Copy the snapshot's content to the origin by hand while nobody uses the origin, if \
             that is what you want.",
        ));
    }
    match &device.status {
        Some(SnapshotStatus::Usage(usage)) => Ok(usage.exceptions()),
        Some(SnapshotStatus::Invalid) => {
            Err(refusal(format!("{label} is invalid: the kernel has given it up."), lost))
        }
        Some(SnapshotStatus::Overflow) => Err(refusal(
            format!("{label} has overflowed: its COW device is full and changes were lost."),
            lost,
        )),
        Some(SnapshotStatus::MergeFailed) => Err(refusal(
            format!("An earlier merge of {label} failed."),
            "Deactivate origin and snapshot fully, so that the metadata is read again from disk, \
             and activate them anew.",
        )),
        Some(SnapshotStatus::Unknown(text)) => Err(refusal(
            format!("The state of {label} is not known: the kernel says {text:?}."),
            "Look at `dmsetup status` and the kernel log.",
        )),
        None => Err(refusal(
            format!("The state of {label} is not known: the kernel tells none."),
            "Look at `dmsetup status` and the kernel log.",
        )),
    }
}

fn its_origin<'a>(
    host: &'a Host,
    device: &Device,
    args: &SnapshotArgs,
) -> Result<&'a Device, Refusal> {
    let label = device.label();
    let origin = host.origin_of_snapshot(device).ok_or_else(|| {
        refusal(
            format!("No snapshot-origin device lies over {}, the data below {label}.", args.real),
            "The merge target has to take the place of one: create it, and use the volume through \
             it.",
        )
    })?;
    if origin.merge().is_some() {
        return Err(already_merging(origin));
    }
    if origin.size() != device.size() {
        return Err(refusal(
            format!("{label} and its origin {} differ in size.", origin.label()),
            "Somebody has resized one of them; bring both to the same size first.",
        ));
    }
    if origin.info.read_only {
        return Err(refusal(
            format!("The origin {} is read-only.", origin.label()),
            "Make it writable first.",
        ));
    }
    Ok(origin)
}

/// A device that is suspended, or has a second table, is in somebody else's hands.
pub(super) fn at_rest(device: &Device) -> Result<(), Refusal> {
    let label = device.label();
    if device.info.suspended {
        return Err(refusal(
            format!("{label} is suspended."),
            format!("Find out who did it and why; `dmsetup resume {}` ends it.", device.info.name),
        ));
    }
    if device.info.inactive_table {
        return Err(refusal(
            format!("{label} has a second table loaded: somebody is about to change it."),
            format!("If nobody is: `dmsetup clear {}`.", device.info.name),
        ));
    }
    Ok(())
}

fn not_in_use(snapshot: &Device, holders: &impl HoldersOf) -> Result<(), Refusal> {
    if snapshot.info.open_count == 0 {
        return Ok(());
    }
    let found = holders.holders_of(snapshot.info.dev);
    Err(Refusal {
        obstacle: Obstacle::InUse,
        reason: format!("The snapshot {} is in use: {}.", snapshot.label(), Names(&found)),
        way_out: "It goes away with the merge: stop or unmount what uses it first.".to_owned(),
    })
}

/// The origin's content changes under its users, and a file system would not survive it: only
/// processes that have the device itself open may go on.
fn origin_free(origin: &Device, holders: &impl HoldersOf) -> Result<Vec<String>, Refusal> {
    if origin.info.open_count == 0 {
        return Ok(Vec::new());
    }
    let label = origin.label();
    let found = holders.holders_of(origin.info.dev);
    match in_the_way(&found) {
        Some((how, way_out)) => Err(Refusal {
            obstacle: Obstacle::InUse,
            reason: format!("The origin {label} is {how}."),
            way_out: format!("Its content changes in an instant: {way_out}."),
        }),
        None => Ok(vec![format!(
            "The origin {label} is open ({found}): what its users hold in memory of it will be \
             out of date."
        )]),
    }
}

/// The user of an origin that would not survive the merge, and how to be rid of it; nothing where
/// all users are processes that can be seen.
fn in_the_way(holders: &Holders) -> Option<(String, String)> {
    if holders.0.is_empty() {
        return Some((
            "open, by somebody who cannot be seen from here".to_owned(),
            "it may be mounted in another namespace or lie behind a loop device; find out, and \
             stop it first"
                .to_owned(),
        ));
    }
    holders.0.iter().find_map(|holder| match holder {
        Holder::Mount { path } => Some((
            format!("mounted on {}", path.display()),
            format!("no mounted file system survives that; `umount {}` first", path.display()),
        )),
        Holder::Swap => Some(("used as swap".to_owned(), "`swapoff` it first".to_owned())),
        Holder::Device { name } => Some((
            format!("below {name}"),
            format!("who uses it through {name} cannot be seen; deactivate {name} first"),
        )),
        Holder::Process { .. } => None,
    })
}

fn by_lvm(device: &Device, origin: &Device) -> Result<Way, Refusal> {
    let names = (device.volume(), origin.volume());
    match names {
        (Some(VolumeName { vg, lv: snapshot, .. }), Some(VolumeName { vg: same, lv, .. }))
            if vg == same =>
        {
            Ok(Way::Lvm { vg, snapshot, origin: lv, origin_in_use: origin.info.open_count > 0 })
        }
        _ => Err(half_of_lvm(device, origin)),
    }
}

fn half_of_lvm(device: &Device, origin: &Device) -> Refusal {
    refusal(
        format!(
            "{} and its origin {} do not both belong to one volume group of LVM, nor to nobody.",
            device.info.name, origin.info.name
        ),
        "merge-ctl does not touch a volume of LVM behind LVM's back: merge it with the tool that \
         set it up.",
    )
}

fn handover(snapshot: &Device, origin: &Device, args: &SnapshotArgs) -> Handover {
    let merging = Target::SnapshotMerge(args.clone());
    Handover {
        origin: origin.info.name.clone(),
        origin_before: origin.table.clone(),
        origin_merging: Table::single(origin.size(), merging),
        snapshot: snapshot.info.name.clone(),
        snapshot_error: Table::single(snapshot.size(), Target::Error),
    }
}

fn join(words: &[String], none: &str) -> String {
    if words.is_empty() { none.to_owned() } else { words.join(", ") }
}

/// Holders in words, also where nobody was found.
struct Names<'a>(&'a Holders);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.0.is_empty() {
            return f.write_str("by somebody who cannot be seen from here");
        }
        self.0.fmt(f)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::dm::host::tests::device;
    use std::path::PathBuf;

    /// An origin with one sound snapshot.
    pub(in crate::merge) fn picture() -> Host {
        Host {
            devices: vec![
                device(0, "real", "0 800 linear 7:0 0", ""),
                device(1, "origin", "0 800 snapshot-origin 253:0", ""),
                device(2, "cow", "0 400 linear 7:1 0", ""),
                device(3, "snap", "0 800 snapshot 253:0 253:2 P 8", "64/400 16"),
            ],
        }
    }

    fn nobody(_: DeviceNumber) -> Holders {
        Holders::default()
    }

    fn refused(host: &Host, name: &str) -> String {
        let device = host.by_name(name).unwrap();
        check(host, device, &nobody).unwrap_err().to_string()
    }

    fn lvm(device: &mut Device) {
        device.info.uuid = format!("LVM-{}", "x".repeat(64));
    }

    #[test]
    fn a_sound_snapshot_is_handed_over_live() {
        let host = picture();
        let plan = check(&host, host.by_name("snap").unwrap(), &nobody).unwrap();
        assert_eq!(plan.to_merge, Sectors(48));
        let Way::DeviceMapper(handover) = plan.way else { panic!("{:?}", plan.way) };
        assert_eq!(
            handover.origin_merging,
            Table::parse("0 800 snapshot-merge 253:0 253:2 P 8").unwrap()
        );
        assert_eq!(handover.origin_before, Table::parse("0 800 snapshot-origin 253:0").unwrap());
        assert_eq!(handover.snapshot_error, Table::parse("0 800 error").unwrap());
    }

    #[test]
    fn what_is_no_snapshot_is_refused_with_what_is_one() {
        let host = picture();
        assert!(refused(&host, "real").contains("snap"));
        assert!(refused(&host, "origin").contains("the origin of snap"));
        let mut thin = picture();
        thin.devices[3].table = Table::parse("0 800 thin 253:9 1").unwrap();
        assert!(refused(&thin, "snap").contains("lvconvert --merge"));
    }

    #[test]
    fn stores_that_cannot_be_merged_are_refused() {
        for (status, word) in [
            ("Invalid", "invalid"),
            ("Overflow", "overflowed"),
            ("Merge failed", "failed"),
            ("Unknown", "not known"),
        ] {
            let mut host = picture();
            host.devices[3].status = Some(SnapshotStatus::parse(status));
            assert!(refused(&host, "snap").contains(word), "{}", refused(&host, "snap"));
        }
        let mut host = picture();
        host.devices[3].table = Table::parse("0 800 snapshot 253:0 253:2 N 8").unwrap();
        assert!(refused(&host, "snap").contains("transient"));
    }

    #[test]
    fn devices_in_other_hands_are_refused() {
        fn suspend(device: &mut Device) {
            device.info.suspended = true;
        }
        fn load(device: &mut Device) {
            device.info.inactive_table = true;
        }
        for change in [suspend as fn(&mut Device), load] {
            for index in [1, 3] {
                let mut host = picture();
                change(&mut host.devices[index]);
                refused(&host, "snap");
            }
        }
        let mut host = picture();
        host.devices[1].table = Table::parse("0 800 snapshot-merge 253:0 253:7 P 8").unwrap();
        assert!(refused(&host, "snap").contains("already"));
        let mut host = picture();
        host.devices[1].table = Table::parse("0 1600 snapshot-origin 253:0").unwrap();
        assert!(refused(&host, "snap").contains("size"));
        let mut host = picture();
        host.devices.remove(1);
        assert!(refused(&host, "snap").contains("No snapshot-origin"));
    }

    #[test]
    fn a_snapshot_in_use_and_a_mounted_origin_are_refused_and_an_open_origin_is_noted() {
        let mut host = picture();
        host.devices[3].info.open_count = 1;
        assert!(refused(&host, "snap").contains("in use"));

        let mut host = picture();
        host.devices[1].info.open_count = 1;
        let process = || Holder::Process { comm: "fio".to_owned(), pid: 7 };
        for (holders, word) in [
            (vec![process(), Holder::Mount { path: PathBuf::from("/srv") }], "umount /srv"),
            (vec![Holder::Swap], "swapoff"),
            (vec![Holder::Device { name: "crypt".to_owned() }], "below crypt"),
            (vec![], "cannot be seen"),
        ] {
            let held = |_| Holders(holders.clone());
            let error = check(&host, &host.devices[3], &held).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let open = |_| Holders(vec![process()]);
        let plan = check(&host, &host.devices[3], &open).unwrap();
        assert!(plan.notes[0].contains("fio[7]"), "{:?}", plan.notes);
    }

    #[test]
    fn a_volume_of_lvm_goes_through_lvm_and_half_of_one_nowhere() {
        let mut host = picture();
        host.devices[1].info.name = "vg-data".to_owned();
        host.devices[3].info.name = "vg-sn--ap".to_owned();
        lvm(&mut host.devices[3]);
        assert!(refused(&host, "vg-sn--ap").contains("behind LVM's back"));
        lvm(&mut host.devices[1]);
        let plan = check(&host, &host.devices[3], &nobody).unwrap();
        let Way::Lvm { vg, snapshot, origin, origin_in_use } = plan.way else { panic!() };
        assert_eq!((&*vg, &*snapshot, &*origin, origin_in_use), ("vg", "sn-ap", "data", false));
    }
}
