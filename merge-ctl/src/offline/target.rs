//! A device or a file that an offline merge reads and writes, held for this process alone.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FlockOperation, OFlags, SeekFrom};

use super::error::{Act, OfflineError};
use super::sectors_of;
use crate::store::{ReadAt, Source};
use crate::units::{SECTOR_BYTES, Sectors};

/// See the module.
///
/// A block device is opened with `O_EXCL`, which the kernel refuses while it is mounted or held by
/// another device, and keeps others from doing that; reads and writes are direct. A file is locked.
#[derive(Debug)]
pub struct Target {
    file: Arc<File>,
    label: String,
    size: Sectors,
    block_bytes: u32,
    is_device: bool,
}

impl Target {
    /// Opens it; `label` is what people call it.
    ///
    /// # Errors
    /// [`OfflineError::Open`], among others where somebody holds it.
    pub fn open(path: &Path, label: impl Into<String>) -> Result<Self, OfflineError> {
        Self::opened(path, label.into())
            .map_err(|source| OfflineError::Open { path: path.to_owned(), source })
    }

    fn opened(path: &Path, label: String) -> io::Result<Self> {
        let is_device = std::fs::metadata(path)?.file_type().is_block_device();
        let flags = if is_device { OFlags::EXCL | OFlags::DIRECT } else { OFlags::empty() };
        let flags = (flags | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        let block_bytes = if is_device {
            rustix::fs::ioctl_blksszget(&file)?
        } else {
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("it is neither a block device nor a file"));
            }
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            SECTOR_BYTES as u32
        };
        let size = sectors_of(rustix::fs::seek(&file, SeekFrom::End(0))?);
        Ok(Self { file: Arc::new(file), label, size, block_bytes, is_device })
    }

    /// What people call it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its size.
    pub const fn size(&self) -> Sectors {
        self.size
    }

    pub(super) fn read(&self, at_bytes: u64, into: &mut [u8]) -> Result<(), OfflineError> {
        self.file.read_exact_at(into, at_bytes).map_err(|e| self.failed(Act::Read, at_bytes, e))
    }

    pub(super) fn write(&self, at_bytes: u64, bytes: &[u8]) -> Result<(), OfflineError> {
        self.file.write_all_at(bytes, at_bytes).map_err(|e| self.failed(Act::Write, at_bytes, e))
    }

    /// Returns once all that was written is on stable storage.
    pub(super) fn flush(&self) -> Result<(), OfflineError> {
        self.file.sync_data().map_err(|error| self.failed(Act::Flush, 0, error))
    }

    pub(super) fn failed(&self, act: Act, at_bytes: u64, source: io::Error) -> OfflineError {
        OfflineError::Io { device: self.label.clone(), act, at: sectors_of(at_bytes), source }
    }
}

impl Source for Target {
    fn size(&self) -> Sectors {
        self.size
    }

    fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        ReadAt::read_at(&*self.file, at_bytes, into)
    }

    fn beside(&self) -> Option<Arc<dyn ReadAt>> {
        self.is_device.then(|| Arc::clone(&self.file) as Arc<dyn ReadAt>)
    }
}
