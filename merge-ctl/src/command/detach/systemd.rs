//! The transient unit that a detached merge lives in: its name, and the command that makes it.
//!
//! Pure. What the properties are for:
//!
//! * `KillMode=process` and `SendSIGKILL=no`: stopping the unit asks merge-ctl alone to leave. Its
//!   guard, and what lvm2 left in the background, stay; and nobody is killed between a suspend and
//!   a resume.
//! * `Restart=no`: to go on with a merge is `merge-ctl resume`'s decision, not a supervisor's.
//! * `SuccessExitStatus=3`: to have left a merge that goes on is no failure.
//! * `OOMScoreAdjust`: whoever may hold a device suspended is the last to go.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// What every unit is called at its beginning.
const PREFIX: &str = "merge-ctl-";
const SUFFIX: &str = ".service";
/// The longest name of a unit (systemd's UNIT_NAME_MAX, its final NUL not counted).
const MOST_BYTES: usize = 255;

const PROPERTIES: [&str; 6] = [
    "Restart=no",
    "KillMode=process",
    "SendSIGKILL=no",
    "SuccessExitStatus=3",
    "UMask=0077",
    "OOMScoreAdjust=-900",
];

/// A name that may be part of a unit's: what may not is written as `\xHH`, as systemd-escape(1)
/// does. Device-mapper names are longer than a unit's only where nearly all of it is so written;
/// then the number of the device says whose it is.
pub(super) fn stem(origin: &str, dev: &str) -> String {
    let mut name = PREFIX.to_owned();
    for byte in origin.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' => {
                name.push(byte.into());
            }
            other => name.push_str(&format!("\\x{other:02x}")),
        }
    }
    if name.len() + SUFFIX.len() > MOST_BYTES {
        return format!("{PREFIX}{dev}");
    }
    name
}

/// The unit for a stem.
pub(super) fn unit(stem: &str) -> String {
    format!("{stem}{SUFFIX}")
}

/// What makes a unit this one.
pub(super) struct Unit<'a> {
    /// As [`unit`] gives it.
    pub(super) name: &'a str,
    /// Into what it merges, for people.
    pub(super) label: &'a str,
    /// What is handed on of the environment.
    pub(super) environment: &'a [(&'a str, OsString)],
    /// Where it was called, if that is known: a path on the command line may be relative to it.
    pub(super) directory: Option<&'a Path>,
}

/// The arguments of systemd-run(1) that run `program` with `arguments` as `unit`.
pub(super) fn arguments(unit: &Unit<'_>, program: &Path, arguments: &[OsString]) -> Vec<OsString> {
    let Unit { name, label, environment, directory } = unit;
    let mut all: Vec<OsString> =
        ["--quiet", "--collect", "--no-ask-password"].map(Into::into).into();
    all.push(format!("--unit={name}").into());
    all.push(format!("--description=merge-ctl: merge into {label}").into());
    all.push("--service-type=exec".into());
    all.extend(PROPERTIES.map(|property| format!("--property={property}").into()));
    if let Some(directory) = directory {
        // It may be gone by then: that is no reason not to begin.
        let mut set = OsString::from("--property=WorkingDirectory=-");
        set.push(directory);
        all.push(set);
    }
    for (name, value) in *environment {
        let mut set = OsString::from(format!("--setenv={name}="));
        set.push(value);
        all.push(set);
    }
    all.push("--".into());
    all.push(literal(program.as_os_str()));
    all.extend(arguments.iter().map(|argument| literal(argument)));
    all
}

/// systemd expands `$NAME` in the command line of a unit; two dollars stand for one.
fn literal(argument: &OsStr) -> OsString {
    let mut bytes = Vec::with_capacity(argument.len());
    for byte in argument.as_bytes() {
        bytes.extend(std::iter::repeat_n(*byte, if *byte == b'$' { 2 } else { 1 }));
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_named_after_its_origin() {
        assert_eq!(unit(&stem("vg-data", "253:4")), "merge-ctl-vg-data.service");
        assert_eq!(unit(&stem("vg--a-x", "253:4")), "merge-ctl-vg--a-x.service");
        assert_eq!(
            stem("a b@c%$\u{1b}/é", "253:4"),
            r"merge-ctl-a\x20b\x40c\x25\x24\x1b\x2f\xc3\xa9"
        );
        let longest = "x".repeat(127);
        assert!(unit(&stem(&longest, "253:4")).contains(&longest));
        assert_eq!(unit(&stem(&"%".repeat(127), "253:4")), "merge-ctl-253:4.service");
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a line an argument")]
    fn the_command_is_an_argument_vector_that_nobody_expands() {
        let asked = ["start", "--detached", "/run/x", "--on-done", "echo $HOME", "--", "v$g/snap"];
        let environment = [("MERGE_CTL_STATE_DIR", OsString::from("/srv/a b"))];
        let all = arguments(
            &Unit {
                name: "merge-ctl-vg-data.service",
                label: "vg/data",
                environment: &environment,
                directory: Some(Path::new("/srv/my dir")),
            },
            Path::new("/usr/bin/merge-ctl"),
            &asked.map(OsString::from),
        );
        let all: Vec<_> = all.iter().map(|argument| argument.to_str().unwrap()).collect();
        assert_eq!(
            all,
            [
                "--quiet",
                "--collect",
                "--no-ask-password",
                "--unit=merge-ctl-vg-data.service",
                "--description=merge-ctl: merge into vg/data",
                "--service-type=exec",
                "--property=Restart=no",
                "--property=KillMode=process",
                "--property=SendSIGKILL=no",
                "--property=SuccessExitStatus=3",
                "--property=UMask=0077",
                "--property=OOMScoreAdjust=-900",
                "--property=WorkingDirectory=-/srv/my dir",
                "--setenv=MERGE_CTL_STATE_DIR=/srv/a b",
                "--",
                "/usr/bin/merge-ctl",
                "start",
                "--detached",
                "/run/x",
                "--on-done",
                "echo $$HOME",
                "--",
                "v$$g/snap",
            ]
        );
    }
}
