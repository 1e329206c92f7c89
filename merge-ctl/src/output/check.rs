//! What preflight found, in words and as JSON.

use serde::Serialize;

use crate::harmless;
use crate::human;
use crate::merge::preflight::{Finding, Severity};
use crate::output::json::SCHEMA;
use crate::sample::Owner;

/// Columns before the words.
const INDENT: usize = 6;

/// All that is said of one snapshot.
#[derive(Clone, Debug)]
pub struct Checked<'a> {
    /// The snapshot, as it was named.
    pub snapshot: &'a str,
    /// Its origin, as people call it, where one is known.
    pub origin: Option<&'a str>,
    /// Who would merge, where that is known.
    pub owner: Option<Owner>,
    /// How much would be copied back, where that is known.
    pub to_merge_bytes: Option<u64>,
    /// The findings, the worst first.
    pub findings: &'a [Finding],
    /// What merge-ctl ends with.
    pub exit_status: u8,
}

impl Checked<'_> {
    fn count(&self, severity: Severity) -> u64 {
        self.findings.iter().filter(|finding| finding.severity == severity).count() as u64
    }
}

/// For people. Several long lines, the last of them with its newline.
pub fn text(checked: &Checked<'_>) -> String {
    let snapshot = harmless::printable(checked.snapshot);
    let of = checked.origin.map(|origin| format!(" into {}", harmless::printable(origin)));
    let what = format!("{snapshot}{}", of.unwrap_or_default());
    let warnings = human::counted(checked.count(Severity::Warn), "warning");
    let head = match checked.count(Severity::Stop) {
        0 if checked.count(Severity::Warn) == 0 => {
            format!("{what}: nothing stands against the merge.")
        }
        0 => format!("{what}: nothing stops the merge; {warnings}."),
        1 => format!("{what}: the merge would not begin, one thing is in the way."),
        stops => format!(
            "{what}: the merge would not begin, {} things are in the way.",
            human::count(stops)
        ),
    };
    let mut text = head + "\n";
    for finding in checked.findings {
        let (severity, code) = (finding.severity.name(), finding.code.name());
        let words = harmless::printable(&finding.words);
        text.push_str(&format!("{severity:<INDENT$}{words} [{code}]\n"));
        if !finding.way_out.is_empty() {
            let way_out = harmless::printable(&finding.way_out);
            text.push_str(&format!("{:INDENT$}{way_out}\n", ""));
        }
    }
    text
}

/// For programs: one object without its newline.
pub fn json(checked: &Checked<'_>) -> String {
    #[derive(Serialize)]
    struct Object<'a> {
        schema: u32,
        #[serde(rename = "type")]
        kind: &'static str,
        snapshot: &'a str,
        origin: Option<&'a str>,
        owner: Option<Owner>,
        to_merge_bytes: Option<u64>,
        ready: bool,
        exit_status: u8,
        findings: &'a [Finding],
    }
    let object = Object {
        schema: SCHEMA,
        kind: "check",
        snapshot: checked.snapshot,
        origin: checked.origin,
        owner: checked.owner,
        to_merge_bytes: checked.to_merge_bytes,
        ready: checked.count(Severity::Stop) == 0,
        exit_status: checked.exit_status,
        findings: checked.findings,
    };
    // No map with keys that are no strings is in it.
    harmless::json(&object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::preflight::Code;

    fn checked(findings: &[Finding]) -> Checked<'_> {
        Checked {
            snapshot: "vg/snap",
            origin: Some("vg/data"),
            owner: Some(Owner::Lvm),
            to_merge_bytes: Some(4096),
            findings,
            exit_status: 8,
        }
    }

    #[test]
    fn people_read_the_worst_first_and_the_way_out() {
        let findings = [
            Finding::stop(
                Code::SnapshotInUse,
                "The snapshot vg/snap is in use: bash[12].",
                "Stop it.",
            ),
            Finding::warn(Code::NearlyFull, "word ".repeat(30), ""),
            Finding::note(Code::Fill, "It is full of \u{1b}[31m."),
        ];
        let text = text(&checked(&findings));
        let begin = "vg/snap into vg/data: the merge would not begin, one thing is in the way.\n\
                     stop  The snapshot vg/snap is in use: bash[12]. [snapshot-in-use]\n      Stop it.\n\
                     warn  word";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.ends_with("note  It is full of \\x1b[31m. [fill]\n"), "{text}");
        let none = super::text(&checked(&[]));
        assert_eq!(none, "vg/snap into vg/data: nothing stands against the merge.\n");
    }

    #[test]
    fn programs_read_codes() {
        let findings = [Finding::stop(Code::SnapshotInUse, "x", "y").about("vg/snap")];
        let value: serde_json::Value = serde_json::from_str(&json(&checked(&findings))).unwrap();
        assert_eq!(value["type"], "check");
        assert_eq!((&value["ready"], &value["exit_status"]), (&false.into(), &8.into()));
        assert_eq!(value["owner"], "lvm");
        let finding = &value["findings"][0];
        assert_eq!(
            (&finding["severity"], &finding["code"]),
            (&"stop".into(), &"snapshot-in-use".into())
        );
        assert_eq!((&finding["device"], &finding["way_out"]), (&"vg/snap".into(), &"y".into()));
    }
}
