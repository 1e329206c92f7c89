//! Who has changed the throttle, from what, to what: a file that outlives the one who did.
//!
//! The setting lives until the next boot, and so does the file (`state_dir::of_this_boot`). It is
//! there before the setting is changed and goes after it was put back, and it always names every
//! value that may be ours at that moment. So whoever finds a lease whose holder is dead can put the
//! setting back, unless somebody else has changed it since: then it is left as it is.
//!
//! Taking, changing and putting back exclude one another by a lock that the kernel drops with its
//! holder. The file is written without waiting for a disk: it need not survive what ends a boot, and
//! its directory might lie on the very device that is slow.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::goal::Throttling;
use super::holder::Holder;
use crate::dm::throttle::Knob;
use crate::state_dir;

const FILE: &str = "throttle.json";
const LOCK: &str = "throttle.lock";
const VERSION: u32 = 1;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    version: u32,
    /// Who has changed the setting.
    pub holder: Holder,
    /// For the merge into which origin, as its users call it.
    pub origin: String,
    /// The setting before.
    pub previous_percent: u32,
    /// What the setting may be by the holder's doing: one value, or two in the middle of a change.
    pub ours: Vec<u32>,
    /// What the holder does.
    pub throttling: Throttling,
    /// Since when, in seconds since 1970.
    pub since_unix_s: u64,
}

/// What became of putting the setting back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutBack {
    /// It is what it was before.
    To(u32),
    /// Somebody else has set this meanwhile, and so it stays.
    Foreign(u32),
    /// dm-snapshot was unloaded: there is no setting any more.
    Gone,
}

/// Why a lease is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another throttler is at work.
    #[error("the throttle is held by process {} for {}: {}", .0.holder.pid, .0.origin, .0.throttling.goal)]
    Held(Box<Lease>),
    /// The file cannot be understood.
    #[error("{} cannot be understood, so it is not known what the throttle was: look at it, then \
             `merge-ctl throttle --reset` ({why})", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The setting is not there.
    #[error("there is no snapshot_copy_throttle: dm-snapshot is not loaded")]
    NotLoaded,
    /// Somebody else has changed the setting.
    #[error("somebody else has set the throttle to {0} %")]
    Foreign(u32),
    /// A file.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Where the lease lies, and the setting that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    directory: PathBuf,
    knob: Knob,
}

impl Place {
    /// The host's.
    pub fn of_this_host() -> Self {
        Self { directory: state_dir::of_this_boot(), knob: Knob::of_the_kernel() }
    }

    /// The one of a lease file, with the kernel's setting.
    pub fn of_lease(path: &Path) -> Self {
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        Self { directory, knob: Knob::of_the_kernel() }
    }

    /// Another directory and a file for the setting, for tests.
    pub fn at(directory: &Path, knob: Knob) -> Self {
        Self { directory: directory.to_owned(), knob }
    }

    /// The lease file.
    pub fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// The setting.
    pub fn knob(&self) -> &Knob {
        &self.knob
    }

    /// The lease that there is, whether its holder lives or not.
    ///
    /// # Errors
    /// [`LeaseError::Damaged`], or the file cannot be read.
    pub fn read(&self) -> Result<Option<Lease>, LeaseError> {
        let path = self.file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LeaseError::Io { what: "read", path, source }),
        };
        match serde_json::from_str::<Lease>(&text) {
            Ok(lease) if lease.version == VERSION => Ok(Some(lease)),
            Ok(lease) => {
                let why = format!("it is of version {}", lease.version);
                Err(LeaseError::Damaged { path, why })
            }
            Err(error) => Err(LeaseError::Damaged { path, why: error.to_string() }),
        }
    }

    /// Takes the lease for this process. What a dead holder has left is put back first, and told.
    ///
    /// # Errors
    /// [`LeaseError::Held`] where another throttler is at work; where the setting or the file cannot
    /// be read or written.
    pub fn take(
        &self,
        origin: &str,
        throttling: Throttling,
    ) -> Result<(Held, Option<PutBack>), LeaseError> {
        let lock = self.lock()?;
        let left = match self.read()? {
            Some(lease) if lease.holder.is_alive() => {
                return Err(LeaseError::Held(Box::new(lease)));
            }
            Some(lease) => Some(self.put_back(&lease)?),
            None => None,
        };
        let previous_percent = self.setting()?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let holder = Holder::of_this_process().map_err(|source| LeaseError::Io {
            what: "read",
            path: PathBuf::from("/proc/self/stat"),
            source,
        })?;
        let lease = Lease {
            version: VERSION,
            holder,
            origin: origin.to_owned(),
            previous_percent,
            ours: vec![previous_percent],
            throttling,
            since_unix_s: since.as_secs(),
        };
        self.write(&lease)?;
        drop(lock);
        Ok((Held { place: self.clone(), lease }, left))
    }

    /// Puts back what a dead holder has left; none where there is no such lease.
    ///
    /// # Errors
    /// As [`Place::take`], without [`LeaseError::Held`].
    pub fn tidy(&self) -> Result<Option<(Lease, PutBack)>, LeaseError> {
        match self.read()? {
            Some(lease) if !lease.holder.is_alive() => {}
            _ => return Ok(None),
        }
        self.end(|lease| !lease.holder.is_alive())
    }

    /// Puts back what this holder has left, whether it lives or not; none where there is no lease of
    /// its own any more.
    ///
    /// # Errors
    /// As [`Place::tidy`].
    pub fn end_for(&self, holder: &Holder) -> Result<Option<(Lease, PutBack)>, LeaseError> {
        self.end(|lease| lease.holder == *holder)
    }

    /// Puts the setting to what it is without any throttler: what a dead holder found, or 100. A
    /// lease that cannot be understood is thrown away.
    ///
    /// # Errors
    /// As [`Place::take`].
    pub fn reset(&self) -> Result<PutBack, LeaseError> {
        let lock = self.lock()?;
        let put_back = match self.read() {
            Ok(Some(lease)) if lease.holder.is_alive() => {
                return Err(LeaseError::Held(Box::new(lease)));
            }
            Ok(Some(lease)) => match self.put_back(&lease)? {
                // It was asked for.
                PutBack::Foreign(_) => self.set_off()?,
                put_back => put_back,
            },
            Ok(None) => self.set_off()?,
            Err(LeaseError::Damaged { .. }) => {
                let put_back = self.set_off()?;
                self.remove()?;
                put_back
            }
            Err(error) => return Err(error),
        };
        drop(lock);
        Ok(put_back)
    }

    fn end(&self, is_it: impl Fn(&Lease) -> bool) -> Result<Option<(Lease, PutBack)>, LeaseError> {
        let lock = self.lock()?;
        // Looked at anew: somebody else may have been quicker.
        let Some(lease) = self.read()?.filter(is_it) else { return Ok(None) };
        let put_back = self.put_back(&lease)?;
        drop(lock);
        Ok(Some((lease, put_back)))
    }

    /// To be called with the lock.
    fn put_back(&self, lease: &Lease) -> Result<PutBack, LeaseError> {
        let put_back = match self.setting() {
            Ok(percent) if lease.ours.contains(&percent) || percent == lease.previous_percent => {
                if percent != lease.previous_percent {
                    self.set(lease.previous_percent)?;
                }
                PutBack::To(lease.previous_percent)
            }
            Ok(percent) => PutBack::Foreign(percent),
            Err(LeaseError::NotLoaded) => PutBack::Gone,
            Err(error) => return Err(error),
        };
        self.remove()?;
        Ok(put_back)
    }

    fn set_off(&self) -> Result<PutBack, LeaseError> {
        self.setting()?;
        self.set(crate::dm::throttle::OFF)?;
        Ok(PutBack::To(crate::dm::throttle::OFF))
    }

    fn setting(&self) -> Result<u32, LeaseError> {
        let read = self.knob.read().map_err(|source| self.knob_error("read", source))?;
        read.ok_or(LeaseError::NotLoaded)
    }

    fn set(&self, percent: u32) -> Result<(), LeaseError> {
        self.knob.write(percent).map_err(|source| self.knob_error("set", source))
    }

    fn knob_error(&self, what: &'static str, source: io::Error) -> LeaseError {
        LeaseError::Io { what, path: self.knob.path().to_owned(), source }
    }

    fn lock(&self) -> Result<File, LeaseError> {
        let path = self.directory.join(LOCK);
        let open = || {
            state_dir::make(&self.directory)?;
            let file = File::options().create(true).append(true).open(&path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        };
        open().map_err(|source| LeaseError::Io { what: "lock", path: path.clone(), source })
    }

    fn write(&self, lease: &Lease) -> Result<(), LeaseError> {
        let path = self.file();
        let partial = path.with_extension("partial");
        let write = || {
            fs::write(&partial, serde_json::to_vec(lease)?)?;
            fs::rename(&partial, &path)
        };
        write().map_err(|source| LeaseError::Io { what: "write", path: path.clone(), source })
    }

    fn remove(&self) -> Result<(), LeaseError> {
        let path = self.file();
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(LeaseError::Io { what: "remove", path, source })
            }
            _ => Ok(()),
        }
    }
}

/// A lease of our own.
#[derive(Debug)]
pub struct Held {
    place: Place,
    lease: Lease,
}

impl Held {
    /// What it says.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The setting as it is, if it is still ours.
    ///
    /// # Errors
    /// [`LeaseError::Foreign`] where somebody else has changed it.
    pub fn check(&self) -> Result<u32, LeaseError> {
        let percent = self.place.setting()?;
        if self.lease.ours.contains(&percent) {
            Ok(percent)
        } else {
            Err(LeaseError::Foreign(percent))
        }
    }

    /// Changes the setting, unless somebody else has.
    ///
    /// # Errors
    /// [`LeaseError::Foreign`]; where the file or the setting cannot be written.
    pub fn set(&mut self, percent: u32) -> Result<(), LeaseError> {
        let present = self.check()?;
        if present == percent {
            return Ok(());
        }
        let lock = self.place.lock()?;
        self.lease.ours = vec![present, percent];
        self.place.write(&self.lease)?;
        self.place.set(percent)?;
        self.lease.ours = vec![percent];
        self.place.write(&self.lease)?;
        drop(lock);
        Ok(())
    }

    /// Says what is being done.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn tell(&mut self, throttling: Throttling) -> Result<(), LeaseError> {
        if self.lease.throttling == throttling {
            return Ok(());
        }
        self.lease.throttling = throttling;
        let _lock = self.place.lock()?;
        self.place.write(&self.lease)
    }

    /// Puts the setting back and gives the lease up.
    ///
    /// # Errors
    /// Where it cannot be put back: the lease is then still there.
    pub fn put_back(&self) -> Result<PutBack, LeaseError> {
        match self.place.end_for(&self.lease.holder)? {
            Some((_, put_back)) => Ok(put_back),
            // Somebody has thrown our lease away, and so has said that he knows better.
            None => self.place.setting().map(PutBack::Foreign),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::goal::{Doing, Goal};
    use super::*;
    use crate::throttle::Effect;

    struct Bed {
        directory: tempfile::TempDir,
        place: Place,
    }

    impl Bed {
        fn new(percent: u32) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let knob = directory.path().join("knob");
            fs::write(&knob, format!("{percent}\n")).unwrap();
            let place = Place::at(&directory.path().join("run"), Knob::at(&knob));
            Self { directory, place }
        }

        fn knob(&self) -> u32 {
            self.place.knob.read().unwrap().unwrap()
        }

        fn take(&self) -> Held {
            self.place.take("vg/data", throttling()).unwrap().0
        }

        /// As if the holder had died.
        fn orphan(&self) {
            let mut lease = self.place.read().unwrap().unwrap();
            lease.holder.started_ticks += 1;
            self.place.write(&lease).unwrap();
        }
    }

    fn throttling() -> Throttling {
        Throttling {
            goal: Goal::Fixed { percent: 30 },
            profile: None,
            doing: Doing::Fixed,
            effect: Effect::NotKnown,
            pid: std::process::id(),
        }
    }

    #[test]
    fn what_was_set_is_put_back_and_nothing_is_left() {
        let bed = Bed::new(80);
        let mut held = bed.take();
        assert_eq!(bed.knob(), 80, "taking changes nothing");
        for percent in [30, 7, 7, 100] {
            held.set(percent).unwrap();
            assert_eq!((bed.knob(), held.check().unwrap()), (percent, percent));
            assert_eq!(bed.place.read().unwrap().unwrap().ours, [percent]);
        }
        assert_eq!(held.put_back().unwrap(), PutBack::To(80));
        assert_eq!(bed.knob(), 80);
        assert_eq!(bed.place.read().unwrap(), None);
        assert_eq!(fs::read_dir(bed.directory.path().join("run")).unwrap().count(), 1, "the lock");
    }

    #[test]
    fn a_second_throttler_is_refused_and_told_who_is_there() {
        let bed = Bed::new(100);
        let mut held = bed.take();
        held.set(30).unwrap();
        let error = bed.place.take("vg/other", throttling()).unwrap_err();
        let words = error.to_string();
        let pid = std::process::id().to_string();
        assert!(words.contains(&pid) && words.contains("vg/data") && words.contains("30 %"));
        assert!(matches!(bed.place.reset(), Err(LeaseError::Held(_))));
        assert_eq!(bed.place.tidy().unwrap(), None, "its holder lives");
        assert_eq!(bed.knob(), 30);
    }

    #[test]
    fn what_a_dead_holder_left_is_put_back_by_the_next() {
        let bed = Bed::new(80);
        let mut held = bed.take();
        held.set(30).unwrap();
        bed.orphan();
        let (held, left) = bed.place.take("vg/other", throttling()).unwrap();
        assert_eq!(left, Some(PutBack::To(80)));
        assert_eq!((bed.knob(), held.lease().previous_percent), (80, 80));
        bed.orphan();
        let (lease, put_back) = bed.place.tidy().unwrap().unwrap();
        assert_eq!((lease.origin.as_str(), put_back), ("vg/other", PutBack::To(80)));
        assert_eq!(bed.place.tidy().unwrap().map(|(_, put_back)| put_back), None);
    }

    #[test]
    fn killed_in_the_middle_of_a_change_both_values_are_known_as_ours() {
        for at_the_crash in [30, 50] {
            let bed = Bed::new(80);
            let mut held = bed.take();
            held.set(30).unwrap();
            held.lease.ours = vec![30, 50];
            bed.place.write(&held.lease).unwrap();
            bed.place.set(at_the_crash).unwrap();
            bed.orphan();
            assert_eq!(bed.place.tidy().unwrap().unwrap().1, PutBack::To(80));
            assert_eq!(bed.knob(), 80);
        }
    }

    #[test]
    fn what_somebody_else_has_set_is_left_alone() {
        let bed = Bed::new(100);
        let mut held = bed.take();
        held.set(30).unwrap();
        bed.place.set(55).unwrap();
        assert!(matches!(held.check(), Err(LeaseError::Foreign(55))));
        assert!(matches!(held.set(20), Err(LeaseError::Foreign(55))));
        assert_eq!(held.put_back().unwrap(), PutBack::Foreign(55));
        assert_eq!((bed.knob(), bed.place.read().unwrap()), (55, None));
    }

    #[test]
    fn a_guard_ends_only_the_lease_that_it_guards() {
        let bed = Bed::new(100);
        let mut held = bed.take();
        held.set(30).unwrap();
        let mine = held.lease().holder.clone();
        let other = Holder { pid: mine.pid, started_ticks: mine.started_ticks + 5 };
        assert_eq!(bed.place.end_for(&other).unwrap(), None);
        assert_eq!(bed.knob(), 30);
        assert_eq!(bed.place.end_for(&mine).unwrap().unwrap().1, PutBack::To(100));
        assert_eq!(bed.place.end_for(&mine).unwrap(), None);
    }

    #[test]
    fn a_reset_puts_back_or_turns_off() {
        let bed = Bed::new(70);
        assert_eq!(bed.place.reset().unwrap(), PutBack::To(100));
        bed.place.set(60).unwrap();
        bed.take().set(30).unwrap();
        bed.orphan();
        assert_eq!(bed.place.reset().unwrap(), PutBack::To(60));
        fs::write(bed.place.file(), "nonsense").unwrap();
        assert!(matches!(bed.place.take("x", throttling()), Err(LeaseError::Damaged { .. })));
        assert_eq!((bed.place.reset().unwrap(), bed.knob()), (PutBack::To(100), 100));
        assert_eq!(bed.place.read().unwrap(), None);
    }

    #[test]
    fn without_the_module_there_is_nothing_to_throttle() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::at(directory.path(), Knob::at(Path::new("/nonexistent/throttle")));
        assert!(matches!(place.take("x", throttling()), Err(LeaseError::NotLoaded)));
        assert!(matches!(place.reset(), Err(LeaseError::NotLoaded)));
    }
}
