//! `merge-ctl doctor`, the binary, on whatever host this is: with root, without, and where there is neither
//! `/proc` nor `/sys`. It has no certain answer here, but it must be one that is documented.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, to keep the trace")]

#[expect(dead_code, reason = "nothing is typed here")]
mod terminal;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use merge_ctl::doctor::Code;
use serde_json::Value;
use terminal::Terminal;

/// What a nobody is.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The binary where everybody may run it, and a place for state that must stay empty.
struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let scene = Self { directory };
        fs::set_permissions(scene.directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        // Not by this process: what another test starts meanwhile would hold the copy open for
        // writing, and nobody can run it then.
        let mut copy = Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_merge-ctl")).arg(scene.program());
        assert!(copy.status().unwrap().success());
        scene
    }

    fn program(&self) -> PathBuf {
        self.directory.path().join("merge-ctl")
    }

    fn run(&self, command: &mut Command) -> Output {
        let state = self.directory.path().join("state");
        let output = command.env("MERGE_CTL_STATE_DIR", &state).output().unwrap();
        assert!(!state.exists(), "something was written");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        output
    }

    /// What `doctor --json` says, with its exit status.
    fn json(&self, command: &mut Command) -> (i32, Value) {
        let output = self.run(command);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        (output.status.code().unwrap(), serde_json::from_str(&text).unwrap())
    }

    fn doctor(&self) -> Command {
        let mut command = Command::new(self.program());
        command.args(["doctor", "--json"]);
        command
    }
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

fn check<'a>(value: &'a Value, code: &str) -> &'a Value {
    let mut checks = value["checks"].as_array().unwrap().iter();
    checks.find(|check| check["code"] == code).unwrap()
}

/// Sees that an answer is as it is documented.
fn is_documented(status: i32, value: &Value) {
    let head =
        ["can_merge", "checks", "exit_status", "kernel", "ready", "schema", "type", "version"];
    assert_eq!(keys(value), head.into(), "{value:#}");
    assert_eq!((&value["schema"], &value["type"]), (&1.into(), &"doctor".into()));
    assert_eq!(value["exit_status"], status);
    let ways = &value["can_merge"];
    assert_eq!(keys(ways), ["devicemapper", "lvm"].into());
    let open = ways["lvm"] == true || ways["devicemapper"] == true;
    assert_eq!((&value["ready"], status), (&open.into(), if open { 0 } else { 6 }), "{value:#}");
    let checks = value["checks"].as_array().unwrap();
    let codes: Vec<_> = checks.iter().map(|check| check["code"].as_str().unwrap()).collect();
    assert_eq!(codes, Code::ALL.iter().map(|code| code.name()).collect::<Vec<_>>());
    for check in checks {
        let fields = ["code", "cost", "section", "verdict", "way_out", "words"];
        assert_eq!(keys(check), fields.into(), "{check}");
        let is_one_of = |field: &str, words: &[&str]| {
            assert!(words.contains(&check[field].as_str().unwrap()), "{field}: {check}");
        };
        is_one_of("verdict", &["ok", "degraded", "missing", "unknown"]);
        is_one_of("section", &["kernel", "merging", "seeing", "besides"]);
        let is_wrong = ["degraded", "missing"].contains(&check["verdict"].as_str().unwrap());
        assert_eq!(is_wrong, check["cost"] != "", "{check}");
        assert_ne!(check["words"], "", "{check}");
    }
}

/// The modules of device-mapper that are loaded.
fn modules() -> Vec<String> {
    let text = fs::read_to_string("/proc/modules").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("dm_")).map(str::to_owned).collect()
}

#[test]
fn whoever_asks_gets_an_answer_and_nothing_is_changed() {
    let scene = Scene::new();
    let (before, node) = (modules().len(), Path::new("/dev/mapper/control").exists());
    let (status, value) = scene.json(&mut scene.doctor());
    is_documented(status, &value);
    assert_ne!(check(&value, "privilege")["verdict"], "unknown");
    assert_eq!((modules().len(), Path::new("/dev/mapper/control").exists()), (before, node));

    let text = scene.run(Command::new(scene.program()).arg("doctor"));
    assert_eq!(text.status.code(), Some(status));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.starts_with("merge-ctl "), "{text}");
    for code in Code::ALL {
        let name = code.name();
        let codes = text.split(['[', ']', ',', '\n']).filter(|word| word.trim() == name).count();
        assert_eq!(codes, 1, "{name}: {text}");
    }
}

#[test]
fn without_root_it_says_what_cannot_be_done_and_what_cannot_be_seen() {
    let scene = Scene::new();
    let mut command = scene.doctor();
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let (status, value) = scene.json(&mut command);
    is_documented(status, &value);
    assert_eq!(status, 6);
    assert_eq!(value["can_merge"], serde_json::json!({"lvm": false, "devicemapper": false}));
    for code in ["privilege", "memory-lock", "ebpf-privilege"] {
        assert_eq!(check(&value, code)["verdict"], "missing", "{code}");
        assert!(check(&value, code)["way_out"].as_str().unwrap().contains("root"), "{code}");
    }
    for code in Code::ALL.iter().filter(|code| code.is_program()) {
        assert_eq!(check(&value, code.name())["verdict"], "unknown");
    }
}

#[test]
fn in_a_terminal_it_looks_at_that_and_fits_into_it() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_merge-ctl"));
    let mut terminal = Terminal::start(command.arg("doctor"));
    let status = terminal.exit_status();
    assert!([0, 6].contains(&status), "{}", terminal.seen);
    let fits = "ok        100 columns and 30 rows: the dashboard fits. [terminal]";
    assert!(terminal.seen.contains(fits), "{}", terminal.seen);
    let widest = terminal.seen.lines().map(|line| line.chars().count()).max().unwrap();
    assert!((60..=100).contains(&widest), "{}", terminal.seen);
}

/// `/proc` and `/sys` are covered in a name space of mounts that nobody else has.
#[test]
fn where_the_kernel_says_nothing_nothing_is_promised() {
    let alone = ["--mount", "--propagation", "private"];
    let allowed = Command::new("unshare").args(alone).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("nothing can be covered here, for want of a name space of mounts");
        return;
    }
    let cover =
        "for it in /sys /proc /dev; do mount -t tmpfs none $it || exit 99; done; exec \"$@\"";
    let scene = Scene::new();
    let mut command = Command::new("unshare");
    command.args(alone).args(["sh", "-c", cover, "sh"]);
    command.arg(scene.program()).args(["doctor", "--json"]);
    let (status, value) = scene.json(&mut command);
    is_documented(status, &value);
    assert_eq!(status, 6);
    assert_eq!(value["can_merge"]["devicemapper"], Value::Null);
    for code in ["privilege", "device-mapper", "snapshot-merge", "ebpf", "probe-copied"] {
        assert_eq!(check(&value, code)["verdict"], "unknown", "{code}");
    }
    assert_eq!(check(&value, "btf-kernel")["verdict"], "missing");
}

/// All in backquotes in a text.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn each_check_and_each_field_is_documented() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let checks = fs::read_to_string(docs.join("doctor.md")).unwrap();
    let rows = checks.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(rows.collect::<Vec<_>>(), codes, "docs/doctor.md has other checks");

    let json = fs::read_to_string(docs.join("json.md")).unwrap();
    let from = json.find("\n## `doctor`").unwrap();
    let section = &json[from + 1..];
    let section = section.split("\n## ").next().unwrap();
    let documented = quoted(section);
    let scene = Scene::new();
    let (_, value) = scene.json(&mut scene.doctor());
    let fields = keys(&value).into_iter().chain(keys(&value["can_merge"]));
    for field in fields.chain(keys(&value["checks"][0])) {
        assert!(documented.contains(field), "{field} is not in docs/json.md");
    }
}
