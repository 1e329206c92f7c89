//! What others see of an offline merge that goes on: `status`, `wait`, `monitor` and a second `start`
//! know of it and of the process that has it, and disturb nothing.

use serde_json::Value;

use super::merge_ctl::{Running, Waiter, merge_ctl, wait};
use super::offline_lvm::{Slow, assert_an_activation_finishes, assert_merged, until};
use super::offline_raw::{copying, copying_so_many, finished};
use super::testbed::run;

/// The only offline merge that `status` lists.
#[track_caller]
fn listed(arguments: &[&str]) -> Value {
    let ended = merge_ctl(&[&["status", "--json"], arguments].concat()).expect(0);
    let told: Value = serde_json::from_str(ended.lines[0].as_str().unwrap()).unwrap();
    let [one] = &told["offline"].as_array().unwrap()[..] else { panic!("{told}") };
    one.clone()
}

/// All look at it while it goes on in that process.
#[track_caller]
fn all_see_it(running: &Running, origin: &str, snapshot: &str, owner: &str) {
    let pid = running.pid();
    for arguments in [&[][..], &[origin], &[snapshot]] {
        let one = listed(arguments);
        assert_eq!(one["driver_pid"], pid, "{one}");
        assert_eq!((&one["state"], &one["owner"]), (&"merging".into(), &owner.into()), "{one}");
        assert_eq!((&one["origin_label"], &one["snapshot"]), (&origin.into(), &snapshot.into()));
        assert!(one["begun_unix_s"].as_u64().unwrap() > 0, "{one}");
    }
    let by = format!("{snapshot} is being merged offline into {origin} by process {pid}");
    let status = merge_ctl(&["status"]).expect(0);
    let said: String = status.lines.iter().filter_map(Value::as_str).collect();
    assert!(said.contains(&by) && !said.contains("There is no snapshot"), "{said}");
    let says = |arguments: &[&str], code| {
        let ended = merge_ctl(arguments).expect(code);
        assert!(ended.stderr.contains(&by), "{arguments:?}: {}", ended.stderr);
        let way_on = format!("merge-ctl wait {origin}");
        assert!(ended.stderr.contains(&way_on), "{arguments:?}: {}", ended.stderr);
    };
    says(&["monitor", "--output", "plain"], 3);
    says(&["monitor", "--output", "plain", origin], 3);
    says(&["start", "--yes", "--output", "plain", snapshot], 8);
    says(&["start", "--offline", "--yes", "--output", "plain", snapshot], 8);
    let timed_out = wait(&[origin, "--timeout", "1s"], 7);
    assert!(timed_out["detail"].as_str().unwrap().contains(&by), "{timed_out}");
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_seen_of_device_mapper() {
    let (bed, promised, running) = copying_so_many("offseen", 4000);
    let (origin, snapshot) = (bed.dm("origin"), bed.dm("snap"));
    all_see_it(&running, &origin, &snapshot, "devicemapper");
    let waiter = Waiter::start(&[&snapshot]);
    std::thread::sleep(std::time::Duration::from_secs(1));
    bed.slow_down(0);
    running.wait().expect(0);
    let said = waiter.end(0);
    assert_eq!(said["state"], "finished", "{said}");
    assert_eq!(said["origin"], Value::from(origin), "{said}");
    finished(&bed, &promised);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_seen_to_fail_and_to_be_left_to_the_kernel() {
    let (bed, _, running) = copying("offseenbad");
    let waiter = Waiter::start(&[&bed.dm("origin")]);
    std::thread::sleep(std::time::Duration::from_secs(1));
    bed.fail_writes("real");
    running.wait().expect(5);
    let said = waiter.end(5);
    assert_eq!(said["state"], "failed", "{said}");
    assert!(said["next"].as_str().unwrap().contains("merge-ctl resume"), "{said}");
    assert_eq!(wait(&[&bed.dm("origin")], 5)["state"], "failed");
    drop(bed);

    let (bed, promised, running) = copying("offseenint");
    let waiter = Waiter::start(&[&bed.dm("origin")]);
    std::thread::sleep(std::time::Duration::from_secs(1));
    run("kill", &["-INT", &running.pid().to_string()]);
    running.wait().expect(3);
    bed.slow_down(0);
    // The kernel merges the rest, and nobody is there to finish it.
    assert_eq!(waiter.end(3)["state"], "done-not-finished");
    let resumed = merge_ctl(&["resume", "--yes", "--output", "plain", &bed.dm("origin")]).expect(0);
    let said: String = resumed.lines.iter().filter_map(Value::as_str).collect();
    assert!(said.contains("nothing was left to merge") && !said.contains("of 0 B"), "{said}");
    finished(&bed, &promised);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_seen_of_lvm() {
    let slow = Slow::new("vgse-en", "vgseen-disk");
    let content = slow.group.content("snap");
    let (origin, snapshot) = (slow.group.volume("data"), slow.group.volume("snap"));
    let running = slow.begin();
    // All of the others take their time.
    slow.delay(300);
    all_see_it(&running, &origin, &snapshot, "lvm");
    let waiter = Waiter::start(&[&snapshot]);
    std::thread::sleep(std::time::Duration::from_secs(1));
    slow.delay(0);
    running.wait().expect(0);
    let said = waiter.end(0);
    assert_eq!(said["state"], "finished", "{said}");
    assert_merged(&slow.group, &content);
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_seen_of_lvm_from_its_first_step_to_a_kill() {
    let slow = Slow::new("vgseen", "vgseen-disk");
    let content = slow.group.content("snap");
    let snapshot = slow.group.volume("snap");
    slow.delay(30);
    let begin = ["start", "--offline", "--yes", "--output", "plain", "--requests", "1"];
    let running = Running::start(&[&begin[..], &["--bandwidth", "512KiB", &snapshot]].concat());
    until("the volume is down", || !slow.group.path("snap").exists());
    // Nothing is copied yet, and LVM is still to be told of the merge.
    let waiter = Waiter::start(&[&slow.group.volume("data")]);
    super::offline_lvm::until_it_copies(&slow.group);
    std::thread::sleep(std::time::Duration::from_secs(2));
    run("kill", &["-KILL", &running.pid().to_string()]);
    assert_eq!(running.wait().code, -1);
    slow.delay(0);
    let said = waiter.end(3);
    assert_eq!(said["state"], "inactive", "{said}");
    assert!(said["next"].as_str().unwrap().contains("lvchange -ay vgseen/data"), "{said}");
    assert_an_activation_finishes(&slow.group, &content);
}
