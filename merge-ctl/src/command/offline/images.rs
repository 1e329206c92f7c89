//! Images: an origin and a COW device as devices or files, without device-mapper, on any Linux.
//!
//! What always holds: both are open for this process alone before anything is asked or written. It
//! refuses what anybody else uses, as far as that can be seen, and an origin that is its own COW
//! device. Root is needed only for what belongs to root.

mod identity;
mod users;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use merge_ctl::harmless;
use merge_ctl::human;
use merge_ctl::merge::preflight::{Obstacle, Refusal};
use merge_ctl::offline::{Devices, Outcome, Target};
use merge_ctl::output::dry_run::DryRun;
use merge_ctl::store::{FileSource, Source};
use merge_ctl::units::Sectors;

use self::identity::Identity;
use super::super::{live, terminal};
use super::census::Census;
use super::dry_run;
use super::follow::{Subject, Whose, follow};
use crate::cli::Start;
use crate::exit::Exit;

/// An image and what it is called.
struct Image<'p> {
    path: &'p Path,
    label: String,
}

impl<'p> Image<'p> {
    fn at(path: &'p Path) -> Self {
        Self { path, label: harmless::path(path) }
    }
}

/// Merges the store on `cow` into `origin`.
pub(super) async fn run(origin: &Path, cow: &Path, options: &Start) -> anyhow::Result<ExitCode> {
    let (origin, cow) = (Image::at(origin), Image::at(cow));
    live::output(&options.live)?;
    look(&origin, &cow)?;
    let memory_bytes = super::engine(options).memory_bytes;
    if options.offline.dry_run {
        return rehearse(&origin, &cow, options);
    }
    let devices = Devices {
        origin: Target::open(origin.path, origin.label.clone())?,
        cow: Target::open(cow.path, cow.label.clone())?,
    };
    let size = devices.origin.size();
    let census = Census::of(&devices.cow, &cow.label, size, memory_bytes)?;
    let sizes = (size, Source::size(&devices.cow));
    if !options.yes && !agreed(&said(&origin, &cow, sizes, &census, ""))? {
        terminal::tell("nothing was changed");
        return Ok(Exit::Refused.into());
    }
    let subject = Subject {
        origin: origin.label.clone(),
        dm_name: None,
        snapshot: None,
        whose: Whose::Images,
        origin_dev: devices.origin.device(),
    };
    match follow(&subject, devices, options).await {
        Ok(Outcome::Merged(_)) => Ok(Exit::Done.into()),
        Ok(Outcome::Stopped) => Ok(Exit::StillMerging.into()),
        Err(error) => Err(error.context(half_merged(&origin, &cow))),
    }
}

/// What one must know before a merge has come to its end.
fn half_merged(origin: &Image<'_>, cow: &Image<'_>) -> String {
    format!(
        "{} may be merged in part: do not use it before the rest is merged. {} says what is left; \
         the same command goes on with it",
        origin.label, cow.label
    )
}

/// Whatever is in the way and can be seen.
fn look(origin: &Image<'_>, cow: &Image<'_>) -> anyhow::Result<()> {
    let identity = Identity::of(origin.path, &origin.label)?;
    let other = Identity::of(cow.path, &cow.label)?;
    if identity.overlaps(&other) {
        return Err(Refusal {
            obstacle: Obstacle::Unfit,
            reason: format!("{} and {} are the same, or overlap.", origin.label, cow.label),
            way_out: "Name the origin and the device with its exceptions.".to_owned(),
        }
        .into());
    }
    users::refuse(&identity, &origin.label)?;
    users::refuse(&other, &cow.label)?;
    Ok(())
}

/// Opens for reading only.
fn rehearse(origin: &Image<'_>, cow: &Image<'_>, options: &Start) -> anyhow::Result<ExitCode> {
    let engine = super::engine(options);
    let size = FileSource::open(origin.path)?.size();
    let source = FileSource::open(cow.path)?;
    let sizes = (size, source.size());
    let census = Census::of(source, &cow.label, size, engine.memory_bytes)?;
    let verify =
        if options.offline.verify { " Before that, all is read back and compared." } else { "" };
    let text = format!("{}Nothing was changed.\n", said(origin, cow, sizes, &census, verify));
    let run = DryRun {
        origin: &origin.label,
        origin_label: &origin.label,
        snapshot: None,
        owner: "image",
        devices: Some([&origin.label, &cow.label]),
        terms: Whose::Images.terms(&engine),
        counted: Some(census.counted()),
        steps: &steps(origin, cow, &census, engine.verify),
        notes: &[],
    };
    dry_run::print(&run, &text, options)?;
    Ok(Exit::Done.into())
}

/// The same in steps.
fn steps(origin: &Image<'_>, cow: &Image<'_>, census: &Census, verify: bool) -> Vec<String> {
    let (origin, cow) = (&origin.label, &cow.label);
    let mut steps = vec![
        format!("open {origin} and {cow} for this process alone"),
        format!("copy from {cow} to {origin}: {census}"),
    ];
    if verify {
        steps.push("read it back and compare it".to_owned());
    }
    let areas = human::counted(census.areas, "area");
    steps.push(format!("flush {origin}"));
    steps.push(format!(
        "clear {areas} of metadata on {cow}, from the last to the first, and flush it"
    ));
    steps
}

/// What is overwritten by what.
fn said(
    origin: &Image<'_>,
    cow: &Image<'_>,
    (origin_size, cow_size): (Sectors, Sectors),
    census: &Census,
    verify: &str,
) -> String {
    let areas = human::counted(census.areas, "area");
    format!(
        "{} ({}) holds {census}. They overwrite what {} ({}) holds there, which cannot be had back, \
         and are then cleared from {}: {areas} of metadata.{verify}\n",
        cow.label,
        human::bytes(cow_size.bytes()),
        origin.label,
        human::bytes(origin_size.bytes()),
        cow.label,
    )
}

/// Asks whoever is at standard input; who says nothing does not agree.
fn agreed(words: &str) -> io::Result<bool> {
    let mut err = io::stderr().lock();
    write!(err, "{}", terminal::for_stderr(&format!("{words}Merge? [y/N] ")))?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
