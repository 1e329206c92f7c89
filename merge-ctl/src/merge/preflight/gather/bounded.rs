//! Reading that ends in time: a store of gigabytes is not read for the sake of a check, and a device
//! that does not answer keeps nobody waiting.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::store::{AnySource, ReadAt, Source, StoreError};
use crate::units::Sectors;

/// What `work` answers; nothing if it takes too long. It is told when its time is over.
pub(super) fn within<T: Send + 'static>(
    at_most: Duration,
    work: impl FnOnce(Instant) -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = mpsc::channel();
    // In a thread of its own: a device that does not answer keeps that one waiting, not us.
    thread::spawn(move || {
        // Nobody may be there any more to be told.
        let _ = done.send(work(Instant::now() + at_most));
    });
    result.recv_timeout(at_most + at_most / 2).ok()
}

/// A source that fails once its time is over.
pub(super) struct Bounded {
    source: AnySource,
    until: Instant,
}

impl Bounded {
    pub(super) fn open(path: &Path, until: Instant) -> Result<Self, StoreError> {
        Ok(Self { source: AnySource::open(path)?, until })
    }
}

struct BoundedBeside {
    source: Arc<dyn ReadAt>,
    until: Instant,
}

fn in_time(until: Instant) -> io::Result<()> {
    if Instant::now() < until { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
}

impl Source for Bounded {
    fn size(&self) -> Sectors {
        self.source.size()
    }

    fn block_bytes(&self) -> u32 {
        self.source.block_bytes()
    }

    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        in_time(self.until)?;
        self.source.read_at(at_bytes, into)
    }

    fn beside(&self) -> Option<Arc<dyn ReadAt>> {
        let source = self.source.beside()?;
        Some(Arc::new(BoundedBeside { source, until: self.until }))
    }

    fn may_grow(&self) -> bool {
        self.source.may_grow()
    }
}

impl ReadAt for BoundedBeside {
    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        in_time(self.until)?;
        self.source.read_at(at_bytes, into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_whose_time_is_over_fails() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0; 8192]).unwrap();
        let bounded = |until| Bounded { source: AnySource::open(file.path()).unwrap(), until };
        let mut buffer = [1; 512];
        bounded(Instant::now() + Duration::from_secs(60)).read_at(0, &mut buffer).unwrap();
        assert_eq!(buffer, [0; 512]);
        let error = bounded(Instant::now()).read_at(0, &mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
