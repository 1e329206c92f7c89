//! `merge-ctl explain RECORDING`: why each merge of a recording went as it went.
//!
//! Reads one file and nothing else. The models are made anew of the samples, so the verdict is the one
//! that the dashboard showed last.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use merge_ctl::harmless;
use merge_ctl::output::explain::{Explained, Watched};
use merge_ctl::recording::{OpenError, Player, Step, Survey};

use super::super::{replay, terminal};
use super::print;
use crate::cli::Explain;

/// The recording of this name; nothing where it is something else.
///
/// # Errors
/// Where it is a file that cannot be read, or a recording of a newer format.
pub(super) fn open(name: &str) -> anyhow::Result<Option<Player<File>>> {
    let path = Path::new(name);
    if !path.is_file() {
        return Ok(None);
    }
    let cannot_read = || format!("cannot read {}", harmless::path(path));
    let file = File::open(path).with_context(cannot_read)?;
    match Player::open(file) {
        Ok(player) => Ok(Some(player)),
        Err(OpenError::NoRecording) => Ok(None),
        Err(error) => Err(error).with_context(cannot_read),
    }
}

/// Explains all its merges, in the order in which they came into view.
pub(super) fn run(options: &Explain, mut player: Player<File>) -> anyhow::Result<ExitCode> {
    let mut survey = Survey::default();
    let mut began_ns = Vec::new();
    let mut last_ns = Vec::new();
    while let Some(step) = player.step()? {
        match step {
            Step::Began { .. } => {
                began_ns.push(player.at_ns());
                last_ns.push(player.at_ns());
            }
            Step::Advanced { tab, .. } => last_ns[tab] = player.at_ns(),
            _ => {}
        }
        survey.take(step, player.at_ns());
    }
    for (tab, merge) in player.merges().iter().enumerate() {
        if tab > 0 && !options.json {
            terminal::print("")?;
        }
        let model = &merge.model;
        let ns = last_ns[tab].saturating_sub(began_ns[tab]);
        let missing = model.identity.probes.missing.clone();
        let merge = Some(Watched { model, ns });
        print(options, &Explained { name: &options.name, merge, store: None, missing })?;
    }
    Ok(replay::sum_up(&survey, true).into())
}
