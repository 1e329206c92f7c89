//! Names as people give them: `vg/lv`, `/dev/vg/lv`, `/dev/mapper/x`, a device-mapper name,
//! `/dev/dm-3`.
//!
//! A name may also be given as merge-ctl and dmsetup print it, with `\xNN` for a byte that is better
//! not printed; where a device is really called so, that one is meant.
//!
//! What always holds: the path of an existing node decides by its device number, every other form
//! by one device-mapper name. The core is pure; looking a path up is passed in.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::host::{Device, Host};
use super::nodes;
use crate::harmless::{printable, quoted, unescape};
use crate::lvm::names::VolumeName;
use crate::units::DeviceNumber;

/// How many names an error suggests at most.
const MOST_SUGGESTED: usize = 8;

/// A name that means no device of device-mapper.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Nothing is called so.
    #[error("no device-mapper device is called {} ({tried}){suggestion}", quoted(given))]
    NotFound {
        /// What was given.
        given: String,
        /// What it was taken for.
        tried: String,
        /// Names that are there; empty, or beginning with "; ".
        suggestion: String,
    },
    /// The path leads to a device that is not of device-mapper.
    #[error("{} is device {dev}, which is not one of device-mapper{suggestion}", quoted(given))]
    NotDeviceMapper {
        /// What was given.
        given: String,
        /// What it leads to.
        dev: DeviceNumber,
        /// As above.
        suggestion: String,
    },
}

/// The device that a name means, with paths looked up on this machine.
///
/// # Errors
/// [`ResolveError`].
pub fn resolve<'a>(host: &'a Host, given: &str) -> Result<&'a Device, ResolveError> {
    resolve_with(host, given, |path| nodes::block_device_of(path).ok().flatten())
}

/// The device that a name means; `look_up` gives the number of the block device at a path.
///
/// # Errors
/// [`ResolveError`].
pub fn resolve_with<'a>(
    host: &'a Host,
    given: &str,
    look_up: impl Fn(&Path) -> Option<DeviceNumber>,
) -> Result<&'a Device, ResolveError> {
    if given.starts_with('/')
        && let Some(dev) = look_up(Path::new(given))
    {
        return host.by_dev(dev).ok_or_else(|| ResolveError::NotDeviceMapper {
            given: given.into(),
            dev,
            suggestion: suggestion(host, given),
        });
    }
    let reading = reading(given);
    let as_printed = |name: &String| host.by_name(&unescape(name));
    let named = reading.as_ref().and_then(|name| host.by_name(name).or_else(|| as_printed(name)));
    named.or_else(|| by_kernel_name(host, given, look_up)).ok_or_else(|| ResolveError::NotFound {
        given: given.into(),
        tried: tried(given, reading.as_deref()),
        suggestion: suggestion(host, given),
    })
}

/// `dm-3` without its `/dev/`.
fn by_kernel_name<'a>(
    host: &'a Host,
    given: &str,
    look_up: impl Fn(&Path) -> Option<DeviceNumber>,
) -> Option<&'a Device> {
    given.strip_prefix("dm-")?.parse::<u32>().ok()?;
    host.by_dev(look_up(&PathBuf::from("/dev").join(given))?)
}

/// The device-mapper name that `given` stands for, whether or not there is such a device; nothing
/// where it can be no name.
pub fn reading(given: &str) -> Option<String> {
    if let Some(name) = given.strip_prefix("/dev/mapper/") {
        return Some(name.to_owned());
    }
    match given.strip_prefix("/dev/").unwrap_or(given).split_once('/') {
        Some((vg, lv)) if !vg.is_empty() && !lv.is_empty() && !lv.contains('/') => {
            Some(VolumeName::new(vg, lv).to_dm())
        }
        None if !given.contains('/') => Some(given.to_owned()),
        _ => None,
    }
}

fn tried(given: &str, reading: Option<&str>) -> String {
    let no_path = given.starts_with('/').then(|| "no block device is at that path".to_owned());
    let no_name = reading.map(|name| format!("looked for the name {}", printable(name)));
    let tried: Vec<_> = no_path.into_iter().chain(no_name).collect();
    if tried.is_empty() {
        return "it is neither a name, nor vg/lv, nor a path below /dev".to_owned();
    }
    tried.join("; ")
}

/// Snapshots and origins that are there, the most alike first.
fn suggestion(host: &Host, given: &str) -> String {
    let wanted = given.rsplit('/').next().unwrap_or(given);
    let mut labels: Vec<(usize, String)> = host
        .devices
        .iter()
        .filter(|device| device.snapshot().is_some() || device.origin_of().is_some())
        .map(Device::label)
        .map(|label| (distance(wanted, label.rsplit('/').next().unwrap_or(&label)), label))
        .collect();
    labels.sort();
    let mut text = String::new();
    for (number, (_, label)) in labels.iter().take(MOST_SUGGESTED).enumerate() {
        let lead = if number == 0 { "; snapshots and origins here: " } else { ", " };
        // Writing into a String cannot fail.
        let _ = write!(text, "{lead}{label}");
    }
    if labels.is_empty() {
        text.push_str("; this host has no snapshot and no origin");
    }
    text
}

/// How many letters must change to make one word the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::host::tests::picture;

    fn look_up(path: &Path) -> Option<DeviceNumber> {
        let minor = match path.to_str()? {
            "/dev/dm-3" | "/dev/disk/by-id/snap" => 3,
            "/dev/sda" => return Some(DeviceNumber { major: 8, minor: 0 }),
            _ => return None,
        };
        Some(DeviceNumber { major: 253, minor })
    }

    #[test]
    fn every_form_finds_the_same_device() {
        let host = picture();
        for given in [
            "vg/snap",
            "/dev/vg/snap",
            "/dev/mapper/vg-snap",
            "vg-snap",
            "/dev/dm-3",
            "dm-3",
            "/dev/disk/by-id/snap",
        ] {
            let found = resolve_with(&host, given, look_up).map(|device| &*device.info.name);
            assert_eq!(found, Ok("vg-snap"), "{given}");
        }
    }

    #[test]
    fn an_error_says_what_was_tried_and_what_is_there() {
        let host = picture();
        let message = |given| resolve_with(&host, given, look_up).unwrap_err().to_string();
        let text = message("vg/snpa");
        assert!(text.contains("vg-snpa") && text.contains("here: vg/snap, "), "{text}");
        assert!(message("3").contains("looked for the name 3"));
        assert!(message("/dev/dm-99").contains("no block device is at that path"));
        assert!(message("/dev/sda").contains("8:0"));
        assert!(message("a/b/c").contains("neither a name"));
        let empty = resolve_with(&Host::default(), "x", look_up).unwrap_err().to_string();
        assert!(empty.contains("no snapshot and no origin"), "{empty}");
    }

    #[test]
    fn a_name_as_it_is_printed_means_the_device() {
        let mut host = picture();
        let names = ["a\u{1b}[31m \n\"b", "c\u{ef9f}", "d\\x0a", "d\n"];
        for (device, name) in host.devices.iter_mut().zip(names) {
            device.info.name = name.to_owned();
            device.info.uuid.clear();
        }
        for (given, name) in [
            (names[0], names[0]),
            ("a\\x1b[31m \\x0a\"b", names[0]),
            ("/dev/mapper/a\\x1b\\x5b31m\\x20\\x0a\\x22b", names[0]),
            ("c\\x9f", names[1]),
            ("c\u{ef9f}", names[1]),
            ("d\\x0a", names[2]),
            ("d\n", names[3]),
        ] {
            let found = resolve_with(&host, given, |_| None).map(|device| &*device.info.name);
            assert_eq!(found, Ok(name), "{given:?}");
        }
        let error = resolve_with(&host, "\u{1b}[2J", |_| None).unwrap_err().to_string();
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }

    #[test]
    fn distance_counts_letters() {
        assert_eq!(
            (distance("snap", "snap"), distance("snap", "snip"), distance("", "abc")),
            (0, 1, 3)
        );
    }
}
