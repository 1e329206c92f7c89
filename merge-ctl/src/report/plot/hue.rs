//! The colours of a report, by what they stand for: one for paper and a bright screen, one for a dark one.
//!
//! A picture has those for paper in it, and is whole by itself; the style of the page replaces them by
//! variables.

use std::fmt::Write as _;

use plotters::style::RGBColor;

use crate::sample::Phase;

/// What a colour stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Hue {
    Ink,
    Grid,
    Axis,
    Stall,
    Metadata,
    Siblings,
    Drain,
    Copy,
    Flush,
    Commit,
    Between,
    Untouched,
    Partly,
}

impl Hue {
    /// All of them.
    const ALL: [Self; 13] = [
        Self::Ink,
        Self::Grid,
        Self::Axis,
        Self::Stall,
        Self::Metadata,
        Self::Siblings,
        Self::Drain,
        Self::Copy,
        Self::Flush,
        Self::Commit,
        Self::Between,
        Self::Untouched,
        Self::Partly,
    ];

    /// The colour of a phase.
    pub(in crate::report) const fn of(phase: Phase) -> Self {
        match phase {
            Phase::Metadata => Self::Metadata,
            Phase::Siblings => Self::Siblings,
            Phase::Drain => Self::Drain,
            Phase::Copy => Self::Copy,
            Phase::Flush => Self::Flush,
            Phase::Commit => Self::Commit,
        }
    }

    /// What it is called in the style of the page.
    pub(in crate::report) const fn name(self) -> &'static str {
        self.row().0
    }

    /// The colour for paper.
    pub(super) const fn on_paper(self) -> RGBColor {
        let [_, red, green, blue] = self.row().1.to_be_bytes();
        RGBColor(red, green, blue)
    }

    const fn row(self) -> (&'static str, u32, u32) {
        match self {
            Self::Ink => ("ink", 0x1f_2530, 0xe7_ebf0),
            Self::Grid => ("grid", 0xe3_e7ec, 0x30_3741),
            Self::Axis => ("axis", 0x98_a2af, 0x6d_7885),
            Self::Stall => ("stall", 0xf8_d9d3, 0x56_2a28),
            Self::Metadata => ("metadata", 0x7f_8c9b, 0x97_a5b5),
            Self::Siblings => ("siblings", 0x2a_8f6d, 0x46_c096),
            Self::Drain => ("drain", 0x86_4bb0, 0xb8_8be0),
            Self::Copy => ("copy", 0x25_6dbe, 0x62_a8f2),
            Self::Flush => ("flush", 0xd9_8a1e, 0xf0_b24d),
            Self::Commit => ("commit", 0xb8_3f2d, 0xec_7c68),
            Self::Between => ("between", 0xcf_d6de, 0x4a_5461),
            Self::Untouched => ("untouched", 0xea_edf1, 0x27_2d36),
            Self::Partly => ("partly", 0x8d_b8e6, 0x3a_6394),
        }
    }

    /// The variables for paper, or for a dark screen.
    pub(in crate::report) fn variables(dark: bool) -> String {
        let mut style = String::new();
        for hue in Self::ALL {
            let (name, paper, screen) = hue.row();
            // Writing into a String cannot fail.
            let _ = write!(style, "--{name}:#{:06x};", if dark { screen } else { paper });
        }
        style
    }

    /// The rules that put the variables into pictures.
    pub(in crate::report) fn rules() -> String {
        let mut style = String::new();
        for hue in Self::ALL {
            let (name, paper, _) = hue.row();
            for attribute in ["fill", "stroke"] {
                // Writing into a String cannot fail.
                let _ = writeln!(
                    style,
                    "svg [{attribute}=\"#{paper:06X}\"]{{{attribute}:var(--{name})}}"
                );
            }
            let _ = writeln!(style, ".key-{name}{{background:var(--{name})}}");
        }
        style
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_things_have_the_same_colour() {
        for (place, hue) in Hue::ALL.iter().enumerate() {
            let (_, paper, dark) = hue.row();
            for other in &Hue::ALL[place + 1..] {
                assert_ne!((paper, hue.name()), (other.row().1, other.name()));
                assert!(paper != other.row().1 && dark != other.row().2, "{hue:?} {other:?}");
            }
        }
    }
}
