//! What is to be done about a merge that has failed, in the same words everywhere: in the live view,
//! `explain`, `status`, refusals, and `resume`, which does it.
//!
//! A failed merge is never suspended and resumed. The kernel would go on from its own copy of the
//! metadata, which no longer tells the truth: after a failed commit the next run copies the COW
//! device's header over the origin's first chunk, and after a failed read of metadata a whole area
//! of exceptions is left out (docs/failed-merges.md).

use crate::harmless::{argument, printable};
use crate::sample::Owner;

/// What not to do, what to do instead, and what that does, for the origin that people call `label`.
/// The command can be pasted into a shell, whatever the name is.
pub fn words(label: &str, owner: Owner) -> [String; 3] {
    let name = printable(label);
    [
        format!("Do NOT suspend or resume {name}: the kernel would destroy data."),
        format!(
            "Repair the device that failed, stop or unmount what uses {name}, then: merge-ctl \
             resume {}",
            argument(label)
        ),
        format!(
            "resume asks first, then {}, so that the metadata is read again from disk and the merge \
             goes on where it stopped.",
            what_is_done(owner)
        ),
    ]
}

/// What `resume` does to a failed merge, as a part of a sentence.
pub const fn what_is_done(owner: Owner) -> &'static str {
    match owner {
        Owner::DeviceMapper => "removes the device and makes it anew",
        Owner::Lvm => "has lvm2 deactivate the volume and activate it again",
    }
}

/// The way out of a refusal: the first two of the words in one paragraph.
pub fn way_out(label: &str, owner: Owner) -> String {
    let [never, instead, _] = words(label, owner);
    format!("{never} {instead}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_one_for_any_name() {
        let way_out = way_out("it's \u{1b}[2J\\", Owner::DeviceMapper);
        assert!(way_out.ends_with(r"merge-ctl resume 'it'\''s \x1b[2J\'"), "{way_out}");
        assert!(way_out.contains(r"suspend or resume it's \x1b[2J\:"), "{way_out}");
    }
}
