//! The devices that a merge stands on, and how they are found, or made, again after a reboot.
//!
//! A disk is known by what its hardware says of it; by its name alone only where there is nothing
//! else, and then whoever resumes the merge has to say yes to that. A device-mapper device of a
//! simple kind (a linear one, say) is made again from its table. All others, those of LVM, crypt or
//! multipath, belong to somebody who makes them: they must be there before.
//!
//! What always holds: nothing is changed that is there and has a table; what is there under a
//! recorded name and is something else is refused.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use crate::dm::{Device, DiskIdentity, Host, Table};
use crate::merge::executor::Step;
use crate::units::DeviceNumber;

/// Targets that hold nothing but a mapping, and no secret: they may be written down and made again.
const PLAIN_TARGETS: [&str; 6] = ["linear", "striped", "zero", "error", "delay", "flakey"];

/// See the module. What a device stands on comes before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Below(Vec<Node>);

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Node {
    /// Its number when it was recorded.
    dev: DeviceNumber,
    #[serde(flatten)]
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum What {
    /// No device of device-mapper.
    Disk(DiskIdentity),
    /// One that is made again.
    Plain { name: String, uuid: String, table: Table },
    /// One that somebody else makes.
    Foreign { name: String, uuid: String },
}

/// Why the devices below cannot be had. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// There is no such disk now.
    #[error("the disk {name}{} is not there: attach it", words(serial.as_deref()))]
    Disk {
        /// Its name when it was recorded.
        name: String,
        /// Its serial number or world-wide identifier.
        serial: Option<String>,
    },
    /// More than one fits.
    #[error("several disks may be {name}: {}", candidates.join(", "))]
    Ambiguous {
        /// Its name when it was recorded.
        name: String,
        /// Their names now.
        candidates: Vec<String>,
    },
    /// A device that somebody else makes is not there.
    #[error("{name} is not there: it is not merge-ctl's to make. Activate it")]
    Foreign {
        /// Its name.
        name: String,
    },
    /// Its name belongs to another device.
    #[error("{name} is not the device that it was: {why}. Rename or remove it")]
    Other {
        /// Its name.
        name: String,
        /// The difference.
        why: String,
    },
}

fn words(serial: Option<&str>) -> String {
    serial.map_or_else(String::new, |serial| format!(" ({serial})"))
}

/// What a device's number was, and what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    now: BTreeMap<DeviceNumber, DeviceNumber>,
    /// Disks that were known by nothing but their name and their size. On the boot of the record
    /// that is enough; after another, only whoever resumes the merge can say.
    pub by_name_alone: Vec<String>,
}

impl Mapping {
    /// The number now; the same for a device that was not recorded.
    pub fn get(&self, before: DeviceNumber) -> DeviceNumber {
        self.now.get(&before).copied().unwrap_or(before)
    }
}

/// What is to be done next to have all devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This, and then look again.
    Step(Step),
    /// Nothing: all are there.
    There(Mapping),
}

/// All block devices of a machine that are not of device-mapper, or all at all.
pub type Disks = [(DeviceNumber, DiskIdentity)];

impl Below {
    /// Records the devices below `tops`, and these too.
    ///
    /// # Errors
    /// What `identify` says of a disk.
    pub fn of(
        host: &Host,
        tops: &[DeviceNumber],
        identify: &impl Fn(DeviceNumber) -> io::Result<DiskIdentity>,
    ) -> io::Result<Self> {
        let mut below = Self::default();
        for top in tops {
            below.add(host, *top, identify)?;
        }
        Ok(below)
    }

    fn add(
        &mut self,
        host: &Host,
        dev: DeviceNumber,
        identify: &impl Fn(DeviceNumber) -> io::Result<DiskIdentity>,
    ) -> io::Result<()> {
        if self.0.iter().any(|node| node.dev == dev) {
            return Ok(());
        }
        let what = match host.by_dev(dev) {
            None => What::Disk(identify(dev)?),
            Some(device) if is_plain(device) => {
                for under in device.table.devices() {
                    self.add(host, under, identify)?;
                }
                let (name, uuid) = (device.info.name.clone(), device.info.uuid.clone());
                What::Plain { name, uuid, table: device.table.clone() }
            }
            Some(device) => {
                What::Foreign { name: device.info.name.clone(), uuid: device.info.uuid.clone() }
            }
        };
        self.0.push(Node { dev, what });
        Ok(())
    }

    /// The next step on the way to having all devices again. To be asked anew after each.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn next(&self, host: &Host, disks: &Disks) -> Result<Next, Missing> {
        let mut mapping = Mapping::default();
        for node in &self.0 {
            let now = match &node.what {
                What::Disk(before) => disk(before, disks, &mut mapping.by_name_alone)?,
                What::Foreign { name, uuid } => foreign(host, name, uuid)?,
                What::Plain { name, uuid, table } => {
                    let table = table.over(|dev| mapping.get(dev));
                    match plain(host, name, uuid, &table)? {
                        Ok(dev) => dev,
                        Err(step) => return Ok(Next::Step(step)),
                    }
                }
            };
            mapping.now.insert(node.dev, now);
        }
        Ok(Next::There(mapping))
    }

    /// The same devices under the numbers that they have now.
    #[must_use]
    pub fn over(&self, now: &Mapping) -> Self {
        let node = |node: &Node| {
            let what = match &node.what {
                What::Plain { name, uuid, table } => What::Plain {
                    name: name.clone(),
                    uuid: uuid.clone(),
                    table: table.over(|dev| now.get(dev)),
                },
                what => what.clone(),
            };
            Node { dev: now.get(node.dev), what }
        };
        Self(self.0.iter().map(node).collect())
    }
}

fn is_plain(device: &Device) -> bool {
    // A UUID says whose it is: LVM-, CRYPT-, mpath-.
    let nobodys = device.info.uuid.is_empty();
    nobodys && device.table.0.iter().all(|line| PLAIN_TARGETS.contains(&line.target.kind()))
}

fn disk(
    before: &DiskIdentity,
    disks: &Disks,
    by_name_alone: &mut Vec<String>,
) -> Result<DeviceNumber, Missing> {
    let candidates: Vec<_> = disks.iter().filter(|(_, now)| now.may_be(before)).collect();
    let name = || before.name.clone();
    match candidates.as_slice() {
        [(dev, _)] => {
            if !before.is_certain() {
                by_name_alone.push(name());
            }
            Ok(*dev)
        }
        [] => {
            let serial = before.serial.clone().or_else(|| before.wwid.clone());
            Err(Missing::Disk { name: name(), serial })
        }
        several => {
            let candidates = several.iter().map(|(_, now)| now.name.clone()).collect();
            Err(Missing::Ambiguous { name: name(), candidates })
        }
    }
}

fn foreign(host: &Host, name: &str, uuid: &str) -> Result<DeviceNumber, Missing> {
    let device = host.by_name(name).ok_or_else(|| Missing::Foreign { name: name.to_owned() })?;
    same_uuid(device, uuid)?;
    match device.info.live_table {
        true => Ok(device.info.dev),
        false => Err(Missing::Foreign { name: name.to_owned() }),
    }
}

/// The device's number, or the step that brings it nearer.
fn plain(
    host: &Host,
    name: &str,
    uuid: &str,
    table: &Table,
) -> Result<Result<DeviceNumber, Step>, Missing> {
    let Some(device) = host.by_name(name) else {
        return Ok(Err(Step::Create(name.to_owned(), uuid.to_owned())));
    };
    same_uuid(device, uuid)?;
    if device.info.live_table {
        return if device.table == *table {
            Ok(Ok(device.info.dev))
        } else {
            let why = format!("its table is `{}`, not `{table}`", device.table);
            Err(Missing::Other { name: name.to_owned(), why })
        };
    }
    // What was loaded is looked at once it is live.
    Ok(Err(match device.info.inactive_table {
        true => Step::Resume(name.to_owned()),
        false => Step::Load(name.to_owned(), table.clone()),
    }))
}

fn same_uuid(device: &Device, uuid: &str) -> Result<(), Missing> {
    if device.info.uuid == uuid {
        return Ok(());
    }
    let why = format!("its UUID is {:?}, not {uuid:?}", device.info.uuid);
    Err(Missing::Other { name: device.info.name.clone(), why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::host::tests::device;
    use crate::units::Sectors;

    const fn number(major: u32, minor: u32) -> DeviceNumber {
        DeviceNumber { major, minor }
    }

    fn identity(name: &str, serial: Option<&str>) -> DiskIdentity {
        DiskIdentity {
            name: name.to_owned(),
            size: Sectors(4000),
            partition_start: None,
            serial: serial.map(str::to_owned),
            wwid: None,
            backing_file: None,
        }
    }

    /// `real` on a delay on a disk, `cow` on a volume of LVM.
    fn host() -> Host {
        let mut cow = device(2, "vg-cow", "0 400 linear 8:16 0", "");
        cow.info.uuid = format!("LVM-{}", "x".repeat(64));
        Host {
            devices: vec![
                device(0, "slow", "0 4000 delay 8:0 0 20", ""),
                device(1, "real", "0 800 linear 253:0 64", ""),
                cow,
            ],
        }
    }

    fn recorded(serial: Option<&str>) -> Below {
        let identify = |dev| {
            assert_eq!(dev, number(8, 0), "the disk below LVM is LVM's matter");
            Ok(identity("sda", serial))
        };
        Below::of(&host(), &[number(253, 1), number(253, 2)], &identify).unwrap()
    }

    /// Carries steps out on a picture, as the kernel would; new devices get the next minor.
    fn act(host: &mut Host, step: &Step) {
        let position = host.devices.iter().position(|device| device.info.name == step.device());
        match step {
            Step::Create(name, uuid) => {
                let minor = 10 + host.devices.len() as u32;
                let mut created = device(minor, name, "", "");
                created.info.uuid.clone_from(uuid);
                created.info.live_table = false;
                host.devices.push(created);
            }
            Step::Load(_, table) => {
                let device = &mut host.devices[position.unwrap()];
                device.info.inactive_table = true;
                device.table = table.clone();
            }
            Step::Resume(_) => {
                let device = &mut host.devices[position.unwrap()];
                device.info.inactive_table = false;
                device.info.live_table = true;
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn on_the_same_boot_all_is_there() {
        let disks = [(number(8, 0), identity("sda", Some("7")))];
        let Next::There(mapping) = recorded(Some("7")).next(&host(), &disks).unwrap() else {
            panic!()
        };
        assert_eq!(mapping.get(number(253, 1)), number(253, 1));
        assert!(mapping.by_name_alone.is_empty());
    }

    #[test]
    fn after_a_reboot_plain_devices_are_made_again_on_what_the_disk_is_now() {
        let below = recorded(Some("7"));
        let disks = [
            (number(8, 0), identity("sda", Some("8"))),
            (number(8, 48), identity("sdd", Some("7"))),
        ];
        let mut now = Host { devices: vec![host().devices.remove(2)] };
        now.devices[0].info.dev = number(253, 7);
        let mut steps = Vec::new();
        let mapping = loop {
            match below.next(&now, &disks).unwrap() {
                Next::There(mapping) => break mapping,
                Next::Step(step) => {
                    act(&mut now, &step);
                    steps.push(step.to_string());
                }
            }
        };
        assert_eq!(
            steps,
            [
                "create slow",
                "load `0 4000 delay 8:48 0 20` into slow",
                "resume slow",
                "create real",
                "load `0 800 linear 253:11 64` into real",
                "resume real",
            ]
        );
        assert_eq!(mapping.get(number(253, 1)), number(253, 12));
        assert_eq!(mapping.get(number(253, 2)), number(253, 7));
        let Next::There(again) = below.over(&mapping).next(&now, &disks).unwrap() else { panic!() };
        assert_eq!(again.get(number(253, 12)), number(253, 12));
    }

    #[test]
    fn what_is_not_there_or_is_something_else_is_told() {
        let below = recorded(Some("7"));
        let disk = |name, serial| (number(8, 0), identity(name, serial));
        let missing = |host: &Host, disks: &Disks| below.next(host, disks).unwrap_err();
        assert!(matches!(missing(&host(), &[]), Missing::Disk { .. }));
        assert!(matches!(missing(&host(), &[disk("sda", Some("8"))]), Missing::Disk { .. }));
        let twice = [disk("sda", Some("7")), (number(8, 16), identity("sdb", Some("7")))];
        assert!(matches!(missing(&host(), &twice), Missing::Ambiguous { .. }));
        let disks = [disk("sda", Some("7"))];
        let mut without = host();
        without.devices.remove(2);
        assert!(matches!(missing(&without, &disks), Missing::Foreign { .. }));
        let mut other = host();
        other.devices[1].table = Table::parse("0 800 linear 253:0 0").unwrap();
        assert!(matches!(missing(&other, &disks), Missing::Other { .. }));
        let mut owned = host();
        owned.devices[1].info.uuid = "LVM-x".to_owned();
        assert!(matches!(missing(&owned, &disks), Missing::Other { .. }));
    }

    #[test]
    fn a_disk_without_a_serial_number_is_told_to_be_known_by_its_name_alone() {
        let disks = [(number(8, 0), identity("sda", None))];
        let Next::There(mapping) = recorded(None).next(&host(), &disks).unwrap() else { panic!() };
        assert_eq!(mapping.by_name_alone, ["sda"]);
    }
}
