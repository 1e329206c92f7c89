//! What `merge-ctl doctor` found, in words and as JSON.

use serde::Serialize;

use super::json::SCHEMA;
use crate::doctor::{Check, Code, Report, Section, Verdict, Way};
use crate::harmless::{self, printable};
use crate::human;

/// Columns of what stands before the words: the longest verdict and a gap.
const INDENT: usize = 10;

/// For people. Long lines, a few for each check; [`crate::fold`] brings them to a width.
pub fn text(report: &Report) -> String {
    let mut text = head(report) + "\n";
    let mut section = None;
    for group in report.checks.chunk_by(are_alike) {
        let Some(check) = group.first() else { continue };
        if section != Some(check.code.section()) {
            section = Some(check.code.section());
            text.push_str(&format!("\n{}\n", title(check.code.section())));
        }
        let codes: Vec<_> = group.iter().map(|check| check.code.name()).collect();
        let words = printable(&check.words);
        let verdict = check.verdict.name();
        text.push_str(&format!("{verdict:<INDENT$}{words} [{}]\n", codes.join(", ")));
        for (what, words) in [("costs", &check.cost), ("do", &check.way_out)] {
            if !words.is_empty() {
                text.push_str(&format!("{:INDENT$}{what:<7}{}\n", "", printable(words)));
            }
        }
    }
    text
}

/// Whether one paragraph is enough for both.
fn are_alike(one: &Check, next: &Check) -> bool {
    one.code.section() == next.code.section()
        && one.verdict == next.verdict
        && (&one.words, &one.cost, &one.way_out) == (&next.words, &next.cost, &next.way_out)
}

fn head(report: &Report) -> String {
    let kernel = report.kernel.as_deref().map(printable);
    let on = kernel.map(|it| format!(" on Linux {it}")).unwrap_or_default();
    let program = format!("merge-ctl {}{on}", env!("CARGO_PKG_VERSION"));
    let verdict = match (report.is_open(Way::Lvm), report.is_open(Way::DeviceMapper)) {
        (Some(true), Some(true)) => "all that a merge needs is there",
        (Some(true), _) => "logical volumes can be merged, plain device-mapper devices cannot",
        (_, Some(true)) => "plain device-mapper devices can be merged, logical volumes cannot",
        (Some(false), Some(false)) => "nothing can be merged, except images without device-mapper",
        (_, _) => "whether anything can be merged cannot be told",
    };
    let counts: Vec<_> = [Verdict::Missing, Verdict::Degraded, Verdict::Unknown]
        .into_iter()
        .map(|verdict| (report.count(verdict), verdict.name()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{} {name}", human::count(count)))
        .collect();
    let counts =
        if counts.is_empty() { String::new() } else { format!(" ({})", counts.join(", ")) };
    format!("{program}: {verdict}{counts}.")
}

const fn title(section: Section) -> &'static str {
    match section {
        Section::Kernel => "the kernel",
        Section::Merging => "to merge",
        Section::Seeing => "to see inside a merge",
        Section::Besides => "besides",
    }
}

/// For programs: one object without its newline.
pub fn json(report: &Report, exit_status: u8) -> String {
    #[derive(Serialize)]
    struct Object<'a> {
        schema: u32,
        #[serde(rename = "type")]
        kind: &'static str,
        version: &'static str,
        kernel: Option<&'a str>,
        ready: bool,
        can_merge: CanMerge,
        exit_status: u8,
        checks: Vec<Row<'a>>,
    }
    #[derive(Serialize)]
    struct CanMerge {
        lvm: Option<bool>,
        devicemapper: Option<bool>,
    }
    let object = Object {
        schema: SCHEMA,
        kind: "doctor",
        version: env!("CARGO_PKG_VERSION"),
        kernel: report.kernel.as_deref(),
        ready: report.is_ready(),
        can_merge: CanMerge {
            lvm: report.is_open(Way::Lvm),
            devicemapper: report.is_open(Way::DeviceMapper),
        },
        exit_status,
        checks: report.checks.iter().map(Row::from).collect(),
    };
    // No map with keys that are no strings is in it.
    harmless::json(&object).unwrap_or_default()
}

/// A check as JSON has it.
#[derive(Serialize)]
struct Row<'a> {
    code: Code,
    section: Section,
    verdict: Verdict,
    words: &'a str,
    cost: &'a str,
    way_out: &'a str,
}

impl<'a> From<&'a Check> for Row<'a> {
    fn from(check: &'a Check) -> Self {
        let Check { code, verdict, words, cost, way_out, .. } = check;
        Self { code: *code, section: code.section(), verdict: *verdict, words, cost, way_out }
    }
}

#[cfg(test)]
mod tests;
