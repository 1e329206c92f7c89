//! merge-ctl is killed in an offline merge, in each of its stages, at random moments; then the kernel alone,
//! with no merge-ctl, shows the snapshot's content at once, and makes it.
//!
//! What merge-ctl does is seen from the devices' own counters. `CRASH_KILLS` is how often it is killed in each
//! stage, `CRASH_SEED` fixes when: `cargo xtask crash --offline`. Power cuts are there too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::crash::{kills, random, tell};
use super::failures::inject::{LoopDisk, reload};
use super::offline::{Pair, Traffic};
use super::testbed::{Testbed, dmsetup, mix, put};

/// Exceptions in an area: chunks of one sector.
const PER_AREA: u64 = 32;
const BLOCKS: u64 = 40;
const SECTORS: u64 = BLOCKS * 8;
const AREAS: u64 = SECTORS / PER_AREA;
/// How long a flush takes.
const FLUSH_MS: u64 = 80;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Reading,
    Copying,
    Verifying,
    Flushing,
    Clearing,
}

const STAGES: [Stage; 5] =
    [Stage::Reading, Stage::Copying, Stage::Verifying, Stage::Flushing, Stage::Clearing];

/// What both devices have seen since the merge was begun.
#[derive(Clone, Copy)]
struct Seen {
    real: Traffic,
    cow: Traffic,
}

impl Seen {
    fn of(pair: &Pair) -> Self {
        Self { real: Traffic::of(&pair.real), cow: Traffic::of(&pair.cow) }
    }

    fn since(self, before: Self) -> Self {
        Self { real: self.real.since(before.real), cow: self.cow.since(before.cow) }
    }

    /// What merge-ctl does.
    fn stage(self, verify: bool) -> Stage {
        let is_copied = self.real.written_sectors >= SECTORS;
        if self.cow.written_sectors > 0 {
            Stage::Clearing
        } else if is_copied && (!verify || self.real.read_sectors >= SECTORS) {
            Stage::Flushing
        } else if self.real.read_sectors > 0 {
            Stage::Verifying
        } else if self.real.written_sectors > 0 {
            Stage::Copying
        } else {
            Stage::Reading
        }
    }
}

/// Delays all requests and flushes more than these, or nothing.
fn slow(bed: &Testbed, slow: bool) {
    for what in ["real", "cow"] {
        let name = bed.dm(what);
        let table = dmsetup(&["table", &name]);
        let words: Vec<&str> = table.split_whitespace().collect();
        let (end, disk) = (words[1], words[3]);
        let target = match slow {
            true => format!("delay {disk} 0 1 {disk} 0 1 {disk} 0 {FLUSH_MS}"),
            false => format!("linear {disk} 0"),
        };
        reload(&name, &format!("0 {end} {target}\n"));
    }
}

/// Begins a merge and kills it at the moment of this turn; in which stage that was, if it had not
/// ended.
fn killed(pair: &Pair, aim: Stage, turn: u64) -> Option<Stage> {
    let verify = aim == Stage::Verifying || random(turn ^ 0x11).is_multiple_of(3);
    let requests = ["1", "2", "64"][random(turn ^ 0x22) as usize % 3];
    let mut options = vec!["--requests", requests];
    options.extend(verify.then_some("--verify"));
    // A part of the stage, in thousandths.
    let part = random(turn ^ 0x33) % 1000;
    let of = |whole: u64| whole * part / 1000;
    let before = Seen::of(pair);
    let mut child = pair.spawn(&options);
    let mut reached: Option<Instant> = None;
    loop {
        let seen = Seen::of(pair).since(before);
        let stage = seen.stage(verify);
        let is_there = stage == aim
            && match aim {
                Stage::Reading => seen.cow.read_sectors >= of(3 * AREAS),
                Stage::Copying => seen.real.written_sectors >= of(SECTORS),
                Stage::Verifying => seen.real.read_sectors >= of(SECTORS),
                Stage::Flushing => {
                    let since = reached.get_or_insert_with(Instant::now);
                    since.elapsed() >= Duration::from_millis(of(FLUSH_MS))
                }
                Stage::Clearing => {
                    let since = reached.get_or_insert_with(Instant::now);
                    seen.cow.written_sectors >= of(AREAS)
                        || since.elapsed() >= Duration::from_millis(of(FLUSH_MS))
                }
            };
        // A stage may be over before we look again.
        if is_there || stage > aim {
            let stage = Seen::of(pair).since(before).stage(verify);
            let had_ended = child.try_wait().unwrap().is_some();
            // It may have ended just now, which is as good.
            let _ = child.kill();
            child.wait().unwrap();
            return (!had_ended).then_some(stage);
        }
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

#[test]
#[ignore = "needs a VM: cargo xtask test"]
fn offline_killed_in_each_stage_the_kernel_alone_completes() {
    // RAM disks have no cache, and nothing to flush.
    let disks = ["off-kill-real", "off-kill-cow"].map(|name| LoopDisk::new(name, 2));
    let bed = Testbed::on_disks("off-kill", 2, 1, &disks[0].path, &disks[1].path);
    bed.write_snapshot((0..BLOCKS).map(|at| 480 - at * 12 + mix(at) % 8), 3);
    let promised = bed.image("snap");
    let pair = Pair::below(&bed, 1);
    assert_eq!(pair.exceptions(), SECTORS);
    let before = [bed.image("real"), bed.image("cow")];
    let mut fell = BTreeMap::<String, u64>::new();
    let wanted = kills() * STAGES.len() as u64;
    let mut turn = 0;
    let mut alive = 0;
    while alive < wanted && turn < 4 * wanted {
        let aim = STAGES[(turn % STAGES.len() as u64) as usize];
        slow(&bed, true);
        let stage = killed(&pair, aim, turn);
        slow(&bed, false);
        let left = pair.exceptions();
        let what = format!("turn {turn}, aimed at {aim:?}, fell {stage:?}, {left} exceptions left");
        pair.kernel_completes(&promised, &what);
        pair.nothing_can_come_back(&what);
        put(&pair.real, &before[0]);
        put(&pair.cow, &before[1]);
        let place = stage.map_or("ended".to_owned(), |stage| format!("{stage:?}").to_lowercase());
        *fell.entry(place).or_default() += 1;
        alive += u64::from(stage.is_some());
        turn += 1;
    }
    tell(&format!("\nkilled offline: {fell:?}"));
    assert_eq!(alive, wanted, "it had ended too often: {fell:?}");
}
