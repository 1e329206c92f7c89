//! Other programs, run so that nothing but what is written here decides what they do.
//!
//! What always holds: a program is run by its absolute path, with a list of arguments that no shell
//! reads, and with an environment made anew: `PATH` of the system's directories, `LC_ALL=C`, and
//! those variables of ours that the caller names. A program is searched first where a system keeps
//! its own, then in the directories of our `PATH`, of which relative ones do not count: they would
//! depend on where merge-ctl was started.

use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a system keeps its own programs.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// The same for the program that is run.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The absolute path of a program; nothing where it is not there.
pub fn find(name: &str) -> Option<PathBuf> {
    find_in(name, &env::var_os("PATH").unwrap_or_default())
}

fn find_in(name: &str, path: &OsStr) -> Option<PathBuf> {
    let own = DIRECTORIES.iter().map(PathBuf::from);
    let others = env::split_paths(path).filter(|directory| directory.is_absolute());
    own.chain(others).map(|directory| directory.join(name)).find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The command, with an environment of its own and those variables of ours that are `kept`.
pub fn command(program: &Path, kept: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C");
    for name in kept {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_directories_and_what_cannot_be_run_do_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("merge-ctl-test-program");
        std::fs::write(&program, "").unwrap();
        let found = |path: &str| find_in("merge-ctl-test-program", OsStr::new(path));
        let absolute = directory.path().to_str().unwrap();
        assert_eq!(found(absolute), None, "it cannot be run");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(found(absolute), Some(program));
        for relative in ["", ".", "tmp", ":"] {
            assert_eq!(found(relative), None);
        }
        let relative = format!("../../../../../../../../..{absolute}");
        assert_eq!(found(&relative), None);
        assert_eq!(find_in("sh", OsStr::new(absolute)).unwrap().file_name(), Some("sh".as_ref()));
    }

    #[test]
    fn the_environment_is_made_anew() {
        let output = command(Path::new("/usr/bin/env"), &["HOME", "NOT_SET_ANYWHERE"]).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let mut names: Vec<_> =
            text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
        names.sort_unstable();
        names.retain(|name| *name != "HOME");
        assert_eq!(names, ["LC_ALL", "PATH"]);
    }
}
