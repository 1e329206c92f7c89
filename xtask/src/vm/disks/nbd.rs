//! Just enough of the NBD protocol for QEMU as the client: read, write, flush, one request after
//! the other. The protocol: `doc/proto.md` of the nbd project.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::image::Image;
use super::{Asked, Shared, lock};

const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// Fixed newstyle; no padding of zeros.
const HANDSHAKE_FLAGS: u16 = 0b11;
const OPTION_ABORT: u32 = 2;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 0x8000_0001;
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;
/// It has flags; it can be told to flush, so it has a cache. No FUA: the guest flushes instead.
const EXPORT_FLAGS: u16 = 0b101;
const LARGEST_REQUEST: u32 = 32 << 20;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;

const INVALID: u32 = 22;

/// Serves one connection to its end, or to the power's.
pub(super) fn serve(
    mut connection: UnixStream,
    serial: &'static str,
    image: &Mutex<Image>,
    shared: &Shared,
) -> io::Result<()> {
    let bytes = lock(image).bytes() as u64;
    if !negotiate(&mut connection, bytes)? {
        return Ok(());
    }
    let returns = shared.power().returns;
    while let Some(request) = Request::read(&mut connection)? {
        if request.kind == DISCONNECT {
            break;
        }
        if !answer(&mut connection, request, (serial, image), (shared, returns))? {
            // Silence until QEMU is dead: were the connection closed, the guest would see errors,
            // and a disk without power reports none.
            io::copy(&mut connection, &mut io::sink())?;
        }
    }
    Ok(())
}

/// Says what the disk is; whether the client wants it.
fn negotiate(connection: &mut UnixStream, bytes: u64) -> io::Result<bool> {
    let mut hello = [MAGIC.to_be_bytes(), OPTION_MAGIC.to_be_bytes()].concat();
    hello.extend(HANDSHAKE_FLAGS.to_be_bytes());
    connection.write_all(&hello)?;
    let _client_flags: [u8; 4] = take(connection)?;
    loop {
        let magic = u64::from_be_bytes(take(connection)?);
        let option = u32::from_be_bytes(take(connection)?);
        let length = u32::from_be_bytes(take(connection)?);
        if magic != OPTION_MAGIC || length > 4096 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut data = vec![0; length as usize];
        connection.read_exact(&mut data)?;
        match option {
            OPTION_GO => {
                let mut export = INFO_EXPORT.to_be_bytes().to_vec();
                export.extend(bytes.to_be_bytes());
                export.extend(EXPORT_FLAGS.to_be_bytes());
                reply_to_option(connection, option, REPLY_INFO, &export)?;
                let mut sizes = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
                sizes.extend([512_u32, 4096, LARGEST_REQUEST].map(u32::to_be_bytes).as_flattened());
                reply_to_option(connection, option, REPLY_INFO, &sizes)?;
                reply_to_option(connection, option, REPLY_ACK, &[])?;
                return Ok(true);
            }
            OPTION_ABORT => {
                reply_to_option(connection, option, REPLY_ACK, &[])?;
                return Ok(false);
            }
            other => reply_to_option(connection, other, REPLY_UNSUPPORTED, &[])?,
        }
    }
}

fn reply_to_option(to: &mut UnixStream, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let mut reply = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    reply.extend([option, kind, data.len() as u32].map(u32::to_be_bytes).as_flattened());
    reply.extend(data);
    to.write_all(&reply)
}

struct Request {
    kind: u16,
    handle: [u8; 8],
    at: usize,
    length: usize,
    /// What is to be written.
    data: Vec<u8>,
}

impl Request {
    /// The next one; none where the client is gone.
    fn read(from: &mut UnixStream) -> io::Result<Option<Self>> {
        let Ok(magic) = take(from) else { return Ok(None) };
        let _flags: [u8; 2] = take(from)?;
        let kind = u16::from_be_bytes(take(from)?);
        let handle = take(from)?;
        let at = u64::from_be_bytes(take(from)?);
        let length = u32::from_be_bytes(take(from)?);
        if u32::from_be_bytes(magic) != REQUEST_MAGIC || length > LARGEST_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let length = length as usize;
        let mut data = vec![0; if kind == WRITE { length } else { 0 }];
        from.read_exact(&mut data)?;
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Some(Self { kind, handle, at, length, data }))
    }
}

/// Does what is asked and says so; whether the power is still on.
fn answer(
    to: &mut UnixStream,
    request: Request,
    (serial, image): (&'static str, &Mutex<Image>),
    (shared, returns): (&Shared, u64),
) -> io::Result<bool> {
    thread::sleep(Duration::from_nanos(shared.latency_ns.load(Ordering::Relaxed)));
    let power = shared.power();
    if !power.on || power.returns != returns {
        return Ok(false);
    }
    let Request { kind, handle, at, length, data } = request;
    // The power may go when the request has been done, or has not, and was not answered.
    let last = shared.is_last(serial, asked(kind));
    if last && kind == FLUSH {
        drop(power);
        shared.cut();
        return Ok(false);
    }
    let read = match kind {
        FLUSH if shared.lie => Some(Vec::new()),
        kind => carry_out(&mut lock(image), kind, at, length, data),
    };
    if last {
        drop(power);
        shared.cut();
        return Ok(false);
    }
    let mut reply = REPLY_MAGIC.to_be_bytes().to_vec();
    reply.extend(if read.is_some() { 0 } else { INVALID }.to_be_bytes());
    reply.extend(handle);
    reply.extend(read.unwrap_or_default());
    to.write_all(&reply)?;
    Ok(true)
}

fn asked(kind: u16) -> Option<Asked> {
    match kind {
        READ => Some(Asked::Read),
        WRITE => Some(Asked::Write),
        FLUSH => Some(Asked::Flush),
        _ => None,
    }
}

/// What was read, if it was a read; none where the request is no good.
fn carry_out(
    image: &mut Image,
    kind: u16,
    at: usize,
    length: usize,
    data: Vec<u8>,
) -> Option<Vec<u8>> {
    match kind {
        READ => image.read(at..at.checked_add(length)?).map(<[u8]>::to_vec),
        WRITE => image.write(at, data).then(Vec::new),
        FLUSH => {
            image.flush();
            Some(Vec::new())
        }
        _ => None,
    }
}

fn take<const LENGTH: usize>(from: &mut UnixStream) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}
