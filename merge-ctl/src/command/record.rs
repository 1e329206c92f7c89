//! `merge-ctl record ORIGIN… -o FILE`: what `monitor` would show, into a file alone.

use std::process::ExitCode;

use merge_ctl::dm::{Control, Host};
use merge_ctl::harmless;
use merge_ctl::probe::Probe;
use merge_ctl::sampler::Watch;

use super::elsewhere;
use super::face::Face;
use super::live::{self, LeaveSignals, Live};
use super::monitor::{followed, onlooker, pick};
use super::privilege;
use super::recording::Recording;
use super::terminal;
use crate::cli::Record;

/// Records the merges until all are over or the user leaves.
pub(crate) async fn run(options: &Record) -> anyhow::Result<ExitCode> {
    let as_live = options.live();
    Recording::check(Some(&options.output))?;
    let control = Control::open()?;
    let host = Host::read(&control)?;
    let origins = pick(&host, &options.origins, &elsewhere::all(&host))?;
    let signals = LeaveSignals::listen()?;
    privilege::keep_what_is_needed(Some(privilege::directory_of(&options.output)))?;
    let mut watch = Watch::new(control, Probe::attach(live::probe_options(&as_live)));
    let merges = followed(&mut watch, &host, &origins, &as_live)?;
    let recording = Recording::asked_for(Some(&options.output), "record", &as_live)?;
    let names: Vec<_> = merges.iter().map(super::followed::Followed::name).collect();
    let path = harmless::path(&options.output);
    terminal::tell(&format!(
        "recording the merge into {} in {path}. Ctrl-C ends the recording, and the merge goes on",
        names.join(", ")
    ));
    let live = Live {
        watch,
        face: Face::Silent,
        signals,
        merges,
        newcomers: options.origins.is_empty().then_some(onlooker),
        recording,
        options: &as_live,
    };
    Ok(live.run().await?.into())
}
