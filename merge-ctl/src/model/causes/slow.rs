//! Which of the two devices is slow. The probes see a copy as one; the kernel's counters of the two
//! devices tell reads on the one from writes on the other.

use super::thresholds::{SLOW_NS, SLOWER, WORTH_SAYING};
use super::{Cause, Finding, Measured, Value, advice};
use crate::output::human;
use crate::sample::Phase;

/// One of the two devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The COW device, which a merge reads and commits on.
    Cow,
    /// The origin's, which a merge writes and flushes.
    Real,
}

impl Side {
    pub(super) const fn cause(self) -> Cause {
        match self {
            Self::Cow => Cause::SlowCow,
            Self::Real => Cause::SlowOrigin,
        }
    }
}

/// The device that is slower by far, and slow; none where neither is, or too few I/Os were counted.
pub(super) fn slower(measured: &Measured<'_>) -> Option<Side> {
    let (read, write) = measured.latencies_ns()?;
    let is_slow = |one: f64, other: f64| one >= SLOW_NS as f64 && one >= other * SLOWER;
    if is_slow(read, write) {
        Some(Side::Cow)
    } else if is_slow(write, read) {
        Some(Side::Real)
    } else {
        None
    }
}

/// The slow device, where most of the time is spent on it.
pub(super) fn finding(measured: &Measured<'_>) -> Option<Finding> {
    let side = slower(measured)?;
    let (cow, real) = spent_ns(measured)?;
    let (on_it, on_other) = if side == Side::Cow { (cow, real) } else { (real, cow) };
    // What would go away if it were as fast as the other.
    let share = measured.share(on_it - on_other);
    if share < WORTH_SAYING {
        return None;
    }
    let sentence = format!(
        "{} of the time is spent on {}.",
        human::share(measured.share(on_it)),
        comparison(measured, side)?
    );
    let finding = Finding::of_share(side.cause(), share, sentence)
        .with("device_share", Value::Share(measured.share(on_it)));
    Some(with_latencies(finding, measured).advise(advice::slow(measured.model, side)))
}

/// Time on the COW device and on the origin's: the copy split by their latencies, and the phases
/// that are the one's or the other's alone.
fn spent_ns(measured: &Measured<'_>) -> Option<(f64, f64)> {
    let (read, write) = measured.latencies_ns()?;
    let copy = measured.awake_copy_ns();
    let on_cow = copy * read / (read + write).max(f64::MIN_POSITIVE);
    Some((
        on_cow + measured.ns(Phase::Commit) + measured.ns(Phase::Metadata),
        (copy - on_cow) + measured.ns(Phase::Flush),
    ))
}

/// `the COW device vg/snap-cow: a read there takes 24 ms, a write on the origin's device … 0.4 ms`.
fn comparison(measured: &Measured<'_>, side: Side) -> Option<String> {
    let identity = &measured.model.identity;
    let (read, write) = measured.latencies_ns()?;
    let read = human::duration(read as u64);
    let write = human::duration(write as u64);
    Some(match side {
        Side::Cow => format!(
            "the COW device {}: a read there takes {read} on average, a write on {} {write}",
            identity.cow_label, identity.real_label
        ),
        Side::Real => format!(
            "the origin's device {}: a write there takes {write} on average, a read on {} {read}",
            identity.real_label, identity.cow_label
        ),
    })
}

/// The two devices' figures, where they were counted.
pub(super) fn with_latencies(finding: Finding, measured: &Measured<'_>) -> Finding {
    let (Some(disks), Some((read, write))) = (measured.disks, measured.latencies_ns()) else {
        return finding;
    };
    finding
        .with("cow_read_ns", Value::Ns(read as u64))
        .with("cow_reads", Value::Count(disks.cow.reads.count))
        .with("origin_write_ns", Value::Ns(write as u64))
        .with("origin_writes", Value::Count(disks.real.writes.count))
}

/// What the devices tell where no probe sees a run.
pub(super) fn without_runs(measured: &Measured<'_>) -> Finding {
    let slow = slower(measured).and_then(|side| Some((side, comparison(measured, side)?)));
    let finding = match slow {
        Some((side, comparison)) => Finding::new(
            side.cause(),
            format!("Runs are not seen here, but the slow one is {comparison}."),
        )
        .advise(advice::slow(measured.model, side)),
        None => {
            let sentence = "Runs are not seen here, so nobody can say where the time goes.";
            Finding::new(Cause::NotSeen, sentence).advise(advice::not_seen(measured.model))
        }
    };
    with_latencies(finding, measured)
}
