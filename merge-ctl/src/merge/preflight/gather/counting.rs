//! Counts from the exceptions what a merge does to the siblings, where the status lines do not tell
//! enough, and for a bounded time: a store of gigabytes is not read for the sake of a check.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::super::siblings::{bounds, fill, is_lost};
use crate::dm::{Device, Host, SnapshotArgs, SnapshotStatus, nodes};
use crate::plan::siblings::{Fate, SiblingFacts, SiblingPlan};
use crate::planner::{self, Sibling};
use crate::store::{AnySource, Opened, ReadAt, Source, Store};
use crate::units::Sectors;

/// The counts; nothing where the status lines tell enough.
///
/// # Errors
/// Why they could not be counted, in a sentence.
pub(super) fn siblings(
    host: &Host,
    device: &Device,
    at_most: Duration,
) -> Result<Option<Vec<SiblingPlan>>, String> {
    let Some(args) = device.snapshot() else { return Ok(None) };
    if bounds(host, device, args).iter().all(|plan| plan.fate != Fate::Unclear) {
        return Ok(None);
    }
    let wanted = Wanted::of(host, device, args).ok_or("A COW device has no node in /dev.")?;
    let (done, result) = mpsc::channel();
    // In a thread of its own: a device that does not answer keeps that one waiting, not us.
    thread::spawn(move || {
        // Nobody may be there any more to be told.
        let _ = done.send(wanted.count(Instant::now() + at_most));
    });
    let label = device.label();
    let too_long = || {
        format!(
            "How many chunks are copied into the siblings was not counted: reading the exceptions of \
             {label} takes too long. `merge-ctl plan` takes its time for it."
        )
    };
    match result.recv_timeout(at_most + at_most / 2) {
        Ok(Ok(plans)) => Ok(Some(plans)),
        Ok(Err(None)) | Err(_) => Err(too_long()),
        Ok(Err(Some(why))) => Err(format!(
            "How many chunks are copied into the siblings is not known: the exceptions of {label} \
             cannot be read: {why}."
        )),
    }
}

/// What is to be counted, without the picture of the host.
struct Wanted {
    cow: PathBuf,
    size: Sectors,
    metadata: Sectors,
    siblings: Vec<WantedSibling>,
}

struct WantedSibling {
    cow: PathBuf,
    facts: SiblingFacts,
    fill: Option<planner::Fill>,
    readable: bool,
}

impl Wanted {
    fn of(host: &Host, device: &Device, args: &SnapshotArgs) -> Option<Self> {
        let real = args.real.number()?;
        let usage = device.status.as_ref().and_then(SnapshotStatus::usage)?;
        let siblings = host.siblings_of(real, device.info.dev);
        Some(Self {
            cow: nodes::kernel_path(args.cow.number()?)?,
            size: device.size(),
            metadata: usage.metadata,
            siblings: siblings.map(WantedSibling::of).collect::<Option<_>>()?,
        })
    }

    /// Nothing as the error means that time was over.
    fn count(self, until: Instant) -> Result<Vec<SiblingPlan>, Option<String>> {
        let failed = |error: crate::store::StoreError| match Instant::now() >= until {
            true => None,
            false => Some(error.to_string()),
        };
        let source = Bounded { source: AnySource::open(&self.cow).map_err(failed)?, until };
        let store = match Store::open(source, Some(self.size)).map_err(failed)? {
            Opened::Usable(store) => store.with_metadata_in_use(self.metadata),
            Opened::New => return Ok(Vec::new()),
            Opened::Invalid => return Err(Some("it is invalid".to_owned())),
        };
        let siblings = self.siblings.into_iter().map(|it| it.open(until)).collect();
        planner::siblings(&store, self.size, siblings).map_err(failed)
    }
}

impl WantedSibling {
    fn of(sibling: &Device) -> Option<Self> {
        let args = sibling.snapshot()?;
        let lost = is_lost(sibling);
        Some(Self {
            cow: nodes::kernel_path(args.cow.number()?)?,
            facts: SiblingFacts {
                label: sibling.label(),
                chunk_size: args.chunk_size,
                size: sibling.size(),
                unread: true,
                lost,
            },
            fill: fill(sibling, args),
            readable: args.persistence.is_on_disk() && !lost && !sibling.info.suspended,
        })
    }

    fn open(self, until: Instant) -> Sibling<Bounded> {
        let store = if self.readable { self.store(until) } else { None };
        let facts = SiblingFacts { unread: store.is_none(), ..self.facts };
        Sibling { facts, store, fill: self.fill }
    }

    /// Its exceptions. Without them the count is a bound.
    fn store(&self, until: Instant) -> Option<Store<Bounded>> {
        let source = Bounded { source: AnySource::open(&self.cow).ok()?, until };
        match Store::open(source, Some(self.facts.size)).ok()? {
            Opened::Usable(store) => Some(match self.fill {
                Some(fill) => store.with_metadata_in_use(fill.metadata),
                None => store,
            }),
            Opened::New | Opened::Invalid => None,
        }
    }
}

/// A source that fails once its time is over.
struct Bounded {
    source: AnySource,
    until: Instant,
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
