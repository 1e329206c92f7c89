//! What `start --offline --dry-run` says, as one JSON object for programs. For people the words of each
//! sort of merge are nearer to what they know; the steps are the same.

use serde::Serialize;

use super::json::SCHEMA;
use super::offline_json::Terms;
use crate::harmless;
use crate::sample::OfflineTerms;

/// An offline merge that was not begun.
#[derive(Clone, Debug)]
pub struct DryRun<'a> {
    /// The device-mapper name of the origin; of images, the path.
    pub origin: &'a str,
    /// As its users call it.
    pub origin_label: &'a str,
    /// The snapshot, as its users call it; none where there is only a COW device.
    pub snapshot: Option<&'a str>,
    /// Who has to be asked for the volume: `lvm`, `devicemapper`, or `image` for nobody.
    pub owner: &'static str,
    /// What would be written to, and what would be read and then cleared.
    pub devices: Option<[&'a str; 2]>,
    /// What the command line says of the engine.
    pub terms: OfflineTerms,
    /// What there is to merge, where it can be read.
    pub counted: Option<Counted>,
    /// What would be done, in order.
    pub steps: &'a [String],
    /// What else is worth knowing.
    pub notes: &'a [String],
}

/// What there is to merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Chunks to copy.
    pub exceptions: u64,
    /// Their data.
    pub bytes: u64,
    /// Pieces of the origin that they make; none where memory did not suffice to count them.
    pub pieces: Option<u64>,
    /// Areas of metadata to clear.
    pub areas: u64,
}

#[derive(Serialize)]
struct Object<'a> {
    schema: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    origin: &'a str,
    origin_label: &'a str,
    snapshot: Option<&'a str>,
    owner: &'static str,
    real: Option<&'a str>,
    cow: Option<&'a str>,
    exceptions: Option<u64>,
    total_bytes: Option<u64>,
    extents: Option<u64>,
    areas: Option<u64>,
    offline: Terms,
    steps: &'a [String],
    notes: &'a [String],
}

/// One object without its newline.
///
/// # Errors
/// None in practice: only a map with keys that are no strings could fail.
pub fn json(run: &DryRun<'_>) -> serde_json::Result<String> {
    harmless::json(&Object {
        schema: SCHEMA,
        kind: "dry-run",
        origin: run.origin,
        origin_label: run.origin_label,
        snapshot: run.snapshot,
        owner: run.owner,
        real: run.devices.map(|[real, _]| real),
        cow: run.devices.map(|[_, cow]| cow),
        exceptions: run.counted.map(|counted| counted.exceptions),
        total_bytes: run.counted.map(|counted| counted.bytes),
        extents: run.counted.and_then(|counted| counted.pieces),
        areas: run.counted.map(|counted| counted.areas),
        offline: run.terms.into(),
        steps: run.steps,
        notes: run.notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_null_and_every_field_is_documented() {
        let steps = ["copy\u{1b}".to_owned()];
        let run = DryRun {
            origin: "vg-data",
            origin_label: "vg/data",
            snapshot: Some("vg/snap"),
            owner: "lvm",
            devices: None,
            terms: OfflineTerms { verify: true, requests: 64, ..OfflineTerms::default() },
            counted: Some(Counted { exceptions: 3, bytes: 12288, pieces: None, areas: 1 }),
            steps: &steps,
            notes: &[],
        };
        let text = json(&run).unwrap();
        assert!(!text.contains('\u{1b}'), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["type"], &value["schema"]), (&"dry-run".into(), &1.into()));
        assert_eq!(value["offline"]["verify"], true);
        assert!(value["real"].is_null() && value["extents"].is_null(), "{value}");
        let documented = include_str!("../../../docs/json.md");
        let (_, section) = documented.split_once("## `dry-run`").unwrap();
        for field in value.as_object().unwrap().keys() {
            assert!(section.contains(&format!("`{field}`")), "docs/json.md lacks {field}");
        }
    }
}
