//! Offline merges that another process has in its hands right now: the kernel shows no merge then, so
//! whoever looks for one must be told.
//!
//! A merge of plain device-mapper is known by its journal and the lock of whoever drives it; one of LVM
//! by its private devices, which somebody has open. Nothing is opened or changed to find them, so the
//! engine, which has the devices for itself, notices nothing. How far it is only its process knows.

use std::time::{SystemTime, UNIX_EPOCH};

use merge_ctl::dm::{Device, Host, holders};
use merge_ctl::harmless::{argument, printable};
use merge_ctl::human;
use merge_ctl::lvm::names::{Layer, VolumeName, VolumeUuid};
use merge_ctl::lvm::offline::leftovers::UUID_PREFIX;
use merge_ctl::merge::journal::{self, Phase, Record, driver};
use merge_ctl::merge::preflight::{Obstacle, Refusal};
use merge_ctl::sample::Owner;
use merge_ctl::state::State;
use serde::Serialize;

use super::attach;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Elsewhere {
    /// The origin's device-mapper name.
    pub(crate) origin: String,
    /// As its users call it.
    pub(crate) origin_label: String,
    /// The snapshot as its users call it.
    pub(crate) snapshot: Option<String>,
    /// Who has to be asked for the volume.
    pub(crate) owner: Owner,
    /// The state's word: `starting`, `merging`, `finishing` or `failed`.
    pub(crate) state: &'static str,
    /// The process, where it can be seen.
    pub(crate) driver_pid: Option<u32>,
    /// When it began, in seconds since 1970, UTC.
    pub(crate) begun_unix_s: Option<u64>,
    /// The snapshot's device-mapper name.
    #[serde(skip)]
    snapshot_dm: Option<String>,
}

/// All of this host.
pub(crate) fn all(host: &Host) -> Vec<Elsewhere> {
    let journals = journal::list().unwrap_or_default().into_iter().flatten();
    let raw = journals.filter_map(|journal| of_record(host, journal.record(), driver::driver_of));
    let reals = host.devices.iter().filter_map(|device| private(device, &Layer::Real));
    raw.chain(reals.map(|real| of_private(host, &real))).collect()
}

/// The one that is meant by the name of its origin or its snapshot.
pub(crate) fn of(host: &Host, given: &str) -> Option<Elsewhere> {
    let name = attach::name_of(host, given)?;
    all(host).into_iter().find(|it| it.is_called(&name))
}

/// Refuses to begin what another process merges.
///
/// # Errors
/// [`Refusal`], which names the process.
pub(crate) fn refuse(host: &Host, snapshots: &[String]) -> Result<(), Refusal> {
    match snapshots.iter().find_map(|given| of(host, given)) {
        Some(it) => Err(it.refusal(Obstacle::AlreadyMerging)),
        None => Ok(()),
    }
}

impl Elsewhere {
    /// Whether a device-mapper name is its origin's or its snapshot's.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.origin == name || self.snapshot_dm.as_deref() == Some(name)
    }

    /// Whether the snapshot is there again: then it was called off, and nothing was merged. Of LVM's
    /// volumes only an active one can be seen.
    pub(crate) fn was_called_off(&self, host: &Host) -> bool {
        let snapshot = self.snapshot_dm.as_deref().and_then(|name| host.by_name(name));
        snapshot.is_some_and(|device| device.snapshot().is_some())
    }

    /// `vg/snap is being merged offline into vg/data by process 4711`.
    pub(crate) fn clause(&self) -> String {
        let snapshot = self.snapshot.as_deref().unwrap_or("a snapshot");
        let (snapshot, origin) = (printable(snapshot), printable(&self.origin_label));
        format!("{snapshot} is being merged offline into {origin} by {}", self.driver())
    }

    /// The process, in words.
    pub(crate) fn driver(&self) -> String {
        self.driver_pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    }

    /// What `status` says of it.
    pub(crate) fn sentence(&self) -> String {
        let so_long = self.begun_unix_s.and_then(|begun| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
            Some(format!(", for {}", human::seconds(now.checked_sub(begun)? as f64)))
        });
        format!(
            "{}: {}{}. {}",
            printable(&self.origin_label),
            self.clause(),
            so_long.unwrap_or_default(),
            self.way_on()
        )
    }

    /// What somebody can do who does not want to merge, but to watch.
    pub(crate) fn way_on(&self) -> String {
        format!(
            "How far it is only that process shows. To wait for it: merge-ctl wait {}",
            argument(&self.origin_label)
        )
    }

    /// Why nothing else is done with the volume.
    pub(crate) fn refusal(&self, obstacle: Obstacle) -> Refusal {
        Refusal { obstacle, reason: format!("{}.", self.clause()), way_out: self.way_on() + "." }
    }
}

/// Of a journal; nothing where the merge is not offline, is in the kernel's hands or in nobody's.
fn of_record(
    host: &Host,
    record: &Record,
    driver_of: impl Fn(&str) -> Option<u32>,
) -> Option<Elsewhere> {
    let origin = &record.origin.name;
    let is_merging = || host.by_name(origin).is_some_and(|device| device.merge().is_some());
    if !record.offline || is_merging() {
        return None;
    }
    let driver_pid = Some(driver_of(origin)?);
    let snapshot = record.snapshot.as_ref().map(|snapshot| snapshot.device.name.clone());
    Some(Elsewhere {
        origin: origin.clone(),
        origin_label: origin.clone(),
        snapshot: snapshot.clone(),
        owner: Owner::DeviceMapper,
        state: match record.phase {
            Phase::Starting => State::Starting,
            Phase::Merging => State::Merging,
            Phase::Finishing { .. } => State::Finishing,
            Phase::Failed { .. } => State::Failed,
        }
        .name(),
        driver_pid,
        begun_unix_s: Some(record.begun_unix_s),
        snapshot_dm: snapshot,
    })
}

/// A private device of an offline merge of LVM.
struct Private<'a> {
    device: &'a Device,
    /// The volume that it stands in for.
    volume: VolumeName,
    uuid: VolumeUuid,
}

/// Reads a device as one for this layer. One that nobody has open is a leftover, and one that has not
/// got its name yet is not used yet.
fn private<'a>(device: &'a Device, layer: &Layer) -> Option<Private<'a>> {
    let info = &device.info;
    let uuid = VolumeUuid::parse(&format!("LVM-{}", info.uuid.strip_prefix(UUID_PREFIX)?))?;
    let volume = VolumeName::from_dm(&info.name)?;
    let fits = uuid.layer == *layer && volume.layer == *layer;
    (fits && info.open_count > 0).then_some(Private { device, volume, uuid })
}

fn of_private(host: &Host, real: &Private<'_>) -> Elsewhere {
    let origin = VolumeName::new(&real.volume.vg, &real.volume.lv);
    let dm_name = origin.to_dm();
    let driver_pid = driver::driver_of(&dm_name).or_else(|| users_of(real.device).first().copied());
    let snapshot =
        cow_of(host, real, driver_pid).map(|cow| VolumeName::new(&cow.volume.vg, &cow.volume.lv));
    Elsewhere {
        begun_unix_s: driver::since(&dm_name),
        origin_label: origin.to_string(),
        snapshot: snapshot.as_ref().map(ToString::to_string),
        owner: Owner::Lvm,
        state: State::Merging.name(),
        driver_pid,
        snapshot_dm: snapshot.map(|snapshot| snapshot.to_dm()),
        origin: dm_name,
    }
}

/// The device of the exceptions that belongs to this one: of the same group, and, where several are
/// merged at once, in the same hands.
fn cow_of<'a>(host: &'a Host, real: &Private<'_>, pid: Option<u32>) -> Option<Private<'a>> {
    let cows = host.devices.iter().filter_map(|device| private(device, &Layer::Cow));
    let mut cows: Vec<_> = cows.filter(|cow| cow.uuid.vg == real.uuid.vg).collect();
    if cows.len() > 1 {
        cows.retain(|cow| pid.is_some_and(|pid| users_of(cow.device).contains(&pid)));
    }
    cows.pop()
}

/// Processes that have it open.
fn users_of(device: &Device) -> Vec<u32> {
    let holders = holders::holders_of(device.info.dev).unwrap_or_default().0;
    let pid = |holder| match holder {
        holders::Holder::Process { pid, .. } => Some(pid),
        _ => None,
    };
    holders.into_iter().filter_map(pid).collect()
}

#[cfg(test)]
mod tests {
    use merge_ctl::merge::journal::Named;

    use super::super::status::tests::{device, picture, record};
    use super::*;

    #[test]
    fn a_journal_tells_of_a_merge_that_somebody_drives_and_the_kernel_does_not_have() {
        let host = picture();
        let named = |name: &str| Named { name: name.to_owned(), uuid: String::new() };
        let offline = Record { offline: true, ..record("away", Phase::Merging) };
        let found = of_record(&host, &offline, |_| Some(7)).unwrap();
        assert_eq!((found.state, found.driver_pid), ("merging", Some(7)));
        assert!(found.is_called("away") && !found.is_called("data"));
        assert!(found.sentence().contains("by process 7"), "{}", found.sentence());
        assert_eq!(of_record(&host, &offline, |_| None), None, "nobody drives it");
        let online = Record { offline: false, ..offline.clone() };
        assert_eq!(of_record(&host, &online, |_| Some(7)), None);
        let with_the_kernel = Record { origin: named("held"), ..offline };
        assert_eq!(of_record(&host, &with_the_kernel, |_| Some(7)), None);
    }

    #[test]
    fn private_devices_tell_of_a_merge_of_lvm() {
        let of = |minor, name: &str, lv: char, layer: &str, open| {
            let mut device = device(minor, name, "0 8 linear 7:0 0", "");
            let (vg, lv) = ("v".repeat(32), lv.to_string().repeat(32));
            device.info.uuid = format!("{UUID_PREFIX}{vg}{lv}-{layer}");
            device.info.open_count = open;
            device
        };
        let devices = vec![
            of(0, "vg-da--ta-real", 'd', "real", 1),
            of(1, "vg-snap-cow", 's', "cow", 1),
            of(2, "vg-left-real", 'l', "real", 0),
            of(3, &format!("merge-ctl-{}-real", "n".repeat(32)), 'n', "real", 1),
        ];
        let host = Host { devices };
        let reals: Vec<_> =
            host.devices.iter().filter_map(|device| private(device, &Layer::Real)).collect();
        let [real] = &reals[..] else { panic!("{} devices", reals.len()) };
        let found = of_private(&host, real);
        assert_eq!(found.origin_label, "vg/da-ta");
        assert_eq!(found.snapshot.as_deref(), Some("vg/snap"));
        assert!(found.is_called("vg-da--ta") && found.is_called("vg-snap"));
        let refusal = found.refusal(Obstacle::AlreadyMerging);
        assert!(refusal.way_out.ends_with("merge-ctl wait vg/da-ta."), "{refusal:?}");
    }
}
