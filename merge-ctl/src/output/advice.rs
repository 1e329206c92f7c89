//! What the operator can do next: the same words on screen and in the summary. They are the model's
//! advice; here is only where they are shown.

use crate::model::{Model, State};
use crate::output::human::printable;
use crate::sample::Owner;

/// What has to be done next: all that the leading cause advises, in one paragraph. Empty while the
/// merge goes on.
pub fn next(model: &Model) -> String {
    match (model.state, model.findings.first()) {
        (State::Merging | State::Stalled, _) | (_, None) => String::new(),
        (_, Some(finding)) => printable(&finding.advice.join(" ")),
    }
}

/// What is most worth doing about a merge that goes on; empty where [`next`] is not.
pub fn first(model: &Model) -> String {
    match (model.state, model.findings.first()) {
        (State::Merging | State::Stalled, Some(finding)) => {
            printable(finding.advice.first().map_or("", String::as_str))
        }
        _ => String::new(),
    }
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
