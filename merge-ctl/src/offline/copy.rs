//! Copies all chunks, in the order of the origin.

use std::time::{Duration, Instant};

use super::meter::{Meter, Stage};
use super::options::Options;
use super::{Devices, OfflineError, Target};
use crate::store::aligned::AlignedBuffer;
use crate::store::{Exception, Store};

/// How often a copy that waits looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Copies; whether it came to the end, and was not told to stop.
pub(super) fn copy(
    devices: &Devices,
    store: &Store<&Target>,
    options: &Options,
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
    let begun = Instant::now();
    let mut copied_bytes = 0;
    for exception in exceptions {
        wait_for_its_turn(options, begun, copied_bytes, meter);
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
        copied_bytes += length as u64;
        meter.reached(at_bytes + length as u64);
    }
    Ok(true)
}

/// Waits until no more than may be copied has been; not once it is to stop.
fn wait_for_its_turn(options: &Options, begun: Instant, copied_bytes: u64, meter: &Meter) {
    let Some(limit) = options.bandwidth_bytes else { return };
    let due = Duration::from_secs_f64(copied_bytes as f64 / limit.get() as f64);
    while !meter.is_stopped() {
        let early = due.saturating_sub(begun.elapsed());
        if early.is_zero() {
            return;
        }
        std::thread::sleep(early.min(LOOK_EVERY));
    }
}
