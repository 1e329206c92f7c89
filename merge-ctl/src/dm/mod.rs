//! Device-mapper as merge-ctl needs it: ioctls, tables, status lines, and whose device is whose.
//!
//! What always holds: nothing is computed from two instants here, and nothing is changed that was
//! not asked for by name. Reading is in [`host`], [`holders`], [`in_flight`], [`disk_stats`],
//! [`disk_identity`] and [`kernel_log`], changing in [`control`], [`nodes`] and [`throttle`];
//! [`target`] and [`status`] are pure. The only unsafe code is in the private module `ioctl`.
//!
//! It refuses to be a general device-mapper library: the commands that a merge does not need
//! (messages, geometry, removing everything) are not there.

pub mod changes;
pub mod control;
pub mod device;
pub mod disk_identity;
pub mod disk_stats;
pub mod error;
pub mod holders;
pub mod host;
pub mod in_flight;
mod ioctl;
pub mod kernel_log;
pub mod nodes;
mod payload;
pub mod resolve;
pub mod status;
pub mod target;
pub mod throttle;

pub use control::Control;
pub use device::{DeviceId, DeviceInfo, Subject, SuspendOptions};
pub use disk_identity::DiskIdentity;
pub use error::{DmError, DmErrorKind, Operation};
pub use host::{Device, Host};
pub use status::{SnapshotStatus, Usage};
pub use target::{DeviceRef, Persistence, SnapshotArgs, Table, TableLine, Target};
