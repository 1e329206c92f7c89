//! A file that appears under its name when it is whole, or not at all.
//!
//! What always holds: nothing that is there already is changed, be it a file, a link or a device;
//! the name stands for a file that has reached the disk. Killed by force, this leaves a file whose
//! name begins with `.merge-ctl-` behind, and nothing else.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use merge_ctl::harmless;
use merge_ctl::merge::preflight::{Obstacle, Refusal};
use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::Errno;

use super::terminal;
use crate::exit::Usage;

/// The file while it is written, under another name in the same directory. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    kept: bool,
}

impl NewFile {
    /// Begins a file that is to have this path.
    ///
    /// # Errors
    /// [`Refusal`] where something has that name; [`Usage`] where it can be no file's name; what
    /// the kernel answers.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        if path.file_name().is_none() || path.is_dir() {
            return Err(Usage(format!("{} is no name for a file", harmless::path(path))).into());
        }
        if path.symlink_metadata().is_ok() {
            return Err(there_already(path).into());
        }
        let temporary = path.with_file_name(format!(".merge-ctl-{}.part", std::process::id()));
        let file = File::options().write(true).create_new(true).open(&temporary);
        let file = file.with_context(|| format!("cannot create {}", harmless::path(path)))?;
        Ok(Self { file, temporary, path: path.to_owned(), kept: false })
    }

    /// What is to be written to.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// As [`Self::create`]: somebody else may have taken the name meanwhile. The file is gone then.
    pub(crate) fn keep(mut self) -> anyhow::Result<()> {
        let cannot_keep = || format!("cannot write {}", harmless::path(&self.path));
        self.file.sync_all().with_context(cannot_keep)?;
        match rename(&self.temporary, &self.path) {
            Err(Errno::EXIST) => return Err(there_already(&self.path).into()),
            other => other.map_err(io::Error::from).with_context(cannot_keep)?,
        }
        self.kept = true;
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = File::open(directory.unwrap_or(Path::new(".")));
        directory.and_then(|directory| directory.sync_all()).with_context(cannot_keep)
    }
}

/// Gives a file another name, unless something has that name.
fn rename(from: &Path, to: &Path) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems that cannot do it in one step (NFS) have links.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())?;
            rustix::fs::unlink(from)
        }
        other => other,
    }
}

fn there_already(path: &Path) -> Refusal {
    Refusal {
        obstacle: Obstacle::Unfit,
        reason: format!("{} is there already", harmless::path(path)),
        way_out: "Nothing is ever overwritten: give another name, or remove it first.".to_owned(),
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.temporary) {
            terminal::tell(&format!("cannot remove {}: {error}", harmless::path(&self.temporary)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::exit::{self, Exit};

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn it_is_there_when_it_is_kept_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new");
        let mut file = NewFile::create(&path).unwrap();
        file.file().write_all(b"whole").unwrap();
        assert!(!path.exists());
        file.keep().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(directory.path()), ["new"]);
    }

    #[test]
    fn dropped_it_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        drop(NewFile::create(&directory.path().join("new")).unwrap());
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn what_is_there_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("old");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let error = NewFile::create(&path).unwrap_err();
        assert_eq!(exit::of(&error), Exit::Refused);
        assert!(NewFile::create(directory.path()).unwrap_err().is::<Usage>());
        // Taken while we write.
        let path = directory.path().join("raced");
        let file = NewFile::create(&path).unwrap();
        std::fs::write(&path, "theirs").unwrap();
        assert_eq!(exit::of(&file.keep().unwrap_err()), Exit::Refused);
        assert_eq!(std::fs::read(&path).unwrap(), b"theirs");
        assert_eq!(names(directory.path()).len(), 2);
    }

    #[test]
    fn without_a_directory_there_is_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing/new");
        let error = NewFile::create(&missing).unwrap_err();
        assert!(format!("{error:#}").contains("cannot create"), "{error:#}");
    }
}
