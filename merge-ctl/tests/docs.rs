//! What the documentation says of files and names is there: links, anchors, examples, metrics, pages of causes.
//!
//! That its commands can be typed is tested where the command lines are: `src/documented.rs` here, and in
//! `xtask`.

#[path = "docs/markdown.rs"]
#[expect(dead_code, reason = "the tests of command lines use the rest of it")]
mod markdown;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use markdown::{Page, files_below, pages, root};
use merge_ctl::model::Cause;

/// `a/../b` as `b`.
fn normal(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            Component::CurDir => {}
            other => whole.push(other),
        }
    }
    whole
}

fn is_elsewhere(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        for (line, target) in page.links().iter().filter(|(_, target)| !is_elsewhere(target)) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => page.path.clone(),
                file => normal(&page.path.parent().unwrap_or(Path::new("")).join(file)),
            };
            let there = root().join(&path);
            let has_anchor = || Page::read(&there).anchors().iter().any(|name| name == anchor);
            if !there.exists() || (!anchor.is_empty() && !has_anchor()) {
                broken.push(format!("{}:{line}: {target}", page.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Programs, messages and other files name pages too.
#[test]
fn every_page_that_is_named_elsewhere_is_there() {
    let mut missing = Vec::new();
    for part in ["merge-ctl", "merge-common", "merge-ebpf", "xtask"] {
        for path in files_below(&root().join(part)) {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let named = text.split("docs/").skip(1).filter_map(|rest| {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-_/.".contains(c)));
                rest[..end.unwrap_or(rest.len())].split_once(".md").map(|(page, _)| page)
            });
            // A page that somebody makes for a test, or in a pattern, has no name that people would give one.
            let named = named.filter(|page| !page.is_empty() && page.len() > 1);
            missing.extend(
                named
                    .filter(|page| !root().join(format!("docs/{page}.md")).exists())
                    .map(|page| format!("{}: docs/{page}.md", path.display())),
            );
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Whoever comes to the documentation finds every page of it.
#[test]
fn every_page_can_be_reached_from_the_index() {
    let mut reached = BTreeSet::from([PathBuf::from("docs/README.md")]);
    let mut next: Vec<PathBuf> = reached.iter().cloned().collect();
    while let Some(path) = next.pop() {
        let page = Page::read(&root().join(&path));
        for (_, target) in page.links() {
            let file = target.split('#').next().unwrap_or_default();
            let path = normal(&path.parent().unwrap_or(Path::new("")).join(file));
            let is_page = path.starts_with("docs") && path.extension().is_some_and(|e| e == "md");
            if is_page && reached.insert(path.clone()) {
                next.push(path);
            }
        }
    }
    let pages = pages().into_iter().map(|page| page.path).filter(|path| path.starts_with("docs"));
    let lost: Vec<PathBuf> = pages.filter(|path| !reached.contains(path)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// Several in one block have an empty line between them.
#[test]
fn every_example_of_json_is_json() {
    let mut examples = 0;
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.language == "json") {
            for line in block.text.split("\n\n").filter(|text| !text.trim().is_empty()) {
                let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
                let place = format!("{}:{}", page.path.display(), block.line);
                assert!(parsed.is_ok(), "{place}: {parsed:?}\n{line}");
                examples += 1;
            }
        }
    }
    assert!(examples > 0, "no page has an example");
}

/// A test beside the list of families sees to it that the page of metrics has all of them, and no other.
#[test]
fn every_metric_that_is_named_exists() {
    let list = Page::read(&root().join("docs/metrics.md"));
    let rows = list.text().lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let families: BTreeSet<&str> = rows.filter(|name| name.starts_with("merge_ctl_")).collect();
    assert!(families.len() > 20, "{families:?}");
    let endings = ["", "_total", "_bucket", "_sum", "_count", "_info"];
    let mut wrong = Vec::new();
    for page in pages() {
        for name in page.text().split(|c: char| !(c.is_ascii_lowercase() || c == '_')) {
            // A crate of ours is called merge_ctl too, and a pattern may stop in the middle of a name.
            let is_metric = name.starts_with("merge_ctl_") && !name.ends_with('_');
            let is_known = |ending: &&str| {
                name.strip_suffix(*ending).is_some_and(|name| families.contains(name))
            };
            if is_metric && !endings.iter().any(is_known) {
                wrong.push(format!("{}: {name}", page.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `explain` names the page.
#[test]
fn every_cause_has_its_page() {
    let index = Page::read(&root().join("docs/operations/README.md"));
    let linked: BTreeSet<String> = index.links().into_iter().map(|(_, target)| target).collect();
    for cause in Cause::ALL {
        let path = root().join(cause.page());
        assert!(path.exists(), "{path:?} is not there");
        let page = Page::read(&path);
        assert!(page.text().contains(&format!("`{}`", cause.code())), "{path:?} lacks the code");
        let page = cause.page();
        let name = page.trim_start_matches("docs/operations/");
        assert!(linked.contains(name), "docs/operations/README.md does not link {name}");
    }
}
