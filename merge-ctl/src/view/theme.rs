//! Colours and glyphs.
//!
//! Only the 16 colours that every terminal has, and never a colour for plain text: so it reads on
//! dark and on light backgrounds. Without colours (`NO_COLOR`) glyphs, words and attributes carry
//! the same meaning.

use ratatui::style::{Color, Modifier, Style};

use crate::model::{Relation, State};
use crate::offline::meter::Stage;
use crate::sample::Phase;

/// How the screen is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    colours: bool,
}

impl Default for Theme {
    fn default() -> Self {
        Self::coloured()
    }
}

#[expect(clippy::unused_self, reason = "whoever paints need not know which styles have colours")]
impl Theme {
    /// With colours.
    pub const fn coloured() -> Self {
        Self { colours: true }
    }

    /// Without: for `NO_COLOR`, and for terminals that have none.
    pub const fn plain() -> Self {
        Self { colours: false }
    }

    fn colour(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn border(self) -> Style {
        if self.colours { Style::new().fg(Color::DarkGray) } else { Style::new().dim() }
    }

    pub(super) fn title(self) -> Style {
        self.colour(Color::Cyan).remove_modifier(Modifier::DIM)
    }

    /// For words beside figures.
    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// For the figures that matter most.
    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// For what waits.
    pub(super) fn warn(self) -> Style {
        self.colour(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// For what is wrong.
    pub(super) fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// For what is done.
    pub(super) fn good(self) -> Style {
        self.colour(Color::Green)
    }

    pub(super) fn spark(self) -> Style {
        self.colour(Color::Cyan)
    }

    pub(super) fn key(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD).remove_modifier(Modifier::DIM)
    }

    pub(super) fn state(self, state: State) -> Style {
        let style = match state {
            State::Found | State::Ready => Style::new(),
            State::Starting | State::Finishing => self.colour(Color::Cyan),
            State::Scheduled | State::Stalled | State::Suspended | State::Stopped => {
                self.colour(Color::Yellow)
            }
            State::Merging | State::DoneNotFinished | State::Finished => self.colour(Color::Green),
            State::Failed | State::Invalid => self.colour(Color::Red),
            State::Gone | State::Unknown => self.colour(Color::Magenta),
        };
        let style = style.add_modifier(Modifier::BOLD);
        if state == State::Merging { style } else { style.add_modifier(Modifier::REVERSED) }
    }

    pub(super) fn relation(self, relation: Relation) -> Style {
        match relation {
            Relation::Free => Style::new(),
            Relation::Held => self.warn(),
            Relation::Awaited => self.bad(),
            Relation::Soon { .. } => self.spark(),
        }
    }

    /// How a piece of a stacked bar is filled: a ground to write on, or a glyph.
    pub(super) fn fill(self, phase: Option<Phase>) -> (char, Style) {
        if self.colours {
            (' ', Style::new().bg(phase_colour(phase)).fg(Color::Black))
        } else {
            (phase_glyph(phase), Style::new())
        }
    }

    /// The mark of a phase in the legend.
    pub(super) fn mark(self, phase: Option<Phase>) -> (char, Style) {
        if self.colours {
            ('█', Style::new().fg(phase_colour(phase)))
        } else {
            (phase_glyph(phase), Style::new())
        }
    }

    /// The same for a stage of an offline merge.
    pub(super) fn stage_fill(self, stage: Stage) -> (char, Style) {
        let (colour, glyph) = stage_looks(stage);
        if self.colours { (' ', Style::new().bg(colour)) } else { (glyph, Style::new()) }
    }

    /// Its colour on figures.
    pub(super) fn stage_mark(self, stage: Stage) -> (char, Style) {
        let (colour, glyph) = stage_looks(stage);
        (glyph, self.colour(colour))
    }

    pub(super) fn map(self, cell: super::map::Known) -> (char, Style) {
        use super::map::Known;
        match cell {
            Known::Now => ('◆', self.colour(Color::Yellow).add_modifier(Modifier::BOLD)),
            Known::Merged => ('█', self.good()),
            Known::Partly => ('▒', self.good()),
            Known::ToDo => ('░', self.colour(Color::Blue)),
            Known::Nothing => (' ', Style::new()),
            Known::Unknown => ('·', self.faint()),
        }
    }
}

/// `None` is the time between runs.
const fn phase_colour(phase: Option<Phase>) -> Color {
    match phase {
        Some(Phase::Metadata) => Color::LightBlue,
        Some(Phase::Siblings) => Color::Magenta,
        Some(Phase::Drain) => Color::LightRed,
        Some(Phase::Copy) => Color::Green,
        Some(Phase::Flush) => Color::Cyan,
        Some(Phase::Commit) => Color::Yellow,
        None => Color::Gray,
    }
}

const fn phase_glyph(phase: Option<Phase>) -> char {
    match phase {
        Some(Phase::Metadata) => ':',
        Some(Phase::Siblings) => '%',
        Some(Phase::Drain) => '▒',
        Some(Phase::Copy) => '█',
        Some(Phase::Flush) => '░',
        Some(Phase::Commit) => '▓',
        None => '·',
    }
}

const fn stage_looks(stage: Stage) -> (Color, char) {
    match stage {
        Stage::Reading => (Color::LightBlue, ':'),
        Stage::Copying => (Color::Green, '█'),
        Stage::Verifying => (Color::Magenta, '▒'),
        Stage::Flushing => (Color::Cyan, '░'),
        Stage::Clearing => (Color::Yellow, '▓'),
        Stage::Done => (Color::Gray, '·'),
    }
}

/// The state's word on screen.
pub(super) const fn state_word(state: State) -> &'static str {
    match state {
        State::Found => "○ FOUND",
        State::Ready => "○ READY",
        State::Scheduled => "◷ SCHEDULED",
        State::Starting => "● STARTING",
        State::Merging => "● MERGING",
        State::Stalled => "▲ STALLED",
        State::Suspended => "▲ SUSPENDED",
        State::Stopped => "■ STOPPED",
        State::DoneNotFinished => "✓ DONE, NOT FINISHED",
        State::Finishing => "● FINISHING",
        State::Finished => "✓ FINISHED",
        State::Failed => "✗ FAILED",
        State::Invalid => "✗ INVALID",
        State::Gone => "? GONE",
        State::Unknown => "? UNKNOWN",
    }
}
