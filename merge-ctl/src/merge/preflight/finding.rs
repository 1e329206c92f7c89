//! What preflight finds: how bad it is, what it is, and the way out.

use std::fmt;

use serde::{Serialize, Serializer};

use super::{Obstacle, Plan, Refusal};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The merge does not begin.
    Stop,
    /// It can begin, and somebody should want it so.
    Warn,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// In a word, as JSON has it too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Warn => "warn",
            Self::Note => "note",
        }
    }
}

macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $name:literal,)*) => {
        /// What a finding is about, of a closed list: `docs/preflight.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code {
            $($(#[$meta])* $variant,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, which scripts may rely on.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

codes! {
    /// It is something else than a snapshot.
    NotASnapshot = "not-a-snapshot",
    /// It is the origin of snapshots.
    IsOrigin = "is-origin",
    /// It is a thin volume: another kind of snapshot, which is not copied back.
    ThinVolume = "thin-volume",
    /// A snapshot is being merged into this origin already.
    AlreadyMerging = "already-merging",
    /// The exceptions are in memory only.
    Transient = "transient",
    /// The kernel has given the snapshot up.
    Invalid = "invalid",
    /// The COW device was full, and changes are lost.
    Overflow = "overflow",
    /// An earlier merge failed.
    MergeFailed = "merge-failed",
    /// The kernel does not say in what state the snapshot is.
    StatusUnknown = "status-unknown",
    /// The COW device is nearly full.
    NearlyFull = "nearly-full",
    /// The COW device does not hold the exceptions that the kernel has in memory.
    StoreDamaged = "store-damaged",
    /// The exceptions cannot be read from the COW device.
    StoreUnreadable = "store-unreadable",
    /// How much there is to merge.
    Fill = "fill",
    /// There is nothing to merge.
    NothingToMerge = "nothing-to-merge",
    /// No origin is active over the data.
    NoOrigin = "no-origin",
    /// Snapshot and origin differ in size.
    SizesDiffer = "sizes-differ",
    /// A device cannot be written.
    ReadOnly = "read-only",
    /// A device is suspended.
    Suspended = "suspended",
    /// A device has a second table loaded.
    SecondTable = "second-table",
    /// Chunks are smaller than a block of a device below.
    ChunkBelowBlock = "chunk-below-block",
    /// Chunks of snapshots of the same origin differ in size.
    ChunkSizesDiffer = "chunk-sizes-differ",
    /// Another snapshot of the same origin was named before it.
    SameOrigin = "same-origin",
    /// Somebody has the snapshot open.
    SnapshotInUse = "snapshot-in-use",
    /// Somebody uses the origin who would not survive the merge.
    OriginInUse = "origin-in-use",
    /// Processes have the origin open.
    OriginOpen = "origin-open",
    /// Somebody has a device below open.
    OpenBelow = "open-below",
    /// The merge fills a sibling, which is lost.
    SiblingLost = "sibling-lost",
    /// The merge may fill a sibling.
    SiblingAtRisk = "sibling-at-risk",
    /// The merge copies into a sibling that has room for it.
    SiblingCopies = "sibling-copies",
    /// A sibling is invalid already.
    SiblingInvalid = "sibling-invalid",
    /// One half belongs to LVM and the other does not.
    OwnersDiffer = "owners-differ",
    /// lvm2 is not installed.
    LvmMissing = "lvm-missing",
    /// lvm2 cannot tell what it knows.
    LvmUnreadable = "lvm-unreadable",
    /// LVM's metadata knows another volume than the kernel shows, or none.
    LvmDisagrees = "lvm-disagrees",
    /// LVM knows the volume, and it is not active.
    LvmInactive = "lvm-inactive",
    /// LVM has recorded the merge and begins it at the next activation.
    LvmScheduled = "lvm-scheduled",
    /// LVM will put the merge off.
    LvmDelays = "lvm-delays",
    /// A merge runs in the kernel that LVM does not know of.
    LvmUnaware = "lvm-unaware",
    /// A disk of the volume group is missing.
    LvmPartial = "lvm-partial",
    /// LVM has locked the volume, or its group may not be changed.
    LvmLocked = "lvm-locked",
    /// A privilege is missing.
    Privilege = "privilege",
    /// The kernel lacks something that a merge needs.
    Kernel = "kernel",
    /// The journal of a merge cannot be kept.
    StateDirectory = "state-directory",
    /// The journal would not survive a reboot.
    StateVolatile = "state-volatile",
    /// Copying is throttled.
    Throttled = "throttled",
    /// Another merge runs on this host.
    OtherMerge = "other-merge",
    /// Not everything will be seen of the merge.
    Probes = "probes",
    /// Something could not be looked at.
    NotKnown = "not-known",
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Code {
    /// Whether it is a privilege or a part of the kernel that is missing.
    pub const fn is_missing(self) -> bool {
        matches!(self, Self::Privilege | Self::Kernel)
    }

    /// Whether a snapshot may be lost that nobody asked to lose.
    pub const fn loses_sibling(self) -> bool {
        matches!(self, Self::SiblingLost | Self::SiblingAtRisk)
    }
}

/// One thing that is worth knowing before a merge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub code: Code,
    /// Which device it is about, as people call it; nothing where it is about the host.
    pub device: Option<String>,
    /// In a sentence or two.
    pub words: String,
    /// What can be done about it; empty where nothing needs to be.
    pub way_out: String,
}

impl Finding {
    /// Of any severity.
    pub fn new(severity: Severity, code: Code, words: impl Into<String>) -> Self {
        Self { severity, code, device: None, words: words.into(), way_out: String::new() }
    }

    /// What stops the merge.
    pub fn stop(code: Code, words: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { way_out: way_out.into(), ..Self::new(Severity::Stop, code, words) }
    }

    /// What somebody should want.
    pub fn warn(code: Code, words: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { way_out: way_out.into(), ..Self::new(Severity::Warn, code, words) }
    }

    /// What is worth knowing.
    pub fn note(code: Code, words: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, words)
    }

    /// Which device it is about.
    #[must_use]
    pub fn about(self, label: impl Into<String>) -> Self {
        Self { device: Some(label.into()), ..self }
    }

    fn obstacle(&self) -> Obstacle {
        match self.code {
            Code::SnapshotInUse | Code::OriginInUse => Obstacle::InUse,
            Code::AlreadyMerging => Obstacle::AlreadyMerging,
            code if code.is_missing() => Obstacle::Missing,
            _ => Obstacle::Unfit,
        }
    }
}

/// Words and way out, as one paragraph.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)?;
        if self.way_out.is_empty() { Ok(()) } else { write!(f, " {}", self.way_out) }
    }
}

/// All that was found.
#[derive(Clone, Debug, Default)]
pub struct Report<'a> {
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
    /// The origin, as people call it, where one is known.
    pub origin: Option<String>,
    /// The way to merge. It is there also where something stops the merge, as far as it is known.
    pub(super) plan: Option<Plan<'a>>,
}

impl<'a> Report<'a> {
    /// From findings in any order.
    pub(super) fn new(mut findings: Vec<Finding>, plan: Option<Plan<'a>>) -> Self {
        findings.sort_by_key(|finding| finding.severity);
        let origin = plan.as_ref().map(|plan| plan.origin.label());
        Self { findings, origin, plan }
    }

    /// Of these findings alone: where there is not even a device to look at.
    pub fn of(findings: Vec<Finding>) -> Self {
        Self::new(findings, None)
    }

    /// The findings of a severity.
    pub fn of_severity(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.severity == severity)
    }

    /// Whether nothing stops the merge.
    pub fn is_ready(&self) -> bool {
        self.of_severity(Severity::Stop).next().is_none()
    }

    /// How much there is to copy, and whether LVM does it, where that is known.
    pub fn plan(&self) -> Option<&Plan<'a>> {
        self.plan.as_ref()
    }

    /// One more finding.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
        self.findings.sort_by_key(|finding| finding.severity);
    }

    /// The same, where nobody has agreed to lose a sibling: then that stops it too.
    #[must_use]
    pub fn without_losses(mut self) -> Self {
        for finding in self.findings.iter_mut().filter(|finding| finding.code.loses_sibling()) {
            finding.severity = Severity::Stop;
            finding.way_out.push_str(" Or accept the loss: --lose-siblings.");
        }
        self.findings.sort_by_key(|finding| finding.severity);
        self
    }

    /// What is to be done.
    ///
    /// # Errors
    /// With all that stops it.
    pub fn into_plan(self) -> Result<Plan<'a>, Refusal> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let notes = self.of_severity(Severity::Warn).map(Finding::to_string).collect();
        // Where no way was found, something that stops it was.
        let plan = self.plan.ok_or_else(|| refusal_of(&[]))?;
        Ok(Plan { notes, ..plan })
    }

    /// Why the merge does not begin; nothing where it may.
    pub fn refusal(&self) -> Option<Refusal> {
        let stops: Vec<_> = self.of_severity(Severity::Stop).collect();
        (!stops.is_empty()).then(|| refusal_of(&stops))
    }
}

fn refusal_of(stops: &[&Finding]) -> Refusal {
    let (reason, way_out) = match stops {
        [] => ("No way to merge was found.".to_owned(), "Look at `dmsetup table`.".to_owned()),
        [only] => (only.words.clone(), only.way_out.clone()),
        several => {
            let lines: Vec<_> = several.iter().map(|stop| format!("* {stop}")).collect();
            (format!("{} things are in the way:", several.len()), lines.join("\n"))
        }
    };
    Refusal { obstacle: obstacle_of(stops), reason, way_out }
}

/// What the stops come to. Waiting helps only where nothing else is in the way; whoever watches a
/// merge that runs already need not be told more.
fn obstacle_of(stops: &[&Finding]) -> Obstacle {
    let all = |wanted| stops.iter().all(|stop| stop.obstacle() == wanted);
    if stops.iter().any(|stop| stop.obstacle() == Obstacle::AlreadyMerging) {
        Obstacle::AlreadyMerging
    } else if stops.is_empty() {
        Obstacle::Unfit
    } else if all(Obstacle::InUse) {
        Obstacle::InUse
    } else if all(Obstacle::Missing) {
        Obstacle::Missing
    } else {
        Obstacle::Unfit
    }
}
