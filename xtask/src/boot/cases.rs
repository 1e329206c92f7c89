//! What may happen at a boot, and what must be there afterwards.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::debian::Kind;
use super::machine;
use super::scene::Scene;
use crate::vm::disks::Asked;
use crate::vm::qemu;

/// What both kinds need: the console that we read, and the root.
const OPTIONS: &str =
    "console=ttyS0 panic=-1 oops=panic quiet no_timer_check root=/dev/mapper/vg-root ro";
/// dracut activates only what it is told to.
const OF_DRACUT: &str = "rd.lvm.lv=vg/root";
/// See the module.
pub(super) struct Case {
    /// Its name.
    pub(super) name: &'static str,
    /// What the kernel is told.
    flags: &'static str,
    /// Whether a merge is on record.
    recorded: bool,
    /// How long the disk takes for each request from its first write on, until merge-ctl has ended.
    slow_ms: u64,
    /// Whether merge-ctl is one that never ends.
    pub(super) hangs: bool,
    /// Whether the kernel must have nothing left to merge.
    merged: bool,
    /// What must be said.
    says: &'static [&'static str],
    /// What must not be said.
    never: &'static [&'static str],
    /// Whether `cargo xtask test` tries it.
    pub(super) in_short: bool,
}

const PLAIN: Case = Case {
    name: "",
    flags: "",
    recorded: true,
    slow_ms: 0,
    hangs: false,
    merged: false,
    says: &[],
    never: &[],
    in_short: false,
};

pub(super) const CASES: [Case; 8] = [
    Case {
        name: "merged-before-activation",
        flags: "merge-ctl.offline=vg/root",
        merged: true,
        says: &["all of vg/snap is merged into vg/root", "vg/root: done"],
        in_short: true,
        ..PLAIN
    },
    Case {
        name: "time-limit",
        flags: "merge-ctl.offline=vg/root merge-ctl.limit=10s",
        slow_ms: 400,
        says: &["vg/root: the time was over"],
        never: &["all of vg/snap is merged"],
        ..PLAIN
    },
    // So slow that it hardly can stop in time: it may be killed with requests under way.
    Case {
        name: "very-slow-disk",
        flags: "merge-ctl.offline=vg/root merge-ctl.limit=15s",
        slow_ms: 1500,
        says: &["vg/root is activated in the ordinary way now"],
        never: &["all of vg/snap is merged"],
        ..PLAIN
    },
    Case { name: "not-asked-for", never: &["merge-ctl"], ..PLAIN },
    Case {
        name: "nothing-on-record",
        flags: "merge-ctl.offline=vg/root",
        recorded: false,
        says: &["nothing is to be done"],
        ..PLAIN
    },
    Case {
        name: "no-such-volume",
        flags: "merge-ctl.offline=vg/rot",
        says: &["LVM knows no volume vg/rot", "merge-ctl ended with status 2"],
        ..PLAIN
    },
    Case {
        name: "no-such-group",
        flags: "merge-ctl.offline=other/root merge-ctl.limit=3s",
        says: &["merge-ctl-boot: "],
        ..PLAIN
    },
    Case {
        name: "hanging-merge-ctl",
        flags: "merge-ctl.offline=vg/root merge-ctl.limit=2s",
        hangs: true,
        says: &["is killed"],
        ..PLAIN
    },
];

impl Case {
    /// Boots and judges.
    pub(super) fn run(
        &self,
        kind: Kind,
        scene: &Scene,
        booted: (&Path, &Path),
        show: bool,
    ) -> Result<()> {
        scene.set(self.recorded);
        let of_kind = if kind == Kind::Dracut { OF_DRACUT } else { "" };
        let options = format!("{OPTIONS} {of_kind} {}", self.flags);
        if self.slow_ms > 0 {
            let (disks, slow) = (Arc::clone(&scene.disks), Duration::from_millis(self.slow_ms));
            // merge-ctl writes first: nobody else does before the root is there.
            scene.disks.watch(Box::new(move |_, asked| {
                if asked == Asked::Write {
                    disks.slow_down(slow);
                }
                false
            }));
        }
        let attach = |command: &mut Command| {
            for (serial, socket) in scene.disks.sockets() {
                qemu::add_lasting(command, serial, socket);
            }
        };
        let mut is_slow = self.slow_ms > 0;
        let console = machine::boot(booted, &options, attach, machine::PATIENCE, |console| {
            // The ordinary way is not what is to be slow.
            if is_slow && console.contains("activated in the ordinary way now") {
                is_slow = false;
                scene.disks.do_not_cut();
                scene.disks.slow_down(Duration::ZERO);
            }
        });
        scene.disks.do_not_cut();
        scene.disks.slow_down(Duration::ZERO);
        let console = console?;
        if show {
            println!("{console}");
        }
        self.judge(&console, scene).with_context(|| machine::tail(&console))
    }

    fn judge(&self, console: &str, scene: &Scene) -> Result<()> {
        for words in self.says {
            ensure!(console.contains(words), "it did not say {words:?}");
        }
        for words in self.never {
            ensure!(!console.contains(words), "it said {words:?}");
        }
        ensure!(console.contains("booted end"), "the root did not come up");
        let root = told(console, "booted root ")?;
        let version = if self.recorded { "new" } else { "old" };
        let expected = format!("{version} {}", scene.contents[usize::from(self.recorded)]);
        ensure!(root == expected, "the root holds {root}, and not {expected}");
        if !self.recorded {
            return Ok(());
        }
        let status = told(console, "booted status ")?;
        let left = left_to_merge(&status)?;
        ensure!(!self.merged || left == 0, "{left} sectors were left to merge: {status}");
        Ok(())
    }
}

fn told(console: &str, what: &str) -> Result<String> {
    let line = console.lines().find_map(|line| line.split_once(what));
    line.map(|(_, rest)| rest.trim().to_owned()).with_context(|| format!("no line {what:?}"))
}

/// Sectors of the COW device that are in use and are no metadata.
fn left_to_merge(status: &str) -> Result<u64> {
    let words: Vec<_> = status.split_whitespace().collect();
    match words[..] {
        [_, _, "linear"] => Ok(0),
        [_, _, "snapshot-merge", usage, metadata] => {
            let used: u64 = usage.split_once('/').context("no usage")?.0.parse()?;
            Ok(used.saturating_sub(metadata.parse()?))
        }
        _ => bail!("the root is neither a plain volume nor a merging one: {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_how_much_is_left() {
        assert_eq!(left_to_merge("0 8192 linear").unwrap(), 0);
        assert_eq!(left_to_merge("0 8192 snapshot-merge 16/98304 16").unwrap(), 0);
        assert_eq!(left_to_merge("0 8192 snapshot-merge 4112/98304 16").unwrap(), 4096);
        left_to_merge("0 8192 snapshot-origin").unwrap_err();
    }
}
