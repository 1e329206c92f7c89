//! A volume that is a few flags, and hands that fail before or after any step: whatever fails, what is
//! told of the volume must be so.

use super::captured::Below;
use super::*;
use crate::dm::Table;
use crate::lvm::names::{Layer, VolumeUuid};

/// Where a call fails: before it has done its work, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Before,
    After,
}

struct Fake {
    captured: Captured,
    active: bool,
    recorded: bool,
    flushed: bool,
    locked: bool,
    held: bool,
    dropped: bool,
    moved: bool,
    /// Fails at this call, counted from 0.
    fault: Option<(usize, Fault)>,
    /// At this call somebody activates the volume, if nothing hinders it.
    intruder: Option<usize>,
    calls: usize,
}

fn fault() -> StepError {
    StepError::Io { what: "fault".into(), source: io::ErrorKind::Other.into() }
}

impl Fake {
    fn new(found_active: bool) -> Self {
        let id = |letter: &str, layer: Layer| VolumeUuid {
            vg: "g".repeat(32),
            lv: letter.repeat(32),
            layer,
        };
        let below = |name: &str, uuid: VolumeUuid| Below {
            name: name.into(),
            uuid,
            table: Table::parse("0 8 linear 8:1 0").unwrap(),
        };
        let captured = Captured {
            names: Names { vg: "vg".into(), origin: "data".into(), snapshot: "snap".into() },
            found_active,
            real: below("vg-data-real", id("a", Layer::Real)),
            cow: below("vg-snap-cow", id("b", Layer::Cow)),
            disks: Vec::new(),
            segments: vec![segment("a", "/dev/sda:0-1"), segment("b", "/dev/sda:2-3")],
        };
        Self {
            captured,
            active: true,
            recorded: false,
            flushed: false,
            locked: false,
            held: false,
            dropped: false,
            moved: false,
            fault: None,
            intruder: None,
            calls: 0,
        }
    }

    /// One call: `work` is its effect.
    fn call<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StepError>,
    ) -> Result<T, StepError> {
        let this = self.calls;
        self.calls += 1;
        if self.intruder == Some(this) && !self.locked && !self.held {
            self.active = true;
        }
        match self.fault {
            Some((at, Fault::Before)) if at == this => Err(fault()),
            Some((at, Fault::After)) if at == this => work(self).and(Err(fault())),
            _ => work(self),
        }
    }
}

fn segment(letter: &str, ranges: &str) -> Segment {
    Segment { volume: letter.repeat(32), start: "0".into(), ranges: ranges.into() }
}

fn volume(lv: &str, attr: &str, origin: &str) -> Volume {
    let text = format!(
        r#"{{"vg_name":"vg","lv_name":"{lv}","lv_attr":"{attr}","segtype":"linear",
        "origin":"{origin}","lv_active":"","lv_merging":"","lv_uuid":""}}"#
    );
    serde_json::from_str(&text).unwrap()
}

impl Hands for Fake {
    type Devices = ();

    fn captured(&self) -> &Captured {
        &self.captured
    }

    fn deactivate(&mut self) -> Result<(), StepError> {
        self.call(|it| {
            it.active = false;
            Ok(())
        })
    }

    fn activate(&mut self) -> Result<(), StepError> {
        self.call(|it| {
            assert!(!it.held, "the names are taken");
            it.active = true;
            Ok(())
        })
    }

    fn record(&mut self) -> Result<MergeStart, StepError> {
        self.call(|it| {
            it.recorded = true;
            Ok(if it.active {
                MergeStart::Started
            } else {
                MergeStart::AtNextActivation(String::new())
            })
        })
    }

    fn flush(&mut self) -> Result<(), StepError> {
        self.call(|it| {
            it.flushed = it.recorded;
            Ok(())
        })
    }

    fn lock(&mut self) -> Result<(), StepError> {
        self.call(|it| {
            it.locked = true;
            Ok(())
        })
    }

    fn unlock(&mut self) {
        self.locked = false;
    }

    fn look(&mut self) -> Result<Seen, StepError> {
        self.call(|it| {
            let attr = if it.recorded { "Swi---s---" } else { "swi---s---" };
            let place = if it.moved { "/dev/sdb:0-1" } else { "/dev/sda:0-1" };
            Ok(Seen {
                volumes: vec![volume("snap", attr, "data")],
                segments: vec![segment("b", "/dev/sda:2-3"), segment("a", place)],
                active: it.active.then(|| "vg-data".to_owned()).into_iter().collect(),
                changed_disks: Vec::new(),
            })
        })
    }

    fn hold(&mut self) -> Result<(), StepError> {
        self.call(|it| {
            it.held = true;
            Ok(())
        })
    }

    fn let_go(&mut self) -> Result<(), StepError> {
        self.call(|it| {
            it.held = false;
            Ok(())
        })
    }

    fn has_dropped(&mut self) -> Result<bool, StepError> {
        self.call(|it| {
            it.dropped = it.active && it.recorded;
            Ok(it.dropped)
        })
    }
}

/// Whether what is told of the volume is so.
fn assert_told(fake: &Fake, halt: &Halt, case: &str) {
    let told = match halt.standing {
        Standing::AsFound => !fake.recorded && fake.active == fake.captured.found_active,
        Standing::Down => !fake.recorded && !fake.active,
        // An activation that failed after its work is there is told as one that is to come.
        Standing::Up => !fake.recorded,
        Standing::Recorded => fake.recorded,
        Standing::Unknown => !fake.active,
        Standing::Merging | Standing::NotDropped => fake.recorded && fake.active,
        Standing::StillUp => fake.dropped,
    };
    assert!(told, "{case}: {halt:?}");
}

fn whole(fake: &mut Fake) -> Result<(), Halt> {
    prepare(fake)?;
    assert!(fake.recorded && fake.flushed && fake.locked && fake.held && !fake.active);
    let mut looks = 3;
    finish(fake, || {
        looks -= 1;
        looks > 0
    })
}

#[test]
fn an_undisturbed_merge_leaves_the_volume_as_active_as_it_was() {
    for found_active in [true, false] {
        let mut fake = Fake::new(found_active);
        whole(&mut fake).unwrap();
        assert!(fake.dropped && !fake.locked && !fake.held);
        assert_eq!(fake.active, found_active);
    }
}

#[test]
fn whatever_fails_nothing_is_copied_too_early_and_what_is_told_is_so() {
    for found_active in [true, false] {
        for at in 0..12 {
            for fault in [Fault::Before, Fault::After] {
                let mut fake = Fake::new(found_active);
                fake.fault = Some((at, fault));
                let case = format!("{found_active} {at} {fault:?}");
                let Err(halt) = whole(&mut fake) else { continue };
                assert_told(&fake, &halt, &case);
                assert_eq!(fake.locked, halt.step == Step::LetGo, "{case}");
                assert!(!fake.held || halt.step == Step::LetGo, "{case}");
                assert!(halt.step != Step::Copy, "{case}");
            }
        }
    }
}

#[test]
fn who_activates_it_meanwhile_is_noticed_or_kept_out() {
    for at in 0..10 {
        let mut fake = Fake::new(true);
        fake.intruder = Some(at);
        match whole(&mut fake) {
            Ok(()) => assert!(fake.dropped),
            Err(halt) => {
                assert_eq!(halt.standing, Standing::Merging, "{at}");
                assert!(fake.active && fake.recorded && !fake.held && !fake.locked, "{at}");
            }
        }
    }
}

#[test]
fn a_merge_on_record_is_taken_up_and_given_back_without_an_activation() {
    let mut ended_early = 0;
    for at in 0..6 {
        for fault in [Fault::Before, Fault::After] {
            let mut fake = Fake::new(false);
            (fake.active, fake.recorded, fake.fault) = (false, true, Some((at, fault)));
            let halt = match prepare_recorded(&mut fake) {
                Ok(()) => {
                    assert!(fake.flushed && fake.locked && fake.held, "{at}");
                    abandon(&mut fake).err()
                }
                Err(halt) => Some(halt),
            };
            assert!(!fake.active && fake.recorded && !fake.dropped, "{at} {fault:?}");
            let Some(halt) = halt else {
                assert!(!fake.locked && !fake.held);
                continue;
            };
            ended_early += 1;
            assert_eq!(halt.standing, Standing::Recorded);
            assert_eq!(fake.locked, halt.step == Step::LetGo, "{at} {fault:?}");
        }
    }
    assert_eq!(ended_early, 10, "flush, lock, look, hold and let go");
}

#[test]
fn nothing_is_taken_up_that_is_not_on_record_or_is_active() {
    let mut fake = Fake::new(false);
    (fake.active, fake.recorded) = (false, false);
    let halt = prepare_recorded(&mut fake).unwrap_err();
    assert!(matches!(halt.why, StepError::Unfit(Unfit::NotRecorded)), "{halt:?}");
    (fake.active, fake.recorded) = (true, true);
    let halt = prepare_recorded(&mut fake).unwrap_err();
    assert_eq!((halt.step, halt.standing), (Step::Look, Standing::Merging));
    assert!(!fake.locked && !fake.held);
}

#[test]
fn a_volume_that_was_moved_meanwhile_is_not_copied() {
    let mut fake = Fake::new(true);
    fake.moved = true;
    let halt = prepare(&mut fake).unwrap_err();
    assert_eq!((halt.step, halt.standing), (Step::Look, Standing::Recorded));
    assert!(matches!(halt.why, StepError::Unfit(Unfit::Moved)), "{halt:?}");
    assert!(!fake.locked && !fake.held);
}

#[test]
fn other_snapshots_and_other_disks_are_not_copied_over() {
    let fake = Fake::new(true);
    let fine = || Seen {
        volumes: vec![volume("snap", "Swi---s---", "data")],
        segments: fake.captured.segments.clone(),
        ..Seen::default()
    };
    assert_eq!(check::check(&fine(), &fake.captured), Ok(()));
    let mut seen = fine();
    seen.volumes.push(volume("daily", "swi---s---", "data"));
    assert_eq!(check::check(&seen, &fake.captured), Err(Unfit::Siblings("vg/daily".into())));
    let seen = Seen { changed_disks: vec!["sda".into()], ..fine() };
    assert_eq!(check::check(&seen, &fake.captured), Err(Unfit::Disks("sda".into())));
    let seen = Seen { volumes: vec![volume("snap", "swi---s---", "data")], ..fine() };
    assert_eq!(check::check(&seen, &fake.captured), Err(Unfit::NotRecorded));
}
