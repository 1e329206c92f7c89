//! A list of merges to choose one from.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind};
use ratatui::Frame;
use ratatui::layout::{Constraint, Margin};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Row, Table, TableState};

use super::keys::{Action, action};
use super::theme::{Theme, state_word};
use crate::human;
use crate::model::State;

/// One merge on offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChooserRow {
    /// The origin, as its users call it.
    pub name: String,
    /// The snapshot that is merged into it, where that is known.
    pub snapshot: Option<String>,
    /// Where the merge is.
    pub state: State,
    /// Bytes left to merge, where that is known.
    pub left_bytes: Option<u64>,
}

/// What the operator chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The row at this place.
    Picked(usize),
    /// None of them.
    Leave,
}

/// The list, and the place of the mark in it.
#[derive(Clone, Debug)]
pub struct Chooser {
    rows: Vec<ChooserRow>,
    marked: usize,
}

impl Chooser {
    /// The mark on the first row.
    pub const fn new(rows: Vec<ChooserRow>) -> Self {
        Self { rows, marked: 0 }
    }

    /// Takes newer rows. The mark stays on its merge where that is still there.
    pub fn update(&mut self, rows: Vec<ChooserRow>) {
        let name = self.rows.get(self.marked).map(|row| row.name.clone());
        let found = name.and_then(|name| rows.iter().position(|row| row.name == name));
        self.marked = found.unwrap_or(self.marked).min(rows.len().saturating_sub(1));
        self.rows = rows;
    }

    /// Does what a key means; tells when a choice was made.
    pub fn key(&mut self, key: KeyEvent) -> Option<Choice> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let last = self.rows.len().saturating_sub(1);
        match key.code {
            KeyCode::Down | KeyCode::Char('j') => self.marked = (self.marked + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => self.marked = self.marked.saturating_sub(1),
            KeyCode::Home => self.marked = 0,
            KeyCode::End => self.marked = last,
            KeyCode::Enter if !self.rows.is_empty() => return Some(Choice::Picked(self.marked)),
            KeyCode::Esc => return Some(Choice::Leave),
            _ if action(key) == Some(Action::Leave) => return Some(Choice::Leave),
            _ => {}
        }
        None
    }

    /// Draws the list on the whole frame.
    pub fn draw(&self, frame: &mut Frame, theme: &Theme) {
        let area = frame.area();
        let block = Block::bordered()
            .border_style(theme.border())
            .title(Line::styled(" merge-ctl ─ choose a merge ", theme.title()))
            .title_bottom(Line::styled(" ↑ ↓ move  Enter show  q leave ", theme.faint()));
        frame.render_widget(block, area);
        let widths = [
            Constraint::Fill(2),
            Constraint::Fill(2),
            Constraint::Length(20),
            Constraint::Length(11),
        ];
        let head = Row::new(["origin", "snapshot", "state", "left"]).style(theme.faint());
        let table = Table::new(self.rows.iter().map(|row| cells(row, theme)), widths)
            .header(head)
            .row_highlight_style(theme.key().reversed())
            .highlight_symbol("▶ ");
        let mut state = TableState::new().with_selected(self.marked);
        let room = area.inner(Margin { horizontal: 2, vertical: 1 });
        frame.render_stateful_widget(table, room, &mut state);
    }
}

fn cells(row: &ChooserRow, theme: &Theme) -> Row<'static> {
    let snapshot =
        row.snapshot.as_deref().map_or_else(|| human::UNKNOWN.to_owned(), human::printable);
    let left = row.left_bytes.map_or_else(|| human::UNKNOWN.to_owned(), human::bytes);
    Row::new([
        Cell::new(human::printable(&row.name)),
        Cell::new(snapshot),
        Cell::new(Line::styled(state_word(row.state), theme.state(row.state))),
        Cell::new(Line::from(left).right_aligned()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossterm::event::KeyModifiers;

    fn row(name: &str) -> ChooserRow {
        ChooserRow {
            name: name.to_owned(),
            snapshot: None,
            state: State::Merging,
            left_bytes: None,
        }
    }

    fn press(chooser: &mut Chooser, code: KeyCode) -> Option<Choice> {
        chooser.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn the_mark_moves_within_the_rows_and_stays_on_its_merge() {
        let mut chooser = Chooser::new(vec![row("a"), row("b"), row("c")]);
        assert_eq!(press(&mut chooser, KeyCode::Up), None);
        assert_eq!(press(&mut chooser, KeyCode::Down), None);
        assert_eq!(press(&mut chooser, KeyCode::Enter), Some(Choice::Picked(1)));
        chooser.update(vec![row("b"), row("c")]);
        assert_eq!(press(&mut chooser, KeyCode::Enter), Some(Choice::Picked(0)));
        assert_eq!(press(&mut chooser, KeyCode::End), None);
        chooser.update(vec![row("x")]);
        assert_eq!(press(&mut chooser, KeyCode::Enter), Some(Choice::Picked(0)));
        chooser.update(Vec::new());
        assert_eq!(press(&mut chooser, KeyCode::Enter), None);
        assert_eq!(press(&mut chooser, KeyCode::Char('q')), Some(Choice::Leave));
    }
}
