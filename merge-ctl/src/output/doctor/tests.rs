//! The answer as people and programs get it, of facts that were made up.

use super::*;
use crate::doctor::{examine, tests as facts};
use crate::fold::fold;

const COLUMNS: usize = 80;

/// As a terminal of 80 columns shows it. The version of merge-ctl is not what is looked at.
fn shown(facts: &crate::doctor::Facts) -> String {
    let text = text(&examine(facts));
    let text = fold(&text.replace(env!("CARGO_PKG_VERSION"), "VERSION"), COLUMNS);
    for line in text.lines() {
        assert!(line.chars().count() <= COLUMNS, "{line}");
    }
    text
}

#[test]
fn a_sound_host() {
    insta::assert_snapshot!(shown(&facts::sound()));
}

#[test]
fn without_root() {
    insta::assert_snapshot!(shown(&facts::without_root()));
}

#[test]
fn a_host_with_nothing() {
    insta::assert_snapshot!(shown(&facts::bare()));
}

#[test]
fn a_module_that_is_not_loaded() {
    insta::assert_snapshot!(shown(&facts::not_loaded()));
}

#[test]
fn text_of_others_is_harmless() {
    let mut facts = facts::sound();
    facts.kernel = Some("6.1\u{1b}[2J".to_owned());
    facts.io_uring = Some(Err("\u{1b}]0;x\u{7}".to_owned()));
    let report = examine(&facts);
    assert!(!text(&report).contains(['\u{1b}', '\u{7}']), "{}", text(&report));
    assert!(!json(&report, 0).contains(['\u{1b}', '\u{7}']));
}

#[test]
fn programs_read_codes_and_verdicts() {
    let value: serde_json::Value =
        serde_json::from_str(&json(&examine(&facts::without_root()), 6)).unwrap();
    assert_eq!((&value["schema"], &value["type"]), (&1.into(), &"doctor".into()));
    assert_eq!((&value["ready"], &value["exit_status"]), (&false.into(), &6.into()));
    assert_eq!(value["can_merge"], serde_json::json!({"lvm": false, "devicemapper": false}));
    let checks = value["checks"].as_array().unwrap();
    assert_eq!(checks.len(), Code::ALL.len());
    let privilege = checks.iter().find(|check| check["code"] == "privilege").unwrap();
    assert_eq!(
        (&privilege["section"], &privilege["verdict"], &privilege["way_out"]),
        (&"merging".into(), &"missing".into(), &"Run it as root.".into())
    );
}
