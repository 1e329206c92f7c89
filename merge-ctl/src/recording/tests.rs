//! Recordings of made-up and of real merges: what went in comes out, whatever became of the file.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::model::Model;
use crate::recording::record::{Merge, NewIdentity, Note};
use crate::sample::{
    InFlightWrite, IoSample, IoTotals, KernelView, MergeIdentity, Run, Sample, StoreView,
};
use crate::units::Sectors;

const MS: u64 = 1_000_000;
const TICK_NS: u64 = 200 * MS;

/// A merge that was recorded in a VM, as it was kept before there were recordings.
fn real() -> (MergeIdentity, Vec<Sample>) {
    let mut lines = include_str!("../../tests/recorded/long-first.jsonl").lines();
    let identity = serde_json::from_str(lines.next().unwrap()).unwrap();
    (identity, lines.map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn facts() -> Facts {
    Facts { kernel: "6.1".to_owned(), interval_ns: 1_000 * MS, ..Facts::default() }
}

fn merge_record(merge: u32, identity: &MergeIdentity) -> Record {
    let identity = identity.clone();
    Record::Merge(Box::new(Merge { merge, identity, stall_after_ns: 5_000 * MS, shown: true }))
}

fn sample_record(merge: u32, sample: &Sample) -> Record {
    Record::Sample { merge, shown: true, sample: Box::new(sample.clone()) }
}

/// A file with these records, five in a frame.
fn encoded(records: impl IntoIterator<Item = Record>) -> Vec<u8> {
    let mut encoder = Encoder::new(facts());
    let mut bytes = Vec::new();
    for (record, number) in records.into_iter().zip(1..) {
        assert!(encoder.push(record));
        if number % 5 == 0 || encoder.is_full() {
            bytes.extend(encoder.close_frame().unwrap());
        }
    }
    bytes.extend(encoder.close_frame().unwrap());
    bytes
}

fn recorded(identity: &MergeIdentity, samples: &[Sample]) -> Vec<u8> {
    let samples = samples.iter().map(|sample| sample_record(0, sample));
    encoded(
        [merge_record(0, identity)].into_iter().chain(samples).chain([Record::End(Outcome::Over)]),
    )
}

fn items(bytes: &[u8]) -> Vec<Item> {
    let mut reading = Reading::open(bytes).unwrap();
    std::iter::from_fn(|| reading.next_item().unwrap()).collect()
}

fn samples_in(bytes: &[u8]) -> Vec<Sample> {
    let sample = |item| match item {
        Item::Record(Record::Sample { sample, .. }) => Some(*sample),
        _ => None,
    };
    items(bytes).into_iter().filter_map(sample).collect()
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A merge that is as busy as can be: always 1,024 writes listed, of which one in ten ends between two
/// samples, but for ten seconds of each minute in which they are held; 20 runs a second, and for two
/// seconds of each minute 3,000.
struct Busy {
    dice: Dice,
    template: Sample,
    writes: VecDeque<InFlightWrite>,
    totals: IoTotals,
    old_chunk: u64,
    new_chunk: u64,
    at_ns: u64,
}

impl Busy {
    const WRITERS: [&str; 4] = ["postgres", "kworker/u8:2", "jbd2/dm-3-8", "rsync"];

    fn new(churn_all: bool) -> Self {
        let mut template = real().1.swap_remove(10);
        template.runs.clear();
        let totals = IoTotals { latency: vec![0; 40], ..IoTotals::default() };
        let seed = if churn_all { 3 } else { 7 };
        Self {
            dice: Dice(seed),
            template,
            writes: VecDeque::new(),
            totals,
            old_chunk: 20_000_000,
            new_chunk: 9_000_000,
            at_ns: 1_000_000_000,
        }
    }

    fn run(&mut self, started_ns: u64) -> Run {
        let chunks = 1 + self.dice.below(8) as u32;
        self.old_chunk = self.dice.below(26_000_000);
        self.new_chunk = self.new_chunk.wrapping_sub(chunks.into());
        let mut ns = |least, spread| least + self.dice.below(spread);
        let phase_ns = [
            ns(500, 800),
            ns(90, 40),
            ns(90, 60),
            ns(90_000, 80_000),
            ns(20_000, 30_000),
            ns(60_000, 40_000),
        ];
        let finished_ns = started_ns + phase_ns.iter().sum::<u64>();
        let (old_chunk, new_chunk) = (self.old_chunk, self.new_chunk);
        Run { old_chunk, new_chunk, chunks, started_ns, finished_ns, phase_ns }
    }

    fn complete_a_write(&mut self) {
        let place = self.dice.below(self.writes.len().max(1) as u64) as usize;
        self.writes.remove(place);
        self.totals.completed += 1;
        self.totals.bytes += 8192;
        self.totals.latency_ns += 900 * MS + self.dice.below(400 * MS);
        self.totals.latency[28 + self.dice.below(6) as usize] += 1;
    }

    /// As many as are listed at most.
    fn queue_writes(&mut self) {
        let mut queued_ns = self.at_ns - TICK_NS;
        while self.writes.len() < IoSample::MAX_LISTED {
            queued_ns += self.dice.below(2 * MS);
            let writer = self.dice.below(4) as usize;
            self.totals.queued += 1;
            self.writes.push_back(InFlightWrite {
                sector: self.dice.below(26_000_000) * 8,
                bytes: if writer == 1 { 8192 } else { 4096 },
                queued_ns,
                pid: 800 + writer as u32,
                comm: Self::WRITERS[writer].to_owned(),
            });
        }
    }

    fn next(&mut self, churn: u64) -> Sample {
        self.at_ns += TICK_NS + self.dice.below(MS);
        let second = self.at_ns / 1_000_000_000 % 60;
        let runs = if second < 2 { 600 } else { 4 };
        let mut started_ns = self.at_ns - TICK_NS;
        let mut sample = self.template.clone();
        sample.at_ns = self.at_ns;
        sample.unix_s = 1_700_000_000 + self.at_ns / 1_000_000_000;
        for _ in 0..runs {
            let run = self.run(started_ns);
            started_ns = run.finished_ns + 1_000 + self.dice.below(4_000);
            sample.runs.push(run);
        }
        if !(20..30).contains(&second) {
            for _ in 0..churn {
                self.complete_a_write();
            }
        }
        self.queue_writes();
        let left = Sectors(4_000_000_000 - sample.at_ns / 1_000_000);
        if let KernelView::Merging { allocated, .. } = &mut sample.kernel {
            *allocated = left;
        }
        sample.io = Some(IoSample {
            writes: self.totals.clone(),
            reads: self.totals.clone(),
            writes_in_flight: 1500 + self.dice.below(50),
            reads_in_flight: self.dice.below(9),
            in_flight: self.writes.iter().cloned().collect(),
        });
        if let Some(disks) = &mut sample.disks {
            for ops in [&mut disks.cow.reads, &mut disks.real.writes, &mut disks.cow.writes] {
                ops.completed += self.at_ns / 7_000_000;
                ops.length = Sectors(self.at_ns / 400_000);
                ops.ms += self.at_ns / 900_000;
            }
        }
        sample
    }
}

/// Encodes as the recorder does, a frame a second; gives the file.
fn busy_file(minutes: u64, churn: u64) -> Vec<u8> {
    let mut busy = Busy::new(churn > 500);
    let mut encoder = Encoder::new(facts());
    encoder.push(merge_record(0, &real().0));
    let mut bytes = Vec::new();
    for tick in 0..minutes * 300 {
        assert!(encoder.push(sample_record(0, &busy.next(churn))));
        if tick % 5 == 4 {
            bytes.extend(encoder.close_frame().unwrap());
        }
    }
    bytes
}

#[test]
fn a_few_minutes_of_a_busy_merge_are_small() {
    for churn in [0, 20, 50, 100] {
        println!("{churn} of 1,024 new: {} bytes in two minutes", busy_file(2, churn).len());
    }
    let bytes = busy_file(2, 50).len();
    assert!(bytes < 2 * (20 << 20) / 60, "{bytes} bytes in two minutes");
}

#[test]
#[ignore = "takes a minute; its figures are in docs/recording.md"]
fn an_hour_of_a_busy_merge_is_small_and_any_time_of_it_is_near() {
    for churn in [20, 100, 1024] {
        let begun = Instant::now();
        let file = busy_file(60, churn);
        let made = begun.elapsed();
        println!("{churn} of 1,024 writes new: {} bytes an hour, made in {made:?}", file.len());
        assert!(file.len() < 20 << 20);
        let mut player = Player::open(&file[..]).unwrap();
        let begun = Instant::now();
        let survey = player.survey().unwrap();
        println!("  walked through in {:?}: {survey:?}", begun.elapsed());
        let hour_ns = survey.last_ns - survey.first_ns;
        for part in [9, 1, 5, 10, 2, 0, 7] {
            let begun = Instant::now();
            player.seek(survey.first_ns + hour_ns / 10 * part).unwrap();
            println!("  at {part} of 10 after {:?}", begun.elapsed());
        }
    }
}

#[test]
fn an_hour_never_grows_above_its_bound() {
    // All writes are new each time: more than any file of that size can hold.
    let mut busy = Busy::new(true);
    let mut encoder = Encoder::new(facts());
    encoder.push(merge_record(0, &real().0));
    let (mut bytes, mut shortened) = (0, 0);
    // What an hour brings, with a clock that is sixty times as fast and a bucket that knows.
    for tick in 0..1_500 {
        encoder.push(sample_record(0, &busy.next(1024)));
        if tick % 5 == 4 {
            shortened += encoder.shortened();
            bytes += encoder.close_frame().unwrap().len();
        }
    }
    assert!(shortened > 100, "{shortened}");
    assert!(bytes < (5 << 20) + (14 << 20) / 12 + (1 << 19), "{bytes} bytes in five minutes");
}

#[test]
fn the_samples_of_a_real_merge_come_back_as_they_were() {
    let (identity, samples) = real();
    let bytes = recorded(&identity, &samples);
    assert_eq!(samples_in(&bytes), samples);
    let plain = serde_json::to_vec(&samples).unwrap().len();
    println!("{} samples, {plain} bytes as JSON, {} recorded", samples.len(), bytes.len());
    assert!(bytes.len() * 5 < plain);
}

#[test]
fn busy_samples_come_back_as_they_were() {
    let mut busy = Busy::new(false);
    let samples: Vec<_> = (0..120).map(|_| busy.next(100)).collect();
    assert!(samples_in(&recorded(&real().0, &samples)) == samples);
}

fn models(identity: &MergeIdentity, samples: &[Sample]) -> Vec<Model> {
    let first = Model::first(identity.clone(), &samples[0], 5_000 * MS);
    let mut models = vec![first];
    for sample in &samples[1..] {
        let next = models.last().unwrap().clone().next(sample);
        models.push(next);
    }
    models
}

#[test]
fn any_time_has_the_model_that_it_had_however_one_gets_there() {
    let (identity, samples) = real();
    let models = models(&identity, &samples);
    let bytes = recorded(&identity, &samples);
    let mut player = Player::open(&bytes[..]).unwrap();
    let survey = player.survey().unwrap();
    assert_eq!(survey.samples, samples.len() as u64);
    assert_eq!((survey.outcome, survey.faults.1), (Some(Outcome::Over), 0));
    assert_eq!(
        (survey.first_ns, survey.last_ns),
        (samples[0].at_ns, samples.last().unwrap().at_ns)
    );
    let count = samples.len();
    for place in [count - 1, 0, count / 2, count / 3, count / 3 + 1, count - 2, 1, count * 3 / 4] {
        player.seek(samples[place].at_ns).unwrap();
        assert!(player.merges()[0].model == models[place], "sample {place}");
    }
    player.seek(0).unwrap();
    assert!(player.merges().is_empty());
    player.seek(u64::MAX).unwrap();
    assert!(player.merges()[0].model == models[count - 1]);
}

#[test]
fn many_groups_are_started_from_at_few_places() {
    let mut busy = Busy::new(false);
    let (identity, _) = real();
    let samples = (0..600).map(|i| {
        let mut sample = busy.next(0);
        // A group is over with each second sample.
        sample.at_ns = i * 6_000_000_000;
        sample.io = None;
        sample_record(0, &sample)
    });
    let bytes = encoded([merge_record(0, &identity)].into_iter().chain(samples));
    let mut player = Player::open(&bytes[..]).unwrap();
    let survey = player.survey().unwrap();
    assert!(player.kept_places() <= 128, "{}", player.kept_places());
    assert!(player.kept_places() > 30);
    for part in [3, 1, 2] {
        player.seek(survey.last_ns / 4 * part).unwrap();
        let far = survey.last_ns / 4 * part - player.at_ns();
        assert!(far < 6_000_000_000, "{far}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list of what goes in, and one of what comes out")]
fn several_merges_and_what_was_told_come_back_in_their_order() {
    let (identity, samples) = real();
    let other = MergeIdentity { origin: "other".to_owned(), ..identity.clone() };
    let sibling = MergeIdentity { siblings: vec!["late".to_owned()], ..identity.clone() };
    let note = Record::Note(Note { words: "the probes lag".to_owned() });
    let bytes = encoded([
        merge_record(0, &identity),
        sample_record(0, &samples[0]),
        merge_record(1, &other),
        sample_record(1, &samples[0]),
        sample_record(0, &samples[1]),
        note,
        Record::Identity(Box::new(NewIdentity { merge: 0, identity: sibling.clone() })),
        Record::Sample { merge: 1, shown: false, sample: Box::new(samples[1].clone()) },
        Record::Lost(Lost { samples: 3, ..Lost::default() }),
        Record::End(Outcome::Left),
    ]);
    let mut player = Player::open(&bytes[..]).unwrap();
    let mut told = Vec::new();
    while let Some(step) = player.step().unwrap() {
        told.push(match step {
            Step::Began { tab, .. } => format!("began {tab}"),
            Step::Advanced { tab, shown, .. } => format!("advanced {tab} {shown}"),
            Step::Told(words) => words,
            Step::Lost(lost) => format!("lost {}", lost.samples),
            Step::Ended(outcome) => format!("{outcome:?}"),
            Step::Fault(fault) => fault.to_string(),
        });
    }
    let expected = [
        "began 0",
        "began 1",
        "advanced 0 true",
        "the probes lag",
        "advanced 1 false",
        "lost 3",
        "Left",
    ];
    assert_eq!(told, expected);
    assert_eq!(player.merges()[0].model.identity, sibling);
    assert_eq!(player.merges()[1].model.identity.origin, "other");
    assert_eq!(player.facts(), Some(&facts()));
}

#[test]
fn behind_a_lost_beginning_the_merge_is_known_again() {
    let (identity, samples) = real();
    let mut bytes = recorded(&identity, &samples);
    bytes[100] ^= 1;
    let mut player = Player::open(&bytes[..]).unwrap();
    let survey = player.survey().unwrap();
    assert!(survey.faults.1 > 0 && survey.samples > 10, "{survey:?}");
    player.seek(u64::MAX).unwrap();
    assert_eq!(player.merges()[0].model.identity, identity);
    assert_eq!(player.merges()[0].model.state, models(&identity, &samples).pop().unwrap().state);
}

/// Hands what is written to a test, or refuses.
struct Tube {
    written: Sender<Vec<u8>>,
    /// Waits for a word before each write, where there is one to wait for.
    gate: Option<Receiver<()>>,
    room: usize,
}

impl Write for Tube {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(gate) = &self.gate
            && gate.recv().is_err()
        {
            self.gate = None;
        }
        if self.room < bytes.len() {
            return Err(io::Error::from_raw_os_error(28));
        }
        self.room -= bytes.len();
        let _ = self.written.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Tube {
    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tube(room: usize, gate: Option<Receiver<()>>) -> (Tube, Receiver<Vec<u8>>) {
    let (written, all) = channel();
    (Tube { written, gate, room }, all)
}

#[test]
fn what_is_recorded_is_in_the_file() {
    let (identity, samples) = real();
    let (tube, all) = tube(usize::MAX, None);
    let mut recorder = Recorder::begin(tube, facts()).unwrap();
    recorder.merge(0, &identity, 5_000 * MS, true);
    for sample in &samples[..40] {
        recorder.sample(0, sample, true);
    }
    recorder.note("something");
    assert_eq!(recorder.trouble(), None);
    let ended = recorder.end(Outcome::Over);
    assert!(ended.error.is_none() && ended.lost.is_nothing(), "{ended:?}");
    let bytes: Vec<u8> = all.iter().flatten().collect();
    assert_eq!((ended.samples, ended.bytes), (40, bytes.len() as u64));
    assert_eq!(samples_in(&bytes), samples[..40]);
    let last = items(&bytes).pop();
    assert_eq!(last, Some(Item::Record(Record::End(Outcome::Over))));
}

#[test]
fn a_full_disk_ends_the_recording_and_is_told_once() {
    let (identity, samples) = real();
    let (tube, all) = tube(3_000, None);
    let mut recorder = Recorder::begin(tube, facts()).unwrap();
    recorder.merge(0, &identity, 5_000 * MS, true);
    let until = Instant::now() + Duration::from_secs(60);
    let words = loop {
        recorder.sample(0, &samples[0], true);
        if let Some(words) = recorder.trouble() {
            break words;
        }
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(words.contains("No space left"), "{words}");
    assert_eq!(recorder.trouble(), None);
    recorder.sample(0, &samples[1], true);
    assert!(recorder.end(Outcome::Over).error.is_some());
    assert!(!all.iter().flatten().collect::<Vec<_>>().is_empty());
}

#[test]
fn a_disk_that_does_not_answer_keeps_nobody_waiting_and_costs_no_run() {
    let (identity, samples) = real();
    let (open, gate) = channel();
    let (tube, all) = tube(usize::MAX, Some(gate));
    let mut recorder = Recorder::begin(tube, facts()).unwrap();
    recorder.merge(0, &identity, 5_000 * MS, true);
    let begun = Instant::now();
    let told = samples.iter().cycle().take(1_000).cloned();
    let mut runs = 0;
    for sample in told {
        runs += sample.runs.len();
        recorder.sample(0, &sample, true);
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
    drop(open);
    // It answers again.
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until && all.try_recv().is_err() {}
    std::thread::sleep(Duration::from_millis(50));
    let last = Sample { runs: Vec::new(), ..samples[0].clone() };
    recorder.sample(0, &last, true);
    let ended = recorder.end(Outcome::Over);
    assert!(ended.lost.samples > 500 && ended.lost.runs == 0, "{ended:?}");
    assert!(ended.error.is_none());
    let _ = runs;
}

#[test]
fn a_table_without_its_writes_falls_back_to_json() {
    let mut busy = Busy::new(false);
    let mut sample = busy.next(1);
    let io = sample.io.as_mut().unwrap();
    io.in_flight[3].comm = "x".repeat(100);
    assert!(
        samples_in(&recorded(&real().0, &[sample.clone(), sample.clone()]))
            == [sample.clone(), sample]
    );
}

fn write() -> impl Strategy<Value = InFlightWrite> {
    (any::<u64>(), any::<u32>(), any::<u64>(), any::<u32>(), "[a-zé\\PC]{0,20}").prop_map(
        |(sector, bytes, queued_ns, pid, comm)| InFlightWrite {
            sector,
            bytes,
            queued_ns,
            pid,
            comm,
        },
    )
}

fn run() -> impl Strategy<Value = Run> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u32>(), any::<u64>(), any::<u64>());
    (numbers, any::<[u64; 6]>()).prop_map(
        |((old_chunk, new_chunk, chunks, started_ns, finished_ns), phase_ns)| Run {
            old_chunk,
            new_chunk,
            chunks,
            started_ns,
            finished_ns,
            phase_ns,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_sample_comes_back_as_it_was(
        all in prop::collection::vec(
            (
                any::<u64>(),
                prop::collection::vec(run(), 0..12),
                prop::option::of(prop::collection::vec(write(), 0..12)),
                "\\PC{0,30}",
            ),
            1..12,
        ),
    ) {
        let (identity, real) = real();
        let mut samples = Vec::new();
        for (at_ns, runs, writes, why) in all {
            let mut sample = Sample { at_ns, runs, ..real[0].clone() };
            sample.store = Some(StoreView::Unread { why });
            sample.io = writes.map(|in_flight| IoSample {
                writes: IoTotals::default(),
                reads: IoTotals::default(),
                writes_in_flight: at_ns,
                reads_in_flight: 0,
                in_flight,
            });
            samples.push(sample);
        }
        prop_assert!(samples_in(&recorded(&identity, &samples)) == samples);
    }

    /// Frames whose checksums are right, and whose records are anything.
    #[test]
    fn no_records_panic(
        records in prop::collection::vec((0_u8..9, prop::collection::vec(any::<u8>(), 0..200)), 0..8),
        keep in any::<u16>(),
    ) {
        let (identity, samples) = real();
        let mut encoder = Encoder::new(facts());
        encoder.push(merge_record(0, &identity));
        encoder.push(sample_record(0, &samples[10]));
        let mut bytes = encoder.close_frame().unwrap();
        let mut body = Vec::new();
        for (kind, record) in records {
            container::push_record(&mut body, kind, &record);
        }
        body.truncate(keep.into());
        bytes.extend(container::Packer::default().frame(true, 7, &body).unwrap());
        let mut player = Player::open(&bytes[..]).unwrap();
        player.survey().unwrap();
        player.seek(u64::MAX).unwrap();
    }

    /// A real recording with bytes of a sample's record changed, and its checksums put right.
    #[test]
    fn no_change_of_a_record_panics(changes in prop::collection::vec((any::<u16>(), any::<u8>()), 1..8)) {
        let (identity, samples) = real();
        let bytes = recorded(&identity, &samples[..12]);
        let mut reader = container::Reader::open(&bytes[..]).unwrap();
        let (mut packer, mut changed) = (container::Packer::default(), container::preamble().to_vec());
        while let Some(container::Block::Records { key, at_ns, mut bytes, .. }) = reader.next_block().unwrap() {
            for (at, value) in &changes {
                let at = usize::from(*at) % bytes.len();
                bytes[at] = *value;
            }
            changed.extend(packer.frame(key, at_ns, &bytes).unwrap());
        }
        let mut player = Player::open(&changed[..]).unwrap();
        player.survey().unwrap();
        player.seek(u64::MAX).unwrap();
    }
}

#[test]
fn what_another_player_has_found_is_of_use() {
    let (identity, samples) = real();
    let models = models(&identity, &samples);
    let bytes = recorded(&identity, &samples);
    let mut other = Player::open(&bytes[..]).unwrap();
    let survey = other.survey().unwrap();
    let found = scan(&bytes[..]).unwrap();
    assert_eq!((found.last_ns, found.faults.1), (survey.last_ns, 0));
    let mut player = Player::open(&bytes[..]).unwrap();
    assert_eq!(player.first().unwrap(), Some(survey.first_ns));
    let places = other.kept_places();
    player.adopt(other.into_checkpoints());
    assert!(places > 1 && player.kept_places() == places);
    for place in [samples.len() - 1, 3, samples.len() / 2] {
        player.seek(samples[place].at_ns).unwrap();
        assert!(player.merges()[0].model == models[place], "sample {place}");
    }
}
