//! One manual page: what clap knows of a command, and what `texts.rs` says of it.

use clap::{Arg, ArgAction, CommandFactory as _};

use crate::cli::Cli;
use crate::text::{Roff, bold, italic};
use crate::texts::{self, Text};
use crate::{NAME, visible};

/// Where the package puts what the texts call `docs/`.
const DOCS: &str = "/usr/share/doc/merge-ctl/docs";

/// See the module.
pub(crate) struct Page {
    text: &'static Text,
    command: clap::Command,
}

/// The page of the program, and those of its subcommands.
pub(crate) fn all() -> impl Iterator<Item = Page> {
    let whole = Page { text: &texts::WHOLE, command: visible() };
    let subcommands = texts::COMMANDS.iter().filter_map(|text| {
        let command = visible().find_subcommand(text.name)?.clone();
        Some(Page { text, command })
    });
    std::iter::once(whole).chain(subcommands)
}

impl Page {
    /// What the page is called.
    pub(crate) fn title(&self) -> String {
        match self.text.name {
            "" => NAME.to_owned(),
            name => format!("{NAME}-{name}"),
        }
    }

    /// The whole page.
    pub(crate) fn roff(&self, date: &str) -> String {
        let mut roff = Roff::default();
        roff.title(&self.title(), date, &format!("{NAME} {}", env!("CARGO_PKG_VERSION")));
        roff.section("NAME");
        roff.paragraphs(&format!("{} - {}", self.title(), self.about()));
        self.synopsis(&mut roff);
        self.description(&mut roff);
        self.options(&mut roff);
        self.exit_status(&mut roff);
        terms(&mut roff, "FILES", self.text.files);
        terms(&mut roff, "ENVIRONMENT", self.text.environment);
        paragraphs(&mut roff, "CAPABILITIES", self.text.capabilities);
        paragraphs(&mut roff, "OVERHEAD", self.text.overhead);
        self.examples(&mut roff);
        self.see_also(&mut roff);
        roff.done()
    }

    /// The commands that it gives as examples, with the shell's part taken away.
    #[cfg(test)]
    pub(crate) fn commands(&self) -> Vec<String> {
        let examples = self.text.examples.iter().flat_map(|(_, lines)| lines.lines());
        let ours = examples.filter(|line| line.starts_with(NAME));
        ours.map(|line| line.split(['|', '>']).next().unwrap_or(line).to_owned()).collect()
    }

    fn about(&self) -> String {
        let about = self.command.get_about().map(ToString::to_string).unwrap_or_default();
        about.replace('\n', " ").trim_end_matches('.').to_owned()
    }

    fn synopsis(&self, roff: &mut Roff) {
        roff.section("SYNOPSIS");
        for (number, form) in self.text.synopsis.iter().enumerate() {
            if number > 0 {
                roff.line(".br");
            }
            let words = self.title().replacen("merge-ctl-", "merge-ctl ", 1);
            roff.line(&format!("{} {}", bold(&words), marked(form)));
        }
    }

    fn description(&self, roff: &mut Roff) {
        roff.section("DESCRIPTION");
        let told = |text: Option<&clap::builder::StyledStr>| text.map(ToString::to_string);
        let short = told(self.command.get_about()).unwrap_or_default();
        let long = told(self.command.get_long_about()).unwrap_or_else(|| format!("{short}."));
        // What is said under NAME is not said twice, where there is more to say.
        let rest = long.strip_prefix(&format!("{short}\n")).unwrap_or(&long).trim_start();
        let parts = [rest, self.text.description].into_iter().filter(|part| !part.is_empty());
        roff.paragraphs(&placed(&parts.collect::<Vec<_>>().join("\n\n")));
        if self.text.name.is_empty() {
            roff.section("COMMANDS");
            for command in self.command.get_subcommands() {
                let about = command.get_about().map(ToString::to_string).unwrap_or_default();
                let page = format!("{}(8)", bold(&format!("{NAME}-{}", command.get_name())));
                roff.term(&page, 4, &about);
            }
        }
    }

    fn options(&self, roff: &mut Roff) {
        let shown = |it: &&Arg| !it.is_hide_set();
        let arguments: Vec<_> = self.command.get_positionals().filter(shown).collect();
        if !arguments.is_empty() {
            roff.section("ARGUMENTS");
            for it in arguments {
                roff.term(&italic(&value_of(it)), 4, &help_of(it));
            }
        }
        roff.section("OPTIONS");
        for option in self.command.get_arguments().filter(|it| !it.is_positional()).filter(shown) {
            roff.term(&option_term(option), 4, &help_of(option));
            values(roff, option);
        }
        roff.term(&format!("{}, {}", bold("-h"), bold("--help")), 4, "Say what there is.");
        roff.term(&format!("{}, {}", bold("-V"), bold("--version")), 4, "Say which version it is.");
    }

    /// From what `--help` says at its end, so that it is written once.
    fn exit_status(&self, roff: &mut Roff) {
        let whole = Cli::command();
        let command = whole.find_subcommand(self.text.name).unwrap_or(&whole);
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        roff.section("EXIT STATUS");
        let mut rest = help.lines().skip(1).peekable();
        while let Some(line) = rest.next() {
            let status = status_of(line);
            let mut words = status.map_or(line, |(_, meaning)| meaning).to_owned();
            let goes_on = |line: &&str| status_of(line).is_none();
            while let Some(more) = rest
                .next_if(|line| goes_on(line) && (status.is_none() || line.starts_with("     ")))
            {
                words = format!("{words} {}", more.trim());
            }
            if let Some((status, _)) = status {
                roff.term(&bold(status), 4, &words);
            } else {
                roff.line(".PP");
                roff.paragraphs(&words);
            }
        }
    }

    fn examples(&self, roff: &mut Roff) {
        roff.section("EXAMPLES");
        for (number, (what, lines)) in self.text.examples.iter().enumerate() {
            if number > 0 {
                roff.line(".PP");
            }
            roff.paragraphs(what);
            roff.literal(lines);
        }
    }

    fn see_also(&self, roff: &mut Roff) {
        roff.section("SEE ALSO");
        let own = match self.text.name {
            "" => Vec::new(),
            _ => vec![format!("{}(8)", bold(NAME))],
        };
        let others = self.text.see_also.iter().map(|page| match page.split_once('(') {
            Some((name, section)) => format!("{}({section}", bold(name)),
            None => format!("{}(8)", bold(&format!("{NAME}-{page}"))),
        });
        let pages: Vec<_> = own.into_iter().chain(others).collect();
        roff.line(&pages.join(",\n"));
        roff.line(".PP");
        let files: Vec<_> = self.text.docs.iter().map(|name| format!("{DOCS}/{name}")).collect();
        roff.paragraphs(&files.join(",\n"));
    }
}

/// A line of the help that begins with a status, or with several, and what it means.
fn status_of(line: &str) -> Option<(&str, &str)> {
    let (status, meaning) = line.strip_prefix("  ")?.split_once("  ")?;
    let is_one = |word: &str| word.parse::<u8>().is_ok();
    status.split(", ").all(is_one).then_some((status, meaning))
}

fn terms(roff: &mut Roff, section: &str, terms: &[(&str, &str)]) {
    if !terms.is_empty() {
        roff.section(section);
        for (term, meaning) in terms {
            roff.term(&italic(term), 4, &placed(meaning));
        }
    }
}

fn paragraphs(roff: &mut Roff, section: &str, text: &[&str]) {
    if !text.is_empty() {
        roff.section(section);
        roff.paragraphs(&placed(&text.join("\n\n")));
    }
}

/// A usage: what begins with a dash is bold, what is in capitals stands for something.
fn marked(form: &str) -> String {
    let words = form.split(' ').map(|word| {
        let begin = word.find(|c: char| c != '[').unwrap_or(0);
        let end = word.rfind(|c: char| c != ']' && c != '.').map_or(word.len(), |at| at + 1);
        let core = &word[begin..end];
        let core = match core.starts_with('-') {
            true => bold(core),
            false => italic(core),
        };
        format!("{}{core}{}", &word[..begin], &word[end..])
    });
    words.collect::<Vec<_>>().join(" ")
}

fn value_of(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    match names.first() {
        Some(name) => name.to_string(),
        None => argument.get_id().as_str().to_uppercase(),
    }
}

fn option_term(option: &Arg) -> String {
    let short = option.get_short().map(|short| bold(&format!("-{short}")));
    let long = option.get_long().map(|long| bold(&format!("--{long}")));
    let names: Vec<_> = short.into_iter().chain(long).collect();
    let mut term = names.join(", ");
    if matches!(option.get_action(), ArgAction::Set | ArgAction::Append) {
        term = format!("{term} {}", italic(&value_of(option)));
    }
    term
}

fn help_of(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help());
    let mut help = help.map(ToString::to_string).unwrap_or_default();
    let defaults = argument.get_default_values();
    if let [default] = defaults
        && matches!(argument.get_action(), ArgAction::Set)
    {
        help = format!("{help} [default: {}]", default.to_string_lossy());
    }
    placed(&help)
}

/// The closed list of an option's values.
fn values(roff: &mut Roff, option: &Arg) {
    let values = option.get_possible_values();
    if values.is_empty() || !matches!(option.get_action(), ArgAction::Set) {
        return;
    }
    roff.line(".RS 4");
    for value in values.iter().filter(|value| !value.is_hide_set()) {
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        roff.term(&bold(value.get_name()), 10, &help);
    }
    roff.line(".RE");
}

/// The texts name the documents as they lie in a checkout.
fn placed(text: &str) -> String {
    text.replace("docs/", &format!("{DOCS}/"))
}
