//! Disks that outlive their VM and lose, when its power is cut, what a real disk would.
//!
//! QEMU reaches them through NBD, so this process is the disk. Each has a volatile write cache: a
//! write is answered once it is in the cache, and is durable once a flush that came after it is
//! answered. [`Switch::cut`] stops all disks at one instant; [`Disks::lose`] then decides write by
//! write what of the caches had reached the medium: all of it, nothing, or, of the last ones, some
//! sectors only. A killed QEMU over plain image files could not lose any of this: the host's page
//! cache outlives it in every `cache=` mode.
//!
//! Always holds: nothing is answered after the cut; what a flush has answered for is never lost,
//! unless the disks are told to lie; a sector of 512 bytes is old or new, never half of each.

mod image;
mod nbd;

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Event;
use image::Image;
pub(crate) use image::{Lost, Random};

/// One disk: what the guest sees of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk {
    /// Its serial number, by which the guest tells it from the others.
    pub(crate) serial: &'static str,
    /// Its size.
    pub(crate) bytes: usize,
}

/// What a disk was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Read,
    Write,
    Flush,
}

/// Is told of every request, by the disk's serial number, in the order in which they are carried out; says
/// whether the power goes in its midst.
pub(crate) type Watcher = Box<dyn FnMut(&'static str, Asked) -> bool + Send>;

/// Some disks with a common power switch.
pub(crate) struct Disks {
    disks: Vec<Served>,
    shared: Arc<Shared>,
    /// Holds the sockets.
    _dir: tempfile::TempDir,
}

struct Served {
    disk: Disk,
    socket: PathBuf,
    image: Arc<Mutex<Image>>,
}

/// What all disks have in common.
struct Shared {
    /// Held for reading while a request is carried out and answered.
    power: RwLock<Power>,
    /// A flush is answered and not done.
    lie: bool,
    /// How long each request takes.
    latency_ns: AtomicU64,
    /// Requests since the count was last set back.
    requests: AtomicU64,
    /// The request in whose midst the power goes.
    cut_in: AtomicU64,
    /// Who else decides when the power goes.
    watcher: Mutex<Option<Watcher>>,
    /// Who is to know of the cut.
    vm: Mutex<Option<Sender<Event>>>,
}

#[derive(Clone, Copy)]
struct Power {
    /// Off: nothing is done or answered any more.
    on: bool,
    /// How often it has come back. What was asked for before is not done after.
    returns: u64,
}

const NEVER: u64 = u64::MAX;

impl Disks {
    /// New disks full of zeros, ready to be used. Disks that lie answer a flush and do not do it.
    pub(crate) fn new(disks: &[Disk], lie: bool) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("merge-disks-").tempdir()?;
        let shared = Arc::new(Shared {
            power: RwLock::new(Power { on: true, returns: 0 }),
            lie,
            latency_ns: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            cut_in: AtomicU64::new(NEVER),
            watcher: Mutex::new(None),
            vm: Mutex::new(None),
        });
        let serve = |disk: &Disk| serve(*disk, dir.path(), &shared);
        let disks = disks.iter().map(serve).collect::<Result<_>>()?;
        Ok(Self { disks, shared, _dir: dir })
    }

    /// Serial numbers and the sockets behind them.
    pub(crate) fn sockets(&self) -> impl ExactSizeIterator<Item = (&'static str, &Path)> {
        self.disks.iter().map(|served| (served.disk.serial, served.socket.as_path()))
    }

    /// From now on every request takes so long.
    pub(crate) fn slow_down(&self, latency: Duration) {
        let latency_ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.shared.latency_ns.store(latency_ns, Ordering::Relaxed);
    }

    /// Cuts the power in the midst of the request that comes after `requests` others.
    pub(crate) fn cut_after(&self, requests: u64) {
        self.shared.cut_in.store(NEVER, Ordering::SeqCst);
        self.shared.requests.store(0, Ordering::SeqCst);
        self.shared.cut_in.store(requests.saturating_add(1), Ordering::SeqCst);
    }

    /// Lets somebody watch the requests and cut the power.
    pub(crate) fn watch(&self, watcher: Watcher) {
        *lock(&self.shared.watcher) = Some(watcher);
    }

    /// Takes [`Self::cut_after`] and [`Self::watch`] back.
    pub(crate) fn do_not_cut(&self) {
        self.shared.cut_in.store(NEVER, Ordering::SeqCst);
        *lock(&self.shared.watcher) = None;
    }

    /// A switch that cuts the power at once, to be thrown from another thread.
    pub(crate) fn switch(&self) -> Switch {
        Switch { shared: Arc::clone(&self.shared), returns: self.shared.power().returns }
    }

    /// Whether the power has been cut.
    pub(crate) fn are_off(&self) -> bool {
        !self.shared.power().on
    }

    /// After a cut, once QEMU is dead: loses what had not reached the medium, and turns the power
    /// on again.
    pub(crate) fn lose(&self, random: &mut Random) -> Lost {
        self.do_not_cut();
        self.slow_down(Duration::ZERO);
        let mut lost = Lost::default();
        for served in &self.disks {
            lost += lock(&served.image).lose(random);
        }
        let mut power = self.shared.power.write().unwrap_or_else(PoisonError::into_inner);
        *power = Power { on: true, returns: power.returns + 1 };
        lost
    }

    /// What is on the disks while no VM runs, to be put back later.
    pub(crate) fn contents(&self) -> Vec<Vec<u8>> {
        self.disks.iter().map(|served| lock(&served.image).content().to_vec()).collect()
    }

    /// Puts it back, while no VM runs.
    pub(crate) fn put_back(&self, contents: &[Vec<u8>]) {
        for (served, content) in self.disks.iter().zip(contents) {
            lock(&served.image).put_back(content);
        }
    }

    /// The VM that must be stopped when the power goes.
    pub(super) fn power(&self, vm: Sender<Event>) {
        *lock(&self.shared.vm) = Some(vm);
    }
}

/// Cuts the power of all disks. Good for one cut: once the power is back, it does nothing.
#[derive(Clone)]
pub(crate) struct Switch {
    shared: Arc<Shared>,
    returns: u64,
}

impl Switch {
    /// At this instant.
    pub(crate) fn cut(&self) {
        if self.shared.power().returns == self.returns {
            self.shared.cut();
        }
    }
}

impl Shared {
    fn power(&self) -> RwLockReadGuard<'_, Power> {
        self.power.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the power goes in the midst of this request.
    fn is_last(&self, disk: &'static str, kind: Option<Asked>) -> bool {
        let counted = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let mut watcher = lock(&self.watcher);
        let watched = match (watcher.as_mut(), kind) {
            (Some(watcher), Some(asked)) => watcher(disk, asked),
            _ => false,
        };
        watched || counted == self.cut_in.load(Ordering::SeqCst)
    }

    fn cut(&self) {
        self.power.write().unwrap_or_else(PoisonError::into_inner).on = false;
        if let Some(vm) = lock(&self.vm).take() {
            // A VM that has ended needs no stopping.
            drop(vm.send(Event::PowerCut));
        }
    }
}

fn serve(disk: Disk, dir: &Path, shared: &Arc<Shared>) -> Result<Served> {
    let socket = dir.join(disk.serial);
    let listener = UnixListener::bind(&socket)
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
    let image = Arc::new(Mutex::new(Image::new(disk.bytes)));
    let (ours, shared) = (Arc::clone(&image), Arc::clone(shared));
    // Ends with this process. One boot comes after the other, so one connection does.
    thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            // The end of a connection is QEMU's end, which whoever runs it sees.
            drop(nbd::serve(connection, disk.serial, &ours, &shared));
        }
    });
    Ok(Served { disk, socket, image })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
