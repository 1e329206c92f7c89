//! `cargo xtask vm`: one command as root in a disposable VM.
//!
//! ```text
//! command ─ stdout ─ port 2 ─┐                        ┌─► our stdout
//!         ─ stderr ─ port 3 ─┼─ unix sockets of QEMU ─┼─► our stderr      (streams.rs)
//! init    ─ control  port 1 ─┤                        ├─► exit status     (control.rs)
//! or      ─ terminal hvc0   ─┘                        └─► this terminal   (terminal.rs)
//! ```
//!
//! Always holds: the bytes of stdout and stderr arrive unchanged and complete before the exit
//! status counts; QEMU, the disks and all other files are gone when [`Vm::run`] returns, or when
//! this process dies.

mod command;
mod control;
pub(crate) mod disks;
pub(crate) mod qemu;
mod streams;
mod terminal;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::initramfs::{self, Contents};
use crate::kernels::{self, ByHand, Choice, Kernel};
use crate::workspace::Workspace;
use crate::{build, setup};
use control::Control;
use disks::Disks;
use qemu::{Machine, Qemu};
use terminal::{Size, Terminal};

/// The exit status when not the command but the VM, or something before it, failed.
pub(crate) const TROUBLE: u8 = 125;
/// The exit status when the command took longer than it was allowed to.
const TIMED_OUT: u8 = 124;
/// The exit status when the power was cut before the command ended.
pub(crate) const POWER_CUT: u8 = 123;
/// How long the streams may take to end once the command has.
const DRAIN: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// 5.10, 6.1, 6.12, sid or experimental
    #[arg(long, value_name = "NAME", default_value = kernels::DEFAULT_VM, conflicts_with = "kernel_image")]
    kernel: String,
    #[command(flatten)]
    by_hand: ByHand,
    /// Add an empty disk of this size (as in 512M, 2G): /dev/vda, then /dev/vdb, …
    #[arg(long = "disk", value_name = "SIZE", value_parser = parse_size)]
    disks: Vec<u64>,
    /// Memory of the VM
    #[arg(long, value_name = "MiB", default_value_t = 2048)]
    mem: u32,
    /// Put this file into the command's working directory, which is on its PATH
    #[arg(long = "copy", value_name = "FILE")]
    copies: Vec<PathBuf>,
    /// Stop the VM after so many seconds, with exit status 124
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// What to run: merge-ctl, dmsetup, lvm, fio, busybox, … are on its PATH
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// A VM to be: what it is made of, and whether its command talks to this terminal.
pub(crate) struct Vm {
    /// The kernel to boot.
    pub(crate) kernel: Kernel,
    /// Sizes of empty disks in bytes: /dev/vda, /dev/vdb, …
    pub(crate) disks_bytes: Vec<u64>,
    /// Disks that are there before and after, behind the empty ones, in an order of the VM's own.
    /// When their power is cut the VM ends.
    pub(crate) lasting: Option<Lasting>,
    /// Its memory.
    pub(crate) memory_mib: u32,
    /// Files for the command's working directory, /root, which is on its PATH.
    pub(crate) copies: Vec<PathBuf>,
    /// Give the command this terminal. Needs stdin and stdout to be one: see [`on_terminal`].
    pub(crate) interactive: bool,
    /// Stop it after this time.
    pub(crate) timeout: Option<Duration>,
}

/// Disks that outlive the VM.
pub(crate) struct Lasting {
    /// The disks.
    pub(crate) disks: Arc<Disks>,
    /// Which of them comes first; the others follow in turn. Names like vda mean nothing.
    pub(crate) first: usize,
}

/// What happens to a running VM.
pub(crate) enum Event {
    /// The command ended so.
    Status(u8),
    /// One of its streams is complete.
    StreamEnded,
    /// What it writes cannot be passed on: our reader is gone.
    OutputClosed,
    /// QEMU is gone.
    Gone,
    /// The power of its lasting disks was cut.
    PowerCut,
    /// We were told to stop, by this signal.
    Signal(i32),
    /// The terminal has a new size.
    Resized,
    /// The user asked at the keyboard to stop the VM.
    Escape,
}

/// Whether the user sits at a terminal that a command can be given.
pub(crate) fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Runs the task; returns the exit status of the command.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<u8> {
    let choice = match args.by_hand.choice() {
        Some(choice) => choice,
        None => Choice::Named(kernels::parse(&args.kernel)?),
    };
    if let Some(missing) = args.copies.iter().find(|file| !file.is_file()) {
        bail!("--copy {}: there is no such file", missing.display());
    }
    setup::tools(workspace)?;
    let kernel = kernels::ensure(workspace, &choice, false)?;
    let mut copies = vec![build::merge_ctl(workspace)?];
    copies.extend(args.copies.iter().cloned());
    let vm = Vm {
        kernel,
        disks_bytes: args.disks.clone(),
        lasting: None,
        memory_mib: args.mem,
        copies,
        interactive: on_terminal(),
        timeout: args.timeout.map(Duration::from_secs),
    };
    vm.run(workspace, &args.command)
}

impl Vm {
    /// A VM as `cargo xtask vm` makes it by default; merge-ctl is not in it unless copied.
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            disks_bytes: Vec::new(),
            lasting: None,
            memory_mib: 2048,
            copies: Vec::new(),
            interactive: false,
            timeout: None,
        }
    }

    /// Runs `command` with its output on ours; returns its exit status (128 + n for signal n),
    /// 123 if the power was cut, 124 after a timeout, 125 if the VM died.
    pub(crate) fn run(&self, workspace: &Workspace, command: &[OsString]) -> Result<u8> {
        self.run_into(workspace, command, &mut std::io::stdout(), &mut std::io::stderr())
    }

    /// As [`Self::run`], with its output where the caller wants it.
    pub(crate) fn run_into(
        &self,
        workspace: &Workspace,
        command: &[OsString],
        out: &mut (dyn Write + Send),
        err: &mut (dyn Write + Send),
    ) -> Result<u8> {
        let dir = tempfile::Builder::new().prefix("merge-vm-").tempdir()?;
        let end = end_mark(dir.path());
        let initrd = dir.path().join("initrd");
        let contents = Contents {
            copies: &self.copies,
            command: command::script(command, self.interactive),
            settings: self.settings(&end),
        };
        initramfs::write(workspace, &self.kernel, &contents, &initrd)?;
        // Signals are caught from before QEMU is there to be left behind.
        let (sender, events) = mpsc::channel();
        let signals = control::Signals::catch(sender.clone())?;
        if let Some(lasting) = &self.lasting {
            lasting.disks.power(sender.clone());
        }
        let machine = Machine {
            image: &self.kernel.image,
            initrd: &initrd,
            disks_bytes: &self.disks_bytes,
            lasting: self.lasting.as_ref().map(Lasting::sockets).unwrap_or_default(),
            memory_mib: self.memory_mib,
        };
        let mut qemu = Qemu::start(dir.path(), &machine)?;
        let result = self.follow(&mut qemu, &end, (sender, &events), (out, err));
        drop(signals);
        result
    }

    /// Moves bytes and waits for the end. QEMU is dead when this returns.
    fn follow(
        &self,
        qemu: &mut Qemu,
        end: &str,
        (sender, events): (mpsc::Sender<Event>, &Receiver<Event>),
        (out, err): (&mut (dyn Write + Send), &mut (dyn Write + Send)),
    ) -> Result<u8> {
        let ports = qemu.ports.take().context("a VM runs once")?;
        let control = Control::new(&ports.control)?;
        let terminal = match self.interactive {
            true => Some(Terminal::take(&ports.terminal, sender.clone())?),
            false => None,
        };
        let streams = if self.interactive { 1 } else { 2 };
        thread::scope(|scope| {
            let control_reader = (control.reader()?, sender.clone());
            scope.spawn(move || control::read(control_reader.0, &control_reader.1));
            let (port, to_out, to_err) = (&ports, sender.clone(), sender.clone());
            let mark = end.as_bytes();
            if self.interactive {
                scope.spawn(move || streams::copy(&port.terminal, out, mark, &to_out));
            } else {
                scope.spawn(move || streams::copy(&port.out, out, mark, &to_out));
                scope.spawn(move || streams::copy(&port.err, err, mark, &to_err));
            }
            let ending = self.wait(events, streams, &control);
            // Whatever happened, nothing outlives this; the readers see the sockets close.
            qemu.kill();
            if terminal.is_some() && !matches!(ending, Ending::Status(_)) {
                Terminal::reset_after_trouble();
            }
            Ok(ending)
        })
        .map(|ending: Ending| ending.explain(qemu))
    }

    fn wait(&self, events: &Receiver<Event>, mut streams: usize, control: &Control) -> Ending {
        let mut deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        let mut status = None;
        loop {
            if let (Some(status), 0) = (status, streams) {
                return Ending::Status(status);
            }
            let event = match deadline {
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => events.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match event {
                Ok(Event::Status(code)) => {
                    status = Some(code);
                    deadline = Some(Instant::now() + DRAIN);
                }
                Ok(Event::StreamEnded) => streams -= 1,
                Ok(Event::Resized) => control.send_size(Size::of_terminal()),
                Ok(Event::Signal(signal)) => return Ending::Signal(signal),
                Ok(Event::Escape) => return Ending::Escape,
                Ok(Event::PowerCut) => return Ending::PowerCut,
                Ok(Event::OutputClosed) => return Ending::OutputClosed,
                Err(RecvTimeoutError::Timeout) if status.is_none() => return Ending::TimedOut,
                Ok(Event::Gone) | Err(_) => return Ending::Died,
            }
        }
    }

    fn settings(&self, end: &str) -> String {
        let interactive = if self.interactive { "yes" } else { "no" };
        format!("interactive={interactive}\nend={end}\nsize='{}'\n", Size::of_terminal())
    }
}

impl Lasting {
    /// Serial numbers and sockets in this VM's order.
    fn sockets(&self) -> Vec<(&'static str, &Path)> {
        let mut sockets: Vec<_> = self.disks.sockets().collect();
        sockets.rotate_left(self.first);
        sockets
    }
}

/// How a VM's run ended.
enum Ending {
    Status(u8),
    Died,
    TimedOut,
    OutputClosed,
    PowerCut,
    Escape,
    Signal(i32),
}

impl Ending {
    /// The exit status, with a word on stderr where the command did not end by itself.
    fn explain(self, qemu: &Qemu) -> u8 {
        match self {
            Self::Status(status) => return status,
            Self::Signal(signal) => return u8::try_from(128 + signal).unwrap_or(TROUBLE),
            Self::OutputClosed => return 128 + 13,
            Self::PowerCut => return POWER_CUT,
            Self::Escape => eprintln!("\nxtask vm: stopped"),
            Self::TimedOut => {
                eprintln!("xtask vm: the command took too long; the VM was stopped");
                return TIMED_OUT;
            }
            Self::Died => {
                eprintln!("xtask vm: the VM died before the command ended. Its last words:");
                eprintln!("{}", qemu.last_words());
            }
        }
        TROUBLE
    }
}

/// A text that the command's own output does not hold: it differs with every run. No newline in
/// it, which a terminal would change.
fn end_mark(dir: &Path) -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let once = || RandomState::new().hash_one(dir);
    format!("[end-of-stream-{:016x}{:016x}]", once(), once())
}

/// `512M`, `2G`, `1048576`: bytes, in whole sectors.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].trim_end_matches("iB").trim_end_matches('B') {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        unit => return Err(format!("there is no unit {unit}; there are K, M and G")),
    };
    let number: u64 = digits.parse().map_err(|_| "a size is a number with K, M or G".to_owned())?;
    match number.checked_mul(unit) {
        Some(bytes) if bytes > 0 && bytes % 512 == 0 => Ok(bytes),
        _ => Err("a disk has a whole number of 512-byte sectors, one at least".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("512M"), Ok(512 << 20));
        assert_eq!(parse_size("2GiB"), Ok(2 << 30));
        assert_eq!(parse_size("1024"), Ok(1024));
        for wrong in ["", "M", "0", "511", "5T", "-1", "99999999999G"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
