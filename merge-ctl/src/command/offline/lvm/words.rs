//! What people are told of an offline merge of a logical volume.

use std::path::PathBuf;

use merge_ctl::harmless::{self, argument, printable};
use merge_ctl::human;
use merge_ctl::lvm::offline::captured::Captured;
use merge_ctl::lvm::offline::{Halt, Names, Standing, Step};

use super::super::census::Census;
use super::super::dry_run;
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

/// What would be done, in order; the tables of the private devices stand below their step.
pub(super) fn steps(
    captured: &Captured,
    disks: &[PathBuf],
    census: &Census,
    verify: bool,
) -> Vec<String> {
    let names = &captured.names;
    let (origin, snapshot) = (argument(&names.origin()), argument(&names.snapshot()));
    let disks: Vec<_> = disks.iter().map(|disk| harmless::path(disk)).collect();
    let (real, cow) = (printable(&captured.real.label()), printable(&captured.cow.label()));
    let mut steps = vec![
        format!("lvchange -an {origin}"),
        format!(
            "lvconvert --merge {snapshot}: LVM records the merge; from here on any activation, also \
             after a crash, shows the merged content and merges what is left"
        ),
        format!("flush {}, so that no power cut forgets the record", disks.join(", ")),
        format!(
            "lock the volume group {} against changes and activations, and look at everything again",
            printable(&names.vg)
        ),
        format!(
            "make private devices over {real} and {cow}:{}{}",
            table(&captured.real.table.to_string()),
            table(&captured.cow.table.to_string()),
        ),
        format!("copy {census}"),
    ];
    if verify {
        steps.push("read it back and compare it".to_owned());
    }
    let areas = human::counted(census.areas, "area");
    steps.push(format!("flush, and clear {areas} of exceptions from the last to the first"));
    steps.push("remove the private devices, unlock".to_owned());
    steps.push(format!("lvchange -ay {origin}: LVM drops {snapshot}"));
    steps
}

/// The steps of a merge that LVM has on record.
pub(super) fn steps_recorded(captured: &Captured, disks: &[PathBuf]) -> Vec<String> {
    let names = &captured.names;
    let disks: Vec<_> = disks.iter().map(|disk| harmless::path(disk)).collect();
    let (real, cow) = (printable(&captured.real.label()), printable(&captured.cow.label()));
    vec![
        format!("flush {}, so that no power cut forgets the record", disks.join(", ")),
        format!(
            "lock the volume group {} against changes and activations, and look at everything again",
            printable(&names.vg)
        ),
        format!(
            "make private devices over {real} and {cow}, as LVM's metadata says where they lie:{}{}",
            table(&captured.real.table.to_string()),
            table(&captured.cow.table.to_string()),
        ),
        "copy, flush, and clear the exceptions from the last to the first".to_owned(),
        format!("remove the private devices, unlock; {} stays inactive", argument(&names.origin())),
    ]
}

/// The same for people.
pub(super) fn dry_run_recorded(names: &Names, steps: &[String]) -> String {
    let (origin, snapshot) = (argument(&names.origin()), argument(&names.snapshot()));
    format!(
        "Nothing is changed now. LVM has the merge of {snapshot} into {origin} on record. To merge it \
         offline before {origin} is activated:\n{}",
        dry_run::numbered(steps)
    )
}

fn table(text: &str) -> String {
    text.lines().map(|line| format!("\n     {}", printable(line))).collect()
}

/// The same for people.
pub(super) fn dry_run(names: &Names, steps: &[String], notes: &[String]) -> String {
    let (origin, snapshot) = (argument(&names.origin()), argument(&names.snapshot()));
    format!(
        "Nothing is changed now. To merge {snapshot} into {origin} offline:\n{}{}",
        dry_run::numbered(steps),
        notes.iter().map(|note| format!("{note}\n")).collect::<String>(),
    )
}

/// The same of a volume that is not active.
pub(super) fn steps_asleep(names: &Names) -> Vec<String> {
    let (origin, snapshot) = (argument(&names.origin()), argument(&names.snapshot()));
    vec![
        format!("lvchange -ay {origin}, to see where it lies"),
        format!("merge {snapshot} into {origin} offline"),
        format!("lvchange -an {origin}"),
    ]
}

/// For people.
pub(super) fn dry_run_asleep(names: &Names) -> String {
    let (origin, snapshot) = (argument(&names.origin()), argument(&names.snapshot()));
    format!(
        "Nothing is changed now. {origin} is not active, so the kernel does not say where it lies: it \
         would be activated to look, {snapshot} merged into it offline, and {origin} deactivated again. \
         To see every step: lvchange -ay {origin}, and ask again.\n"
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
