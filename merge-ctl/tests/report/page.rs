//! Takes a page apart, as far as the tests want it, and finds what is wrong with it.

use std::collections::BTreeSet;

/// A tag: its name, `/` before it where it ends an element, and what stands behind the name.
fn tags(html: &str) -> Vec<(&str, &str)> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = rest.find('>').expect("a tag that does not end");
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        let (name, attributes) = tag.split_once([' ', '\n']).unwrap_or((tag, ""));
        tags.push((name, attributes));
        // No element in the style.
        if name == "style" {
            rest = &rest[rest.find("</style").expect("a style that does not end")..];
        }
    }
    tags
}

/// What an attribute says.
fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let begins = format!("{name}=\"");
    let at = attributes.find(&begins)? + begins.len();
    attributes[at..].split('"').next()
}

/// Elements that have no end.
const VOID: [&str; 5] = ["!DOCTYPE", "meta", "link", "br", "img"];

/// Checks that each element ends where it must, that no two have the same name, and that each picture has
/// a title, a description and a table. Gives how many figures there are.
pub(crate) fn check(html: &str) -> usize {
    let mut open: Vec<&str> = Vec::new();
    let mut ids = BTreeSet::new();
    let mut wanted = BTreeSet::new();
    let mut figure: Option<Vec<&str>> = None;
    let mut figures = 0;
    for (name, attributes) in tags(html) {
        if let Some(ended) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(ended), "within {open:?}");
            if ended == "figure" {
                let inside = figure.take().unwrap();
                let count = |what: &str| inside.iter().filter(|tag| **tag == what).count();
                assert_eq!((count("svg"), count("title"), count("desc")), (2, 2, 2));
                assert_eq!((count("table"), count("caption"), count("figcaption")), (1, 1, 1));
                assert!(count("tr") > 1, "an empty table");
                figures += 1;
            }
            continue;
        }
        if let Some(id) = attribute(attributes, "id") {
            assert!(ids.insert(id), "{id} twice");
        }
        wanted.extend(
            attribute(attributes, "aria-labelledby").into_iter().flat_map(str::split_whitespace),
        );
        if name == "figure" {
            figure = Some(Vec::new());
        }
        if let Some(inside) = &mut figure {
            inside.push(name);
        }
        if name == "svg" {
            assert_eq!(attribute(attributes, "role"), Some("img"));
        }
        if !VOID.contains(&name) && !attributes.ends_with('/') && !name.ends_with('/') {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
    assert!(wanted.is_subset(&ids), "{wanted:?}");
    figures
}

/// Checks that nothing in it could lead to a request, or run.
pub(crate) fn check_alone(html: &str) {
    let mut tags = tags(html).into_iter();
    assert!(tags.all(|(name, attributes)| {
        let is_icon = name == "link" && attributes.contains("href=\"data:,\"");
        !matches!(name, "script" | "iframe" | "img" | "image" | "use" | "object" | "embed" | "base")
            && (is_icon
                || !["src=", "href=", "srcset=", "style="].iter().any(|it| attributes.contains(it)))
            && !attributes.contains(" on")
    }));
    for odd in ["http:", "https:", "//", "@import", "url(", "javascript:"] {
        assert!(!html.contains(odd), "{odd}");
    }
    assert!(html.contains("default-src 'none'"));
}
