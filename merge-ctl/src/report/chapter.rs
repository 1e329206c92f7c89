//! What is said of one merge. Verdict, causes and advice are the model's.

use super::document::{Block, Chapter, Section, Table};
use super::figures::{self, Of};
use crate::human;
use crate::model::{DiskUse, Model, OpUse, Stall, StallCause};
use crate::output::{advice, plain};
use crate::sample::OfflineTerms;

/// The chapter of a merge.
pub(super) fn of(of: Of<'_>) -> Chapter {
    let sections = [
        ("Progress", [figures::progress(of), figures::rate(of)].into_iter().flatten().collect()),
        ("Runs", runs(of)),
        ("Where the time went", times(of)),
        ("Writes of applications", figures::latency(of).into_iter().collect()),
        ("Stalls", stalls(of)),
        ("The origin", figures::map(of).into_iter().collect()),
        ("What would help", helps(of.model)),
        ("Devices and settings", setting(of)),
    ];
    Chapter {
        title: plain::title(&of.model.identity),
        state: of.model.state.name(),
        verdict: of.model.verdict(),
        key_figures: key_figures(of),
        sections: sections
            .into_iter()
            .filter(|(_, blocks): &(_, Vec<Block>)| !blocks.is_empty())
            .map(|(title, blocks)| Section { title, blocks })
            .collect(),
    }
}

fn key_figures(of: Of<'_>) -> Vec<(&'static str, String)> {
    let Of { log, model } = of;
    let mut figures = vec![
        ("state", model.state.name().to_owned()),
        ("merged", plain::merged(model)),
        ("time", human::duration(model.elapsed_ns)),
        ("seen from (UTC)", human::date_utc(log.start_unix_s)),
        ("to (UTC)", human::date_utc(model.unix_s)),
    ];
    if model.totals.runs > 0 {
        figures.push(("runs", human::count(model.totals.runs)));
        figures.push(("largest run", human::counted(model.totals.largest_run_chunks, "chunk")));
    }
    if let Some(writes) = model.latency.as_ref().map(|all| all.writes).filter(|it| it.count > 0) {
        figures.push(("writes, 99th percentile", human::duration(writes.p99_ns)));
        figures.push(("slowest write", human::duration(writes.max_ns)));
    }
    if let Some(most) = log.held.most().filter(|most| *most > 0.0) {
        // Counts are small whole numbers.
        figures.push(("most writes held at once", human::count(most as u64)));
    }
    let stalls = log.stalls().count() as u64 + log.stalls_left_out();
    let longest = log.stalls().map(|stall| stall.duration_ns(model.now_ns)).max();
    figures.push(("stalls", human::count(stalls)));
    figures.extend(longest.map(|ns| ("longest stall", human::duration(ns))));
    if let Some(left) = &model.left {
        figures.push(("time left", human::left(left)));
    }
    figures
}

fn runs(of: Of<'_>) -> Vec<Block> {
    let blocks: Vec<_> =
        [figures::sizes_over_time(of), figures::sizes(of)].into_iter().flatten().collect();
    match (blocks.is_empty(), &of.model.offline) {
        (true, None) => vec![Block::Words(match of.model.sees_runs() {
            true => "No run finished meanwhile.".to_owned(),
            false => {
                "Runs could not be seen: without probes only the kernel's status line tells of a \
                      merge."
                    .to_owned()
            }
        })],
        _ => blocks,
    }
}

fn times(of: Of<'_>) -> Vec<Block> {
    let Some(offline) = &of.model.offline else {
        return figures::phases(of).into_iter().collect();
    };
    let row = |time: &crate::model::StageTime| {
        let rate = time.bytes_per_s.map_or_else(|| human::UNKNOWN.to_owned(), human::rate);
        vec![time.stage.name().to_owned(), human::share(time.share), human::duration(time.ns), rate]
    };
    vec![Block::Table(Table {
        caption: "Time by stage of the offline merge".to_owned(),
        head: vec!["stage", "share", "time", "rate"],
        rows: offline.stages.iter().map(row).collect(),
        figures_from: 1,
    })]
}

fn stalls(of: Of<'_>) -> Vec<Block> {
    let row = |stall: &Stall| {
        let mut length = human::duration(stall.duration_ns(of.model.now_ns));
        if stall.ended_ns.is_none() {
            length.push_str(", and lasts");
        }
        let at_ns = stall.started_ns.saturating_sub(of.log.start_ns);
        vec![
            human::date_utc(stall.started_unix_s),
            human::duration(at_ns),
            length,
            stall_word(stall.cause),
            stall.detail.clone(),
        ]
    };
    let rows: Vec<_> = of.log.stalls().map(row).collect();
    if rows.is_empty() {
        return vec![Block::Words("Nothing stood still for long enough to be a stall.".to_owned())];
    }
    let mut blocks = vec![Block::Table(Table {
        caption: "Every stall".to_owned(),
        head: vec!["began (UTC)", "after", "lasted", "in", "waiting for"],
        rows,
        figures_from: usize::MAX,
    })];
    if of.log.stalls_left_out() > 0 {
        let more = human::counted(of.log.stalls_left_out(), "shorter stall");
        blocks.push(Block::Words(format!("Not listed: {more}.")));
    }
    blocks
}

fn stall_word(cause: StallCause) -> String {
    cause.name().replace('-', " ")
}

fn helps(model: &Model) -> Vec<Block> {
    let mut rows = Vec::new();
    for finding in &model.findings {
        let share = finding.share.map_or_else(String::new, human::share);
        rows.push(vec![
            finding.sentence.clone(),
            share,
            finding.advice.join("\n"),
            finding.cause.code().to_owned(),
        ]);
    }
    let mut blocks = vec![Block::Table(Table {
        caption:
            "What was found, and what would help. The part of the time is what would go away with \
                  the cause; two causes may claim the same time."
                .to_owned(),
        head: vec!["found", "part of the time", "what can be done", "cause"],
        rows,
        figures_from: usize::MAX,
    })];
    let come_back = advice::come_back(model);
    blocks.extend(come_back.map(|words| Block::Words(words.replace('\n', " "))));
    blocks
}

fn setting(of: Of<'_>) -> Vec<Block> {
    let identity = &of.model.identity;
    let mut rows = vec![
        ("origin", format!("{} ({})", identity.origin_label, identity.origin_dev)),
        ("snapshot", identity.snapshot_label.clone().unwrap_or_else(|| human::UNKNOWN.to_owned())),
        ("device of the data", format!("{} ({})", identity.real_label, identity.real_dev)),
        ("device of the exceptions", format!("{} ({})", identity.cow_label, identity.cow_dev)),
        ("size of the origin", human::bytes(identity.size.bytes())),
        ("chunk size", human::io_size(identity.chunk_size.bytes())),
        ("owner", identity.owner_code().to_owned()),
        ("kernel", identity.kernel.clone()),
    ];
    if !identity.siblings.is_empty() {
        rows.push(("other snapshots", identity.siblings.join(", ")));
    }
    rows.extend(identity.offline.map(|terms| ("offline engine", offline_terms(terms))));
    if identity.offline.is_none() {
        rows.push(("probes", plain::tier(&identity.probes).to_owned()));
    }
    rows.extend(throttle(of));
    if let Some(why) = &of.model.store_unread {
        rows.push(("runs ahead", format!("not known: {why}")));
    }
    let mut blocks = vec![pairs("The devices, and how they are set", rows)];
    blocks.extend(disks(of.model));
    let mut missing = identity.probes.missing.clone();
    missing.extend(plain::lost(of.model).map(|lost| format!("The probes lost {lost}.")));
    blocks.extend(missing.into_iter().map(|words| Block::Words(format!("Not seen: {words}"))));
    blocks
}

/// A table of names and what they are.
pub(super) fn pairs(caption: &str, rows: Vec<(&'static str, String)>) -> Block {
    Block::Table(Table {
        caption: caption.to_owned(),
        head: vec!["what", "is"],
        rows: rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect(),
        figures_from: usize::MAX,
    })
}

fn throttle(of: Of<'_>) -> Option<(&'static str, String)> {
    let percent = |percent: f64| format!("{percent:.0} %");
    let (least, most) =
        (of.log.throttle.least().map(percent)?, of.log.throttle.most().map(percent)?);
    let words = match (&*least, &*most) {
        ("100 %", "100 %") => "100 % (off)".to_owned(),
        (least, most) if least == most => least.to_owned(),
        (least, most) => format!("between {least} and {most}"),
    };
    Some(("snapshot_copy_throttle", words))
}

fn offline_terms(terms: OfflineTerms) -> String {
    let verify = if terms.verify { "compared afterwards" } else { "not compared afterwards" };
    let limit = terms.bandwidth_bytes.map_or_else(
        || "no limit of the rate".to_owned(),
        |limit| format!("at most {}", human::rate(limit.get() as f64)),
    );
    format!(
        "{} at once, {} of memory, {limit}, {verify}",
        human::counted(terms.requests.into(), "request"),
        human::bytes(terms.memory_bytes),
    )
}

/// What the kernel counted of the two devices below.
fn disks(model: &Model) -> Option<Block> {
    let pair = model.disks?.since_start;
    let identity = &model.identity;
    let row = |label: &str, disk: &DiskUse, ops: &OpUse, what: &str| {
        let mean = ops.mean_ns().map_or_else(|| human::UNKNOWN.to_owned(), human::duration);
        let suspended = if disk.suspended { " (suspended)" } else { "" };
        vec![
            format!("{label}{suspended}"),
            what.to_owned(),
            human::count(ops.count),
            human::bytes(ops.bytes),
            mean,
        ]
    };
    let rows = [(&identity.cow_label, pair.cow), (&identity.real_label, pair.real)];
    let rows = rows.iter().flat_map(|(label, disk)| {
        [row(label, disk, &disk.reads, "reads"), row(label, disk, &disk.writes, "writes")]
    });
    Some(Block::Table(Table {
        caption: "What the two devices did meanwhile, whoever asked them to".to_owned(),
        head: vec!["device", "what", "how many", "bytes", "each took"],
        rows: rows.collect(),
        figures_from: 2,
    }))
}
