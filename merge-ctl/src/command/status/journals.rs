//! Merges that a journal tells of, beside what device-mapper shows: who drives them, and which of
//! them should be going on and are not.

use std::path::PathBuf;

use merge_ctl::dm::{Device, Host};
use merge_ctl::merge::journal::{Journal, JournalError, Phase, Record};
use merge_ctl::{harmless, human};
use serde::Serialize;

/// What a journal says, as it was read.
pub(super) struct Told {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// What it says, or why it cannot be read.
    pub(super) record: Result<Record, String>,
    /// The process that drives the merge.
    pub(super) driver: Option<u32>,
}

impl Told {
    /// Of a journal that was listed. `driver_of` finds the driver of an origin.
    pub(super) fn new(
        journal: Result<Journal, JournalError>,
        driver_of: impl Fn(&str) -> Option<u32>,
    ) -> Self {
        match journal {
            Ok(journal) => Self {
                path: journal.path().to_owned(),
                driver: driver_of(&journal.record().origin.name),
                record: Ok(journal.record().clone()),
            },
            Err(error) => {
                // The words name the file; the path is for programs.
                let path = match &error {
                    JournalError::Io { path, .. }
                    | JournalError::Exists { path, .. }
                    | JournalError::Unreadable { path, .. }
                    | JournalError::Version { path, .. } => path.clone(),
                };
                Self { path, record: Err(format!("{:#}", anyhow::Error::new(error))), driver: None }
            }
        }
    }
}

/// A merge that a journal tells of.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Begun {
    /// The origin's device-mapper name; none where the journal cannot be read.
    pub(super) origin: Option<String>,
    pub(super) state: BegunState,
    /// The step that the journal was written for last: `starting`, `merging`, `finishing`, `failed`.
    pub(super) phase: Option<&'static str>,
    /// Who drives it.
    pub(super) driver_pid: Option<u32>,
    pub(super) begun_unix_s: Option<u64>,
    pub(super) journal: PathBuf,
    /// What is to be done, or why the journal cannot be read.
    pub(super) advice: Option<String>,
}

/// How it is with a merge that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BegunState {
    /// Somebody drives it.
    Driven,
    /// The kernel merges, or has merged, and nobody is there to finish it.
    NotDriven,
    /// It should be going on and is not: the devices are not there, or carry other tables.
    Interrupted,
    /// It failed.
    Failed,
    /// The journal cannot be read.
    Unreadable,
}

impl Begun {
    /// What a journal means on this host.
    pub(super) fn of(host: &Host, told: &Told) -> Self {
        let record = match &told.record {
            Ok(record) => record,
            Err(why) => {
                return Self {
                    origin: None,
                    state: BegunState::Unreadable,
                    phase: None,
                    driver_pid: None,
                    begun_unix_s: None,
                    journal: told.path.clone(),
                    advice: Some(why.clone()),
                };
            }
        };
        let origin = &record.origin.name;
        let merges = host.by_name(origin).is_some_and(|device| is_the_one(device, record));
        let state = match (&record.phase, told.driver) {
            (_, Some(_)) => BegunState::Driven,
            (Phase::Failed { .. }, None) => BegunState::Failed,
            _ if merges => BegunState::NotDriven,
            _ => BegunState::Interrupted,
        };
        Self {
            state,
            phase: Some(phase(&record.phase)),
            driver_pid: told.driver,
            begun_unix_s: Some(record.begun_unix_s),
            journal: told.path.clone(),
            advice: (state != BegunState::Driven)
                .then(|| format!("merge-ctl resume {}", harmless::argument(origin))),
            origin: Some(origin.clone()),
        }
    }

    /// In a sentence; nothing where all is as it should be.
    pub(super) fn sentence(&self) -> Option<String> {
        let origin = human::printable(self.origin.as_deref().unwrap_or_default());
        let what = match self.state {
            BegunState::Driven => return None,
            BegunState::NotDriven => {
                format!("{origin}: nobody drives this merge, to follow and to finish it:")
            }
            BegunState::Interrupted => format!(
                "{origin}: interrupted, {}; go on with it:",
                match self.phase {
                    Some("starting") => "as the merge was about to begin",
                    Some("finishing") => "as the merge was being finished",
                    _ => "while it was being merged",
                }
            ),
            BegunState::Failed => format!("{origin}: the merge has failed; the safe way on:"),
            BegunState::Unreadable => "a merge was begun here, but its journal:".to_owned(),
        };
        Some(format!("{what} {}", human::printable(self.advice.as_deref().unwrap_or_default())))
    }
}

/// Whether a device is what the record's merge made of the origin.
fn is_the_one(device: &Device, record: &Record) -> bool {
    device.merge().is_some() && device.info.uuid == record.origin.uuid
}

const fn phase(phase: &Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Merging => "merging",
        Phase::Finishing { .. } => "finishing",
        Phase::Failed { .. } => "failed",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use merge_ctl::dm::Table;
    use merge_ctl::merge::journal::below::Below;
    use merge_ctl::merge::journal::{Named, StoreMark};
    use merge_ctl::units::{ChunkSize, Sectors};

    use super::super::tests::picture;
    use super::*;

    pub(in crate::command::status) fn told(
        origin: &str,
        phase: Phase,
        driver: Option<u32>,
    ) -> Told {
        Told { path: PathBuf::from("/x.merge"), record: Ok(record(origin, phase)), driver }
    }

    pub(in crate::command) fn record(origin: &str, phase: Phase) -> Record {
        let table = |text: &str| Table::parse(text).unwrap();
        Record {
            phase,
            offline: false,
            boot_id: "b".to_owned(),
            begun_unix_s: 7,
            origin: Named { name: origin.to_owned(), uuid: String::new() },
            origin_before: table("0 8 snapshot-origin 7:3"),
            origin_merging: table("0 8 snapshot-merge 7:3 7:4 P 8"),
            snapshot: None,
            allocated: Sectors(16),
            store: StoreMark { chunk_size: ChunkSize::from_sectors(8).unwrap(), first: Vec::new() },
            below: Below::default(),
        }
    }

    fn sentence(origin: &str, phase: Phase, driver: Option<u32>) -> Option<String> {
        Begun::of(&picture(), &told(origin, phase, driver)).sentence()
    }

    #[test]
    fn what_goes_on_and_is_driven_needs_no_sentence() {
        assert_eq!(sentence("held", Phase::Merging, Some(7)), None);
        assert_eq!(sentence("away", Phase::Starting, Some(7)), None);
    }

    #[test]
    fn what_should_go_on_and_does_not_is_told_with_the_way_out() {
        let gone = sentence("away\u{1b}[2J", Phase::Merging, None).unwrap();
        assert_eq!(
            gone,
            "away\\x1b[2J: interrupted, while it was being merged; go on with it: merge-ctl resume \
             'away\\x1b[2J'"
        );
        let other_table = sentence("data", Phase::Starting, None).unwrap();
        assert!(other_table.contains("about to begin"), "{other_table}");
        let alone = sentence("held", Phase::Merging, None).unwrap();
        assert!(alone.contains("nobody drives"), "{alone}");
        let failed = Phase::Failed { why: "EIO".to_owned() };
        assert!(sentence("held", failed, None).unwrap().contains("has failed"));
    }

    #[test]
    fn a_journal_that_cannot_be_read_is_told_too() {
        let record = Err("/x.merge is not a journal of a merge: odd".to_owned());
        let told = Told { path: PathBuf::from("/x.merge"), record, driver: None };
        let begun = Begun::of(&picture(), &told);
        assert_eq!((begun.state, &begun.origin), (BegunState::Unreadable, &None));
        assert!(begun.sentence().unwrap().contains("not a journal"));
    }
}
