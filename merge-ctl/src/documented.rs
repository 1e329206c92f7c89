//! What README and docs say of the command line is so: every command in them is read by the same parser, and
//! the exit statuses are those of the list.

#[path = "../tests/docs/markdown.rs"]
#[expect(dead_code, reason = "the tests of links use the rest of it")]
mod markdown;

use std::collections::BTreeSet;

use clap::Parser as _;
use clap::error::ErrorKind;

use super::Cli;
use crate::exit::Exit;
use markdown::{Example, Page, examples, root};

/// The words as they would be typed: hooks of others are not here to be found, and what stands for more
/// words is left out.
fn typed(words: &[String]) -> Vec<String> {
    let mut typed: Vec<String> = Vec::new();
    for word in words.iter().filter(|word| *word != "…") {
        let is_hook = typed.last().is_some_and(|before| before.starts_with("--on-"));
        typed.push(if is_hook { "true".to_owned() } else { word.clone() });
    }
    typed
}

/// What is wrong with an example, or nothing.
fn trouble(example: &Example) -> Option<String> {
    let error = Cli::try_parse_from(typed(&example.words)).err()?;
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    // Prose names a command without all that it needs: `start --offline`.
    let is_part = matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::MissingSubcommand
    );
    (!is_help && (example.whole || !is_part))
        .then(|| format!("{}: {}\n{error}", example.place, example.words.join(" ")))
}

#[test]
fn every_command_in_the_documentation_can_be_typed() {
    let examples = examples(&["merge-ctl"]);
    let whole = examples.iter().filter(|example| example.whole).count();
    assert!(whole > 60, "only {whole} commands were found");
    let wrong: Vec<String> = examples.iter().filter_map(trouble).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_example_that_cannot_be_typed_is_found() {
    let example = |text: &str, whole| {
        let words = markdown::commands(text).remove(0);
        Example { place: "here".to_owned(), words, whole }
    };
    for (text, whole, is_wrong) in [
        ("merge-ctl start vg/snap --on-done 'page \"all\"' # and wait", true, false),
        ("merge-ctl start", true, true),
        ("merge-ctl start", false, false),
        ("sudo LC_ALL=C merge-ctl start --softly vg/snap", false, true),
        ("merge-ctl begin vg/snap", false, true),
        ("merge-ctl throttle vg/data 300%", false, true),
    ] {
        assert_eq!(trouble(&example(text, whole)).is_some(), is_wrong, "{text}");
    }
}

/// The page has each exit status, each with its variant's documentation as the heading.
#[test]
fn every_exit_status_is_documented() {
    const ALL: [Exit; 9] = [
        Exit::Done,
        Exit::Error,
        Exit::Usage,
        Exit::StillMerging,
        Exit::Stalled,
        Exit::Failed,
        Exit::Missing,
        Exit::Timeout,
        Exit::Refused,
    ];
    let page = Page::read(&root().join("docs/exit-status.md"));
    let rows = page.text().lines().filter_map(|line| line.strip_prefix("## ")?.split(':').next());
    let documented: BTreeSet<u8> = rows.filter_map(|number| number.parse().ok()).collect();
    assert_eq!(documented, ALL.iter().map(|exit| *exit as u8).collect());
}

/// Every subcommand has its place in the reference.
#[test]
fn every_subcommand_is_in_the_reference() {
    let page = Page::read(&root().join("docs/commands.md"));
    let command = <Cli as clap::CommandFactory>::command();
    for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        let row = format!("| `{}", subcommand.get_name());
        assert!(page.text().contains(&row), "docs/commands.md lacks {row}");
    }
}
