//! The device-mapper ioctl as the kernel takes it: one header, then data. The unsafe room of `dm`.
//!
//! What always holds: a [`Buffer`] is as long as its header's `data_size` says whenever the kernel
//! sees it, so that the kernel can never write past it. Everything else here is plain byte work;
//! what the bytes mean is decided in [`super::control`].
//!
//! The layout is the stable ABI of `include/uapi/linux/dm-ioctl.h`, `struct dm_ioctl`.
#![expect(unsafe_code, reason = "an ioctl hands the kernel a pointer")]

use std::ffi::c_void;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, opcode};

use crate::harmless;

/// Bytes of the header (`sizeof(struct dm_ioctl)`), and so where data begins.
pub(super) const HEADER_BYTES: usize = 312;
/// Bytes of a device name, its closing NUL included (`DM_NAME_LEN`).
pub(super) const NAME_BYTES: usize = 128;
/// Bytes of a UUID, its closing NUL included (`DM_UUID_LEN`).
pub(super) const UUID_BYTES: usize = 129;

const DATA_SIZE_AT: usize = 12;
const DATA_START_AT: usize = 16;
const TARGET_COUNT_AT: usize = 20;
const OPEN_COUNT_AT: usize = 24;
const FLAGS_AT: usize = 28;
const EVENT_NR_AT: usize = 32;
const DEV_AT: usize = 40;
const NAME_AT: usize = 48;
const UUID_AT: usize = NAME_AT + NAME_BYTES;

const _: () = assert!(UUID_AT + UUID_BYTES + 7 == HEADER_BYTES);

/// Flags of the header (`DM_*_FLAG`).
pub(super) mod flag {
    pub(crate) const READ_ONLY: u32 = 1 << 0;
    pub(crate) const SUSPEND: u32 = 1 << 1;
    pub(crate) const STATUS_TABLE: u32 = 1 << 4;
    pub(crate) const ACTIVE_PRESENT: u32 = 1 << 5;
    pub(crate) const INACTIVE_PRESENT: u32 = 1 << 6;
    pub(crate) const BUFFER_FULL: u32 = 1 << 8;
    pub(crate) const SKIP_LOCKFS: u32 = 1 << 10;
    pub(crate) const NO_FLUSH: u32 = 1 << 11;
    pub(crate) const QUERY_INACTIVE_TABLE: u32 = 1 << 12;
    pub(crate) const UEVENT_GENERATED: u32 = 1 << 13;
    pub(crate) const DEFERRED_REMOVE: u32 = 1 << 17;
    pub(crate) const INTERNAL_SUSPEND: u32 = 1 << 18;
}

/// The commands that are used here, by their numbers (`DM_*_CMD`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Version = 0,
    ListDevices = 2,
    DevCreate = 3,
    DevRemove = 4,
    DevRename = 5,
    DevSuspend = 6,
    DevStatus = 7,
    TableLoad = 9,
    TableClear = 10,
    TableStatus = 12,
    ListVersions = 13,
    DevArmPoll = 16,
}

/// The header's fields, apart from sizes, which the [`Buffer`] keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: [u32; 3],
    pub(super) target_count: u32,
    pub(super) open_count: i32,
    pub(super) flags: u32,
    pub(super) event_nr: u32,
    /// In the encoding of `huge_encode_dev`, which is that of `stat(2)`.
    pub(super) dev: u64,
    pub(super) name: String,
    pub(super) uuid: String,
}

/// A header and the room behind it.
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    /// The header and the data that goes with it, in a buffer of at least `total_bytes`.
    ///
    /// # Errors
    /// `NAMETOOLONG` where name or UUID do not fit with their closing NUL.
    pub(super) fn new(header: &Header, data: &[u8], total_bytes: usize) -> Result<Self, Errno> {
        let (name, uuid) = (harmless::to_bytes(&header.name), harmless::to_bytes(&header.uuid));
        if name.len() >= NAME_BYTES || uuid.len() >= UUID_BYTES {
            return Err(Errno::NAMETOOLONG);
        }
        let mut bytes = vec![0; total_bytes.max(HEADER_BYTES + data.len())];
        for (place, number) in header.version.iter().enumerate() {
            put(&mut bytes, place * 4, &number.to_ne_bytes());
        }
        put(&mut bytes, DATA_START_AT, &(HEADER_BYTES as u32).to_ne_bytes());
        put(&mut bytes, TARGET_COUNT_AT, &header.target_count.to_ne_bytes());
        put(&mut bytes, FLAGS_AT, &header.flags.to_ne_bytes());
        put(&mut bytes, EVENT_NR_AT, &header.event_nr.to_ne_bytes());
        put(&mut bytes, DEV_AT, &header.dev.to_ne_bytes());
        put(&mut bytes, NAME_AT, &name);
        put(&mut bytes, UUID_AT, &uuid);
        put(&mut bytes, HEADER_BYTES, data);
        Ok(Self(bytes))
    }

    /// Hands the buffer to the kernel, which answers in it.
    pub(super) fn call(&mut self, control: impl AsFd, command: Command) -> Result<(), Errno> {
        let length = u32::try_from(self.0.len()).map_err(|_| Errno::OVERFLOW)?;
        put(&mut self.0, DATA_SIZE_AT, &length.to_ne_bytes());
        let call = Call { command, bytes: &mut self.0 };
        // SAFETY: every device-mapper command takes a `struct dm_ioctl` and reads and writes only
        // the `data_size` bytes from its start (`copy_params` and `ctl_ioctl` in
        // drivers/md/dm-ioctl.c); that is the length of this buffer, which outlives the call.
        unsafe { rustix::ioctl::ioctl(control, call) }
    }

    /// The header as it stands.
    pub(super) fn header(&self) -> Header {
        let bytes = &self.0;
        Header {
            version: [0, 4, 8].map(|at| u32_at(bytes, at).unwrap_or_default()),
            target_count: u32_at(bytes, TARGET_COUNT_AT).unwrap_or_default(),
            open_count: u32_at(bytes, OPEN_COUNT_AT).unwrap_or_default().cast_signed(),
            flags: u32_at(bytes, FLAGS_AT).unwrap_or_default(),
            event_nr: u32_at(bytes, EVENT_NR_AT).unwrap_or_default(),
            dev: u64_at(bytes, DEV_AT).unwrap_or_default(),
            name: text_at(&bytes[..NAME_AT + NAME_BYTES], NAME_AT),
            uuid: text_at(&bytes[..UUID_AT + UUID_BYTES], UUID_AT),
        }
    }

    /// The data behind the header, as far as the kernel says that it wrote.
    pub(super) fn data(&self) -> &[u8] {
        let at = |at| u32_at(&self.0, at).unwrap_or_default() as usize;
        self.0.get(at(DATA_START_AT)..at(DATA_SIZE_AT).min(self.0.len())).unwrap_or_default()
    }
}

/// One call of the control device's ioctl.
struct Call<'a> {
    command: Command,
    bytes: &'a mut [u8],
}

// SAFETY: the opcode is the one that the kernel defines for the command (`_IOWR` with the type
// 0xfd and the header's size), the pointer is that of the buffer, and the kernel writes through it.
unsafe impl Ioctl for Call<'_> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::read_write::<[u8; HEADER_BYTES]>(0xfd, self.command as u8)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.bytes.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The number of 32 bits at a place, or nothing where it does not lie inside.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|raw| u32::from_ne_bytes(*raw))
}

/// The number of 64 bits at a place, or nothing where it does not lie inside.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|raw| u64::from_ne_bytes(*raw))
}

/// The text at a place, up to its NUL or the end of the bytes. Names may be any bytes.
pub(super) fn text_at(bytes: &[u8], at: usize) -> String {
    let text = bytes.get(at..).unwrap_or_default();
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    harmless::from_bytes(&text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_as_it_went_in() {
        let header = Header {
            version: [4, 0, 0],
            target_count: 2,
            flags: flag::SUSPEND,
            event_nr: 7,
            dev: 0xfd03,
            name: "vg-data".into(),
            uuid: "LVM-x".into(),
            open_count: 0,
        };
        let buffer = Buffer::new(&header, b"abc", 0).unwrap();
        assert_eq!(buffer.header(), header);
        assert_eq!(buffer.0.len(), HEADER_BYTES + 3);
    }

    #[test]
    fn a_name_must_leave_room_for_its_nul() {
        let with = |length: usize| {
            Buffer::new(&Header { name: "x".repeat(length), ..Header::default() }, &[], 0).err()
        };
        assert_eq!((with(127), with(128)), (None, Some(Errno::NAMETOOLONG)));
    }

    #[test]
    fn the_opcodes_are_those_of_the_kernel() {
        // DM_VERSION and DM_DEV_ARM_POLL as dmsetup's system calls show them.
        let opcode = |command| Call { command, bytes: &mut [] }.opcode();
        assert_eq!(opcode(Command::Version), 0xc138_fd00);
        assert_eq!(opcode(Command::DevArmPoll), 0xc138_fd10);
    }
}
