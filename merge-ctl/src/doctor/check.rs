//! One thing that was looked at: how it is, what that costs, the way out.

use serde::{Serialize, Serializer};

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It works.
    Ok,
    /// It works in part, or not yet, or less well.
    Degraded,
    /// It does not work.
    Missing,
    /// It cannot be seen here.
    Unknown,
}

impl Verdict {
    /// In a word, as JSON has it too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

/// What it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// The kernel, its configuration, its modules.
    Kernel,
    /// What a merge needs.
    Merging,
    /// What is needed to see inside one.
    Seeing,
    /// The rest.
    Besides,
}

/// A way to merge. That of two images needs nothing of the host, and is always open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A logical volume, through lvm2.
    Lvm,
    /// Plain device-mapper devices, by our own steps.
    DeviceMapper,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Lvm, Self::DeviceMapper];
}

macro_rules! codes {
    ($($section:ident: $($(#[$meta:meta])* $variant:ident = $name:literal,)*;)*) => {
        /// What a check is about, of a closed list: `docs/doctor.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $($($(#[$meta])* $variant,)*)*
        }

        impl Code {
            /// All of them, in the order in which they are told.
            pub const ALL: &[Self] = &[$($(Self::$variant,)*)*];

            /// Its name, which scripts may rely on.
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Self::$variant => $name,)*)*
                }
            }

            /// What it belongs to.
            pub const fn section(self) -> Section {
                match self {
                    $($(Self::$variant => Section::$section,)*)*
                }
            }
        }
    };
}

codes! {
    Kernel:
        /// Its version.
        Kernel = "kernel",
        /// Its configuration.
        KernelConfig = "kernel-config",
        /// Where its modules are.
        Modules = "modules",
    ;
    Merging:
        /// What this process may do.
        Privilege = "privilege",
        /// Whether it may keep itself in memory.
        MemoryLock = "memory-lock",
        /// device-mapper and its control device.
        DeviceMapper = "device-mapper",
        /// The target of merges.
        SnapshotMerge = "snapshot-merge",
        /// lvm2's commands.
        Lvm2 = "lvm2",
        /// Where journals are kept.
        StateDirectory = "state-directory",
        /// Where locks are kept.
        RunDirectory = "run-directory",
    ;
    Seeing:
        /// Whether the kernel is locked down.
        Lockdown = "lockdown",
        /// Whether this process may load eBPF programs.
        EbpfPrivilege = "ebpf-privilege",
        /// The kernel's types.
        BtfKernel = "btf-kernel",
        /// The types of dm-snapshot.
        BtfModule = "btf-module",
        /// The address of a function of dm-snapshot.
        KernelAddresses = "kernel-addresses",
        /// Probes at functions.
        Kprobes = "kprobes",
        /// The eBPF object.
        Ebpf = "ebpf",
        /// A run is chosen.
        ProbePrepareMerge = "probe-prepare-merge",
        /// A run has been chosen.
        ProbePrepareMergeReturn = "probe-prepare-merge-return",
        /// Copying begins.
        ProbeKcopydCopy = "probe-kcopyd-copy",
        /// Copying has ended.
        ProbeCopied = "probe-copied",
        /// What follows the copy is done.
        ProbeCopiedReturn = "probe-copied-return",
        /// The commit begins.
        ProbeCommitMerge = "probe-commit-merge",
        /// The commit is done.
        ProbeCommitMergeReturn = "probe-commit-merge-return",
        /// Siblings are asked.
        ProbeOriginWrite = "probe-origin-write",
        /// Siblings have been asked.
        ProbeOriginWriteReturn = "probe-origin-write-return",
        /// I/O is queued.
        ProbeBioQueue = "probe-bio-queue",
        /// I/O is complete.
        ProbeBioComplete = "probe-bio-complete",
        /// The kernel's log.
        KernelLog = "kernel-log",
    ;
    Besides:
        /// The kernel's throttle of copies.
        Throttle = "throttle",
        /// What offline merges make their requests with.
        IoUring = "io-uring",
        /// Who makes nodes in /dev.
        Udev = "udev",
        /// Who runs detached merges.
        Systemd = "systemd",
        /// The terminal.
        Terminal = "terminal",
    ;
}

impl Code {
    /// Whether it is about what every merge needs.
    pub const fn is_essential(self) -> bool {
        matches!(self, Self::Privilege | Self::DeviceMapper | Self::SnapshotMerge)
    }

    /// Whether it is about an eBPF program.
    pub fn is_program(self) -> bool {
        self.name().starts_with("probe-")
    }

    /// That of an eBPF program; the one that has another name where the kernel hands out the queue
    /// first is one with its twin.
    pub fn of_program(program: &str) -> Option<Self> {
        let program = program.strip_suffix("_of_queue").unwrap_or(program).replace('_', "-");
        let is_it = |code: &&Self| code.name().strip_prefix("probe-") == Some(program.as_str());
        Self::ALL.iter().find(is_it).copied()
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub code: Code,
    /// How it is.
    pub verdict: Verdict,
    /// In a sentence.
    pub words: String,
    /// What does not go, or goes less well, because of it; empty where nothing.
    pub cost: String,
    /// How to get it; empty where there is nothing to do.
    pub way_out: String,
    /// The ways to merge that it closes.
    pub closes: Vec<Way>,
}

impl Check {
    fn new(code: Code, verdict: Verdict, words: impl Into<String>) -> Self {
        let (cost, way_out) = (String::new(), String::new());
        Self { code, verdict, words: words.into(), cost, way_out, closes: Vec::new() }
    }

    /// It works.
    pub(super) fn ok(code: Code, words: impl Into<String>) -> Self {
        Self::new(code, Verdict::Ok, words)
    }

    /// It cannot be seen here.
    pub(super) fn unknown(code: Code, words: impl Into<String>) -> Self {
        Self::new(code, Verdict::Unknown, words)
    }

    /// It works in part, or not yet, or less well.
    pub(super) fn degraded(code: Code, words: impl Into<String>) -> Self {
        Self::new(code, Verdict::Degraded, words)
    }

    /// It does not work.
    pub(super) fn missing(code: Code, words: impl Into<String>) -> Self {
        Self::new(code, Verdict::Missing, words)
    }

    #[must_use]
    pub(super) fn costs(self, cost: impl Into<String>) -> Self {
        Self { cost: cost.into(), ..self }
    }

    #[must_use]
    pub(super) fn way_out(self, way_out: impl Into<String>) -> Self {
        Self { way_out: way_out.into(), ..self }
    }

    #[must_use]
    pub(super) fn closes(self, ways: impl Into<Vec<Way>>) -> Self {
        Self { closes: ways.into(), ..self }
    }
}

/// All checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The kernel's release, where it is known.
    pub kernel: Option<String>,
    /// Each check once, in the order of [`Code::ALL`].
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether a way to merge is open; none where something that every merge needs cannot be seen, and
    /// nothing else closes it.
    pub fn is_open(&self, way: Way) -> Option<bool> {
        if self.checks.iter().any(|check| check.closes.contains(&way)) {
            return Some(false);
        }
        let hidden = |check: &Check| check.code.is_essential() && check.verdict == Verdict::Unknown;
        if self.checks.iter().any(hidden) { None } else { Some(true) }
    }

    /// Whether all that a merge needs is there: some way is open for sure.
    pub fn is_ready(&self) -> bool {
        Way::ALL.into_iter().any(|way| self.is_open(way) == Some(true))
    }

    /// How many have a verdict.
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.checks.iter().filter(|check| check.verdict == verdict).count() as u64
    }
}
