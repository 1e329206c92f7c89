//! A merge that somebody else drives: it is shown, and not touched as long as he lives.

use std::thread;
use std::time::{Duration, Instant};

use merge_ctl::dm::{Control, Device, Host, resolve};
use merge_ctl::merge::journal::{self, Driver, DriverError};

use super::raw::Raw;

/// How long somebody who drives may take to begin, or a guard to bring the devices to rest.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Who drives.
pub(crate) enum Turn {
    /// We do.
    Ours(Driver),
    /// Another process does, and the origin merges.
    Theirs,
}

/// Waits until it is our turn to drive the merge into an origin, or it is seen to merge under
/// somebody else.
///
/// # Errors
/// [`DriverError::Taken`] where neither comes in ten seconds.
pub(crate) fn turn(control: &Control, origin: &str) -> anyhow::Result<Turn> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Driver::take(origin) {
            Ok(driver) => return Ok(Turn::Ours(driver)),
            Err(DriverError::Taken { .. }) if is_merging(&Host::read(control)?, origin) => {
                return Ok(Turn::Theirs);
            }
            Err(DriverError::Taken { .. }) if Instant::now() < deadline => thread::sleep(PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_merging(host: &Host, origin: &str) -> bool {
    host.by_name(origin).is_some_and(|device| device.merge().is_some())
}

/// Takes a merge over that is done, where nobody drives it any more; nothing where somebody does,
/// or it is finished.
///
/// # Errors
/// What cannot be locked, read or written down.
pub(crate) fn take_over(control: &Control, origin: &str) -> anyhow::Result<Option<Raw>> {
    match Driver::take(origin) {
        Err(DriverError::Taken { .. }) => Ok(None),
        Err(error) => Err(error.into()),
        Ok(driver) => {
            let host = Host::read(control)?;
            if !is_merging(&host, origin) {
                return Ok(None);
            }
            Raw::adopt(driver, &host, origin).map(Some)
        }
    }
}

/// The merge of a snapshot that another merge-ctl has begun, or is about to: its devices are in that
/// one's hands, and only once it merges can it be shown. The host then, and the origin's name.
///
/// # Errors
/// What device-mapper does not tell.
pub(crate) fn begun_by_another(
    control: &Control,
    given: &str,
) -> anyhow::Result<Option<(Host, String)>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let host = Host::read(control)?;
        if let Some(name) = merge_of(&host, given).map(|origin| origin.info.name.clone()) {
            return Ok(Some((host, name)));
        }
        if !is_about_to_merge(&host, given) || Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(PAUSE);
    }
}

/// Whether somebody drives a merge of this snapshot, by the journals.
fn is_about_to_merge(host: &Host, given: &str) -> bool {
    let Some(name) = name_of(host, given) else { return false };
    let journals = journal::list().unwrap_or_default().into_iter().flatten();
    journals
        .filter(|it| it.record().snapshot.as_ref().is_some_and(|it| it.device.name == name))
        .any(|journal| journal::driver::driver_of(&journal.record().origin.name).is_some())
}

/// The device-mapper name that is meant, also where there is no such device.
pub(crate) fn name_of(host: &Host, given: &str) -> Option<String> {
    let device = resolve::resolve(host, given).ok();
    device.map(|device| device.info.name.clone()).or_else(|| resolve::reading(given))
}

/// The origin that a snapshot of this name is being merged into. Its own device is gone by then, or
/// nothing but an error.
pub(crate) fn merge_of<'a>(host: &'a Host, given: &str) -> Option<&'a Device> {
    let name = name_of(host, given)?;
    let of_lvm = || {
        host.merges().find(|merge| {
            let cow = merge.merge().and_then(|args| host.by_dev(args.cow.number()?));
            cow.and_then(Device::snapshot_of_lvm).is_some_and(|snapshot| snapshot.to_dm() == name)
        })
    };
    let in_journals = || {
        let journals = journal::list().unwrap_or_default().into_iter().flatten();
        journals
            .filter(|journal| {
                journal.record().snapshot.as_ref().is_some_and(|it| it.device.name == name)
            })
            .find_map(|journal| {
                let origin = host.by_name(&journal.record().origin.name)?;
                origin.merge().is_some().then_some(origin)
            })
    };
    of_lvm().or_else(in_journals)
}
