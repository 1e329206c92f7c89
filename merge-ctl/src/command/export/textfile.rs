//! The file for node_exporter's textfile collector: replaced whole, or left as it was.
//!
//! Written beside its place under a name that node_exporter does not read, and renamed. Not synced: after a
//! crash of the machine an old or an empty file is as good as none, and syncing would wait for disks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use merge_ctl::harmless;

use crate::exit::Usage;

const NAME: &str = "merge-ctl.prom";
const TEMPORARY: &str = ".merge-ctl.prom.new";

/// Where it will be.
pub(super) fn path_in(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

/// See the module.
#[derive(Debug)]
pub(super) struct Textfile {
    path: PathBuf,
    temporary: PathBuf,
}

impl Textfile {
    /// # Errors
    /// Where there is no such directory.
    pub(super) fn new(directory: &Path) -> Result<Self, Usage> {
        if !directory.is_dir() {
            return Err(Usage(format!("{} is no directory", harmless::path(directory))));
        }
        Ok(Self { path: path_in(directory), temporary: directory.join(TEMPORARY) })
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// What cannot be written; the file is then the one before.
    pub(super) fn write(&self, text: &[u8]) -> anyhow::Result<()> {
        let words = || format!("cannot write {}", harmless::path(&self.path));
        fs::write(&self.temporary, text)
            .and_then(|()| fs::rename(&self.temporary, &self.path))
            .with_context(words)
    }

    /// Takes it away: nobody keeps it true any more.
    ///
    /// # Errors
    /// Why it stays.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        for path in [&self.temporary, &self.path] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot remove {}", harmless::path(path)));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::thread;

    use super::*;

    #[test]
    fn a_reader_sees_one_page_or_the_next_and_never_half_of_one() {
        let directory = tempfile::tempdir().unwrap();
        let textfile = Textfile::new(directory.path()).unwrap();
        let path = path_in(directory.path());
        let page = |letter: u8| vec![letter; 100_000];
        textfile.write(&page(b'a')).unwrap();
        let reader = thread::spawn(move || {
            let mut seen = [0; 2];
            while seen[1] < 200 {
                let mut text = Vec::new();
                fs::File::open(&path).unwrap().read_to_end(&mut text).unwrap();
                assert_eq!(text.len(), 100_000);
                assert!(text.iter().all(|byte| *byte == text[0]));
                seen[usize::from(text[0] == b'b')] += 1;
            }
            seen
        });
        while !reader.is_finished() {
            for letter in [b'b', b'a'] {
                textfile.write(&page(letter)).unwrap();
            }
        }
        assert!(reader.join().unwrap()[1] > 0);
        textfile.remove().unwrap();
        textfile.remove().unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_file_before() {
        let directory = tempfile::tempdir().unwrap();
        let textfile = Textfile::new(directory.path()).unwrap();
        textfile.write(b"before").unwrap();
        fs::create_dir(directory.path().join(TEMPORARY)).unwrap();
        assert!(textfile.write(b"after").is_err());
        assert_eq!(fs::read(path_in(directory.path())).unwrap(), b"before");
        assert!(Textfile::new(&directory.path().join("none")).is_err());
    }
}
