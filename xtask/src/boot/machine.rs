//! One boot: a kernel, an initramfs, disks; ended when the machine turns itself off, and killed when it
//! does not.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::vm::qemu;

/// However slow the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const MEMORY_MIB: u32 = 1024;

/// Boots, with the disks that `attach` adds, and gives all that was said on the console; `watch` sees it while
/// it grows. Whatever does not end within `patience` is killed.
pub(crate) fn boot(
    (kernel, initrd): (&Path, &Path),
    options: &str,
    attach: impl FnOnce(&mut Command),
    patience: Duration,
    mut watch: impl FnMut(&str),
) -> Result<String> {
    let dir = tempfile::Builder::new().prefix("merge-boot-").tempdir()?;
    let mut command = qemu::bare(dir.path(), (kernel, initrd), MEMORY_MIB, options)?;
    attach(&mut command);
    let log = dir.path().join("qemu.log");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
    let mut child = Killed(command.spawn().context("cannot run QEMU")?);
    let begun = Instant::now();
    let console = || {
        let bytes = fs::read(dir.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    loop {
        let ended = child.0.try_wait()?;
        let said = console();
        watch(&said);
        match ended {
            Some(status) if status.success() => return Ok(said),
            Some(status) => bail!("QEMU: {status}\n{}", fs::read_to_string(&log)?),
            None if begun.elapsed() > patience => {
                bail!("it does not come to an end\n{}", tail(&said))
            }
            None => thread::sleep(LOOK_EVERY),
        }
    }
}

/// The last lines.
pub(crate) fn tail(console: &str) -> String {
    let lines: Vec<_> = console.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
