//! What the operator can do next, by state and owner: the same words on screen and in the summary.
//!
//! Sentences to act on, never guesses about causes; those are the model's verdict.

use crate::model::{Model, State};
use crate::output::human::printable;
use crate::sample::Owner;

/// What to do next, one or more sentences. Empty while the merge goes on.
pub fn next(model: &Model) -> String {
    let name = printable(&model.identity.origin_label);
    let owner = model.identity.owner;
    match model.state {
        State::Scheduled => format!(
            "Stop or unmount what uses {name}, then: lvchange -an {name} && lvchange -ay {name}"
        ),
        State::Merging | State::Stalled => String::new(),
        State::Suspended => format!(
            "{name} is suspended: neither the merge nor any application goes on. Whoever \
             suspended it has to resume it: dmsetup resume {}",
            printable(&model.identity.origin)
        ),
        State::DoneNotFinished if model.identity.finished_here => {
            "All data is merged; the merge is being finished.".to_owned()
        }
        State::DoneNotFinished => match owner {
            Owner::DeviceMapper => format!(
                "All data is merged. What is left is to put the plain table back: merge-ctl finish \
                 {name}"
            ),
            Owner::Lvm => format!(
                "All data is merged. lvm2 finishes it by itself at its next look; if nobody \
                 polls: lvchange --poll y {name}"
            ),
        },
        State::Finished => format!("{name} is rolled back and is an ordinary volume again."),
        State::Failed => failed(model, &name),
        State::Invalid => format!(
            "The snapshot cannot be used any more: what was not yet merged is lost. {name} holds \
             a mix of new and old data: check it, or restore it from a backup."
        ),
        State::Gone => format!(
            "{name} carries no merge any more, and its end was not seen. What is there now: \
             merge-ctl status"
        ),
        State::Unknown => {
            "The kernel's answer is not understood. Its log may say more: dmesg".into()
        }
    }
}

fn failed(model: &Model, name: &str) -> String {
    let origin = printable(&model.identity.origin);
    let deactivate = match model.identity.owner {
        Owner::DeviceMapper => format!("dmsetup remove {origin}"),
        Owner::Lvm => format!("lvchange -an {name}"),
    };
    format!(
        "The kernel gave up. Do NOT suspend or resume {name}: that can overwrite its first chunk. \
         Deactivate it ({deactivate}), repair what dmesg names, activate it again: the merge \
         goes on where it stopped."
    )
}

/// How to come back to a merge that goes on, and what will be left to do at its end.
pub fn come_back(model: &Model) -> Option<String> {
    if model.state.is_over() || model.state == State::Scheduled {
        return None;
    }
    let name = printable(&model.identity.origin_label);
    let finish = match model.identity.owner {
        Owner::DeviceMapper => format!("Once it is done, finish it: merge-ctl finish {name}"),
        Owner::Lvm => "Once it is done, lvm2 finishes it by itself.".to_owned(),
    };
    Some(format!("The merge goes on. Come back with: merge-ctl monitor {name}\n{finish}"))
}
