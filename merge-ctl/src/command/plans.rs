//! Which snapshots `merge-ctl start` merges: all looked at before the first is touched, and agreed
//! to.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use merge_ctl::dm::{Control, Device, Host, SnapshotStatus, holders, resolve};
use merge_ctl::harmless::argument;
use merge_ctl::human::{self, printable};
use merge_ctl::merge::preflight::{self, Obstacle, Plan, Refusal};
use merge_ctl::safe_path;

use super::attach;
use super::check;
use super::terminal;

/// How often a device that is in use is looked at again.
const SCAN_TRIES: u32 = 8;
/// Between two such looks.
const SCAN_PAUSE: Duration = Duration::from_millis(200);

/// The host, once nobody has the devices open any more who only scans them, as lvm2 and udev do;
/// whoever still has is not gone in a moment.
pub(super) fn settled_host(control: &Control, snapshots: &[String]) -> anyhow::Result<Host> {
    for _ in 1..SCAN_TRIES {
        let host = Host::read(control)?;
        let refusal = quick(&host, snapshots).err();
        let refusal = refusal.as_ref().and_then(|error| error.downcast_ref::<Refusal>());
        if refusal.is_none_or(|refusal| refusal.obstacle != Obstacle::InUse) {
            return Ok(host);
        }
        thread::sleep(SCAN_PAUSE);
    }
    Ok(Host::read(control)?)
}

/// The full look, at all of them before any is touched.
pub(super) fn gate<'a>(
    control: &Control,
    host: &'a Host,
    snapshots: &[String],
    lose_siblings: bool,
) -> anyhow::Result<Vec<Plan<'a>>> {
    all(host, snapshots, |snapshot| check::gate(control, host, snapshot, lose_siblings))
}

/// The quick look: what is in the way by the tables, the status lines and the holders alone.
pub(super) fn quick<'a>(host: &'a Host, snapshots: &[String]) -> anyhow::Result<Vec<Plan<'a>>> {
    all(host, snapshots, |snapshot| {
        let device = resolve::resolve(host, snapshot)?;
        // A holder that cannot be found is still in the kernel's count, which is what decides.
        let holders_of = |dev| holders::holders_of(dev).unwrap_or_default();
        Ok(preflight::check(host, device, &holders_of)?)
    })
}

/// Looks at one after the other, and tells of all that are refused.
fn all<'a>(
    host: &'a Host,
    snapshots: &[String],
    mut look_at: impl FnMut(&str) -> anyhow::Result<Plan<'a>>,
) -> anyhow::Result<Vec<Plan<'a>>> {
    let mut plans: Vec<Plan<'a>> = Vec::new();
    let mut refused: Option<Refusal> = None;
    for snapshot in snapshots {
        let refusal = match attach::merge_of(host, snapshot) {
            Some(origin) if snapshots.len() > 1 => merging_already(snapshot, origin),
            _ => match look_at(snapshot) {
                Ok(plan) => {
                    let same = |other: &&Plan<'_>| other.origin.info.dev == plan.origin.info.dev;
                    let Some(other) = plans.iter().find(same) else {
                        plans.push(plan);
                        continue;
                    };
                    same_origin(other, &plan)
                }
                Err(error) => error.downcast()?,
            },
        };
        refused = Some(match refused {
            Some(before) => before.and(refusal),
            None => refusal,
        });
    }
    refused.map_or(Ok(plans), |refusal| Err(refusal.into()))
}

fn merging_already(snapshot: &str, origin: &Device) -> Refusal {
    if origin.status == Some(SnapshotStatus::MergeFailed) {
        return Refusal {
            obstacle: Obstacle::AlreadyMerging,
            reason: format!("The merge of {} has failed.", printable(snapshot)),
            way_out: safe_path::way_out(&origin.label(), origin.owner()),
        };
    }
    Refusal {
        obstacle: Obstacle::AlreadyMerging,
        reason: format!("{} is being merged already.", printable(snapshot)),
        way_out: format!(
            "Leave it out; to watch it: merge-ctl monitor {}.",
            argument(&origin.label())
        ),
    }
}

/// The kernel merges one snapshot an origin at a time.
pub(super) fn same_origin(one: &Plan<'_>, other: &Plan<'_>) -> Refusal {
    let (first, second) = (one.snapshot.label(), other.snapshot.label());
    let (reason, way_out) = if one.snapshot.info.dev == other.snapshot.info.dev {
        (format!("{first} is named twice."), "Name it once.".to_owned())
    } else {
        (
            format!(
                "{first} and {second} are snapshots of one origin, {}: one merge an origin at a \
                 time, and what is merged last is what stays.",
                one.origin.label()
            ),
            format!("Merge {first}, and {second} in its turn, once that merge has ended."),
        )
    };
    Refusal { obstacle: Obstacle::Unfit, reason, way_out }
}

/// Asks whether the user means it.
pub(super) fn confirmed(plans: &[Plan<'_>]) -> io::Result<bool> {
    let mut err = io::stderr().lock();
    write!(err, "{}", terminal::for_stderr(&question(plans)))?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What will happen, and whether it shall.
fn question(plans: &[Plan<'_>]) -> String {
    let mut text = String::new();
    for plan in plans {
        let (origin, snapshot) =
            (printable(&plan.origin.label()), printable(&plan.snapshot.label()));
        text.push_str(&format!(
            "{origin} will be rolled back to {snapshot}: {} are copied back. What was written to \
             {origin} since the snapshot was taken is lost, {snapshot} goes away, and a merge that \
             has begun cannot be called off.\n",
            human::bytes(plan.to_merge.bytes())
        ));
        for warning in &plan.notes {
            text.push_str(warning);
            text.push('\n');
        }
    }
    text.push_str(&match plans.len() {
        1 => "Merge? [y/N] ".to_owned(),
        count => format!("Merge all {count}? [y/N] "),
    });
    text
}
