//! `start --offline --scheduled`: what LVM has on record is merged before the volume is activated, over
//! the very places that lvm2 gives it then, and never where it is active.

use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use super::lvm::{VolumeGroup, kill_pollers, lvm};
use super::merge_ctl::{Ended, merge_ctl};
use super::testbed::{BLOCK, Throttled, dmsetup, ram_disk};

fn scheduled(options: &[&str], name: &str, code: i32) -> Ended {
    let first = ["start", "--offline", "--scheduled", "--output", "plain"];
    merge_ctl(&[&first[..], options, &[name]].concat()).expect(code)
}

/// One whose merge is on record and that is not active, and what it must hold then.
fn on_record(name: &str) -> (VolumeGroup, Vec<u8>) {
    let group = VolumeGroup::new(name);
    group.write_snapshot();
    let content = group.content("snap");
    record(&group);
    (group, content)
}

fn record(group: &VolumeGroup) {
    lvm(&["lvchange", "-q", "-an", &group.volume("data")]);
    lvm(&["lvconvert", "-q", "--merge", &group.volume("snap")]);
}

fn devices() -> String {
    dmsetup(&["table"])
}

/// An ordinary activation, at whose first sight the kernel has so many sectors to merge.
fn left_to_merge(group: &VolumeGroup) -> u64 {
    lvm(&["lvchange", "-q", "-ay", &group.volume("data")]);
    kernel_has_left(&dmsetup(&["status", &group.dm("data")]))
}

/// How many sectors, by a status line.
fn kernel_has_left(status: &str) -> u64 {
    let words: Vec<_> = status.split_whitespace().collect();
    match words[..] {
        [_, _, "linear"] => 0,
        [_, _, "snapshot-merge", usage, metadata] => {
            let used: u64 = usage.split_once('/').unwrap().0.parse().unwrap();
            used - metadata.parse::<u64>().unwrap()
        }
        _ => panic!("{status}"),
    }
}

fn until_dropped(group: &VolumeGroup) {
    merge_ctl(&["wait", "--timeout", "2m", &group.volume("data")]);
    for _ in 0..600 {
        if !group.volumes().contains("snap") {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    panic!("LVM has not dropped it: {}", group.volumes());
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn scheduled_is_merged_and_stays_inactive_and_the_activation_has_nothing_left() {
    for (vg, by) in [("vgrec", "vgrec/data"), ("vg-rec", "/dev/mapper/vg--rec-snap")] {
        let (group, content) = on_record(vg);
        let before = (devices(), group.volumes());
        scheduled(&["--dry-run"], by, 0);
        assert_eq!((devices(), group.volumes()), before);

        let ended = scheduled(&["--verify"], by, 0);

        assert_eq!((devices(), group.volumes()), before, "activated, or LVM was asked to do more");
        let volume = group.volume("data");
        assert!(ended.stderr.contains(&format!("merged into {volume}")), "{}", ended.stderr);
        // Once more: it is on record still, and there is nothing in the store.
        scheduled(&[], by, 0);
        assert_eq!(left_to_merge(&group), 0);
        assert!(group.content("data") == content, "the origin differs from the snapshot");
        until_dropped(&group);
        let ended = scheduled(&[], &volume, 0);
        assert!(ended.stderr.contains("nothing is to be done"), "{}", ended.stderr);
    }
}

/// What `explain` advises for a merge in the kernel that takes too long.
#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn scheduled_takes_over_a_merge_that_was_deactivated_in_the_middle() {
    let group = VolumeGroup::on_mapper("vgmid", "vgmid-disk");
    group.write_snapshot();
    let content = group.content("snap");
    group.slow_down(20);
    lvm(&["lvconvert", "-q", "--merge", "--background", &group.volume("snap")]);
    let left = || kernel_has_left(&dmsetup(&["status", &group.dm("data")]));
    let first = left();
    while left() + 20 * BLOCK as u64 / 512 > first {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    lvm(&["lvchange", "-q", "-an", &group.volume("data")]);
    group.slow_down(0);

    let ended = scheduled(&[], &group.volume("data"), 0);

    assert!(!ended_lines(&ended).contains("nothing was left"), "{}", ended_lines(&ended));
    assert_eq!(left_to_merge(&group), 0);
    assert!(group.content("data") == content, "the origin differs from the snapshot");
    until_dropped(&group);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn scheduled_refuses_what_is_active_and_does_nothing_where_nothing_is_on_record() {
    let group = VolumeGroup::new("vgact");
    group.write_snapshot();
    let content = group.content("snap");
    let (origin, snapshot) = (group.volume("data"), group.volume("snap"));
    let before = (devices(), group.volumes());
    for name in [&origin, &snapshot] {
        let ended = scheduled(&[], name, 0);
        assert!(ended.stderr.contains("nothing is to be done"), "{}", ended.stderr);
    }
    scheduled(&[], "vgact/nothing", 2);
    scheduled(&[], "vgnothing/data", 1);
    assert_eq!((devices(), group.volumes()), before);

    let holder = std::fs::File::open(group.path("data")).unwrap();
    lvm(&["lvconvert", "-q", "--merge", &snapshot]);
    let before = (devices(), group.volumes());
    let ended = scheduled(&[], &origin, 8);
    for words in ["vgact/data is active", "lvchange -an vgact/data"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    assert_eq!((devices(), group.volumes()), before);
    drop(holder);
    lvm(&["lvchange", "-q", "-an", &origin]);

    // By hand it is told of the way that there is.
    let ended = merge_ctl(&["start", "--offline", "--yes", &snapshot]).expect(8);
    assert!(ended.stderr.contains("--offline --scheduled vgact/data"), "{}", ended.stderr);
    scheduled(&[], &origin, 0);
    assert_eq!(left_to_merge(&group), 0);
    assert!(group.content("data") == content);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn scheduled_stops_at_its_time_limit_and_an_activation_goes_on() {
    let (group, content) = on_record("vgtime");
    let (origin, down) = (group.volume("data"), devices());
    // So slowly that it takes a hundred times as long.
    let ended = scheduled(&["--bandwidth", "8KiB", "--time-limit", "8s"], &origin, 3);
    for words in ["time limit of 8.0 s is over", "lvchange -ay vgtime/data"] {
        assert!(
            ended.stderr.contains(words) || ended_lines(&ended).contains(words),
            "{words}: {}",
            ended.stderr
        );
    }
    assert_eq!(devices(), down, "a private device is left");

    // While somebody changes the group, the limit runs as well.
    let lock = lock_of(&group);
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let ended = scheduled(&["--time-limit", "3s"], &origin, 3);
    assert!(ended.stderr.contains("lvchange -ay vgtime/data"), "{}", ended.stderr);
    assert_eq!(devices(), down);
    drop(lock);

    let ended = scheduled(&["--time-limit", "1ms"], &origin, 7);
    assert!(ended.stderr.contains("nothing was changed"), "{}", ended.stderr);
    // The kernel is not to be done before it is looked at.
    let throttled = Throttled::at(0);
    assert!(left_to_merge(&group) > 0, "it has merged more than it had time for");
    drop(throttled);
    assert!(group.content("data") == content, "a half-merged origin can be seen");
    until_dropped(&group);
    assert!(group.content("data") == content, "the origin differs from the snapshot");
}

fn ended_lines(ended: &Ended) -> String {
    ended.lines.iter().filter_map(|line| line.as_str()).collect()
}

fn lock_of(group: &VolumeGroup) -> std::fs::File {
    let config = lvm(&["lvmconfig", "--typeconfig", "full", "global/locking_dir"]);
    let directory = config.trim().strip_prefix("locking_dir=").unwrap().trim_matches('"');
    let path = format!("{directory}/V_{}", group.name);
    std::fs::create_dir_all(directory).unwrap();
    std::fs::File::options().create(true).append(true).open(path).unwrap()
}

/// A group over two disks, which goes when it is dropped.
struct TwoDisks {
    name: &'static str,
    disks: [String; 2],
}

impl TwoDisks {
    fn new(name: &'static str, pvcreate: [&[&str]; 2], extent: &str) -> Self {
        let disks = [ram_disk(), ram_disk()];
        for (disk, options) in disks.iter().zip(pvcreate) {
            lvm(&[&["pvcreate", "-q", "-ff", "-y"], options, &[disk]].concat());
        }
        lvm(&["vgcreate", "-q", "-s", extent, name, &disks[0], &disks[1]]);
        Self { name, disks }
    }

    fn volume(&self, volume: &str) -> String {
        format!("{}/{volume}", self.name)
    }

    /// These extents of one of the disks.
    fn at(&self, disk: usize, extents: &str) -> String {
        format!("{}:{extents}", self.disks[disk])
    }

    /// The tables of the devices below, as the kernel has them.
    fn tables(&self) -> String {
        let table = |name: &str| dmsetup(&["table", &format!("{}-{name}", self.name)]);
        format!("{}{}", table("data-real"), table("snap-cow"))
    }

    /// The same, as they are worked out from LVM's metadata.
    fn computed(&self) -> String {
        lvm(&["lvchange", "-q", "-an", &self.volume("data")]);
        lvm(&["lvconvert", "-q", "--merge", &self.volume("snap")]);
        let ended = scheduled(&["--dry-run"], &self.volume("data"), 0);
        let text: Vec<_> = ended.lines.iter().filter_map(|line| line.as_str()).collect();
        let is_line = |line: &&&str| line.starts_with("   ");
        text.iter().filter(is_line).map(|line| line.trim_start()).collect()
    }
}

impl Drop for TwoDisks {
    fn drop(&mut self) {
        kill_pollers();
        for arguments in [
            vec!["vgremove", "-qff", "-y", self.name],
            vec!["pvremove", "-qff", "-y", &self.disks[0], &self.disks[1]],
        ] {
            let _ = Command::new("lvm").args(arguments).status();
        }
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn scheduled_works_out_the_very_tables_that_lvm2_loads() {
    let odd: [&[&str]; 2] = [&["--dataalignment", "3m"], &["--dataalignmentoffset", "7s"]];
    let plain: [&[&str]; 2] = [&[], &[]];
    for (name, disks, extent) in
        [("vgplain", plain, "4m"), ("vgodd", odd, "384k"), ("vgsmall", odd, "64k")]
    {
        let group = TwoDisks::new(name, disks, extent);
        let create = |volume: &str, options: &[&str]| {
            lvm(&[&["lvcreate", "-q", "-y", "-n", volume], options].concat());
        };
        let plainly = ["-Wn", "-Zn"];
        // Pieces here and there, so that the next ones are not beside each other.
        create("data", &[&plainly[..], &["-l", "7", name, &group.at(0, "3-9")]].concat());
        lvm(&["lvextend", "-q", "-l", "+5", &group.volume("data"), &group.at(1, "20-24")]);
        lvm(&["lvextend", "-q", "-l", "+4", &group.volume("data"), &group.at(0, "30-33")]);
        let data = group.volume("data");
        create("snap", &["-s", "-l", "9", &data, &group.at(1, "2-4"), &group.at(0, "50-55")]);
        let tables = group.tables();
        assert!(tables.lines().count() >= 5, "{tables}");
        assert_eq!(group.computed(), tables, "{name}: linear");
        lvm(&["lvchange", "-q", "-ay", &data]);
        kill_pollers();
        lvm(&["vgremove", "-qff", "-y", name]);

        lvm(&["vgcreate", "-q", "-s", extent, name, &group.disks[0], &group.disks[1]]);
        create("data", &[&plainly[..], &["-i", "2", "-I", "16k", "-l", "8", name]].concat());
        create("between", &[&plainly[..], &["-l", "3", name]].concat());
        lvm(&["lvextend", "-q", "-i", "2", "-I", "32k", "-l", "+6", &data]);
        lvm(&["lvextend", "-q", "-i", "1", "-l", "+3", &data, &group.disks[1]]);
        create("snap", &["-s", "-i", "2", "-I", "64k", "-l", "10", &data]);
        let tables = group.tables();
        assert!(tables.matches("striped").count() >= 3 && tables.contains("linear"), "{tables}");
        assert_eq!(group.computed(), tables, "{name}: striped");
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn scheduled_refuses_what_lvm2_builds_of_other_volumes() {
    let _group = TwoDisks::new("vgraid", [&[], &[]], "4m");
    let mirror = ["--type", "mirror", "--mirrorlog", "core", "-m", "1", "-l", "4", "-n", "data"];
    let created =
        Command::new("lvm").args(["lvcreate", "-q", "-y"]).args(mirror).arg("vgraid").status();
    if !created.unwrap().success() {
        println!("this kernel has no mirror target here");
        return;
    }
    lvm(&["lvcreate", "-q", "-s", "-l", "4", "-n", "snap", "vgraid/data"]);
    lvm(&["lvchange", "-q", "-an", "vgraid/data"]);
    lvm(&["lvconvert", "-q", "--merge", "vgraid/snap"]);
    let before = devices();
    let ended = scheduled(&[], "vgraid/data", 8);
    assert!(ended.stderr.contains("lvchange -ay vgraid/data"), "{}", ended.stderr);
    assert_eq!(devices(), before);
}
