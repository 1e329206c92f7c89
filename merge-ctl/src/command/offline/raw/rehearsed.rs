//! `--dry-run`: what would be done, step by step.

use std::process::ExitCode;

use anyhow::Context;
use merge_ctl::dm::{DeviceRef, Host, nodes};
use merge_ctl::harmless::{self, printable};
use merge_ctl::human;
use merge_ctl::merge::handover::Handover;
use merge_ctl::merge::journal;
use merge_ctl::merge::preflight::Plan;
use merge_ctl::merge::rehearsal;
use merge_ctl::merge::{finish, recording};
use merge_ctl::store::FileSource;

use super::super::super::terminal;
use super::super::census::Census;
use super::super::engine;
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
    let census = census(plan, &cow, options)?;
    let journal = harmless::path(&journal::path_of(&record.origin.name));
    let mut lines = vec![format!("write the journal {journal}")];
    lines.extend(steps.before.iter().map(ToString::to_string));
    lines.push(format!("open {real} and {cow} for this process alone"));
    lines.push("write into the journal that there is no way back from here".to_owned());
    lines.push(format!("copy from {cow} to {real}: {census}"));
    if options.offline.verify {
        lines.push("read it back and compare it".to_owned());
    }
    lines.push(format!("flush {real}"));
    lines.push(format!(
        "clear {} of metadata on {cow}, from the last to the first, and flush it",
        human::counted(census.areas, "area")
    ));
    lines.push(format!("close {real} and {cow}"));
    lines.extend(steps.after.iter().map(ToString::to_string));
    lines.push(format!("remove the journal {journal}"));
    let numbered = lines.iter().zip(1..).map(|(line, number)| format!("{number:3}. {line}\n"));
    let text = format!(
        "An offline merge of {} into {} would:\n{}Nothing was changed.\n",
        printable(&plan.snapshot.label()),
        printable(&plan.origin.label()),
        numbered.collect::<String>()
    );
    print!("{}", terminal::for_stdout(&text));
    Ok(Exit::Done.into())
}

fn label(host: &Host, device: &DeviceRef) -> anyhow::Result<String> {
    let dev = device.number().with_context(|| format!("{device} has no number"))?;
    Ok(printable(&host.label_of(dev)))
}

fn census(plan: &Plan<'_>, label: &str, options: &Start) -> anyhow::Result<Census> {
    let path = plan.args.cow.number().and_then(nodes::kernel_path);
    let path = path.with_context(|| format!("{label} has no node"))?;
    let source = FileSource::open(&path)?;
    Census::of(source, label, plan.origin.size(), engine(options).memory_bytes)
}
