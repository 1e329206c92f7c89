//! The only file that reads kernel memory.
//!
//! Where a field lies differs between kernels. User space reads the running kernel's BTF and sets
//! the offsets below before it loads the programs; they are frozen in read-only memory, so that to
//! the verifier they are constants. An offset of 0 in [`SNAPSHOT_COW`] and [`SNAPSHOT_ORIGIN`]
//! means that the kernel does not tell.
#![expect(unsafe_code, reason = "the only file that reads kernel memory")]

use core::ptr::read_volatile;

use aya_ebpf::Global;
use aya_ebpf::helpers::bpf_probe_read_kernel;

/// The address of `merge_callback` (`drivers/md/dm-snap.c`).
#[unsafe(no_mangle)]
static MERGE_CALLBACK: Global<u64> = Global::new(0);
/// `dm_exception_store.snap`.
#[unsafe(no_mangle)]
static STORE_SNAP: Global<u64> = Global::new(8);
/// `dm_snapshot.cow`, or 0.
#[unsafe(no_mangle)]
static SNAPSHOT_COW: Global<u64> = Global::new(0);
/// `dm_snapshot.origin`, or 0.
#[unsafe(no_mangle)]
static SNAPSHOT_ORIGIN: Global<u64> = Global::new(0);
/// `dm_dev.bdev`.
#[unsafe(no_mangle)]
static DM_DEV_BDEV: Global<u64> = Global::new(0);
/// `dm_io_region.bdev`.
#[unsafe(no_mangle)]
static REGION_BDEV: Global<u64> = Global::new(0);
/// `block_device.bd_dev`.
#[unsafe(no_mangle)]
static BDEV_DEV: Global<u64> = Global::new(0);
/// `bio.bi_bdev`, or `bio.bi_disk` where [`BIO_HAS_DISK`].
#[unsafe(no_mangle)]
static BIO_DEVICE: Global<u64> = Global::new(0);
/// Not 0 where a bio points to its disk and names the partition (Linux below 5.12).
#[unsafe(no_mangle)]
static BIO_HAS_DISK: Global<u64> = Global::new(0);
/// `bio.bi_partno`, where [`BIO_HAS_DISK`].
#[unsafe(no_mangle)]
static BIO_PARTNO: Global<u64> = Global::new(0);
/// `gendisk.major`.
#[unsafe(no_mangle)]
static DISK_MAJOR: Global<u64> = Global::new(0);
/// `gendisk.first_minor`.
#[unsafe(no_mangle)]
static DISK_FIRST_MINOR: Global<u64> = Global::new(0);
/// `bio.bi_opf`.
#[unsafe(no_mangle)]
static BIO_OPF: Global<u64> = Global::new(0);
/// `bio.bi_iter.bi_sector`.
#[unsafe(no_mangle)]
static BIO_SECTOR: Global<u64> = Global::new(0);
/// `bio.bi_iter.bi_size`.
#[unsafe(no_mangle)]
static BIO_SIZE: Global<u64> = Global::new(0);

/// The kernel's `MINORBITS`.
const MINOR_BITS: u32 = 20;

/// A bio, as a block tracepoint hands it out: the verifier knows its type and checks each read.
#[derive(Clone, Copy)]
pub(crate) struct Bio(*const u8);

impl Bio {
    pub(crate) const fn new(bio: *const u8) -> Self {
        Self(bio)
    }

    /// The device that it was submitted to.
    #[inline(always)]
    pub(crate) fn dev(self) -> u32 {
        let device: *const u8 = typed(self.0, &BIO_DEVICE);
        if BIO_HAS_DISK.load() == 0 {
            return typed(device, &BDEV_DEV);
        }
        let major: u32 = typed(device, &DISK_MAJOR);
        let first_minor: u32 = typed(device, &DISK_FIRST_MINOR);
        let partition: u8 = typed(self.0, &BIO_PARTNO);
        major << MINOR_BITS | (first_minor + u32::from(partition))
    }

    /// Its operation and flags.
    #[inline(always)]
    pub(crate) fn opf(self) -> u32 {
        typed(self.0, &BIO_OPF)
    }

    /// Its first sector, as long as it is not under way.
    #[inline(always)]
    pub(crate) fn sector(self) -> u64 {
        typed(self.0, &BIO_SECTOR)
    }

    /// Its length, as long as it is not under way.
    #[inline(always)]
    pub(crate) fn bytes(self) -> u32 {
        typed(self.0, &BIO_SIZE)
    }

    /// Its address as a number. The verifier refuses arithmetic on the pointer itself, but knows
    /// nothing any more of what was stored in a map.
    ///
    /// `scratch` is memory of this CPU that no other program stores to: an interrupt may run one in
    /// between.
    #[inline(always)]
    pub(crate) fn address(self, scratch: *mut u64) -> u64 {
        // SAFETY: the caller's pointer is to a map value, valid while the program runs.
        unsafe {
            scratch.cast::<*const u8>().write_volatile(self.0);
            read_volatile(scratch)
        }
    }
}

/// Reads a field through a pointer whose type the verifier knows.
#[inline(always)]
fn typed<T: Copy>(base: *const u8, offset: &Global<u64>) -> T {
    // SAFETY: the verifier accepts the load only inside the kernel's own type, and the kernel gives
    // zeros for what cannot be read.
    unsafe { read_volatile(base.add(offset.load() as usize).cast()) }
}

/// Reads kernel memory at an address that is only a number.
#[inline(always)]
fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address itself and fails on a bad one.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// The snapshot of an exception store.
#[inline(always)]
pub(crate) fn snapshot_of(store: u64) -> Option<u64> {
    read(store + STORE_SNAP.load())
}

/// A chunk number that the kernel stored through an out parameter.
#[inline(always)]
pub(crate) fn chunk(address: u64) -> Option<u64> {
    read(address)
}

/// The COW device of a snapshot, 0 where it cannot be told.
#[inline(always)]
pub(crate) fn cow_dev(snapshot: u64) -> u32 {
    snapshot_dev(snapshot, SNAPSHOT_COW.load()).unwrap_or(0)
}

/// The device below the origin of a snapshot, 0 where it cannot be told.
#[inline(always)]
pub(crate) fn real_dev(snapshot: u64) -> u32 {
    snapshot_dev(snapshot, SNAPSHOT_ORIGIN.load()).unwrap_or(0)
}

#[inline(always)]
fn snapshot_dev(snapshot: u64, member: u64) -> Option<u32> {
    if member == 0 {
        return None;
    }
    let dm_dev: u64 = read(snapshot + member)?;
    let bdev: u64 = read(dm_dev + DM_DEV_BDEV.load())?;
    read(bdev + BDEV_DEV.load())
}

/// The device of a `dm_io_region`, 0 where it cannot be read.
#[inline(always)]
pub(crate) fn region_dev(region: u64) -> u32 {
    let bdev: Option<u64> = read(region + REGION_BDEV.load());
    bdev.and_then(|bdev| read(bdev + BDEV_DEV.load())).unwrap_or(0)
}

/// Whether a copy's completion function is that of a merge.
#[inline(always)]
pub(crate) fn is_merge_callback(function: u64) -> bool {
    function == MERGE_CALLBACK.load()
}
