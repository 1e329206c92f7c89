//! A device or a file that an offline merge reads and writes, held for this process alone.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, FlockOperation, OFlags, SeekFrom};
use rustix::io::Errno;

use super::error::{Act, OfflineError};
use super::sectors_of;
use crate::dm::holders::holders_of;
use crate::store::aligned::AlignedBuffer;
use crate::store::{ReadAt, Source};
use crate::units::{DeviceNumber, SECTOR_BYTES, Sectors};

/// See the module.
///
/// A block device is opened with `O_EXCL`, which the kernel refuses while it is mounted or held by
/// another device, and keeps others from doing that. A file is locked, which keeps off only those who
/// ask for a lock too. Reads and writes are direct; those of a file only where its file system takes
/// single sectors, else they go through the page cache.
#[derive(Debug)]
pub struct Target {
    file: Arc<File>,
    label: String,
    size: Sectors,
    block_bytes: u32,
    is_direct: bool,
    identity: Identity,
}

/// What makes two targets the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    Device { number: u64 },
    File { device: u64, inode: u64 },
}

impl Target {
    /// Opens it; `label` is what people call it.
    ///
    /// # Errors
    /// [`OfflineError::Open`], among others where somebody holds it: then its source has the kind
    /// [`io::ErrorKind::ResourceBusy`], and says who, where that can be seen.
    pub fn open(path: &Path, label: impl Into<String>) -> Result<Self, OfflineError> {
        Self::opened(path, label.into())
            .map_err(|source| OfflineError::Open { path: path.to_owned(), source })
    }

    fn opened(path: &Path, label: String) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        let is_device = metadata.file_type().is_block_device();
        let (file, block_bytes, is_direct, identity) = if is_device {
            let number = metadata.rdev();
            let flags = OFlags::EXCL | OFlags::DIRECT;
            let file = open(path, flags).map_err(|error| held(error, number))?;
            let block_bytes = rustix::fs::ioctl_blksszget(&file)?;
            (file, block_bytes, true, Identity::Device { number })
        } else if metadata.is_file() {
            let (file, is_direct) = open_file(path)?;
            let metadata = file.metadata()?;
            let identity = Identity::File { device: metadata.dev(), inode: metadata.ino() };
            (file, SECTOR_BYTES as u32, is_direct, identity)
        } else {
            return Err(io::Error::other("it is neither a block device nor a file"));
        };
        let size = sectors_of(rustix::fs::seek(&file, SeekFrom::End(0))?);
        Ok(Self { file: Arc::new(file), label, size, block_bytes, is_direct, identity })
    }

    /// What people call it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its size.
    pub const fn size(&self) -> Sectors {
        self.size
    }

    /// Its number; none where it is a file.
    pub fn device(&self) -> Option<DeviceNumber> {
        match self.identity {
            Identity::Device { number } => Some(DeviceNumber::from_user(number)),
            Identity::File { .. } => None,
        }
    }

    /// Whether both are one and the same device or file.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Returns once all that was written is on stable storage.
    pub(super) fn flush(&self) -> Result<(), OfflineError> {
        self.file.sync_data().map_err(|error| self.failed(Act::Flush, 0, error))
    }

    /// Sees to it that what is read from now on comes from the device. It must be flushed.
    pub(super) fn forget_cache(&self) -> Result<(), OfflineError> {
        if self.is_direct {
            return Ok(());
        }
        rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)
            .map_err(|error| self.failed(Act::Flush, 0, error.into()))
    }

    pub(super) fn failed(&self, act: Act, at_bytes: u64, source: io::Error) -> OfflineError {
        OfflineError::Io { device: self.label.clone(), act, at: sectors_of(at_bytes), source }
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    // Without O_NONBLOCK the open of what was replaced by a named pipe would wait.
    let flags = (flags | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    // With it, io_uring would not wait for a device that has no room for a request.
    rustix::fs::fcntl_setfl(&file, rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Opens and locks a file; whether its requests are direct.
fn open_file(path: &Path) -> io::Result<(File, bool)> {
    let direct = open(path, OFlags::DIRECT).ok().filter(takes_sectors);
    let is_direct = direct.is_some();
    let file = match direct {
        Some(file) => file,
        None => open(path, OFlags::empty())?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok((file, is_direct)),
        Err(Errno::WOULDBLOCK) => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process has locked it"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether single sectors can be read directly. An empty file says nothing of that, and needs none.
fn takes_sectors(file: &File) -> bool {
    let mut sector = AlignedBuffer::new(2 * SECTOR_BYTES as usize);
    // The second of the two: neither the place nor the memory has a greater alignment.
    let (_, second) = sector.as_mut_slice().split_at_mut(SECTOR_BYTES as usize);
    FileExt::read_at(file, second, SECTOR_BYTES).is_ok()
}

/// Says who holds a device that is busy, where that can be seen.
fn held(error: io::Error, number: u64) -> io::Error {
    if error.kind() != io::ErrorKind::ResourceBusy {
        return error;
    }
    match holders_of(DeviceNumber::from_user(number)) {
        Ok(holders) if !holders.0.is_empty() => {
            io::Error::new(error.kind(), format!("it is in use: {holders}"))
        }
        _ => error,
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
        self.is_direct.then(|| Arc::clone(&self.file) as Arc<dyn ReadAt>)
    }
}
