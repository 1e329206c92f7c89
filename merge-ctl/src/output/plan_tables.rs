//! The later parts of a plan: other snapshots, other chunk sizes, and the offline order.

use crate::harmless::argument;
use crate::human;
use crate::plan::Plan;
use crate::plan::offline::{Advice, Faster};
use crate::plan::replay::{ChunkSizeRow, Counts};
use crate::plan::siblings::{Fate, SiblingPlan};

/// What the table of chunk sizes is, in words.
pub(super) fn chunk_sizes_note(plan: &Plan) -> String {
    let mut note = "* now. Larger sizes follow exactly from the order of first writes.".to_owned();
    let bounds = plan.chunk_sizes.iter().filter_map(|row| row.counts).any(|it| !it.is_exact());
    if bounds {
        note.push_str(
            " For smaller ones the store does not tell which parts of a chunk were written: \"≤\" is \
             the most that can be.",
        );
    }
    note
}

/// Each sibling in a sentence or two.
pub(super) fn siblings(plan: &Plan) -> Vec<String> {
    plan.siblings.iter().map(sibling).collect()
}

fn sibling(sibling: &SiblingPlan) -> String {
    let label = human::printable(&sibling.label);
    if sibling.fate == Fate::LostAlready {
        return format!("{label}: invalid already; nothing is copied into it.");
    }
    let (low, high) = (sibling.copies_low, sibling.copies_high);
    let size = human::io_size(sibling.chunk_bytes);
    let bytes = human::bytes(high.saturating_mul(sibling.chunk_bytes));
    let copies = if low == high {
        format!("{} of {size}, {bytes},", human::counted(high, "chunk"))
    } else {
        format!(
            "{} to {} chunks of {size}, {bytes} at most,",
            human::count(low),
            human::count(high)
        )
    };
    let room = sibling.room.map_or_else(
        || "how much room it has is not known".to_owned(),
        |room| format!("it has room for {}", human::count(room)),
    );
    let fate = match sibling.fate {
        Fate::Kept => "it stays valid.",
        Fate::Overflows => "it OVERFLOWS and is LOST. Extend its COW device, or remove it, before.",
        Fate::Unclear | Fate::LostAlready => {
            "it may overflow and be lost. Extend its COW device before."
        }
    };
    format!("{label}: {copies} must be copied into it; {room}: {fate}")
}

/// The table of chunk sizes, its head first.
pub(super) fn chunk_sizes(plan: &Plan) -> Vec<String> {
    let head = format!(
        "{:<10}{:>11}{:>12}{:>11}  {:<21}{}",
        "chunk size", "chunks", "copied", "runs", "time", "COW device"
    );
    std::iter::once(head).chain(plan.chunk_sizes.iter().map(chunk_size)).collect()
}

fn chunk_size(row: &ChunkSizeRow) -> String {
    let mark = if row.own { " *" } else { "" };
    let size = format!("{}{mark}", human::io_size(row.chunk_bytes));
    let Some(counts) = &row.counts else {
        return format!("{size:<10} not known, for want of memory");
    };
    let bytes = human::bytes(counts.chunks_high.saturating_mul(row.chunk_bytes));
    let fits = match row.fits {
        Some(true) => "large enough",
        Some(false) => "too small",
        None => "depends",
    };
    format!(
        "{size:<10}{:>11}{:>12}{:>11}  {:<21}{fits}",
        most(counts, counts.chunks_high),
        bound(counts, bytes),
        most(counts, counts.runs_high),
        human::span_or_unknown(row.time),
    )
}

fn most(counts: &Counts, number: u64) -> String {
    bound(counts, human::count_short(number))
}

fn bound(counts: &Counts, figure: String) -> String {
    if counts.is_exact() { figure } else { format!("≤ {figure}") }
}

/// What to type for it; of a file nobody knows the origin.
fn command(plan: &Plan) -> String {
    match &plan.subject.origin {
        Some(_) if !plan.subject.merging => {
            format!("`merge-ctl start --offline {}`", argument(&plan.subject.label))
        }
        _ => "an offline merge".to_owned(),
    }
}

/// The offline order in a few sentences.
pub(in crate::output) fn offline(plan: &Plan) -> String {
    let Some(offline) = &plan.offline else { return String::new() };
    let pieces = offline.extents.map_or_else(
        || "in an unknown number of pieces".to_owned(),
        |extents| format!("in {}", human::counted(extents, "piece")),
    );
    let mut text = format!(
        "While nobody uses the origin, {} copies the chunks in its order, {pieces}, many at a time, \
         and clears {} at the end.",
        command(plan),
        human::counted(offline.areas, "area")
    );
    if let Some(time) = &offline.time {
        let verdict = match offline.faster {
            Some(Faster::Yes) => "that is faster",
            Some(Faster::No) => "that is slower",
            _ => "whether that is faster is open",
        };
        text.push_str(&format!(" It takes {}: {verdict}.", human::span(time)));
    }
    text.push_str(match offline.advice {
        Some(Advice::Offline) => {
            " Advice: offline, if the origin can be taken out of use for so long."
        }
        Some(Advice::Online) => " Advice: online. It is not faster offline for certain.",
        Some(Advice::OnlineIsShort) => {
            " Advice: online. Offline saves a minute at the most, and the origin stays in use."
        }
        Some(Advice::OnlineForSiblings) => {
            " Advice: online. While the origin has other snapshots it cannot be merged offline."
        }
        None if plan.subject.merging => " It merges already, by the kernel.",
        None => "",
    });
    text
}
