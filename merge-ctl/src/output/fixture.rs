//! Models made by hand, for the tests of what is shown: believable ones, and one of nasty values.

mod nasty;
mod offline;

pub(crate) use nasty::nasty;
pub(crate) use offline::*;

use std::collections::VecDeque;

use crate::cost::TimeRange;
use crate::model::{
    Ahead, Announcement, DiskPair, DiskTimes, DiskUse, Latencies, Latency, MapCell, Memory, Model,
    OpUse, OriginMap, PhaseTime, Phases, Progress, Rate, Relation, RunCount, RunSizeBucket,
    RunSizes, Stall, StallCause, State, Totals, Upcoming, UpcomingRun, Write, Writer, Writes,
    causes,
};
use crate::sample::{
    CurrentRun, Dropped, End, Fault, KernelInFlight, MergeIdentity, Owner, Phase, ProbeReport,
    ProbeTier, Run, ToldBy,
};
use crate::units::{ChunkSize, DeviceNumber, Sectors};

const MS: u64 = 1_000_000;
const NOW_NS: u64 = 5_000_000 * MS;

fn identity() -> MergeIdentity {
    let dev = |minor| DeviceNumber { major: 253, minor };
    MergeIdentity {
        origin: "vg-data".to_owned(),
        origin_label: "vg/data".to_owned(),
        snapshot_label: Some("vg/snap".to_owned()),
        origin_dev: dev(0),
        real_dev: dev(1),
        cow_dev: dev(2),
        real_label: "vg/data-real".to_owned(),
        cow_label: "vg/snap-cow".to_owned(),
        owner: Owner::Lvm,
        finished_here: false,
        driven_by: None,
        chunk_size: ChunkSize::from_sectors(8).expect("a power of two"),
        size: Sectors(100 << 21),
        siblings: Vec::new(),
        kernel: "6.1.0-40-amd64".to_owned(),
        probes: ProbeReport { tier: ProbeTier::Full, missing: Vec::new() },
        offline: None,
    }
}

fn recent_runs() -> VecDeque<Run> {
    (0..64_u64)
        .map(|i| {
            let chunks = [1, 1, 256, 1, 17, 1, 1, 64][i as usize % 8];
            let ms = [2, 0, i % 3 * 4, 4 + u64::from(chunks) / 8, 7, 9];
            let finished_ns = NOW_NS - (64 - i) * 60 * MS;
            Run {
                old_chunk: 900_000 - i * 300,
                new_chunk: 700_000 - i * 257,
                chunks,
                started_ns: finished_ns - ms.iter().sum::<u64>() * MS,
                finished_ns,
                phase_ns: ms.map(|ms| ms * MS),
            }
        })
        .collect()
}

fn sizes() -> RunSizes {
    let bucket =
        |runs, chunks, seconds: u64| RunSizeBucket { runs, chunks, ns: seconds * 1000 * MS };
    RunSizes {
        buckets: vec![
            bucket(4_812, 4_812, 118),
            bucket(640, 1_500, 17),
            bucket(272, 1_400, 8),
            bucket(0, 0, 0),
            bucket(240, 5_200, 7),
            bucket(12, 500, 1),
            bucket(0, 0, 0),
            bucket(31, 6_000, 4),
            bucket(1_503, 384_768, 37),
        ],
    }
}

fn writes() -> Writes {
    let comms = ["postgres", "postgres", "fio", "kworker/u8:2", "jbd2/dm-0-8"];
    let listed = (0..13_u64)
        .map(|i| Write {
            sector: 704_960 + i * 64,
            bytes: if i == 11 { 0 } else { 4096 << (i % 3) },
            age_ns: (812 - i * 60) * MS,
            pid: 812 + (i % 5) as u32 * 777,
            comm: comms[i as usize % 5].to_owned(),
            relation: if i < 3 { Relation::Held } else { Relation::Free },
        })
        .collect();
    let kernel = Some(KernelInFlight { reads: 2, writes: 13 });
    Writes { in_flight: 13, held: 3, awaited: 0, soon: 0, kernel, counts_differ: false, listed }
}

fn latency(count: u64, per_s: f64, p50_ms: u64, p99_ms: u64, max_ms: u64) -> Latency {
    Latency {
        count,
        per_s,
        bytes_per_s: per_s * 4096.0,
        p50_ns: p50_ms * MS,
        p99_ns: p99_ms * MS,
        max_ns: max_ms * MS,
    }
}

fn map() -> OriginMap {
    let cells = (0..4096_u32)
        .map(|i| match (i / 97) % 7 {
            0 | 3 => MapCell { merged: 0, merging: 0, to_do: Some(0) },
            _ if i == 1_500 => MapCell { merged: 10, merging: 256, to_do: Some(300) },
            _ if i < 1_400 => MapCell { merged: 0, merging: 0, to_do: Some(500) },
            _ if i < 1_600 => MapCell { merged: 400, merging: 0, to_do: Some(300) },
            _ => MapCell { merged: 700, merging: 0, to_do: Some(0) },
        })
        .collect();
    OriginMap { chunks_per_cell: 6_400, cells, read_ns: 0 }
}

fn disks() -> DiskTimes {
    let ops = |count| OpUse { count, bytes: count * 16_384, ns: count * 3 * MS };
    let cow = DiskUse { reads: ops(2_900), writes: ops(2_460), in_flight: 4, suspended: false };
    let real = DiskUse { writes: ops(7_400), ..cow };
    let pair = DiskPair { cow, real };
    DiskTimes { last_minute: pair, since_start: pair }
}

fn rate() -> Rate {
    let history =
        (0..300_i32).map(|i| 4e7 + 2.5e7 * f64::from(i).mul_add(0.13, 0.0).sin()).collect();
    Rate {
        bytes_per_s: 40_055_603.2,
        step_bytes_per_s: Some(39e6),
        runs_per_s: Some(41.2),
        history,
    }
}

fn phases() -> Phases {
    Phases {
        last_minute: PhaseTime {
            ns: [1_800, 0, 18_600, 16_800, 7_200, 15_000].map(|ms| ms * MS),
            between_ns: 600 * MS,
        },
        since_start: PhaseTime {
            ns: [5_700, 200, 24_000, 76_000, 36_000, 48_000].map(|ms| ms * MS),
            between_ns: 2_100 * MS,
        },
        last_minute_runs: RunCount { runs: 2_460, chunks: 31_980 },
        finished: PhaseTime::default(),
    }
}

fn current() -> CurrentRun {
    CurrentRun {
        old_chunk: 88_120,
        new_chunk: 70_031,
        chunks: 256,
        phase: Phase::Copy,
        started_ns: NOW_NS - 120 * MS,
        phase_started_ns: NOW_NS - 84 * MS,
        phase_ns: [2 * MS, 0, 34 * MS, 0, 0, 0],
    }
}

/// A stall that is over.
fn drained() -> Stall {
    Stall {
        started_ns: NOW_NS - 90_000 * MS,
        started_unix_s: 1_793_875_237,
        ended_ns: Some(NOW_NS - 86_900 * MS),
        cause: StallCause::Phase(Phase::Drain),
        detail: "fio[4411]: 64 writes in the run, the oldest 3.0 s".to_owned(),
    }
}

fn latencies() -> Latencies {
    Latencies {
        writes_now: latency(6_020, 1_204.0, 2, 812, 3_100),
        reads_now: latency(500, 100.0, 1, 9, 20),
        writes: latency(231_168, 1_204.0, 2, 640, 3_100),
        reads: latency(19_200, 100.0, 1, 9, 41),
        write_counts: Vec::new(),
        write_ns: 0,
    }
}

/// With the findings that the model would have.
fn explained(model: Model) -> Model {
    Model { findings: causes::of(&model), ..model }
}

/// A merge that goes well, with everything seen.
pub(crate) fn merging() -> Model {
    let initial_bytes = 12 << 30;
    explained(Model {
        identity: identity(),
        now_ns: NOW_NS,
        unix_s: 1_793_875_327,
        elapsed_ns: 192_000 * MS,
        state: State::Merging,
        end: None,
        progress: Progress { initial_bytes, left_bytes: initial_bytes * 386 / 1000 },
        fill: None,
        rate: rate(),
        left: Some(TimeRange { low_s: 110.0, high_s: 160.0 }),
        ahead: Some(Ahead {
            initial_runs: 12_322,
            runs: 4_812,
            chunks: 1_214_251,
            largest_run_chunks: 256,
        }),
        store_unread: None,
        phases: phases(),
        sizes: sizes(),
        recent_runs: recent_runs(),
        current: Some(current()),
        stalls: [drained()].into(),
        stall_counts: Vec::new(),
        upcoming: None,
        announcement: None,
        writes: Some(writes()),
        latency: Some(latencies()),
        map: map(),
        disks: Some(disks()),
        awaited: vec![Writer { comm: "fio".to_owned(), pid: 4411, writes: 64 }],
        findings: Vec::new(),
        totals: Totals { runs: 7_510, chunks: 404_180, largest_run_chunks: 256 },
        throttle_percent: Some(100),
        throttling: None,
        dropped: Dropped::default(),
        offline: None,
        memory: Memory::default(),
    })
}

/// A run waits for an application's writes.
pub(crate) fn stalled() -> Model {
    let mut model = merging();
    model.state = State::Stalled;
    model.rate.bytes_per_s = 0.0;
    model.rate.runs_per_s = Some(0.0);
    model.left = None;
    model.throttle_percent = Some(50);
    model.dropped = Dropped { runs: 3, in_flight: 0, merges: 0, half_seen: 1, missed: 0 };
    if let Some(run) = &mut model.current {
        run.phase = Phase::Drain;
        run.phase_started_ns = NOW_NS - 3_100 * MS;
        run.started_ns = NOW_NS - 3_102 * MS;
    }
    model.stalls.push_back(Stall {
        started_ns: NOW_NS - 3_100 * MS,
        started_unix_s: 1_793_875_324,
        ended_ns: None,
        cause: StallCause::Phase(Phase::Drain),
        detail: "fio[4411]: 12 writes in chunks 88,120 to 88,375".to_owned(),
    });
    if let Some(writes) = &mut model.writes {
        writes.in_flight = 12;
        (writes.held, writes.awaited) = (0, 12);
        writes.listed.truncate(12);
        for write in &mut writes.listed {
            (write.relation, write.comm, write.pid) = (Relation::Awaited, "fio".to_owned(), 4411);
            write.age_ns += 2_400 * MS;
        }
    }
    explained(model)
}

/// An application writes where the merge comes soon.
pub(crate) fn announced() -> Model {
    let mut model = merging();
    let writer = Writer { comm: "fio".to_owned(), pid: 4411, writes: 4 };
    let coming = |place: u64, writers: Vec<Writer>| UpcomingRun {
        run: crate::store::Run {
            old_chunk: 80_000 - place * 400,
            new_chunk: 69_000 - place * 300,
            chunks: 256,
        },
        begins_in_ns: Some((90 + place * 1_240) * MS),
        lasts_ns: Some(1_240 * MS),
        writes: writers.iter().map(|writer| writer.writes).sum(),
        writers,
    };
    let met = coming(2, vec![writer.clone()]);
    let runs = vec![coming(0, Vec::new()), coming(1, Vec::new()), met.clone(), coming(3, vec![])];
    if let Some(writes) = &mut model.writes {
        writes.soon = 4;
        for write in writes.listed.iter_mut().skip(3).take(4) {
            write.relation = Relation::Soon { runs: 2, about_ns: met.begins_in_ns };
            (write.comm, write.pid) = (writer.comm.clone(), writer.pid);
        }
    }
    model.upcoming = Some(Upcoming { runs });
    model.announcement = Some(Announcement { coming: met, runs: 2 });
    explained(model)
}

/// The kernel gave up.
pub(crate) fn failed() -> Model {
    let mut model = merging();
    model.state = State::Failed;
    model.end = Some(End::Failed {
        at_ns: model.now_ns,
        fault: Some(Fault::CopyWriteOrigin),
        told_by: ToldBy::Probes,
        errno: 0,
        old_chunk: 88_120,
        chunks: 256,
    });
    model.rate.bytes_per_s = 0.0;
    model.left = None;
    model.current = None;
    explained(model)
}

/// All is merged, and lvm2 has not looked yet.
pub(crate) fn done() -> Model {
    let mut model = merging();
    model.state = State::DoneNotFinished;
    model.progress.left_bytes = 0;
    model.left = None;
    model.current = None;
    model.ahead =
        model.ahead.map(|ahead| Ahead { runs: 0, chunks: 0, largest_run_chunks: 0, ..ahead });
    explained(model)
}

/// The same, finished, on plain device-mapper.
pub(crate) fn finished() -> Model {
    let mut model = done();
    model.state = State::Finished;
    model.identity.owner = Owner::DeviceMapper;
    explained(model)
}

/// Only the kernel's status line.
pub(crate) fn no_probes() -> Model {
    let mut model = block_only();
    model.identity.owner = Owner::DeviceMapper;
    model.identity.probes = ProbeReport {
        tier: ProbeTier::None,
        missing: vec![
            "Loading BPF programs is not permitted: run as root, or with CAP_BPF and CAP_PERFMON."
                .to_owned(),
        ],
    };
    model.writes = None;
    model.latency = None;
    model.ahead = None;
    model.store_unread =
        Some("cannot open /dev/dm-2 to read the exception store: permission denied".to_owned());
    for cell in &mut model.map.cells {
        cell.to_do = None;
    }
    explained(model)
}

/// No kprobes: I/O is seen, runs are not.
pub(crate) fn block_only() -> Model {
    let mut model = merging();
    model.identity.probes = ProbeReport {
        tier: ProbeTier::BlockOnly,
        missing: vec![
            "Runs and their phases: this kernel has no kprobes (CONFIG_KPROBES is not set)."
                .to_owned(),
        ],
    };
    model.rate.runs_per_s = None;
    model.phases = Phases::default();
    model.sizes = RunSizes::default();
    model.recent_runs.clear();
    model.current = None;
    model.stalls.clear();
    model.totals = Totals::default();
    for cell in &mut model.map.cells {
        cell.to_do = cell.to_do.map(|to_do| to_do + cell.merged);
        cell.merging = 0;
        cell.merged = 0;
    }
    if let Some(writes) = &mut model.writes {
        writes.held = 0;
        for write in &mut writes.listed {
            write.relation = Relation::Free;
        }
    }
    explained(model)
}

/// As on a kernel without BTF of modules.
pub(crate) fn no_module_btf() -> Model {
    let mut model = merging();
    model.identity.probes = ProbeReport {
        tier: ProbeTier::NoModuleBtf,
        missing: vec![
            "A run is known only once its copy began: this kernel has no BTF of dm-snapshot."
                .to_owned(),
        ],
    };
    explained(model)
}

/// Nothing at all is there yet.
pub(crate) fn empty() -> Model {
    let mut model = no_probes();
    model.identity.snapshot_label = None;
    model.progress = Progress::default();
    model.rate = Rate::default();
    model.left = None;
    model.map = OriginMap::default();
    model.state = State::Unknown;
    model.throttle_percent = None;
    explained(model)
}
