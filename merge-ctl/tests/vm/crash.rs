//! merge-ctl is killed, at random moments and at each of its steps, and nothing is lost: nothing
//! stays suspended for longer than a guard needs, `resume` brings the merge to its end, and the
//! origin then holds what the snapshot held.
//!
//! `CRASH_KILLS` is how often it is killed (a few times, else), `CRASH_SEED` fixes when. Power
//! cuts need disks that outlive the VM: `cargo xtask crash`.

mod held;
mod killed;
mod scene;
pub(crate) mod stepper;

use std::io::Write as _;

use super::testbed::mix;

/// How often to kill in each of the tests here, unless told otherwise: it has to be short.
const KILLS: u64 = 4;

/// Told, or [`KILLS`].
pub(crate) fn kills() -> u64 {
    variable("CRASH_KILLS").unwrap_or(KILLS)
}

/// Whether to kill at each step, and not only at some of each kind.
pub(crate) fn is_thorough() -> bool {
    kills() > KILLS
}

/// A number that only the seed and `turn` decide.
pub(crate) fn random(turn: u64) -> u64 {
    mix(mix(variable("CRASH_SEED").unwrap_or(1)) ^ mix(turn))
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// Says something that is wanted when all is well; the test harness does not swallow it.
pub(crate) fn tell(line: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "{line}").unwrap();
}
