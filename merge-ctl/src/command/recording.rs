//! `--record FILE`: keeps what is followed, beside whatever shows it.
//!
//! What always holds: nothing that is there already is changed, be it a file, a link or a device. A file
//! that cannot be written is told of once, and the merge goes on.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use merge_ctl::harmless;
use merge_ctl::human;
use merge_ctl::merge::preflight::{Obstacle, Refusal};
use merge_ctl::recording::{Facts, Lost, Outcome, Recorder, Sink};
use merge_ctl::sample::{MergeIdentity, Sample};
use merge_ctl::units::nanoseconds;
use rustix::fs::Access;

use super::terminal;
use crate::cli;
use crate::exit::Usage;

/// A recording that goes on. Without any merge in it, it leaves no file.
pub(crate) struct Recording {
    recorder: Option<Recorder>,
    /// None for a file that nobody but us knows of.
    path: Option<PathBuf>,
    stall_after_ns: u64,
    has_merges: bool,
}

impl Recording {
    /// Looks whether the file that is asked for may be made: before anything is changed.
    ///
    /// # Errors
    /// [`Refusal`] where something has that name; [`Usage`] where it can be no file's name; what the kernel
    /// says of a directory that nothing can be made in. Whoever waits for a quiet moment first, or is
    /// detached, would learn of it hours later.
    pub(crate) fn check(path: Option<&Path>) -> anyhow::Result<()> {
        let Some(path) = path else { return Ok(()) };
        if path.file_name().is_none() || path.is_dir() {
            return Err(Usage(format!("{} is no name for a file", harmless::path(path))).into());
        }
        if path.symlink_metadata().is_ok() {
            return Err(there_already(path).into());
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        rustix::fs::access(directory.unwrap_or(Path::new(".")), Access::WRITE_OK | Access::EXEC_OK)
            .map_err(io::Error::from)
            .with_context(|| format!("cannot create {}", harmless::path(path)))
    }

    /// Begins the recording that is asked for. `command`: the subcommand that records.
    ///
    /// # Errors
    /// As [`Self::check`], and what the kernel answers.
    pub(crate) fn asked_for(
        path: Option<&Path>,
        command: &str,
        options: &cli::Live,
    ) -> anyhow::Result<Option<Self>> {
        Self::check(path)?;
        let Some(path) = path else { return Ok(None) };
        let cannot_create = || format!("cannot create {}", harmless::path(path));
        let file = match create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(there_already(path).into());
            }
            other => other.with_context(cannot_create)?,
        };
        let recorder = Recorder::begin(file, Facts::of_this_host(command, options.interval));
        Ok(Some(Self {
            recorder: Some(recorder.with_context(cannot_create)?),
            path: Some(path.to_owned()),
            stall_after_ns: nanoseconds(options.watching.stall_after),
            has_merges: false,
        }))
    }

    /// The same into a file that nobody but us knows of; nothing is told of it but trouble.
    ///
    /// # Errors
    /// Where there can be no thread.
    pub(crate) fn unnamed(sink: impl Sink, command: &str, options: &cli::Live) -> io::Result<Self> {
        let recorder = Recorder::begin(sink, Facts::of_this_host(command, options.interval))?;
        Ok(Self {
            recorder: Some(recorder),
            path: None,
            stall_after_ns: nanoseconds(options.watching.stall_after),
            has_merges: false,
        })
    }

    /// What the file is called.
    fn name(&self) -> String {
        self.path.as_deref().map_or_else(|| "what is kept".to_owned(), harmless::path)
    }

    /// The same for a merge that cannot be put off any more: without a file it goes on without one.
    pub(crate) fn or_none(path: Option<&Path>, command: &str, options: &cli::Live) -> Option<Self> {
        Self::asked_for(path, command, options).unwrap_or_else(|error| {
            terminal::tell(&format!(
                "nothing is recorded, and the merge goes on: {}",
                crate::exit::words(&error)
            ));
            None
        })
    }

    /// A merge begins, with these samples. `shown`: whether it is shown from now on.
    pub(crate) fn begin(
        &mut self,
        tab: usize,
        identity: &MergeIdentity,
        samples: &[Sample],
        shown: bool,
    ) {
        let Some(recorder) = &mut self.recorder else { return };
        self.has_merges = true;
        recorder.merge(number(tab), identity, self.stall_after_ns, shown);
        for sample in samples {
            recorder.sample(number(tab), sample, false);
        }
    }

    /// A merge has its next sample. `shown`: whether that is shown by itself.
    pub(crate) fn sample(&mut self, tab: usize, sample: &Sample, shown: bool) {
        if let Some(recorder) = &mut self.recorder {
            recorder.sample(number(tab), sample, shown);
        }
    }

    /// A merge is called otherwise now.
    pub(crate) fn identity(&mut self, tab: usize, identity: &MergeIdentity) {
        if let Some(recorder) = &mut self.recorder {
            recorder.identity(number(tab), identity);
        }
    }

    /// The user was told something.
    pub(crate) fn note(&mut self, words: &str) {
        if let Some(recorder) = &mut self.recorder {
            recorder.note(words);
        }
    }

    /// What the user should know of the recording, once.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        let why = self.recorder.as_mut()?.trouble()?;
        // What it still holds is of no use to anybody.
        self.recorder = None;
        let path = self.name();
        Some(format!("the recording has ended, and the merge goes on: cannot write {path}: {why}"))
    }

    /// Ends the recording and says what is in it.
    pub(crate) fn end(mut self, outcome: Outcome) {
        // What it was told of trouble before is enough.
        let Some(recorder) = self.recorder.take().filter(|_| self.has_merges) else { return };
        let ended = recorder.end(outcome);
        let path = self.name();
        if let Some(error) = ended.error {
            return terminal::tell(&format!(
                "the recording is not whole: cannot write {path}: {error}"
            ));
        }
        if self.path.is_none() {
            return;
        }
        let samples = human::counted(ended.samples, "sample");
        let bytes = human::bytes(ended.bytes);
        terminal::tell(&format!("recorded {samples} in {path}, {bytes}.{}", missing(&ended.lost)));
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let Some(path) = self.path.as_deref().filter(|_| !self.has_merges) else { return };
        if let Err(error) = std::fs::remove_file(path) {
            let path = harmless::path(path);
            terminal::tell(&format!("cannot remove the empty recording {path}: {error}"));
        }
    }
}

/// What a recording does not hold, in a sentence or two, with a blank before each; empty where it holds
/// all.
pub(crate) fn missing(lost: &Lost) -> String {
    let mut words = String::new();
    if lost.samples > 0 {
        let samples = human::counted(lost.samples, "sample");
        words.push_str(&format!(" The file could not be written fast enough: {samples} left out"));
        words.push_str(&match lost.runs {
            0 => ", and no run.".to_owned(),
            runs => format!(", and {}.", human::counted(runs, "run")),
        });
    }
    if lost.shortened > 0 {
        let samples = human::counted(lost.shortened, "sample");
        words.push_str(&format!(
            " To keep the file small, only the oldest writes in flight are listed in {samples}."
        ));
    }
    if lost.notes > 0 {
        words.push_str(&format!(" {} left out.", human::counted(lost.notes, "notice")));
    }
    words
}

fn create(path: &Path) -> io::Result<File> {
    // Names of processes are not everybody's business. A link at this place is not followed.
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

fn number(tab: usize) -> u32 {
    u32::try_from(tab).unwrap_or(u32::MAX)
}

fn there_already(path: &Path) -> Refusal {
    Refusal {
        obstacle: Obstacle::Unfit,
        reason: format!("{} is there already", harmless::path(path)),
        way_out: "Nothing is ever overwritten: give another name, or remove it first.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays_and_an_empty_recording_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new");
        Recording::check(Some(&path)).unwrap();
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &path).unwrap();
        assert!(Recording::check(Some(&path)).unwrap_err().is::<Refusal>());
        assert!(create(&path).is_err());
        assert!(Recording::check(Some(directory.path())).unwrap_err().is::<Usage>());
        Recording::check(None).unwrap();
        let nowhere = Recording::check(Some(&directory.path().join("missing/new"))).unwrap_err();
        assert!(format!("{nowhere:#}").contains("cannot create"), "{nowhere:#}");
        let path = directory.path().join("empty");
        let recorder = Recorder::begin(create(&path).unwrap(), Facts::default()).unwrap();
        let recording = Recording {
            recorder: Some(recorder),
            path: Some(path.clone()),
            stall_after_ns: 1,
            has_merges: false,
        };
        drop(recording);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_missing_is_said_and_nothing_else() {
        assert_eq!(missing(&Lost::default()), "");
        let lost = Lost { samples: 2, shortened: 1, ..Lost::default() };
        let words = missing(&lost);
        assert!(words.contains("2 samples left out, and no run."), "{words}");
        assert!(words.contains("listed in 1 sample."), "{words}");
    }
}
