//! The subcommands, one thin file each.

pub(crate) mod status;
