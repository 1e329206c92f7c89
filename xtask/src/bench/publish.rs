//! Puts results into the document of the benchmarks.
//!
//! What is between the two marks of a section belongs to its bench, and what is between those of the
//! summary to all; everything else is written by people and is never touched.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::findings::{Claim, Findings};
use super::machine::Stamp;

/// The place of the summary.
const SUMMARY: &str = "summary";
const HEAD: &str = "| what | figure | aim | section |\n|---|---|---|---|\n";

/// Replaces the section of `name` and its lines of the summary; `order` is that of all sections.
pub(super) fn publish(
    document: &Path,
    name: &str,
    order: &[&str],
    (stamp, findings): (&Stamp, &Findings),
) -> Result<()> {
    let cannot = || format!("cannot publish in {}", document.display());
    let text = fs::read_to_string(document).with_context(cannot)?;
    let text = renewed(&text, name, order, (&findings.result(stamp), &findings.claims))
        .with_context(cannot)?;
    fs::write(document, text).with_context(cannot)
}

/// Whether a bench could be published: to be found out before it runs for minutes.
pub(super) fn check(document: &Path, name: &str) -> Result<()> {
    let cannot = || format!("cannot publish in {}", document.display());
    let text = fs::read_to_string(document).with_context(cannot)?;
    renewed(&text, name, &[name], ("", &[])).with_context(cannot).map(drop)
}

fn renewed(
    text: &str,
    name: &str,
    order: &[&str],
    (result, claims): (&str, &[Claim]),
) -> Result<String> {
    let section = format!("[{name}](#{})", anchor(text, name)?);
    let (_, old, _) = split(text, SUMMARY)?;
    let summary = summary(old, order, &section, claims);
    let text = replaced(text, SUMMARY, &summary)?;
    replaced(&text, name, result)
}

/// The text before, between and after the marks of `name`.
fn split<'a>(text: &'a str, name: &str) -> Result<(&'a str, &'a str, &'a str)> {
    let (begin, end) = (format!("<!-- bench {name} -->\n"), format!("<!-- /bench {name} -->\n"));
    if text.matches(&begin).count() != 1 || text.matches(&end).count() != 1 {
        bail!("the marks of {name} are not there, or there more than once");
    }
    let (before, rest) = text.split_once(&begin).context("no first mark")?;
    let (between, after) =
        rest.split_once(&end).with_context(|| format!("the marks of {name} are in no order"))?;
    Ok((before, between, after))
}

fn replaced(text: &str, name: &str, by: &str) -> Result<String> {
    let (before, _, after) = split(text, name)?;
    let by = by.trim();
    Ok(format!("{before}<!-- bench {name} -->\n{by}\n<!-- /bench {name} -->\n{after}"))
}

/// The rows of the others stay; those of this section are replaced.
fn summary(old: &str, order: &[&str], section: &str, claims: &[Claim]) -> String {
    let is_row = |line: &&str| line.ends_with(") |");
    let is_ours = |line: &&str| line.ends_with(&format!("| {section} |"));
    let mut rows: Vec<String> =
        old.lines().filter(is_row).filter(|line| !is_ours(line)).map(str::to_owned).collect();
    rows.extend(claims.iter().map(|claim| {
        format!("| {} | {} | {} | {section} |", claim.what, claim.figure, claim.judgement())
    }));
    let place = |row: &String| {
        let name = row.rsplit_once("| [").and_then(|(_, link)| link.split_once(']'));
        order.iter().position(|known| name.is_some_and(|(name, _)| name == *known))
    };
    // Stable: the rows of one section keep their order. What is not known comes first.
    rows.sort_by_key(place);
    format!("{HEAD}{}", rows.join("\n"))
}

/// Where a link to the section leads: as the usual renderers of Markdown name headings.
fn anchor(text: &str, name: &str) -> Result<String> {
    let heading = text
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .find(|heading| heading.split_once(':').is_some_and(|(first, _)| first == name))
        .with_context(|| format!("no heading `## {name}: …`"))?;
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Ok(kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# Figures\n\n<!-- bench summary -->\nnone\n<!-- /bench summary -->\n\n\
        ## one: What it's, (x)\nprose one\n<!-- bench one -->\nold one\n<!-- /bench one -->\n\
        after one\n## two: y\n<!-- bench two -->\nold two\n<!-- /bench two -->\nend\n";
    const ORDER: [&str; 2] = ["one", "two"];

    fn claims(figure: &str) -> Vec<Claim> {
        vec![Claim::judged("b", "≥ 1", figure, true), Claim::plain("a", format!("{figure} s (x)"))]
    }

    #[test]
    fn a_section_and_its_rows_are_replaced_and_nothing_else() {
        let text = renewed(DOCUMENT, "two", &ORDER, ("new two\n\n", &claims("2"))).unwrap();
        let text = renewed(&text, "one", &ORDER, ("new one", &claims("1"))).unwrap();
        let again = renewed(&text, "one", &ORDER, ("new one", &claims("1"))).unwrap();
        assert_eq!(text, again);
        let summary = format!(
            "{HEAD}\
             | b | 1 | ≥ 1: met | [one](#one-what-its-x) |\n\
             | a | 1 s (x) |  | [one](#one-what-its-x) |\n\
             | b | 2 | ≥ 1: met | [two](#two-y) |\n\
             | a | 2 s (x) |  | [two](#two-y) |\n"
        );
        let expected = DOCUMENT
            .replace("none\n", &summary)
            .replace("old one", "new one")
            .replace("old two", "new two");
        assert_eq!(text, expected);
    }

    #[test]
    fn a_document_without_its_marks_is_not_changed() {
        let result = ("", &[][..]);
        for broken in [
            DOCUMENT.replace("<!-- /bench two -->\n", ""),
            DOCUMENT.replace("end", "<!-- bench two -->\n"),
            DOCUMENT.replace("## two: y", "## two"),
            DOCUMENT.replace("<!-- bench summary -->", ""),
        ] {
            assert!(renewed(&broken, "two", &ORDER, result).is_err(), "{broken}");
        }
    }
}
