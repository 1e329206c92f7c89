//! What the kernel log says of a merge that failed before anybody watched it.
//!
//! dm-snapshot says one line for each way in which a merge fails (`drivers/md/dm-snap.c`,
//! `snapshot_merge_next_chunks` and `merge_callback`), and names no device in it. So the last such
//! line is a hint where one merge on the host has failed, and none where several run. The log is a
//! ring: what is old may be gone.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::sample::Fault;

const DEVICE: &str = "/dev/kmsg";
/// A longer record does not exist (`PRINTK_MESSAGE_MAX`).
const RECORD_MAX_BYTES: usize = 8192;
/// More records than any ring holds: the end of patience with a log that is written all the time.
const MAX_RECORDS: usize = 1_000_000;

/// A line of the kernel's on a merge that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedFailure {
    /// When, by the log's own clock, which is `CLOCK_MONOTONIC` to within milliseconds.
    pub at_ns: u64,
    /// What failed.
    pub fault: Fault,
}

/// The last word of the kernel log on a merge that failed; nothing where it has none.
///
/// # Errors
/// Where the log may not be read (`CAP_SYSLOG`), or there is none.
pub fn last_failure() -> io::Result<Option<LoggedFailure>> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut log = File::options().read(true).custom_flags(flags).open(Path::new(DEVICE))?;
    let mut record = [0; RECORD_MAX_BYTES];
    let mut last = None;
    for _ in 0..MAX_RECORDS {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => last = parse(&String::from_utf8_lossy(&record[..length])).or(last),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::AGAIN) => break,
                // The record was overwritten before it was read: go on with the oldest there is.
                Some(Errno::PIPE | Errno::INTR) => {}
                _ => return Err(error),
            },
        }
    }
    Ok(last)
}

/// One record: `6,1234,56789012,-;the text`, the third number in microseconds since boot
/// (`Documentation/ABI/testing/dev-kmsg`).
fn parse(record: &str) -> Option<LoggedFailure> {
    let (head, text) = record.split_once(';')?;
    let at_us: u64 = head.split(',').nth(2)?.parse().ok()?;
    let said = text.lines().next()?.strip_prefix("device-mapper: snapshots: ")?;
    let fault = match said.trim_end_matches('.') {
        "Read error in exception store: shutting down merge" => Fault::MetadataReadCow,
        "Read error: shutting down merge" => Fault::CopyReadCow,
        "Write error: shutting down merge" => Fault::CopyWriteOrigin,
        "Flush after merge failed: shutting down merge" => Fault::FlushOrigin,
        "Write error in exception store: shutting down merge" => Fault::CommitCow,
        _ => return None,
    };
    Some(LoggedFailure { at_ns: at_us.saturating_mul(1000), fault })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_words_count() {
        let line = |text: &str| format!("3,812,5140900,-;{text}\n SUBSYSTEM=block\n");
        let said = |text: &str| parse(&line(&format!("device-mapper: snapshots: {text}")));
        let failure = said("Write error: shutting down merge.").unwrap();
        assert_eq!((failure.at_ns, failure.fault), (5_140_900_000, Fault::CopyWriteOrigin));
        for (text, fault) in [
            ("Read error in exception store: shutting down merge", Fault::MetadataReadCow),
            ("Read error: shutting down merge.", Fault::CopyReadCow),
            ("Flush after merge failed: shutting down merge", Fault::FlushOrigin),
            ("Write error in exception store: shutting down merge", Fault::CommitCow),
        ] {
            assert_eq!(said(text).map(|failure| failure.fault), Some(fault));
        }
        assert_eq!(said("Snapshot is invalid: can't merge"), None);
        assert_eq!(parse(&line("x: Write error: shutting down merge.")), None);
        for broken in ["", "3,812;x", "no head", "3,812,abc,-;device-mapper: snapshots: x"] {
            assert_eq!(parse(broken), None);
        }
    }
}
