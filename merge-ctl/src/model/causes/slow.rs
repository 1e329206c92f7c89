//! Which of the two devices is slow. The probes see a copy as one; the kernel's counters of the two
//! devices tell reads on the one from writes on the other.

use super::measured::Latencies;
use super::thresholds::{SLOW_NS, SLOWER, WORTH_SAYING};
use super::{Cause, Finding, Measured, Value, advice};
use crate::human;
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

    /// What an I/O of a copy takes on this device and on the other: of what is possible, what speaks
    /// least for calling this one slow.
    const fn latencies(self, latencies: &Latencies) -> (f64, f64) {
        match self {
            Self::Cow => (latencies.read_ns, latencies.write_max_ns),
            Self::Real => (latencies.write_min_ns, latencies.read_ns),
        }
    }
}

/// The device that is slower by far, and slow; none where neither is, or too few I/Os were counted.
pub(super) fn slower(measured: &Measured<'_>) -> Option<Side> {
    let latencies = measured.latencies()?;
    [Side::Cow, Side::Real].into_iter().find(|side| {
        let (on_it, on_other) = side.latencies(&latencies);
        on_it >= SLOW_NS as f64 && on_it >= on_other * SLOWER
    })
}

/// The slow device, where most of the time is spent on it.
pub(super) fn finding(measured: &Measured<'_>) -> Option<Finding> {
    let side = slower(measured)?;
    let (on_it, on_other) = spent_ns(measured, side)?;
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

/// Time on a device and on the other: the copy split by their latencies, and the phases that are
/// the one's or the other's alone.
fn spent_ns(measured: &Measured<'_>, side: Side) -> Option<(f64, f64)> {
    let (on_it, on_other) = side.latencies(&measured.latencies()?);
    let copy = measured.awake_copy_ns();
    let copy_on_it = copy * on_it / (on_it + on_other).max(f64::MIN_POSITIVE);
    let cow_alone = measured.ns(Phase::Commit) + measured.ns(Phase::Metadata);
    let real_alone = measured.ns(Phase::Flush);
    let (alone, other_alone) = match side {
        Side::Cow => (cow_alone, real_alone),
        Side::Real => (real_alone, cow_alone),
    };
    Some((copy_on_it + alone, copy - copy_on_it + other_alone))
}

/// `the COW device vg/snap-cow: a read there takes 24 ms on average, a write on … 0.4 ms at most`.
fn comparison(measured: &Measured<'_>, side: Side) -> Option<String> {
    let identity = &measured.model.identity;
    let (on_it, on_other) = side.latencies(&measured.latencies()?);
    let on_it = human::duration(on_it as u64);
    let on_other = match on_other as u64 {
        // The kernel counts in ticks, and all of them took less.
        0 => "too little to be counted".to_owned(),
        ns if side == Side::Cow => format!("at most {}", human::duration(ns)),
        ns => human::duration(ns),
    };
    Some(match side {
        Side::Cow => format!(
            "the COW device {}: a read there takes {on_it} on average, a write on {} {on_other}",
            identity.cow_label, identity.real_label
        ),
        Side::Real => format!(
            "the origin's device {}: a write there takes at least {on_it} on average, a read on \
             {} {on_other}",
            identity.real_label, identity.cow_label
        ),
    })
}

/// The two devices' figures, where they were counted.
pub(super) fn with_latencies(finding: Finding, measured: &Measured<'_>) -> Finding {
    let (Some(disks), Some(latencies)) = (measured.disks, measured.latencies()) else {
        return finding;
    };
    finding
        .with("cow_reads", Value::Count(disks.cow.reads.count))
        .with("cow_read_ns", Value::Ns(latencies.read_ns as u64))
        .with("origin_writes", Value::Count(disks.real.writes.count))
        .with("origin_write_min_ns", Value::Ns(latencies.write_min_ns as u64))
        .with("origin_write_max_ns", Value::Ns(latencies.write_max_ns as u64))
}

/// What the devices tell where no probe sees a run.
pub(super) fn without_runs(measured: &Measured<'_>) -> Finding {
    let slow = slower(measured).and_then(|side| Some((side, comparison(measured, side)?)));
    let finding = if let Some((side, comparison)) = slow {
        Finding::new(
            side.cause(),
            format!("Runs are not seen here, but the slow one is {comparison}."),
        )
        .advise(advice::slow(measured.model, side))
    } else {
        let sentence = "Runs are not seen here, so nobody can say where the time goes.";
        Finding::new(Cause::NotSeen, sentence).advise(advice::not_seen(measured.model))
    };
    with_latencies(finding, measured)
}
