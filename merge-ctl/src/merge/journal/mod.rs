//! The journal of a raw merge: what is needed to go on with it after a crash or a reboot.
//!
//! One file a merge, in [`state_dir::lasting`], named after the origin. It is written before the
//! first step that changes a device, brought up to date before each turn of the merge, and removed
//! once the origin is a plain device again; every time durably, so that what is on disk is never
//! behind what was done. A volume of LVM has none: lvm2's own metadata is its journal.
//!
//! [`Record`] is what is written, [`below`] how the devices under the merge are found again,
//! [`driver`] who may change anything, [`intent`] who is going to.

pub mod below;
pub mod driver;
pub mod intent;
mod pid_lock;
mod record;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::driver::{Driver, DriverError};
#[cfg(test)]
pub(crate) use self::record::tests::record as a_record;
pub use self::record::{Named, Phase, Record, SnapshotRecord, StoreMark, boot_id};
use crate::harmless::{self, argument, printable};
use crate::state_dir;

/// Raised whenever an older merge-ctl would misread a journal.
const VERSION: u32 = 2;
/// What every merge-ctl reads. The journal of a merge that is not offline has no need of more.
const FIRST_VERSION: u32 = 1;
const EXTENSION: &str = "merge";

/// Why a journal cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system said no.
    #[error("the journal {} cannot be {done}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        done: &'static str,
        /// What was answered.
        source: io::Error,
    },
    /// There is one already.
    #[error(
        "a merge into {} was begun before and not finished: {}\nTo go on with it: \
         merge-ctl resume {}",
        printable(origin),
        harmless::path(path),
        argument(origin)
    )]
    Exists {
        /// The origin.
        origin: String,
        /// Its journal.
        path: PathBuf,
    },
    /// It is no journal.
    #[error("{} is not a journal of a merge: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A later merge-ctl wrote it.
    #[error(
        "{} has version {version} of the format; this merge-ctl knows {VERSION}: use the newer one",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// A journal on disk, and what it says.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    record: Record,
}

impl Journal {
    /// Begins a journal; the merge may begin once this returns.
    ///
    /// # Errors
    /// [`JournalError::Exists`]: nothing was written. [`JournalError::Io`].
    pub fn create(record: Record) -> Result<Self, JournalError> {
        let path = path_of(&record.origin.name);
        if path.exists() {
            return Err(JournalError::Exists { origin: record.origin.name, path });
        }
        let journal = Self { path, record };
        state_dir::make(&directory()).map_err(|source| journal.failed("written", source))?;
        journal.write()?;
        Ok(journal)
    }

    /// Reads a journal.
    ///
    /// # Errors
    /// All but [`JournalError::Exists`].
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Io { path: path.to_owned(), done: "read", source };
        let text = fs::read_to_string(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), record: parse(path, &text)? })
    }

    /// The journal of an origin; nothing where it has none.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of(origin: &str) -> Result<Option<Self>, JournalError> {
        let path = path_of(origin);
        match Self::open(&path) {
            Err(JournalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            journal => journal.map(Some),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says.
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Says what is about to be done. Durable once this returns.
    ///
    /// # Errors
    /// [`JournalError::Io`]: on disk it says what it said before.
    pub fn advance(&mut self, phase: Phase) -> Result<(), JournalError> {
        self.replace(Record { phase, ..self.record.clone() })
    }

    /// Says something else, as after a reboot, when the devices have other numbers.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub fn replace(&mut self, record: Record) -> Result<(), JournalError> {
        let before = std::mem::replace(&mut self.record, record);
        self.write().inspect_err(|_| self.record = before)
    }

    /// Ends the journal: there is nothing left to go on with.
    ///
    /// # Errors
    /// [`JournalError::Io`]: it may be there again after a crash.
    pub fn close(self) -> Result<(), JournalError> {
        state_dir::remove_durably(&self.path).map_err(|source| self.failed("removed", source))
    }

    fn write(&self) -> Result<(), JournalError> {
        let version = if self.record.offline { VERSION } else { FIRST_VERSION };
        let written = Written { version, merge: self.record.clone() };
        serde_json::to_vec_pretty(&written)
            .map_err(io::Error::other)
            .and_then(|text| state_dir::write_durably(&self.path, &text))
            .map_err(|source| self.failed("written", source))
    }

    fn failed(&self, done: &'static str, source: io::Error) -> JournalError {
        JournalError::Io { path: self.path.clone(), done, source }
    }
}

/// A journal as it stands in its file.
#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    merge: Record,
}

fn parse(path: &Path, text: &str) -> Result<Record, JournalError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let unreadable = |error: serde_json::Error| JournalError::Unreadable {
        path: path.to_owned(),
        why: error.to_string(),
    };
    let Version { version } = serde_json::from_str(text).map_err(unreadable)?;
    if !(FIRST_VERSION..=VERSION).contains(&version) {
        return Err(JournalError::Version { path: path.to_owned(), version });
    }
    let written: Written = serde_json::from_str(text).map_err(unreadable)?;
    Ok(written.merge)
}

/// All journals of this machine, each or why it cannot be read.
///
/// # Errors
/// Where the directory is there and cannot be read.
pub fn list() -> io::Result<Vec<Result<Journal, JournalError>>> {
    let entries = match fs::read_dir(directory()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths.iter().map(|path| Journal::open(path)).collect())
}

fn directory() -> PathBuf {
    state_dir::lasting().join("merges")
}

/// Where the journal of an origin lies, or would.
pub fn path_of(origin: &str) -> PathBuf {
    directory().join(format!("{}.{EXTENSION}", file_name(origin)))
}

/// A file name for a device-mapper name, which may hold any byte but `/`, and 127 of them.
fn file_name(origin: &str) -> String {
    let mut name = String::new();
    for byte in origin.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(byte.into()),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    // Only a name that is nearly all strange bytes is too long for a file; its sum tells it apart.
    if name.len() > 200 {
        let mut sum = flate2::Crc::new();
        sum.update(origin.as_bytes());
        name.truncate(180);
        name.push_str(&format!("%{:08x}", sum.sum()));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::record::tests::record;
    use super::*;
    use crate::dm::Table;

    fn in_directory(directory: &Path) -> Journal {
        Journal { path: directory.join("x.merge"), record: record() }
    }

    /// `docs/journal.md` has the version, every field and every phase.
    #[test]
    fn the_format_is_documented() {
        let text = include_str!("../../../../docs/journal.md");
        assert!(text.contains(&format!("`version`, which is {FIRST_VERSION}, or {VERSION} ")));
        let plain = Table::parse("0 800 linear 253:0 0").unwrap();
        for phase in [
            Phase::Starting,
            Phase::Merging,
            Phase::Finishing { plain },
            Phase::Failed { why: "broken".to_owned() },
        ] {
            let value = serde_json::to_value(Record { phase, offline: true, ..record() }).unwrap();
            let name = value["phase"].as_str().unwrap();
            assert!(text.contains(&format!("| `{name}` |")), "{name}");
            for field in value.as_object().unwrap().keys() {
                assert!(text.contains(&format!("`{field}`")), "{field}");
            }
        }
    }

    #[test]
    fn a_journal_says_what_it_was_told_last() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = in_directory(directory.path());
        journal.write().unwrap();
        journal.advance(Phase::Merging).unwrap();
        let read = Journal::open(&journal.path).unwrap();
        assert_eq!(read.record, Record { phase: Phase::Merging, ..record() });
        journal.close().unwrap();
        assert!(matches!(Journal::open(&read.path), Err(JournalError::Io { .. })));
    }

    #[test]
    fn what_cannot_be_written_was_not_said() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = in_directory(&directory.path().join("absent"));
        let error = journal.advance(Phase::Merging).unwrap_err();
        assert!(error.to_string().contains("cannot be written"), "{error}");
        assert_eq!(journal.record, record());
    }

    #[test]
    fn what_is_no_journal_is_told_from_what_is_too_new() {
        let path = Path::new("x.merge");
        let unreadable = |text| match parse(path, text) {
            Err(JournalError::Unreadable { why, .. }) => why,
            other => panic!("{other:?}"),
        };
        unreadable("");
        unreadable("{");
        unreadable(r#"{"merge":{}}"#);
        assert!(unreadable(r#"{"version":1,"merge":{}}"#).contains("missing field"));
        for version in [0, 3] {
            let text = format!(r#"{{"version":{version},"merge":{{"what":"ever"}}}}"#);
            let error = parse(path, &text).unwrap_err();
            assert!(
                matches!(error, JournalError::Version { version: told, .. } if told == version)
            );
        }
    }

    /// What a merge-ctl wrote that knew of no offline merges, and what it must not read.
    #[test]
    fn only_the_journal_of_an_offline_merge_has_the_second_version() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = in_directory(directory.path());
        for (offline, version) in [(false, 1), (true, 2)] {
            journal.replace(Record { offline, ..record() }).unwrap();
            let text = fs::read_to_string(&journal.path).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (&value["version"], value["merge"]["offline"].is_null()),
                (&version.into(), !offline)
            );
            assert_eq!(Journal::open(&journal.path).unwrap().record, journal.record);
        }
    }

    #[test]
    fn names_of_files_are_harmless_short_and_all_different() {
        assert_eq!(file_name("vg-data"), "vg-data");
        assert_eq!(file_name("a b\x1b."), "a%20b%1b%2e");
        let long = |last: &str| file_name(&("\n".repeat(126) + last));
        assert!(long("a").len() < 200 && long("a") != long("b"));
    }
}
