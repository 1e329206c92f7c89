//! `--dry-run`: what would be done, step by step.

use std::process::ExitCode;

use anyhow::Context;
use merge_ctl::dm::{DeviceRef, Host};
use merge_ctl::harmless::{self, printable};
use merge_ctl::human;
use merge_ctl::merge::handover::Handover;
use merge_ctl::merge::journal;
use merge_ctl::merge::preflight::Plan;
use merge_ctl::merge::rehearsal;
use merge_ctl::merge::{finish, recording};
use merge_ctl::output::dry_run::DryRun;

use super::super::census::Census;
use super::super::follow::Whose;
use super::super::{dry_run, engine};
use crate::cli::Start;
use crate::exit::Exit;

/// Says it; nothing is changed.
pub(super) fn print(
    host: &Host,
    plan: &Plan<'_>,
    handover: &Handover,
    options: &Start,
) -> anyhow::Result<ExitCode> {
    let record = recording::of_handover(host, handover)?;
    let plain = finish::plain(host, &plan.args, plan.origin.size());
    let steps = rehearsal::steps(&record, &plain);
    let (real, cow) = (label(host, &plan.args.real)?, label(host, &plan.args.cow)?);
    let engine = engine(options);
    let census = Census::of_plan(plan, &cow, engine.memory_bytes)?;
    let journal = harmless::path(&journal::path_of(&record.origin.name));
    let mut lines = vec![format!("write the journal {journal}")];
    lines.extend(steps.before.iter().map(ToString::to_string));
    lines.extend(of_engine(&real, &cow, &census, options.offline.verify));
    lines.extend(steps.after.iter().map(ToString::to_string));
    lines.push(format!("remove the journal {journal}"));
    let (origin, snapshot) = (plan.origin.label(), plan.snapshot.label());
    let text = format!(
        "An offline merge of {} into {} would:\n{}{}Nothing was changed.\n",
        printable(&snapshot),
        printable(&origin),
        dry_run::numbered(&lines),
        plan.notes.iter().map(|note| format!("{note}\n")).collect::<String>(),
    );
    let run = DryRun {
        origin: &plan.origin.info.name,
        origin_label: &origin,
        snapshot: Some(&snapshot),
        owner: "devicemapper",
        devices: Some([&real, &cow]),
        terms: Whose::DeviceMapper.terms(&engine),
        counted: Some(census.counted()),
        steps: &lines,
        notes: &plan.notes,
    };
    dry_run::print(&run, &text, options)?;
    Ok(Exit::Done.into())
}

fn of_engine(real: &str, cow: &str, census: &Census, verify: bool) -> Vec<String> {
    let mut lines = vec![
        format!("open {real} and {cow} for this process alone"),
        "write into the journal that there is no way back from here".to_owned(),
        format!("copy from {cow} to {real}: {census}"),
    ];
    if verify {
        lines.push("read it back and compare it".to_owned());
    }
    lines.push(format!("flush {real}"));
    lines.push(format!(
        "clear {} of metadata on {cow}, from the last to the first, and flush it",
        human::counted(census.areas, "area")
    ));
    lines.push(format!("close {real} and {cow}"));
    lines
}

fn label(host: &Host, device: &DeviceRef) -> anyhow::Result<String> {
    let dev = device.number().with_context(|| format!("{device} has no number"))?;
    Ok(printable(&host.label_of(dev)))
}
