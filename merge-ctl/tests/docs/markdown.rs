//! Just enough Markdown and shell to hold the documentation against the code: pages, headings, links,
//! code blocks, and the commands in them.
//!
//! Three test programs read pages with it, and none uses all of it. It refuses what it does not understand
//! nowhere: what it cannot take apart is no link and no command.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One page of the documentation.
pub(crate) struct Page {
    /// Where it lies, from the top of the repository.
    pub(crate) path: PathBuf,
    text: String,
}

/// A fenced block of code.
pub(crate) struct Block {
    /// What stands behind its fence: `sh`, `json`, or nothing.
    pub(crate) language: String,
    /// The line of its fence, from 1.
    pub(crate) line: usize,
    /// What is in it.
    pub(crate) text: String,
}

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Path::to_owned).unwrap_or_default()
}

/// All pages that people read: at the top of the repository, and below `docs`.
pub(crate) fn pages() -> Vec<Page> {
    let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name));
    let files = top.into_iter().chain(files_below(&root().join("docs")));
    let markdown = files.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    markdown.map(|path| Page::read(&path)).collect()
}

/// All files below a directory, sorted.
pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    let mut paths: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    let below = |path: PathBuf| if path.is_dir() { files_below(&path) } else { vec![path] };
    paths.into_iter().flat_map(below).collect()
}

impl Page {
    /// Reads a page.
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let path = path.strip_prefix(root()).unwrap_or(path).to_owned();
        Self { path, text }
    }

    /// The whole of it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Its lines, numbered from 1, with the block that each is in: `None` in prose.
    fn lines(&self) -> impl Iterator<Item = (usize, Option<&str>, &str)> {
        let mut fence: Option<(&str, &str)> = None;
        (1..).zip(self.text.lines()).map(move |(number, line)| {
            let trimmed = line.trim_start();
            let ticks = &trimmed[..trimmed.len() - trimmed.trim_start_matches('`').len()];
            match fence {
                Some((open, language)) if ticks.len() >= open.len() && trimmed == ticks => {
                    fence = None;
                    (number, Some(language), "")
                }
                Some((_, language)) => (number, Some(language), line),
                None if ticks.len() >= 3 => {
                    let language = trimmed[ticks.len()..].trim();
                    fence = Some((ticks, language));
                    (number, Some(language), "")
                }
                None => (number, None, line),
            }
        })
    }

    /// Its blocks of code.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut inside = false;
        for (number, language, line) in self.lines() {
            let Some(language) = language else {
                inside = false;
                continue;
            };
            match blocks.last_mut().filter(|_| inside) {
                Some(block) => block.text += &format!("{line}\n"),
                None => {
                    let (language, text) = (language.to_owned(), String::new());
                    blocks.push(Block { language, line: number, text });
                }
            }
            inside = true;
        }
        blocks
    }

    /// What stands between backticks in its prose, with the lines.
    pub(crate) fn inline_code(&self) -> Vec<(usize, String)> {
        let prose = self.lines().filter(|(_, block, _)| block.is_none());
        let code = |line: &str| line.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        prose
            .flat_map(|(number, _, line)| {
                let spans: Vec<String> = code(line);
                spans.into_iter().map(move |span| (number, span))
            })
            .collect()
    }

    /// Where its links and pictures lead, with the lines.
    pub(crate) fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, block, line) in self.lines() {
            if block.is_some() {
                continue;
            }
            // What is code is no link.
            let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
            for (opens, closes) in
                [("](", ')'), ("src=\"", '"'), ("srcset=\"", '"'), ("href=\"", '"')]
            {
                let targets = prose.split(opens).skip(1).filter_map(|rest| rest.split_once(closes));
                links.extend(targets.map(|(target, _)| (number, target.to_owned())));
            }
        }
        links
    }

    /// The anchors of its headings, as GitHub makes them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let prose = self.lines().filter(|(_, block, _)| block.is_none());
        let headings = prose.filter_map(|(_, _, line)| {
            let words = line.trim_start_matches('#');
            (words.len() < line.len()).then(|| words.strip_prefix(' ')).flatten()
        });
        headings
            .map(|heading| {
                let anchor = anchor(heading);
                let times = seen.entry(anchor.clone()).or_default();
                *times += 1;
                if *times == 1 { anchor } else { format!("{anchor}-{}", *times - 1) }
            })
            .collect()
    }
}

fn anchor(heading: &str) -> String {
    let letters = heading.trim().chars().flat_map(char::to_lowercase);
    letters
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// A command that somebody may type.
pub(crate) struct Example {
    /// The page and the line.
    pub(crate) place: String,
    /// The command, in words.
    pub(crate) words: Vec<String>,
    /// Whether it stands in a block, to be typed as it is, or is only mentioned.
    pub(crate) whole: bool,
}

/// Every command of all pages that begins with these words.
pub(crate) fn examples(program: &[&str]) -> Vec<Example> {
    let mut found = Vec::new();
    for page in pages() {
        let mut add = |line: usize, text: &str, whole: bool| {
            let place = format!("{}:{line}", page.path.display());
            let commands =
                commands(text).into_iter().filter(|words| words.starts_with_all(program));
            found.extend(commands.map(|words| Example { place: place.clone(), words, whole }));
        };
        for block in page.blocks().iter().filter(|block| block.language == "sh") {
            // A line that ends with a backslash goes on in the next.
            let text = block.text.replace("\\\n", " ");
            (1..).zip(text.lines()).for_each(|(n, line)| add(block.line + n, line, true));
        }
        for (line, span) in page.inline_code() {
            add(line, &span, false);
        }
    }
    found
}

trait StartsWithAll {
    fn starts_with_all(&self, program: &[&str]) -> bool;
}

impl StartsWithAll for Vec<String> {
    fn starts_with_all(&self, program: &[&str]) -> bool {
        self.len() >= program.len() && self.iter().zip(program).all(|(word, name)| word == name)
    }
}

/// The simple commands of a line of shell, in words: without comments, quotes, assignments before a command,
/// and what leads to it (`sudo`).
pub(crate) fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    for word in words(line) {
        let last = commands.last_mut().expect("there is always one");
        match word.as_str() {
            "&&" | "||" | "|" | ";" | "&" => commands.push(Vec::new()),
            "sudo" | "then" | "do" | "if" | "exec" if last.is_empty() => {}
            _ if last.is_empty() && is_assignment(&word) => {}
            _ => last.push(word),
        }
    }
    commands.retain(|words| !words.is_empty());
    commands
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        let word = words.last_mut().expect("there is always one");
        match (quote, c) {
            (Some(mark), _) if c == mark => quote = None,
            (Some(_), _) => word.push(c),
            (None, '\'' | '"') => quote = Some(c),
            (None, '#') if word.is_empty() => break,
            (None, ' ' | '\t') => words.push(String::new()),
            (None, ';') => words.extend([";".to_owned(), String::new()]),
            (None, _) => word.push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
