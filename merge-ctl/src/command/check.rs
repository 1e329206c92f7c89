//! `merge-ctl start --check`: all that preflight finds, and nothing is changed. The gate of a real
//! `start` is here too: the same findings, of which one that stops refuses.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use merge_ctl::dm::resolve::{self, ResolveError};
use merge_ctl::dm::{Control, Device, DmError, DmErrorKind, Host};
use merge_ctl::lvm::names::VolumeName;
use merge_ctl::merge::preflight::facts::LvmView;
use merge_ctl::merge::preflight::{self, Code, Finding, Obstacle, Plan, Refusal, Report, gather};
use merge_ctl::output::check::{self, Checked};

use super::plans;
use super::terminal;
use crate::cli::Start;
use crate::exit::Exit;

/// Prints what was found, of one snapshot after the other.
///
/// # Errors
/// Where a name means nothing, or device-mapper gives no answer.
pub(crate) fn run(options: &Start) -> anyhow::Result<ExitCode> {
    let control = match Control::open() {
        Ok(control) => control,
        Err(error) => return without_control(options, error),
    };
    let host = plans::settled_host(&control, &options.snapshots)?;
    let mut exits = Vec::new();
    let mut earlier: Vec<Plan<'_>> = Vec::new();
    for name in &options.snapshots {
        let (device, mut report) = match resolve::resolve(&host, name) {
            Ok(device) => (Some(device), examine(&control, &host, device)),
            Err(error) => (None, Report::of(vec![absent(name, error)?])),
        };
        if let Some(plan) = report.plan().cloned() {
            let same = |it: &&Plan<'_>| it.origin.info.dev == plan.origin.info.dev;
            if let Some(Refusal { reason, way_out, .. }) =
                earlier.iter().find(same).map(|other| plans::same_origin(other, &plan))
            {
                report.add(Finding::stop(Code::SameOrigin, reason, way_out));
            }
            earlier.push(plan);
        }
        // As `start --yes` would have it.
        let accepted = !options.yes || options.lose_siblings;
        let report = if accepted { report } else { report.without_losses() };
        exits.push(print(options, name, &report, device)?);
    }
    Ok(Exit::worst(exits).into())
}

/// Lets a merge begin, or refuses it with all that is in the way. Warnings are the plan's notes.
///
/// # Errors
/// [`preflight::Refusal`], [`ResolveError`].
pub(crate) fn gate<'a>(
    control: &Control,
    host: &'a Host,
    snapshot: &str,
    lose_siblings: bool,
) -> anyhow::Result<Plan<'a>> {
    let device = match resolve::resolve(host, snapshot) {
        Ok(device) => device,
        Err(error) => {
            let report = Report::of(vec![absent(snapshot, error)?]);
            return Ok(report.into_plan()?);
        }
    };
    let report = examine(control, host, device);
    let report = if lose_siblings { report } else { report.without_losses() };
    Ok(report.into_plan()?)
}

fn examine<'a>(control: &Control, host: &'a Host, device: &'a Device) -> Report<'a> {
    preflight::examine(host, device, &gather::all(control, host, device))
}

/// What can be said where device-mapper cannot be asked.
fn without_control(options: &Start, error: DmError) -> anyhow::Result<ExitCode> {
    let mut exits = Vec::new();
    for name in &options.snapshots {
        let findings = match error.kind {
            DmErrorKind::Privilege => gather::unprivileged(name)?,
            DmErrorKind::KernelFeatureMissing => vec![Finding::stop(
                Code::Kernel,
                format!("{error}."),
                "Without device-mapper there is neither snapshot nor merge.",
            )],
            _ => return Err(error.into()),
        };
        exits.push(print(options, name, &Report::of(findings), None)?);
    }
    Ok(Exit::worst(exits).into())
}

/// What LVM knows of a volume that the kernel has no device of.
///
/// # Errors
/// The error that it was, where LVM does not know it either.
fn absent(given: &str, error: ResolveError) -> Result<Finding, ResolveError> {
    let volume = resolve::reading(given).and_then(|name| VolumeName::from_dm(&name));
    let Some(VolumeName { vg, lv, .. }) = volume else { return Err(error) };
    match gather::lvm_view(&vg) {
        LvmView::Volumes(volumes) => preflight::absent(&volumes, &vg, &lv).ok_or(error),
        LvmView::Missing | LvmView::Unreadable(_) => Err(error),
    }
}

fn print(
    options: &Start,
    given: &str,
    report: &Report<'_>,
    device: Option<&Device>,
) -> anyhow::Result<Exit> {
    let exit = exit_of(report);
    let label = device.map(Device::label);
    let checked = Checked {
        snapshot: label.as_deref().unwrap_or(given),
        origin: report.origin.as_deref(),
        owner: device.map(Device::owner),
        to_merge_bytes: report.plan().map(|plan| plan.to_merge.bytes()),
        findings: &report.findings,
        exit_status: exit as u8,
    };
    let text = if options.json { check::json(&checked) + "\n" } else { check::text(&checked) };
    let text = if options.json { text.into() } else { terminal::for_stdout(&text) };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write the answer")?;
    Ok(exit)
}

fn exit_of(report: &Report<'_>) -> Exit {
    match report.refusal().map(|refusal| refusal.obstacle) {
        None => Exit::Done,
        Some(Obstacle::Missing) => Exit::Missing,
        Some(_) => Exit::Refused,
    }
}
