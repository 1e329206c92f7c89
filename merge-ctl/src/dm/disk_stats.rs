//! What the kernel counts of a block device's I/O, and whether device-mapper has suspended it:
//! `/sys/dev/block/M:m/stat` and `…/dm/suspended`.
//!
//! Source: `part_stat_show` in `block/genhd.c`; `dm_attr_suspended_show` in `drivers/md/dm-sysfs.c`.
//! The times are sums over all I/Os in milliseconds, taken with the resolution of the kernel's
//! tick (4 ms where HZ is 250): a mean over many is right, one I/O's is not.

use std::io;
use std::path::Path;

use crate::sample::{DiskFacts, DiskOps};
use crate::units::{DeviceNumber, Sectors};

/// The facts of one device.
///
/// # Errors
/// `NotFound` where the device is gone; `InvalidData` where the kernel says something else.
pub fn read(dev: DeviceNumber) -> io::Result<DiskFacts> {
    read_from(Path::new(&format!("/sys/dev/block/{dev}")))
}

fn read_from(directory: &Path) -> io::Result<DiskFacts> {
    let text = std::fs::read_to_string(directory.join("stat"))?;
    let facts = parse(&text).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {text:?}", directory.display()))
    })?;
    Ok(DiskFacts { suspended: suspended(directory)?, ..facts })
}

/// A device that is none of device-mapper's is never suspended.
fn suspended(directory: &Path) -> io::Result<bool> {
    match std::fs::read_to_string(directory.join("dm/suspended")) {
        Ok(text) => Ok(text.trim() == "1"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads, then writes, of four numbers each, then the I/Os in flight; newer kernels append more.
/// Flushes have no place of their own for a device of device-mapper: they count as writes of no
/// length.
fn parse(text: &str) -> Option<DiskFacts> {
    let numbers: Vec<u64> =
        text.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let ops = |at: usize| {
        Some(DiskOps {
            completed: *numbers.get(at)?,
            length: Sectors(*numbers.get(at + 2)?),
            ms: *numbers.get(at + 3)?,
        })
    };
    Some(DiskFacts {
        reads: ops(0)?,
        writes: ops(4)?,
        in_flight: *numbers.get(8)?,
        suspended: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_of_the_kernels_line() {
        let text = "     120        1     9600      480       64        2      512      768        3     1248     1300        0        0        0        0       12       99\n";
        let facts = parse(text).unwrap();
        assert_eq!(facts.reads, DiskOps { completed: 120, length: Sectors(9600), ms: 480 });
        assert_eq!(facts.writes, DiskOps { completed: 64, length: Sectors(512), ms: 768 });
        assert_eq!((facts.in_flight, facts.suspended), (3, false));
        for text in ["", "1 2 3", "1 2 3 x 5 6 7 8 9"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_a_device_of_device_mapper_can_be_suspended() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("stat"), "0 0 0 0 0 0 0 0 1").unwrap();
        assert!(!read_from(directory.path()).unwrap().suspended);
        std::fs::create_dir(directory.path().join("dm")).unwrap();
        std::fs::write(directory.path().join("dm/suspended"), "1\n").unwrap();
        assert!(read_from(directory.path()).unwrap().suspended);
        assert!(read_from(Path::new("/nonexistent")).is_err());
    }
}
