//! Where the bytes of a store come from.
//!
//! A source only reads, at a given place, and knows its size. On a block device reads are direct
//! (`O_DIRECT`): the kernel writes the metadata below the page cache, so a cached read can show
//! exceptions that were merged long ago. A regular file is read through the page cache, which is
//! coherent there: whoever writes the file, writes through it or invalidates it.
//!
//! On a block device a source also lets other threads read, since a device does many reads at once.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{OFlags, SeekFrom};

use super::error::StoreError;
use crate::units::{DeviceNumber, SECTOR_BYTES, Sectors};

/// Positioned reads of a COW device, or of a copy of its metadata.
pub trait Source {
    /// The size. A last part of less than a sector does not count.
    fn size(&self) -> Sectors;

    /// What every read must be aligned to, place and length: a power of two, a sector at least.
    fn block_bytes(&self) -> u32;

    /// Fills `into` with the bytes from `at_bytes` on.
    ///
    /// The caller aligns `at_bytes`, the length and the address of `into` to
    /// [`Self::block_bytes`], and stays within [`Self::size`].
    ///
    /// # Errors
    /// What the kernel answers; `UnexpectedEof` where the bytes end before `into` is full.
    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()>;

    /// The same reads for other threads, where it pays to have several under way. None for all but
    /// block devices.
    fn beside(&self) -> Option<Arc<dyn ReadAt>> {
        None
    }

    /// Whether somebody, most likely the kernel for a snapshot, may be adding to the store. An area
    /// must then not be read before it is known to be in use: what stood there earlier can look
    /// like exceptions.
    fn may_grow(&self) -> bool {
        false
    }
}

/// [`Source::read_at`] on its own, for threads.
pub trait ReadAt: Send + Sync {
    /// As [`Source::read_at`].
    ///
    /// # Errors
    /// As [`Source::read_at`].
    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(into, at_bytes)
    }
}

impl<S: Source + ?Sized> Source for &S {
    fn size(&self) -> Sectors {
        (**self).size()
    }

    fn block_bytes(&self) -> u32 {
        (**self).block_bytes()
    }

    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        (**self).read_at(at_bytes, into)
    }

    fn beside(&self) -> Option<Arc<dyn ReadAt>> {
        (**self).beside()
    }

    fn may_grow(&self) -> bool {
        (**self).may_grow()
    }
}

/// A block device, read directly, or a regular file, read through the page cache.
#[derive(Debug)]
pub struct FileSource {
    file: Arc<File>,
    size: Sectors,
    block_bytes: u32,
    is_device: bool,
    /// Whether a device had holders when it was opened.
    held: bool,
}

impl FileSource {
    /// Opens a device or a file, for reading only. A device in use can be opened.
    ///
    /// # Errors
    /// [`StoreError::Open`] and [`StoreError::NeitherDeviceNorFile`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        // Without O_NONBLOCK the open of a named pipe would wait for a writer.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let kind = metadata.file_type();
        let is_device = kind.is_block_device();
        let block_bytes = if is_device {
            direct_block_bytes(&file).map_err(failed)?
        } else if kind.is_file() {
            SECTOR_BYTES as u32
        } else {
            return Err(StoreError::NeitherDeviceNorFile { path: path.to_owned() });
        };
        // Unlike the length in stat(2), this is right for a block device too.
        let size_bytes = rustix::fs::seek(&file, SeekFrom::End(0)).map_err(|e| failed(e.into()))?;
        let size = Sectors(size_bytes / SECTOR_BYTES);
        let held = is_device && has_holders(DeviceNumber::from_user(metadata.rdev()));
        Ok(Self { file: Arc::new(file), size, block_bytes, is_device, held })
    }
}

/// Whether another block device is made of this one, as a snapshot is of its COW device; also
/// where that cannot be told.
fn has_holders(device: DeviceNumber) -> bool {
    let holders = fs::read_dir(format!("/sys/dev/block/{device}/holders"));
    holders.map_or(true, |mut holders| holders.next().is_some())
}

/// Makes all further reads of a block device direct, and tells what they must be aligned to.
fn direct_block_bytes(device: &File) -> io::Result<u32> {
    rustix::fs::fcntl_setfl(device, OFlags::DIRECT)?;
    Ok(rustix::fs::ioctl_blksszget(device)?)
}

impl Source for FileSource {
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

    fn may_grow(&self) -> bool {
        self.held
    }
}

/// A store in memory.
#[derive(Clone, Debug, Default)]
pub struct MemorySource(Vec<u8>);

impl MemorySource {
    /// A device with these bytes.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Source for MemorySource {
    fn size(&self) -> Sectors {
        Sectors(self.0.len() as u64 / SECTOR_BYTES)
    }

    fn block_bytes(&self) -> u32 {
        SECTOR_BYTES as u32
    }

    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(at_bytes).unwrap_or(usize::MAX);
        let end = start.saturating_add(into.len());
        let bytes = self.0.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_where_asked() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..2000_u32).map(|byte| byte as u8).collect();
        fs::write(file.path(), &bytes).unwrap();
        let source = FileSource::open(file.path()).unwrap();
        assert_eq!(source.size(), Sectors(3));
        let mut sector = [0; 512];
        source.read_at(512, &mut sector).unwrap();
        assert_eq!(sector, bytes[512..1024]);
        let end = source.read_at(1536, &mut sector).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        assert!(source.beside().is_none(), "threads do not make the page cache faster");
        assert!(!source.may_grow());
    }

    #[test]
    fn memory_ends_where_it_ends() {
        let source = MemorySource::new(vec![7; 1024]);
        let mut sector = [0; 512];
        source.read_at(512, &mut sector).unwrap();
        assert_eq!(sector, [7; 512]);
        assert!(source.read_at(1024, &mut sector).is_err());
        assert!(source.read_at(u64::MAX, &mut sector).is_err());
    }

    #[test]
    fn a_pipe_or_a_directory_is_no_source() {
        let directory = tempfile::tempdir().unwrap();
        let refused = FileSource::open(directory.path()).unwrap_err();
        assert!(matches!(refused, StoreError::NeitherDeviceNorFile { .. }), "{refused}");
        let missing = FileSource::open(&directory.path().join("none")).unwrap_err();
        assert!(matches!(missing, StoreError::Open { .. }), "{missing}");
        let pipe = directory.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let refused = FileSource::open(&pipe).unwrap_err();
        assert!(matches!(refused, StoreError::NeitherDeviceNorFile { .. }), "{refused}");
    }
}
