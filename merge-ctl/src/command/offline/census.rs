//! What an offline merge would copy, counted without changing anything.

use std::fmt;

use anyhow::Context;
use merge_ctl::dm::nodes;
use merge_ctl::human;
use merge_ctl::merge::preflight;
use merge_ctl::offline::OfflineError;
use merge_ctl::output::dry_run::Counted;
use merge_ctl::plan::extents::Extents;
use merge_ctl::store::{FileSource, Opened, Source, Store};
use merge_ctl::units::Sectors;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Census {
    /// Chunks to copy.
    pub(super) exceptions: u64,
    /// Their data.
    pub(super) bytes: u64,
    /// Pieces of the origin that they make; none where memory did not suffice to count them.
    pub(super) pieces: Option<u64>,
    /// Areas of metadata to clear.
    pub(super) areas: u64,
}

impl Census {
    /// The same of the snapshot of a plan, whose COW device is called `label`.
    pub(super) fn of_plan(
        plan: &preflight::Plan<'_>,
        label: &str,
        memory_bytes: u64,
    ) -> anyhow::Result<Self> {
        let path = plan.args.cow.number().and_then(nodes::kernel_path);
        let path = path.with_context(|| format!("{label} has no node"))?;
        Self::of(FileSource::open(&path)?, label, plan.origin.size(), memory_bytes)
    }

    /// For programs.
    pub(super) const fn counted(&self) -> Counted {
        let Self { exceptions, bytes, pieces, areas } = *self;
        Counted { exceptions, bytes, pieces, areas }
    }

    /// Reads the store on a COW device, called `label`, which is to be merged into an origin of this
    /// size.
    pub(super) fn of(
        cow: impl Source,
        label: &str,
        origin: Sectors,
        memory_bytes: u64,
    ) -> anyhow::Result<Self> {
        let unreadable = |source| OfflineError::Store { cow: label.to_owned(), source };
        let store = match Store::open(cow, Some(origin)).map_err(unreadable)? {
            Opened::Usable(store) => store,
            Opened::New => return Err(OfflineError::NoStore(label.to_owned()).into()),
            Opened::Invalid => return Err(OfflineError::Invalid(label.to_owned()).into()),
        };
        let layout = store.layout();
        let mut pieces = Extents::within(memory_bytes);
        let survey =
            store.survey(|placed| pieces.add(placed.exception.old_chunk)).map_err(unreadable)?;
        Ok(Self {
            exceptions: survey.exceptions,
            bytes: survey.exceptions * layout.chunk_size().bytes(),
            pieces: pieces.count(),
            areas: survey.exceptions.div_ceil(u64::from(layout.exceptions_per_area())),
        })
    }
}

/// `150 exceptions, 600.0 KiB of data, in 12 pieces of the origin`.
impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exceptions = human::counted(self.exceptions, "exception");
        write!(f, "{exceptions}, {} of data", human::bytes(self.bytes))?;
        match self.pieces {
            Some(pieces) => write!(f, ", in {} of the origin", human::counted(pieces, "piece")),
            None => Ok(()),
        }
    }
}
