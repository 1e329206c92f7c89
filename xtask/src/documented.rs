//! Every `cargo xtask …` that README and docs tell people to type is one.

#[path = "../../merge-ctl/tests/docs/markdown.rs"]
#[expect(dead_code, reason = "the tests of links use the rest of it")]
mod markdown;

use clap::error::ErrorKind;

use super::{Cli, Parser as _};
use markdown::Example;

#[test]
fn every_task_in_the_documentation_can_be_typed() {
    let examples = markdown::examples(&["cargo", "xtask"]);
    assert!(examples.iter().filter(|example| example.whole).count() > 5);
    let wrong: Vec<String> = examples.iter().filter_map(trouble).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with an example, or nothing.
fn trouble(example: &Example) -> Option<String> {
    let words = example.words.iter().skip(1).filter(|word| *word != "…");
    let names_one_of_several = words.clone().any(|word| word == "NAME");
    let error = Cli::try_parse_from(words).err()?;
    let is_right = match error.kind() {
        ErrorKind::DisplayHelp => true,
        // Prose names a task without all that it needs.
        ErrorKind::MissingRequiredArgument
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => !example.whole,
        ErrorKind::InvalidSubcommand => !example.whole && names_one_of_several,
        _ => false,
    };
    (!is_right).then(|| format!("{}: {}\n{error}", example.place, example.words.join(" ")))
}
