//! Whole screens, from models made by hand.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::output::fixture;

fn screen(width: u16, height: u16, model: &Model, state: &ViewState) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, state)).unwrap();
    terminal.backend().clone()
}

fn text(width: u16, height: u16, model: &Model) -> String {
    screen(width, height, model, &ViewState::default()).to_string()
}

type Made = (&'static str, fn() -> Model);

const STATES: [Made; 8] = [
    ("merging", fixture::merging),
    ("stalled", fixture::stalled),
    ("announced", fixture::announced),
    ("failed", fixture::failed),
    ("done", fixture::done),
    ("finished", fixture::finished),
    ("no-probes", fixture::no_probes),
    ("block-only", fixture::block_only),
];

#[test]
fn whole_screens() {
    for (name, model) in STATES {
        for (width, height) in [(80, 24), (200, 50), (60, 15)] {
            insta::assert_snapshot!(
                format!("{name}-{width}x{height}"),
                text(width, height, &model())
            );
        }
    }
}

#[test]
fn other_screens() {
    insta::assert_snapshot!("merging-20x5", text(20, 5, &fixture::merging()));
    insta::assert_snapshot!("merging-76x20", text(76, 20, &fixture::merging()));
    insta::assert_snapshot!("merging-100x30", text(100, 30, &fixture::merging()));
    insta::assert_snapshot!("no-module-btf-80x24", text(80, 24, &fixture::no_module_btf()));
    insta::assert_snapshot!("nothing-yet-80x24", text(80, 24, &fixture::empty()));
}

#[test]
fn without_colours_no_cell_has_one() {
    let state = ViewState { theme: Theme::plain(), ..ViewState::default() };
    for (_, model) in STATES {
        for (width, height) in [(80, 24), (200, 50), (60, 15)] {
            let backend = screen(width, height, &model(), &state);
            for cell in backend.buffer().content() {
                let colours = (cell.fg, cell.bg);
                assert_eq!(colours, (ratatui::style::Color::Reset, ratatui::style::Color::Reset));
            }
        }
    }
    let coloured = screen(80, 24, &fixture::merging(), &ViewState::default());
    let default = ratatui::style::Color::Reset;
    assert!(
        coloured.buffer().content().iter().any(|cell| cell.bg != default),
        "or this proves little"
    );
    let backend = screen(80, 24, &fixture::merging(), &state);
    insta::assert_snapshot!("merging-no-colour-80x24", backend.to_string());
}

#[test]
fn the_help_lies_over_the_screen() {
    let state = ViewState { help: true, ..ViewState::default() };
    let backend = screen(80, 24, &fixture::merging(), &state);
    insta::assert_snapshot!("help-80x24", backend.to_string());
}

#[test]
fn a_notice_and_several_merges_are_shown() {
    let state = ViewState {
        notice: Some("The merge of vg/other is done.".to_owned()),
        merges: Merges { index: 1, count: 3 },
        ..ViewState::default()
    };
    let shown = screen(100, 30, &fixture::merging(), &state).to_string();
    assert!(
        shown.contains("The merge of vg/other is done.") && shown.contains("2 of 3"),
        "{shown}"
    );
}

#[test]
fn the_smallest_useful_screen_has_name_state_and_percent() {
    let shown = text(20, 5, &fixture::merging());
    for word in ["vg/data", "MERGING", "61.4 %"] {
        assert!(shown.contains(word), "{word} in\n{shown}");
    }
}

#[test]
fn no_size_and_no_value_panics() {
    let models = [fixture::nasty(), fixture::empty(), fixture::failed()];
    for help in [false, true] {
        let state = ViewState { help, ..ViewState::default() };
        for width in (1..20).chain((20..=220).step_by(9)) {
            for height in (1..20).chain((20..=60).step_by(5)) {
                for model in &models {
                    screen(width, height, model, &state);
                }
            }
        }
    }
}

#[test]
fn a_name_with_control_characters_shows_none() {
    let shown = text(200, 50, &fixture::nasty());
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'));
}

#[test]
fn the_view_goes_round_the_merges() {
    let mut state = ViewState { merges: Merges { index: 2, count: 3 }, ..ViewState::default() };
    state.apply(Action::NextMerge);
    assert_eq!(state.merges.index, 0);
    state.apply(Action::PreviousMerge);
    assert_eq!(state.merges.index, 2);
    state.apply(Action::Help);
    assert!(state.help);
    state.apply(Action::CloseHelp);
    assert!(!state.help);
    state.merges.count = 0;
    state.apply(Action::NextMerge);
    assert_eq!(state.merges.index, 0);
}

#[test]
fn the_chooser_lists_the_merges() {
    let rows = ["vg/data", "vg/home"].map(|name| chooser::ChooserRow {
        name: name.to_owned(),
        snapshot: Some("vg/snap".to_owned()),
        state: crate::model::State::Merging,
        left_bytes: Some(5 << 30),
    });
    let chooser = chooser::Chooser::new(rows.into());
    for (width, height) in [(1, 1), (20, 3), (70, 8)] {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| chooser.draw(frame, &Theme::coloured())).unwrap();
        if width == 70 {
            insta::assert_snapshot!("chooser-70x8", terminal.backend().to_string());
        }
    }
}
