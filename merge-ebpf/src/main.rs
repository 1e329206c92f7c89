//! The eBPF programs of merge-ctl.
fn main() {}
