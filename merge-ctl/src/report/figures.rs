//! The figures of a merge: each a picture, what can be seen in it, and the same as a table.

use super::document::{Block, Figure, Table};
use super::extent::Extent;
use super::gather::{MergeLog, Moment};
use super::plot::{Bars, Hue, Line, Lines, Measure, Plot, Point, Shares};
use super::timeline::Timeline;
use crate::human;
use crate::model::{MapCell, Model, PhaseTime};
use crate::output::plain;
use crate::sample::Phase;

/// How many rows the table behind a figure over time has at most.
const ROWS: usize = 16;
/// How many bins a figure of shares over time has at most.
const SHARE_BINS: usize = 160;
/// How long a bin of the rate is at the least: runs end when they end, and what is merged between two
/// samples jumps.
const RATE_NS: u64 = 750_000_000;
/// How many times the median the highest rate is at the least, to be shown on a scale by powers of two.
const SPREAD: f64 = 20.0;
/// How many cells the map is drawn in at most.
const MAP_CELLS: usize = 576;
/// How many parts of the origin the table behind the map has at most.
const MAP_ROWS: usize = 16;

/// What the figures are made of.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    /// What was kept of the merge.
    pub(super) log: &'a MergeLog,
    /// The last that was seen of it.
    pub(super) model: &'a Model,
}

impl Of<'_> {
    /// How long the axis of time is.
    fn seconds(&self) -> f64 {
        let ns = self.model.now_ns.saturating_sub(self.log.start_ns).max(self.model.elapsed_ns);
        (ns as f64 / 1e9).max(0.1)
    }

    fn stalls(&self) -> Vec<(f64, f64)> {
        let at = |ns: u64| ns.saturating_sub(self.log.start_ns) as f64 / 1e9;
        let end = self.seconds();
        let spans = self.log.stalls().map(|stall| {
            let ended = at(stall.ended_ns.unwrap_or(self.model.now_ns));
            (at(stall.started_ns).min(end), ended.min(end))
        });
        spans.filter(|(from, to)| from < to).collect()
    }

    fn lines(&self, measure: Measure, lines: Vec<Line>) -> Plot {
        Plot::Lines(Lines { seconds: self.seconds(), stalls: self.stalls(), measure, lines })
    }

    /// A line through the means of what is kept, with its ends around it.
    fn line(&self, name: &'static str, hue: Hue, of: impl Fn(&Moment) -> Extent) -> Line {
        self.line_through(&self.log.timeline, name, hue, of)
    }

    fn line_through(
        &self,
        timeline: &Timeline<Moment>,
        name: &'static str,
        hue: Hue,
        of: impl Fn(&Moment) -> Extent,
    ) -> Line {
        let (width_s, end) = (timeline.width_ns() as f64 / 1e9, self.seconds());
        let mut stretches: Vec<Vec<Point>> = vec![Vec::new()];
        for (from_ns, moment) in timeline.bins() {
            let extent = of(moment);
            let (Some(value), Some(least), Some(most)) =
                (extent.mean(), extent.least(), extent.most())
            else {
                stretches.push(Vec::new());
                continue;
            };
            let at = (from_ns as f64 / 1e9 + width_s / 2.0).min(end);
            if let Some(stretch) = stretches.last_mut() {
                stretch.push(Point { at, value, least, most });
            }
        }
        stretches.retain(|stretch| !stretch.is_empty());
        Line { name, hue, stretches }
    }

    /// A table of what is kept, a row for each stretch of time.
    fn rows(&self, row: impl Fn(&Moment) -> Option<Vec<String>>) -> Vec<Vec<String>> {
        let coarse = self.log.timeline.coarse(ROWS);
        let time = |(from_ns, moment): (u64, &Moment)| {
            let end_ns = from_ns.saturating_add(coarse.width_ns());
            let end_ns = end_ns.min((self.seconds() * 1e9) as u64).max(from_ns);
            let time = format!("{} – {}", human::duration(from_ns), human::duration(end_ns));
            row(moment).map(|cells| [time].into_iter().chain(cells).collect())
        };
        coarse.bins().filter_map(time).collect()
    }

    fn stalls_in_words(&self) -> &'static str {
        if self.stalls().is_empty() {
            ""
        } else {
            " Where it stood still, the background is shaded."
        }
    }
}

/// Three figures of an extent: the mean, the smallest, the largest.
fn ends(extent: &Extent, words: impl Fn(f64) -> String) -> Option<Vec<String>> {
    let figures = [extent.mean(), extent.least(), extent.most()];
    figures.into_iter().map(|figure| figure.map(&words)).collect()
}

fn figure(
    title: &str,
    (description, key): (String, String),
    plot: Plot,
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
) -> Block {
    let table = Table { caption: title.to_owned(), head, rows, figures_from: 1 };
    Block::Figure(Box::new(Figure { title: title.to_owned(), description, key, plot, table }))
}

/// Progress over time.
pub(super) fn progress(of: Of<'_>) -> Option<Block> {
    let mut stretch = vec![Point { at: 0.0, value: 0.0, least: 0.0, most: 0.0 }];
    let timeline = &of.log.timeline;
    for (from_ns, moment) in timeline.bins() {
        let Some((fraction, _)) = moment.merged else { continue };
        let at = (from_ns.saturating_add(timeline.width_ns()) as f64 / 1e9).min(of.seconds());
        let value = fraction * 100.0;
        stretch.push(Point { at, value, least: value, most: value });
    }
    if stretch.len() < 2 {
        return None;
    }
    let description = format!(
        "{} merged after {}.",
        plain::merged(of.model),
        human::duration(of.model.elapsed_ns),
    );
    let words = (description, of.stalls_in_words().to_owned());
    let rows = of.rows(|moment| {
        let (fraction, bytes) = moment.merged?;
        Some(vec![human::percent(fraction), human::bytes(bytes)])
    });
    let line = Line { name: "merged", hue: Hue::Copy, stretches: vec![stretch] };
    let plot = of.lines(Measure::Percent, vec![line]);
    Some(figure("Progress over time", words, plot, vec!["time", "merged", "bytes"], rows))
}

/// Bytes a second over time.
pub(super) fn rate(of: Of<'_>) -> Option<Block> {
    let timeline = of.log.timeline.wide(RATE_NS);
    let line = of.line_through(&timeline, "mean", Hue::Copy, |moment| moment.rate);
    if line.stretches.is_empty() {
        return None;
    }
    let most = line.stretches.iter().flatten().map(|point| point.most).fold(0.0, f64::max);
    let measure = measure_of_rate(&line, most);
    let scale = match measure {
        Measure::BytesPerSWide => {
            "Each line is a multiple of the one below; nothing is at the bottom. "
        }
        _ => "",
    };
    let description =
        format!("Bytes merged a second; {} between two samples at most.", human::rate(most));
    let key =
        format!("The band reaches from the lowest to the highest. {scale}{}", of.stalls_in_words());
    let rows = of.rows(|moment| ends(&moment.rate, human::rate));
    let head = vec!["time", "mean", "lowest", "highest"];
    let plot = of.lines(measure, vec![line]);
    Some(figure("Rate over time", (description, key), plot, head, rows))
}

/// By powers of two where all but a little would lie at the bottom otherwise.
fn measure_of_rate(line: &Line, most: f64) -> Measure {
    let mut means: Vec<f64> = line
        .stretches
        .iter()
        .flatten()
        .map(|point| point.value)
        .filter(|rate| *rate > 0.0)
        .collect();
    means.sort_by(f64::total_cmp);
    let median = means.get(means.len() / 2).copied().unwrap_or(most);
    if median * SPREAD < most { Measure::BytesPerSWide } else { Measure::BytesPerS }
}

/// How long runs were, over time.
pub(super) fn sizes_over_time(of: Of<'_>) -> Option<Block> {
    let line = of.line("mean", Hue::Siblings, |moment| moment.run_chunks);
    if line.stretches.is_empty() {
        return None;
    }
    let description = format!(
        "{} with {}; the largest has {}.",
        human::counted(of.model.totals.runs, "run"),
        human::counted(of.model.totals.chunks, "chunk"),
        human::count(of.model.totals.largest_run_chunks),
    );
    let rows = of.rows(|moment| {
        let extent = &moment.run_chunks;
        // Chunks are whole numbers.
        let whole = |chunks: f64| human::count(chunks as u64);
        let mean = human::per_second(extent.mean()?);
        Some(vec![
            human::count(extent.count()),
            mean,
            whole(extent.least()?),
            whole(extent.most()?),
        ])
    });
    let head = vec!["time", "runs", "mean chunks", "shortest", "longest"];
    let plot = of.lines(Measure::Chunks, vec![line]);
    let key = "The band reaches from the shortest run to the longest.".to_owned();
    Some(figure("Run sizes over time", (description, key), plot, head, rows))
}

/// How many runs of which size there were, and the time that they took.
pub(super) fn sizes(of: Of<'_>) -> Option<Block> {
    let buckets = &of.model.sizes.buckets;
    let sum = |part: fn(&crate::model::RunSizeBucket) -> u64| {
        buckets.iter().map(|bucket| part(bucket) as f64).sum::<f64>().max(1.0)
    };
    let (runs, chunks, ns) = (sum(|it| it.runs), sum(|it| it.chunks), sum(|it| it.ns));
    let mut groups = Vec::new();
    let mut rows = Vec::new();
    for (power, bucket) in buckets.iter().enumerate() {
        let label = plain::bucket_label(power, power);
        let parts =
            [bucket.runs as f64 / runs, bucket.chunks as f64 / chunks, bucket.ns as f64 / ns];
        if bucket.runs > 0 {
            let mut row = vec![label.clone(), human::count(bucket.runs)];
            row.extend(parts.map(human::share));
            rows.push(row);
        }
        groups.push((label, parts.to_vec()));
    }
    if rows.is_empty() {
        return None;
    }
    let description =
        "For runs of each size: their part of all runs, of all chunks, and of the time that \
                       runs took."
            .to_owned();
    let names = vec![
        ("of the runs", Hue::Metadata),
        ("of the chunks", Hue::Copy),
        ("of the time", Hue::Flush),
    ];
    let head = vec!["chunks", "runs", "of the runs", "of the chunks", "of the time"];
    let plot = Plot::Bars(Bars { names, groups });
    Some(figure("Runs by size", (description, String::new()), plot, head, rows))
}

/// The phases and the time between runs, with their words and times.
fn parts(time: &PhaseTime) -> [(&'static str, Hue, u64); 7] {
    let phase = |phase: Phase| (phase.name(), Hue::of(phase), time.ns[phase as usize]);
    let [one, two, three, four, five, six] = Phase::ALL.map(phase);
    [one, two, three, four, five, six, ("between runs", Hue::Between, time.between_ns)]
}

/// Where the time went, by phase.
pub(super) fn phases(of: Of<'_>) -> Option<Block> {
    let whole = &of.model.phases.since_start;
    let total = whole.total_ns();
    if total == 0 {
        return None;
    }
    let coarse = of.log.timeline.coarse(SHARE_BINS);
    let share = |(from_ns, moment): (u64, &Moment)| {
        let total: f64 = parts(&moment.phases).iter().map(|part| part.2 as f64).sum();
        let shares = parts(&moment.phases).map(|part| part.2 as f64 / total);
        (total > 0.0).then(|| (from_ns as f64 / 1e9, shares.to_vec()))
    };
    let plot = Plot::Shares(Shares {
        seconds: of.seconds(),
        width: coarse.width_ns() as f64 / 1e9,
        names: parts(whole).map(|(name, hue, _)| (name, hue)).into(),
        bins: coarse.bins().filter_map(share).collect(),
    });
    let rows = parts(whole).map(|(name, _, ns)| {
        let a_run = match ns.checked_div(of.model.totals.runs) {
            Some(ns) => human::duration(ns),
            None => human::UNKNOWN.to_owned(),
        };
        vec![name.to_owned(), human::share(ns as f64 / total as f64), human::duration(ns), a_run]
    });
    let mut most = parts(whole);
    most.sort_by_key(|part| std::cmp::Reverse(part.2));
    let most = most.iter().take(2).filter(|part| part.2 > 0);
    let most =
        most.map(|(name, _, ns)| format!("{name} {}", human::share(*ns as f64 / total as f64)));
    let description = format!("Most of the time: {}.", most.collect::<Vec<_>>().join(", "));
    let key = "Each column is a while, divided by what runs did in it.".to_owned();
    let head = vec!["phase", "share", "time", "a run"];
    Some(figure("Time by phase", (description, key), plot, head, rows.into()))
}

/// How long applications waited for their writes, over time.
pub(super) fn latency(of: Of<'_>) -> Option<Block> {
    const NAMES: [(&str, Hue); 3] =
        [("median", Hue::Siblings), ("99th percentile", Hue::Flush), ("slowest", Hue::Commit)];
    let lines: Vec<_> = (0..3)
        .map(|place| of.line(NAMES[place].0, NAMES[place].1, |moment| moment.latency_ns[place]))
        .collect();
    if lines.iter().all(|line| line.stretches.is_empty()) {
        return None;
    }
    let writes = of.model.latency.as_ref().map(|all| all.writes).unwrap_or_default();
    let description = format!(
        "Writes to the origin, over the five seconds before: of all {} half took {} or less, and 99 of \
         100 {}; the slowest took {}.",
        human::count(writes.count),
        human::duration(writes.p50_ns),
        human::duration(writes.p99_ns),
        human::duration(writes.max_ns),
    );
    let key = format!("The bands reach from the lowest to the highest. {}", of.stalls_in_words());
    let rows = of.rows(|moment| {
        let worst = moment.latency_ns.iter().map(|extent| extent.most().map(nanoseconds));
        worst.collect()
    });
    let head = vec!["time", "highest median", "highest 99th", "slowest"];
    let plot = of.lines(Measure::Ns, lines);
    Some(figure("Write latency over time", (description, key), plot, head, rows))
}

fn nanoseconds(ns: f64) -> String {
    // Was a whole number of nanoseconds.
    human::duration(ns as u64)
}

/// Where on the origin there was something to merge, and what of it is done.
pub(super) fn map(of: Of<'_>) -> Option<Block> {
    let map = &of.model.map;
    let known = |cell: &MapCell| cell.merged > 0 || cell.to_do.is_some();
    if !map.cells.iter().any(known) {
        return None;
    }
    let joined = |most: usize| {
        let each = map.cells.len().div_ceil(most).max(1);
        map.cells.chunks(each).map(|cells| {
            let merged: u64 = cells.iter().map(|cell| u64::from(cell.merged)).sum();
            let to_do: u64 = cells.iter().filter_map(|cell| cell.to_do).map(u64::from).sum();
            (merged, to_do)
        })
    };
    let cells = joined(MAP_CELLS).map(|cell| match cell {
        (0, 0) => Hue::Untouched,
        (_, 0) => Hue::Copy,
        (0, _) => Hue::Flush,
        _ => Hue::Partly,
    });
    let plot = Plot::Map(cells.collect());
    let each = map.cells.len().div_ceil(MAP_ROWS).max(1) as u64;
    let chunk_bytes = of.model.identity.chunk_size.bytes();
    let cell_bytes = map.chunks_per_cell.saturating_mul(chunk_bytes);
    let size = of.model.identity.size.bytes();
    let rows = (0..).zip(joined(MAP_ROWS)).map(|(place, (merged, to_do)): (u64, _)| {
        let edge = |place: u64| cell_bytes.saturating_mul(each).saturating_mul(place).min(size);
        let (from, to) = (human::bytes(edge(place)), human::bytes(edge(place + 1)));
        let data = |chunks: u64| human::bytes(chunks.saturating_mul(chunk_bytes));
        vec![format!("{from} – {to}"), data(merged), data(to_do)]
    });
    let rows = rows.collect();
    let description = format!("The origin has {} in all.", human::bytes(size));
    let key = "Its beginning is at the top left, its end at the bottom right.".to_owned();
    let head = vec!["part of the origin", "merged", "still to merge"];
    Some(figure("Map of the origin", (description, key), plot, head, rows))
}
