//! QEMU: its command line, its ports, its end.
//!
//! It dies with us: by [`Qemu::kill`], by a drop, and through the kernel if we are killed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::packages;

const PROGRAM: &str = "qemu-system-x86_64";

/// `panic=-1`: a kernel that panics reboots at once, which `-no-reboot` makes QEMU's end.
/// `no_timer_check`: on a busy host an emulated timer is late, which is no reason to panic at boot.
const KERNEL_OPTIONS: &str = "console=ttyS0 panic=-1 oops=panic quiet loglevel=5 no_timer_check";

/// How many lines of the console tell what went wrong.
const LAST_WORDS: usize = 30;

/// What QEMU is to boot.
pub(super) struct Machine<'a> {
    pub(super) image: &'a Path,
    pub(super) initrd: &'a Path,
    pub(super) disks_bytes: &'a [u64],
    /// Serial numbers, and the sockets of the NBD servers behind them.
    pub(super) lasting: Vec<(&'a str, &'a Path)>,
    pub(super) memory_mib: u32,
}

/// The sockets behind the guest's ports.
pub(super) struct Ports {
    pub(super) terminal: UnixStream,
    pub(super) control: UnixStream,
    pub(super) out: UnixStream,
    pub(super) err: UnixStream,
}

/// A running QEMU.
pub(super) struct Qemu {
    child: Child,
    dir: PathBuf,
    /// To be taken once.
    pub(super) ports: Option<Ports>,
}

impl Qemu {
    /// Starts it, with all its files in `dir`.
    pub(super) fn start(dir: &Path, machine: &Machine<'_>) -> Result<Self> {
        let listen = |name: &str| {
            let path = dir.join(name);
            UnixListener::bind(&path)
                .with_context(|| format!("cannot listen on {}", path.display()))
        };
        let listeners = [listen("terminal")?, listen("control")?, listen("out")?, listen("err")?];
        let child = command(dir, machine)?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("qemu.log"))?)
            .spawn()
            .with_context(|| format!("cannot run {PROGRAM}"))?;
        let mut qemu = Self { child, dir: dir.to_owned(), ports: None };
        let [terminal, control, out, err] = &listeners;
        qemu.ports = Some(Ports {
            terminal: qemu.accept(terminal)?,
            control: qemu.accept(control)?,
            out: qemu.accept(out)?,
            err: qemu.accept(err)?,
        });
        Ok(qemu)
    }

    /// Ends it at once. Its disks go with it, so there is nothing to save.
    pub(super) fn kill(&mut self) {
        // It may have ended by itself, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// The end of the console, and what QEMU itself complained about.
    pub(super) fn last_words(&self) -> String {
        let read = |name: &str| fs::read(self.dir.join(name)).unwrap_or_default();
        let console = read("console");
        let console = String::from_utf8_lossy(&console);
        let lines: Vec<_> = console.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n");
        let complaints = read("qemu.log");
        format!("{tail}\n{}", String::from_utf8_lossy(&complaints)).trim().to_owned()
    }

    /// Waits for QEMU to connect; it may also end, when it does not like its options.
    fn accept(&mut self, listener: &UnixListener) -> Result<UnixStream> {
        listener.set_nonblocking(true)?;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(stream);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("QEMU's port cannot be opened"),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{PROGRAM} did not start: {status}\n{}", self.last_words());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A QEMU that boots this, with its console in a file of that name in `dir`, and no disk yet.
pub(crate) fn bare(
    dir: &Path,
    (image, initrd): (&Path, &Path),
    memory_mib: u32,
    kernel_options: &str,
) -> Result<Command> {
    let qemu = packages::find(PROGRAM).with_context(|| format!("{PROGRAM} is missing"))?;
    // Should we be killed without a chance to act, the kernel kills QEMU.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(qemu).current_dir(dir);
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    command.args(["-monitor", "none", "-accel", acceleration(), "-cpu", "max", "-smp", "2"]);
    command.arg("-m").arg(memory_mib.to_string());
    command.arg("-kernel").arg(image).arg("-initrd").arg(initrd);
    command.args(["-append", kernel_options, "-serial", "file:console"]);
    Ok(command)
}

/// Adds a disk that is behind this socket.
pub(crate) fn add_lasting(command: &mut Command, serial: &str, socket: &Path) {
    let mut drive = OsString::from(format!("if=none,id={serial},format=raw,cache=writeback,"));
    drive.push("file.driver=nbd,file.server.type=unix,file.server.path=");
    drive.push(socket);
    command.arg("-drive").arg(drive);
    // The write cache is said to be volatile, so the guest flushes.
    let device = format!("virtio-blk-pci,drive={serial},serial={serial},write-cache=on");
    command.arg("-device").arg(device);
}

fn command(dir: &Path, machine: &Machine<'_>) -> Result<Command> {
    let booted = (machine.image, machine.initrd);
    let mut command = bare(dir, booted, machine.memory_mib, KERNEL_OPTIONS)?;
    command.args(["-device", "virtio-serial-pci,max_ports=8"]);
    for (number, name) in ["terminal", "control", "out", "err"].into_iter().enumerate() {
        let kind = if number == 0 { "virtconsole" } else { "virtserialport" };
        command.arg("-chardev").arg(format!("socket,id={name},path={name}"));
        command.arg("-device").arg(format!("{kind},chardev={name},nr={number},name={name}"));
    }
    for (number, bytes) in machine.disks_bytes.iter().enumerate() {
        let image = File::create(dir.join(format!("disk{number}")))?;
        image.set_len(*bytes).with_context(|| format!("cannot make a disk of {bytes} bytes"))?;
        command
            .arg("-drive")
            .arg(format!("if=none,id=disk{number},file=disk{number},format=raw,discard=unmap"));
        command
            .arg("-device")
            .arg(format!("virtio-blk-pci,drive=disk{number},serial=disk{number}"));
    }
    for (serial, socket) in &machine.lasting {
        add_lasting(&mut command, serial, socket);
    }
    Ok(command)
}

/// KVM where it works, else emulation, with both processors in one thread: with a thread each, a
/// processor now and then still runs code that the other has just patched, and attaching probes
/// patches the kernel. The guest then hangs, or dies of a breakpoint that is there no more.
fn acceleration() -> &'static str {
    if kvm_works() { "kvm" } else { "tcg,thread=single" }
}

fn kvm_works() -> bool {
    if File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return false;
    }
    // A KVM that can be opened may still refuse to set up a processor (nested virtualisation).
    // Asked in the one way that counts: make a machine that stops before its first instruction,
    // and tell it to quit.
    let probe = Command::new("timeout")
        .args(["30", PROGRAM, "-accel", "kvm", "-cpu", "max", "-m", "16", "-S"])
        .args(["-nodefaults", "-display", "none", "-monitor", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut probe) = probe else { return false };
    // One that has died already cannot be told.
    let _told = probe.stdin.take().map(|mut monitor| monitor.write_all(b"quit\n"));
    probe.wait().is_ok_and(|status| status.success())
}
