//! A queue that carries requests out on the devices, one when it is waited for, in no order; and does
//! some of them badly.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::offline::budget::Slots;
use crate::offline::meter::Meter;
use crate::offline::queue::{Ended, Queue, Request, Side, Way};
use crate::offline::{Act, Devices, OfflineError};
use crate::store::aligned::AlignedBuffer;

const SECTOR: usize = 512;

/// What goes wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Fault {
    /// For everything that happens by chance.
    pub(super) seed: u64,
    /// Transfers end early.
    pub(super) short: bool,
    /// A sector that cannot be read (of the COW device), or written (of the origin).
    pub(super) bad_sector: Option<(Act, u64)>,
    /// It is a sector of the COW device in any case.
    pub(super) on_cow: bool,
    /// A sector of the origin that keeps something else than was written.
    pub(super) lying_sector: Option<u64>,
    /// When so many requests have ended, a stop is asked for.
    pub(super) stop_after: Option<(usize, Arc<Meter>)>,
    pub(super) seen: Arc<Seen>,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    ended: AtomicUsize,
    begun_after_stop: AtomicUsize,
    failed: OnceLock<()>,
    writes_after_error: AtomicUsize,
}

impl Fault {
    pub(super) fn begun_after_stop(&self) -> usize {
        self.seen.begun_after_stop.load(Ordering::Relaxed)
    }

    pub(super) fn writes_after_error(&self) -> usize {
        self.seen.writes_after_error.load(Ordering::Relaxed)
    }

    fn is_bad(&self, request: Request) -> bool {
        let Some((act, sector)) = self.bad_sector else { return false };
        let is_its_side = (request.side == Side::Cow) == (act == Act::Read || self.on_cow);
        let is_its_way = (request.way == Way::Read) == (act == Act::Read);
        let at = sector * SECTOR as u64;
        let range = request.at_bytes..request.at_bytes + request.length as u64;
        is_its_side && is_its_way && range.contains(&at)
    }
}

pub(super) struct Faulty {
    origin: Arc<File>,
    cow: Arc<File>,
    buffers: Vec<AlignedBuffer>,
    under_way: Vec<(usize, Request)>,
    fault: Fault,
    chance: u64,
}

impl Faulty {
    #[expect(clippy::unnecessary_wraps, reason = "made as the other queues are, which may fail")]
    pub(super) fn boxed(
        devices: &Devices,
        slots: Slots,
        fault: Fault,
    ) -> Result<Box<dyn Queue>, OfflineError> {
        Ok(Box::new(Self {
            origin: devices.origin.file(),
            cow: devices.cow.file(),
            buffers: (0..slots.count).map(|_| AlignedBuffer::new(slots.bytes)).collect(),
            under_way: Vec::new(),
            chance: fault.seed | 1,
            fault,
        }))
    }

    fn any(&mut self, below: usize) -> usize {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance % below as u64) as usize
    }

    fn carry_out(&mut self, request: Request) -> io::Result<usize> {
        if self.fault.is_bad(request) {
            self.fault.seen.failed.get_or_init(|| ());
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let sectors = request.length / SECTOR;
        let length = if self.fault.short && sectors > 1 {
            (1 + self.any(sectors)) * SECTOR
        } else {
            request.length
        };
        let file = if request.side == Side::Origin { &self.origin } else { &self.cow };
        let bytes = &mut self.buffers[request.slot].as_mut_slice()[request.from..][..length];
        match request.way {
            Way::Read => file.read_at(bytes, request.at_bytes),
            Way::Write => {
                let mut bytes = AlignedBuffer::from(&*bytes);
                let at = request.at_bytes;
                if let Some(lie) = self.fault.lying_sector.map(|sector| sector * SECTOR as u64)
                    && request.side == Side::Origin
                    && (at..at + length as u64).contains(&lie)
                {
                    bytes.as_mut_slice()[(lie - at) as usize + 100] ^= 4;
                }
                file.write_at(bytes.as_slice(), at)
            }
        }
    }
}

impl From<&[u8]> for AlignedBuffer {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Self::new(bytes.len());
        buffer.as_mut_slice().copy_from_slice(bytes);
        buffer
    }
}

impl Queue for Faulty {
    fn begin(&mut self, token: usize, request: Request) -> io::Result<()> {
        assert!(self.under_way.iter().all(|(other, _)| *other != token));
        let seen = &self.fault.seen;
        if self.fault.stop_after.as_ref().is_some_and(|(_, meter)| meter.is_stopped()) {
            seen.begun_after_stop.fetch_add(1, Ordering::Relaxed);
        }
        if seen.failed.get().is_some() && request.way == Way::Write {
            seen.writes_after_error.fetch_add(1, Ordering::Relaxed);
        }
        self.under_way.push((token, request));
        Ok(())
    }

    fn wait(&mut self) -> io::Result<Ended> {
        assert!(!self.under_way.is_empty(), "nothing to wait for");
        let index = self.any(self.under_way.len());
        let (token, request) = self.under_way.swap_remove(index);
        let answer = self.carry_out(request);
        let ended = self.fault.seen.ended.fetch_add(1, Ordering::Relaxed);
        if let Some((after, meter)) = &self.fault.stop_after
            && ended >= *after
        {
            meter.stop();
        }
        Ok(Ended { token, answer })
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        assert!(self.under_way.iter().all(|(_, request)| request.slot != slot));
        self.buffers[slot].as_mut_slice()
    }
}
