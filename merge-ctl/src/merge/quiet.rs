//! Whether an origin is quiet enough for a merge to begin.
//!
//! The first run is set up inside the resume that begins the merge (`snapshot_merge_resume`): it
//! waits there for application writes in flight in its chunks, while origin and snapshot are still
//! suspended or just coming back. So a merge best begins when nobody writes there.
//!
//! Pure: [`Watch`] takes looks at the writes in flight, several a second, and decides. An origin is
//! quiet when over the whole time asked for
//!
//! * nothing was in flight at nine of ten looks, and not at the last,
//! * at no look was a write in flight in the chunks of the first run.
//!
//! Where it is not known where a write goes, or what the first run is, it may go there. So without
//! probes nothing at all may be in flight at any look.

use std::collections::VecDeque;

use crate::model::Writer;
use crate::model::upcoming;
use crate::sample::{InFlightWrite, IoSample, KernelInFlight};
use crate::store::Run;
use crate::units::ChunkSize;

/// How many looks a decision needs, however short the time.
pub const LEAST_LOOKS: usize = 10;

/// The writes in flight at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// When.
    pub at_ns: u64,
    /// How many there are.
    pub in_flight: u64,
    /// Those of which it is known where they go and whose they are.
    pub known: Vec<InFlightWrite>,
}

impl Look {
    /// A look by the probes' list and the kernel's count. What was in flight before the probes
    /// watched is in the latter only. The kernel counts a long write once for every chunk: with as
    /// many in flight as the probes know of, there is none that they do not.
    pub fn new(at_ns: u64, io: Option<IoSample>, kernel: Option<KernelInFlight>) -> Self {
        let kernel = kernel.map_or(0, |kernel| kernel.writes);
        match io {
            Some(io) if io.writes_in_flight > 0 => {
                Self { at_ns, in_flight: io.writes_in_flight, known: io.in_flight }
            }
            _ => Self { at_ns, in_flight: kernel, known: Vec::new() },
        }
    }

    fn may_meet(&self, first: FirstRun, chunk_size: ChunkSize) -> bool {
        let all_known = self.in_flight <= self.known.len() as u64;
        match first {
            FirstRun::Nothing => false,
            FirstRun::Unknown => self.in_flight > 0,
            FirstRun::Is(run) => !all_known || upcoming::touches_any(&run, chunk_size, &self.known),
        }
    }
}

/// The run that a merge would begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstRun {
    /// The exception store was not read.
    Unknown,
    /// There is nothing to merge.
    Nothing,
    /// This one.
    Is(Run),
}

/// The looks of the time that counts.
#[derive(Clone, Debug)]
pub struct Watch {
    /// For how long the origin has to be quiet.
    for_ns: u64,
    chunk_size: ChunkSize,
    looks: VecDeque<Look>,
}

/// What the looks say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The merge may begin now.
    Quiet,
    /// Not yet.
    Waiting(Waiting),
}

/// What is waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many looks there were in the time that counts.
    pub looks: usize,
    /// At how many of them something was in flight.
    pub busy: usize,
    /// At how many of them a write was, or may have been, in flight in the first run.
    pub in_first_run: usize,
    /// Writes in flight now.
    pub in_flight: u64,
    /// Whose writes were seen, the one with the most at once first.
    pub writers: Vec<Writer>,
    /// At the soonest it is quiet in so long.
    pub left_ns: u64,
}

impl Watch {
    /// For an origin with these chunks that has to be quiet for so long.
    pub const fn new(for_ns: u64, chunk_size: ChunkSize) -> Self {
        Self { for_ns, chunk_size, looks: VecDeque::new() }
    }

    /// Takes in a look, later than all before.
    pub fn look(&mut self, look: Look) {
        let from_ns = look.at_ns.saturating_sub(self.for_ns);
        // One look at or before the beginning of the time is kept, to know that it was watched.
        while self.looks.get(1).is_some_and(|second| second.at_ns <= from_ns) {
            self.looks.pop_front();
        }
        self.looks.push_back(look);
    }

    /// Whether the origin is quiet, where a merge would begin with this run.
    pub fn verdict(&self, first: FirstRun) -> Verdict {
        let waiting = self.waiting(first);
        let few = waiting.looks >= LEAST_LOOKS && waiting.busy * 10 <= waiting.looks;
        if few && waiting.in_first_run == 0 && waiting.in_flight == 0 && waiting.left_ns == 0 {
            Verdict::Quiet
        } else {
            Verdict::Waiting(waiting)
        }
    }

    fn waiting(&self, first: FirstRun) -> Waiting {
        let Some((oldest, newest)) = self.looks.front().zip(self.looks.back()) else {
            return Waiting { left_ns: self.for_ns, ..Waiting::default() };
        };
        let meets = |look: &&Look| look.may_meet(first, self.chunk_size);
        // Since a write in the first run the whole time has to pass again.
        let since_ns = self.looks.iter().rev().find(meets).map_or(oldest.at_ns, |look| look.at_ns);
        Waiting {
            looks: self.looks.len(),
            busy: self.looks.iter().filter(|look| look.in_flight > 0).count(),
            in_first_run: self.looks.iter().filter(meets).count(),
            in_flight: newest.in_flight,
            writers: self.writers(),
            left_ns: self.for_ns.saturating_sub(newest.at_ns - since_ns),
        }
    }

    fn writers(&self) -> Vec<Writer> {
        Writer::most_at_once(self.looks.iter().map(|look| look.known.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const FIRST: Run = Run { old_chunk: 10, new_chunk: 2, chunks: 4 };

    fn chunk_size() -> ChunkSize {
        ChunkSize::from_sectors(8).unwrap()
    }

    fn write(chunk: u64) -> InFlightWrite {
        InFlightWrite {
            sector: chunk * 8,
            bytes: 4096,
            queued_ns: 0,
            pid: 7,
            comm: "fio".to_owned(),
        }
    }

    /// A look every 100 ms, with a write to each of these chunks.
    fn watched(looks: &[&[u64]]) -> Watch {
        let mut watch = Watch::new(1_000 * MS, chunk_size());
        for (tenth, chunks) in (0..).zip(looks) {
            watch.look(Look {
                at_ns: tenth * 100 * MS,
                in_flight: chunks.len() as u64,
                known: chunks.iter().map(|chunk| write(*chunk)).collect(),
            });
        }
        watch
    }

    fn is_quiet(looks: &[&[u64]]) -> bool {
        watched(looks).verdict(FirstRun::Is(FIRST)) == Verdict::Quiet
    }

    const NONE: &[u64] = &[];

    #[test]
    fn the_whole_time_has_to_pass() {
        assert!(!is_quiet(&[NONE; 10]));
        assert!(is_quiet(&[NONE; 11]));
        let Verdict::Waiting(waiting) = watched(&[NONE; 4]).verdict(FirstRun::Is(FIRST)) else {
            panic!()
        };
        assert_eq!((waiting.looks, waiting.left_ns), (4, 700 * MS));
        let none = Watch::new(1_000 * MS, chunk_size()).verdict(FirstRun::Nothing);
        assert!(matches!(none, Verdict::Waiting(Waiting { left_ns: 1_000_000_000, .. })));
    }

    #[test]
    fn one_look_of_ten_may_meet_writes_elsewhere_but_not_the_last() {
        let mut looks = [NONE; 21];
        looks[15] = &[99, 98];
        assert!(is_quiet(&looks));
        looks[17] = &[99];
        assert!(!is_quiet(&looks));
        let mut looks = [NONE; 21];
        looks[20] = &[99];
        assert!(!is_quiet(&looks));
        looks[20] = NONE;
        looks[3] = &[99, 98];
        looks[4] = &[99, 98];
        assert!(is_quiet(&looks), "long ago");
    }

    #[test]
    fn a_write_in_the_first_run_begins_the_time_anew() {
        let mut looks = vec![NONE; 16];
        looks[10] = &[13];
        assert!(!is_quiet(&looks));
        let Verdict::Waiting(waiting) = watched(&looks).verdict(FirstRun::Is(FIRST)) else {
            panic!()
        };
        assert_eq!((waiting.in_first_run, waiting.busy, waiting.left_ns), (1, 1, 500 * MS));
        assert_eq!(waiting.writers[0].to_string(), "fio[7]");
        let other = Run { old_chunk: 0, ..FIRST };
        assert_eq!(watched(&looks).verdict(FirstRun::Is(other)), Verdict::Quiet);
        assert_eq!(watched(&looks).verdict(FirstRun::Nothing), Verdict::Quiet);
        assert_ne!(watched(&looks).verdict(FirstRun::Unknown), Verdict::Quiet);
        looks.extend([NONE; 5]);
        assert_ne!(watched(&looks).verdict(FirstRun::Is(FIRST)), Verdict::Quiet);
        looks.push(NONE);
        assert_eq!(watched(&looks).verdict(FirstRun::Is(FIRST)), Verdict::Quiet);
    }

    #[test]
    fn a_write_that_is_only_counted_may_be_anywhere() {
        let mut watch = watched(&[NONE; 15]);
        let kernel = Some(KernelInFlight { reads: 0, writes: 1 });
        watch.look(Look::new(1_500 * MS, None, kernel));
        for tenth in 16..20 {
            watch.look(Look::new(tenth * 100 * MS, None, Some(KernelInFlight::default())));
        }
        let Verdict::Waiting(waiting) = watch.verdict(FirstRun::Is(FIRST)) else { panic!() };
        assert_eq!((waiting.in_first_run, waiting.in_flight), (1, 0));
        assert_eq!(watch.verdict(FirstRun::Nothing), Verdict::Quiet);
    }

    #[test]
    fn a_short_time_still_takes_ten_looks() {
        let mut watch = Watch::new(100 * MS, chunk_size());
        for tenth in 0..9 {
            watch.look(Look { at_ns: tenth * 20 * MS, ..Look::default() });
        }
        assert_ne!(watch.verdict(FirstRun::Nothing), Verdict::Quiet);
    }
}
