//! Every device-mapper command against a real kernel: a snapshot over two RAM disks is merged live
//! and finished, by the library's own hands.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use merge_ctl::dm::device::{Removal, Slot};
use merge_ctl::dm::{
    Control, DeviceId, DeviceRef, DmErrorKind, Host, Persistence, SnapshotArgs, Subject,
    SuspendOptions, Table, Target, holders, in_flight, nodes, resolve, throttle,
};
use merge_ctl::units::{ChunkSize, DeviceNumber, Sectors};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::testbed::{ram_disk, wipe_header};

const SIZE: Sectors = Sectors(65_536);
const OLD: &[u8] = &[0x11; 4096];
const NEW: &[u8] = &[0x22; 4096];

/// The devices of a test; goes in reverse order, also after a panic.
struct Stack {
    control: Control,
    made: Vec<(String, DeviceNumber)>,
}

impl Stack {
    fn make(&mut self, name: &str, target: Target) -> DeviceNumber {
        let dev = self.control.create(name, None).unwrap().dev;
        self.made.push((name.to_owned(), dev));
        self.control.load(name, &Table::single(SIZE, target), false).unwrap();
        self.control.resume(Subject::name(name).expecting(dev)).unwrap();
        assert_eq!(nodes::ensure(name, dev).unwrap(), Path::new("/dev/mapper").join(name));
        dev
    }

    fn unmake(&mut self, name: &str) {
        let at = self.made.iter().position(|(made, _)| made == name).unwrap();
        let (name, dev) = self.made.remove(at);
        assert_eq!(self.control.remove(&*name, false).unwrap(), Removal::Done);
        nodes::forget(&name, dev).unwrap();
        assert!(!Path::new("/dev/mapper").join(&name).exists());
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for (name, dev) in self.made.iter().rev() {
            let removed =
                self.control.resume(&**name).is_ok() | self.control.remove(&**name, false).is_ok();
            println!("clean-up of {name}: {removed} {:?}", nodes::forget(name, *dev));
        }
    }
}

fn scratch() -> (DeviceNumber, DeviceNumber) {
    let (origin, cow) = (ram_disk(), ram_disk());
    wipe_header(Path::new(&cow));
    let dev = |path: &str| nodes::block_device_of(Path::new(path)).unwrap().unwrap();
    (dev(&origin), dev(&cow))
}

fn write(name: &str, chunk: u64, content: &[u8]) {
    let file = File::options().write(true).open(format!("/dev/mapper/{name}")).unwrap();
    file.write_all_at(content, chunk * 4096).unwrap();
    file.sync_all().unwrap();
}

fn read(name: &str, chunk: u64) -> Vec<u8> {
    let mut content = vec![0; 4096];
    let file = File::open(format!("/dev/mapper/{name}")).unwrap();
    file.read_exact_at(&mut content, chunk * 4096).unwrap();
    content
}

fn linear(device: DeviceNumber) -> Target {
    Target::Linear { device: device.into(), offset: Sectors(0) }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn a_snapshot_is_merged_live_and_finished() {
    let (disk, cow_disk) = scratch();
    let mut stack = Stack { control: Control::open().unwrap(), made: Vec::new() };
    println!("interface {:?}", stack.control.version());
    let real = stack.make("t-real", linear(disk));
    let cow = stack.make("t-cow", linear(cow_disk));
    for chunk in 0..64 {
        write("t-real", chunk, OLD);
    }
    let args = SnapshotArgs {
        real: real.into(),
        cow: cow.into(),
        persistence: Persistence::Persistent,
        chunk_size: ChunkSize::from_sectors(8).unwrap(),
        features: vec![],
    };
    let origin = stack.make("t-data", Target::SnapshotOrigin { real: real.into() });
    let snap = stack.make("t-snap", Target::Snapshot(args.clone()));
    assert!(stack.control.targets().unwrap().iter().any(|target| target.kind == "snapshot-merge"));
    for chunk in 8..24 {
        write("t-snap", chunk, NEW);
    }
    let status = stack.control.status(DeviceId::Name("t-snap"), true).unwrap();
    let usage = status.snapshot().unwrap().usage().unwrap();
    assert_eq!(usage.exceptions(), Sectors(16 * 8));

    the_picture_is_right(&stack.control, origin, snap, real);
    refusals(&stack.control, &args, origin);
    hand_over(&stack.control, &args);
    wait_for_merge(&stack.control);
    for chunk in 0..64 {
        let expected = if (8..24).contains(&chunk) { NEW } else { OLD };
        assert_eq!(read("t-data", chunk), expected, "chunk {chunk}");
    }
    finish(&mut stack, real);
    assert_eq!(read("t-data", 8), NEW);
    for name in ["t-data", "t-cow", "t-real"] {
        stack.unmake(name);
    }
    let left = stack.control.list().unwrap();
    assert!(!left.iter().any(|device| device.name.starts_with("t-")), "{left:?}");
}

fn the_picture_is_right(
    control: &Control,
    origin: DeviceNumber,
    snap: DeviceNumber,
    real: DeviceNumber,
) {
    let host = Host::read(control).unwrap();
    assert_eq!(host.origin_over(real).unwrap().info.dev, origin);
    assert_eq!(host.siblings_of(real, snap).count(), 0);
    let kernel_name = format!("/dev/dm-{}", snap.minor);
    for given in ["t-snap", "/dev/mapper/t-snap", &kernel_name] {
        assert_eq!(resolve::resolve(&host, given).unwrap().info.dev, snap, "{given}");
    }
    assert_eq!(throttle::read().unwrap(), Some(100));
    assert_eq!(in_flight::read(origin).unwrap().writes, 0);
    let mut above: Vec<_> =
        holders::holders_of(real).unwrap().0.iter().map(ToString::to_string).collect();
    above.sort();
    assert_eq!(above, ["below t-data", "below t-snap"]);
    let table = control.table(DeviceId::Dev(snap), Slot::Live).unwrap();
    assert_eq!(Table::parse(&table.to_string()), Some(table));
    assert_eq!(control.table(DeviceId::Dev(snap), Slot::Inactive).unwrap(), Table::default());
}

fn refusals(control: &Control, args: &SnapshotArgs, origin: DeviceNumber) {
    let kind = |result: Result<(), merge_ctl::dm::DmError>| {
        let error = result.unwrap_err();
        println!("{error}");
        error.kind
    };
    assert_eq!(kind(control.info(DeviceId::Name("t-none")).map(drop)), DmErrorKind::NoSuchDevice);
    assert_eq!(kind(control.info(DeviceId::Uuid("t-none")).map(drop)), DmErrorKind::NoSuchDevice);
    assert_eq!(kind(control.remove("t-none", false).map(drop)), DmErrorKind::NoSuchDevice);
    assert_eq!(kind(control.remove("t-real", false).map(drop)), DmErrorKind::Busy);
    assert_eq!(kind(control.create("t-real", None).map(drop)), DmErrorKind::Busy);
    assert_eq!(kind(control.create("t/real", None).map(drop)), DmErrorKind::Refused);
    let other = Subject::name("t-cow").expecting(origin);
    assert!(matches!(kind(control.clear(other).map(drop)), DmErrorKind::OtherDevice { .. }));
    let transient = SnapshotArgs { persistence: Persistence::Transient, ..args.clone() };
    let merge = Table::single(SIZE, Target::SnapshotMerge(transient));
    // 5.10 takes this table; later kernels refuse it. The tool must not rely on the kernel here.
    match control.load("t-data", &merge, false) {
        Ok(_) => assert!(!control.clear("t-data").unwrap().inactive_table),
        Err(error) => assert_eq!(error.kind, DmErrorKind::Refused, "{error}"),
    }
    let nowhere = SnapshotArgs { real: DeviceRef::Path("/dev/none".into()), ..args.clone() };
    let merge = Table::single(SIZE, Target::SnapshotMerge(nowhere));
    assert_eq!(kind(control.load("t-data", &merge, false).map(drop)), DmErrorKind::NoSuchDevice);

    // Handing over is refused while the source still runs; the origin must be whole afterwards.
    let merge = Table::single(SIZE, Target::SnapshotMerge(args.clone()));
    control.load("t-data", &merge, false).unwrap();
    assert_eq!(control.table(DeviceId::Name("t-data"), Slot::Inactive).unwrap().0.len(), 1);
    assert_eq!(kind(control.resume("t-data").map(drop)), DmErrorKind::Refused);
    let after = control.info(DeviceId::Name("t-data")).unwrap();
    // As Control::resume warns: the refused table is live, and the device suspended.
    assert!(after.suspended && !after.inactive_table);
    let live = control.table(DeviceId::Name("t-data"), Slot::Live).unwrap();
    assert_eq!(live.only().unwrap().kind(), "snapshot-merge");
    let origin_again = Table::single(SIZE, Target::SnapshotOrigin { real: args.real.clone() });
    control.load("t-data", &origin_again, false).unwrap();
    control.resume("t-data").unwrap();
    let snap = control.status(DeviceId::Name("t-snap"), true).unwrap();
    assert_eq!(snap.snapshot().unwrap().usage().unwrap().exceptions(), Sectors(16 * 8));

    // A table that is loaded can be dropped again.
    control.load("t-cow", &Table::single(SIZE, Target::Error), true).unwrap();
    assert!(control.info(DeviceId::Name("t-cow")).unwrap().inactive_table);
    assert!(!control.clear("t-cow").unwrap().inactive_table);
}

fn hand_over(control: &Control, args: &SnapshotArgs) {
    let merge = Table::single(SIZE, Target::SnapshotMerge(args.clone()));
    control.load("t-data", &merge, false).unwrap();
    control.load("t-snap", &Table::single(SIZE, Target::Error), false).unwrap();
    assert!(control.suspend("t-data", SuspendOptions::default()).unwrap().suspended);
    let no_freeze = SuspendOptions { lock_fs: false, flush: true };
    assert!(control.suspend("t-snap", no_freeze).unwrap().suspended);
    assert!(!control.resume("t-data").unwrap().suspended);
    control.resume("t-snap").unwrap();
    assert_eq!(
        control.table(DeviceId::Name("t-snap"), Slot::Live).unwrap().only(),
        Some(&Target::Error)
    );
}

fn wait_for_merge(control: &Control) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let status = control.status(DeviceId::Name("t-data"), true).unwrap();
        assert!(status.is_merging());
        if status.snapshot().unwrap().usage().unwrap().is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{status:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let host = Host::read(control).unwrap();
    assert_eq!(host.merges().count(), 1);
    // A merge that runs cannot be loaded over itself.
    let merge = host.by_name("t-data").unwrap().table.clone();
    let error = control.load("t-data", &merge, false).unwrap_err();
    assert_eq!(error.kind, DmErrorKind::Refused, "{error}");
}

fn finish(stack: &mut Stack, real: DeviceNumber) {
    let changed = |wait_s| {
        let mut fds = [PollFd::new(&stack.control, PollFlags::IN)];
        let wait = Timespec { tv_sec: wait_s, tv_nsec: 0 };
        poll(&mut fds, Some(&wait)).unwrap() == 1
    };
    stack.control.arm_poll().unwrap();
    assert!(!changed(0));
    stack.control.load("t-data", &Table::single(SIZE, linear(real)), false).unwrap();
    stack.control.resume("t-data").unwrap();
    assert!(changed(1), "a new table makes the control device readable");
    stack.unmake("t-snap");

    // A device in use goes once it is closed.
    let dev = stack.make("t-busy", linear(real));
    let open = File::open("/dev/mapper/t-busy").unwrap();
    assert_eq!(stack.control.remove("t-busy", true).unwrap(), Removal::Deferred);
    assert!(stack.control.info(DeviceId::Dev(dev)).unwrap().deferred_remove);
    drop(open);
    let deadline = Instant::now() + Duration::from_secs(5);
    while stack.control.info(DeviceId::Dev(dev)).is_ok() {
        assert!(Instant::now() < deadline, "still there");
        std::thread::sleep(Duration::from_millis(10));
    }
    stack.made.retain(|(name, _)| name != "t-busy");
    assert!(nodes::forget("t-busy", dev).unwrap());
}
