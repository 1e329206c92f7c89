//! The store a second time, slowly, and the comparison: every way to read a device must tell what
//! the reference tells, error for error.
//!
//! For the property tests and for the fuzz targets in `merge-ctl/fuzz`, which include this file by
//! its path. So it uses only what `store` and `units` show to everybody; and of these no
//! arithmetic, layout or finder, since what is checked must not share their mistakes.

pub(crate) mod device;
pub(crate) mod guard;
mod reference;

use self::device::Device;
use self::guard::Guard;
use self::reference::{Contents, Header, Stop};
use crate::store::{Exception, Opened, Place, Placed, Run, Source, Store, StoreError, Survey};
use crate::units::Sectors;

/// Reads a device in every way there is.
///
/// `from` is where another walk backwards begins than from the end: the number of an entry, counted
/// over all areas, before which it starts.
///
/// # Panics
/// Where a read could not be, where reading goes on and on, and where what is told is not what the
/// reference tells.
pub(crate) fn check(device: &Device, origin: Option<Sectors>, from: u64) {
    compare(device, device, origin, Some(from));
}

/// Reads a source that should tell what a device tells; but behind the entries in use only where
/// `from` says so.
///
/// # Panics
/// As [`check`].
pub(crate) fn compare(
    source: impl Source,
    device: &Device,
    origin: Option<Sectors>,
    from: Option<u64>,
) {
    let guard = &Guard::new(source);
    guard.allow(guard.block_bytes().into());
    let expected = Header::on(device);
    let (told, store) = header(Store::open(guard, origin));
    assert_eq!(told, expected, "the header");
    let (Some(store), Header::Usable { chunk_sectors }) = (store, expected) else { return };
    let contents = Contents::of(device, chunk_sectors, origin);
    let checked = Checked { guard, store, contents };
    checked.forwards();
    checked.survey();
    checked.survey_runs();
    checked.backwards(checked.entries());
    if let Some(from) = from {
        checked.backwards(from);
    }
    checked.runs();
    checked.single_chunks();
}

/// What was told of the header, in the reference's words.
fn header<S: Source>(opened: Result<Opened<S>, StoreError>) -> (Header, Option<Store<S>>) {
    let told = match opened {
        Ok(Opened::Usable(store)) => {
            let chunk_sectors = store.layout().chunk_size().sectors() as u32;
            return (Header::Usable { chunk_sectors }, Some(store));
        }
        Ok(Opened::New) => Header::New,
        Ok(Opened::Invalid) => Header::Invalid,
        Err(StoreError::TooSmall { .. }) => Header::TooSmall,
        Err(StoreError::NotAStore { magic }) => Header::NotAStore(magic),
        Err(StoreError::ChunkSize { sectors }) => Header::ChunkSize(sectors),
        Err(StoreError::ChunkBelowBlock { sectors, .. }) => Header::ChunkBelowBlock(sectors),
        Err(StoreError::UnknownVersion { version }) => Header::UnknownVersion(version),
        Err(error) => panic!("no word on the header: {error}"),
    };
    (told, None)
}

/// A store, and what should be read from it.
struct Checked<'a, S> {
    guard: &'a Guard<S>,
    store: Store<&'a Guard<S>>,
    contents: Contents<'a>,
}

impl<S: Source> Checked<'_, S> {
    /// Allows what one walk can need: the entries in use, a last piece of an area of which less is
    /// in use, and as much again.
    fn allow_a_walk(&self, entries: u64) {
        let piece = (self.contents.chunk_sectors * 512).min(1 << 20);
        self.guard.allow(2 * (entries * 16 + piece));
    }

    fn entries(&self) -> u64 {
        self.contents.entries.len() as u64
    }

    /// The entries with these numbers as the reader should tell them.
    fn placed(&self, numbers: std::ops::Range<usize>) -> impl DoubleEndedIterator<Item = Placed> {
        numbers.map(|number| {
            let (old_chunk, new_chunk) = self.contents.entries[number];
            let place = self.contents.place(number as u64);
            Placed { place, exception: Exception { old_chunk, new_chunk } }
        })
    }

    fn forwards(&self) {
        self.allow_a_walk(self.entries());
        let mut told = self.store.exceptions();
        for expected in self.placed(0..self.contents.entries.len()) {
            let placed = told.next().expect("an entry is missing").expect("an entry is refused");
            assert_eq!(placed, expected, "forwards");
        }
        let place = self.contents.place(self.entries());
        match told.next() {
            None => assert_eq!(self.contents.stop, Stop::End, "forwards it ends at {place}"),
            Some(Ok(placed)) => panic!("{placed:?} is told, {:?} stands there", self.contents.stop),
            Some(Err(error)) => self.same_error(&error, place, self.contents.stop),
        }
        assert!(told.next().is_none(), "it goes on after its end");
    }

    fn survey(&self) {
        self.allow_a_walk(self.entries());
        let mut expected = self.placed(0..self.contents.entries.len());
        let survey = self.store.survey(|placed| {
            assert_eq!(Some(placed), expected.next(), "in the survey");
        });
        self.ends_right(&survey);
        if let Ok(survey) = survey {
            assert_eq!(expected.next(), None, "the survey does not tell all");
            assert_eq!(survey.end, self.contents.place(self.entries()));
            let usage = (survey.usage.allocated.0, survey.usage.metadata.0);
            assert_eq!(usage, self.contents.usage());
        }
    }

    fn survey_runs(&self) {
        self.allow_a_walk(self.entries());
        let survey = self.store.survey_runs().map(|(survey, runs)| {
            assert_eq!(runs, self.contents.merged(), "the runs of a walk forwards");
            survey
        });
        self.ends_right(&survey);
    }

    /// A survey must end where a chunk is named again, or else where all walks end. It may pass over
    /// a chunk that is named again if it has no memory to search.
    fn ends_right(&self, survey: &Result<Survey, StoreError>) {
        let ended_at = match survey {
            Err(StoreError::Entry { place, .. }) => self.contents.number(*place) as usize,
            _ => self.contents.entries.len(),
        };
        let passed_over = self.contents.twice.first().is_some_and(|(number, _)| *number < ended_at);
        assert!(
            !passed_over || self.contents.is_spread_far(),
            "a chunk that is named again is passed over"
        );
        match survey {
            Ok(survey) => {
                assert_eq!(self.contents.stop, Stop::End, "the survey ends at {}", survey.end);
                assert_eq!(survey.exceptions, self.entries());
                assert!(!passed_over || survey.not_searched_for_duplicates > 0);
            }
            Err(error) => {
                let again = self.contents.twice.iter().find(|(number, _)| *number == ended_at);
                let stop = again.map_or(self.contents.stop, |(_, stop)| *stop);
                self.same_error(error, self.contents.place(ended_at as u64), stop);
            }
        }
    }

    /// From before the entry with this number down to the first, or to the first that is wrong.
    fn backwards(&self, from: u64) {
        let mut expected = Vec::new();
        for number in (0..from).rev() {
            expected.push((number, self.contents.at(number)));
            if expected.last().is_some_and(|(_, entry)| entry.is_err()) {
                break;
            }
        }
        self.allow_a_walk(expected.len() as u64);
        let mut told = self.store.backwards(self.contents.place(from));
        for (number, expected) in expected {
            let place = self.contents.place(number);
            let told = told.next().expect("backwards it ends too early");
            match (told, expected) {
                (Ok(placed), Ok((old_chunk, new_chunk))) => {
                    let exception = Exception { old_chunk, new_chunk };
                    assert_eq!(placed, Placed { place, exception }, "backwards");
                }
                // Backwards there is no end: what was found in use must still be.
                (Err(StoreError::Changed { place: at }), Err(Stop::End)) => assert_eq!(at, place),
                (Err(error), Err(stop)) => self.same_error(&error, place, stop),
                (told, expected) => panic!("backwards at {place}: {told:?}, not {expected:?}"),
            }
        }
        assert!(told.next().is_none(), "backwards it goes on after its end");
    }

    fn end(&self) -> Place {
        self.allow_a_walk(self.entries());
        self.contents.place(self.entries())
    }

    fn runs(&self) {
        let mut told = self.store.runs(self.end());
        for expected in self.contents.merged() {
            let run = told.next().expect("a run is missing").expect("a run is refused");
            assert_eq!(run, expected, "the runs of a walk backwards");
        }
        assert!(told.next().is_none(), "there are more runs than there should be");
    }

    fn single_chunks(&self) {
        let mut told = self.store.single_chunks(self.end());
        for Placed { exception, .. } in self.placed(0..self.contents.entries.len()).rev() {
            let run = told.next().expect("a chunk is missing").expect("a chunk is refused");
            assert_eq!(run, Run::of_one(exception), "one chunk at a time");
        }
        assert!(told.next().is_none(), "there are more chunks than there should be");
    }

    /// The reader's error must be the one that the reference has for this place.
    fn same_error(&self, error: &StoreError, place: Place, stop: Stop) {
        match (error, stop) {
            (StoreError::AreaOutside { area, cow_chunks }, Stop::Outside) => {
                assert_eq!((*area, *cow_chunks), (place.area, self.contents.cow_chunks));
            }
            (
                StoreError::Entry { place: at, exception, fault },
                Stop::Fault { old_chunk, new_chunk, fault: expected },
            ) => {
                assert_eq!(*at, place, "where the damage is");
                assert_eq!((exception.old_chunk, exception.new_chunk), (old_chunk, new_chunk));
                assert_eq!(*fault, expected, "what the damage is");
            }
            _ => panic!("at {place}: {error}, not {stop:?}"),
        }
    }
}
