//! What is wrong, or over: decided by the state, whatever the time was spent on.

use super::{Cause, Finding, Value, advice};
use crate::harmless::for_dmsetup;
use crate::human;
use crate::model::{Model, State};
use crate::sample::{Below, End, Fault, MergeIdentity, ToldBy};

/// What the state says; nothing where the merge goes on.
pub(super) fn finding(model: &Model) -> Option<Finding> {
    match model.state {
        State::Merging | State::Stalled => suspended_below(model),
        // Over in a moment, and nothing is wrong.
        State::Found | State::Ready | State::Starting | State::Finishing
        // Only an offline merge is, which has findings of its own.
        | State::Stopped => None,
        State::Suspended => Some(suspended(model)),
        State::Failed => Some(failed(model)),
        State::Invalid => Some(invalid(model)),
        State::Scheduled => Some(scheduled(model)),
        State::DoneNotFinished => Some(not_finished(model)),
        State::Finished => Some(finished(model)),
        State::Gone => Some(
            Finding::new(
                Cause::Gone,
                "The origin carries no merge any more, and nobody saw the merge end.",
            )
            .advise(advice::gone(model)),
        ),
        State::Unknown => Some(
            Finding::new(Cause::StatusUnreadable, "The kernel's status cannot be read.")
                .advise(advice::status_unreadable()),
        ),
    }
}

fn suspended(model: &Model) -> Finding {
    let stall = model.stalls.back().filter(|stall| stall.ended_ns.is_none());
    let lasted_ns = stall.map(|stall| stall.duration_ns(model.now_ns));
    let since = lasted_ns.map_or_else(String::new, |ns| format!(" for {}", human::duration(ns)));
    let sentence =
        format!("The origin is suspended{since}: neither the merge nor applications go on.");
    let finding = Finding::new(Cause::Suspended, sentence)
        .with("suspended", Value::Names(vec![model.identity.origin.clone()]));
    let finding = match lasted_ns {
        Some(ns) => finding.with("stalled_ns", Value::Ns(ns)),
        None => finding,
    };
    finding.advise(advice::suspended(
        &model.identity.origin_label,
        &for_dmsetup(&model.identity.origin, model.identity.origin_dev),
    ))
}

/// A device below that is suspended: the status line of the origin says nothing of it.
fn suspended_below(model: &Model) -> Option<Finding> {
    let disks = model.disks?.last_minute;
    let identity = &model.identity;
    let (what, label, dev) = if disks.cow.suspended {
        ("COW device", &identity.cow_label, identity.cow_dev)
    } else if disks.real.suspended {
        ("origin's device", &identity.real_label, identity.real_dev)
    } else {
        return None;
    };
    let sentence = format!("The {what} {label} is suspended: nothing goes on until it is resumed.");
    let finding = Finding::new(Cause::Suspended, sentence)
        .with("suspended", Value::Names(vec![label.clone()]));
    let device = for_dmsetup("", dev);
    Some(finding.advise(advice::suspended(label, &device)))
}

fn failed(model: &Model) -> Finding {
    let finding = match &model.end {
        Some(End::Failed { fault: Some(fault), told_by, errno, old_chunk, chunks, .. }) => {
            let what = broken(&model.identity, *fault);
            let mut how = match told_by {
                ToldBy::Probes => what,
                ToldBy::KernelLog => format!("by the kernel log, {what}"),
            };
            if *chunks > 0 {
                how += &format!(
                    " in the {} of the run at chunk {} ({})",
                    fault.phase().name(),
                    human::count(*old_chunk),
                    human::counted(u64::from(*chunks), "chunk"),
                );
            }
            if *errno != 0 {
                how += &format!(": {}", human::errno(*errno));
            }
            Finding::new(Cause::Failed, format!("{}.", capitalized(&how)))
                .with("fault", Value::Text(fault.code().to_owned()))
                .with("phase", Value::Text(fault.phase().name().to_owned()))
                .with("errno", Value::Text(errno.to_string()))
                .with("old_chunk", Value::Count(*old_chunk))
                .with("chunks", Value::Count(u64::from(*chunks)))
        }
        _ => Finding::new(
            Cause::Failed,
            "The kernel gave up on the merge after an I/O error; which device failed is not known.",
        )
        .with("fault", Value::Text("unknown".to_owned())),
    };
    let sentence = format!("{} Do not suspend or resume the origin.", finding.sentence);
    Finding { sentence, ..finding.with("left_bytes", Value::Bytes(model.progress.left_bytes)) }
        .advise(advice::failed(model))
}

/// `writing to vg/data-real (253:0) failed`.
fn broken(identity: &MergeIdentity, fault: Fault) -> String {
    let doing = match fault {
        Fault::MetadataReadCow => "reading metadata from",
        Fault::CopyReadCow => "reading from",
        Fault::CopyWriteOrigin => "writing to",
        Fault::FlushOrigin => "flushing",
        Fault::CommitCow => "writing metadata to",
    };
    let (label, dev) = match fault.below() {
        Below::Cow => (&identity.cow_label, identity.cow_dev),
        Below::Real => (&identity.real_label, identity.real_dev),
    };
    format!("{doing} {label} ({dev}) failed")
}

fn capitalized(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn invalid(model: &Model) -> Finding {
    Finding::new(
        Cause::Invalid,
        "The exception store is invalid: what was not merged yet cannot be merged.",
    )
    .with("left_bytes", Value::Bytes(model.progress.left_bytes))
    .advise(advice::invalid(model))
}

fn scheduled(model: &Model) -> Finding {
    Finding::new(
        Cause::Scheduled,
        "The volume is in use: LVM begins the merge at its next activation.",
    )
    .advise(advice::scheduled(&model.identity.origin_label))
}

fn not_finished(model: &Model) -> Finding {
    let sentence = if model.identity.finished_here {
        "All is merged; the merge is being finished."
    } else {
        "All is merged, and nobody has put the plain table back yet."
    };
    Finding::new(Cause::NotFinished, sentence)
        .with("left_bytes", Value::Bytes(model.progress.left_bytes))
        .advise(advice::not_finished(model))
}

fn finished(model: &Model) -> Finding {
    Finding::new(Cause::Finished, "All is merged, and the origin is an ordinary device again.")
        .advise(advice::finished(model))
}
