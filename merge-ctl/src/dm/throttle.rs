//! `snapshot_copy_throttle`: the share of time that copying may take. One for all snapshots of the
//! host, COW copies included.
//!
//! Source: `DECLARE_DM_KCOPYD_THROTTLE_WITH_MODULE_PARM` in `drivers/md/dm-snap.c`; what it does is
//! in `drivers/md/dm-kcopyd.c`, `io_job_start`.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const PARAMETER: &str = "/sys/module/dm_snapshot/parameters/snapshot_copy_throttle";

/// No throttle.
pub const OFF: u32 = 100;

/// The throttle in percent; 100 means none. Nothing where dm-snapshot is not loaded.
///
/// # Errors
/// From the file system; `InvalidData` where it holds no number.
pub fn read() -> io::Result<Option<u32>> {
    Knob::of_the_kernel().read()
}

/// Where the setting is read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knob(PathBuf);

impl Knob {
    /// The kernel's.
    pub fn of_the_kernel() -> Self {
        Self(PathBuf::from(PARAMETER))
    }

    /// A file that stands for it, in tests.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The setting in percent. Nothing where dm-snapshot is not loaded.
    ///
    /// # Errors
    /// From the file system; `InvalidData` where it holds no number.
    pub fn read(&self) -> io::Result<Option<u32>> {
        let text = match std::fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let number = text.trim().parse();
        number.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Sets it. A copy that sleeps looks again every 100 ms, so it takes effect at once.
    ///
    /// # Errors
    /// From the file system: `NotFound` where dm-snapshot is not loaded, `PermissionDenied` without
    /// root.
    pub fn write(&self, percent: u32) -> io::Result<()> {
        // Opened and never created: what is no parameter of the kernel is not to become a file.
        let mut file = File::options().write(true).truncate(true).open(&self.0)?;
        file.write_all(percent.to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_nothing_or_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let knob = Knob::at(file.path());
        std::fs::write(file.path(), "80\n").unwrap();
        assert_eq!(knob.read().unwrap(), Some(80));
        knob.write(7).unwrap();
        assert_eq!(knob.read().unwrap(), Some(7));
        std::fs::write(file.path(), "fast\n").unwrap();
        assert_eq!(knob.read().unwrap_err().kind(), io::ErrorKind::InvalidData);
        let nowhere = Knob::at(Path::new("/nonexistent/throttle"));
        assert_eq!(nowhere.read().unwrap(), None);
        assert_eq!(nowhere.write(1).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
