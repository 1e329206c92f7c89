//! Text that others chose, made harmless: names of devices and processes, paths, words of other
//! programs.
//!
//! A device-mapper name may hold any byte but `/`, a process may call itself what it likes, and a
//! terminal obeys what it is sent. What always holds:
//!
//! * [`from_bytes`] loses nothing: bytes that are not UTF-8 become characters of their own
//!   (U+EF80 to U+EFFF, for the bytes 0x80 to 0xff), and [`to_bytes`] gives the same bytes back.
//! * [`printable`] holds no character that drives a terminal, breaks a line, turns the direction of
//!   writing or cannot be seen. Such a one is written `\xNN`, byte by byte, as dmsetup writes it
//!   too. What is printable already stays as it is, so it may be applied twice.
//! * What `printable` wrote is understood again: [`unescape`], and with it every command that takes
//!   a device. So a name can be copied from the screen.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use crate::units::DeviceNumber;

/// A byte that is no part of UTF-8 stands here, above this place in the area for private use.
const BYTES_AT: u32 = 0xef00;

/// Any bytes as text. Nothing is lost.
pub fn from_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        for c in part.valid().chars() {
            if byte_of(c).is_some() {
                // It would be taken for a byte on the way back.
                text.extend(utf8(c).as_bytes().iter().copied().filter_map(char_of));
            } else {
                text.push(c);
            }
        }
        text.extend(part.invalid().iter().copied().filter_map(char_of));
    }
    text
}

/// The bytes that a text was made from.
pub fn to_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(utf8(c).as_bytes()),
        }
    }
    bytes
}

fn utf8(c: char) -> String {
    c.to_string()
}

fn char_of(byte: u8) -> Option<char> {
    char::from_u32(BYTES_AT + u32::from(byte))
}

fn byte_of(c: char) -> Option<u8> {
    u8::try_from((c as u32).checked_sub(BYTES_AT)?).ok().filter(|byte| *byte >= 0x80)
}

/// A text on one line that cannot do anything but be read.
pub fn printable(text: &str) -> String {
    escaped(text, |_| false)
}

/// The same for a text of several lines of our own: newlines stay.
pub fn printable_lines(text: &str) -> String {
    escaped(text, |c| c == '\n')
}

/// A path on one line.
pub fn path(path: &Path) -> String {
    printable(&from_bytes(path.as_os_str().as_bytes()))
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmless(c) || stays(c) {
            shown.push(c);
        } else {
            for byte in byte_of(c).map_or_else(|| utf8(c).into_bytes(), |byte| vec![byte]) {
                shown.push_str(&format!("\\x{byte:02x}"));
            }
        }
    }
    shown
}

/// Whether a character shows itself and nothing more.
const fn is_harmless(c: char) -> bool {
    !matches!(c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'      // controls, those of eight bits among them
        | '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' // turn the direction
        | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' // not seen
        | '\u{2028}' | '\u{2029}'                  // end lines and paragraphs
        | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
        | '\u{e000}'..='\u{f8ff}')
}

/// `\xNN` made bytes again; everything else stays.
pub fn unescape(text: &str) -> String {
    let bytes = to_bytes(text);
    let mut made = Vec::with_capacity(bytes.len());
    let mut rest = bytes.as_slice();
    while let Some((&first, after)) = rest.split_first() {
        match rest {
            [b'\\', b'x', high, low, end @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                if let (Some(high), Some(low)) = (digit(high), digit(low)) {
                    made.push((high * 16 + low) as u8);
                    rest = end;
                    continue;
                }
                made.push(first);
            }
            _ => made.push(first),
        }
        rest = after;
    }
    from_bytes(&made)
}

/// A volume's name as an argument of merge-ctl that can be pasted into any shell.
pub fn argument(name: &str) -> String {
    let shown = printable(name);
    // A name that begins with a hyphen would be taken for an option.
    let path = if shown.starts_with('-') { format!("/dev/mapper/{shown}") } else { shown };
    quoted(&path)
}

/// A word for a shell: as it is where no shell makes anything of it, else between single quotes. It
/// is made printable.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    let word = printable(word);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// How dmsetup is told which device is meant, to stand behind its command. It reads names in a way of
/// its own unless they are plain, so others are told by number; and it refuses to answer of a device
/// whose name it would have written otherwise, unless it is told not to mind.
pub fn for_dmsetup(name: &str, dev: DeviceNumber) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c);
    let is_word = |c: char| c != '#';
    if !name.is_empty() && !name.starts_with('-') && name.chars().all(|c| is_plain(c) && is_word(c))
    {
        return name.to_owned();
    }
    format!("--manglename none --major {} --minor {}", dev.major, dev.minor)
}

/// JSON on one line, in which nothing drives a terminal either: what is not harmless is written
/// `\uNNNN`, which every reader turns back.
///
/// # Errors
/// As [`serde_json::to_string`].
pub fn json<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, HarmlessJson))?;
    String::from_utf8(bytes).map_err(serde::ser::Error::custom)
}

struct HarmlessJson;

impl Formatter for HarmlessJson {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|c| !is_harmless(c)) {
            CompactFormatter.write_string_fragment(writer, &rest[..at])?;
            let length = rest[at..].chars().next().map_or(1, char::len_utf8);
            for unit in rest[at..at + length].encode_utf16() {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + length..];
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_drives_a_terminal_is_written_out() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\x1b[2Jb\\x0a");
        assert_eq!(printable("\u{9b}31m"), "\\xc2\\x9b31m");
        assert_eq!(printable("gnp\u{202e}exe"), "gnp\\xe2\\x80\\xaeexe");
        assert_eq!(printable("a\u{200b}b\u{2028}"), "a\\xe2\\x80\\x8bb\\xe2\\x80\\xa8");
        assert_eq!(printable("Büro 漢字 \"x\" 'y' \\"), "Büro 漢字 \"x\" 'y' \\");
        assert_eq!(printable(&from_bytes(b"a\xff\xc3")), "a\\xff\\xc3");
        assert_eq!(printable_lines("a\nb\rc"), "a\nb\\x0dc");
    }

    #[test]
    fn words_for_a_shell_are_one_word() {
        for (name, word) in [
            ("vg/data", "vg/data"),
            ("my snap", "'my snap'"),
            ("it's", "'it'\\''s'"),
            ("$(reboot)", "'$(reboot)'"),
            ("a\nb", "'a\\x0ab'"),
            ("-x", "/dev/mapper/-x"),
            ("", "''"),
        ] {
            assert_eq!(argument(name), word);
        }
        let dev = DeviceNumber { major: 253, minor: 7 };
        assert_eq!(for_dmsetup("vg-snap", dev), "vg-snap");
        for name in ["", "-x", "a b", "a\\x20b", "#x", "$x", "ü"] {
            assert_eq!(for_dmsetup(name, dev), "--manglename none --major 253 --minor 7", "{name}");
        }
    }

    #[test]
    fn json_comes_back_and_drives_no_terminal() {
        let text =
            from_bytes(b"\x1b[31m\"\n\xff\xc2\x9b\xe2\x80\xae \xf3\xa0\x80\x81 \xe6\xbc\xa2");
        let json = json(&text).unwrap();
        assert!(json.chars().all(is_harmless), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn what_was_written_out_is_read_again() {
        assert_eq!(unescape("a\\x1b[31m\\x0a"), "a\u{1b}[31m\n");
        assert_eq!(unescape("\\xe2\\x80\\xae"), "\u{202e}");
        for same in ["a\\", "\\x", "\\x1", "\\xzz", "\\\\y"] {
            assert_eq!(unescape(same), same);
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(to_bytes(&from_bytes(&bytes)), bytes);
        }

        #[test]
        fn names_come_back_from_the_screen(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let name = from_bytes(&bytes);
            let shown = printable(&name);
            prop_assert!(shown.chars().all(is_harmless));
            prop_assert_eq!(&printable(&shown), &shown);
            // A name that itself looks like what is written out is found by its own name first.
            prop_assume!(!name.contains("\\x"));
            prop_assert_eq!(unescape(&shown), name);
        }

        #[test]
        fn characters_for_private_use_come_back_too(text in "[\u{ef70}-\u{f010}é\u{1b}]{0,20}") {
            prop_assert_eq!(to_bytes(&from_bytes(text.as_bytes())), text.into_bytes());
        }

        #[test]
        fn a_shell_sees_one_word(name in "[a'\"$`\\\\ \n;|&*?~#!-]{0,12}") {
            let script = format!("set -- {}; printf %s:%s \"$#\" \"$1\"", argument(&name));
            let output = std::process::Command::new("/bin/sh").arg("-c").arg(script).output().unwrap();
            let shown = printable(&name);
            let expected = if shown.starts_with('-') { format!("/dev/mapper/{shown}") } else { shown };
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("1:{expected}"));
        }
    }
}
