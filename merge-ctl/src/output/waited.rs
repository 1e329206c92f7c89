//! What `merge-ctl wait` says at its end: a line for people, or one JSON object.
//!
//! Its fields are documented in `docs/json.md`. A volume that is not merging has no model: what is
//! not known then is `null`.

use serde::Serialize;

use super::json::{Failed, SCHEMA, StallBody};
use crate::hooks;
use crate::human::printable;
use crate::model::{Cause, Model};
use crate::sample::Owner;

/// How the waiting ended.
#[derive(Clone, Debug)]
pub struct Waited<'a> {
    /// The device-mapper name of the origin.
    pub origin: &'a str,
    /// As its users call it.
    pub origin_label: &'a str,
    /// The snapshot, as its users call it, where one is merged or to be merged and known.
    pub snapshot: Option<&'a str>,
    /// Who has to finish the merge; none where there is no merge.
    pub owner: Option<Owner>,
    /// The state's word.
    pub state: &'a str,
    /// The exit status.
    pub exit: u8,
    /// When, in seconds since 1970, UTC.
    pub unix_s: u64,
    /// How long it was waited.
    pub waited_ns: u64,
    /// What is the matter.
    pub sentence: &'a str,
    /// What to do; empty where there is nothing.
    pub next: &'a str,
    /// The last that was seen of the merge.
    pub model: Option<&'a Model>,
}

impl Waited<'_> {
    /// A line for people.
    pub fn line(&self) -> String {
        let space = if self.next.is_empty() { "" } else { " " };
        let words = format!("{}: {}{space}{}", self.origin_label, self.sentence, self.next);
        printable(&words)
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        let stall = |model| Some(StallBody::new(hooks::lasting(model)?, model.now_ns));
        let object = Object {
            schema: SCHEMA,
            kind: "wait",
            origin: self.origin,
            origin_label: self.origin_label,
            snapshot: self.snapshot,
            owner: self.owner,
            state: self.state,
            exit: self.exit,
            unix_s: self.unix_s,
            waited_ns: self.waited_ns,
            initial_bytes: self.model.map(|model| model.progress.initial_bytes),
            left_bytes: self.model.map(|model| model.progress.left_bytes),
            cause: self.model.and_then(Model::cause).map(Cause::code),
            stall: self.model.and_then(stall),
            failed: self.model.and_then(Failed::of),
            detail: self.sentence,
            next: Some(self.next).filter(|next| !next.is_empty()),
        };
        // Only a map with keys that are no strings, or a failing Serialize, could fail.
        serde_json::to_string(&object).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Object<'a> {
    schema: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    origin: &'a str,
    origin_label: &'a str,
    snapshot: Option<&'a str>,
    owner: Option<Owner>,
    state: &'a str,
    exit: u8,
    unix_s: u64,
    waited_ns: u64,
    initial_bytes: Option<u64>,
    left_bytes: Option<u64>,
    cause: Option<&'static str>,
    stall: Option<StallBody<'a>>,
    failed: Option<Failed<'a>>,
    detail: &'a str,
    next: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;

    fn waited(model: Option<&Model>) -> Waited<'_> {
        Waited {
            origin: "vg-data",
            origin_label: "vg/da\u{1b}ta",
            snapshot: None,
            owner: Some(Owner::Lvm),
            state: model.map_or("none", |model| model.state.name()),
            exit: 4,
            unix_s: 1,
            waited_ns: 2,
            sentence: "It stands still.",
            next: "Look.",
            model,
        }
    }

    fn object(waited: &Waited<'_>) -> serde_json::Value {
        serde_json::from_str(&waited.json()).unwrap()
    }

    #[test]
    fn a_stall_is_in_it_and_what_is_not_known_is_null() {
        let model = fixture::stalled();
        let value = object(&waited(Some(&model)));
        assert_eq!((&value["type"], &value["state"]), (&"wait".into(), &"stalled".into()));
        assert!(value["stall"]["detail"].is_string() && value["failed"].is_null(), "{value}");
        let value = object(&waited(None));
        assert!(value["left_bytes"].is_null() && value["stall"].is_null(), "{value}");
    }

    #[test]
    fn a_name_is_harmless_on_a_terminal() {
        assert_eq!(waited(None).line(), "vg/da\\x1bta: It stands still. Look.");
    }

    #[test]
    fn every_field_is_documented() {
        let text = include_str!("../../../docs/json.md");
        for field in object(&waited(None)).as_object().unwrap().keys() {
            assert!(text.contains(&format!("`{field}`")), "docs/json.md lacks {field}");
        }
    }
}
