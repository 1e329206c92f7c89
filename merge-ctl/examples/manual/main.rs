//! Manual pages and completions: `manual DIRECTORY DATE`, as `cargo xtask dist` calls it.
//!
//! What options there are, and what exit statuses mean, comes from the command line's own types; what a
//! page says beyond `--help` is in `texts.rs`. An example, so that the program itself carries no generator.

#[path = "../../src/cli/mod.rs"]
#[expect(dead_code, unused_imports, reason = "only what clap makes of it is used here")]
mod cli;
mod page;
mod text;
mod texts;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;

use cli::Cli;

/// What `cli` wants of the program, as far as a description needs it: nothing is parsed in earnest.
mod command {
    pub(crate) mod hooks {
        #[derive(Clone, Debug)]
        pub(crate) struct HookCommand;

        impl HookCommand {
            #[expect(clippy::unnecessary_wraps, reason = "clap wants a parser that may fail")]
            pub(crate) fn parse(_: &str) -> Result<Self, String> {
                Ok(Self)
            }
        }
    }
}

/// See [`command`].
mod exit {
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    pub(crate) struct Usage(pub(crate) String);
}

const NAME: &str = "merge-ctl";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [directory, date] = &arguments[..] else { bail!("usage: manual DIRECTORY DATE") };
    let (directory, date) = (PathBuf::from(directory), date.to_string_lossy());
    pages(&directory.join("man8"), &date)?;
    completions(&directory)
}

fn pages(directory: &Path, date: &str) -> anyhow::Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    for page in page::all() {
        let file = directory.join(format!("{}.8", page.title()));
        fs::write(&file, page.roff(date))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Where the shells of Debian and Fedora look, below `/usr/share`.
fn completions(directory: &Path) -> anyhow::Result<()> {
    for shell in Shell::value_variants() {
        let file = match shell {
            Shell::Bash => "bash-completion/completions/merge-ctl",
            Shell::Fish => "fish/vendor_completions.d/merge-ctl.fish",
            Shell::Zsh => "zsh/vendor-completions/_merge-ctl",
            _ => continue,
        };
        let file = directory.join(file);
        fs::create_dir_all(file.parent().context("a path without a directory")?)?;
        let mut out =
            File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
        clap_complete::generate(*shell, &mut visible(), NAME, &mut out);
    }
    Ok(())
}

/// The command line without what is hidden: completions would offer it.
fn visible() -> clap::Command {
    let whole = Cli::command();
    let shown: Vec<_> = whole.get_subcommands().filter(|it| !it.is_hide_set()).cloned().collect();
    clap::Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about(whole.get_about().cloned().unwrap_or_default())
        .propagate_version(true)
        .subcommands(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_every_page_a_command() {
        let commands: Vec<_> =
            visible().get_subcommands().map(|it| it.get_name().to_owned()).collect();
        let mut texts: Vec<_> = texts::COMMANDS.iter().map(|it| it.name.to_owned()).collect();
        texts.sort_unstable();
        let mut sorted = commands.clone();
        sorted.sort_unstable();
        assert_eq!(texts, sorted);
        assert_eq!(page::all().count(), commands.len() + 1);
    }

    #[test]
    fn every_example_and_synopsis_is_right_usage() {
        let lines = page::all().flat_map(|page| page.commands());
        let mut tried = 0;
        for line in lines {
            let words = shell_words::split(&line).unwrap();
            let parsed = Cli::command().try_get_matches_from(&words);
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            tried += 1;
        }
        assert!(tried > 30, "only {tried} were looked at");
    }

    #[test]
    fn every_option_is_in_a_page_and_in_the_completions() {
        let pages: String = page::all().map(|page| page.roff("2026-01-01")).collect();
        let dir = tempfile::tempdir().unwrap();
        completions(dir.path()).unwrap();
        let bash = dir.path().join("bash-completion/completions/merge-ctl");
        let bash = fs::read_to_string(bash).unwrap();
        for command in visible().get_subcommands() {
            for option in command.get_opts().filter(|it| !it.is_hide_set()) {
                let long = option.get_long().unwrap();
                assert!(pages.contains(&text::escaped(&format!("--{long}"))), "--{long}");
                assert!(bash.contains(&format!("--{long}")), "--{long}");
            }
        }
        assert!(!bash.contains("guard") && !pages.contains("guard(8)"));
    }

    #[test]
    fn every_exit_status_is_told_as_in_the_help() {
        for page in page::all() {
            let page = page.roff("2026-01-01");
            assert!(page.contains(".SH EXIT STATUS\n.TP 4\n\\fB0\\fR\n"), "{page}");
        }
    }
}
