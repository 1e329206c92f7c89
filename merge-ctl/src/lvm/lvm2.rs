//! lvm2's own commands: the only hands that change a device of LVM.
//!
//! What always holds: a command is run as `lvm COMMAND …` with its output captured; a failure
//! carries the command line, the exit status and lvm2's words. Nothing is asked on a terminal.
//! lvm2 is run by [`crate::program`]'s rules: by absolute path, in an environment that is made anew.
//! Of ours it gets [`KEPT`] only. Names of volumes stand behind `--` and hold only what lvm2 allows
//! in names, so that none can be an option, a tag or another volume.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use serde::de::DeserializeOwned;

use super::rows::{self, COLUMNS, DiskRow, PART_COLUMNS, Rows, SEGMENT_COLUMNS};
pub use super::rows::{GroupDisk, Part, Segment, Volume};
use crate::{harmless, program};

/// What lvm2 is told of our environment: where its configuration is, and whether there is a udev to
/// wait for (a rescue system has none, and lvm2 would wait for ever).
pub const KEPT: [&str; 2] = ["LVM_SYSTEM_DIR", "DM_DISABLE_UDEV"];
/// A command of lvm2 that could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum LvmError {
    /// lvm2 is not there.
    #[error("lvm2 is not installed: no `lvm` in /usr/sbin, /usr/bin, /sbin, /bin or on the PATH")]
    Missing,
    /// What is no name in lvm2.
    #[error("{} is no name that lvm2 would give", harmless::quoted(.0))]
    Name(String),
    /// It could not be started.
    #[error("cannot run `{command}`")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("`{command}` failed ({status}): {words}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said, without its warnings.
        words: String,
    },
    /// It does not tell a setting.
    #[error("lvm2 does not say what its setting {0} is")]
    NoSetting(&'static str),
    /// It said something that is not its report.
    #[error("`{command}` gave a report that cannot be read")]
    Report {
        /// The command line.
        command: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// What became of a merge that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeStart {
    /// It runs.
    Started,
    /// LVM recorded it and begins at the next activation of the origin, because origin or snapshot
    /// is in use. What lvm2 said is with it.
    AtNextActivation(String),
}

/// lvm2, found on this machine.
#[derive(Clone, Debug)]
pub struct Lvm {
    program: PathBuf,
}

impl Lvm {
    /// Finds the program.
    ///
    /// # Errors
    /// [`LvmError::Missing`].
    pub fn find() -> Result<Self, LvmError> {
        program::find("lvm").map(|program| Self { program }).ok_or(LvmError::Missing)
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// `lvconvert --merge`, without waiting for the end. lvm2 leaves a process behind (or tells
    /// lvmpolld) that looks every 15 s whether the merge is done; see [`Lvm::poll`].
    ///
    /// # Errors
    /// [`LvmError::Failed`], with lvm2's reasons; [`LvmError::Name`].
    pub fn merge_in_background(&self, vg: &str, snapshot: &str) -> Result<MergeStart, LvmError> {
        let volume = path(vg, snapshot)?;
        let words = self.run(&["lvconvert", "--merge", "--background", "--yes", "--", &volume])?;
        Ok(if words.contains("next activation") {
            MergeStart::AtNextActivation(words)
        } else {
            MergeStart::Started
        })
    }

    /// Makes lvm2 look at once whether a merge into this origin is done, and finish it if so.
    ///
    /// `lvchange --poll y` starts another look in the background, whose first check comes
    /// immediately; the older one finds nothing more to do at its next turn. lvmpolld would
    /// answer that it polls already and keep its 15 s, so it is passed by.
    ///
    /// # Errors
    /// [`LvmError::Failed`], [`LvmError::Name`].
    pub fn poll(&self, vg: &str, origin: &str) -> Result<(), LvmError> {
        let volume = path(vg, origin)?;
        let poll = ["lvchange", "--poll", "y", "--config", "global/use_lvmpolld=0", "--", &volume];
        self.run(&poll).map(drop)
    }

    /// Takes a volume down, and its snapshots with it.
    ///
    /// # Errors
    /// [`LvmError::Failed`]; where one of them is in use, among others.
    pub fn deactivate(&self, vg: &str, volume: &str) -> Result<(), LvmError> {
        self.run(&["lvchange", "--activate", "n", &format!("{vg}/{volume}")]).map(drop)
    }

    /// Brings a volume up, and its snapshots with it. A merge into it goes on, and lvm2 leaves a
    /// process behind that finishes it.
    ///
    /// # Errors
    /// [`LvmError::Failed`].
    pub fn activate(&self, vg: &str, volume: &str) -> Result<(), LvmError> {
        self.run(&["lvchange", "--activate", "y", &format!("{vg}/{volume}")]).map(drop)
    }

    /// All logical volumes, hidden ones too.
    ///
    /// # Errors
    /// [`LvmError::Failed`], [`LvmError::Report`].
    pub fn volumes(&self) -> Result<Vec<Volume>, LvmError> {
        self.report(&["lvs", "--all", "--reportformat", "json", "--options", COLUMNS])
    }

    /// The logical volumes of one group, hidden ones too. Changes nothing, takes no lock that
    /// another command of lvm2 would wait for, and reads the disks.
    ///
    /// # Errors
    /// As [`Lvm::volumes`]; [`LvmError::Name`].
    pub fn volumes_of(&self, vg: &str) -> Result<Vec<Volume>, LvmError> {
        let name = name(vg)?;
        // Without the lock: a look must neither wait for lvm2 nor make it wait.
        let look = ["lvs", "--all", "--readonly", "--reportformat", "json", "--options", COLUMNS];
        self.report(&[&look[..], &["--", name]].concat())
    }

    /// Where the volumes of a group lie on its disks, segment by segment. Takes no lock.
    ///
    /// # Errors
    /// As [`Lvm::volumes_of`].
    pub fn segments_of(&self, vg: &str) -> Result<Vec<Segment>, LvmError> {
        let name = name(vg)?;
        let look =
            ["lvs", "--all", "--segments", "--readonly", "--reportformat", "json", "--options"];
        let arguments = [&look[..], &[SEGMENT_COLUMNS, "--", name]].concat();
        self.rows(&arguments, |report| report.seg.or(report.lv))
    }

    /// The nodes of a group's disks. Takes no lock.
    ///
    /// # Errors
    /// As [`Lvm::volumes_of`].
    pub fn disks_of(&self, vg: &str) -> Result<Vec<PathBuf>, LvmError> {
        let name = name(vg)?;
        let arguments =
            ["vgs", "--readonly", "--reportformat", "json", "--options", "pv_name", "--", name];
        let rows: Vec<DiskRow> = self.rows(&arguments, |report| report.pv.or(report.vg))?;
        Ok(rows.into_iter().map(|row| row.pv_name).collect())
    }

    /// The same segments with all that their tables are made of. Takes no lock.
    ///
    /// # Errors
    /// As [`Lvm::volumes_of`].
    pub fn parts_of(&self, vg: &str) -> Result<Vec<Part>, LvmError> {
        let name = name(vg)?;
        let look = ["lvs", "--all", "--segments", "--readonly", "--reportformat", "json"];
        let sizes = ["--units", "s", "--nosuffix", "--options", PART_COLUMNS, "--", name];
        let arguments = [&look[..], &sizes].concat();
        let mut parts: Vec<Part> = self.rows(&arguments, |report| report.seg.or(report.lv))?;
        for part in &mut parts {
            part.name = part.name.trim_matches(['[', ']']).to_owned();
        }
        Ok(parts)
    }

    /// A group's disks, and where their extents begin. Takes no lock.
    ///
    /// # Errors
    /// As [`Lvm::volumes_of`].
    pub fn group_disks_of(&self, vg: &str) -> Result<Vec<GroupDisk>, LvmError> {
        let name = name(vg)?;
        let look = ["vgs", "--readonly", "--reportformat", "json", "--units", "s", "--nosuffix"];
        let arguments = [&look[..], &["--options", "pv_name,pe_start", "--", name]].concat();
        self.rows(&arguments, |report| report.pv.or(report.vg))
    }

    /// The directory where lvm2 keeps the files that its commands lock (`global/locking_dir`).
    ///
    /// # Errors
    /// [`LvmError::Failed`]; [`LvmError::NoSetting`] where there is none.
    pub fn lock_directory(&self) -> Result<PathBuf, LvmError> {
        const SETTING: &str = "global/locking_dir";
        // lvm2 fails where there is no configuration at all, as in an initramfs: an empty one will do.
        let look = ["lvmconfig", "--typeconfig", "full", "--config", "global{}", SETTING];
        let text = self.capture(&look)?.0;
        let value = text.lines().find_map(|line| line.trim().strip_prefix("locking_dir="));
        let path = value.map(|value| PathBuf::from(value.trim_matches('"')));
        path.filter(|path| path.is_absolute()).ok_or(LvmError::NoSetting(SETTING))
    }

    fn report(&self, arguments: &[&str]) -> Result<Vec<Volume>, LvmError> {
        self.rows(arguments, |report| report.lv).map(rows::named)
    }

    fn rows<T: DeserializeOwned>(
        &self,
        arguments: &[&str],
        wanted: impl Fn(Rows<T>) -> Option<Vec<T>>,
    ) -> Result<Vec<T>, LvmError> {
        let text = self.capture(arguments)?.0;
        rows::rows(&text, wanted)
            .map_err(|source| LvmError::Report { command: self.command_line(arguments), source })
    }

    /// Runs a command and gives what it said.
    fn run(&self, arguments: &[&str]) -> Result<String, LvmError> {
        let (out, err) = self.capture(arguments)?;
        Ok(without_noise(&format!("{out}\n{err}")))
    }

    /// Runs a command and gives its output and its errors.
    fn capture(&self, arguments: &[&str]) -> Result<(String, String), LvmError> {
        // The background process that lvm2 leaves behind keeps its standard streams open, so the
        // output goes to files: pipes would not end before the merge does.
        let failed = |source| LvmError::Start { command: self.command_line(arguments), source };
        let mut out = memory_file().map_err(failed)?;
        let mut err = memory_file().map_err(failed)?;
        let status = program::command(&self.program, &KEPT)
            .args(arguments)
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .stdin(Stdio::null())
            .stdout(out.try_clone().map_err(failed)?)
            .stderr(err.try_clone().map_err(failed)?)
            .status()
            .map_err(failed)?;
        let (out, err) =
            (read_back(&mut out).map_err(failed)?, read_back(&mut err).map_err(failed)?);
        if status.success() {
            return Ok((out, err));
        }
        let words = without_noise(&format!("{err}\n{out}"));
        Err(LvmError::Failed { command: self.command_line(arguments), status, words })
    }

    fn command_line(&self, arguments: &[&str]) -> String {
        let words: Vec<String> = arguments.iter().map(|word| harmless::quoted(word)).collect();
        format!("{} {}", harmless::path(&self.program), words.join(" "))
    }
}

/// A volume as lvm2's commands take it.
fn path(vg: &str, lv: &str) -> Result<String, LvmError> {
    Ok(format!("{}/{}", name(vg)?, name(lv)?))
}

/// A name as lvm2 allows it (lvm(8), "Valid names"), so that it is taken for nothing else.
fn name(name: &str) -> Result<&str, LvmError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+_.-".contains(c);
    let is_name = !name.is_empty()
        && !name.starts_with('-')
        && ![".", ".."].contains(&name)
        && name.chars().all(allowed);
    is_name.then_some(name).ok_or_else(|| LvmError::Name(name.to_owned()))
}

/// A file in memory that goes with its last user, closed on exec.
fn memory_file() -> io::Result<std::fs::File> {
    let file = rustix::fs::memfd_create("lvm2", rustix::fs::MemfdFlags::CLOEXEC)?;
    Ok(file.into())
}

fn read_back(file: &mut std::fs::File) -> io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// lvm2's words on one line, without the warnings that it gives on every occasion.
fn without_noise(text: &str) -> String {
    let is_noise = |line: &str| {
        line.is_empty() || line.starts_with("WARNING:") || line.starts_with("File descriptor ")
    };
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !is_noise(line)).collect();
    harmless::printable(&lines.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_warnings_are_left_out() {
        let text = "  WARNING: Failed to connect to lvmetad\n  File descriptor 5 leaked on lvm\n\n  \
                    Logical volume vg/x is in use.\n  Cannot merge.\n";
        assert_eq!(without_noise(text), "Logical volume vg/x is in use. Cannot merge.");
    }

    #[test]
    fn a_failure_carries_the_command_its_status_and_its_words() {
        let lvm = Lvm { program: "/bin/sh".into() };
        let error = lvm.run(&["-c", "echo '  WARNING: x'; echo '  No such volume' >&2; exit 5"]);
        let text = error.unwrap_err().to_string();
        assert!(text.contains("/bin/sh -c") && text.contains("exit status: 5"), "{text}");
        assert!(text.ends_with("No such volume"), "{text}");
    }

    #[test]
    fn what_is_no_name_is_not_given_to_lvm2() {
        assert_eq!(path("my-vg", "a+b_c.d").unwrap(), "my-vg/a+b_c.d");
        for odd in ["", "-vg", "@tag", "a/b", "a b", "..", "a\u{1b}", "é"] {
            let error = path(odd, "lv").unwrap_err().to_string();
            assert!(error.contains("no name") && !error.contains('\u{1b}'), "{error:?}");
            path("vg", odd).unwrap_err();
        }
    }

    #[test]
    fn a_process_left_behind_does_not_hold_us_up() {
        let lvm = Lvm { program: "/bin/sh".into() };
        let begin = std::time::Instant::now();
        assert_eq!(lvm.run(&["-c", "echo done; sleep 5 &"]).unwrap(), "done");
        assert!(begin.elapsed().as_secs() < 4);
    }
}
