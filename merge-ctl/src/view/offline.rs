//! An offline merge, in the places where the kernel's runs and the applications' writes would be: its
//! stages, its work, and what is left of it if it ends now.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::text::{cut, figure, fit, left, part, right, width, wrap};
use super::theme::{Theme, state_word};
use crate::human;
use crate::model::{Model, Offline, StageTime, State};
use crate::offline::meter::Stage;
use crate::output::offline_plain;
use crate::sample::OfflineEnd;

/// Columns of a stage's mark and name.
const NAME: usize = 13;
/// From this height on a bar of all stages stands above them.
const WITH_BAR: u16 = 7;

/// The state on screen.
pub(super) fn word(model: &Model) -> &'static str {
    match (&model.offline, model.state) {
        (Some(offline), State::Merging | State::Stalled) if offline.stopping => "■ STOPPING",
        (Some(_), State::Merging) => "● MERGING OFFLINE",
        _ => state_word(model.state),
    }
}

/// The stages, one a row: which are done, what they took, what they moved.
pub(super) fn stages(
    frame: &mut Frame,
    area: Rect,
    model: &Model,
    offline: &Offline,
    theme: Theme,
) {
    let room = super::region(frame, area, " stages ".into(), theme);
    let mut lines = Vec::new();
    if room.height >= WITH_BAR {
        lines.push(bar(offline, room.width, theme));
    }
    let verify = verifies(model);
    let taken = offline.stages.iter().filter(|time| verify || time.stage != Stage::Verifying);
    lines.extend(taken.map(|time| stage_line(offline, time, room.width, theme)));
    super::lines(frame, room, lines);
}

fn verifies(model: &Model) -> bool {
    model.identity.offline.is_some_and(|terms| terms.verify)
}

/// The time of all stages side by side.
pub(super) fn bar(offline: &Offline, columns: u16, theme: Theme) -> Line<'static> {
    let columns = usize::from(columns);
    let (mut sum, mut drawn) = (0.0, 0);
    let mut spans = Vec::new();
    for time in &offline.stages {
        sum += time.share;
        // Rounding the ends, not the lengths, makes the pieces add up to the bar.
        let end = ((sum * columns as f64).round() as usize).min(columns);
        let length = end.saturating_sub(drawn);
        drawn = drawn.max(end);
        let (glyph, style) = theme.stage_fill(time.stage);
        spans.push(Span::styled(glyph.to_string().repeat(length), style));
    }
    spans.push(Span::styled("·".repeat(columns - drawn), theme.faint()));
    Line::from(spans)
}

fn stage_line(offline: &Offline, time: &StageTime, columns: u16, theme: Theme) -> Line<'static> {
    let (mark, style) = match time.stage.cmp(&offline.stage) {
        std::cmp::Ordering::Less => ("✓", theme.good()),
        std::cmp::Ordering::Equal => ("●", theme.strong()),
        std::cmp::Ordering::Greater => ("·", theme.faint()),
    };
    let comes = time.stage > offline.stage;
    let name = left(&format!("{mark} {}", time.stage.name()), NAME);
    let mut parts = vec![part(0, name, if comes { theme.faint() } else { style })];
    if !comes {
        let (_, ground) = theme.stage_mark(time.stage);
        parts.push(part(1, right(&human::duration(time.ns), 7), theme.strong()));
        parts.push(part(2, right(&human::share(time.share), 5), ground));
    }
    if let Some(rate) = time.bytes_per_s {
        parts.push(part(3, human::rate(rate).trim().to_owned(), theme.faint()));
    }
    fit(parts, columns, 1)
}

/// How much there is, and how much of it is done.
pub(super) fn work(frame: &mut Frame, area: Rect, model: &Model, offline: &Offline, theme: Theme) {
    let room = super::region(frame, area, " work ".into(), theme);
    let rows = rows(model, offline);
    let lines = rows.into_iter().map(|(word, figure)| row(word, &figure, room.width, theme));
    super::lines(frame, room, lines.collect());
}

fn row(word: &'static str, figure: &str, columns: u16, theme: Theme) -> Line<'static> {
    const WORD: usize = 11;
    let room = usize::from(columns).saturating_sub(WORD);
    Line::from(vec![
        Span::styled(left(word, WORD), theme.faint()),
        Span::styled(cut(figure, room), Style::new()),
    ])
}

fn rows(model: &Model, offline: &Offline) -> Vec<(&'static str, String)> {
    let counted = offline.stage > Stage::Reading || offline.exceptions > 0;
    if !counted {
        return vec![(
            "exceptions",
            format!("{} read so far", human::count(offline.walked_exceptions)),
        )];
    }
    let of = |bytes| human::bytes_of(bytes, offline.total_bytes);
    let mut rows = vec![
        ("exceptions", human::count(offline.exceptions)),
        ("copied", of(offline.copied_bytes)),
    ];
    rows.push(if verifies(model) {
        ("compared", of(offline.verified_bytes))
    } else {
        ("compared", "no (--verify)".to_owned())
    });
    rows.push(("cleared", human::count(offline.cleared_exceptions)));
    if let Some(terms) = &model.identity.offline {
        if let Some(limit) = terms.bandwidth_bytes {
            rows.push(("limit", human::rate(limit.get() as f64).trim().to_owned()));
        }
        rows.push(match &offline.end {
            None => ("under way", under_way(offline, terms.requests)),
            Some(_) => ("at once", human::counted(terms.requests.into(), "request")),
        });
        rows.push(("memory", format!("{} at most", human::bytes(terms.memory_bytes))));
    }
    rows
}

/// `12 of 64, 3.0 MiB`.
fn under_way(offline: &Offline, most: u32) -> String {
    let (requests, bytes) = (offline.requests_under_way, offline.bytes_under_way);
    format!("{} of {}, {}", human::count(requests), human::count(most.into()), human::bytes(bytes))
}

/// What a stop, or a crash, leaves: what somebody at the keyboard has to know before they press a key.
pub(super) fn if_it_ends(
    frame: &mut Frame,
    area: Rect,
    model: &Model,
    offline: &Offline,
    theme: Theme,
) {
    let title = if offline.end.is_none() { " if it ends now " } else { " what is left " };
    let room = super::region(frame, area, title.into(), theme);
    let words = human::printable(&leaves(model, offline));
    let lines = wrap(&words, room.width, room.height.into());
    super::lines(frame, room, lines.into_iter().map(Line::from).collect());
}

fn leaves(model: &Model, offline: &Offline) -> String {
    let origin = &model.identity.origin_label;
    if matches!(&offline.end, Some(OfflineEnd::Stopped | OfflineEnd::Failed(_))) {
        let left = human::bytes(model.progress.left_bytes);
        return format!("It has ended. The store still holds {left}, which nobody has merged yet.");
    }
    match (offline.stage, offline.stopping) {
        (Stage::Done, _) => format!("All is merged into {origin}."),
        (Stage::Clearing, _) => format!(
            "All is on {origin}, on stable storage. A stop is not heeded any more: this takes a \
             moment. A crash does no harm: what is still in the store would be merged once more, \
             the same."
        ),
        (_, true) => format!(
            "Stopping after the requests under way. Nothing was cleared: the kernel, or another run, \
             merges all of it. Until then {origin} holds a mix of old and new data."
        ),
        (Stage::Reading, _) => "Nothing is changed yet.".to_owned(),
        _ => format!(
            "q or Ctrl-C stops it after the requests under way; a crash is no worse. Nothing is \
             cleared before all is copied: the kernel, or another run, merges all of it. Until then \
             {origin} holds a mix of old and new data."
        ),
    }
}

/// The stage and the shares of all, in a line.
pub(super) fn line(offline: &Offline, columns: u16, theme: Theme) -> Line<'static> {
    let mut doing = offline_plain::doing(offline);
    if offline.end.is_none() && offline.requests_under_way > 0 {
        let requests = human::counted(offline.requests_under_way, "request");
        let bytes = human::bytes(offline.bytes_under_way);
        doing.push_str(&format!(", {requests} under way, {bytes}"));
    }
    let shares = offline_plain::shares(offline);
    let room = usize::from(columns).saturating_sub(width(&doing) + 6);
    fit(
        vec![
            figure(0, "now", doing, theme.faint(), theme.strong()),
            part(1, if width(&shares) <= room { shares } else { String::new() }, theme.faint()),
        ],
        columns,
        2,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;

    #[test]
    fn a_bar_is_as_long_as_its_room_whatever_the_shares() {
        for model in fixture::offline_all() {
            let mut offline = model.offline.unwrap();
            for columns in 0..60 {
                assert_eq!(bar(&offline, columns, Theme::plain()).width(), usize::from(columns));
            }
            for time in &mut offline.stages {
                time.share = f64::NAN;
            }
            assert_eq!(bar(&offline, 20, Theme::plain()).width(), 20);
        }
    }
}
