//! `merge-ctl report FILE|ORIGIN -o FILE`: a recording, or a merge that goes on, told in a file.
//!
//! A merge that goes on is recorded while it is followed, into a file without a name, and told of as any
//! recording is: there is no second way. That file is gone when the process is, however it ends.
//!
//! What always holds: nothing that is there already is changed; the report appears when it is whole.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use merge_ctl::harmless;
use merge_ctl::human;
use merge_ctl::recording::{Player, Sink, Survey};
use merge_ctl::report::{Format, Report};

use super::live::Live;
use super::new_file::NewFile;
use super::recording::Recording;
use super::unseen::Unseen;
use super::{replay, terminal};
use crate::cli;
use crate::exit::Usage;

/// How much of a merge that goes on is kept at most: at the least two days of a busy one.
const MOST_KEPT_BYTES: u64 = 1 << 30;

/// Makes the report.
pub(crate) async fn run(options: &cli::Report) -> anyhow::Result<ExitCode> {
    let Some(format) = Format::of(&options.output) else {
        let path = harmless::path(&options.output);
        return Err(Usage(format!(
            "the ending of {path} does not say what to make: {}",
            Format::ENDINGS
        ))
        .into());
    };
    Recording::check(Some(&options.output))?;
    let shown = harmless::path(&options.subject);
    if options.subject.is_file() {
        let cannot_report = || format!("cannot report of {shown}");
        let file = File::open(&options.subject).with_context(cannot_report)?;
        let (text, survey) = told(file, format).with_context(cannot_report)?;
        keep(&text, NewFile::create(&options.output)?, &options.output)?;
        return Ok(replay::sum_up(&survey, true).into());
    }
    let not_followed = || {
        let what = if options.subject.exists() { "no recording" } else { "no file" };
        format!("{shown} is {what}, and as an origin it cannot be followed")
    };
    let live = cli::Live::unseen(options.watching);
    let (watched, recorded, output) = begin(options, &live).with_context(not_followed)?;
    let ended = watched.run().await;
    let (text, survey) = told(recorded, format)?;
    keep(&text, output, &options.output)?;
    if survey.outcome.is_none() {
        terminal::tell("the report ends before the merge that was followed");
    }
    Ok(ended?.into())
}

/// Begins to follow the merge that is meant; gives also what it is recorded to, and what the report
/// will be.
fn begin<'a>(
    options: &cli::Report,
    as_live: &'a cli::Live,
) -> anyhow::Result<(Live<'a>, File, NewFile)> {
    // What cannot be written is to be found out now, and not at the end.
    let output = NewFile::create(&options.output)?;
    let recorded = unnamed_file(&options.output)?;
    let name = harmless::from_bytes(options.subject.as_os_str().as_encoded_bytes());
    let unseen = Unseen::begin(&[name], &options.output, as_live)?;
    let sink = Bounded { file: recorded.try_clone()?, left_bytes: MOST_KEPT_BYTES };
    let recording = Recording::unnamed(sink, "report", as_live)?;
    terminal::tell(&format!(
        "following the merge into {} to its end. Ctrl-C makes the report of what was seen until then, and \
         the merge goes on",
        unseen.names()
    ));
    Ok((unseen.live(Some(recording), false, as_live), recorded, output))
}

/// Plays a recording, and tells of it.
fn told(recording: File, format: Format) -> anyhow::Result<(String, Survey)> {
    let report = Report::gather(Player::open(recording)?, format)?;
    let survey = report.survey().clone();
    Ok((report.write()?, survey))
}

/// Writes the report.
fn keep(text: &str, mut output: NewFile, path: &Path) -> anyhow::Result<()> {
    let cannot_write = || format!("cannot write {}", harmless::path(path));
    // Names of processes are not everybody's business.
    output.file().set_permissions(Permissions::from_mode(0o600)).with_context(cannot_write)?;
    output.file().write_all(text.as_bytes()).with_context(cannot_write)?;
    output.keep()?;
    let size = human::bytes(text.len() as u64);
    terminal::tell(&format!("the report is in {}, {size}", harmless::path(path)));
    Ok(())
}

/// A file beside the one to make, that no name stands for any more.
fn unnamed_file(beside: &Path) -> anyhow::Result<File> {
    let path = beside.with_file_name(format!(".merge-ctl-{}.mrec", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path);
    let file = file.with_context(|| format!("cannot create {}", harmless::path(&path)))?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// A file that may become so long and no longer.
struct Bounded {
    file: File,
    left_bytes: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left_bytes {
            let problem = "more than 1 GiB was seen, and no more is kept for a report";
            return Err(io::Error::other(problem));
        }
        let written = self.file.write(bytes)?;
        self.left_bytes -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sink for Bounded {
    /// It is read by this process and nobody else.
    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_an_end_and_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = unnamed_file(&directory.path().join("report.html")).unwrap();
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
        let mut bounded = Bounded { file: file.try_clone().unwrap(), left_bytes: 5 };
        bounded.write_all(b"four").unwrap();
        assert!(bounded.write_all(b"more").is_err());
        assert_eq!(file.metadata().unwrap().len(), 4);
    }
}
