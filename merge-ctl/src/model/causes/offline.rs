//! An offline merge: what merge-ctl's own engine does, how it ended, and what that leaves.

use super::{Cause, Finding, Value};
use crate::harmless::argument;
use crate::human;
use crate::model::{Model, Offline, Stall};
use crate::offline::meter::Stage;
use crate::sample::{OfflineEnd, OfflineFault, Owner};
use crate::state::State;

/// From this part of the limit on, the limit is what holds the copying back.
const AT_THE_LIMIT: f64 = 0.75;

/// What is to be said, most important first. Never empty.
pub(super) fn findings(model: &Model, offline: &Offline) -> Vec<Finding> {
    match &offline.end {
        Some(OfflineEnd::Failed(fault)) => vec![failed(model, offline, fault)],
        Some(OfflineEnd::Stopped) => vec![stopped(model, offline)],
        Some(OfflineEnd::Merged) => vec![not_finished(model), longest(offline)],
        Some(OfflineEnd::Finished) => vec![finished(model), longest(offline)],
        None => vec![works(model, offline)],
    }
}

fn works(model: &Model, offline: &Offline) -> Finding {
    let stall = model.stalls.back().filter(|stall| stall.ended_ns.is_none());
    if let Some(stall) = stall {
        return stalled(model, offline, stall);
    }
    if offline.stopping {
        return stopping(offline);
    }
    match at_the_limit(model, offline) {
        Some(limit) => bandwidth(limit),
        None => of_stage(model, offline),
    }
}

/// What holds the copying back, in bytes a second, where that is its limit.
fn at_the_limit(model: &Model, offline: &Offline) -> Option<u64> {
    let limit = model.identity.offline?.bandwidth_bytes?.get();
    let copies = offline.stage == Stage::Copying;
    (copies && model.rate.bytes_per_s >= limit as f64 * AT_THE_LIMIT).then_some(limit)
}

fn bandwidth(limit: u64) -> Finding {
    let sentence = format!(
        "Copying as fast as --bandwidth lets it, {}. Nothing is cleared yet: a stop or a crash \
         loses nothing but the work.",
        human::rate(limit as f64)
    );
    Finding::new(Cause::Bandwidth, sentence)
        .with("bandwidth_bytes_per_s", Value::BytesPerS(limit as f64))
        .advise(vec!["To copy faster, stop it and start it without --bandwidth.".to_owned()])
}

fn of_stage(model: &Model, offline: &Offline) -> Finding {
    let identity = &model.identity;
    let (origin, cow) = (&identity.origin_label, &identity.cow_label);
    let sentence = match offline.stage {
        Stage::Reading => format!("Reading the exceptions on {cow}: nothing is changed yet."),
        Stage::Copying => format!(
            "Copying {} in the order of {origin}. Nothing is cleared yet: a stop or a crash loses \
             nothing but the work.",
            human::counted(offline.exceptions, "chunk"),
        ),
        Stage::Verifying => format!(
            "All is copied and is now compared with {cow}. Nothing is cleared yet: a stop or a \
             crash loses nothing but the work."
        ),
        Stage::Flushing => {
            format!("All is copied. Waiting until {origin} has it on stable storage.")
        }
        Stage::Clearing => format!(
            "All is on stable storage, and the exceptions are taken off {cow}, from the last to the \
             first: {} of {}.",
            human::count(offline.cleared_exceptions),
            human::count(offline.exceptions),
        ),
        Stage::Done => "All is merged and the store is empty.".to_owned(),
    };
    Finding::new(Cause::Offline, sentence)
        .with("stage", Value::Text(offline.stage.name().to_owned()))
        .with("exceptions", Value::Count(offline.exceptions))
}

fn stopping(offline: &Offline) -> Finding {
    let sentence = match offline.stage {
        Stage::Clearing | Stage::Done => {
            "A stop was asked for, but all is copied already: the exceptions are being cleared, \
             which takes a moment and is not interrupted."
        }
        _ => {
            "Stopping after the requests under way. The store stays as it is, and what it holds can \
             be merged by the kernel, or offline from the beginning."
        }
    };
    Finding::new(Cause::Stopped, sentence)
        .with("stage", Value::Text(offline.stage.name().to_owned()))
}

fn stalled(model: &Model, offline: &Offline, stall: &Stall) -> Finding {
    let lasted_ns = stall.duration_ns(model.now_ns);
    let sentence = format!("Stalled for {}: {}.", human::duration(lasted_ns), stall.detail);
    Finding::new(Cause::Offline, sentence)
        .with("stage", Value::Text(offline.stage.name().to_owned()))
        .with("stalled_ns", Value::Ns(lasted_ns))
        .advise(vec![
            "See whether the devices are in order: dmesg, iostat -x, a path or a RAID that is down."
                .to_owned(),
        ])
}

fn stopped(model: &Model, offline: &Offline) -> Finding {
    let sentence = format!(
        "Stopped in the {} of an offline merge, before anything was cleared: all {} are still in \
         the store.",
        noun(offline.stage),
        human::bytes(model.progress.left_bytes),
    );
    Finding::new(Cause::Stopped, sentence)
        .with("stage", Value::Text(offline.stage.name().to_owned()))
        .with("copied_bytes", Value::Bytes(offline.copied_bytes))
        .with("left_bytes", Value::Bytes(model.progress.left_bytes))
        .advise(unmerged(model))
}

fn failed(model: &Model, offline: &Offline, fault: &OfflineFault) -> Finding {
    let kept = match offline.stage {
        Stage::Clearing | Stage::Done => "All had been copied; what is not cleared yet",
        _ => "Nothing was cleared: all that was to be merged",
    };
    let sentence = format!(
        "The {} failed: {}. {kept} is still in the store, {}.",
        noun(offline.stage),
        fault.words,
        human::bytes(model.progress.left_bytes),
    );
    let mut advice = vec!["Find out what is wrong with the device that is named.".to_owned()];
    advice.extend(unmerged(model));
    Finding::new(Cause::Failed, sentence)
        .with("stage", Value::Text(offline.stage.name().to_owned()))
        .with("fault", Value::Text(fault.code.clone()))
        .with("left_bytes", Value::Bytes(model.progress.left_bytes))
        .advise(advice)
}

/// What to do about a store that still holds what is to be merged, by who has the volume.
fn unmerged(model: &Model) -> Vec<String> {
    let identity = &model.identity;
    let label = &identity.origin_label;
    let origin = argument(label);
    let touched = model.offline.as_ref().is_some_and(|offline| offline.copied_bytes > 0);
    let stopped = model.state == State::Stopped;
    let images = identity.offline.is_some_and(|terms| terms.images);
    let now = match identity.owner {
        _ if images && touched => {
            format!(
                "Do not use {label} as it is: it holds a mix of old and new data until all is merged."
            )
        }
        // Also where we had written nothing yet.
        Owner::DeviceMapper if stopped && !images => {
            format!("{label} shows what the snapshot held: the kernel merges the rest.")
        }
        _ if !touched => format!("Nothing was written to {label}."),
        Owner::Lvm => format!("Nobody can see {label} merged in part: it is not active."),
        Owner::DeviceMapper => format!("Nobody can see {label} merged in part."),
    };
    let next = match identity.owner {
        _ if images => format!(
            "To merge it, from the beginning: merge-ctl start --offline --origin-device {origin} \
             --cow-device {}",
            argument(&identity.cow_label)
        ),
        Owner::Lvm => format!(
            "LVM has recorded the merge, and the kernel goes on with it at the next activation: \
             lvchange -ay {origin}"
        ),
        Owner::DeviceMapper if stopped => {
            format!("To follow and to finish it: merge-ctl resume {origin}")
        }
        Owner::DeviceMapper => format!("To go on with it: merge-ctl resume {origin}"),
    };
    vec![now, next]
}

fn not_finished(model: &Model) -> Finding {
    let origin = &model.identity.origin_label;
    let scheduled = model.identity.offline.is_some_and(|terms| terms.scheduled);
    let (sentence, advice) = if scheduled {
        (
            format!("All is merged; {origin} is not active, as it was."),
            format!("LVM drops the snapshot once it is: lvchange -ay {}", argument(origin)),
        )
    } else {
        (format!("All is merged; {origin} is being given back."), "Wait a moment.".to_owned())
    };
    Finding::new(Cause::NotFinished, sentence)
        .with("left_bytes", Value::Bytes(0))
        .advise(vec![advice])
}

fn finished(model: &Model) -> Finding {
    let origin = &model.identity.origin_label;
    let terms = model.identity.offline.unwrap_or_default();
    let sentence = if terms.images {
        format!("All is merged into {origin}, and the store is empty.")
    } else {
        "All is merged, and the origin is an ordinary device again.".to_owned()
    };
    let advice = if terms.images {
        format!("Nothing is left to do: {origin} holds what the snapshot held.")
    } else {
        format!("Nothing is left to do: {origin} is rolled back and is an ordinary volume again.")
    };
    Finding::new(Cause::Finished, sentence).advise(vec![advice])
}

/// The stage that took longest.
fn longest(offline: &Offline) -> Finding {
    let mut longest = offline.stages[0];
    for stage in &offline.stages[1..] {
        if stage.ns > longest.ns {
            longest = *stage;
        }
    }
    let rate = longest
        .bytes_per_s
        .map_or_else(String::new, |rate| format!(", at {}", human::rate(rate).trim()));
    let sentence = format!(
        "Most of the time, {}, went into the {}{rate}.",
        human::share(longest.share),
        noun(longest.stage)
    );
    Finding::of_share(Cause::Offline, longest.share, sentence)
        .with("stage", Value::Text(longest.stage.name().to_owned()))
        .with("ns", Value::Ns(longest.ns))
}

/// The stage as a thing.
const fn noun(stage: Stage) -> &'static str {
    match stage {
        Stage::Reading => "reading of the exceptions",
        Stage::Copying => "copying",
        Stage::Verifying => "comparing",
        Stage::Flushing => "flush",
        Stage::Clearing => "clearing of the exceptions",
        Stage::Done => "end",
    }
}
