//! Attaches as much as the running kernel and our privileges allow, and says what is missing.
//!
//! Each group of programs is tried by itself. A sentence for the operator says what cannot be seen,
//! why, and where there is a way, what to do.

use std::error::Error;
use std::io;
use std::path::Path;

use aya::Ebpf;
use aya::maps::{Map, MapError};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::ProbeOptions;
use super::in_flight::InFlightTable;
use super::io::Io;
use super::kallsyms::{self, MergeCallback};
use super::layout::Layout;
use super::load::{LoadError, Programs};
use super::log::ProgramLog;
use super::runs::Runs;
use crate::sample::{ProbeReport, ProbeTier};

/// What is there. Each part only where its programs are attached.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) runs: Option<Runs>,
    pub(super) io: Option<Io>,
    pub(super) dropped: Option<aya::maps::PerCpuArray<aya::maps::MapData, u64>>,
    pub(super) log: Option<ProgramLog>,
    pub(super) programs: Option<Programs>,
}

/// Why I/O cannot be followed where BTF does not tell what is needed of a bio.
const OTHER_BIO: &str = "this kernel's bio has another shape than those we know";

/// Why a part is missing: a sentence for the operator.
type Missing = String;

/// Attaches what can be, up to the tier that is asked for.
pub(super) fn attach(options: ProbeOptions) -> (Parts, ProbeReport) {
    let mut missing = Vec::new();
    let mut parts = Parts::default();
    let mut tier = ProbeTier::None;
    if options.best == ProbeTier::None {
        missing.push("The probes were switched off.".to_owned());
    } else {
        match attach_parts(options, &mut parts, &mut missing) {
            Ok(reached) => tier = reached,
            Err(sentence) => missing.push(sentence),
        }
    }
    (parts, ProbeReport { tier, missing })
}

fn attach_parts(
    options: ProbeOptions,
    parts: &mut Parts,
    missing: &mut Vec<Missing>,
) -> Result<ProbeTier, Missing> {
    let mut layout = Layout::of_running_kernel().map_err(|error| {
        format!("No probes: the kernel does not tell its types (CONFIG_DEBUG_INFO_BTF): {error}.")
    })?;
    if options.best >= ProbeTier::NoModuleBtf {
        layout.snapshot.devices = None;
    }
    let merge_callback = find_merge_callback(options, &layout);
    lift_memory_limit();
    let address = *merge_callback.as_ref().unwrap_or(&0);
    let mut programs =
        Programs::load(&layout, address, options.log).map_err(|error| no_probes(&error))?;
    let io = attach_io(&mut programs, &layout);
    let runs = merge_callback.and_then(|_| attach_runs(&mut programs));
    parts.dropped = map(programs.ebpf(), "DROPPED").ok();
    if options.log {
        parts.log = ProgramLog::new(programs.ebpf()).ok();
    }
    parts.programs = Some(programs);
    parts.io = keep(io, missing);
    parts.runs = keep(runs, missing);
    Ok(reached(parts, &layout, missing))
}

/// The tier of what is there.
fn reached(parts: &Parts, layout: &Layout, missing: &mut Vec<Missing>) -> ProbeTier {
    match (&parts.runs, &parts.io) {
        (Some(_), _) if layout.snapshot.devices.is_some() => ProbeTier::Full,
        (Some(_), _) => {
            missing.push(
                "Which merge a run belongs to is known only once its first copy began: that needs \
                 the types of dm-snapshot (module BTF, Linux 5.11 and later)."
                    .to_owned(),
            );
            ProbeTier::NoModuleBtf
        }
        (None, Some(_)) => ProbeTier::BlockOnly,
        (None, None) => ProbeTier::None,
    }
}

/// The address that tells a merge's copies from all others; the layout must name devices.
fn find_merge_callback(options: ProbeOptions, layout: &Layout) -> Result<u64, Missing> {
    if options.best == ProbeTier::BlockOnly {
        return Err("Runs are not seen: only the block tracepoints were asked for.".to_owned());
    }
    if layout.bdev_dev.is_none() {
        return Err("Runs are not seen: this kernel's block devices have no number that we know \
                    of (block_device.bd_dev)."
            .to_owned());
    }
    match kallsyms::merge_callback() {
        Ok(MergeCallback::At(address)) => Ok(address),
        Ok(MergeCallback::NotLoaded) => {
            Err("Runs are not seen: dm-snapshot is not loaded (modprobe dm-snapshot).".to_owned())
        }
        Ok(MergeCallback::Hidden) => Err("Runs are not seen: the kernel hides its addresses \
                                          (run as root, and with kernel.kptr_restrict below 2)."
            .to_owned()),
        Err(error) => Err(format!("Runs are not seen: cannot read /proc/kallsyms: {error}.")),
    }
}

fn attach_io(programs: &mut Programs, layout: &Layout) -> Result<Io, Missing> {
    let unseen = |why: String| format!("I/O in flight is not seen: {why}.");
    let Some(bio) = layout.bio else {
        return Err(unseen(OTHER_BIO.to_owned()));
    };
    programs.attach_block(bio.queue_first).map_err(|error| unseen(why(&error)))?;
    // Only now: programs that are not loaded yet do not hold their maps.
    io_maps(programs.ebpf()).map_err(|error| unseen(first_line(&error)))
}

fn attach_runs(programs: &mut Programs) -> Result<Runs, Missing> {
    let unseen = |why: String| format!("Runs are not seen: {why}.");
    programs.attach_runs().map_err(|error| unseen(why_no_kprobe(&error)))?;
    run_maps(programs.ebpf()).map_err(|error| unseen(first_line(&error)))
}

fn io_maps(ebpf: &mut Ebpf) -> Result<Io, MapError> {
    let table = take(ebpf, "IN_FLIGHT")?;
    let Map::Array(table) = table else {
        return Err(MapError::InvalidName { name: "IN_FLIGHT".to_owned() });
    };
    let table = InFlightTable::new(table.fd()).map_err(io::Error::from)?;
    Ok(Io::new(map(ebpf, "WATCHED")?, map(ebpf, "IO")?, table))
}

fn run_maps(ebpf: &mut Ebpf) -> Result<Runs, MapError> {
    Ok(Runs::new(map(ebpf, "MERGES")?, map(ebpf, "EVENTS")?))
}

/// Takes a map out of the loaded object, as what it is.
fn map<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<T, MapError> {
    take(ebpf, name)?.try_into()
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, MapError> {
    ebpf.take_map(name).ok_or_else(|| MapError::InvalidName { name: name.to_owned() })
}

impl Parts {
    /// See [`super::Probe::set_siblings`].
    pub(super) fn set_siblings(&mut self, wanted: bool) -> Result<(), Missing> {
        let (Some(programs), Some(_)) = (&mut self.programs, &self.runs) else { return Ok(()) };
        programs.set_siblings(wanted).map_err(|error| {
            let why = why(&error);
            format!("A run's wait for siblings is counted as drain: {why}.")
        })
    }
}

fn keep<T>(part: Result<T, Missing>, missing: &mut Vec<Missing>) -> Option<T> {
    part.map_err(|sentence| missing.push(sentence)).ok()
}

/// Below Linux 5.11 the memory of maps counts against this limit. Where it cannot be lifted,
/// loading says what is wrong.
pub(super) fn lift_memory_limit() {
    _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}

/// Whether the kernel lets programs be attached to its functions.
pub(crate) fn has_kprobes() -> bool {
    Path::new("/sys/bus/event_source/devices/kprobe").exists()
}

fn no_probes(error: &LoadError) -> Missing {
    format!("No probes: {}.", why(error))
}

pub(super) fn why(error: &LoadError) -> String {
    if is_refused(error) {
        return "the kernel refused (run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYSLOG)"
            .to_owned();
    }
    first_line(error)
}

pub(super) fn why_no_kprobe(error: &LoadError) -> String {
    if !has_kprobes() && !is_refused(error) {
        return "the kernel has no kprobes (CONFIG_KPROBE_EVENTS)".to_owned();
    }
    why(error)
}

/// Whether the kernel said that we may not.
fn is_refused(error: &LoadError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error's beginning: the verifier's log, pages of it, may follow.
fn first_line(error: &dyn Error) -> String {
    error.to_string().lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}
