//! The packages for rpm, by cargo-generate-rpm from `merge-ctl/Cargo.toml` and the staged files.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::binary::target_dir;
use super::moment::Moment;
use super::stage::Stage;
use super::{VERSION, files};
use crate::build::TARGET;
use crate::tool::Tool;
use crate::workspace::Workspace;

const CARGO_GENERATE_RPM: Tool = Tool { name: "cargo-generate-rpm", version: "0.21.1" };
/// What only Debian has a use for.
const NOT_HERE: [&str; 4] = [
    "usr/share/lintian",
    "changelog.Debian.gz",
    "usr/share/initramfs-tools",
    "merge-ctl-initramfs",
];
/// Where Debian puts it, and where others do.
const ELSEWHERE: [(&str, &str); 1] = [("zsh/vendor-completions", "zsh/site-functions")];

/// Makes both: merge-ctl's, and that of its boot hooks.
pub(super) fn make(workspace: &Workspace, moment: Moment, stage: &Stage, out: &Path) -> Result<()> {
    one(workspace, moment, ("main", "merge-ctl"), &stage.main(), out)?;
    one(workspace, moment, ("dracut", "merge-ctl-dracut"), &stage.initramfs(), out)
}

fn one(
    workspace: &Workspace,
    moment: Moment,
    (variant, name): (&str, &str),
    tree: &Path,
    out: &Path,
) -> Result<()> {
    let list = target_dir(workspace).join(format!("rpm-{variant}.toml"));
    fs::write(&list, assets(tree)?)?;
    let mut command = workspace.with_cargo(CARGO_GENERATE_RPM.ensure(workspace)?);
    moment.tell(&mut command);
    command
        .args(["generate-rpm", "--package", "merge-ctl", "--target", TARGET])
        .arg("--target-dir")
        .arg(target_dir(workspace))
        .args(["--variant", variant, "--metadata-overwrite"])
        .arg(&list)
        .args(["--source-date", &moment.0.to_string()])
        .arg("--output")
        .arg(out.join(format!("{name}-{VERSION}-1.x86_64.rpm")));
    command.quietly().with_context(|| format!("{name}'s rpm is not made"))
}

/// The list of files that cargo-generate-rpm wants, one by one.
fn assets(tree: &Path) -> Result<String> {
    let mut list = "assets = [\n".to_owned();
    for file in below(tree)? {
        let path = file.strip_prefix(tree)?.display().to_string();
        if NOT_HERE.iter().any(|part| path.contains(part)) {
            continue;
        }
        let doc = path.starts_with("usr/share/doc");
        let dest = ELSEWHERE.iter().fold(path, |path, (ours, theirs)| path.replace(ours, theirs));
        let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
        writeln!(
            list,
            "  {{ source = {:?}, dest = \"/{dest}\", mode = \"{mode:o}\", doc = {doc} }},",
            file.display().to_string()
        )?;
    }
    Ok(list + "]\n")
}

fn below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for file in files(directory)? {
        match file.is_dir() {
            true => all.extend(below(&file)?),
            false => all.push(file),
        }
    }
    Ok(all)
}
