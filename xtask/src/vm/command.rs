//! The command as a shell script: the guest's shell becomes it, each argument unharmed.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// What of our environment tells a command how the terminal is.
const PASSED_ON: [&str; 3] = ["TERM", "COLORTERM", "NO_COLOR"];

/// A script of one `exec`, with the terminal's environment where there is a terminal.
pub(super) fn script(command: &[OsString], interactive: bool) -> Vec<u8> {
    let mut script = Vec::new();
    for name in PASSED_ON.into_iter().filter(|_| interactive) {
        if let Some(value) = env::var_os(name) {
            script.extend_from_slice(format!("export {name}=").as_bytes());
            quote(&mut script, &value);
            script.push(b'\n');
        }
    }
    script.extend_from_slice(b"exec");
    for argument in command {
        script.push(b' ');
        quote(&mut script, argument);
    }
    script.push(b'\n');
    script
}

/// Single quotes keep everything but themselves.
fn quote(script: &mut Vec<u8>, text: &OsStr) {
    script.push(b'\'');
    for &byte in text.as_bytes() {
        match byte {
            b'\'' => script.extend_from_slice(b"'\\''"),
            byte => script.push(byte),
        }
    }
    script.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_gives_back_what_was_quoted() {
        let arguments = ["printf", "%s|", "a b", "it's", "$HOME `x` \\", "two\nlines", ""];
        let script = script(&arguments.map(OsString::from), false);
        let output =
            std::process::Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)).output();
        let expected = "a b|it's|$HOME `x` \\|two\nlines||";
        assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), expected);
    }
}
