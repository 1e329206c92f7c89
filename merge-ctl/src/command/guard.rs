//! `merge-ctl guard`: the process behind a [`merge_ctl::guard::Guard`]. Not for people.

use std::io;
use std::process::ExitCode;

use merge_ctl::guard::{self, Duty};

use super::throttle::Watch;
use crate::exit::Exit;

/// Stands guard, and acts where that is needed.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    if let Some(prepared) = guard::stand(prepare)? {
        prepared.act()?;
    }
    Ok(Exit::Done.into())
}

/// What is ready to be done without reading anything that might lie on a suspended device.
enum Prepared {
    Throttle(Watch),
}

fn prepare(duty: &Duty) -> io::Result<Prepared> {
    match duty {
        Duty::Throttle { lease } => Watch::over(lease).map(Prepared::Throttle),
        Duty::Devices { .. } => Err(io::ErrorKind::Unsupported.into()),
    }
}

impl Prepared {
    fn act(self) -> anyhow::Result<()> {
        match self {
            Self::Throttle(watch) => Ok(watch.act()?),
        }
    }
}
