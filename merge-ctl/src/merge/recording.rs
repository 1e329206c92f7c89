//! Makes the journal's record of a merge, from what is there before its first step.
//!
//! It reads the beginning of the exception store and the identity of the disks below, and changes
//! nothing. It refuses where the store cannot be known again later.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use super::handover::Handover;
use super::journal::below::Below;
use super::journal::{Named, Phase, Record, SnapshotRecord, StoreMark, boot_id};
use crate::dm::{Device, DiskIdentity, Host, SnapshotArgs, SnapshotStatus, Table, Target, nodes};
use crate::store::{FileSource, StoreError};
use crate::units::{DeviceNumber, Sectors};

/// Why a merge cannot be written down, so that it must not begin.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A device has no number, or none of its name.
    #[error("{0} is not there")]
    Absent(String),
    /// A read of it would wait for ever.
    #[error("{0}, which holds the exceptions, is suspended: resume it first")]
    Suspended(String),
    /// The exceptions cannot be read.
    #[error("the exceptions on {cow} cannot be read")]
    Store {
        /// The device.
        cow: String,
        /// Why.
        source: StoreError,
    },
    /// There are none.
    #[error("{0} holds no valid exceptions: nothing can be merged from it")]
    NoStore(String),
    /// The disks below cannot be told apart.
    #[error("the devices below cannot be identified")]
    Below(#[source] io::Error),
}

/// The record of a merge that is about to begin by a live handover.
///
/// # Errors
/// [`RecordError`]; nothing was changed.
pub fn of_handover(host: &Host, handover: &Handover) -> Result<Record, RecordError> {
    let absent = |name: &str| RecordError::Absent(name.to_owned());
    let origin = host.by_name(&handover.origin).ok_or_else(|| absent(&handover.origin))?;
    let snapshot = host.by_name(&handover.snapshot).ok_or_else(|| absent(&handover.snapshot))?;
    let record = of(host, origin, &handover.origin_before, &handover.origin_merging)?;
    let snapshot_record = SnapshotRecord {
        device: named(snapshot),
        before: snapshot.table.clone(),
        error: handover.snapshot_error.clone(),
    };
    let allocated = allocated(snapshot);
    Ok(Record { snapshot: Some(snapshot_record), allocated, ..record })
}

/// The record of a merge that runs, or is done, and was begun by somebody else.
///
/// # Errors
/// [`RecordError`]; nothing was changed.
pub fn of_merge(host: &Host, origin: &Device) -> Result<Record, RecordError> {
    let args = args(&origin.table).ok_or_else(|| RecordError::Absent(origin.label()))?;
    let plain = super::finish::plain(host, args, origin.size());
    let record = of(host, origin, &plain, &origin.table)?;
    Ok(Record { phase: Phase::Merging, allocated: allocated(origin), ..record })
}

fn of(
    host: &Host,
    origin: &Device,
    before: &Table,
    merging: &Table,
) -> Result<Record, RecordError> {
    let absent = || RecordError::Absent(origin.label());
    let args = args(merging).ok_or_else(absent)?;
    let (real, cow) = args.real.number().zip(args.cow.number()).ok_or_else(absent)?;
    let below = Below::of(host, &[real, cow], &DiskIdentity::read).map_err(RecordError::Below)?;
    Ok(Record {
        phase: Phase::Starting,
        offline: false,
        boot_id: boot_id().map_err(RecordError::Below)?,
        begun_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        origin: named(origin),
        origin_before: before.clone(),
        origin_merging: merging.clone(),
        snapshot: None,
        allocated: Sectors(0),
        store: mark(host, cow, merging.length())?,
        below,
    })
}

/// What the exception store on a device begins with.
///
/// # Errors
/// [`RecordError`]: among them, that there is no valid one.
pub fn mark(host: &Host, cow: DeviceNumber, origin: Sectors) -> Result<StoreMark, RecordError> {
    let label = host.label_of(cow);
    if host.by_dev(cow).is_some_and(|device| device.info.suspended) {
        return Err(RecordError::Suspended(label));
    }
    let path = nodes::kernel_path(cow).ok_or_else(|| RecordError::Absent(label.clone()))?;
    FileSource::open(&path)
        .and_then(|source| StoreMark::read(source, origin))
        .map_err(|source| RecordError::Store { cow: label.clone(), source })?
        .ok_or(RecordError::NoStore(label))
}

fn args(merging: &Table) -> Option<&SnapshotArgs> {
    match merging.only()? {
        Target::SnapshotMerge(args) => Some(args),
        _ => None,
    }
}

fn named(device: &Device) -> Named {
    Named { name: device.info.name.clone(), uuid: device.info.uuid.clone() }
}

fn allocated(device: &Device) -> Sectors {
    let usage = device.status.as_ref().and_then(SnapshotStatus::usage);
    usage.map_or(Sectors(0), |usage| usage.allocated)
}
