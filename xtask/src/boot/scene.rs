//! The disk that is booted from, made in a VM, and kept as it was before and after the merge went on
//! record.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::kernels::Kernel;
use crate::run::say;
use crate::vm::disks::{Disk, Disks};
use crate::vm::{Lasting, Vm};
use crate::workspace::Workspace;

const DISK: Disk = Disk { serial: "boot", bytes: 144 << 20 };
const PREPARE: &str = include_str!("../../guest/boot-prepare");
const INIT: &str = include_str!("../../guest/boot-init");
/// However slow the machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// See the module.
pub(super) struct Scene {
    /// The disk; what is on it is one of the states below, or what a boot has left.
    pub(super) disks: Arc<Disks>,
    unrecorded: Vec<Vec<u8>>,
    recorded: Vec<Vec<u8>>,
    /// What the root holds without the merge, and with it.
    pub(super) contents: [String; 2],
}

impl Scene {
    /// Makes it.
    pub(super) fn prepare(
        workspace: &Workspace,
        kernel: &Kernel,
        merge_ctl: &Path,
    ) -> Result<Self> {
        say("preparing the disk to boot from");
        let disks = Arc::new(Disks::new(&[DISK], false)?);
        let dir = tempfile::tempdir()?;
        for (name, text) in [("boot-prepare", PREPARE), ("boot-init", INIT)] {
            fs::write(dir.path().join(name), text)?;
        }
        let run = |command: &[&str]| -> Result<String> {
            let mut vm = Vm::new(kernel.clone());
            vm.copies = ["boot-prepare", "boot-init"].map(|name| dir.path().join(name)).into();
            vm.copies.push(merge_ctl.to_owned());
            vm.lasting = Some(Lasting { disks: Arc::clone(&disks), first: 0 });
            vm.timeout = Some(PATIENCE);
            let command: Vec<_> = command.iter().map(Into::into).collect();
            let mut said = Vec::new();
            let status = vm.run_into(workspace, &command, &mut said, &mut std::io::stderr())?;
            let said = String::from_utf8_lossy(&said).into_owned();
            if status != 0 {
                bail!("the disk to boot from could not be made: status {status}\n{said}");
            }
            Ok(said)
        };
        let said = run(&["sh", "boot-prepare"])?;
        let line = said.lines().find_map(|line| line.strip_prefix("contents "));
        let (old, new) =
            line.and_then(|line| line.split_once(' ')).context("no contents are told")?;
        let contents = [old, new].map(|sum| sum.trim().to_owned());
        let unrecorded = disks.contents();
        // Nobody uses it, so LVM would merge at once if it were active.
        run(&["sh", "-c", "lvm lvconvert -q --merge vg/snap && sync"])?;
        let recorded = disks.contents();
        Ok(Self { disks, unrecorded, recorded, contents })
    }

    /// Puts the disk into one of its states.
    pub(super) fn set(&self, recorded: bool) {
        self.disks.put_back(if recorded { &self.recorded } else { &self.unrecorded });
    }
}
