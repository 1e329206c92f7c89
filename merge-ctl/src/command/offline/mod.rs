//! `merge-ctl start --offline`: a merge by merge-ctl's own engine.
//!
//! Three sorts of merges come here, each with its own order of things around the engine: volumes of
//! LVM, devices of device-mapper, and images without either.

mod census;
mod dry_run;
mod follow;
mod images;
mod lvm;
mod raw;

use std::process::ExitCode;

use merge_ctl::dm::{Control, Host};
use merge_ctl::merge::preflight::Way;
use merge_ctl::offline::Options;

use super::{elsewhere, plans};
use crate::cli::Start;

/// Merges offline.
pub(super) async fn run(options: &Start) -> anyhow::Result<ExitCode> {
    let offline = &options.offline;
    if let (Some(origin), Some(cow)) = (&offline.origin_device, &offline.cow_device) {
        return images::run(origin, cow, options).await;
    }
    let control = Control::open()?;
    elsewhere::refuse(&Host::read(&control)?, &options.snapshots)?;
    if offline.scheduled {
        return lvm::run_scheduled(&control, options).await;
    }
    if let Some(exit) = lvm::run_asleep(&control, options).await? {
        return Ok(exit);
    }
    let host = plans::settled_host(&control, &options.snapshots)?;
    for snapshot in &options.snapshots {
        raw::begun_before(&host, snapshot)?;
    }
    let plans = plans::gate(&control, &host, &options.snapshots, false)?;
    let [plan] = &plans[..] else {
        anyhow::bail!("one snapshot at a time is merged offline: name one");
    };
    match &plan.way {
        Way::Lvm { .. } => lvm::run(&control, &host, plan, options).await,
        Way::DeviceMapper(_) => raw::run(&control, &host, plan, options).await,
    }
}

/// Whether the time limit is over.
fn is_over(options: &Start) -> bool {
    options.offline.time_limit.is_some_and(|limit| limit.is_over())
}

/// What the command line says of the engine.
fn engine(options: &Start) -> Options {
    let (offline, default) = (&options.offline, Options::default());
    Options {
        memory_bytes: offline.memory.map_or(default.memory_bytes, Into::into),
        requests: offline.requests.unwrap_or(default.requests),
        verify: offline.verify,
        bandwidth_bytes: offline.bandwidth,
        ..default
    }
}
