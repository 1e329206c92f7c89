//! What an offline merge of plain device-mapper refuses beyond what every merge does: devices that
//! anybody has open, and origins with other snapshots.

use merge_ctl::dm::{Device, DeviceRef, Host, holders};
use merge_ctl::harmless::{argument, printable};
use merge_ctl::merge::journal::{self, Phase, Record};
use merge_ctl::merge::preflight::{Obstacle, Plan, Refusal};
use merge_ctl::units::DeviceNumber;

use super::super::super::attach;

/// Refuses, with names.
pub(super) fn look(host: &Host, plan: &Plan<'_>) -> Result<(), Refusal> {
    siblings(host, plan)?;
    for device in [plan.origin, plan.snapshot] {
        if device.info.open_count > 0 {
            return Err(open(device, &users(device.info.dev)));
        }
    }
    for below in [&plan.args.real, &plan.args.cow].into_iter().filter_map(DeviceRef::number) {
        others_above(host, plan, below)?;
    }
    Ok(())
}

/// A merge that was begun offline before, and is neither undone nor in the kernel's hands: its snapshot
/// is nothing but an error target, or gone. Of one that goes on it was told before.
pub(in super::super) fn begun_before(host: &Host, given: &str) -> Result<(), Refusal> {
    let Some(name) = attach::name_of(host, given) else { return Ok(()) };
    let journals = journal::list().unwrap_or_default().into_iter().flatten();
    let is_it = |record: &Record| {
        let snapshot = record.snapshot.as_ref().map(|it| &it.device.name);
        record.offline && record.phase != Phase::Starting && snapshot == Some(&name)
    };
    let Some(journal) = journals.into_iter().find(|journal| is_it(journal.record())) else {
        return Ok(());
    };
    let origin = &journal.record().origin.name;
    let (shown, named) = (printable(origin), argument(origin));
    Err(Refusal {
        obstacle: Obstacle::AlreadyMerging,
        reason: format!("The merge of {} into {shown} was begun before.", printable(given)),
        way_out: format!("To go on with it: merge-ctl resume {named}."),
    })
}

/// A sibling sees the origin's old data through the origin, and the engine writes below that.
fn siblings(host: &Host, plan: &Plan<'_>) -> Result<(), Refusal> {
    let real = plan.args.real.number();
    let siblings = real.into_iter().flat_map(|real| host.siblings_of(real, plan.snapshot.info.dev));
    let names: Vec<_> = siblings.map(|sibling| printable(&sibling.label())).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Refusal {
        obstacle: Obstacle::Unfit,
        reason: format!(
            "{} has other snapshots, whose content an offline merge would change: {}.",
            printable(&plan.origin.label()),
            names.join(", ")
        ),
        way_out: "Remove them, or merge without --offline: the kernel keeps them right.".to_owned(),
    })
}

fn open(device: &Device, users: &str) -> Refusal {
    Refusal {
        obstacle: Obstacle::InUse,
        reason: format!("{} is in use: {users}.", printable(&device.label())),
        way_out: "While merge-ctl copies, nobody can use it: stop what does, or merge without \
                  --offline."
            .to_owned(),
    }
}

fn users(dev: DeviceNumber) -> String {
    match holders::holders_of(dev) {
        Ok(users) if !users.0.is_empty() => users.to_string(),
        _ => "by somebody who cannot be seen from here".to_owned(),
    }
}

/// Whoever else is made of a device below keeps the engine from having it for itself.
fn others_above(host: &Host, plan: &Plan<'_>, below: DeviceNumber) -> Result<(), Refusal> {
    let ours = [&plan.origin.info.name, &plan.snapshot.info.name];
    let users = holders::holders_of(below).unwrap_or_default().0;
    let others: Vec<_> = users
        .iter()
        .filter(|user| match user {
            holders::Holder::Device { name } => !ours.contains(&name),
            // Who only has it open does not keep it from others.
            holders::Holder::Process { .. } => false,
            holders::Holder::Mount { .. } | holders::Holder::Swap => true,
        })
        .map(ToString::to_string)
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(Refusal {
        obstacle: Obstacle::InUse,
        reason: format!(
            "{}, below the snapshot or its origin, is used otherwise too: {}.",
            printable(&host.label_of(below)),
            others.join("; ")
        ),
        way_out: "An offline merge needs it for itself: deactivate what uses it.".to_owned(),
    })
}
