//! A throttler at work: a lease, a guard, the law or a fixed figure, and the record of what came of it.
//!
//! It is given every model of the merge, changes the setting where that is called for, and can be
//! asked at any time what it does. Dropped, also by a panic, it puts the setting back; killed, its
//! guard does.

use std::io;

use super::control::Control;
use super::effect::{EffectLog, Side};
use super::evidence::{Histogram, Observer};
use super::goal::{Doing, Goal, Percentile, Profile, Throttling};
use super::lease::{Held, LeaseError, Place, PutBack};
use crate::guard::{Duty, Guard};
use crate::model::Model;

/// So long is watched before anything is changed, for something to compare with.
pub const BASELINE_NS: u64 = 2_000_000_000;

/// Why a merge cannot be throttled.
#[derive(Debug, thiserror::Error)]
pub enum ThrottleError {
    /// The setting, or the record of it.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// Nobody would put the setting back.
    #[error(
        "no guard process can be started, so nobody would put the throttle back if this one \
             were killed: {0}"
    )]
    Guard(io::Error),
}

/// What became of the setting in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// It is what it was before.
    To(u32),
    /// Somebody else has set this meanwhile, and so it stays.
    Foreign(u32),
    /// There is no setting any more.
    Gone,
}

impl From<PutBack> for Restored {
    fn from(put_back: PutBack) -> Self {
        match put_back {
            PutBack::To(percent) => Self::To(percent),
            PutBack::Foreign(percent) => Self::Foreign(percent),
            PutBack::Gone => Self::Gone,
        }
    }
}

/// A throttler at work.
#[derive(Debug)]
pub struct Throttler {
    throttling: Throttling,
    /// None once it is put back.
    held: Option<Held>,
    guard: Option<Guard>,
    control: Option<Control>,
    observer: Observer,
    log: EffectLog,
    recent: Recent,
    /// Watched so far before anything was changed.
    watched_ns: u64,
    /// The setting in force since the last look.
    percent: u32,
    previous_percent: u32,
    left_behind: Option<PutBack>,
    told_effect: bool,
}

/// What happened since it was asked for the last time.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// The merge and the writes.
    pub side: Side,
    /// The lowest and the highest setting.
    pub percent: Option<(u32, u32)>,
    /// The most writes that a run held at a look.
    pub held: u64,
}

impl Throttler {
    /// Takes the lease of this host, and starts a guard. Nothing is changed before some models of the
    /// merge were seen.
    ///
    /// # Errors
    /// Where another throttler is at work, the setting or its record cannot be read or written, or
    /// nobody can guard it.
    pub fn begin(
        goal: Goal,
        profile: Option<Profile>,
        origin: &str,
    ) -> Result<Self, ThrottleError> {
        let place = Place::of_this_host();
        let mut throttler = Self::unguarded(goal, profile, origin, &place)?;
        let duty = Duty::Throttle { lease: place.file() };
        // Dropped on the way out, it gives the lease back.
        throttler.guard = Some(Guard::begin(&duty).map_err(ThrottleError::Guard)?);
        Ok(throttler)
    }

    fn unguarded(
        goal: Goal,
        profile: Option<Profile>,
        origin: &str,
        place: &Place,
    ) -> Result<Self, ThrottleError> {
        let throttling = Throttling {
            goal,
            profile,
            doing: Doing::Watching,
            effect: super::Effect::NotKnown,
            pid: std::process::id(),
        };
        let (held, left_behind) = place.take(origin, throttling)?;
        let previous_percent = held.lease().previous_percent;
        let control = match goal {
            Goal::WriteLatency(target) => Some(Control::new(target, previous_percent)),
            Goal::Fixed { .. } => None,
        };
        Ok(Self {
            throttling,
            held: Some(held),
            guard: None,
            control,
            observer: Observer::default(),
            log: EffectLog::default(),
            recent: Recent::default(),
            watched_ns: 0,
            percent: previous_percent,
            previous_percent,
            left_behind,
            told_effect: false,
        })
    }

    /// Looks at the merge as it stands, and changes the setting where that is called for.
    ///
    /// # Errors
    /// Where the setting or its record cannot be written. That somebody else has changed it is none:
    /// then this throttler does nothing any more.
    pub fn step(&mut self, model: &Model) -> Result<Throttling, ThrottleError> {
        let Some(seen) = self.observer.look(model) else { return Ok(self.throttling) };
        self.log.take(&seen, self.percent < self.previous_percent);
        self.recent.side.take(&seen);
        let (low, high) = self.recent.percent.unwrap_or((self.percent, self.percent));
        self.recent.percent = Some((low.min(self.percent), high.max(self.percent)));
        self.recent.held =
            self.recent.held.max(model.writes.as_ref().map_or(0, |writes| writes.held));
        if self.throttling.doing == Doing::Yielded || self.held.is_none() {
            return Ok(self.throttling);
        }
        self.watched_ns = self.watched_ns.saturating_add(seen.span_ns);
        let (percent, doing) = match (&mut self.control, self.throttling.goal) {
            (Some(control), _) => {
                let decision = control.step(&seen);
                (decision.percent, decision.doing)
            }
            (None, Goal::Fixed { percent }) if self.watched_ns >= BASELINE_NS => {
                (percent, Doing::Fixed)
            }
            (None, _) => (self.previous_percent, Doing::Watching),
        };
        self.apply(percent, doing)?;
        Ok(self.throttling)
    }

    fn apply(&mut self, percent: u32, doing: Doing) -> Result<(), ThrottleError> {
        let Some(held) = &mut self.held else { return Ok(()) };
        let doing = match held.set(percent) {
            Ok(()) => {
                self.percent = percent;
                doing
            }
            Err(LeaseError::Foreign(theirs)) => {
                self.percent = theirs;
                Doing::Yielded
            }
            Err(error) => return Err(error.into()),
        };
        self.throttling.doing = doing;
        self.throttling.effect = self.log.effect();
        Ok(held.tell(self.throttling)?)
    }

    /// What it does.
    pub fn throttling(&self) -> &Throttling {
        &self.throttling
    }

    /// The setting that it has made, or found where it has yielded.
    pub fn percent(&self) -> u32 {
        self.percent
    }

    /// The setting that it found, and will put back.
    pub fn previous_percent(&self) -> u32 {
        self.previous_percent
    }

    /// What became of the setting that a dead throttler had left, where there was one.
    pub fn left_behind(&self) -> Option<Restored> {
        self.left_behind.map(Restored::from)
    }

    /// What it has done, with the throttle and without.
    pub fn log(&self) -> &EffectLog {
        &self.log
    }

    /// The percentile that its latencies are told at.
    pub fn percentile(&self) -> Percentile {
        match self.throttling.goal {
            Goal::WriteLatency(target) => target.percentile,
            Goal::Fixed { .. } => Percentile::P99,
        }
    }

    /// What happened since this was asked for the last time.
    pub fn take_recent(&mut self) -> Recent {
        std::mem::take(&mut self.recent)
    }

    /// Whether it has just been found that the setting does nothing here. Said once.
    pub fn found_no_effect(&mut self) -> bool {
        let found = self.throttling.effect == super::Effect::None && !self.told_effect;
        self.told_effect |= found;
        found
    }

    /// Puts the setting back. May be called more than once.
    ///
    /// # Errors
    /// Where it cannot be put back. The guard then tries once more.
    pub fn end(&mut self) -> Result<Option<Restored>, ThrottleError> {
        let Some(held) = self.held.take() else { return Ok(None) };
        let put_back = held.put_back()?;
        self.percent = self.previous_percent;
        if let Some(guard) = self.guard.take() {
            guard.release().map_err(ThrottleError::Guard)?;
        }
        Ok(Some(put_back.into()))
    }
}

impl Drop for Throttler {
    fn drop(&mut self) {
        // What goes wrong here the guard finds again, and tells.
        let _ = self.end();
    }
}

/// What a percentile of these writes took; none where there were none.
pub fn latency_ns(writes: &Histogram, percentile: Percentile) -> Option<u64> {
    writes.quantile_ns(1.0 - percentile.allowed_share())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::dm::throttle::Knob;
    use crate::output::fixture;
    use crate::throttle::Target;

    struct Bed {
        _directory: tempfile::TempDir,
        place: Place,
    }

    impl Bed {
        fn new(percent: u32) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let knob = directory.path().join("knob");
            fs::write(&knob, percent.to_string()).unwrap();
            let place = Place::at(directory.path(), Knob::at(&knob));
            Self { _directory: directory, place }
        }

        fn knob(&self) -> u32 {
            self.place.knob().read().unwrap().unwrap()
        }

        fn begin(&self, goal: Goal) -> Throttler {
            Throttler::unguarded(goal, None, "vg/data", &self.place).unwrap()
        }
    }

    /// Models a second apart; `slow` writes of each hundred take 50 ms.
    fn models(seconds: u64, slow: u64) -> impl Iterator<Item = Model> {
        use merge_common::{LATENCY_BUCKETS, latency_bucket};
        (0..=seconds).map(move |second| {
            let mut model = fixture::merging();
            model.now_ns = (100 + second) * 1_000_000_000;
            let latency = model.latency.get_or_insert_default();
            latency.write_counts = vec![0; LATENCY_BUCKETS];
            latency.write_counts[latency_bucket(1_000_000)] = second * (100 - slow);
            latency.write_counts[latency_bucket(50_000_000)] = second * slow;
            model.writes = None;
            model
        })
    }

    fn step_through(throttler: &mut Throttler, seconds: u64, slow: u64) {
        for model in models(seconds, slow) {
            throttler.step(&model).unwrap();
        }
    }

    const FIXED: Goal = Goal::Fixed { percent: 30 };

    #[test]
    fn a_fixed_setting_comes_after_a_look_and_goes_with_the_throttler() {
        let bed = Bed::new(90);
        let mut throttler = bed.begin(FIXED);
        step_through(&mut throttler, 1, 0);
        assert_eq!((bed.knob(), throttler.throttling().doing), (90, Doing::Watching));
        step_through(&mut throttler, 3, 0);
        assert_eq!((bed.knob(), throttler.throttling().doing), (30, Doing::Fixed));
        let told = bed.place.read().unwrap().unwrap();
        assert_eq!(told.throttling.doing, Doing::Fixed);
        assert_eq!(throttler.end().unwrap(), Some(Restored::To(90)));
        assert_eq!(throttler.end().unwrap(), None, "once");
        assert_eq!(bed.knob(), 90);
    }

    #[test]
    fn dropped_in_the_middle_it_puts_the_setting_back() {
        let bed = Bed::new(100);
        let mut throttler = bed.begin(FIXED);
        step_through(&mut throttler, 3, 0);
        assert_eq!(bed.knob(), 30);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _throttler = throttler;
            panic!("in the middle");
        }));
        assert!(panicked.is_err());
        assert_eq!((bed.knob(), bed.place.read().unwrap()), (100, None));
    }

    #[test]
    fn a_loop_slows_down_where_writes_are_slow_and_never_beyond_what_it_found() {
        let bed = Bed::new(60);
        let target =
            Target { latency_ns: 10_000_000, percentile: Percentile::P99, floor_percent: 5 };
        let mut throttler = bed.begin(Goal::WriteLatency(target));
        step_through(&mut throttler, 3, 0);
        assert_eq!((bed.knob(), throttler.throttling().doing), (60, Doing::Free));
        step_through(&mut throttler, 4, 20);
        assert!(bed.knob() < 60, "{}", bed.knob());
        assert_eq!(throttler.throttling().doing, Doing::Slowing);
        assert_eq!(bed.knob(), throttler.percent());
    }

    #[test]
    fn what_somebody_else_sets_is_left_and_told() {
        let bed = Bed::new(100);
        let mut throttler = bed.begin(FIXED);
        step_through(&mut throttler, 3, 0);
        bed.place.knob().write(77).unwrap();
        step_through(&mut throttler, 3, 0);
        assert_eq!((bed.knob(), throttler.percent()), (77, 77));
        assert_eq!(throttler.throttling().doing, Doing::Yielded);
        assert_eq!(throttler.end().unwrap(), Some(Restored::Foreign(77)));
        assert_eq!(bed.knob(), 77);
    }
}
