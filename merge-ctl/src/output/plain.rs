//! Plain lines, for logs and for terminals without a screen.
//!
//! A line stands for itself: it begins with the time (UTC) and the origin's name, so that lines of
//! several merges can share a log. No line ends with a newline, no line has colours.

use std::fmt::Write as _;

use crate::human;
use crate::model::{Announcement, Latency, Model, Relation, Stall};
use crate::output::{advice, offline_plain};
use crate::sample::{MergeIdentity, OfflineTerms, Owner, Phase, ProbeReport, ProbeTier};
use crate::state::State;

/// What the tier of the probes is called.
pub const fn tier(probes: &ProbeReport) -> &'static str {
    match probes.tier {
        ProbeTier::Full => "full",
        ProbeTier::NoModuleBtf => "without module BTF",
        ProbeTier::BlockOnly => "block I/O only",
        ProbeTier::None => "none",
    }
}

/// The origin and the snapshot that is merged into it: `vg/data ◀ vg/snap`.
pub fn title(identity: &MergeIdentity) -> String {
    let origin = human::printable(&identity.origin_label);
    match &identity.snapshot_label {
        Some(snapshot) => format!("{origin} ◀ {}", human::printable(snapshot)),
        None => origin,
    }
}

/// What is watched, and what of it can be seen. Several lines.
pub fn begin(model: &Model) -> String {
    let identity = &model.identity;
    if let Some(terms) = identity.offline {
        return begin_offline(model, terms);
    }
    let owner = match identity.owner {
        Owner::DeviceMapper => "device-mapper",
        Owner::Lvm => "LVM",
    };
    let mut text = format!(
        "{} merge of {}: {}, chunks of {}, {} left to merge, owner {owner}, kernel {}",
        stamp(model),
        title(identity),
        human::bytes(identity.size.bytes()),
        human::io_size(identity.chunk_size.bytes()),
        human::bytes(model.progress.left_bytes),
        human::printable(&identity.kernel),
    );
    if !identity.siblings.is_empty() {
        let siblings: Vec<_> =
            identity.siblings.iter().map(|name| human::printable(name)).collect();
        push_line(&mut text, &format!("other snapshots of this origin: {}", siblings.join(", ")));
    }
    push_line(&mut text, &format!("probes: {}", tier(&identity.probes)));
    for missing in &identity.probes.missing {
        push_line(&mut text, &format!("not seen here: {}", human::printable(missing)));
    }
    if let Some(why) = &model.store_unread {
        let why = human::printable(why);
        push_line(&mut text, &format!("the runs ahead are not known: {why}"));
    }
    text
}

/// The same of an offline merge, which no probes watch and no kernel does.
fn begin_offline(model: &Model, terms: OfflineTerms) -> String {
    let identity = &model.identity;
    let owner = match identity.owner_code() {
        "lvm" => "LVM",
        "image" => "nobody (no device-mapper)",
        _ => "device-mapper",
    };
    let mut text = format!(
        "{} offline merge of {}: {}, chunks of {}, owner {owner}",
        stamp(model),
        title(identity),
        human::bytes(identity.size.bytes()),
        human::io_size(identity.chunk_size.bytes()),
    );
    push_line(&mut text, &offline_plain::terms(terms));
    let stop =
        "Ctrl-C stops it after the requests under way; the store keeps all until all is copied";
    push_line(&mut text, stop);
    text
}

/// Progress from 0 to 1; not a number where it is not known how much there is to do.
pub(crate) fn fraction(model: &Model) -> f64 {
    if model.progress.initial_bytes == 0 && !model.state.is_over() {
        f64::NAN
    } else {
        model.progress.fraction()
    }
}

/// `12.0 of 50.1 MiB`; in words where all was merged before anybody looked.
pub(crate) fn merged(model: &Model) -> String {
    let progress = &model.progress;
    if was_merged_before(model) {
        return "nothing was left to merge".to_owned();
    }
    human::bytes_of(progress.merged_bytes(), progress.initial_bytes)
}

/// Whether the first look found a merge that was done.
pub(crate) const fn was_merged_before(model: &Model) -> bool {
    let done = matches!(model.state, State::DoneNotFinished | State::Finishing | State::Finished);
    done && model.progress.initial_bytes == 0
}

/// The merge at this instant, in one line.
pub fn line(model: &Model) -> String {
    let mut parts = vec![
        format!("{:<9} {:>7}", model.state.name(), human::percent(fraction(model))),
        merged(model),
    ];
    if !model.state.is_over() {
        parts.push(human::rate(model.rate.bytes_per_s));
        parts.extend(
            model.rate.runs_per_s.map(|runs| format!("{} runs/s", human::per_second(runs))),
        );
        parts.extend(model.left.as_ref().map(|left| format!("left {}", human::left(left))));
        parts.extend(model.ahead.map(|ahead| match ahead.runs {
            1 => "one run left".to_owned(),
            runs => format!("{} runs left", human::count(runs)),
        }));
        parts.extend(model.offline.as_ref().map(offline_plain::doing));
        parts.extend(phase_shares(model));
        parts.extend(writes(model));
    }
    format!(
        "{} {}  {}",
        stamp(model),
        human::printable(&model.identity.origin_label),
        parts.join("  ")
    )
}

/// The larger phases of the last minute: `drain 31 % copy 28 %`.
fn phase_shares(model: &Model) -> Option<String> {
    let time = &model.phases.last_minute;
    let mut shares: Vec<_> = Phase::ALL.map(|phase| (time.share(phase), phase)).into();
    shares.retain(|(share, _)| *share >= 0.01);
    shares.sort_by(|a, b| b.0.total_cmp(&a.0));
    let words: Vec<_> = shares
        .iter()
        .take(3)
        .map(|(share, phase)| format!("{} {}", phase.name(), human::share(*share)))
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn writes(model: &Model) -> Option<String> {
    let writes = model.writes.as_ref()?;
    let mut text = format!("{} in flight", human::counted(writes.in_flight, "write"));
    let counts = [(writes.held, "held"), (writes.awaited, "awaited"), (writes.soon, "soon")];
    for (count, word) in counts {
        if count > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, ", {} {word}", human::count(count));
        }
    }
    Some(text)
}

/// A stall that begins, or that has ended.
pub fn stall(identity: &MergeIdentity, stall: &Stall, now_ns: u64, unix_s: u64) -> String {
    let what = match stall.ended_ns {
        None => "stall begins",
        Some(_) => "stall ended",
    };
    let mut text = format!(
        "{}Z {}  {what}: {} for {}",
        human::clock_utc(unix_s),
        human::printable(&identity.origin_label),
        stall.cause.name(),
        human::duration(stall.duration_ns(now_ns)),
    );
    if !stall.detail.is_empty() {
        text.push_str(": ");
        text.push_str(&human::printable(&stall.detail));
    }
    text
}

/// Writes that a coming run will hold.
pub fn announcement(model: &Model, announcement: &Announcement) -> String {
    let coming = &announcement.coming;
    let writers: Vec<_> = coming
        .writers
        .iter()
        .take(3)
        .map(|writer| format!("{} of {}", writer.writes, human::printable(&writer.to_string())))
        .collect();
    let about = |ns: Option<u64>, word: &str| {
        ns.map_or_else(String::new, |ns| format!(", {word} about {}", human::duration(ns)))
    };
    format!(
        "{} {}  will hold writes: {} in flight in a run of {} that comes {}{}{}",
        stamp(model),
        human::printable(&model.identity.origin_label),
        writers.join(", "),
        human::counted(coming.run.chunks.into(), "chunk"),
        runs_from_now(announcement.runs),
        about(coming.begins_in_ns, "in"),
        about(coming.lasts_ns, "and takes"),
    )
}

/// When a run comes that has so many before it: `next`, `after 3 runs`.
pub(crate) fn runs_from_now(runs: u64) -> String {
    match runs {
        0 => "next".to_owned(),
        runs => format!("after {}", human::counted(runs, "run")),
    }
}

/// What a write has to do with the merge, in a word; empty where it has nothing.
pub const fn relation(relation: Relation) -> &'static str {
    match relation {
        Relation::Free => "",
        Relation::Held => "held",
        Relation::Awaited => "awaited",
        Relation::Soon { .. } => "soon",
    }
}

/// All of it, at the end or when the operator leaves. Several lines.
pub fn summary(model: &Model) -> String {
    let how = if model.offline.is_some() { ", offline" } else { "" };
    let mut text = format!(
        "{}: {} after {}{how}",
        title(&model.identity),
        model.state.name(),
        human::duration(model.elapsed_ns),
    );
    let left = match was_merged_before(model) {
        true => String::new(),
        false => format!(", {} left", human::bytes(model.progress.left_bytes)),
    };
    push_line(&mut text, &format!("merged         {}{left}", merged(model)));
    for line in model.offline.iter().flat_map(|offline| offline_plain::summary(model, offline)) {
        push_line(&mut text, &line);
    }
    runs_summary(model, &mut text);
    latency_summary(model, &mut text);
    stalls_summary(model, &mut text);
    if let Some(lost) = lost(model) {
        push_line(&mut text, &format!("not seen       {lost}"));
    }
    let verdict = model.verdict();
    if !verdict.is_empty() {
        push_line(&mut text, &format!("why            {}", human::printable(&verdict)));
    }
    for next in [Some(advice::next(model)), advice::come_back(model)].into_iter().flatten() {
        if !next.is_empty() {
            text.push('\n');
            text.push_str(&next);
        }
    }
    text
}

fn runs_summary(model: &Model, text: &mut String) {
    let totals = &model.totals;
    if totals.runs == 0 {
        return;
    }
    let line = format!(
        "runs           {}: {}, the largest {}",
        human::count(totals.runs),
        human::counted(totals.chunks, "chunk"),
        human::count(totals.largest_run_chunks),
    );
    push_line(text, &line);
    push_line(text, &format!("time by phase  {}", all_shares(model)));
    push_line(text, &format!("run sizes      {} (chunks × runs)", run_sizes(model)));
}

/// Runs by their size since the first look: `1 × 4,812, 2–3 × 640`.
pub(super) fn run_sizes(model: &Model) -> String {
    let buckets = model.sizes.buckets.iter().enumerate();
    let sizes: Vec<_> = buckets
        .filter(|(_, bucket)| bucket.runs > 0)
        .map(|(power, bucket)| {
            format!("{} × {}", bucket_label(power, power), human::count(bucket.runs))
        })
        .collect();
    sizes.join(", ")
}

fn all_shares(model: &Model) -> String {
    let time = &model.phases.since_start;
    let mut words: Vec<_> = Phase::ALL
        .iter()
        .map(|phase| format!("{} {}", phase.name(), human::share(time.share(*phase))))
        .collect();
    words.push(format!("between runs {}", human::share(between_share(time))));
    words.join(", ")
}

/// The share of the time between runs, from 0 to 1.
pub(crate) fn between_share(time: &crate::model::PhaseTime) -> f64 {
    match time.total_ns() {
        0 => 0.0,
        total => time.between_ns as f64 / total as f64,
    }
}

/// The chunks of a run in the buckets from `first` to `last`, powers of two: `1`, `2–3`, `4–15`.
pub(crate) fn bucket_label(first: usize, last: usize) -> String {
    let power = |exponent: usize| u32::try_from(exponent).ok().and_then(|e| 1_u64.checked_shl(e));
    let low = power(first).unwrap_or(u64::MAX);
    let high = power(last + 1).map_or(u64::MAX, |next| next - 1);
    if low >= high { rounded(low) } else { format!("{}–{}", rounded(low), rounded(high)) }
}

/// A bucket's end in at most four places: exact below 1024, then rounded up to `2k`, `16M`, …
fn rounded(chunks: u64) -> String {
    const SUFFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let (mut value, mut suffix) = (chunks, 0);
    while value >= 1024 && suffix + 1 < SUFFIXES.len() {
        value = value.div_ceil(1024);
        suffix += 1;
    }
    format!("{value}{}", SUFFIXES[suffix])
}

fn latency_summary(model: &Model, text: &mut String) {
    let Some(latencies) = &model.latency else { return };
    for (what, latency) in [("writes", &latencies.writes), ("reads", &latencies.reads)] {
        if latency.count > 0 {
            push_line(
                text,
                &format!(
                    "{what:<14} {}: {}",
                    human::count(latency.count),
                    latency_figures(latency)
                ),
            );
        }
    }
}

/// `p50 1.2 ms, p99 812 ms, slowest 3.1 s`.
fn latency_figures(latency: &Latency) -> String {
    format!(
        "p50 {}, p99 {}, slowest {}",
        human::duration(latency.p50_ns),
        human::duration(latency.p99_ns),
        human::duration(latency.max_ns),
    )
}

fn stalls_summary(model: &Model, text: &mut String) {
    let Some(longest) = model.stalls.iter().max_by_key(|stall| stall.duration_ns(model.now_ns))
    else {
        return;
    };
    let line = format!(
        "stalls         {}, the longest {} in {} at {} UTC",
        human::count(model.stalls.len() as u64),
        human::duration(longest.duration_ns(model.now_ns)),
        longest.cause.name(),
        human::clock_utc(longest.started_unix_s),
    );
    push_line(text, &line);
}

/// What the probes lost, in words; none where they lost nothing. A run that was under way when they
/// were attached is not lost: nobody could have seen it whole.
pub fn lost(model: &Model) -> Option<String> {
    let dropped = &model.dropped;
    let words: Vec<_> = [
        (dropped.runs, "finished run"),
        (dropped.in_flight, "write in flight"),
        (dropped.merges, "merge"),
        (dropped.missed, "probe call"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, noun)| match noun {
        "write in flight" => format!("{} in flight", human::counted(count, "write")),
        noun => human::counted(count, noun),
    })
    .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn stamp(model: &Model) -> String {
    format!("{}Z", human::clock_utc(model.unix_s))
}

fn push_line(text: &mut String, line: &str) {
    text.push_str("\n  ");
    text.push_str(line);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;

    #[test]
    fn a_line_tells_where_the_merge_is() {
        insta::assert_snapshot!(line(&fixture::merging()));
        insta::assert_snapshot!(line(&fixture::no_probes()));
        insta::assert_snapshot!(line(&fixture::done()));
    }

    #[test]
    fn the_beginning_says_what_is_not_seen() {
        insta::assert_snapshot!(begin(&fixture::block_only()));
    }

    #[test]
    fn a_stall_tells_its_cause_and_its_end() {
        let model = fixture::stalled();
        let mut one = model.stalls.back().unwrap().clone();
        insta::assert_snapshot!(stall(&model.identity, &one, model.now_ns, model.unix_s));
        one.ended_ns = Some(one.started_ns + 3_100_000_000);
        insta::assert_snapshot!(stall(&model.identity, &one, model.now_ns, model.unix_s));
    }

    #[test]
    fn writes_that_will_be_held_are_told_with_when_and_for_how_long() {
        let model = fixture::announced();
        let told = model.announcement.as_ref().unwrap();
        insta::assert_snapshot!(announcement(&model, told));
        let mut unknown = told.clone();
        (unknown.runs, unknown.coming.begins_in_ns, unknown.coming.lasts_ns) = (0, None, None);
        insta::assert_snapshot!(announcement(&model, &unknown));
    }

    #[test]
    fn the_summary_of_a_merge_left_alone_says_how_to_come_back() {
        insta::assert_snapshot!(summary(&fixture::stalled()));
    }

    #[test]
    fn a_merge_that_was_done_when_we_came_is_not_told_in_bytes() {
        let mut model = fixture::stalled();
        model.state = State::Finished;
        (model.progress.initial_bytes, model.progress.left_bytes) = (0, 0);
        for text in [summary(&model), line(&model)] {
            assert!(text.contains("nothing was left to merge") && !text.contains("0 B"), "{text}");
        }
    }

    #[test]
    fn the_summary_of_a_failed_merge_says_what_not_to_do() {
        insta::assert_snapshot!(summary(&fixture::failed()));
    }

    #[test]
    fn a_summary_without_probes_leaves_out_what_was_not_seen() {
        insta::assert_snapshot!(summary(&fixture::no_probes()));
    }

    #[test]
    fn an_offline_merge_has_stages_in_place_of_phases() {
        insta::assert_snapshot!(begin(&fixture::offline()));
        insta::assert_snapshot!(begin(&fixture::offline_limited()));
        insta::assert_snapshot!(line(&fixture::offline()));
        insta::assert_snapshot!(line(&fixture::offline_stopping()));
    }

    #[test]
    fn the_summary_of_an_offline_merge_says_what_was_done_and_what_is_left() {
        insta::assert_snapshot!(summary(&fixture::offline_finished()));
        insta::assert_snapshot!(summary(&fixture::offline_stopped()));
        insta::assert_snapshot!(summary(&fixture::offline_failed()));
    }

    #[test]
    fn whoever_stops_an_offline_merge_hears_that_the_kernel_merges_whatever_was_copied() {
        let told = summary(&fixture::offline_stopped_at_once());
        assert!(told.contains("the kernel merges the rest"), "{told}");
        assert!(!told.contains("Nothing was written"), "{told}");
    }

    #[test]
    fn buckets_are_named_by_their_chunks() {
        assert_eq!(bucket_label(0, 0), "1");
        assert_eq!(bucket_label(1, 1), "2–3");
        assert_eq!(bucket_label(2, 3), "4–15");
        assert_eq!(bucket_label(0, 200), bucket_label(0, 63));
        assert_eq!(bucket_label(9, 9), "512–1023");
        assert_eq!(bucket_label(10, 10), "1k–2k");
        assert_eq!(bucket_label(14, 14), "16k–32k");
    }

    #[test]
    fn nothing_that_a_process_is_called_reaches_the_terminal_as_control() {
        let mut model = fixture::nasty();
        for finding in &mut model.findings {
            finding.sentence.push('\u{1b}');
            finding.advice.push("\u{1b}".to_owned());
        }
        let announced = announcement(&model, model.announcement.as_ref().unwrap());
        for text in [line(&model), begin(&model), summary(&model), announced] {
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        }
    }
}
