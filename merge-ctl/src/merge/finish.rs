//! What becomes of the origin once all is merged: a plain device again, or an origin of the
//! snapshots that are left. The steps are in [`super::machine`].

use super::preflight::{Obstacle, Refusal, at_rest, refusal};
use crate::dm::{Device, Host, SnapshotArgs, SnapshotStatus, Table, Target};
use crate::harmless::argument;
use crate::safe_path;
use crate::units::Sectors;

/// A merge that is done, and what its origin becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// The origin's device-mapper name.
    pub origin: String,
    /// Its table then: linear, or snapshot-origin where siblings are left.
    pub plain: Table,
}

impl Finish {
    /// How a merge that is done is finished: the origin keeps its snapshots, or becomes plain.
    ///
    /// # Errors
    /// Where there is nothing to finish, or it is not ours to finish.
    pub fn of(host: &Host, origin: &Device) -> Result<Self, Refusal> {
        let label = origin.label();
        let Some(args) = origin.merge() else {
            return Err(refusal(
                format!("No snapshot is being merged into {label}."),
                "There is nothing to finish. `merge-ctl status` lists what there is.",
            ));
        };
        match &origin.status {
            Some(SnapshotStatus::Usage(usage)) if usage.is_empty() => {}
            Some(SnapshotStatus::Usage(_)) => {
                return Err(Refusal {
                    obstacle: Obstacle::StillMerging,
                    reason: format!("The merge into {label} is not done."),
                    way_out: format!("Watch it: merge-ctl monitor {}.", argument(&label)),
                });
            }
            Some(SnapshotStatus::MergeFailed) => {
                return Err(Refusal {
                    obstacle: Obstacle::Failed,
                    reason: format!("The merge into {label} has failed."),
                    way_out: safe_path::way_out(&label, origin.owner()),
                });
            }
            _ => {
                return Err(Refusal {
                    obstacle: Obstacle::Failed,
                    reason: format!("The merge into {label} has failed, or its store is invalid."),
                    way_out:
                        "Do not suspend or resume the device. Deactivate it fully, so that the \
                              metadata is read again from disk."
                            .to_owned(),
                });
            }
        }
        at_rest(origin)?;
        Ok(Self { origin: origin.info.name.clone(), plain: plain(host, args, origin.size()) })
    }
}

/// What an origin of this size carries once the snapshot with these arguments is merged.
pub fn plain(host: &Host, args: &SnapshotArgs, size: Sectors) -> Table {
    let real = args.real.number();
    // What is left of the merged snapshot itself is none that an origin would have to keep.
    let is_sibling = |other: &&Device| other.snapshot().is_none_or(|other| other.cow != args.cow);
    let siblings = real.is_some_and(|real| host.snapshots_of(real).any(|it| is_sibling(&it)));
    let target = match siblings {
        true => Target::SnapshotOrigin { real: args.real.clone() },
        false => Target::Linear { device: args.real.clone(), offset: Sectors(0) },
    };
    Table::single(size, target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::host::tests::device;
    use crate::merge::preflight::tests::picture;

    #[test]
    fn only_a_merge_that_is_done_is_finished() {
        let merging = |status: &str| {
            let mut host = picture();
            host.devices[1] = device(1, "origin", "0 800 snapshot-merge 253:0 253:2 P 8", status);
            host.devices[3] = device(3, "other", "0 800 snapshot 253:9 253:8 P 8", "16/400 16");
            host
        };
        let host = merging("16/400 16");
        let plain = Finish::of(&host, &host.devices[1]).unwrap().plain;
        assert_eq!(plain, Table::parse("0 800 linear 253:0 0").unwrap());

        let mut host = merging("16/400 16");
        host.devices[3].table = Table::parse("0 800 snapshot 253:0 253:8 P 8").unwrap();
        let plain = Finish::of(&host, &host.devices[1]).unwrap().plain;
        assert_eq!(plain, Table::parse("0 800 snapshot-origin 253:0").unwrap());

        for status in ["24/400 16", "Merge failed", "Invalid", "Overflow", "Unknown"] {
            let host = merging(status);
            Finish::of(&host, &host.devices[1]).unwrap_err();
        }
        let host = picture();
        Finish::of(&host, &host.devices[1]).unwrap_err();
    }
}
