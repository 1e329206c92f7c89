//! What Prometheus' own tool says of the text, the rules and their tests. `PROMTOOL` names it, as
//! `cargo xtask test` does; without that, the one on PATH is asked, if there is one.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write as _};
use std::process::{Child, Command, Stdio};

use super::*;

/// Runs it; none where there is none, and nobody has said where it is.
fn promtool(arguments: &[&str]) -> Option<Child> {
    let named = std::env::var_os("PROMTOOL");
    let program = named.clone().unwrap_or_else(|| OsString::from("promtool"));
    let rules = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("contrib/prometheus");
    let child = Command::new(&program)
        .args(arguments)
        .current_dir(rules)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    match child {
        Ok(child) => Some(child),
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => {
            eprintln!("left out: there is no promtool on this machine");
            None
        }
        Err(error) => panic!("cannot run {}: {error}", program.display()),
    }
}

/// Sees that it has nothing to say against this, which it reads from its standard input.
#[track_caller]
fn is_content(arguments: &[&str], input: &str) {
    let Some(mut child) = promtool(arguments) else { return };
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    assert!(written.is_some_and(|it: io::Result<()>| it.is_ok()), "it does not read");
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    assert!(output.status.success(), "{arguments:?}: {}\n{}", said.concat(), input);
}

#[test]
fn promtool_finds_nothing_in_the_metrics() {
    is_content(&["check", "metrics"], &write(&small(), Format::Prometheus));
    for kernel in KERNELS {
        let mut moments = 0;
        replayed(kernel, |model| {
            moments += 1;
            if moments % 100 == 1 || model.state.is_over() {
                is_content(&["check", "metrics"], &write(&page_of(model), Format::Prometheus));
            }
        });
        assert!(moments > 0);
    }
}

#[test]
fn promtool_finds_nothing_in_the_rules_and_each_alert_fires() {
    is_content(&["check", "rules", "merge-ctl.rules.yml"], "");
    is_content(&["test", "rules", "merge-ctl.rules.test.yml"], "");
}
