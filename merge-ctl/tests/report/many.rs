//! A made-up recording of a merge with very many runs, the same each time.

use merge_ctl::recording::record::Merge;
use merge_ctl::recording::{Encoder, Facts, Outcome, Record};
use merge_ctl::sample::{IoSample, KernelView, MergeIdentity, Run, Sample};
use merge_ctl::units::Sectors;

const TICK_NS: u64 = 200_000_000;

/// A merge that was recorded in a VM, for all that is not made up.
fn real() -> (MergeIdentity, Sample) {
    let mut lines = include_str!("../recorded/long-first.jsonl").lines();
    let identity = serde_json::from_str(lines.next().unwrap()).unwrap();
    let sample: Sample = serde_json::from_str(lines.next().unwrap()).unwrap();
    (identity, sample)
}

/// A recording with so many runs, so many of them in each sample. Every now and then one is large, or
/// slow; one in the middle waits for seconds.
pub(crate) fn recording(runs: u64, in_a_sample: u64) -> Vec<u8> {
    let (identity, template) = real();
    let mut encoder = Encoder::new(Facts {
        merge_ctl: env!("CARGO_PKG_VERSION").to_owned(),
        command: "record".to_owned(),
        kernel: identity.kernel.clone(),
        unix_s: template.unix_s,
        ..Facts::default()
    });
    let record = Merge { merge: 0, identity, stall_after_ns: 5_000_000_000, shown: true };
    assert!(encoder.push(Record::Merge(Box::new(record))));
    let (mut bytes, mut at_ns, mut left) = (Vec::new(), template.at_ns, runs);
    let mut writes = 0;
    for tick in 0..=runs.div_ceil(in_a_sample) {
        let mut sample = Sample { at_ns, ..template.clone() };
        sample.unix_s += (at_ns - template.at_ns) / 1_000_000_000;
        sample.current = None;
        if tick > 0 {
            sample.store = None;
            let now = left.min(in_a_sample);
            sample.runs = some_runs(left, now, at_ns - TICK_NS);
            left -= now;
        }
        let still = Sectors(16 + 8 * left);
        if let KernelView::Merging { allocated, metadata, .. } = &mut sample.kernel {
            (*allocated, *metadata) = (still, Sectors(16));
        }
        if let Some(io) = &mut sample.io {
            writes += 40;
            count(io, tick, writes);
        }
        assert!(encoder.push(Record::Sample { merge: 0, shown: true, sample: Box::new(sample) }));
        if tick % 5 == 4 || encoder.is_full() {
            bytes.extend(encoder.close_frame().unwrap());
        }
        at_ns += if tick == runs / in_a_sample / 2 { 9_000_000_000 } else { TICK_NS };
    }
    assert!(encoder.push(Record::End(Outcome::Over)));
    bytes.extend(encoder.close_frame().unwrap());
    bytes
}

fn count(io: &mut IoSample, tick: u64, writes: u64) {
    io.writes.latency = vec![0; 60];
    io.writes.latency[30 + tick as usize % 5] = writes;
    io.writes.latency[50] = tick / 50;
    io.in_flight.clear();
}

/// So many runs that follow each other in the time between two samples.
fn some_runs(left: u64, count: u64, from_ns: u64) -> Vec<Run> {
    let each_ns = TICK_NS / count.max(1);
    (0..count)
        .map(|place| {
            let number = left - place;
            let started_ns = from_ns + place * each_ns;
            let part = each_ns / 100;
            let phase_ns = [part, 0, number % 7 * part, 40 * part, 10 * part, 30 * part];
            Run {
                old_chunk: number * 7 % 4_096,
                new_chunk: number,
                chunks: if number.is_multiple_of(1_000) { 256 } else { 1 + (number % 5) as u32 },
                started_ns,
                finished_ns: started_ns + phase_ns.iter().sum::<u64>(),
                phase_ns,
            }
        })
        .collect()
}
