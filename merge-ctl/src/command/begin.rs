//! Begins a merge that preflight has let pass, and finishes it once it is done.

use std::time::{Duration, Instant};

use anyhow::Context;
use merge_ctl::dm::{Control, Host};
use merge_ctl::lvm::lvm2::{Lvm, MergeStart};
use merge_ctl::merge::finish::Finish;
use merge_ctl::merge::handover::Handover;
use merge_ctl::merge::live::LiveExecutor;
use merge_ctl::merge::memory::LockedMemory;
use merge_ctl::merge::preflight::{Plan, Way};
use merge_ctl::model::Model;

use super::followed::Finisher;

/// How long lvm2 may take to drop the snapshot once it was told to look.
const PATIENCE_WITH_LVM: Duration = Duration::from_secs(60);
/// How often it is told.
const NUDGE_EVERY: Duration = Duration::from_secs(10);

/// What became of the beginning.
pub(crate) enum Begun {
    /// The kernel merges.
    Merging,
    /// LVM has put it off; with its words.
    Scheduled(String),
}

/// Begins the merge, by our own steps or by lvm2's.
///
/// # Errors
/// Where it cannot begin; what was changed for it is undone.
pub(crate) fn begin(plan: &Plan<'_>, control: &Control) -> anyhow::Result<Begun> {
    match &plan.way {
        Way::DeviceMapper(handover) => hand_over(plan, handover, control).map(|()| Begun::Merging),
        Way::Lvm { vg, snapshot, .. } => {
            Ok(match Lvm::find()?.merge_in_background(vg, snapshot)? {
                MergeStart::Started => Begun::Merging,
                MergeStart::AtNextActivation(words) => Begun::Scheduled(words),
            })
        }
    }
}

fn hand_over(plan: &Plan<'_>, handover: &Handover, control: &Control) -> anyhow::Result<()> {
    let mut executor = LiveExecutor::new(control, [plan.origin, plan.snapshot]);
    let locked = LockedMemory::lock()
        .context("cannot lock this process in memory while the devices are suspended")?;
    let begun = handover.begin(&mut executor)?;
    drop(locked);
    for failure in &begun.left_over {
        eprintln!("merge-ctl: the merge runs, but {}", failure.error);
    }
    for note in executor.notes() {
        eprintln!("merge-ctl: {note}");
    }
    Ok(())
}

/// Finishes what it started.
pub(crate) struct Driver<'a> {
    plan: &'a Plan<'a>,
    nudged: Option<Instant>,
}

impl<'a> Driver<'a> {
    /// For the merge of a plan.
    pub(crate) fn new(plan: &'a Plan<'a>) -> Self {
        Self { plan, nudged: None }
    }

    /// lvm2 would look by itself only every 15 s.
    fn nudge(&mut self, vg: &str, origin: &str) -> anyhow::Result<()> {
        if self.nudged.is_none_or(|at| at.elapsed() >= NUDGE_EVERY) {
            self.nudged = Some(Instant::now());
            Lvm::find()?.poll(vg, origin)?;
        }
        Ok(())
    }
}

impl Finisher for Driver<'_> {
    fn finish(&mut self, _: &Model, control: &Control) -> anyhow::Result<()> {
        match &self.plan.way {
            Way::Lvm { vg, origin, .. } => self.nudge(vg, origin),
            Way::DeviceMapper(handover) => {
                // Looked at anew: a sibling may have come or gone since the merge began.
                let host = Host::read(control)?;
                let origin = host
                    .by_name(&handover.origin)
                    .with_context(|| format!("{} is gone", handover.origin))?;
                let finish = Finish::of(&host, origin)?;
                let _locked = LockedMemory::lock().context("cannot lock memory")?;
                finish.carry_out(&mut LiveExecutor::new(control, [self.plan.origin]))?;
                Ok(())
            }
        }
    }

    fn patience(&self) -> Duration {
        match self.plan.way {
            Way::Lvm { .. } => PATIENCE_WITH_LVM,
            Way::DeviceMapper(_) => Duration::from_secs(5),
        }
    }
}
