//! Counts from the exceptions what a merge does to the siblings, where the status lines do not tell
//! enough, and for a bounded time: a store of gigabytes is not read for the sake of a check.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::siblings::{bounds, fill, is_lost};
use super::bounded::{Bounded, within};
use crate::dm::{Device, Host, SnapshotArgs, SnapshotStatus, nodes};
use crate::plan::siblings::{Fate, SiblingFacts, SiblingPlan};
use crate::planner::{self, Sibling};
use crate::store::{Opened, Store, StoreError};
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
    let label = device.label();
    let too_long = || {
        format!(
            "How many chunks are copied into the siblings was not counted: reading the exceptions of \
             {label} takes too long. `merge-ctl plan` takes its time for it."
        )
    };
    match within(at_most, move |until| wanted.count(until)) {
        Some(Ok(plans)) => Ok(Some(plans)),
        Some(Err(None)) | None => Err(too_long()),
        Some(Err(Some(why))) => Err(format!(
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
        let failed = |error: StoreError| match Instant::now() >= until {
            true => None,
            false => Some(error.to_string()),
        };
        let source = Bounded::open(&self.cow, until).map_err(failed)?;
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
        let source = Bounded::open(&self.cow, until).ok()?;
        match Store::open(source, Some(self.facts.size)).ok()? {
            Opened::Usable(store) => Some(match self.fill {
                Some(fill) => store.with_metadata_in_use(fill.metadata),
                None => store,
            }),
            Opened::New | Opened::Invalid => None,
        }
    }
}
