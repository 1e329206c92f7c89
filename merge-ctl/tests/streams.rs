//! Whoever reads what merge-ctl prints may go away at any time: that ends nothing half-way.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, to keep the trace")]

use std::fs;
use std::io::pipe;
use std::process::{Command, Stdio};

/// A pipe that nobody reads any more.
fn nobody() -> Stdio {
    let (_, writer) = pipe().unwrap();
    writer.into()
}

#[test]
fn a_dump_whose_reader_is_gone_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (cow, dump) = (directory.path().join("cow"), directory.path().join("dump"));
    let mut store = vec![0; 64 * 1024];
    for (word, bytes) in [0x7041_6e53_u32, 1, 1, 8].iter().zip(store.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    fs::write(&cow, store).unwrap();
    let merge_ctl = || Command::new(env!("CARGO_BIN_EXE_merge-ctl"));
    let saved = merge_ctl().arg("dump").arg(&cow).arg("-o").arg(&dump).stderr(nobody()).status();
    assert_eq!(saved.unwrap().code(), Some(0));
    let read = merge_ctl().args(["plan", "--no-calibrate", "--json"]).arg(&dump).output().unwrap();
    assert_eq!(read.status.code(), Some(0), "{read:?}");

    // What was asked for cannot be said: that is an error, and no panic, which would end in 101.
    let plan = merge_ctl().args(["plan", "--no-calibrate"]).arg(&dump).stdout(nobody()).status();
    assert_eq!(plan.unwrap().code(), Some(1));
}
