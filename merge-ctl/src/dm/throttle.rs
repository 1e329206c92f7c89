//! `snapshot_copy_throttle`: the share of time that copying may take. One for all snapshots of the
//! host, COW copies included.
//!
//! Source: `DECLARE_DM_KCOPYD_THROTTLE_WITH_MODULE_PARM` in `drivers/md/dm-snap.c`.

use std::io;
use std::path::Path;

const PARAMETER: &str = "/sys/module/dm_snapshot/parameters/snapshot_copy_throttle";

/// The throttle in percent; 100 means none. Nothing where dm-snapshot is not loaded.
///
/// # Errors
/// From the file system; `InvalidData` where it holds no number.
pub fn read() -> io::Result<Option<u32>> {
    read_from(Path::new(PARAMETER))
}

fn read_from(path: &Path) -> io::Result<Option<u32>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let number = text.trim().parse();
    number.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_nothing_or_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "80\n").unwrap();
        assert_eq!(read_from(file.path()).unwrap(), Some(80));
        std::fs::write(file.path(), "fast\n").unwrap();
        assert_eq!(read_from(file.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read_from(Path::new("/nonexistent/throttle")).unwrap(), None);
    }
}
