//! `merge-ctl dump SNAPSHOT|COW|FILE -o FILE`: keep the exceptions, without any data.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, anyhow, bail};
use merge_ctl::human;
use merge_ctl::store::dump::{self, Ending, Known, SaveError, Saved};
use tokio::task::spawn_blocking;

use super::live::LeaveSignals;
use super::new_file::NewFile;
use super::subject::Subject;
use super::terminal;
use crate::cli;
use crate::exit::{Exit, Usage};

/// What stands for standard output.
const STDOUT: &str = "-";

/// Saves the exceptions, and says on stderr what was saved.
pub(crate) async fn run(options: &cli::Dump) -> anyhow::Result<ExitCode> {
    let (label, saved) = if options.output.as_os_str() == STDOUT {
        to_stdout(&options.subject)?
    } else {
        to_file(&options.subject, &options.output).await?
    };
    let label = human::printable(&label);
    terminal::remark(&summary(&label, &saved));
    for note in notes(&saved) {
        terminal::remark(&note);
    }
    match saved.ending {
        Ending::Unreadable(error) => {
            Err(anyhow::Error::new(error).context("the dump ends before the store does"))
        }
        Ending::TooDamaged(place) => bail!(
            "the dump ends at {place}, before the store does: what stands there does not look like \
             exceptions, and may be data"
        ),
        _ => Ok(Exit::Done.into()),
    }
}

/// No signal is waited for here: there is nothing to clean up.
fn to_stdout(given: &str) -> anyhow::Result<(String, Saved)> {
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() {
        let problem = "a dump is no text for a terminal: give a file, or send the output to one";
        return Err(Usage(problem.to_owned()).into());
    }
    save(given, &mut stdout, || false)
}

/// Leaves a whole file or none, whatever signal comes.
async fn to_file(given: &str, path: &Path) -> anyhow::Result<(String, Saved)> {
    let mut signals = LeaveSignals::listen()?;
    let called_off = Arc::new(AtomicBool::new(false));
    let mut work = {
        let (given, path) = (given.to_owned(), path.to_owned());
        let called_off = Arc::clone(&called_off);
        spawn_blocking(move || save_to_file(&given, &path, || called_off.load(Ordering::Relaxed)))
    };
    let ended = tokio::select! {
        ended = &mut work => ended,
        () = signals.any() => {
            called_off.store(true, Ordering::Relaxed);
            work.await
        }
    };
    ended.context("the thread that writes the dump broke off")?
}

fn save_to_file(
    given: &str,
    path: &Path,
    called_off: impl Fn() -> bool,
) -> anyhow::Result<(String, Saved)> {
    let mut file = NewFile::create(path)?;
    let saved = save(given, file.file(), &called_off)?;
    if called_off() {
        return Err(no_dump(&saved.0, SaveError::CalledOff));
    }
    file.keep()?;
    Ok(saved)
}

fn save(
    given: &str,
    into: &mut impl Write,
    called_off: impl Fn() -> bool,
) -> anyhow::Result<(String, Saved)> {
    let subject = Subject::find(given)?;
    subject.refuse_suspended()?;
    let known = Known { origin: subject.origin_size, metadata_in_use: subject.metadata_in_use() };
    let saved = dump::save(&subject.source, known, into, called_off);
    let saved = saved.map_err(|error| no_dump(&subject.label, error))?;
    Ok((subject.label, saved))
}

fn no_dump(label: &str, error: SaveError) -> anyhow::Error {
    match error {
        // Kept at the surface: a reader that has gone away is no reason to complain.
        SaveError::Write(error) => anyhow!(error).context("cannot write the dump; nothing is kept"),
        SaveError::CalledOff => anyhow!("called off; nothing is kept"),
        other => anyhow!(other).context(format!("cannot dump {label}")),
    }
}

fn summary(label: &str, saved: &Saved) -> String {
    let exceptions = human::counted(saved.exceptions, "exception");
    let (metadata, dump) = (human::bytes(saved.metadata_bytes), human::bytes(saved.dump_bytes));
    format!("{label}: saved {exceptions}, {metadata} of metadata, in {dump}")
}

/// What is worth knowing of what was saved, a sentence each.
fn notes(saved: &Saved) -> Vec<String> {
    let mut notes = Vec::new();
    if saved.invalid {
        notes.push("The snapshot is marked invalid: it cannot be merged.".to_owned());
    }
    match &saved.ending {
        Ending::New => notes.push("The store is new, and holds no exception yet.".to_owned()),
        Ending::Header(error) => {
            notes.push(format!("Only the header was saved: {error}."));
        }
        Ending::Device(error) => notes.push(format!("The store is damaged: {error}.")),
        Ending::WithoutRemains => notes.push(
            "What stands behind the end of the store was left out: it may be data.".to_owned(),
        ),
        Ending::Store | Ending::Unreadable(_) | Ending::TooDamaged(_) => {}
    }
    if let Some(first) = &saved.first_fault {
        let entries = if saved.faults == 1 { "entry" } else { "entries" };
        let count = human::count(saved.faults);
        notes.push(format!("{count} damaged {entries} saved as found. The first: {first}."));
    }
    notes
}

#[cfg(test)]
mod tests {
    use merge_ctl::store::StoreError;

    use super::*;

    #[test]
    fn what_was_saved_is_told_in_a_line_and_what_is_wrong_in_others() {
        let saved = |ending| Saved {
            exceptions: 4812,
            metadata_bytes: 78_848,
            dump_bytes: 12_600,
            faults: 0,
            first_fault: None,
            invalid: false,
            ending,
        };
        let text = summary("vg/snap", &saved(Ending::Store));
        assert_eq!(text, "vg/snap: saved 4,812 exceptions, 77.0 KiB of metadata, in 12.3 KiB");
        assert!(notes(&saved(Ending::Store)).is_empty());
        assert_eq!(notes(&Saved { invalid: true, ..saved(Ending::New) }).len(), 2);
        let fault = StoreError::UnknownVersion { version: 3 };
        let notes = notes(&Saved { faults: 2, first_fault: Some(fault), ..saved(Ending::Store) });
        assert!(notes[0].starts_with("2 damaged entries saved as found. The first: "), "{notes:?}");
    }

    #[test]
    fn a_reader_that_went_away_is_still_seen_as_one() {
        let error = no_dump("cow", SaveError::Write(io::ErrorKind::BrokenPipe.into()));
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::BrokenPipe));
    }
}
