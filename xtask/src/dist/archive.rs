//! The same files as an archive, for distributions without a package: what each package has, below a directory
//! of its own, since boot hooks must not come with the rest.

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
        .arg(format!("--transform=s,^main,{name}/merge-ctl,"))
        .arg(format!("--transform=s,^initramfs,{name}/merge-ctl-initramfs,"))
        .arg("--directory")
        .arg(stage.root())
        .arg("--file")
        .arg(&tar)
        .args(["initramfs", "main"]);
    command.quietly()?;
    gzip(&tar)
}

/// Packs a file in place, without its name and time.
pub(super) fn gzip(file: &Path) -> Result<()> {
    Command::new("gzip").args(["-9", "--no-name", "--force"]).arg(file).quietly()
}
