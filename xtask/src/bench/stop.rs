//! Ctrl-C, and the other signals that ask a bench to end: it ends at the next step, so that what it
//! has made is taken away. Programs that it runs get the same signal and end by themselves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Listens from now on.
pub(super) fn catch() -> Result<()> {
    let stop = STOP.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(stop))?;
    }
    Ok(())
}

/// Whether the user wants no more.
pub(super) fn is_asked() -> bool {
    STOP.get().is_some_and(|stop| stop.load(Ordering::Relaxed))
}

/// To be called between two steps.
pub(super) fn check() -> Result<()> {
    if is_asked() {
        bail!("stopped; everything is taken away");
    }
    Ok(())
}
