//! Whole screens, from models made by hand.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::tabs::{Tab, Tabs};
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

const STATES: [Made; 13] = [
    ("offline", fixture::offline),
    ("offline-limited", fixture::offline_limited),
    ("offline-stopping", fixture::offline_stopping),
    ("offline-failed", fixture::offline_failed),
    ("offline-finished", fixture::offline_finished),
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
fn an_offline_merge_has_its_own_help_and_keys() {
    let state = ViewState { help: true, ..ViewState::default() };
    let backend = screen(80, 24, &fixture::offline(), &state);
    insta::assert_snapshot!("offline-help-80x24", backend.to_string());
    for shown in fixture::offline_all().map(|model| text(100, 30, &model)) {
        assert!(!shown.contains("goes on)"), "it would not:\n{shown}");
        for phase in ["drain", "siblings", "probes", "runs"] {
            assert!(!shown.contains(phase), "{phase} in\n{shown}");
        }
    }
}

/// Three merges of which the first is on screen, one stalls and one has failed.
fn several() -> ViewState {
    let named = |name: &str, model: Model| Tab { name: name.to_owned(), ..Tab::of(&model) };
    let tabs = vec![
        Tab::of(&fixture::merging()),
        named("vg/home", fixture::stalled()),
        named("vg/var", fixture::failed()),
    ];
    ViewState { tabs: Tabs { shown: 0, tabs }, ..ViewState::default() }
}

#[test]
fn several_merges_have_a_row_of_tabs() {
    for (width, height) in [(80, 24), (200, 50), (60, 15)] {
        let shown = screen(width, height, &fixture::merging(), &several()).to_string();
        insta::assert_snapshot!(format!("tabs-{width}x{height}"), shown);
    }
}

#[test]
fn ten_merges_have_a_row_of_tabs() {
    let tabs =
        (0..10).map(|i| Tab { name: format!("vg/volume{i}"), ..Tab::of(&fixture::merging()) });
    let tabs = Tabs { shown: 9, tabs: tabs.collect() };
    let state = ViewState { tabs, ..ViewState::default() };
    for (width, height) in [(80, 24), (200, 50)] {
        let shown = screen(width, height, &fixture::merging(), &state).to_string();
        let row = shown.lines().next().unwrap();
        insta::assert_snapshot!(format!("ten-tabs-{width}"), row);
    }
}

#[test]
fn one_merge_has_no_tabs() {
    let tabs = Tabs { shown: 0, tabs: vec![Tab::of(&fixture::merging())] };
    let state = ViewState { tabs, ..ViewState::default() };
    let shown = screen(80, 24, &fixture::merging(), &state).to_string();
    assert_eq!(shown, text(80, 24, &fixture::merging()));
}

#[test]
fn a_screen_too_small_for_tabs_tells_the_place() {
    let shown = screen(20, 5, &fixture::merging(), &several()).to_string();
    for word in ["1/3 vg/data", "MERGING", "61.4 %"] {
        assert!(shown.contains(word), "{word} in\n{shown}");
    }
}

#[test]
fn a_notice_takes_the_place_of_the_keys() {
    let state = ViewState {
        notice: Some("The merge of vg/other is done.".to_owned()),
        ..ViewState::default()
    };
    let shown = screen(100, 30, &fixture::merging(), &state).to_string();
    assert!(shown.contains("The merge of vg/other is done."), "{shown}");
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
    let [offline, ..] = fixture::offline_all();
    let models = [fixture::nasty(), fixture::empty(), fixture::failed(), offline];
    for help in [false, true] {
        let state = ViewState { help, ..if help { several() } else { ViewState::default() } };
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
fn keys_switch_tabs_and_help() {
    let mut state = several();
    state.apply(Action::PreviousMerge);
    assert_eq!(state.tabs.shown, 2);
    state.apply(Action::NextMerge);
    assert_eq!(state.tabs.shown, 0);
    state.apply(Action::ShowMerge(1));
    assert_eq!(state.tabs.shown, 1);
    state.apply(Action::ShowMerge(8));
    assert_eq!(state.tabs.shown, 1);
    state.apply(Action::Help);
    assert!(state.help);
    state.apply(Action::CloseHelp);
    assert!(!state.help);
}

#[test]
fn names_that_drive_a_terminal_are_written_out_in_every_region() {
    let evil = "e\u{1b}[31m\n\u{9b}2J\u{202e}\u{200b}\u{ef9f}";
    let mut model = fixture::merging();
    model.identity.origin_label = evil.to_owned();
    model.identity.snapshot_label = Some(evil.to_owned());
    model.identity.siblings = vec![evil.to_owned()];
    model.identity.probes.missing = vec![evil.to_owned()];
    for write in &mut model.writes.as_mut().unwrap().listed {
        write.comm = evil.to_owned();
    }
    for finding in &mut model.findings {
        (finding.sentence, finding.advice) = (evil.to_owned(), vec![evil.to_owned()]);
    }
    for stall in &mut model.stalls {
        stall.detail = evil.to_owned();
    }
    for (width, height) in [(200, 50), (80, 24), (60, 15)] {
        let shown = text(width, height, &model);
        let harmless = crate::harmless::printable_lines(&shown);
        assert_eq!(shown, harmless);
    }
    assert!(
        text(200, 50, &model)
            .contains("e\\x1b[31m\\x0a\\xc2\\x9b2J\\xe2\\x80\\xae\\xe2\\x80\\x8b\\x9f")
    );
}
