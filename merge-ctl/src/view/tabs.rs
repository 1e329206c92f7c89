//! The row of tabs, where there are several merges: one tab each, the one on screen in brackets.
//!
//! ```text
//! [1 vg/data ● 61.4 %] 2 vg/home ▲ STALLED 12.0 %  3 vg/var ✗ FAILED 40.3 %
//! ```
//!
//! A tab has the number that its key has, the name, the state and the percentage. What a merge that
//! does not simply go on is doing is said in a word as long as there is room, and in its colour.
//! Where the room is short, names are cut; where that is not enough, tabs far from the one on screen
//! are left out, and how many is said.

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::text::{cut, width};
use super::theme::{Theme, state_word};
use crate::human;
use crate::model::{Model, State};
use crate::output::plain;

/// The fewest rows of a screen that has one to give away.
const MIN_HEIGHT: u16 = 7;
/// Tabs that a key shows.
const NUMBERED: usize = 9;
/// Columns for how many tabs are left out at one side.
const LEFT_OUT: usize = 4;

/// A merge as its tab tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tab {
    /// The origin, as its users call it.
    pub name: String,
    /// Where the merge is.
    pub state: State,
    /// Progress from 0 to 1; not a number where it is not known how much there is to do.
    pub fraction: f64,
}

impl Tab {
    /// The tab of a merge.
    pub fn of(model: &Model) -> Self {
        Self {
            name: model.identity.origin_label.clone(),
            state: model.state,
            fraction: plain::fraction(model),
        }
    }
}

/// All merges that can be shown, and the one that is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tabs {
    /// The place of the one on screen, from 0.
    pub shown: usize,
    /// All of them.
    pub tabs: Vec<Tab>,
}

impl Tabs {
    /// Whether there is anything to choose from.
    pub const fn are_several(&self) -> bool {
        self.tabs.len() > 1
    }

    /// Shows the tab so many places further, round and round.
    pub(super) fn step(&mut self, places: isize) {
        let count = isize::try_from(self.tabs.len().max(1)).unwrap_or(isize::MAX);
        let shown = isize::try_from(self.shown).unwrap_or(0);
        self.shown = (shown + places).rem_euclid(count).unsigned_abs();
    }

    /// Shows the tab at a place, where there is one.
    pub(super) fn show(&mut self, place: usize) {
        if place < self.tabs.len() {
            self.shown = place;
        }
    }

    /// `2/3 `, for where no row of tabs has room; empty where there is one merge.
    pub(super) fn place(&self) -> String {
        match self.tabs.len() {
            0 | 1 => String::new(),
            count => format!("{}/{count} ", self.shown + 1),
        }
    }
}

/// The row of the tabs, where there is one, and the rest of the screen.
pub(super) fn split(screen: Rect, tabs: &Tabs) -> (Option<Rect>, Rect) {
    if !tabs.are_several() || screen.height < MIN_HEIGHT {
        return (None, screen);
    }
    let row = Rect { height: 1, ..screen };
    (Some(row), Rect { y: screen.y + 1, height: screen.height - 1, ..screen })
}

pub(super) fn draw(frame: &mut Frame, row: Rect, tabs: &Tabs, theme: Theme) {
    super::lines(frame, row, vec![line(tabs, row.width.into(), theme)]);
}

/// Which words a row has, the shorter ones last.
#[derive(Clone, Copy)]
enum Words {
    /// Each state in a word.
    All,
    /// Only those that want to be seen.
    Marked,
    /// None: glyphs have to do.
    None,
}

/// Ways to write the row, with the columns that a name may take.
const WAYS: [(Words, usize); 7] = [
    (Words::All, usize::MAX),
    (Words::Marked, usize::MAX),
    (Words::Marked, 24),
    (Words::Marked, 16),
    (Words::Marked, 12),
    (Words::None, 12),
    (Words::None, 8),
];

fn line(tabs: &Tabs, room: usize, theme: Theme) -> Line<'static> {
    let written = |(words, name)| -> Vec<Vec<Span<'static>>> {
        let tabs_and_places = tabs.tabs.iter().enumerate();
        tabs_and_places
            .map(|(place, tab)| spans(tab, place, place == tabs.shown, words, name, theme))
            .collect()
    };
    for way in WAYS {
        let all = written(way);
        if all.iter().map(|spans| columns(spans)).sum::<usize>() <= room {
            return all.into_iter().flatten().collect();
        }
    }
    some(written((Words::None, 8)), tabs.shown, room, theme)
}

/// The tabs around the one on screen, with how many are left out at either side.
fn some(all: Vec<Vec<Span<'static>>>, shown: usize, room: usize, theme: Theme) -> Line<'static> {
    let around = around(&all, shown, room.saturating_sub(2 * LEFT_OUT));
    let (before, after) = (around.start, all.len() - around.end);
    let tabs: Vec<_> = all.into_iter().take(around.end).skip(around.start).flatten().collect();
    let has_room = columns(&tabs) + 2 * LEFT_OUT <= room;
    let mut line = Line::from(tabs);
    if has_room && before > 0 {
        line.spans.insert(0, Span::styled(format!("‹{before} "), theme.faint()));
    }
    if has_room && after > 0 {
        line.push_span(Span::styled(format!(" {after}›"), theme.faint()));
    }
    line
}

/// As many tabs around the one on screen as there is room for.
fn around(all: &[Vec<Span<'_>>], shown: usize, room: usize) -> Range<usize> {
    let mut around = shown.min(all.len())..(shown + 1).min(all.len());
    let fit =
        |range: Range<usize>| all[range].iter().map(|spans| columns(spans)).sum::<usize>() <= room;
    loop {
        if around.end < all.len() && fit(around.start..around.end + 1) {
            around.end += 1;
        } else if around.start > 0 && fit(around.start - 1..around.end) {
            around.start -= 1;
        } else {
            return around;
        }
    }
}

/// A name cut in its middle: those of one host often begin or end alike.
fn shortened(name: &str, room: usize) -> String {
    if width(name) <= room {
        return name.to_owned();
    }
    let kept_end = room / 2;
    let mut end = String::new();
    for c in name.chars().rev() {
        if width(&end) + width(c.encode_utf8(&mut [0; 4])) > kept_end {
            break;
        }
        end.insert(0, c);
    }
    cut(name, room - width(&end)) + &end
}

fn columns(spans: &[Span<'_>]) -> usize {
    spans.iter().map(|span| width(&span.content)).sum()
}

fn spans(
    tab: &Tab,
    place: usize,
    shown: bool,
    words: Words,
    name: usize,
    theme: Theme,
) -> Vec<Span<'static>> {
    let (open, close) = if shown { ("[", "]") } else { (" ", " ") };
    let plain = if shown { theme.strong() } else { theme.faint() };
    let mut spans = vec![Span::styled(open, theme.strong())];
    if place < NUMBERED {
        spans.push(Span::styled(format!("{} ", place + 1), plain));
    }
    spans.push(Span::styled(format!("{} ", shortened(&human::printable(&tab.name), name)), plain));
    spans.push(Span::styled(mark(tab.state, words), style(tab.state, theme)));
    spans.push(Span::styled(format!(" {}", human::percent(tab.fraction)), plain));
    spans.push(Span::styled(close, theme.strong()));
    spans
}

/// The state as a glyph, and in a word where there is to be one.
fn mark(state: State, words: Words) -> String {
    let word = state_word(state);
    let said = match words {
        Words::All => true,
        Words::Marked => wants_to_be_seen(state),
        Words::None => false,
    };
    if said { word.to_owned() } else { word.chars().take(1).collect() }
}

/// Whether somebody should look at a merge in this state.
const fn wants_to_be_seen(state: State) -> bool {
    match state {
        State::Found
        | State::Ready
        | State::Scheduled
        | State::Starting
        | State::Merging
        | State::Finishing
        | State::Finished => false,
        State::Stalled
        | State::Suspended
        | State::Stopped
        | State::DoneNotFinished
        | State::Failed
        | State::Invalid
        | State::Gone
        | State::Unknown => true,
    }
}

fn style(state: State, theme: Theme) -> ratatui::style::Style {
    let style = theme.state(state);
    if wants_to_be_seen(state) { style } else { style.remove_modifier(Modifier::REVERSED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tab(name: &str, state: State) -> Tab {
        Tab { name: name.to_owned(), state, fraction: 0.5 }
    }

    fn shown(tabs: &[Tab], shown: usize, room: usize) -> String {
        line(&Tabs { shown, tabs: tabs.to_vec() }, room, Theme::plain()).to_string()
    }

    #[test]
    fn a_short_row_says_less_of_each_but_marks_what_stands_still() {
        let tabs = [tab("vg/data", State::Merging), tab("vg/home", State::Stalled)];
        assert_eq!(shown(&tabs, 0, 80), "[1 vg/data ● MERGING 50.0 %] 2 vg/home ▲ STALLED 50.0 % ");
        assert_eq!(shown(&tabs, 1, 50), " 1 vg/data ● 50.0 % [2 vg/home ▲ STALLED 50.0 %]");
        assert_eq!(shown(&tabs, 1, 40), " 1 vg/data ● 50.0 % [2 vg/home ▲ 50.0 %]");
    }

    #[test]
    fn the_one_on_screen_is_always_in_the_row_and_the_row_in_its_room() {
        let tabs: Vec<_> = (0..40).map(|i| tab(&format!("vg/volume{i}"), State::Merging)).collect();
        for room in 24..120 {
            for place in 0..tabs.len() {
                let row = shown(&tabs, place, room);
                assert!(row.contains('['), "{row}");
                assert!(width(&row) <= room, "{row} in {room}");
            }
        }
        assert_eq!(shown(&tabs, 20, 60), "‹20 [vg/…me20 ● 50.0 %] vg/…me21 ● 50.0 %  18›");
    }

    #[test]
    fn every_state_that_needs_somebody_is_marked_in_a_word() {
        for state in [State::Stalled, State::Suspended, State::Failed, State::Invalid, State::Gone]
        {
            assert_eq!(mark(state, Words::Marked), state_word(state));
        }
        assert_eq!(mark(State::Merging, Words::Marked), "●");
    }

    #[test]
    fn a_name_is_cut_in_its_middle() {
        assert_eq!(shortened("vg/data", 8), "vg/data");
        assert_eq!(shortened("vg/volume12", 8), "vg/…me12");
        for room in 2..12 {
            for name in ["漢字漢字漢字漢字", "vg/漢a漢b漢c漢d", "database-origin"] {
                let short = shortened(name, room);
                assert!(width(&short) <= room, "{short} in {room}");
            }
        }
    }

    #[test]
    fn the_tabs_go_round() {
        let mut tabs = Tabs { shown: 1, tabs: vec![tab("a", State::Merging); 2] };
        tabs.step(1);
        assert_eq!(tabs.shown, 0);
        tabs.step(-1);
        assert_eq!(tabs.shown, 1);
        tabs.show(7);
        assert_eq!(tabs.shown, 1, "there is no such tab");
        Tabs::default().step(1);
    }
}
