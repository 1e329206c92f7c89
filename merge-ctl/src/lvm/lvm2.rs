//! lvm2's own commands: the only hands that change a device of LVM.
//!
//! What always holds: a command is run as `lvm COMMAND …` with its output captured; a failure
//! carries the command line, the exit status and lvm2's words. Nothing is asked on a terminal.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use serde::Deserialize;

/// Where lvm2 is even when it is not on the `PATH`, as in an `su` session.
const USUAL_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/sbin"];
/// What `lvs` is asked for.
const COLUMNS: &str = "vg_name,lv_name,lv_attr,segtype,origin,lv_active,lv_merging,lv_uuid";

/// A command of lvm2 that could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum LvmError {
    /// lvm2 is not there.
    #[error("lvm2 is not installed: no `lvm` on the PATH, in /usr/sbin or in /sbin")]
    Missing,
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

/// A logical volume.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Volume {
    /// The volume group.
    #[serde(rename = "vg_name")]
    pub vg: String,
    /// Its name, without the brackets of a hidden one.
    #[serde(rename = "lv_name")]
    pub lv: String,
    /// lvm2's attribute letters (lvs(8)).
    #[serde(rename = "lv_attr")]
    pub attr: String,
    /// The type of its first segment. A snapshot in LVM's old style is `linear` here.
    #[serde(rename = "segtype")]
    pub segment_type: String,
    /// What it is a snapshot of; empty where it is none.
    pub origin: String,
    /// `active` or empty.
    #[serde(rename = "lv_active")]
    pub active: String,
    /// `merging` or empty.
    #[serde(rename = "lv_merging")]
    pub merging: String,
    /// Its UUID, with hyphens.
    #[serde(rename = "lv_uuid")]
    pub uuid: String,
}

impl Volume {
    fn volume_type(&self) -> char {
        self.attr.chars().next().unwrap_or('-')
    }

    /// Whether it is a thin volume: "merging" one swaps it for its origin and copies nothing.
    pub fn is_thin(&self) -> bool {
        self.segment_type == "thin" || self.volume_type() == 'V'
    }

    /// Whether it is a snapshot with a COW store of its own.
    pub fn is_thick_snapshot(&self) -> bool {
        !self.origin.is_empty() && !self.is_thin() && matches!(self.volume_type(), 's' | 'S')
    }

    /// Whether it is a snapshot that merges, or will at the next activation.
    pub fn is_merging_snapshot(&self) -> bool {
        self.volume_type() == 'S'
    }

    /// Whether it is an origin that a snapshot merges into, or will at the next activation.
    pub fn is_merging_origin(&self) -> bool {
        self.volume_type() == 'O'
    }
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
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = USUAL_DIRECTORIES.iter().map(PathBuf::from);
        std::env::split_paths(&path)
            .filter(|directory| !directory.as_os_str().as_bytes().is_empty())
            .chain(usual)
            .map(|directory| directory.join("lvm"))
            .find(|program| program.is_file())
            .map(|program| Self { program })
            .ok_or(LvmError::Missing)
    }

    /// `lvconvert --merge`, without waiting for the end. lvm2 leaves a process behind (or tells
    /// lvmpolld) that looks every 15 s whether the merge is done; see [`Lvm::poll`].
    ///
    /// # Errors
    /// [`LvmError::Failed`], with lvm2's reasons.
    pub fn merge_in_background(&self, vg: &str, snapshot: &str) -> Result<MergeStart, LvmError> {
        let volume = format!("{vg}/{snapshot}");
        let words = self.run(&["lvconvert", "--merge", "--background", "--yes", &volume])?;
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
    /// [`LvmError::Failed`].
    pub fn poll(&self, vg: &str, origin: &str) -> Result<(), LvmError> {
        let volume = format!("{vg}/{origin}");
        self.run(&["lvchange", "--poll", "y", "--config", "global/use_lvmpolld=0", &volume])
            .map(drop)
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
        let arguments = ["lvs", "--all", "--reportformat", "json", "--options", COLUMNS];
        let text = self.capture(&arguments)?.0;
        parse_volumes(&text)
            .map_err(|source| LvmError::Report { command: self.command_line(&arguments), source })
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
        let status = Command::new(&self.program)
            .args(arguments)
            .env("LC_ALL", "C")
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
        format!("{} {}", self.program.display(), arguments.join(" "))
    }
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
    lines.join(" ")
}

fn parse_volumes(text: &str) -> Result<Vec<Volume>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Output {
        report: Vec<Report>,
    }
    #[derive(Deserialize)]
    struct Report {
        lv: Vec<Volume>,
    }
    let output: Output = serde_json::from_str(text)?;
    let mut volumes: Vec<_> = output.report.into_iter().flat_map(|report| report.lv).collect();
    for volume in &mut volumes {
        volume.lv = volume.lv.trim_matches(['[', ']']).to_owned();
        volume.origin = volume.origin.trim_matches(['[', ']']).to_owned();
    }
    Ok(volumes)
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
    fn a_report_tells_kinds_of_volumes() {
        let volume = |lv: &str, attr: &str, segtype: &str, origin: &str| {
            format!(
                r#"{{"vg_name":"vg","lv_name":"{lv}","lv_attr":"{attr}","segtype":"{segtype}",
                "origin":"{origin}","lv_active":"active","lv_merging":"","lv_uuid":"a-b"}}"#
            )
        };
        let text = format!(
            r#"{{"report":[{{"lv":[{},{},{},{}]}}]}}"#,
            volume("data", "Owi-a-s---", "linear", ""),
            volume("[snap]", "Swi-a-s---", "linear", "data"),
            volume("old", "swi-a-s---", "linear", "data"),
            volume("thin", "Vwi-a-tz--", "thin", "data"),
        );
        let volumes = parse_volumes(&text).unwrap();
        let merging: Vec<_> = volumes.iter().map(Volume::is_merging_snapshot).collect();
        let thick: Vec<_> = volumes.iter().map(Volume::is_thick_snapshot).collect();
        assert_eq!(merging, [false, true, false, false]);
        assert_eq!(thick, [false, true, true, false]);
        assert!(volumes[0].is_merging_origin() && volumes[3].is_thin());
        assert_eq!(volumes[1].lv, "snap");
        assert!(parse_volumes("no report").is_err());
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
    fn a_process_left_behind_does_not_hold_us_up() {
        let lvm = Lvm { program: "/bin/sh".into() };
        let begin = std::time::Instant::now();
        assert_eq!(lvm.run(&["-c", "echo done; sleep 5 &"]).unwrap(), "done");
        assert!(begin.elapsed().as_secs() < 4);
    }
}
