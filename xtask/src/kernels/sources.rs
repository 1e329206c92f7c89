//! Where this machine gets Debian from: the mirror that its own apt is configured with.
//!
//! Reads both forms of apt's source lists (one line, and paragraphs). It names no mirror itself:
//! a machine behind a proxy or on a local mirror keeps using that.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// One configured source of binary packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) uri: String,
    pub(super) suite: String,
    /// What its `Signed-By` says, verbatim: a path, or a key over several lines.
    pub(super) signed_by: Option<String>,
}

/// The suites that a Debian mirror itself may be configured with.
const DEBIAN: [&str; 8] =
    ["bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable"];

/// The sources to try for `suite`: the archive itself, then its security archive.
pub(super) fn candidates(suite: &str) -> Result<Vec<Source>> {
    let all = configured();
    let rename = |source: &Source, suite: String| Source { suite, ..source.clone() };
    let main = all.iter().find(|source| DEBIAN.contains(&source.suite.as_str()));
    let main = main.context(
        "no source of this machine's apt is a Debian mirror: give --kernel-image and --modules",
    )?;
    let security = all.iter().find(|source| source.suite.ends_with("-security"));
    let mut candidates = vec![rename(main, suite.to_owned())];
    candidates.extend(security.map(|source| rename(source, format!("{suite}-security"))));
    Ok(candidates)
}

fn configured() -> Vec<Source> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let mut parts: Vec<_> = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    parts.sort();
    files.append(&mut parts);
    files.iter().flat_map(|file| read(file)).collect()
}

fn read(file: &Path) -> Vec<Source> {
    let Ok(text) = fs::read_to_string(file) else { return Vec::new() };
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("list") => text.lines().filter_map(one_line).collect(),
        Some("sources") => paragraphs(&text),
        _ => Vec::new(),
    }
}

/// `deb [signed-by=KEY arch=amd64] URI SUITE COMPONENT…`
fn one_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb")?;
    let rest = rest.starts_with([' ', '\t']).then(|| rest.trim_start())?;
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    words.any(|component| component == "main").then(|| Source {
        uri: uri.to_owned(),
        suite: suite.to_owned(),
        signed_by: signed_by.map(|keys| keys.replace(',', " ")),
    })
}

fn paragraphs(text: &str) -> Vec<Source> {
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).flat_map(paragraph).collect()
}

fn paragraph(lines: &[&str]) -> Vec<Source> {
    let words = |name: &str| field(lines, name).unwrap_or_default();
    let has = |name: &str, word: &str| words(name).split_whitespace().any(|w| w == word);
    let off = has("Enabled", "no") || has("Enabled", "false");
    if off || !has("Types", "deb") || !has("Components", "main") {
        return Vec::new();
    }
    let signed_by = field(lines, "Signed-By");
    let (uris, suites) = (words("URIs"), words("Suites"));
    let Some(uri) = uris.split_whitespace().next() else { return Vec::new() };
    let source = |suite: &str| Source {
        uri: uri.to_owned(),
        suite: suite.to_owned(),
        signed_by: signed_by.clone(),
    };
    suites.split_whitespace().map(source).collect()
}

/// A field's value with its continuation lines, which begin with a space.
fn field(lines: &[&str], name: &str) -> Option<String> {
    let mut lines = lines.iter().skip_while(|line| {
        line.split_once(':').is_none_or(|(field, _)| !field.eq_ignore_ascii_case(name))
    });
    let mut value = lines.next()?.split_once(':')?.1.trim().to_owned();
    for line in lines.take_while(|line| line.starts_with([' ', '\t'])) {
        value.push('\n');
        value.push_str(line);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_options() {
        let line = "deb [arch=amd64 signed-by=/k/a.gpg] http://mirror.test/debian bookworm main";
        let expected = Source {
            uri: "http://mirror.test/debian".into(),
            suite: "bookworm".into(),
            signed_by: Some("/k/a.gpg".into()),
        };
        assert_eq!(one_line(line), Some(expected));
        assert_eq!(one_line("# deb http://mirror.test/debian bookworm main"), None);
        assert_eq!(one_line("deb-src http://mirror.test/debian bookworm main"), None);
    }

    #[test]
    fn paragraphs_with_comments_several_suites_and_a_key() {
        let text = "Types: deb deb-src\n# old\nURIs: http://mirror.test/debian\nSuites: sid \
                    sid-extra\nComponents: main\nSigned-By:\n -----BEGIN\n .\n abc\n\nTypes: \
                    deb\nEnabled: no\nURIs: http://x.test\nSuites: sid\nComponents: main\n";
        let sources = paragraphs(text);
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[1].suite, "sid-extra");
        assert_eq!(sources[0].signed_by.as_deref(), Some("\n -----BEGIN\n .\n abc"));
    }
}
