//! `merge-ctl-boot` on this host, with a kernel command line, lvm2 and merge-ctl of our own making.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = include_str!("../../../merge-ctl/boot/merge-ctl-boot");

/// What it was asked, its exit status, and what it said.
fn run(command_line: &str, what: &str, programs: &[(&str, &str)]) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("cmdline"), format!("{command_line}\n")).unwrap();
    for (name, text) in programs {
        write_program(&at(name), text);
    }
    let script = SCRIPT
        .replace("/proc/cmdline", at("cmdline").to_str().unwrap())
        .replace("/dev/console", at("console").to_str().unwrap())
        .replace("/run/merge-ctl-boot", at("state").to_str().unwrap())
        .replace("PATH=/usr/sbin", &format!("PATH={}:/usr/sbin", dir.path().display()))
        .replace("/sys/block", at("devices").to_str().unwrap())
        .replace("grace=30", "grace=1");
    assert_eq!(script.matches(dir.path().to_str().unwrap()).count(), 6, "the script has changed");
    write_program(&at("script"), &script);
    // Appended to, so that all that is said is there in the end.
    fs::write(at("console"), "").unwrap();
    let output = Command::new("sh").arg(at("script")).arg(what).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let console = fs::read_to_string(at("console")).unwrap();
    (output.status.code().unwrap(), said + &console)
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn without_the_word_nothing_is_asked_for() {
    for line in [
        "",
        "root=/dev/vda ro",
        "merge-ctl.limit=5m",
        "xmerge-ctl.offline=vg/root",
        "merge-ctl.offline=",
    ] {
        assert_eq!(run(line, "asked", &[]).0, 1, "{line}");
    }
    assert_eq!(run("ro merge-ctl.offline=vg/root quiet", "asked", &[]).0, 0);
}

#[test]
fn the_last_name_counts_and_is_a_volume() {
    let volume = |line: &str| run(line, "volume", &[]);
    let two = "merge-ctl.offline=vg/a merge-ctl.offline=/dev/my-vg/root_1.x+y";
    assert_eq!(volume(two), (0, "my-vg/root_1.x+y\n".to_owned()));
    for odd in [
        "root",
        "vg/",
        "/root",
        "a/b/c",
        "-a/b",
        "a/-b",
        "vg/$(reboot)",
        "vg/a;b",
        "vg/*",
        "/dev/sda",
    ] {
        let (status, said) = volume(&format!("merge-ctl.offline={odd}"));
        assert_eq!((status, said.as_str()), (1, ""), "{odd}");
    }
}

#[test]
fn the_disks_are_there_when_lvm2_misses_none() {
    let ready = |lvm: &str| {
        let lvm = format!("#!/bin/sh\n{lvm}\n");
        run("merge-ctl.offline=vg/root", "ready", &[("lvm", &lvm)]).0
    };
    assert_eq!(ready("[ \"$1 $7\" = 'vgs vg' ] && echo '  0'"), 0);
    for not in ["echo '  1'", "echo '  10'", "exit 5", "echo"] {
        assert_ne!(ready(not), 0, "{not}");
    }
}

#[test]
fn what_merge_ctl_is_told_and_how_its_end_is_told() {
    let program = "#!/bin/sh\necho \"called $*\"\nexit 3\n";
    let merge = |limit: &str| {
        let line = format!("merge-ctl.offline=vg/root {limit}");
        run(&line, "merge", &[("merge-ctl", program)])
    };
    for (limit, meant) in [
        ("", "10m"),
        ("merge-ctl.limit=90s", "90s"),
        ("merge-ctl.limit=2m", "2m"),
        ("rd.timeout=40", "21s"),
        ("rd.timeout=0", "10m"),
        ("merge-ctl.limit=5", "10m"),
        ("merge-ctl.limit=0s", "10m"),
        ("merge-ctl.limit=1h", "10m"),
        ("merge-ctl.limit=m", "10m"),
        ("merge-ctl.limit=99999999999999999999s", "10m"),
    ] {
        let (status, said) = merge(limit);
        assert_eq!(status, 0, "{said}");
        let called = format!("--scheduled --output plain --time-limit {meant} -- vg/root");
        assert!(said.contains("the time was over"), "{limit}: {said}");
        assert!(said.contains(&called), "{limit}: {said}");
    }
}

#[test]
fn a_merge_ctl_that_does_not_end_is_killed() {
    let program = "#!/bin/sh\ntrap '' INT TERM HUP\nwhile :; do sleep 1; done\n";
    let line = "merge-ctl.offline=vg/root merge-ctl.limit=1s";
    let (status, said) = run(line, "merge", &[("merge-ctl", program)]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("is killed") && said.contains("ordinary way now"), "{said}");
}

#[test]
fn its_devices_are_waited_for() {
    // The last one is let go by somebody else in a while.
    let program = "#!/bin/sh\nup=${0%/*}/devices/dm-0/dm\nmkdir -p \"$up\"\n\
        echo MERGECTL-x >\"$up/uuid\"\n(sleep 2; echo LVM-x >\"$up/uuid\") >/dev/null 2>&1 &\n";
    let begun = std::time::Instant::now();
    let (status, said) = run("merge-ctl.offline=vg/root", "merge", &[("merge-ctl", program)]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("vg/root: done") && said.contains("ordinary way now"), "{said}");
    assert!(begun.elapsed().as_secs() >= 2, "it did not wait");
}
