//! I/O in flight on a device by the kernel's own count: `/sys/block/dm-N/inflight`.
//!
//! Source: `part_inflight_show` in `block/genhd.c`: reads, then writes.

use std::io;

use crate::sample::KernelInFlight;
use crate::units::DeviceNumber;

/// Reads and writes in flight on a device.
///
/// # Errors
/// `NotFound` where the device is gone; `InvalidData` where the kernel says something else.
pub fn read(dev: DeviceNumber) -> io::Result<KernelInFlight> {
    let text = std::fs::read_to_string(format!("/sys/dev/block/{dev}/inflight"))?;
    parse(&text).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("inflight of {dev} reads {text:?}"))
    })
}

fn parse(text: &str) -> Option<KernelInFlight> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    let in_flight = KernelInFlight { reads: numbers.next()?.ok()?, writes: numbers.next()?.ok()? };
    numbers.next().is_none().then_some(in_flight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_numbers_and_nothing_else() {
        assert_eq!(parse("       3       12\n"), Some(KernelInFlight { reads: 3, writes: 12 }));
        for text in ["", "3", "3 x", "3 4 5"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
