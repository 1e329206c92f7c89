//! What a path leads to, so that one thing under two names is known.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use merge_ctl::harmless;
use merge_ctl::offline::OfflineError;
use merge_ctl::units::{DeviceNumber, SECTOR_BYTES};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// A block device, and for a loop device what it shows.
    Device { dev: DeviceNumber, shows: Option<Part> },
    /// A file, by its file system and its number there.
    File(FileId),
}

/// A file, by its file system and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    dev: u64,
    ino: u64,
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) file: FileId,
    begin_bytes: u64,
    end_bytes: u64,
}

impl FileId {
    /// Of an open file, or of a path.
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self { dev: metadata.dev(), ino: metadata.ino() }
    }
}

impl Identity {
    /// What is there.
    ///
    /// # Errors
    /// [`OfflineError::Open`] where nothing is.
    pub(super) fn of(path: &Path, label: &str) -> Result<Self, OfflineError> {
        let failed = |source| OfflineError::Open { path: PathBuf::from(label), source };
        let metadata = fs::metadata(path).map_err(failed)?;
        if metadata.file_type().is_block_device() {
            let dev = DeviceNumber::from_user(metadata.rdev());
            return Ok(Self::Device { dev, shows: shown_by(dev).ok() });
        }
        if !metadata.is_file() {
            return Err(failed(io::Error::other("it is neither a block device nor a file")));
        }
        Ok(Self::File(FileId::of(&metadata)))
    }

    /// Whether a byte of the one may be a byte of the other.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Device { dev: one, shows }, Self::Device { dev: other, shows: others }) => {
                let both = shows.as_ref().zip(others.as_ref());
                one == other || both.is_some_and(|(one, other)| one.overlaps(other))
            }
            (Self::Device { shows, .. }, Self::File(file))
            | (Self::File(file), Self::Device { shows, .. }) => {
                shows.as_ref().is_some_and(|part| part.file == *file)
            }
        }
    }
}

impl Part {
    const fn overlaps(&self, other: &Self) -> bool {
        self.file.dev == other.file.dev
            && self.file.ino == other.file.ino
            && self.begin_bytes < other.end_bytes
            && other.begin_bytes < self.end_bytes
    }
}

/// What a loop device shows of which file. Source: `/sys/dev/block/…/loop`, `drivers/block/loop.c`.
pub(super) fn shown_by(dev: DeviceNumber) -> io::Result<Part> {
    let directory = PathBuf::from(format!("/sys/dev/block/{dev}"));
    let read = |file: &str| fs::read(directory.join(file)).map(|it| harmless::from_bytes(&it));
    let number = |text: String| text.trim().parse::<u64>().map_err(io::Error::other);
    let file = read("loop/backing_file")?;
    let path = harmless::to_bytes(file.strip_suffix('\n').unwrap_or(&file));
    let path = PathBuf::from(OsString::from_vec(path));
    let begin_bytes = number(read("loop/offset")?)?;
    let size_bytes = number(read("size")?)?.saturating_mul(SECTOR_BYTES);
    let end_bytes = begin_bytes.saturating_add(size_bytes);
    Ok(Part { file: FileId::of(&fs::metadata(path)?), begin_bytes, end_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_under_two_names_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        fs::write(&one, "").unwrap();
        std::os::unix::fs::symlink(&one, &other).unwrap();
        let identity = |path: &Path| Identity::of(path, "image").unwrap();
        assert!(identity(&one).overlaps(&identity(&other)));
        fs::remove_file(&other).unwrap();
        fs::hard_link(&one, &other).unwrap();
        assert!(identity(&one).overlaps(&identity(&other)));
        fs::remove_file(&other).unwrap();
        fs::write(&other, "").unwrap();
        assert!(!identity(&one).overlaps(&identity(&other)));
        Identity::of(directory.path(), "image").unwrap_err();
    }

    #[test]
    fn parts_of_one_file_overlap_or_do_not() {
        let part = |ino, begin_bytes, end_bytes| {
            let dev = DeviceNumber { major: 7, minor: begin_bytes as u32 };
            let shows = Some(Part { file: FileId { dev: 1, ino }, begin_bytes, end_bytes });
            Identity::Device { dev, shows }
        };
        assert!(part(5, 0, 100).overlaps(&part(5, 99, 200)));
        assert!(!part(5, 0, 100).overlaps(&part(5, 100, 200)));
        assert!(!part(5, 0, 100).overlaps(&part(6, 99, 200)));
        let file = Identity::File(FileId { dev: 1, ino: 5 });
        assert!(file.overlaps(&part(5, 99, 200)) && part(5, 99, 200).overlaps(&file));
    }
}
