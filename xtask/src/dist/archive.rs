//! The same files as an archive, for distributions without a package.

use std::path::Path;

use anyhow::Result;

use super::VERSION;
use super::moment::Moment;
use super::stage::Stage;
use crate::run::Command;

/// Makes it.
pub(super) fn make(moment: Moment, stage: &Stage, out: &Path) -> Result<()> {
    let name = format!("merge-ctl-{VERSION}-x86_64-linux");
    let tar = out.join(format!("{name}.tar"));
    let mut command = Command::new("tar");
    moment.tell(&mut command);
    command
        .args(["--create", "--sort=name", "--format=gnu", "--owner=0", "--group=0"])
        .args(["--numeric-owner", &format!("--mtime=@{}", moment.0)])
        .arg(format!("--transform=s,^\\.,{name},"))
        .arg("--file")
        .arg(&tar);
    for package in [stage.main(), stage.initramfs()] {
        command.arg("--directory").arg(package).arg(".");
    }
    command.quietly()?;
    gzip(&tar)
}

/// Packs a file in place, without its name and time.
pub(super) fn gzip(file: &Path) -> Result<()> {
    Command::new("gzip").args(["-9", "--no-name", "--force"]).arg(file).quietly()
}
