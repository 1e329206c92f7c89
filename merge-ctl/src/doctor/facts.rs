//! What the judgement is told. Data only: [`super::gather`] reads it, a test writes it down. What is
//! not known is `None`.

pub use crate::merge::preflight::facts::{MergeTarget, Privilege, StateDirectory};
pub use crate::probe::survey::{Addresses, Outcome, Part, Survey, Trial, Types};

/// All facts.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The options of the kernel's configuration that matter here and are not set.
    pub options_not_set: Option<Vec<&'static str>>,
    /// Where the modules of the running kernel should be, and whether that is there.
    pub modules: Option<(String, bool)>,
    /// What this process may do.
    pub rights: Option<Rights>,
    /// How device-mapper answers.
    pub device_mapper: Option<DeviceMapper>,
    /// Whether the kernel has the target of merges.
    pub merge_target: Option<MergeTarget>,
    /// Where lvm2 is; none where it is not.
    pub lvm2: Option<String>,
    /// Where journals are kept.
    pub lasting: Option<StateDirectory>,
    /// Where locks are kept.
    pub of_this_boot: Option<StateDirectory>,
    /// Whether the kernel is locked down for confidentiality.
    pub confidential: Option<bool>,
    /// What works of the probes.
    pub probes: Option<Survey>,
    /// Whether the kernel's log can be read, or why not.
    pub kernel_log: Option<Result<(), String>>,
    /// The throttle.
    pub throttle: Option<Throttle>,
    /// Whether an io_uring can be had, or why not.
    pub io_uring: Option<Result<(), String>>,
    /// `kernel.io_uring_disabled`, where the kernel has it.
    pub io_uring_disabled: Option<u32>,
    /// Who makes nodes.
    pub udev: Option<Udev>,
    /// Who runs detached merges.
    pub systemd: Option<Systemd>,
    /// The terminal; none where standard output is none.
    pub terminal: Option<Terminal>,
}

/// What this process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// To devices.
    pub privilege: Privilege,
    /// Load eBPF programs.
    pub may_load: bool,
    /// See the kernel's addresses, as far as capabilities decide it.
    pub may_see_addresses: bool,
}

/// How device-mapper answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceMapper {
    /// With the version of its interface.
    Answers([u32; 3]),
    /// Not to us.
    NotPermitted,
    /// Not at all, for this reason.
    Fails(String),
    /// The kernel has it, and there is no `/dev/mapper/control`.
    NoNode,
    /// The kernel has none at this moment. It was not asked: that would load the module.
    NotLoaded {
        /// Whether its module is there.
        can_be: bool,
    },
}

/// The kernel's throttle of copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// In percent; none where dm-snapshot is not loaded; or why it cannot be read.
    pub percent: Result<Option<u32>, String>,
    /// Whether this process may set it.
    pub writable: bool,
    /// The living merge-ctl that has set it: its process, and the origin.
    pub holder: Option<(u32, String)>,
}

/// Who makes nodes in `/dev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udev {
    /// Whether udev runs.
    pub runs: bool,
    /// Whether `DM_DISABLE_UDEV` tells lvm2 not to wait for it.
    pub told_off: bool,
}

/// Who runs detached merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Systemd {
    /// Whether systemd runs the host.
    pub runs: bool,
    /// Whether systemd-run(1) is there.
    pub run: bool,
}

/// The terminal of standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Its columns and rows, where it tells them.
    pub size: Option<(u16, u16)>,
    /// Whether all regions of the dashboard fit.
    pub has_room: bool,
    /// Whether it is one that can do nothing (`TERM=dumb`, or no `TERM`).
    pub dumb: bool,
}
