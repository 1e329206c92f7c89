//! What a merge that has stopped for a while waits for.

use super::slow::{self, Side};
use super::{Cause, Finding, Measured, Value, advice};
use crate::human;
use crate::model::{Stall, StallCause};
use crate::sample::Phase;

/// The stall that lasts.
pub(super) fn finding(measured: &Measured<'_>) -> Option<Finding> {
    let model = measured.model;
    let stall = model.stalls.back().filter(|stall| stall.ended_ns.is_none())?;
    let cause = cause(measured, stall);
    let lasted_ns = stall.duration_ns(model.now_ns);
    let sentence = format!(
        "Stalled for {}: {}{}.",
        human::duration(lasted_ns),
        stall.detail,
        waiting_on(measured)
    );
    let mut finding = Finding::new(cause, sentence)
        .with("stalled_ns", Value::Ns(lasted_ns))
        .with("waits_in", Value::Text(stall.cause.name().to_owned()));
    if let Some(disks) = measured.disks {
        finding = finding
            .with("cow_in_flight", Value::Count(disks.cow.in_flight))
            .with("origin_in_flight", Value::Count(disks.real.in_flight));
    }
    Some(finding.advise(advice(measured, cause)))
}

fn cause(measured: &Measured<'_>, stall: &Stall) -> Cause {
    match stall.cause {
        // A suspended origin is a state of its own, and never comes here.
        StallCause::Suspended => Cause::Suspended,
        StallCause::Stage(_) => Cause::Offline,
        StallCause::NoProgress => waits_for(measured).map_or(Cause::NotSeen, Side::cause),
        StallCause::Phase(Phase::Metadata) => Cause::SlowCow,
        StallCause::Phase(Phase::Siblings) => Cause::Siblings,
        StallCause::Phase(Phase::Drain) => Cause::DrainingWriters,
        StallCause::Phase(Phase::Copy) => copying(measured),
        StallCause::Phase(Phase::Flush | Phase::Commit) => Cause::FlushLatency,
    }
}

/// A copy that lasts: whose I/O it waits for, or that it is just long.
fn copying(measured: &Measured<'_>) -> Cause {
    if let Some(side) = waits_for(measured) {
        return side.cause();
    }
    let idle =
        measured.disks.is_some_and(|disks| (disks.cow.in_flight, disks.real.in_flight) == (0, 0));
    if idle && measured.is_throttled() { Cause::Throttle } else { Cause::DeviceSpeed }
}

/// The device that the merge waits for: the slow one, or the only one with I/O in flight.
fn waits_for(measured: &Measured<'_>) -> Option<Side> {
    let slower = slow::slower(measured);
    slower.or_else(|| {
        match measured.disks.map(|disks| (disks.cow.in_flight, disks.real.in_flight))? {
            (1.., 0) => Some(Side::Cow),
            (0, 1..) => Some(Side::Real),
            _ => None,
        }
    })
}

/// `; 2 I/Os are in flight on vg/snap-cow, none on vg/data-real`, where one has and the other not.
fn waiting_on(measured: &Measured<'_>) -> String {
    let identity = &measured.model.identity;
    let (busy, idle, count) =
        match measured.disks.map(|disks| (disks.cow.in_flight, disks.real.in_flight)) {
            Some((count @ 1.., 0)) => (&identity.cow_label, &identity.real_label, count),
            Some((0, count @ 1..)) => (&identity.real_label, &identity.cow_label, count),
            _ => return String::new(),
        };
    format!("; {} in flight on {busy}, none on {idle}", human::counted(count, "I/O"))
}

fn advice(measured: &Measured<'_>, cause: Cause) -> Vec<String> {
    let model = measured.model;
    match cause {
        Cause::SlowCow => advice::slow(model, Side::Cow),
        Cause::SlowOrigin => advice::slow(model, Side::Real),
        Cause::Siblings => advice::siblings(model),
        Cause::DrainingWriters => advice::draining_writers(&model.awaited),
        Cause::FlushLatency => advice::flush_latency(model),
        Cause::Throttle => advice::throttle(),
        Cause::DeviceSpeed => advice::device_speed(),
        _ => advice::not_seen(model),
    }
}
