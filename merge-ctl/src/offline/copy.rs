//! Copies all chunks, in the order of the origin.

use super::meter::{Meter, Stage};
use super::options::Options;
use super::{Devices, OfflineError, Target};
use crate::store::aligned::AlignedBuffer;
use crate::store::{Exception, Store};

/// Copies; whether it came to the end, and was not told to stop.
pub(super) fn copy(
    devices: &Devices,
    store: &Store<&Target>,
    _options: &Options,
    meter: &Meter,
) -> Result<bool, OfflineError> {
    let mut exceptions: Vec<Exception> = Vec::new();
    store
        .survey(|placed| exceptions.push(placed.exception))
        .map_err(|source| OfflineError::Store { cow: devices.cow.label().to_owned(), source })?;
    exceptions.sort_unstable_by_key(|exception| exception.old_chunk);
    meter.enter(Stage::Copying);
    let chunk_bytes = store.layout().chunk_size().bytes();
    let mut buffer = AlignedBuffer::new(chunk_bytes as usize);
    for exception in exceptions {
        if meter.is_stopped() {
            return Ok(false);
        }
        let at_bytes = exception.old_chunk * chunk_bytes;
        // The last chunk of an origin may be a part of one.
        let length = chunk_bytes.min(devices.origin.size().bytes() - at_bytes) as usize;
        let part = &mut buffer.as_mut_slice()[..length];
        devices.cow.read(exception.new_chunk * chunk_bytes, part)?;
        devices.origin.write(at_bytes, part)?;
        meter.copied(length as u64);
        meter.reached(at_bytes + length as u64);
    }
    Ok(true)
}
