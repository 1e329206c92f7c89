//! The row below a replayed screen: that it is none of now, where it is, and how fast it goes.
//!
//! ```text
//!  REPLAY ▶ ×10  12:34 of 60:00  ━━━━━━━──────────────────────  20:15:07 UTC
//! ```

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::theme::Theme;
use crate::human;
use crate::recording::Pace;

/// The fewest rows of a screen that has one to give away.
const MIN_HEIGHT: u16 = 6;
/// The narrowest bar that tells anything.
const MIN_BAR: usize = 10;

/// What is replayed, and where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replay {
    /// The place and the speed.
    pub pace: Pace,
    /// How many parts of the file cannot be shown.
    pub damaged: u64,
}

/// The row of the replay, where there is one, and the rest of the screen.
pub(super) fn split(screen: Rect, replay: Option<&Replay>) -> (Option<Rect>, Rect) {
    if replay.is_none() || screen.height < MIN_HEIGHT {
        return (None, screen);
    }
    let height = screen.height - 1;
    let row = Rect { y: screen.y + height, height: 1, ..screen };
    (Some(row), Rect { height, ..screen })
}

pub(super) fn draw(frame: &mut Frame, row: Rect, replay: &Replay, unix_s: u64, theme: Theme) {
    super::lines(frame, row, vec![line(replay, unix_s, row.width.into(), theme)]);
}

fn line(replay: &Replay, unix_s: u64, room: usize, theme: Theme) -> Line<'static> {
    let Pace { first_ns, last_ns, at_ns, speed, paused } = replay.pace;
    let (at, length) = (at_ns.saturating_sub(first_ns), last_ns.saturating_sub(first_ns));
    let mode = match (paused, replay.pace.is_at_end()) {
        (_, true) => "■ end".to_owned(),
        (true, _) => "‖ paused".to_owned(),
        (false, _) => format!("▶ {speed}"),
    };
    let clock = human::clock_utc(unix_s);
    let has_room = |more: usize, line: &Line| line.width() + more <= room;
    let mut line = Line::from(Span::styled(format!(" REPLAY {mode} "), theme.warn()));
    let place = format!(" {} of {} ", minutes(at), minutes(length));
    if has_room(Span::raw(&*place).width(), &line) {
        line.push_span(Span::styled(place, theme.strong()));
    }
    let mut end = format!(" {clock} UTC ");
    if replay.damaged > 0 {
        end.push_str(&format!(" {} damaged ", human::counted(replay.damaged, "part")));
    }
    let bar = room.saturating_sub(line.width() + Span::raw(&*end).width() + 1);
    if bar >= MIN_BAR {
        let done = if length == 0 { bar } else { share(at, length, bar) };
        line.push_span(Span::styled("━".repeat(done), theme.strong()));
        line.push_span(Span::styled("─".repeat(bar - done), theme.faint()));
        line.push_span(Span::raw(" "));
    }
    if has_room(Span::raw(&*end).width(), &line) {
        line.push_span(Span::styled(end, theme.faint()));
    }
    line
}

/// How many of so many columns lie behind.
fn share(at: u64, length: u64, columns: usize) -> usize {
    let done = u128::from(at) * columns as u128 / u128::from(length.max(1));
    usize::try_from(done).unwrap_or(columns).min(columns)
}

/// `12:34`, and with hours where there are any.
fn minutes(ns: u64) -> String {
    let s = ns / 1_000_000_000;
    match s / 3600 {
        0 => format!("{:02}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Speed;

    const S: u64 = 1_000_000_000;

    fn shown(pace: Pace, room: usize) -> String {
        let replay = Replay { pace, damaged: 1 };
        line(&replay, 1_700_000_000, room, Theme::plain()).to_string()
    }

    #[test]
    fn the_row_tells_place_and_speed_and_fits_its_room() {
        let mut pace = Pace::new(5 * S, 3605 * S, Speed::Times(10));
        pace.go_to(905 * S);
        let row = shown(pace, 80);
        assert_eq!(
            row,
            " REPLAY ▶ ×10  15:00 of 1:00:00 ━━━━─────────────  22:13:20 UTC  1 part damaged "
        );
        pace.pause();
        assert!(shown(pace, 80).starts_with(" REPLAY ‖ paused  15:00 of 1:00:00 "));
        pace.go_to(u64::MAX);
        assert!(shown(pace, 80).starts_with(" REPLAY ■ end  1:00:00 of 1:00:00 "));
        for room in 0..200 {
            assert!(
                Line::raw(shown(pace, room)).width() <= room.max(" REPLAY ■ end ".chars().count()),
                "{room}"
            );
        }
    }
}
