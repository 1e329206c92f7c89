//! `--on-stall CMD` and `--on-done CMD`: the operator's own commands, run at a stall and at the end.
//!
//! What always holds: no shell is between the command line and the program, and what is told of the
//! merge goes into its environment alone. A hook changes nothing here: it runs beside the merge, in
//! a process group of its own, and whether it fails or hangs is told and no more. It is started only
//! between two samples, when no device is suspended by us, and while one runs for a merge the same
//! one is not started again for it.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::io::{self, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use merge_ctl::hooks::{Event, Told, facts};
use merge_ctl::human::{self, printable};
use merge_ctl::model::Model;
use merge_ctl::state_dir;
use merge_ctl::units::nanoseconds;
use rustix::fs::{Access, OFlags};

use super::terminal;
use crate::cli::HookOptions;
use crate::exit::Exit;

/// So many hooks run at once; who comes later waits for a place.
const AT_ONCE: usize = 8;
/// How long our own end is put off for hooks that still run.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether they have ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// So much of what a hook says is kept, where it cannot be shown at once.
const TAIL_BYTES: usize = 200;

/// A command line, taken apart and found on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HookCommand {
    program: PathBuf,
    arguments: Vec<String>,
    text: String,
}

impl HookCommand {
    /// Splits a command line into words as a POSIX shell quotes them, and finds its program. Nothing
    /// is expanded: no variables, no patterns, no pipes.
    ///
    /// # Errors
    /// In words, where a quote is not closed, or there is no such program that can be run.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let words = shell_words::split(text).map_err(|_| "a quote is not closed".to_owned())?;
        let mut words = words.into_iter();
        let name = words.next().filter(|name| !name.is_empty()).ok_or("it names no program")?;
        let program = find(&name)?;
        Ok(Self { program, arguments: words.collect(), text: text.to_owned() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Whoever presses Ctrl-C means us, and not what was started to tell of it.
        command.args(&self.arguments).stdin(Stdio::null()).process_group(0);
        command
    }
}

/// The program of a name: a path, or what the `PATH` leads to.
fn find(name: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        // Absolute, for we may change our directory before it is run.
        let path = std::path::absolute(name).map_err(|error| format!("{name:?}: {error}"))?;
        return match is_program(&path) {
            true => Ok(path),
            false => Err(format!("there is no program {name:?} that can be run")),
        };
    }
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| is_program(path))
        .ok_or_else(|| format!("no program {name:?} is on the PATH"))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

/// The hooks of a command, and what becomes of them.
pub(crate) struct Hooks {
    on_stall: Option<HookCommand>,
    on_done: Option<HookCommand>,
    /// Whether what a hook says is kept, for it would run across the dashboard.
    keep_output: bool,
    /// What was told of each merge, by its origin's device-mapper name.
    merges: Vec<(String, Told)>,
    /// Outcomes that wait for a place.
    waiting: VecDeque<Call>,
    running: Vec<Running>,
    news: Vec<String>,
}

impl Hooks {
    /// The hooks that were asked for. With a dashboard on the screen, their output is kept and told
    /// in [`Hooks::news`]; else it goes to our standard error.
    pub(crate) fn new(options: &HookOptions, dashboard: bool) -> Self {
        Self {
            on_stall: options.on_stall.clone(),
            on_done: options.on_done.clone(),
            keep_output: dashboard,
            merges: Vec::new(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            news: Vec::new(),
        }
    }

    /// Takes in a model, once a sample: starts what is due, and notices what has ended. Never waits.
    pub(crate) fn see(&mut self, model: &Model) {
        self.reap();
        let told = self.told(model);
        if let Some(event) = told.due(model) {
            self.tell(event, model);
        }
        self.start_waiting();
    }

    /// What happened to hooks since the last time, in lines to be shown.
    pub(crate) fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    /// The end of a merge that nobody follows any longer: tells its outcome, also where it is merged
    /// and nobody has finished it.
    pub(crate) fn see_last(&mut self, model: &Model) {
        self.reap();
        if let Some(event) = self.told(model).due_at_end(model) {
            self.tell(event, model);
        }
        self.start_waiting();
    }

    /// Our own end: waits for hooks that run, for so long as may be, or until `interrupted`; then
    /// leaves them to themselves. What happened to them goes to standard error.
    pub(crate) async fn end(&mut self, interrupted: impl Future<Output = ()>) {
        let waited = async {
            let begin = Instant::now();
            while !self.all_ended() && begin.elapsed() < PATIENCE {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = waited => {}
            () = interrupted => {}
        }
        self.news.extend(self.running.drain(..).map(Running::left));
        let lost = self.waiting.drain(..);
        self.news
            .extend(lost.map(|call| format!("{} was not started: too many run", call.label())));
        for line in self.news() {
            terminal::tell(&line);
        }
    }

    fn all_ended(&mut self) -> bool {
        self.reap();
        self.start_waiting();
        self.running.is_empty() && self.waiting.is_empty()
    }

    fn told(&mut self, model: &Model) -> &mut Told {
        let origin = &model.identity.origin;
        let at = self.merges.iter().position(|(known, _)| known == origin).unwrap_or_else(|| {
            self.merges.push((origin.clone(), Told::default()));
            self.merges.len() - 1
        });
        &mut self.merges[at].1
    }

    fn command_of(&self, event: Event) -> Option<&HookCommand> {
        match event {
            Event::Stall => self.on_stall.as_ref(),
            Event::Done => self.on_done.as_ref(),
        }
    }

    /// Starts a hook, or lets an outcome wait for a place. A stall that finds none is not told yet,
    /// and so is due again as long as it lasts.
    fn tell(&mut self, event: Event, model: &Model) {
        let call = self.command_of(event).map(|command| Call {
            command: command.clone(),
            event,
            origin: model.identity.origin.clone(),
            facts: facts(event, model, Exit::of(model) as u8),
        });
        match call {
            Some(call) if event == Event::Stall => {
                if !self.has_place_for(&call) {
                    return;
                }
                self.start(call);
            }
            Some(call) => self.waiting.push_back(call),
            None => {}
        }
        self.told(model).told(event, model);
    }

    fn has_place_for(&self, call: &Call) -> bool {
        let is_same =
            |running: &Running| running.event == call.event && running.origin == call.origin;
        self.running.len() < AT_ONCE && !self.running.iter().any(is_same)
    }

    fn start_waiting(&mut self) {
        while let Some(call) = self.waiting.pop_front() {
            if !self.has_place_for(&call) {
                self.waiting.push_front(call);
                return;
            }
            self.start(call);
        }
    }

    fn start(&mut self, call: Call) {
        let label = call.label();
        match Running::start(call, self.keep_output) {
            Ok(running) => self.running.push(running),
            Err(error) => self.news.push(format!("{label} could not be started: {error}")),
        }
    }

    fn reap(&mut self) {
        let mut running = Vec::new();
        for mut hook in self.running.drain(..) {
            match hook.ended() {
                None => running.push(hook),
                Some(ended) => self.news.extend(hook.said(ended)),
            }
        }
        self.running = running;
    }
}

/// A hook that is to be run.
struct Call {
    command: HookCommand,
    event: Event,
    origin: String,
    facts: Vec<(&'static str, String)>,
}

impl Call {
    fn label(&self) -> String {
        let command = printable(&self.command.text);
        format!("the hook `{command}` ({} of {})", self.event.name(), printable(&self.origin))
    }
}

/// A hook that runs.
struct Running {
    child: Child,
    event: Event,
    origin: String,
    label: String,
    since: Instant,
    output: Option<Tail>,
}

impl Running {
    fn start(call: Call, keep_output: bool) -> io::Result<Self> {
        let label = call.label();
        let mut command = call.command.command();
        for fact in inherited_facts() {
            command.env_remove(fact);
        }
        command.envs(call.facts);
        let output = if keep_output {
            let (tail, writer) = Tail::new()?;
            command.stdout(writer.try_clone()?).stderr(writer);
            Some(tail)
        } else {
            command.stdout(io::stderr()).stderr(io::stderr());
            None
        };
        let child = command.spawn()?;
        Ok(Self {
            child,
            event: call.event,
            origin: call.origin,
            label,
            since: Instant::now(),
            output,
        })
    }

    /// Its end, once it has come. Takes in what it has said up to now.
    fn ended(&mut self) -> Option<io::Result<ExitStatus>> {
        let ended = self.child.try_wait().transpose();
        if let Some(output) = &mut self.output {
            output.read();
        }
        ended
    }

    /// What there is to tell at its end: what it said where nobody saw it, and that it failed.
    fn said(self, ended: io::Result<ExitStatus>) -> Option<String> {
        let last = self.output.map(Tail::last_line).filter(|line| !line.is_empty());
        match ended {
            Ok(status) if status.success() => last,
            Ok(status) => {
                let last = last.map_or_else(String::new, |line| format!(": {line}"));
                Some(format!("{} failed ({status}){last}. The merge is not affected", self.label))
            }
            Err(error) => Some(format!("{} is out of sight: {error}", self.label)),
        }
    }

    fn left(self) -> String {
        let ns = nanoseconds(self.since.elapsed());
        format!("{} still runs after {} and is left to itself", self.label, human::duration(ns))
    }
}

/// Facts in our own environment, where we are run by a hook ourselves: they are of another event.
fn inherited_facts() -> impl Iterator<Item = OsString> {
    let is_fact = |name: &OsString| {
        name.as_encoded_bytes().starts_with(b"MERGE_CTL_") && name != state_dir::VARIABLE
    };
    env::vars_os().map(|(name, _)| name).filter(is_fact)
}

/// The end of what a hook says. Read without waiting, so that a hook's children, who may keep the
/// pipe open for ever, hold nobody up.
struct Tail {
    pipe: PipeReader,
    bytes: Vec<u8>,
}

impl Tail {
    fn new() -> io::Result<(Self, io::PipeWriter)> {
        let (pipe, writer) = io::pipe()?;
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        Ok((Self { pipe, bytes: Vec::new() }, writer))
    }

    /// Takes in what there is; at most a pipe's worth, whatever goes on being written.
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            match self.pipe.read(&mut buffer) {
                Ok(read @ 1..) => self.bytes.extend_from_slice(&buffer[..read]),
                // Its end, or nothing there yet: the next look is soon.
                _ => break,
            }
        }
        let excess = self.bytes.len().saturating_sub(TAIL_BYTES);
        self.bytes.drain(..excess);
    }

    fn last_line(self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        printable(text.trim_end().rsplit('\n').next().unwrap_or_default().trim())
    }
}

#[cfg(test)]
mod tests;
