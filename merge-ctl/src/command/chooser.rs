//! Lets the user choose one of several merges.

use std::time::Duration;

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use merge_ctl::dm::{Control, Host, SnapshotStatus, Usage};
use merge_ctl::model::State;
use merge_ctl::view::chooser::{Choice, Chooser, ChooserRow};
use merge_ctl::view::terminal::TerminalGuard;

use super::dashboard::theme;

/// How often the list is brought up to date.
const REFRESH: Duration = Duration::from_secs(1);

/// The device-mapper name of the merge that was chosen; nothing where the user left.
pub(crate) async fn choose(control: &Control) -> anyhow::Result<Option<String>> {
    let mut terminal = TerminalGuard::enter()?;
    let mut events = EventStream::new();
    let mut names = Vec::new();
    let mut chooser = Chooser::new(Vec::new());
    let mut refresh = tokio::time::interval(REFRESH);
    loop {
        tokio::select! {
            _ = refresh.tick() => {
                let host = Host::read(control)?;
                names = host.merges().map(|merge| merge.info.name.clone()).collect();
                chooser.update(rows(&host));
            }
            event = events.next() => match event.transpose()? {
                Some(Event::Key(key)) => match chooser.key(key) {
                    Some(Choice::Picked(row)) => return Ok(names.get(row).cloned()),
                    Some(Choice::Leave) => return Ok(None),
                    None => {}
                },
                Some(Event::Resize(..)) => terminal.clear()?,
                Some(_) => {}
                None => return Ok(None),
            },
        }
        terminal.draw(|frame| chooser.draw(frame, &theme()))?;
    }
}

fn rows(host: &Host) -> Vec<ChooserRow> {
    host.merges()
        .map(|merge| ChooserRow {
            name: merge.label(),
            snapshot: None,
            state: state(merge.status.as_ref(), merge.info.suspended),
            left_bytes: merge
                .status
                .as_ref()
                .and_then(SnapshotStatus::usage)
                .map(|usage| usage.exceptions().bytes()),
        })
        .collect()
}

fn state(status: Option<&SnapshotStatus>, suspended: bool) -> State {
    match status {
        Some(SnapshotStatus::Usage(usage)) if Usage::is_empty(usage) => State::DoneNotFinished,
        Some(SnapshotStatus::Usage(_)) if suspended => State::Suspended,
        Some(SnapshotStatus::Usage(_)) => State::Merging,
        Some(SnapshotStatus::MergeFailed) => State::Failed,
        Some(SnapshotStatus::Invalid | SnapshotStatus::Overflow) => State::Invalid,
        Some(SnapshotStatus::Unknown(_)) | None => State::Unknown,
    }
}
