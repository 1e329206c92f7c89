//! merge-ctl, held at its n-th step: the test traces it as a debugger would (ptrace) and counts the
//! system calls that change a device or make a file durable. So it can be killed, or its machine's
//! power cut, between any two of them, and nothing in the product knows.

use std::ffi::c_void;
use std::fmt;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// `_IOC_TYPE` of device-mapper's ioctls (`include/uapi/linux/dm-ioctl.h`).
const DM_IOCTL: u64 = 0xfd;
/// Where `struct dm_ioctl` has its flags.
const FLAGS_AT: u64 = 28;
const DM_SUSPEND_FLAG: i64 = 1 << 1;

/// A system call that changes something that a crash would leave behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Step {
    /// A device was made.
    Create,
    /// A device was removed.
    Remove,
    /// A table was loaded.
    Load,
    /// The inactive table was cleared.
    Clear,
    /// A device was suspended.
    Suspend,
    /// A device was resumed.
    Resume,
    /// A file or directory was made durable.
    Sync,
    /// A file took another's place, or a device got another name.
    Rename,
    /// A file went.
    Unlink,
    /// A child ended, and was noticed.
    Child,
}

impl Step {
    /// Of a system call of this number with these arguments; none for those that only look.
    fn of(call: u64, second: u64, flags: impl FnOnce() -> i64) -> Option<Self> {
        match call {
            16 if (second >> 8) & 0xff == DM_IOCTL => match second & 0xff {
                3 => Some(Self::Create),
                4 => Some(Self::Remove),
                5 => Some(Self::Rename),
                6 if flags() & DM_SUSPEND_FLAG != 0 => Some(Self::Suspend),
                6 => Some(Self::Resume),
                9 => Some(Self::Load),
                10 => Some(Self::Clear),
                _ => None,
            },
            74 | 75 => Some(Self::Sync),
            82 | 264 | 316 => Some(Self::Rename),
            87 | 263 => Some(Self::Unlink),
            61 | 247 => Some(Self::Child),
            _ => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// Where the traced process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Held right after this step.
    Held(Step),
    /// It has ended, with this exit status (128 + n for signal n).
    Ended(i32),
}

/// merge-ctl on a leash. Dropped, it is killed if it has not ended.
pub(crate) struct Stepper {
    child: Child,
    ended: bool,
    /// Between the entry of a system call and its exit: what it will have done.
    #[expect(clippy::option_option, reason = "between the two, or a call that is no step")]
    entered: Option<Option<Step>>,
    /// Whether [`Step::Child`] counts.
    children: bool,
}

impl Stepper {
    /// Starts a program, which goes nowhere before [`Self::next`].
    pub(crate) fn start(command: &[&str]) -> Self {
        // The shell waits until it is traced, and then becomes the program.
        let mut child = Command::new("sh")
            .args(["-c", "read -r _; exec \"$0\" \"$@\" </dev/null"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = pid_of(&child);
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(pid, options).unwrap();
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let stepper = Self { child, ended: false, entered: None, children: false };
        stepper.run_to_exec();
        stepper
    }

    /// The same, held also after each child that it has waited for.
    pub(crate) fn start_with_children(command: &[&str]) -> Self {
        let mut stepper = Self::start(command);
        stepper.children = true;
        stepper
    }

    /// Its process number.
    pub(crate) fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    fn run_to_exec(&self) {
        loop {
            match waitpid(self.pid(), None).unwrap() {
                WaitStatus::PtraceEvent(_, _, event) if event == libc::PTRACE_EVENT_EXEC => {
                    return;
                }
                WaitStatus::PtraceEvent(pid, ..) => ptrace::cont(pid, None).unwrap(),
                WaitStatus::Stopped(pid, signal) => ptrace::cont(pid, signal).unwrap(),
                other => panic!("the shell did not become the program: {other:?}"),
            }
        }
    }

    /// Lets it run to its next step.
    pub(crate) fn next(&mut self) -> Progress {
        let mut signal: Option<Signal> = None;
        loop {
            // It may have been killed meanwhile, which the wait tells.
            let _ = ptrace::syscall(self.pid(), signal.take());
            match waitpid(self.pid(), None).unwrap() {
                WaitStatus::PtraceSyscall(pid) => {
                    if let Some(step) = self.at_system_call(pid) {
                        return Progress::Held(step);
                    }
                }
                WaitStatus::Stopped(_, delivered) => signal = Some(delivered),
                WaitStatus::Exited(_, code) => return self.end(code),
                WaitStatus::Signaled(_, signal, _) => return self.end(128 + signal as i32),
                _ => {}
            }
        }
    }

    fn end(&mut self, code: i32) -> Progress {
        self.ended = true;
        Progress::Ended(code)
    }

    /// At the entry it is noted what is about to be done; at the exit it has been.
    fn at_system_call(&mut self, pid: Pid) -> Option<Step> {
        if let Some(step) = self.entered.take() {
            return step;
        }
        let registers = ptrace::getregs(pid).ok()?;
        let flags = || {
            let at = (registers.rdx + FLAGS_AT) as *mut c_void;
            ptrace::read(pid, at).unwrap_or(0)
        };
        let step = Step::of(registers.orig_rax, registers.rsi, flags);
        self.entered = Some(step.filter(|step| self.children || *step != Step::Child));
        None
    }

    /// Kills it where it is held, at once.
    pub(crate) fn kill(&mut self) {
        if !self.ended {
            let _ = nix::sys::signal::kill(self.pid(), Signal::SIGKILL);
            let _ = waitpid(self.pid(), None);
            self.ended = true;
        }
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32)
}
