//! What people are told of an offline merge of a logical volume.

use std::path::PathBuf;

use merge_ctl::harmless::{self, argument, printable};
use merge_ctl::human;
use merge_ctl::lvm::offline::captured::Captured;
use merge_ctl::lvm::offline::{Halt, Names, Standing, Step};
use merge_ctl::merge::preflight::Plan;

use crate::exit::Exit;

/// What it costs others, before it begins.
pub(super) fn warning(names: &Names) -> String {
    let (origin, vg) = (printable(&names.origin()), printable(&names.vg));
    format!(
        "offline: {origin} is taken down while its snapshot is merged, and commands that change {vg}, \
         or activate a volume of it, wait meanwhile"
    )
}

/// That a volume was activated to look at it.
pub(super) fn woken(names: &Names) -> String {
    let origin = printable(&names.origin());
    format!(
        "{origin} is not active: it is activated to see where it lies, and is down again at the end"
    )
}

/// All is done.
pub(super) fn done(names: &Names) -> String {
    let (origin, snapshot) = (printable(&names.origin()), printable(&names.snapshot()));
    format!("LVM has dropped {snapshot}; {origin} is an ordinary volume again")
}

/// What a merge on record costs others.
pub(super) fn taken_up(names: &Names) -> String {
    let (snapshot, origin, vg) =
        (printable(&names.snapshot()), printable(&names.origin()), printable(&names.vg));
    format!(
        "offline: {snapshot} is merged into {origin} before it is activated; commands that change {vg}, or \
         activate a volume of it, wait meanwhile"
    )
}

/// There is nothing to do.
pub(super) fn nothing_on_record(origin: &str) -> String {
    format!("LVM has no merge into {} on record: nothing is to be done", printable(origin))
}

/// A merge on record is merged, and the volume is not active.
pub(super) fn emptied(names: &Names) -> String {
    let (origin, snapshot) = (printable(&names.origin()), printable(&names.snapshot()));
    format!(
        "all of {snapshot} is merged into {origin}, which is not active: its next activation finds nothing \
         left to merge, and LVM drops {snapshot}"
    )
}

/// Where the volume is now, and what to do.
pub(super) fn standing(standing: Standing, names: &Names) -> String {
    let (origin, snapshot) = (printable(&names.origin()), printable(&names.snapshot()));
    let volume = argument(&names.origin());
    match standing {
        Standing::AsFound => "nothing was changed".to_owned(),
        Standing::Down => {
            format!(
                "nothing was changed, but {origin} is not active any more: lvchange -ay {volume}"
            )
        }
        Standing::Up => {
            format!("nothing was changed, but {origin} is still active: lvchange -an {volume}")
        }
        Standing::Recorded => format!(
            "{origin} is not active. LVM has the merge of {snapshot} on record: the next activation \
             shows the merged content at once, and the kernel merges what is left: \
             lvchange -ay {volume}"
        ),
        Standing::Merging => {
            format!("the kernel merges {snapshot} into {origin}: merge-ctl monitor {volume}")
        }
        Standing::Unknown => format!(
            "{origin} is not active, and it could not be seen whether LVM has the merge on record \
             (`lvs -a`); nothing was copied: lvchange -ay {volume}"
        ),
        Standing::NotDropped => format!(
            "all is merged and {origin} is active, but LVM still lists {snapshot}: \
             merge-ctl finish {volume}"
        ),
        Standing::StillUp => {
            format!("all is merged, but {origin} is still active: lvchange -an {volume}")
        }
    }
}

/// How a merge that ended early is told to scripts.
pub(super) const fn exit(halt: &Halt) -> Exit {
    match (halt.standing, halt.step) {
        (Standing::AsFound, _) => Exit::Refused,
        (Standing::Down | Standing::Up | Standing::Unknown | Standing::StillUp, _) => Exit::Error,
        (Standing::Recorded, Step::LetGo | Step::Activate)
        | (Standing::Merging | Standing::NotDropped, _) => Exit::StillMerging,
        (Standing::Recorded, _) => Exit::Failed,
    }
}

/// What would be done, step by step, with what a crash would leave.
pub(super) fn dry_run(plan: &Plan<'_>, captured: &Captured, disks: &[PathBuf]) -> String {
    let names = &captured.names;
    let (origin, snapshot) = (argument(&names.origin()), argument(&names.snapshot()));
    let disks: Vec<_> = disks.iter().map(|disk| harmless::path(disk)).collect();
    let (real, cow) = (printable(&captured.real.label()), printable(&captured.cow.label()));
    let size = human::bytes(plan.to_merge.bytes());
    format!(
        "Nothing is changed now. To merge {snapshot} into {origin} offline:\n\
         1. lvchange -an {origin}\n\
         2. lvconvert --merge {snapshot}: LVM records the merge; from here on any activation, also \
         after a crash, shows the merged content and merges what is left\n\
         3. flush {}, so that no power cut forgets the record\n\
         4. lock the volume group {} against changes and activations, and look at everything again\n\
         5. make private devices over {real} and {cow}:\n{}{}\
         6. copy {size}, flush, and clear the exceptions from the last to the first\n\
         7. remove the private devices, unlock\n\
         8. lvchange -ay {origin}: LVM drops {snapshot}\n{}",
        disks.join(", "),
        printable(&names.vg),
        table(&captured.real.table.to_string()),
        table(&captured.cow.table.to_string()),
        plan.notes.iter().map(|note| format!("{note}\n")).collect::<String>(),
    )
}

/// What would be done with a merge on record.
pub(super) fn dry_run_recorded(captured: &Captured, disks: &[PathBuf]) -> String {
    let names = &captured.names;
    let (origin, snapshot) = (argument(&names.origin()), argument(&names.snapshot()));
    let disks: Vec<_> = disks.iter().map(|disk| harmless::path(disk)).collect();
    let (real, cow) = (printable(&captured.real.label()), printable(&captured.cow.label()));
    format!(
        "Nothing is changed now. LVM has the merge of {snapshot} into {origin} on record. To merge it \
         offline before {origin} is activated:\n\
         1. flush {}, so that no power cut forgets the record\n\
         2. lock the volume group {} against changes and activations, and look at everything again\n\
         3. make private devices over {real} and {cow}, as LVM's metadata says where they lie:\n{}{}\
         4. copy, flush, and clear the exceptions from the last to the first\n\
         5. remove the private devices, unlock; {origin} stays inactive\n",
        disks.join(", "),
        printable(&names.vg),
        table(&captured.real.table.to_string()),
        table(&captured.cow.table.to_string()),
    )
}

fn table(text: &str) -> String {
    text.lines().map(|line| format!("   {}\n", printable(line))).collect()
}

/// The same of a volume that is not active.
pub(super) fn dry_run_asleep(names: &Names) -> String {
    let (origin, snapshot) = (argument(&names.origin()), argument(&names.snapshot()));
    format!(
        "Nothing is changed now. {origin} is not active, so the kernel does not say where it lies: it \
         would be activated to look, {snapshot} merged into it offline, and {origin} deactivated again. \
         To see every step: lvchange -ay {origin}, and ask again."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDINGS: [Standing; 8] = [
        Standing::AsFound,
        Standing::Down,
        Standing::Up,
        Standing::Recorded,
        Standing::Merging,
        Standing::Unknown,
        Standing::NotDropped,
        Standing::StillUp,
    ];

    #[test]
    fn every_standing_but_the_first_has_a_command() {
        let names = Names { vg: "vg".into(), origin: "data".into(), snapshot: "snap".into() };
        for it in STANDINGS {
            let words = standing(it, &names);
            assert_eq!(words.contains("vg/data"), it != Standing::AsFound, "{words}");
        }
        assert!(standing(Standing::Recorded, &names).ends_with("lvchange -ay vg/data"));
    }
}
