//! The eBPF programs: loading them for the running kernel, attaching and detaching them in groups.
//!
//! A group is whole or not there at all: where one of its programs cannot be attached, the others of
//! the group are taken off again.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use aya::programs::kprobe::KProbeLinkId;
use aya::programs::{BtfTracePoint, KProbe, ProgramError};
use aya::{Btf, BtfError, Ebpf, EbpfError, EbpfLoader};
use thiserror::Error;

use super::ProgramCost;
use super::layout::{Device, Layout};
use super::leftover::Leftover;
use crate::units::nanoseconds;

/// What `cargo xtask ebpf` built.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("MERGE_EBPF_OBJECT"));

/// Programs and the functions they probe, from the last that a run calls to the first: so the first
/// run that is seen to begin is seen to its end.
pub(super) const RUNS: [(&str, &str); 7] = [
    ("commit_merge_return", "persistent_commit_merge"),
    ("commit_merge", "persistent_commit_merge"),
    ("copied_return", "merge_callback"),
    ("copied", "merge_callback"),
    ("kcopyd_copy", "dm_kcopyd_copy"),
    ("prepare_merge_return", "persistent_prepare_merge"),
    ("prepare_merge", "persistent_prepare_merge"),
];

/// These are on the way of every application write to an origin with snapshots.
pub(super) const SIBLINGS: [(&str, &str); 2] =
    [("origin_write_return", "__origin_write"), ("origin_write", "__origin_write")];

/// Programs and their tracepoints. Completions first: what is queued from then on is seen to its end.
/// `queue_first` as in the layout.
pub(super) const fn block(queue_first: bool) -> [(&'static str, &'static str); 2] {
    let queue = if queue_first { "bio_queue_of_queue" } else { "bio_queue" };
    [("bio_complete", "block_bio_complete"), (queue, "block_bio_queue")]
}

/// Why programs could not be loaded or attached.
#[derive(Debug, Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Object(#[from] EbpfError),
    #[error("{program}: {source}")]
    Program { program: &'static str, source: ProgramError },
    #[error(transparent)]
    Btf(#[from] BtfError),
    #[error("the eBPF object has no program {0}")]
    Absent(&'static str),
}

/// The loaded programs. Dropping them takes them off.
pub(super) struct Programs {
    ebpf: Ebpf,
    siblings: Vec<(&'static str, KProbeLinkId)>,
    // Last: fields are dropped in this order.
    _leftover: Leftover,
}

impl Programs {
    /// Loads the object; its programs are not attached yet.
    ///
    /// # Errors
    /// The kernel refuses the maps: for want of privilege, most often.
    pub(super) fn load(layout: &Layout, merge_callback: u64, log: bool) -> Result<Self, LoadError> {
        let globals = globals(layout, merge_callback);
        let log_level = if log { u8::MAX } else { 0 };
        let mut loader = EbpfLoader::new();
        for (name, value) in &globals {
            loader.override_global(name, value, true);
        }
        loader.override_global("AYA_LOG_LEVEL", &log_level, true);
        Ok(Self { ebpf: loader.load(OBJECT)?, siblings: Vec::new(), _leftover: Leftover })
    }

    /// The object's maps, and aya's logger, are taken from here.
    pub(super) fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Follows bios from here on; `queue_first` as in the layout.
    ///
    /// # Errors
    /// The kernel has no such tracepoints, or refuses the programs.
    pub(super) fn attach_block(&mut self, queue_first: bool) -> Result<(), LoadError> {
        let btf = Btf::from_sys_fs()?;
        let group = block(queue_first);
        for (program, tracepoint) in group {
            if let Err(error) = self.attach_tracepoint(program, tracepoint, &btf) {
                self.unload_tracepoints(&group);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Follows runs from here on.
    ///
    /// # Errors
    /// The kernel has no kprobes, or not one of the functions, or refuses a program.
    pub(super) fn attach_runs(&mut self) -> Result<(), LoadError> {
        let attached = self.load_kprobes(&RUNS).and_then(|()| {
            RUNS.iter()
                .try_for_each(|(program, function)| self.attach_kprobe(program, function).map(drop))
        });
        if attached.is_err() {
            self.unload_kprobes(&RUNS);
        }
        attached
    }

    /// Loads a group before any of it is attached: loading takes long, and a run that passes between
    /// the first attachment and the last is only half seen.
    fn load_kprobes(&mut self, group: &[(&'static str, &str)]) -> Result<(), LoadError> {
        for (program, _) in group {
            match self.kprobe(program)?.load() {
                Ok(()) | Err(ProgramError::AlreadyLoaded) => {}
                Err(source) => return Err(LoadError::Program { program, source }),
            }
        }
        Ok(())
    }

    /// Follows what runs ask their siblings, or no longer.
    ///
    /// # Errors
    /// As in [`Programs::attach_runs`]. A failed attachment leaves the group off.
    pub(super) fn set_siblings(&mut self, wanted: bool) -> Result<(), LoadError> {
        if wanted == self.siblings.is_empty() {
            return if wanted { self.attach_siblings() } else { Ok(()) };
        }
        if wanted { Ok(()) } else { self.detach_siblings() }
    }

    fn attach_siblings(&mut self) -> Result<(), LoadError> {
        self.load_kprobes(&SIBLINGS)?;
        for (program, function) in SIBLINGS {
            match self.attach_kprobe(program, function) {
                Ok(link) => self.siblings.push((program, link)),
                Err(error) => {
                    self.detach_siblings()?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn detach_siblings(&mut self) -> Result<(), LoadError> {
        for (program, link) in std::mem::take(&mut self.siblings) {
            self.kprobe(program)?
                .detach(link)
                .map_err(|source| LoadError::Program { program, source })?;
        }
        Ok(())
    }

    /// Loads a program, attaches it, and takes it off again.
    ///
    /// # Errors
    /// As where its group is attached.
    pub(super) fn try_kprobe(
        &mut self,
        program: &'static str,
        function: &'static str,
    ) -> Result<(), LoadError> {
        let one = [(program, function)];
        let tried =
            self.load_kprobes(&one).and_then(|()| self.attach_kprobe(program, function).map(drop));
        self.unload_kprobes(&one);
        tried
    }

    /// The same for a program at a tracepoint.
    ///
    /// # Errors
    /// As in [`Programs::attach_block`].
    pub(super) fn try_tracepoint(
        &mut self,
        program: &'static str,
        tracepoint: &'static str,
    ) -> Result<(), LoadError> {
        let btf = Btf::from_sys_fs()?;
        let tried = self.attach_tracepoint(program, tracepoint, &btf);
        self.unload_tracepoints(&[(program, tracepoint)]);
        tried
    }

    /// What each attached program has cost since the kernel began to measure.
    pub(super) fn costs(&self) -> Vec<ProgramCost> {
        let costs = self.ebpf.programs().filter_map(|(name, program)| {
            // Programs that are not loaded have no figures.
            let info = program.info().ok()?;
            let ns = nanoseconds(info.run_time());
            Some(ProgramCost { program: name.to_owned(), runs: info.run_count(), ns })
        });
        costs.collect()
    }

    /// How often the kernel left a call of these programs out (`kernel/trace/bpf_trace.c`,
    /// `trace_call_bpf`): it does where another program, or a bpf(2) call on a map, that was
    /// preempted half-way is not through yet on the same processor. Counted for tracepoints from
    /// 5.12 on and for kprobes from 6.7 on; 0 before.
    pub(super) fn missed(&self) -> u64 {
        let loaded = self.ebpf.programs().filter_map(|(_, program)| program.fd().ok());
        loaded.filter_map(|fd| recursion_misses(fd.as_fd().as_raw_fd())).sum()
    }

    fn attach_kprobe(
        &mut self,
        program: &'static str,
        function: &str,
    ) -> Result<KProbeLinkId, LoadError> {
        let link = self.kprobe(program)?.attach(function, 0);
        link.map_err(|source| LoadError::Program { program, source })
    }

    fn attach_tracepoint(
        &mut self,
        program: &'static str,
        tracepoint: &str,
        btf: &Btf,
    ) -> Result<(), LoadError> {
        let failed = |source| LoadError::Program { program, source };
        let probe = self.tracepoint(program)?;
        probe.load(tracepoint, btf).map_err(failed)?;
        probe.attach().map_err(failed)?;
        Ok(())
    }

    fn kprobe(&mut self, name: &'static str) -> Result<&mut KProbe, LoadError> {
        let program = self.ebpf.program_mut(name).ok_or(LoadError::Absent(name))?;
        program.try_into().map_err(|source| LoadError::Program { program: name, source })
    }

    fn tracepoint(&mut self, name: &'static str) -> Result<&mut BtfTracePoint, LoadError> {
        let program = self.ebpf.program_mut(name).ok_or(LoadError::Absent(name))?;
        program.try_into().map_err(|source| LoadError::Program { program: name, source })
    }

    /// Takes off what of a group is there; what is not, cannot be unloaded.
    fn unload_kprobes(&mut self, group: &[(&'static str, &str)]) {
        for (name, _) in group {
            if let Ok(probe) = self.kprobe(name) {
                _ = probe.unload();
            }
        }
    }

    /// As [`Programs::unload_kprobes`].
    fn unload_tracepoints(&mut self, group: &[(&'static str, &str)]) {
        for (name, _) in group {
            if let Ok(probe) = self.tracepoint(name) {
                _ = probe.unload();
            }
        }
    }
}

/// What `/proc` says of an open program (`kernel/bpf/syscall.c`, `bpf_prog_show_fdinfo`).
fn recursion_misses(program: RawFd) -> Option<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{program}")).ok()?;
    let count = info.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
    count.trim().parse().ok()
}

/// The values of `merge-ebpf/src/kernel.rs`.
fn globals(layout: &Layout, merge_callback: u64) -> Vec<(&'static str, u64)> {
    let snapshot = layout.snapshot;
    let (cow, origin) = snapshot.devices.unwrap_or((0, 0));
    let mut globals = vec![
        ("MERGE_CALLBACK", merge_callback),
        ("STORE_SNAP", snapshot.store_snap),
        ("SNAPSHOT_COW", cow),
        ("SNAPSHOT_ORIGIN", origin),
        ("DM_DEV_BDEV", snapshot.dm_dev_bdev),
        ("REGION_BDEV", snapshot.region_bdev),
        ("BDEV_DEV", layout.bdev_dev.unwrap_or(0)),
    ];
    let Some(bio) = layout.bio else { return globals };
    globals.extend([("BIO_OPF", bio.opf), ("BIO_SECTOR", bio.sector), ("BIO_SIZE", bio.size)]);
    match bio.device {
        Device::Bdev { bi_bdev } => globals.push(("BIO_DEVICE", bi_bdev)),
        Device::Disk { bi_disk, bi_partno, major, first_minor } => globals.extend([
            ("BIO_HAS_DISK", 1),
            ("BIO_DEVICE", bi_disk),
            ("BIO_PARTNO", bi_partno),
            ("DISK_MAJOR", major),
            ("DISK_FIRST_MINOR", first_minor),
        ]),
    }
    globals
}
