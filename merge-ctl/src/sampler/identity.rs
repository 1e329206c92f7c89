//! What stays the same of a merge, read from a picture of the host; and its siblings, which may come
//! and go.

use std::io;

use crate::dm::{Device, DeviceRef, Host, SnapshotArgs};
use crate::sample::{MergeIdentity, ProbeReport, ProbeTier};
use crate::units::DeviceNumber;

/// All but what the probes see.
///
/// # Errors
/// Where a device below has no number in the kernel's table.
pub(super) fn read(
    host: &Host,
    origin: &Device,
    args: &SnapshotArgs,
    snapshot: Option<&Device>,
) -> io::Result<MergeIdentity> {
    let number = |dev: &DeviceRef| {
        dev.number().ok_or_else(|| io::Error::other(format!("{dev} has no device number")))
    };
    let (real_dev, cow_dev) = (number(&args.real)?, number(&args.cow)?);
    Ok(MergeIdentity {
        origin: origin.info.name.clone(),
        origin_label: origin.label(),
        snapshot_label: snapshot
            .map(Device::label)
            .or_else(|| host.by_dev(cow_dev)?.snapshot_of_lvm().map(|volume| volume.to_string())),
        origin_dev: origin.info.dev,
        real_dev,
        cow_dev,
        real_label: host.label_of(real_dev),
        cow_label: host.label_of(cow_dev),
        owner: origin.owner(),
        // Only who starts a merge knows the snapshot's device, and sees the merge to its end.
        finished_here: snapshot.is_some(),
        driven_by: None,
        chunk_size: args.chunk_size,
        size: origin.size(),
        siblings: siblings(host, real_dev, cow_dev),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        probes: ProbeReport { tier: ProbeTier::None, missing: Vec::new() },
        offline: None,
    })
}

/// What the other snapshots of the data on `real` are called: all but the one that is merged, whose
/// exceptions lie on `cow`.
pub(super) fn siblings(host: &Host, real: DeviceNumber, cow: DeviceNumber) -> Vec<String> {
    let is_merged =
        |device: &&Device| device.snapshot().is_some_and(|args| args.cow.number() == Some(cow));
    host.snapshots_of(real).filter(|device| !is_merged(device)).map(Device::label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::host::tests::picture;

    #[test]
    fn the_snapshot_that_is_merged_is_no_sibling_of_itself() {
        let host = picture();
        let dev = |minor| DeviceNumber { major: 253, minor };
        assert_eq!(siblings(&host, dev(0), dev(2)), ["vg/other"]);
        assert_eq!(siblings(&host, dev(0), dev(99)), ["vg/snap", "vg/other"]);
        assert!(siblings(&host, dev(6), dev(8)).is_empty());
    }
}
