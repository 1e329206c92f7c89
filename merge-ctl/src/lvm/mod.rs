//! LVM: which devices are its, how it names them, and its own commands.
//!
//! What always holds: a device of LVM is changed through lvm2 alone ([`lvm2`]); its tables are never
//! swapped behind its back, because its metadata would then tell another story at the next
//! activation.

pub mod lock;
pub mod lvm2;
pub mod names;
pub mod offline;
mod rows;
