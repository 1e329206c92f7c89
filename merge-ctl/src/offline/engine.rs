//! The steps of a merge, one after the other: survey, copy, compare, flush, clear, flush.
//!
//! What always holds: nothing is written before all of the store has been read and found sound; nothing is cleared
//! before all data is on stable storage. So wherever it ends, the store says what is left.

use std::io;
use std::ops::Range;
use std::time::Instant;

use super::batch::Batches;
use super::budget::{Budget, Slots};
use super::clear::{self, Wipe};
use super::copy::{Comparing, Copying, Source};
use super::limit::Limit;
use super::meter::{Meter, Stage};
use super::options::{Backend, Options};
use super::order::{Order, Selection, unreadable};
use super::pump::{Failure, Job, Next, Pump, Run, Tasks};
use super::queue::{Queue, Request, Side, Way};
use super::threads::{Files, Threads};
use super::uring::Uring;
use super::workers;
use super::{Act, Devices, Merged, OfflineError, Outcome, Target, sectors_of};
use crate::store::{Exception, Opened, Store, Survey};

/// What makes requests; from the devices, the buffers, and how many requests may be under way.
pub(super) type MakeQueue<'a> =
    &'a dyn Fn(&Devices, Slots, usize) -> Result<Box<dyn Queue>, OfflineError>;

/// A merge that has begun.
struct Engine<'a> {
    devices: &'a Devices,
    store: &'a Store<&'a Target>,
    meter: &'a Meter,
    pumps: Vec<Pump<Box<dyn Queue>>>,
    slots: Slots,
    limit: Option<Limit>,
}

/// [`super::merge`], within a budget and by a queue that tests may choose.
pub(super) fn merge(
    devices: &Devices,
    options: &Options,
    budget: Budget,
    make_queue: MakeQueue<'_>,
    meter: &Meter,
) -> Result<Outcome, OfflineError> {
    meter.enter(Stage::Reading);
    let store = open(devices)?;
    let (survey, first, bytes) = survey(devices, &store, budget, meter)?;
    if meter.is_stopped() {
        return Ok(Outcome::Stopped);
    }
    meter.found(survey.exceptions, bytes);
    let mut order = Order::new(&store, budget.exceptions, first, meter)?;
    let slots = budget.slots(bytes);
    let pumps = pumps(devices, slots, budget, make_queue, meter)?;
    let mut engine = Engine {
        devices,
        store: &store,
        meter,
        pumps,
        slots,
        limit: options.bandwidth_bytes.map(|bytes| Limit::new(bytes, Instant::now())),
    };
    if engine.copy(&mut order)? == Run::Stopped
        || options.verify && engine.verify(&mut order)? == Run::Stopped
    {
        return Ok(Outcome::Stopped);
    }
    meter.enter(Stage::Flushing);
    devices.origin.flush()?;
    if meter.is_stopped() {
        return Ok(Outcome::Stopped);
    }
    let areas = engine.clear(&survey)?;
    meter.enter(Stage::Done);
    Ok(Outcome::Merged(Merged {
        exceptions: survey.exceptions,
        bytes,
        areas,
        stages: meter.times(),
    }))
}

/// The workers, which share the buffers and the requests.
fn pumps(
    devices: &Devices,
    slots: Slots,
    budget: Budget,
    make_queue: MakeQueue<'_>,
    meter: &Meter,
) -> Result<Vec<Pump<Box<dyn Queue>>>, OfflineError> {
    let workers = budget.workers.clamp(1, slots.count.min(budget.requests));
    let slots = Slots { count: slots.count / workers, ..slots };
    let requests = budget.requests / workers;
    let pump = |_| {
        let queue = make_queue(devices, slots, requests)?;
        Ok(Pump::new(queue, slots, requests, block_bytes(devices), meter.under_way()))
    };
    (0..workers).map(pump).collect()
}

/// What both devices can read and write.
fn block_bytes(devices: &Devices) -> u32 {
    use crate::store::Source as _;
    devices.origin.block_bytes().max(devices.cow.block_bytes())
}

fn open(devices: &Devices) -> Result<Store<&Target>, OfflineError> {
    let Devices { origin, cow } = devices;
    let label = || cow.label().to_owned();
    if origin.is_same(cow) {
        return Err(OfflineError::Same(label()));
    }
    let opened = Store::open(cow, Some(origin.size()));
    let store = match opened.map_err(|source| OfflineError::Store { cow: label(), source })? {
        Opened::Usable(store) => store,
        Opened::New => return Err(OfflineError::NoStore(label())),
        Opened::Invalid => return Err(OfflineError::Invalid(label())),
    };
    let (block_bytes, chunk_bytes) = (block_bytes(devices), store.layout().chunk_size().bytes());
    if u64::from(block_bytes) > chunk_bytes {
        let origin = origin.label().to_owned();
        return Err(OfflineError::Blocks { origin, block_bytes, chunk_bytes });
    }
    Ok(store)
}

/// The first walk: checks everything, and brings the first exceptions in the origin's order; and how
/// much data there is.
fn survey(
    devices: &Devices,
    store: &Store<&Target>,
    budget: Budget,
    meter: &Meter,
) -> Result<(Survey, Selection, u64), OfflineError> {
    let chunk_bytes = store.layout().chunk_size().bytes();
    let origin_bytes = devices.origin.size().bytes();
    let mut first = Selection::new(budget.exceptions, 0);
    let mut bytes = 0;
    let is_stopped = || meter.is_stopped();
    let survey = store.survey_within(budget.duplicates_bytes, is_stopped, |placed| {
        let Exception { old_chunk, .. } = placed.exception;
        bytes += chunk_bytes.min(origin_bytes.saturating_sub(old_chunk * chunk_bytes));
        first.add(placed.exception);
        meter.walked(1);
    });
    Ok((survey.map_err(|source| unreadable(store, source))?, first, bytes))
}

impl Engine<'_> {
    fn copy(&mut self, order: &mut Order<'_>) -> Result<Run, OfflineError> {
        self.meter.enter(Stage::Copying);
        loop {
            let source = Source::new(self.batches(order, self.slots.bytes), self.limit.as_mut());
            let run = workers::run(&mut self.pumps, &mut Copying::new(source, self.meter));
            let run = run.map_err(|failure| explained(self.devices, failure))?;
            if run == Run::Stopped || !order.advance()? {
                return Ok(run);
            }
        }
    }

    /// Compares what is on both devices now, and not what was in memory.
    fn verify(&mut self, order: &mut Order<'_>) -> Result<Run, OfflineError> {
        self.meter.enter(Stage::Verifying);
        self.devices.origin.flush()?;
        self.devices.origin.forget_cache()?;
        self.devices.cow.forget_cache()?;
        order.rewind()?;
        let half = self.slots.bytes / 2;
        loop {
            let source = Source::new(self.batches(order, half), self.limit.as_mut());
            let run = workers::run(&mut self.pumps, &mut Comparing::new(source, half, self.meter));
            let run = run.map_err(|failure| explained(self.devices, failure))?;
            if run == Run::Stopped || !order.advance()? {
                return Ok(run);
            }
        }
    }

    fn batches<'o>(&self, order: &'o Order<'_>, most_bytes: usize) -> Batches<'o> {
        let origin_bytes = self.devices.origin.size().bytes();
        let most_bytes = self.limit.as_ref().map_or(most_bytes, |limit| limit.piece(most_bytes));
        let chunk_size = self.store.layout().chunk_size();
        Batches::new(order.part(), chunk_size, origin_bytes, most_bytes)
    }

    fn clear(&mut self, survey: &Survey) -> Result<u64, OfflineError> {
        use crate::store::Source as _;
        self.meter.enter(Stage::Clearing);
        self.pumps.iter_mut().for_each(Pump::zero_buffers);
        let (layout, block_bytes) = (self.store.layout(), self.devices.cow.block_bytes());
        let meter = self.meter;
        clear::clear(self, layout, survey.end, block_bytes, meter)
    }
}

impl Wipe for Engine<'_> {
    fn wipe(
        &mut self,
        ranges: &mut (dyn Iterator<Item = Range<u64>> + Send),
    ) -> Result<(), OfflineError> {
        let mut wiping = Wiping { ranges, left: 0..0, most_bytes: self.slots.bytes as u64 };
        // One is enough: it is metadata only.
        let run = workers::run(&mut self.pumps[..1], &mut wiping);
        run.map(drop).map_err(|failure| explained(self.devices, failure))
    }

    fn flush(&mut self) -> Result<(), OfflineError> {
        self.devices.cow.flush()
    }
}

/// Writes buffers, which are zeroes, over parts of the COW device.
struct Wiping<'a> {
    ranges: &'a mut (dyn Iterator<Item = Range<u64>> + Send),
    /// What is left of the last one.
    left: Range<u64>,
    most_bytes: u64,
}

impl Tasks for Wiping<'_> {
    fn next(&mut self) -> Next {
        if self.left.is_empty() {
            match self.ranges.next() {
                Some(range) => self.left = range,
                None => return Next::End,
            }
        }
        let at_bytes = self.left.start;
        let length = (self.left.end - at_bytes).min(self.most_bytes);
        self.left.start += length;
        let (side, way, length) = (Side::Cow, Way::Write, length as usize);
        let write = Request { side, way, at_bytes, slot: 0, from: 0, length };
        Next::Job(Job { first: vec![write], then: None, at_bytes, length })
    }

    fn ended(&mut self, _: &Job, _: &[u8]) -> Result<(), u64> {
        Ok(())
    }

    /// Once begun, it takes a moment, and half of it would be of no use.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// What went wrong, with names.
fn explained(devices: &Devices, failure: Failure) -> OfflineError {
    let Devices { origin, cow } = devices;
    match failure {
        Failure::Device { side, way, at_bytes, source } => {
            let device = match side {
                Side::Origin => origin,
                Side::Cow => cow,
            };
            let act = match way {
                Way::Read => Act::Read,
                Way::Write => Act::Write,
            };
            device.failed(act, at_bytes, source)
        }
        Failure::Differs { at_bytes } => OfflineError::Differs {
            origin: origin.label().to_owned(),
            cow: cow.label().to_owned(),
            at: sectors_of(at_bytes),
        },
        Failure::Queue(source) => {
            OfflineError::Resource { what: "the means to make further requests", source }
        }
    }
}

/// What makes requests as the options say.
pub(super) fn queue(
    backend: Backend,
    devices: &Devices,
    slots: Slots,
    requests: usize,
) -> Result<Box<dyn Queue>, OfflineError> {
    let files = Files { origin: devices.origin.file(), cow: devices.cow.file() };
    let missing = |what| move |source: io::Error| OfflineError::Resource { what, source };
    let uring = |files| Uring::new(files, slots, requests);
    Ok(match backend {
        Backend::Threads => Box::new(Threads::new(files, slots, requests)),
        Backend::Uring => Box::new(uring(files).map_err(missing("an io_uring"))?),
        // Whatever it is that io_uring lacks here, threads need none of it.
        Backend::Auto => match uring(files.clone()) {
            Ok(uring) => Box::new(uring),
            Err(_) => Box::new(Threads::new(files, slots, requests)),
        },
    })
}
