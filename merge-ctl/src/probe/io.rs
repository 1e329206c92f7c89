//! Application I/O on the merging origins: which devices are watched, what was counted, what is in
//! flight.

use std::collections::HashMap;
use std::fs;

use aya::maps::{Array, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use merge_common::{InFlightIo, IoCounters, MAX_WATCHED, WATCH_SLOTS, WatchSlot};
use thiserror::Error;

use super::in_flight::InFlightTable;
use super::now_ns;
use crate::harmless;
use crate::sample::{InFlightWrite, IoSample, IoTotals};
use crate::units::DeviceNumber;

/// Why a device's I/O cannot be watched.
#[derive(Debug, Error)]
pub enum WatchError {
    /// The probes do not see block I/O here; the report says why.
    #[error("the block tracepoints are not attached")]
    NotAttached,
    /// As many devices are watched as can be.
    #[error("{MAX_WATCHED} devices are watched already, which is all there is room for")]
    Full,
    /// Another watched device has the place that belongs to this one.
    #[error("its place is taken by device {by}, which is watched too")]
    PlaceTaken {
        /// Which device.
        by: DeviceNumber,
    },
    /// The kernel refused.
    #[error("the kernel refused: {0}")]
    Kernel(#[from] MapError),
}

/// A watched device.
struct Watched {
    origin: DeviceNumber,
    /// Its place in the counters.
    index: u32,
    /// What was queued before is left over from an earlier watch.
    since_ns: u64,
}

/// The maps of the block programs.
pub(super) struct Io {
    pub(super) watch_slots: Array<MapData, WatchSlot>,
    pub(super) counters: PerCpuArray<MapData, IoCounters>,
    pub(super) table: InFlightTable,
    watched: Vec<Watched>,
}

impl Io {
    pub(super) fn new(
        watch_slots: Array<MapData, WatchSlot>,
        counters: PerCpuArray<MapData, IoCounters>,
        table: InFlightTable,
    ) -> Self {
        Self { watch_slots, counters, table, watched: Vec::new() }
    }

    /// Begins to watch a device, with all counters at zero.
    pub(super) fn watch(&mut self, origin: DeviceNumber) -> Result<(), WatchError> {
        let mut others = self.watched.iter().map(|watched| watched.origin);
        if others.clone().any(|other| other == origin) {
            return Ok(());
        }
        if let Some(by) = others.find(|other| slot_of(*other) == slot_of(origin)) {
            return Err(WatchError::PlaceTaken { by });
        }
        let index = self.free_index().ok_or(WatchError::Full)?;
        self.clear(index)?;
        let since_ns = now_ns();
        self.watch_slots.set(slot_of(origin), WatchSlot { dev: origin.to_kernel(), index }, 0)?;
        self.watched.push(Watched { origin, index, since_ns });
        Ok(())
    }

    /// Ends it. A device that is not watched is left alone.
    pub(super) fn unwatch(&mut self, origin: DeviceNumber) -> Result<(), MapError> {
        let Some(place) = self.watched.iter().position(|watched| watched.origin == origin) else {
            return Ok(());
        };
        self.watched.swap_remove(place);
        self.watch_slots.set(slot_of(origin), WatchSlot::default(), 0)
    }

    /// What is known of a watched device's I/O.
    pub(super) fn sample(&self, origin: DeviceNumber) -> Option<IoSample> {
        let watched = self.watched.iter().find(|watched| watched.origin == origin)?;
        let in_flight = self.in_flight(watched);
        let writes = in_flight.iter().filter(|io| writes(io)).count() as u64;
        Some(IoSample {
            reads: self.totals(watched.index * 2)?,
            writes: self.totals(watched.index * 2 + 1)?,
            writes_in_flight: writes,
            reads_in_flight: in_flight.len() as u64 - writes,
            in_flight: name_submitters(in_flight),
        })
    }

    /// The watched device's entries. A bio is in flight once: of two entries the later one counts.
    fn in_flight(&self, watched: &Watched) -> Vec<InFlightIo> {
        let dev = watched.origin.to_kernel();
        let ours = |io: &InFlightIo| io.dev == dev && io.queued_ns >= watched.since_ns;
        let mut entries: Vec<_> = self.table.entries().filter(ours).collect();
        entries.sort_unstable_by_key(|io| (io.bio, std::cmp::Reverse(io.queued_ns)));
        entries.dedup_by_key(|io| io.bio);
        entries
    }

    fn totals(&self, place: u32) -> Option<IoTotals> {
        let cpus = self.counters.get(&place, 0).ok()?;
        Some(sum(cpus.iter()))
    }

    fn free_index(&self) -> Option<u32> {
        let taken = |index: &u32| self.watched.iter().any(|watched| watched.index == *index);
        (0..MAX_WATCHED as u32).find(|index| !taken(index))
    }

    fn clear(&mut self, index: u32) -> Result<(), WatchError> {
        for place in [index * 2, index * 2 + 1] {
            let cpus = nr_cpus().map_err(|(_, error)| MapError::from(error))?;
            let zeros = PerCpuValues::try_from(vec![IoCounters::default(); cpus])
                .map_err(MapError::from)?;
            self.counters.set(place, zeros, 0)?;
        }
        Ok(())
    }
}

/// A device's slot in the watch table.
fn slot_of(device: DeviceNumber) -> u32 {
    device.to_kernel() & (WATCH_SLOTS as u32 - 1)
}

fn writes(io: &InFlightIo) -> bool {
    io.opf & 1 != 0
}

fn oldest_writes(mut in_flight: Vec<InFlightIo>) -> Vec<InFlightIo> {
    in_flight.retain(writes);
    in_flight.sort_unstable_by_key(|io| io.queued_ns);
    in_flight.truncate(IoSample::MAX_LISTED);
    in_flight
}

fn write(io: &InFlightIo) -> InFlightWrite {
    InFlightWrite {
        sector: io.sector,
        bytes: io.bytes,
        queued_ns: io.queued_ns,
        pid: io.pid,
        comm: String::new(),
    }
}

/// Lists the oldest writes, and names their submitters: each thread is looked up once.
fn name_submitters(in_flight: Vec<InFlightIo>) -> Vec<InFlightWrite> {
    let mut names = HashMap::new();
    let listed = oldest_writes(in_flight);
    let named = listed.iter().map(|io| InFlightWrite {
        comm: names.entry(io.tid).or_insert_with(|| thread_name(io.tid)).clone(),
        ..write(io)
    });
    named.collect()
}

/// A thread's name; empty where it is gone, as it can be while its write still waits.
fn thread_name(tid: u32) -> String {
    let name = fs::read(format!("/proc/{tid}/comm")).unwrap_or_default();
    harmless::from_bytes(name.strip_suffix(b"\n").unwrap_or(&name))
}

/// All CPUs' figures in one.
fn sum<'a>(cpus: impl Iterator<Item = &'a IoCounters>) -> IoTotals {
    let mut totals = IoTotals::default();
    for cpu in cpus {
        totals.queued += cpu.queued;
        totals.completed += cpu.completed;
        totals.bytes += cpu.bytes;
        totals.latency_ns += cpu.latency_ns;
        let used = cpu.latency.iter().rposition(|count| *count != 0).map_or(0, |last| last + 1);
        if totals.latency.len() < used {
            totals.latency.resize(used, 0);
        }
        for (sum, count) in totals.latency.iter_mut().zip(cpu.latency) {
            *sum += count;
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use merge_common::LATENCY_BUCKETS;

    use super::*;

    #[test]
    fn totals_are_sums_without_trailing_empty_buckets() {
        let mut first = IoCounters { queued: 3, completed: 2, bytes: 4096, ..Default::default() };
        first.latency[1] = 2;
        let mut second = IoCounters { queued: 1, completed: 1, bytes: 512, ..Default::default() };
        second.latency[3] = 1;
        let totals = sum([first, second].iter());
        assert_eq!((totals.queued, totals.completed, totals.bytes), (4, 3, 4608));
        assert_eq!(totals.latency, [0, 2, 0, 1]);
        second.latency[LATENCY_BUCKETS - 1] = 1;
        assert_eq!(sum([second].iter()).latency.len(), LATENCY_BUCKETS);
    }

    #[test]
    fn the_oldest_writes_are_listed_first() {
        let io = |queued_ns, opf| InFlightIo { queued_ns, opf, ..Default::default() };
        let listed = oldest_writes(vec![io(3, 0x801), io(2, 1), io(1, 0)]);
        assert_eq!(listed, [io(2, 1), io(3, 0x801)]);
    }

    #[test]
    fn submitters_are_named_as_long_as_they_live() {
        let own = std::process::id();
        let io = |queued_ns, tid| InFlightIo { queued_ns, tid, opf: 1, ..Default::default() };
        let named = name_submitters(vec![io(1, own), io(2, u32::MAX)]);
        let names: Vec<_> = named.iter().map(|write| write.comm.as_str()).collect();
        assert_eq!(names, [thread_name(own).as_str(), ""]);
        assert!(!names[0].is_empty());
    }
}
