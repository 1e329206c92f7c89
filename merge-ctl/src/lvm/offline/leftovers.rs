//! Private devices that a killed run has left behind. There is a moment, between making a device and
//! opening it, in which it would stay; after that it goes with the process.
//!
//! What always holds: only devices with our own UUID prefix are removed, and none that somebody has
//! open: that is a run that still goes on.

use crate::dm::{Control, DmError, DmErrorKind, Host, Subject};

/// What the UUIDs of private devices begin with.
pub const UUID_PREFIX: &str = "MERGECTL-";

/// Removes what a killed run has left behind and nobody has open; the names of what was removed.
///
/// # Errors
/// Where device-mapper cannot be asked.
pub fn clean(control: &Control) -> Result<Vec<String>, DmError> {
    let mut removed = Vec::new();
    for device in Host::read(control)?.devices {
        let info = &device.info;
        if !info.uuid.starts_with(UUID_PREFIX) || info.open_count > 0 {
            continue;
        }
        match control.remove(Subject::uuid(&info.uuid).expecting(info.dev), false) {
            Ok(_) => removed.push(info.name.clone()),
            // Opened, or removed, just now.
            Err(error) if matches!(error.kind, DmErrorKind::Busy | DmErrorKind::NoSuchDevice) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}
