//! Characters that make lines and areas, as shapes: fonts differ in them, leave gaps between rows, or lack
//! them.

use std::fmt::Write as _;

/// Width and height of a place on the screen, in the units of the picture.
pub(super) const WIDTH: u32 = 9;
/// See [`WIDTH`].
pub(super) const HEIGHT: u32 = 18;

/// Part of a place, in its units: where it begins, how wide and how high it is, how dense.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    /// From the left.
    pub(super) x: f32,
    /// From the top.
    pub(super) y: f32,
    /// How wide.
    pub(super) width: f32,
    /// How high.
    pub(super) height: f32,
    /// 1 is solid.
    pub(super) density: f32,
}

/// The area that a block element fills.
pub(super) fn area(c: char) -> Option<Area> {
    let (w, h) = (WIDTH as f32, HEIGHT as f32);
    let whole = Area { x: 0.0, y: 0.0, width: w, height: h, density: 1.0 };
    let number = c as u32;
    match c {
        // Lower eighths, from one to all.
        '▁'..='█' => {
            let height = h * (number - 0x2580) as f32 / 8.0;
            Some(Area { y: h - height, height, ..whole })
        }
        // Left eighths, from seven to one.
        '▉'..='▏' => Some(Area { width: w * (0x2590 - number) as f32 / 8.0, ..whole }),
        '░' => Some(Area { density: 0.3, ..whole }),
        '▒' => Some(Area { density: 0.55, ..whole }),
        '▓' => Some(Area { density: 0.8, ..whole }),
        _ => None,
    }
}

/// The strokes of a line of a box, as the `d` of a path, its place's corner at `x`, 0.
pub(super) fn strokes(c: char, x: u32) -> Option<String> {
    // Left, right, up, down.
    let arms = match c {
        '─' => [true, true, false, false],
        '│' => [false, false, true, true],
        '┌' => [false, true, false, true],
        '┐' => [true, false, false, true],
        '└' => [false, true, true, false],
        '┘' => [true, false, true, false],
        '├' => [false, true, true, true],
        '┤' => [true, false, true, true],
        '┬' => [true, true, false, true],
        '┴' => [true, true, true, false],
        '┼' => [true; 4],
        _ => return None,
    };
    let (half_width, half_height) = (WIDTH as f32 / 2.0, HEIGHT / 2);
    let middle = x as f32 + half_width;
    let ends = [format!("H{x}"), format!("H{}", x + WIDTH), "V0".to_owned(), format!("V{HEIGHT}")];
    let mut path = String::new();
    for (_, end) in arms.iter().zip(ends).filter(|(there, _)| **there) {
        // Writing into a String cannot fail.
        let _ = write!(path, "M{middle} {half_height}{end}");
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_fill_their_eighths() {
        assert_eq!(area('█').map(|area| (area.y, area.height)), Some((0.0, 18.0)));
        assert_eq!(area('▄').map(|area| (area.y, area.height)), Some((9.0, 9.0)));
        assert_eq!(area('▌').map(|area| (area.x, area.width)), Some((0.0, 4.5)));
        assert_eq!(area('▏').map(|area| area.width), Some(9.0 / 8.0));
        assert!(area('a').is_none() && strokes('a', 0).is_none());
    }

    #[test]
    fn lines_meet_at_the_borders_of_their_places() {
        assert_eq!(strokes('─', 9).as_deref(), Some("M13.5 9H9M13.5 9H18"));
        assert_eq!(strokes('┌', 0).as_deref(), Some("M4.5 9H9M4.5 9V18"));
    }
}
