//! Runs the engine on a thread of its own, and shows what it does.

use std::sync::Arc;

use anyhow::Context;
use merge_ctl::offline::meter::Meter;
use merge_ctl::offline::{self, Devices, Outcome};
use tokio::signal::ctrl_c;

use crate::cli::Start;

/// What is merged, as people call it.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The origin.
    pub(super) origin: String,
    /// The snapshot; none where there are only images.
    pub(super) snapshot: Option<String>,
}

/// Merges and shows it, until it is done or somebody stops it.
pub(super) async fn follow(
    _subject: &Subject,
    devices: Devices,
    options: &Start,
) -> anyhow::Result<Outcome> {
    let meter = Arc::new(Meter::default());
    let engine = super::engine(options);
    let metered = Arc::clone(&meter);
    let mut merge =
        tokio::task::spawn_blocking(move || offline::merge(&devices, &engine, &metered));
    loop {
        tokio::select! {
            outcome = &mut merge => return Ok(outcome.context("the engine panicked")??),
            pressed = ctrl_c() => { pressed?; meter.stop(); }
        }
    }
}
