//! bpf-linker: the one tool of the eBPF side that is not packaged.
//!
//! It must be built with the same LLVM as the compiler that feeds it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::packages;
use crate::tool::Tool;
use crate::workspace::Workspace;

/// The version that was tried with LLVM 22 and Debian's compiler.
const LINKER: Tool = Tool { name: "bpf-linker", version: "0.13.0" };
const LLVM: &str = "/usr/lib/llvm-22";

/// Returns the path of a working bpf-linker, building it if need be.
pub(crate) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(linker) = LINKER.find(workspace)? {
        return Ok(linker);
    }
    if !Path::new(LLVM).is_dir() {
        return packages::find("bpf-linker")
            .with_context(|| format!("there is no LLVM in {LLVM} and no bpf-linker on PATH"));
    }
    LINKER.build(workspace, |cargo| {
        cargo
            .args(["--no-default-features", "--features", "llvm-22"])
            .env("LLVM_SYS_221_PREFIX", LLVM)
            .env("LLVM_PREFIX", LLVM);
    })
}
