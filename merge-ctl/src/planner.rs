//! Makes a plan: reads a store, and those of its siblings, as often as it takes, and shows what it
//! reads to the parts of [`crate::plan`].
//!
//! Memory does not grow with the store: one walk searches for duplicates and counts runs, further
//! walks hold as many sets of chunks as fit into the limit at once. For stores of up to a few
//! hundred million exceptions that makes two walks, three at most, and one more for each sibling.

use crate::cost::TimeRange;
use crate::model::RunSizes;
use crate::plan::costs::{MergeCosts, middle_ns};
use crate::plan::density::Density;
use crate::plan::extents::Extents;
use crate::plan::offline::{Circumstances, Offline};
use crate::plan::replay::{Replay, replay_bytes};
use crate::plan::siblings::{SiblingCount, SiblingFacts, SiblingPlan, sibling_chunks};
use crate::plan::tally::{Tallied, Tally};
use crate::plan::{Largest, Plan, Subject, WALK_BYTES, Work, capacity, set_bytes};
use crate::store::{Layout, Place, Run, RunList, Source, Store, StoreError, Survey};
use crate::units::{SECTOR_BYTES, Sectors};

/// How many exceptions are shown to the parts of the plan at once.
const BATCH: usize = 512;

/// What is asked for.
#[derive(Debug)]
pub struct Request<S> {
    /// What is known besides the exceptions.
    pub subject: Subject,
    /// What time is made of, or why there is nothing.
    pub costs: Result<MergeCosts, String>,
    /// The other snapshots of the origin.
    pub siblings: Vec<Sibling<S>>,
    /// Whether the runs are wanted as a list: for a store that changes while it is read.
    pub list_runs: bool,
}

/// Another snapshot of the origin.
#[derive(Debug)]
pub struct Sibling<S> {
    /// What is known of it.
    pub facts: SiblingFacts,
    /// Its exceptions, where they can be read.
    pub store: Option<Store<S>>,
    /// How large its COW device is, and how much of it is taken; none where its status does not
    /// tell.
    pub fill: Option<Fill>,
}

/// How full a COW device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// The whole device.
    pub total: Sectors,
    /// All that is taken.
    pub allocated: Sectors,
    /// Metadata; 0 for a transient store.
    pub metadata: Sectors,
    /// Whether the store keeps metadata on the device.
    pub persistent: bool,
}

/// A plan, and how to get at the runs behind it.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Where the merge begins, backwards.
    pub end: Place,
    /// The runs in merge order, where they were wanted as a list.
    pub runs: Option<Vec<Run>>,
}

/// A plan for a store without exceptions: whatever things cost, it takes no time.
pub fn empty(subject: Subject, costs: Result<MergeCosts, String>) -> Plan {
    let time = Some(TimeRange { low_s: 0.0, high_s: 0.0 });
    let chunk_bytes = subject.chunk_bytes.unwrap_or(0);
    Plan {
        work: Work { chunk_bytes, ..Work::default() },
        sizes: RunSizes::default(),
        largest: None,
        time,
        single_time: time,
        costs,
        siblings: Vec::new(),
        offline: None,
        chunk_sizes: Vec::new(),
        density: Density::covering(origin_chunks(&subject).unwrap_or(0)),
        not_searched: 0,
        subject,
    }
}

/// Makes the plan.
///
/// # Errors
/// The first fault in the store; a failed read. Faults in a sibling's store make bounds of exact
/// figures, no error.
pub fn plan<S: Source, T: Source>(
    store: &Store<S>,
    request: Request<T>,
) -> Result<Planned, StoreError> {
    let Request { subject, costs, siblings, list_runs } = request;
    let first = FirstWalk::of(store, &subject, list_runs)?;
    let end = first.survey.end;
    let runs = first.runs.map(RunList::into_merge_order);
    let tallied = first.tallied;
    if tallied.chunks == 0 {
        return Ok(Planned { plan: empty(subject, costs), end, runs });
    }
    let chunks = origin_chunks(&subject).or(tallied.highest_old.map(|last| last + 1));
    let jobs =
        [Job::Replay, Job::Extents].into_iter().chain(siblings.into_iter().map(Job::Sibling));
    let found = further_walks(store, chunks.unwrap_or(0), jobs)?;
    let known = costs.as_ref().ok();
    let cow = Sectors(subject.cow_bytes / SECTOR_BYTES);
    let work = tallied.work(store.layout().chunk_size().bytes());
    let time = known.map(|costs| whole_time(costs, work, &found.siblings));
    let circumstances =
        Circumstances { merging: subject.merging, siblings: !found.siblings.is_empty() };
    let plan = Plan {
        work,
        sizes: timed_sizes(&tallied, work, known),
        largest: tallied.largest.map(|run| largest(run, work, known)),
        time,
        single_time: known.map(|costs| whole_time(costs, work.single(), &found.siblings)),
        siblings: found.siblings,
        offline: Some(Offline::new(work, found.extents, known, time, circumstances)),
        chunk_sizes: found.replay.map_or_else(Vec::new, |replay| replay.rows(&tallied, cow, known)),
        density: first.density,
        not_searched: first.survey.not_searched_for_duplicates,
        costs,
        subject,
    };
    Ok(Planned { plan, end, runs })
}

/// What the merge of a store does to the siblings, and nothing more: one walk, or few.
///
/// # Errors
/// A failed read of the store; one in a sibling's makes bounds of exact figures.
pub fn siblings<S: Source, T: Source>(
    store: &Store<S>,
    origin: Sectors,
    siblings: Vec<Sibling<T>>,
) -> Result<Vec<SiblingPlan>, StoreError> {
    let chunks = store.layout().chunk_size().chunks_in(origin);
    let found = further_walks(store, chunks, siblings.into_iter().map(Job::Sibling))?;
    Ok(found.siblings)
}

fn origin_chunks(subject: &Subject) -> Option<u64> {
    let chunk_bytes = subject.chunk_bytes.filter(|bytes| *bytes > 0)?;
    Some(subject.origin_bytes?.div_ceil(chunk_bytes))
}

/// What the walk that also searches for duplicates finds.
struct FirstWalk {
    survey: Survey,
    tallied: Tallied,
    density: Density,
    runs: Option<RunList>,
}

impl FirstWalk {
    fn of<S: Source>(
        store: &Store<S>,
        subject: &Subject,
        list_runs: bool,
    ) -> Result<Self, StoreError> {
        let mut tally = Tally::default();
        let mut density = Density::covering(origin_chunks(subject).unwrap_or(0));
        let mut runs = list_runs.then(RunList::default);
        let survey = store.survey(|placed| {
            tally.add(placed);
            density.add(placed.exception.old_chunk);
            if let Some(runs) = &mut runs {
                runs.add(placed);
            }
        })?;
        Ok(Self { survey, tallied: tally.finish(), density, runs })
    }
}

/// What the other walks find.
#[derive(Default)]
struct Found {
    replay: Option<Replay>,
    extents: Option<u64>,
    siblings: Vec<SiblingPlan>,
}

/// What one walk can count, and the memory that it needs for it.
enum Count<S> {
    Replay(Replay),
    Extents(Extents),
    Sibling(Box<SiblingCount>, Sibling<S>),
}

enum Job<S> {
    Replay,
    Extents,
    Sibling(Sibling<S>),
}

fn further_walks<S: Source, T: Source>(
    store: &Store<S>,
    origin_chunks: u64,
    jobs: impl Iterator<Item = Job<T>>,
) -> Result<Found, StoreError> {
    let own = store.layout().chunk_size();
    let mut found = Found::default();
    let mut jobs = jobs
        .map(|job| {
            let bytes = match &job {
                Job::Replay => replay_bytes(own, origin_chunks),
                Job::Extents => set_bytes(origin_chunks.saturating_add(1)),
                Job::Sibling(sibling) => {
                    set_bytes(sibling_chunks(own, sibling.facts.chunk_size, origin_chunks))
                }
            };
            (bytes.min(WALK_BYTES), job)
        })
        .peekable();
    while jobs.peek().is_some() {
        let mut left = WALK_BYTES;
        let mut counts = Vec::new();
        while let Some((bytes, job)) = jobs.next_if(|(bytes, _)| *bytes <= left) {
            left -= bytes;
            counts.push(begin(job, own, origin_chunks, bytes));
        }
        let mut batch = Vec::with_capacity(BATCH);
        for placed in store.exceptions() {
            batch.push(placed?.exception.old_chunk);
            if batch.len() == BATCH {
                add_to_all(&mut counts, &batch);
                batch.clear();
            }
        }
        add_to_all(&mut counts, &batch);
        for count in counts {
            count.finish(&mut found);
        }
    }
    Ok(found)
}

fn add_to_all<S: Source>(counts: &mut [Count<S>], old_chunks: &[u64]) {
    for count in counts {
        count.add_all(old_chunks);
    }
}

fn begin<S: Source>(
    job: Job<S>,
    own: crate::units::ChunkSize,
    origin_chunks: u64,
    bytes: u64,
) -> Count<S> {
    match job {
        Job::Replay => Count::Replay(Replay::within(own, origin_chunks, bytes)),
        Job::Extents => Count::Extents(Extents::within(bytes)),
        Job::Sibling(mut sibling) => {
            let mut count = SiblingCount::within(sibling.facts.clone(), own, bytes);
            if !read_into(&mut count, sibling.store.as_ref()) {
                sibling.facts.unread = true;
                count = SiblingCount::within(sibling.facts.clone(), own, bytes);
            }
            Count::Sibling(Box::new(count), sibling)
        }
    }
}

/// Reads a sibling's exceptions; says whether all could be read.
fn read_into<S: Source>(count: &mut SiblingCount, store: Option<&Store<S>>) -> bool {
    let Some(store) = store else { return false };
    for placed in store.exceptions() {
        let Ok(placed) = placed else { return false };
        count.has(placed.exception.old_chunk);
    }
    true
}

impl<S: Source> Count<S> {
    fn add_all(&mut self, old_chunks: &[u64]) {
        match self {
            Self::Replay(replay) => replay.add_all(old_chunks.to_vec()),
            Self::Extents(extents) => extents.add_all(old_chunks),
            Self::Sibling(count, _) => {
                for chunk in old_chunks {
                    count.merged(*chunk);
                }
            }
        }
    }

    fn finish(self, found: &mut Found) {
        match self {
            Self::Replay(replay) => found.replay = Some(replay),
            Self::Extents(extents) => found.extents = extents.count(),
            Self::Sibling(count, sibling) => {
                let chunk_size = sibling.facts.chunk_size;
                let has = (!sibling.facts.unread).then(|| count.exceptions());
                let allocated = sibling.fill.map(|fill| {
                    fill.allocated.saturating_sub(fill.metadata).0 / chunk_size.sectors()
                });
                let room = sibling.fill.map(|fill| fill.room(chunk_size, has.or(allocated)));
                found.siblings.push(count.finish(allocated, room));
            }
        }
    }
}

impl Fill {
    /// How many more chunks it takes, where it holds so many exceptions.
    pub fn room(&self, chunk_size: crate::units::ChunkSize, exceptions: Option<u64>) -> u64 {
        if !self.persistent {
            return capacity::transient_room(chunk_size, self.total, self.allocated);
        }
        Layout::new(chunk_size).map_or(0, |layout| {
            let next_free = self.allocated.0 / chunk_size.sectors();
            capacity::room(layout, self.total, next_free, exceptions.unwrap_or(0))
        })
    }
}

/// The time of the work, and at most that of the copies into siblings.
fn whole_time(costs: &MergeCosts, work: Work, siblings: &[SiblingPlan]) -> TimeRange {
    let time = costs.time(work);
    let waiting_ns: f64 = siblings
        .iter()
        .map(|sibling| {
            let copies = sibling.copied_high();
            let bytes = copies.saturating_mul(sibling.chunk_bytes);
            costs.waiting_for_siblings_ns(work.runs, copies, bytes)
        })
        .sum();
    TimeRange { high_s: time.high_s + waiting_ns / 1e9, ..time }
}

fn largest(run: Run, work: Work, costs: Option<&MergeCosts>) -> Largest {
    let bytes = u64::from(run.chunks) * work.chunk_bytes;
    Largest { run, time: costs.map(|costs| costs.time_of_run(bytes, work.chunk_bytes)) }
}

/// The histogram with the time of each bucket. Time is linear in runs and bytes, so the sum of a
/// bucket is the time of its sums.
fn timed_sizes(tallied: &Tallied, work: Work, costs: Option<&MergeCosts>) -> RunSizes {
    let mut sizes = tallied.sizes.clone();
    for bucket in &mut sizes.buckets {
        let part = Work {
            chunks: bucket.chunks,
            bytes: bucket.chunks.saturating_mul(work.chunk_bytes),
            runs: bucket.runs,
            areas: 0,
            chunk_bytes: work.chunk_bytes,
        };
        bucket.ns = costs.map_or(0, |costs| middle_ns(&costs.time(part)));
    }
    sizes
}

#[cfg(test)]
mod tests;
