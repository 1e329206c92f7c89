//! `merge-ctl guard`: the process behind a [`merge_ctl::guard::Guard`]. Not for people.

use std::io;
use std::process::ExitCode;

use merge_ctl::guard::{self, Duty};

use super::raw::Watched;
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
    Devices(Box<Watched>),
}

fn prepare(duty: &Duty) -> io::Result<Prepared> {
    match duty {
        Duty::Throttle { lease } => Watch::over(lease).map(Prepared::Throttle),
        Duty::Devices { journal } => {
            let watched = Watched::prepare(journal);
            let watched = watched.map_err(|error| io::Error::other(format!("{error:#}")))?;
            Ok(Prepared::Devices(Box::new(watched)))
        }
    }
}

impl Prepared {
    fn act(self) -> anyhow::Result<()> {
        match self {
            Self::Throttle(watch) => Ok(watch.act()?),
            Self::Devices(watched) => watched.bring_to_rest(),
        }
    }
}
