//! Everything a contributor to merge-ctl types.
fn main() {}
