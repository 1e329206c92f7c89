//! Which region lies where. Borders are shared: neighbours overlap by one row or column.

use ratatui::layout::Rect;

use crate::model::Model;
use crate::sample::ProbeTier;

/// The smallest screen that has regions.
const MIN_WIDTH: u16 = 76;
const MIN_HEIGHT: u16 = 20;
/// From here on the recent runs have a region of their own.
const WIDE: u16 = 150;
/// Rows that borders take.
const BORDERS: u16 = 6;

/// The regions' places, borders included.
pub(super) struct Regions {
    pub(super) head: Rect,
    pub(super) phases: Rect,
    pub(super) sizes: Rect,
    pub(super) recent: Option<Rect>,
    pub(super) writes: Rect,
    pub(super) stalls: Rect,
    pub(super) map: Rect,
    pub(super) verdict: Rect,
}

/// The bands of the screen, from its top.
const HEAD: usize = 0;
const RUNS: usize = 1;
const WRITES: usize = 2;
const MAP: usize = 3;
const VERDICT: usize = 4;

/// From this height on there is room for advice on a merge that goes on.
const TALL: u16 = 30;

/// Whether a screen of this size has regions.
pub(super) const fn has_room(columns: u16, rows: u16) -> bool {
    columns >= MIN_WIDTH && rows >= MIN_HEIGHT
}

/// Rows that the verdict needs: more where there is something to do, or not all is seen.
fn words(model: &Model, screen: Rect) -> u16 {
    match (model.state.is_over(), model.identity.probes.tier) {
        (true, _) => 4,
        (false, _) if screen.height >= TALL => {
            if screen.width >= WIDE {
                3
            } else {
                4
            }
        }
        (false, ProbeTier::NoModuleBtf) => 3,
        (false, _) => 2,
    }
}

/// Rows inside each band: the least, and then what a taller screen has more, one row after another.
fn share_out(height: u16, verdict: u16, offline: bool) -> [u16; 5] {
    let mut rows = [2, 5, 6 - verdict, 1, verdict];
    // The first rows go to where they are missed most; from then on all grow together, each up to
    // where it gains no more. The writes take the rest, or the map.
    let first = [(RUNS, 6), (WRITES, 8 - verdict), (MAP, 2)];
    let then = [(HEAD, 5), (RUNS, 13), (WRITES, 12), (MAP, 8)];
    // An offline merge has less to say, and one thing to look at.
    let (then, rest) = match offline {
        true => ([(HEAD, 5), (RUNS, 8), (WRITES, 5), (MAP, 8)], MAP),
        false => (then, WRITES),
    };
    let mut left = height.saturating_sub(BORDERS + rows.iter().sum::<u16>());
    for wishes in [first.as_slice(), then.as_slice()] {
        while left > 0 && wishes.iter().any(|&(band, cap)| rows[band] < cap) {
            for &(band, cap) in wishes {
                if left > 0 && rows[band] < cap {
                    rows[band] += 1;
                    left -= 1;
                }
            }
        }
    }
    rows[rest] += left;
    rows
}

/// The regions of a screen; none where it is too small for them.
pub(super) fn regions(screen: Rect, model: &Model) -> Option<Regions> {
    if !has_room(screen.width, screen.height) {
        return None;
    }
    let rows = share_out(screen.height, words(model, screen), model.offline.is_some());
    let mut y = screen.y;
    let mut band = |inner: u16| {
        let area = Rect { x: screen.x, y, width: screen.width, height: inner + 2 };
        y += inner + 1;
        area
    };
    let (head, runs, writes) = (band(rows[HEAD]), band(rows[RUNS]), band(rows[WRITES]));
    let (map, verdict) = (band(rows[MAP]), band(rows[VERDICT]));
    let (phases, sizes, recent) = runs_band(runs);
    let (writes, stalls) = split(writes, if screen.width >= WIDE { 62 } else { 67 });
    Some(Regions { head, phases, sizes, recent, writes, stalls, map, verdict })
}

fn runs_band(area: Rect) -> (Rect, Rect, Option<Rect>) {
    if area.width < WIDE {
        let (phases, sizes) = split(area, 61);
        return (phases, sizes, None);
    }
    let (phases, rest) = split(area, 40);
    let (sizes, recent) = split(rest, 46);
    (phases, sizes, Some(recent))
}

/// Left and right, the left one having so many percent; they share a border.
fn split(area: Rect, percent: u16) -> (Rect, Rect) {
    let width =
        u16::try_from(u32::from(area.width) * u32::from(percent) / 100).unwrap_or(area.width);
    let left = Rect { width, ..area };
    let x = area.x + width.saturating_sub(1);
    (left, Rect { x, width: area.right().saturating_sub(x), ..area })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;

    #[test]
    fn the_regions_fill_every_screen() {
        for model in [fixture::merging(), fixture::failed(), fixture::offline()] {
            for height in MIN_HEIGHT..70 {
                for width in [MIN_WIDTH, 80, 129, WIDE, 220] {
                    let screen = Rect::new(0, 0, width, height);
                    let regions = regions(screen, &model).unwrap();
                    assert_eq!(regions.verdict.bottom(), height, "{width}x{height}");
                    assert_eq!(regions.stalls.right(), width);
                    assert_eq!(regions.recent.unwrap_or(regions.sizes).right(), width);
                }
            }
        }
    }
}
