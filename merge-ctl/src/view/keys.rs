//! What the keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What the operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Leave the view. The merge goes on; an offline merge is stopped.
    Leave,
    /// Show the help, or put it away.
    Help,
    /// Put the help away.
    CloseHelp,
    /// Show the next of several merges.
    NextMerge,
    /// Show the one before.
    PreviousMerge,
    /// Show the merge at this place, from 0.
    ShowMerge(usize),
    /// Paint the whole screen anew.
    Redraw,
}

/// A key as the screen names it.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    /// What it means in an offline merge, which lives in this process.
    pub(super) offline: &'static str,
    /// Of use only where several merges are shown.
    pub(super) several_only: bool,
}

/// The keys that the screen names, the most important first.
pub(super) const KEYS: [Key; 3] = [
    Key {
        name: "q",
        meaning: "leave (the merge goes on)",
        offline: "stop (the store keeps all)",
        several_only: false,
    },
    Key { name: "?", meaning: "help", offline: "help", several_only: false },
    Key { name: "Tab", meaning: "next merge", offline: "next merge", several_only: true },
];

/// What the operator of a replay asks for beside that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayAction {
    /// Stand, or go on.
    Pause,
    /// The next higher speed.
    Faster,
    /// The next lower speed.
    Slower,
    /// Go by so many seconds, back where they are negative.
    GoBy(i64),
    /// Go to the beginning.
    Begin,
    /// Go to the end.
    End,
}

/// The keys that the screen of a replay names, the most important first.
pub(super) const REPLAY_KEYS: [(&str, &str); 5] =
    [("q", "leave"), ("Space", "pause"), ("← →", "10 s"), ("+ -", "speed"), ("?", "help")];

/// What a key asks of a replay; none for a key that means there what it means everywhere.
pub fn replay_action(key: KeyEvent) -> Option<ReplayAction> {
    if key.kind == KeyEventKind::Release || key.modifiers.contains(KeyModifiers::CONTROL) {
        return None;
    }
    match key.code {
        KeyCode::Char(' ') => Some(ReplayAction::Pause),
        KeyCode::Char('+' | '=') => Some(ReplayAction::Faster),
        KeyCode::Char('-' | '_') => Some(ReplayAction::Slower),
        KeyCode::Right => Some(ReplayAction::GoBy(10)),
        KeyCode::Left => Some(ReplayAction::GoBy(-10)),
        KeyCode::Up | KeyCode::PageDown => Some(ReplayAction::GoBy(60)),
        KeyCode::Down | KeyCode::PageUp => Some(ReplayAction::GoBy(-60)),
        KeyCode::Home => Some(ReplayAction::Begin),
        KeyCode::End => Some(ReplayAction::End),
        _ => None,
    }
}

/// What a key asks for; none for a key that means nothing, or that was let go.
pub fn action(key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Some(Action::Leave),
            KeyCode::Char('l') => Some(Action::Redraw),
            _ => None,
        };
    }
    match key.code {
        KeyCode::Char('q' | 'Q') => Some(Action::Leave),
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Some(Action::Help),
        KeyCode::Esc => Some(Action::CloseHelp),
        KeyCode::Tab | KeyCode::Right => Some(Action::NextMerge),
        KeyCode::BackTab | KeyCode::Left => Some(Action::PreviousMerge),
        KeyCode::Char(digit @ '1'..='9') => Some(Action::ShowMerge(digit as usize - '1' as usize)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_replay_mean_what_the_help_says() {
        let key = |code| replay_action(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(key(KeyCode::Char(' ')), Some(ReplayAction::Pause));
        assert_eq!(key(KeyCode::Left), Some(ReplayAction::GoBy(-10)));
        assert_eq!(key(KeyCode::Up), Some(ReplayAction::GoBy(60)));
        assert_eq!(key(KeyCode::Tab), None, "the next merge");
        assert_eq!(key(KeyCode::Char('q')), None, "leave");
    }

    #[test]
    fn keys_mean_what_the_help_says() {
        let key = |code, modifiers| action(KeyEvent::new(code, modifiers));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Action::Leave));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(key(KeyCode::Char('?'), KeyModifiers::SHIFT), Some(Action::Help));
        assert_eq!(key(KeyCode::Char('1'), KeyModifiers::NONE), Some(Action::ShowMerge(0)));
        assert_eq!(key(KeyCode::Char('9'), KeyModifiers::NONE), Some(Action::ShowMerge(8)));
        assert_eq!(key(KeyCode::Char('0'), KeyModifiers::NONE), None);
        let mut released = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        assert_eq!(action(released), Some(Action::Leave));
        released.kind = KeyEventKind::Release;
        assert_eq!(action(released), None);
    }
}
