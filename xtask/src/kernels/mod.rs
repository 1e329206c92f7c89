//! The kernels that merge-ctl is tried on, by name, and by hand.
//!
//! A kernel here is two files: the image, and an archive with the few modules that the VMs use.
//! Named ones come out of Debian's suites and are kept in the user's cache, so that the network
//! is needed once; `setup --refresh` looks for newer ones.

mod debian;
mod modules;
mod sources;

use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::run::say;
use crate::workspace::Workspace;

/// The kernels that `test` uses unless told otherwise.
pub(crate) const DEFAULT: &str = "6.1,experimental";
/// The kernel that `vm` uses unless told otherwise.
pub(crate) const DEFAULT_VM: &str = "6.1";

/// A kernel of ours: its name, and the suite whose `linux-image-amd64` it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: &'static str,
    suite: &'static str,
}

const NAMED: [Named; 5] = [
    Named { name: "5.10", suite: "bullseye" },
    Named { name: "6.1", suite: "bookworm" },
    Named { name: "6.12", suite: "trixie" },
    Named { name: "sid", suite: "sid" },
    Named { name: "experimental", suite: "experimental" },
];

/// Which kernel to use.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// One of ours.
    Named(Named),
    /// An image and its modules (a directory with `modules.dep`, or one above `lib/modules`).
    ByHand { image: PathBuf, modules: PathBuf },
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(named) => write!(f, "kernel {}", named.name),
            Self::ByHand { image, .. } => write!(f, "kernel {}", image.display()),
        }
    }
}

/// A kernel that is there, ready to boot.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// The name it was asked for by.
    pub(crate) name: String,
    /// The version of its package or its modules' directory.
    pub(crate) version: String,
    /// The image.
    pub(crate) image: PathBuf,
    /// An uncompressed cpio archive of its modules.
    pub(crate) modules: PathBuf,
}

/// The options of every task that boots one kernel or more.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ByHand {
    /// Boot this kernel image; wants --modules
    #[arg(long, value_name = "FILE", requires = "modules")]
    pub(crate) kernel_image: Option<PathBuf>,
    /// The modules that belong to --kernel-image: its /lib/modules/VERSION
    #[arg(long, value_name = "DIR", requires = "kernel_image")]
    pub(crate) modules: Option<PathBuf>,
}

impl ByHand {
    /// The kernel given by hand, if one was.
    pub(crate) fn choice(&self) -> Option<Choice> {
        let (image, modules) = (self.kernel_image.clone()?, self.modules.clone()?);
        Some(Choice::ByHand { image, modules })
    }
}

/// Where this machine gets a suite of Debian's from.
pub(crate) fn mirror(suite: &str) -> Result<String> {
    let source = sources::candidates(suite)?.into_iter().next();
    source.map(|source| source.uri).context("this machine's apt has no mirror")
}

/// The kernel called `name`.
pub(crate) fn parse(name: &str) -> Result<Named> {
    NAMED.into_iter().find(|kernel| kernel.name == name).with_context(|| {
        let names: Vec<_> = NAMED.iter().map(|kernel| kernel.name).collect();
        format!("there is no kernel named {name}; there are {}", names.join(", "))
    })
}

/// The kernels of a list like `6.1,sid`, or `all`.
pub(crate) fn parse_list(names: &str) -> Result<Vec<Named>> {
    if names == "all" {
        return Ok(NAMED.to_vec());
    }
    names.split(',').map(|name| parse(name.trim())).collect()
}

/// Returns the kernel, getting it first if it is not there or `refresh` finds a newer one.
pub(crate) fn ensure(workspace: &Workspace, choice: &Choice, refresh: bool) -> Result<Kernel> {
    match choice {
        Choice::Named(named) => ensure_named(workspace, *named, refresh),
        Choice::ByHand { image, modules } => by_hand(workspace, image, modules),
    }
}

fn ensure_named(workspace: &Workspace, named: Named, refresh: bool) -> Result<Kernel> {
    let dir = workspace.cache.join("kernels").join(named.name);
    let there = read(named.name, &dir);
    if let (Some(kernel), false) = (&there, refresh) {
        return Ok(kernel.clone());
    }
    if !crate::packages::has_apt() {
        bail!("kernels by name come by apt, which is not here: give --kernel-image and --modules");
    }
    let have = there.as_ref().map(|kernel| kernel.version.as_str());
    let suite = debian::Suite::open(named.suite)?;
    if let Some(kernel) = there.as_ref().filter(|_| have == Some(suite.version())) {
        return Ok(kernel.clone());
    }
    say(format_args!("getting kernel {}: {}", named.name, suite.version()));
    let tree = suite.unpack()?;
    let modules = modules::find(tree.path())?;
    pack(&modules, &image_in(tree.path(), &modules)?, suite.version(), &dir)?;
    read(named.name, &dir).with_context(|| format!("kernel {} was not kept", named.name))
}

/// Packs a kernel given by hand, once for each image and time of change.
fn by_hand(workspace: &Workspace, image: &Path, modules: &Path) -> Result<Kernel> {
    let cannot = || format!("cannot read --kernel-image {}", image.display());
    let changed = fs::metadata(image).with_context(cannot)?.modified().with_context(cannot)?;
    let tree = modules::find(modules).context("--modules")?;
    let mut hasher = DefaultHasher::new();
    (image.canonicalize()?, changed, &tree.dir).hash(&mut hasher);
    let dir = workspace.target.join(format!("vm/by-hand-{:016x}", hasher.finish()));
    if let Some(kernel) = read("by-hand", &dir) {
        return Ok(kernel);
    }
    pack(&tree, image, &tree.version, &dir)?;
    read("by-hand", &dir).context("the kernel given by hand was not packed")
}

fn read(name: &str, dir: &Path) -> Option<Kernel> {
    let version = fs::read_to_string(dir.join("version")).ok()?;
    let kernel = Kernel {
        name: name.to_owned(),
        version: version.trim().to_owned(),
        image: dir.join("vmlinuz"),
        modules: dir.join("modules.cpio"),
    };
    (kernel.image.is_file() && kernel.modules.is_file()).then_some(kernel)
}

/// Keeps a kernel in `dir`, which appears whole or not at all.
fn pack(tree: &modules::Tree, image: &Path, version: &str, dir: &Path) -> Result<()> {
    let above = dir.parent().context("a path without a directory")?;
    fs::create_dir_all(above).with_context(|| format!("cannot make {}", above.display()))?;
    let half = tempfile::Builder::new().prefix(".half-").tempdir_in(above)?;
    fs::write(half.path().join("modules.cpio"), modules::pack(tree)?)?;
    fs::copy(image, half.path().join("vmlinuz")).context("cannot copy the kernel image")?;
    fs::write(half.path().join("version"), version)?;
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot replace {}", dir.display()))?;
    }
    fs::rename(half.keep(), dir).with_context(|| format!("cannot make {}", dir.display()))
}

/// Finds the image in unpacked packages: in boot, or since 7.2 beside the modules.
fn image_in(tree: &Path, modules: &modules::Tree) -> Result<PathBuf> {
    let beside = modules.dir.join("vmlinuz");
    if beside.is_file() {
        return Ok(beside);
    }
    let boot = tree.join("boot");
    let entries =
        fs::read_dir(&boot).with_context(|| format!("no kernel in {}", boot.display()))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz")))
        .with_context(|| format!("no kernel image in {}", boot.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_be_all_or_names() {
        assert_eq!(parse_list("all").unwrap().len(), 5);
        let names: Vec<_> = parse_list("6.1, sid").unwrap().iter().map(|k| k.name).collect();
        assert_eq!(names, ["6.1", "sid"]);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = parse("4.19").unwrap_err().to_string();
        assert!(error.contains("4.19") && error.contains("experimental"), "{error}");
    }
}
