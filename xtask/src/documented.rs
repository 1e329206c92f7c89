//! Every `cargo xtask …` that README and docs tell people to type is one.

#[path = "../../merge-ctl/tests/docs/markdown.rs"]
#[expect(dead_code, reason = "the tests of links use the rest of it")]
mod markdown;

use clap::error::ErrorKind;

use super::{Cli, Parser as _};

#[test]
fn every_task_in_the_documentation_can_be_typed() {
    let examples = markdown::examples(&["cargo", "xtask"]);
    assert!(examples.iter().filter(|example| example.whole).count() > 5);
    for example in examples {
        let words = example.words.iter().skip(1).filter(|word| *word != "…");
        let names_one_of_several = words.clone().any(|word| word == "NAME");
        let error = Cli::try_parse_from(words).err();
        let is_right = match error.as_ref().map(clap::Error::kind) {
            None | Some(ErrorKind::DisplayHelp) => true,
            Some(
                ErrorKind::MissingRequiredArgument
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
            ) => !example.whole,
            Some(ErrorKind::InvalidSubcommand) => !example.whole && names_one_of_several,
            Some(_) => false,
        };
        assert!(is_right, "{}: {}\n{error:?}", example.place, example.words.join(" "));
    }
}
