//! The help: keys, and what the words on the screen mean.

use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear};

use super::ViewState;
use super::text::wrap;
use super::theme::Theme;
use crate::model::Model;

/// A word and what it means.
const WORDS: [(&str, &str); 18] = [
    ("q, Ctrl-C", "leave; the merge goes on without merge-ctl"),
    ("Tab, 1…9", "the next merge (Shift-Tab: the one before), one by its number"),
    ("?, Esc", "this help; Ctrl-L paints the screen anew"),
    ("", ""),
    ("origin ◀ snapshot", "the volume that is rolled back, and to what"),
    ("chunk", "the unit of copying"),
    ("run", "neighbouring chunks merged in one go; small runs are slow"),
    ("metadata", "finding the next run in the exception store"),
    ("siblings", "other snapshots get their copy of the old data first"),
    ("drain", "waiting for application writes already under way in the run"),
    ("copy", "from the snapshot's store (COW) to the origin"),
    ("flush", "until the origin's data is on stable storage"),
    ("commit", "noting in the store that the run is merged"),
    ("held", "a write into the run in progress: it waits for the merge"),
    ("awaited", "a write begun before the run: the merge waits for it"),
    ("soon", "a write where one of the next runs will hold writes"),
    ("stall", "a run, or the whole merge, that waits too long"),
    ("p50, p99", "half, or 99 of 100, of the writes were faster than this"),
];
/// The same for an offline merge.
const OFFLINE_WORDS: [(&str, &str); 16] = [
    ("q, Ctrl-C", "stop after the requests under way; the store keeps all,"),
    ("", "and the kernel, or another run, merges it from the beginning"),
    ("?, Esc", "this help; Ctrl-L paints the screen anew"),
    ("", ""),
    ("origin ◀ snapshot", "the volume that is rolled back, and to what"),
    ("exception", "a chunk that the snapshot holds and the origin gets"),
    ("store", "where the snapshot keeps them, on the COW device"),
    ("", ""),
    ("reading", "the exceptions, to bring them into the origin's order"),
    ("copying", "from the COW device to the origin, many pieces at once"),
    ("verifying", "with --verify: the copy is compared with its source"),
    ("flushing", "until the origin's data is on stable storage"),
    ("clearing", "the exceptions are taken off the store, the last first;"),
    ("", "nothing is cleared before all is copied and flushed"),
    ("", ""),
    ("stall", "no figure has moved for too long"),
];
/// What comes first of a replay, in place of the keys of a live merge.
const REPLAY_WORDS: [(&str, &str); 7] = [
    ("q, Ctrl-C", "leave"),
    ("Space", "stand, or go on"),
    ("+, -", "faster, slower: once to 1,000 times as fast as it was, or at most"),
    ("←, →", "back or on by 10 s (↓, ↑: by a minute; Home, End: all the way)"),
    ("Tab, 1…9", "the next merge (Shift-Tab: the one before), one by its number"),
    ("?, Esc", "this help; Ctrl-L paints the screen anew"),
    ("", ""),
];
/// Columns of the words.
const COLUMNS: u16 = 19;
const WIDTH: u16 = 80;

/// What there is to be helped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Of {
    offline: bool,
    replay: bool,
}

impl Of {
    /// With what is on the screen.
    pub(super) fn shown(model: &Model, state: &ViewState) -> Self {
        Self { offline: model.offline.is_some(), replay: state.replay.is_some() }
    }

    fn words(self) -> Vec<(&'static str, &'static str)> {
        let words = if self.offline { &OFFLINE_WORDS[..] } else { &WORDS[..] };
        if !self.replay {
            return words.to_vec();
        }
        // The keys end where the first gap is.
        let keys = words.iter().take_while(|(_, meaning)| !meaning.is_empty()).count() + 1;
        REPLAY_WORDS.iter().chain(&words[keys..]).copied().collect()
    }
}

/// Lies over the middle of the screen.
pub(super) fn draw(frame: &mut Frame, screen: Rect, of: Of, theme: Theme) {
    let width = screen.width.min(WIDTH);
    let lines = lines(&of.words(), width.saturating_sub(4), theme);
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX).min(screen.height);
    let area = Rect {
        x: screen.x + (screen.width - width) / 2,
        y: screen.y + (screen.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, area);
    let block = Block::bordered()
        .border_style(theme.title())
        .title(Line::styled(" help ", theme.strong()))
        .title_bottom(Line::styled(" ? or Esc puts this away ", theme.faint()));
    frame.render_widget(block, area);
    super::lines(frame, area.inner(Margin { horizontal: 2, vertical: 1 }), lines);
}

fn lines(words: &[(&'static str, &'static str)], width: u16, theme: Theme) -> Vec<Line<'static>> {
    let room = width.saturating_sub(COLUMNS);
    let mut lines = Vec::new();
    for &(word, meaning) in words {
        let rows = wrap(meaning, room, 3);
        if rows.is_empty() {
            lines.push(Line::default());
        }
        for (row, text) in rows.into_iter().enumerate() {
            let word = if row == 0 { word } else { "" };
            lines.push(Line::from(vec![
                Span::styled(super::text::left(word, usize::from(COLUMNS)), theme.strong()),
                Span::raw(text),
            ]));
        }
    }
    lines
}
