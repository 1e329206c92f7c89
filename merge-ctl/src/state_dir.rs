//! Where merge-ctl keeps what must outlive it, and how a file gets there whole.
//!
//! Two directories: one that survives a reboot (journals of merges), one that does not (what is in
//! force only while this kernel runs). `MERGE_CTL_STATE_DIR` puts both below another directory.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Names another place for both directories.
pub const VARIABLE: &str = "MERGE_CTL_STATE_DIR";

/// What must survive a reboot.
pub fn lasting() -> PathBuf {
    below("lib", "/var/lib/merge-ctl")
}

/// What ends with this boot.
pub fn of_this_boot() -> PathBuf {
    below("run", "/run/merge-ctl")
}

fn below(part: &str, usual: &str) -> PathBuf {
    match env::var_os(VARIABLE) {
        Some(directory) if !directory.is_empty() => PathBuf::from(directory).join(part),
        _ => PathBuf::from(usual),
    }
}

/// Makes the directory if it is not there, for its owner alone, so that it is there after a crash.
///
/// # Errors
/// Where it cannot be made.
pub fn make(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        make(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    directory.parent().map_or(Ok(()), sync_directory)
}

/// Puts a file in place so that, after a crash at any instant, there is the old one or the new one.
/// Its directory must be there.
///
/// # Errors
/// Where it cannot be written or made durable; the old one is then still there.
pub fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    sync_directory(path.parent().unwrap_or(Path::new("/")))
}

/// Removes a file so that it stays away after a crash. One that is not there is fine.
///
/// # Errors
/// Where it cannot be removed.
pub fn remove_durably(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    sync_directory(path.parent().unwrap_or(Path::new("/")))
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("a/b");
        make(&below).unwrap();
        make(&below).unwrap();
        let path = below.join("x.json");
        for content in ["first", "second, longer", "3"] {
            write_durably(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(&below).unwrap().count(), 1);
        remove_durably(&path).unwrap();
        remove_durably(&path).unwrap();
        assert_eq!(fs::read_dir(&below).unwrap().count(), 0);
    }
}
