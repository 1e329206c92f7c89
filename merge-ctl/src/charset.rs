//! Terminals that show no UTF-8: what is drawn for them, character by character, in ASCII.
//!
//! Only a locale that names another character set counts as one, as C, POSIX and `tr_TR.ISO-8859-9` do. Where
//! none is set, as on many a bare host, UTF-8 is right far more often than not: the kernel's own console
//! shows it. What goes to a file or a pipe is UTF-8 whatever the locale is.
//!
//! Always holds: a character takes the same place on the screen, except wide ones, of which half is left.

use std::ffi::OsString;

/// The characters that the dashboard and the lines are made of, and what stands for them.
const STAND_INS: [(&str, char); 20] = [
    ("─━┬┴┤├┐┌┘└┼–‖", '-'),
    ("│▌▍▎▏‹›", '|'),
    ("█▇▉■", '#'),
    ("▓▆▊▋", '%'),
    ("▒▅", '='),
    ("▄", '+'),
    ("▃", '-'),
    ("░·▂", '.'),
    ("▁", '_'),
    ("●", '*'),
    ("◆", '@'),
    ("✓✔", '+'),
    ("○◷", 'o'),
    ("▲↑", '^'),
    ("↓", 'v'),
    ("◀←≤", '<'),
    ("▶→", '>'),
    ("×✗✘", 'x'),
    ("µ", 'u'),
    ("…", '~'),
];

/// Whether a terminal of this process's locale shows UTF-8.
pub fn locale_shows_utf8() -> bool {
    shows_utf8(|name| std::env::var_os(name))
}

fn shows_utf8(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    // In this order, as setlocale(3) has it.
    let Some(locale) = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set) else {
        return true;
    };
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    let charset = locale.split_once('.').map_or("", |(_, charset)| charset);
    let charset = charset.split('@').next().unwrap_or_default();
    matches!(charset, "utf-8" | "utf8")
}

/// What stands for a character.
pub fn ascii(character: char) -> char {
    if character.is_ascii() {
        return character;
    }
    let stand_in = STAND_INS.iter().find(|(characters, _)| characters.contains(character));
    stand_in.map_or('?', |(_, stand_in)| *stand_in)
}

/// The same for all of a text.
pub fn ascii_text(text: &str) -> String {
    text.chars().map(ascii).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(variables: &[(&str, &str)]) -> bool {
        let value =
            |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, it)| it.into());
        shows_utf8(value)
    }

    #[test]
    fn a_locale_without_utf_8_is_known_by_its_name() {
        for utf8 in ["C.UTF-8", "en_US.utf8", "de_DE.UTF-8@euro"] {
            assert!(shows(&[("LANG", utf8)]), "{utf8}");
        }
        for other in ["C", "POSIX", "tr_TR.ISO-8859-9", "ru_RU.KOI8-R", "nonsense", "de_DE@euro"] {
            assert!(!shows(&[("LANG", other)]), "{other}");
        }
    }

    #[test]
    fn where_none_is_set_it_is_utf_8() {
        assert!(shows(&[]));
        assert!(shows(&[("LC_ALL", ""), ("LANG", "")]));
    }

    #[test]
    fn the_first_of_the_variables_counts() {
        assert!(!shows(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]));
        assert!(shows(&[("LC_CTYPE", "C.UTF-8"), ("LANG", "C")]));
    }

    #[test]
    fn all_is_ascii_and_as_long() {
        let text = "│ ██▌░░ 24.0 % … µs ◀ é 漢";
        let shown = ascii_text(text);
        assert_eq!(shown, "| ##|.. 24.0 % ~ us < ? ?");
    }
}
