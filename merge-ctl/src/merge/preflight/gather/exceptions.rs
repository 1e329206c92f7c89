//! Whether the exceptions on the COW device are those that the kernel has in memory.
//!
//! A merge reads them from the device again (`persistent_read_metadata`): what is not there is not
//! merged, and is gone. Somebody who wrote to the COW device behind the kernel's back is seen here,
//! as long as the kernel still knows better.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::super::facts::StoreView;
use super::bounded::{Bounded, within};
use crate::dm::{Device, SnapshotStatus, Usage, nodes};
use crate::store::{Opened, Store, StoreError};
use crate::units::Sectors;

/// Exceptions of writes that are under way are committed together, and late.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// What the device says; nothing where the kernel has no exceptions to compare with, or where
/// reading takes too long.
pub(super) fn look(device: &Device, at_most: Duration) -> Option<StoreView> {
    let args = device.snapshot().filter(|args| args.persistence.is_on_disk())?;
    let in_kernel = device.status.as_ref().and_then(SnapshotStatus::usage)?;
    let cow = nodes::kernel_path(args.cow.number()?)?;
    let wanted = Wanted { cow, origin: device.size(), in_kernel };
    within(at_most, move |until| wanted.look(until)).flatten()
}

struct Wanted {
    cow: PathBuf,
    origin: Sectors,
    in_kernel: Usage,
}

impl Wanted {
    fn look(&self, until: Instant) -> Option<StoreView> {
        let mut view = None;
        for _ in 0..TRIES {
            view = match read(&self.cow, self.origin, self.in_kernel, until) {
                Ok(StoreView::Behind { on_disk, in_kernel }) => {
                    Some(StoreView::Behind { on_disk, in_kernel })
                }
                Ok(view) => return Some(view),
                Err(_) if Instant::now() >= until => return view,
                Err(StoreError::Read { at_bytes, bytes, source }) => {
                    let why = format!("{bytes} bytes at byte {at_bytes}: {source}");
                    Some(StoreView::Unreadable(why))
                }
                Err(error) => Some(StoreView::Damaged(error.to_string())),
            };
            thread::sleep(BETWEEN_TRIES);
        }
        view
    }
}

fn read(
    cow: &Path,
    origin: Sectors,
    in_kernel: Usage,
    until: Instant,
) -> Result<StoreView, StoreError> {
    let store = match Store::open(Bounded::open(cow, until)?, Some(origin))? {
        Opened::Usable(store) => store.with_metadata_in_use(in_kernel.metadata),
        Opened::New => return Ok(StoreView::New),
        Opened::Invalid => return Ok(StoreView::Invalid),
    };
    let on_disk = store.survey(|_| ())?.usage.allocated;
    let chunk = store.layout().chunk_size().sectors();
    // With writers that never pause, the kernel commits once an area is full.
    let area = Sectors(store.layout().stride() * chunk);
    let in_kernel = in_kernel.allocated;
    if in_kernel.saturating_sub(on_disk) > area {
        return Ok(StoreView::Behind { on_disk, in_kernel });
    }
    Ok(StoreView::Sound)
}
