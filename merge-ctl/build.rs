//! Sees to it that the eBPF programs, which merge-ctl carries inside, are there.

use std::env;
use std::path::Path;

/// Names the object; set in `.cargo/config.toml`, or by who packages merge-ctl.
const OBJECT: &str = "MERGE_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OBJECT}");
    let Some(object) = env::var_os(OBJECT) else {
        println!("cargo::error={OBJECT} is not set: build inside the workspace, or set it");
        return;
    };
    let object = Path::new(&object).display();
    println!("cargo::rerun-if-changed={object}");
    if !Path::new(&object.to_string()).is_file() {
        println!("cargo::error=the eBPF object {object} is missing: run `cargo xtask ebpf`");
        return;
    }
    println!("cargo::rustc-env={OBJECT}={object}");
}
