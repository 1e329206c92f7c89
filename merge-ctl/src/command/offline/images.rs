//! Images: an origin and a COW device as devices or files, without device-mapper, on any Linux.

use std::path::Path;
use std::process::ExitCode;

use merge_ctl::harmless;
use merge_ctl::offline::{Devices, Outcome, Target};

use super::follow::{Subject, Whose, follow};
use crate::cli::Start;
use crate::exit::Exit;

/// Merges the store on `cow` into `origin`.
pub(super) async fn run(origin: &Path, cow: &Path, options: &Start) -> anyhow::Result<ExitCode> {
    let (origin_label, cow_label) = (harmless::path(origin), harmless::path(cow));
    let devices = Devices {
        origin: Target::open(origin, origin_label.clone())?,
        cow: Target::open(cow, cow_label)?,
    };
    let whose = Whose::Images;
    let subject = Subject { origin: origin_label, dm_name: None, snapshot: None, whose };
    Ok(match follow(&subject, devices, options).await? {
        Outcome::Merged(_) => Exit::Done.into(),
        Outcome::Stopped => Exit::StillMerging.into(),
    })
}
