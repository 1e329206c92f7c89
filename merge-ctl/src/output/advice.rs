//! What the operator can do next: the same words on screen and in the summary. They are the model's
//! advice; here is only where they are shown.

use crate::harmless::{argument, printable};
use crate::model::{Model, State};
use crate::sample::Owner;

/// What has to be done next: all that the leading cause advises, in one paragraph. Empty while the
/// merge goes on.
pub fn next(model: &Model) -> String {
    match (model.state, model.findings.first()) {
        (State::Merging | State::Stalled, _) | (_, None) => String::new(),
        (_, Some(finding)) => printable(&paragraph(&finding.advice)),
    }
}

/// One after the other; a command at the end of one must not run into the next.
fn paragraph(advice: &[String]) -> String {
    let mut text = String::new();
    for advice in advice {
        text.push_str(match text.chars().last() {
            None => "",
            Some('.') => " ",
            Some(_) => "; ",
        });
        text.push_str(advice);
    }
    text
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
    if model.state.is_over() || model.state == State::Scheduled || model.offline.is_some() {
        return None;
    }
    let name = argument(&model.identity.origin_label);
    let finish = match (model.identity.owner, model.identity.driven_by) {
        (Owner::DeviceMapper, Some(pid)) => format!(
            "Process {pid} drives it, and finishes it once it is done. Should that one end before: \
             merge-ctl finish {name}"
        ),
        (Owner::DeviceMapper, None) => {
            format!("Once it is done, finish it: merge-ctl finish {name}")
        }
        (Owner::Lvm, _) => "Once it is done, lvm2 finishes it by itself.".to_owned(),
    };
    Some(format!("The merge goes on. Come back with: merge-ctl monitor {name}\n{finish}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_drives_a_merge_finishes_it() {
        let mut model = crate::output::fixture::stalled();
        model.identity.owner = Owner::DeviceMapper;
        let alone = come_back(&model).unwrap();
        assert!(alone.contains("Once it is done, finish it: merge-ctl finish"), "{alone}");
        model.identity.driven_by = Some(4711);
        let driven = come_back(&model).unwrap();
        assert!(driven.contains("Process 4711 drives it, and finishes it"), "{driven}");
    }

    #[test]
    fn a_command_does_not_run_into_the_next_sentence() {
        let advice = ["Stop it.", "Then: lvchange -an vg/lv", "Wait."].map(str::to_owned);
        assert_eq!(paragraph(&advice), "Stop it. Then: lvchange -an vg/lv; Wait.");
        assert_eq!(paragraph(&[]), "");
    }
}
