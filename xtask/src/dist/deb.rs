//! The Debian packages, by cargo-deb from `merge-ctl/Cargo.toml` and the staged files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::VERSION;
use super::binary::target_dir;
use super::moment::Moment;
use super::stage::Stage;
use crate::build::TARGET;
use crate::tool::Tool;
use crate::workspace::Workspace;

const CARGO_DEB: Tool = Tool { name: "cargo-deb", version: "3.8.0" };

/// Makes both: merge-ctl's, and that of its boot hooks.
pub(super) fn make(
    workspace: &Workspace,
    moment: Moment,
    stage: &Stage,
    out: &Path,
) -> Result<[PathBuf; 2]> {
    let file = |name: &str| out.join(format!("{name}_{VERSION}-1_amd64.deb"));
    let packages = [file("merge-ctl"), file("merge-ctl-initramfs")];
    one(workspace, moment, stage, &[], &packages[0])?;
    one(workspace, moment, stage, &["--variant", "initramfs"], &packages[1])?;
    Ok(packages)
}

fn one(
    workspace: &Workspace,
    moment: Moment,
    stage: &Stage,
    variant: &[&str],
    file: &Path,
) -> Result<()> {
    let tool = CARGO_DEB.ensure(workspace)?;
    let mut command = workspace.with_cargo(tool);
    moment.tell(&mut command);
    command
        .args(["--no-build", "--no-strip", "--quiet", "--package", "merge-ctl", "--target", TARGET])
        .args(variant)
        .args(["--maintainer", &stage.maintainer])
        .arg("--output")
        .arg(file)
        .env("CARGO_TARGET_DIR", target_dir(workspace));
    command.quietly().with_context(|| format!("{} is not made", file.display()))
}
