//! Which device is meant: from a name and a picture of the host to whose exceptions are to be read.
//!
//! Pure. A snapshot, the COW device below it, and the origin that it is being merged into are three
//! names of one store. A device that holds no exceptions is refused with those that do.

use merge_ctl::dm::resolve::{self, ResolveError};
use merge_ctl::dm::{Device, Host, SnapshotArgs};
use merge_ctl::units::DeviceNumber;

/// Whose exceptions are meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Found<'a> {
    /// Of a snapshot that is not merging.
    Snapshot(&'a Device),
    /// Of the merge into this origin.
    Merge(&'a Device),
    /// Whatever is on a device that no snapshot keeps its exceptions on.
    Plain(DeviceNumber),
}

/// Why nothing is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotFound {
    /// Nothing is called so.
    #[error("{0}")]
    Name(#[from] ResolveError),
    /// An origin, or the device with its data, has no exceptions itself.
    #[error("{label} is {what}, which holds data and no exceptions{choice}")]
    Origin { label: String, what: &'static str, choice: String },
}

/// What a name means. `node` is the number of the block device at that path, where one is there.
pub(super) fn find<'a>(
    host: &'a Host,
    given: &str,
    node: Option<DeviceNumber>,
) -> Result<Found<'a>, NotFound> {
    let dev = match node {
        Some(dev) => dev,
        None => match resolve::resolve(host, given) {
            Ok(device) => device.info.dev,
            Err(error) => {
                let merging =
                    resolve::reading(given).and_then(|name| host.merge_of_lvm_snapshot(&name));
                return merging.map(Found::Merge).ok_or(error.into());
            }
        },
    };
    whose(host, dev)
}

/// Whose exceptions a device stands for.
fn whose(host: &Host, dev: DeviceNumber) -> Result<Found<'_>, NotFound> {
    let named = host.by_dev(dev);
    if let Some(merge) = named.filter(|device| device.merge().is_some()) {
        return Ok(Found::Merge(merge));
    }
    if let Some((snapshot, args)) = named.and_then(|device| Some((device, device.snapshot()?))) {
        // Once its exceptions are being merged, what the snapshot's device says of them is old.
        return Ok(args
            .cow
            .number()
            .and_then(|cow| by_cow(host, cow))
            .unwrap_or(Found::Snapshot(snapshot)));
    }
    let merging = || host.merge_of_lvm_snapshot(&named?.info.name).map(Found::Merge);
    if let Some(found) = by_cow(host, dev).or_else(merging) {
        return Ok(found);
    }
    if let Some(real) = named.and_then(Device::origin_of) {
        return of_an_origin(host, real, &host.label_of(dev), "an origin");
    }
    if holds_data(host, dev) {
        return of_an_origin(host, dev, &host.label_of(dev), "the device below an origin");
    }
    Ok(Found::Plain(dev))
}

/// Whose COW device it is: that of a merge before that of a snapshot, should both name it.
fn by_cow(host: &Host, cow: DeviceNumber) -> Option<Found<'_>> {
    let names_it =
        |args: Option<&SnapshotArgs>| args.is_some_and(|args| args.cow.number() == Some(cow));
    let merge = host.merges().find(|device| names_it(device.merge())).map(Found::Merge);
    merge.or_else(|| {
        host.snapshots().find(|device| names_it(device.snapshot())).map(Found::Snapshot)
    })
}

/// Whether an origin's data are on a device.
fn holds_data(host: &Host, dev: DeviceNumber) -> bool {
    host.origin_over(dev).is_some() || host.snapshots_of(dev).next().is_some()
}

/// The only exceptions that an origin has, where there is no choice.
fn of_an_origin<'a>(
    host: &'a Host,
    real: DeviceNumber,
    label: &str,
    what: &'static str,
) -> Result<Found<'a>, NotFound> {
    if let Some(merge) = host.merges().find(|merge| merge.origin_of() == Some(real)) {
        return Ok(Found::Merge(merge));
    }
    let snapshots: Vec<&Device> = host.snapshots_of(real).collect();
    if let [only] = snapshots[..] {
        return Ok(Found::Snapshot(only));
    }
    let labels: Vec<String> = snapshots.into_iter().map(Device::label).collect();
    let choice = if labels.is_empty() {
        "; it has no snapshot".to_owned()
    } else {
        format!("; name one of its snapshots: {}", labels.join(", "))
    };
    Err(NotFound::Origin { label: label.to_owned(), what, choice })
}
