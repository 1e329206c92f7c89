//! What of a host works for merge-ctl, what does not, what that costs, and how to get it: judged from a
//! few facts.
//!
//! What always holds: [`examine`] is pure; [`gather`] reads the facts and changes nothing on the host.
//! What is not known is no fault of the host, and is never taken for one. The checks are those of a
//! closed list, each is there once, in the list's order: `docs/doctor.md`.

mod check;
pub mod facts;
pub mod gather;
mod kernel;
mod merging;
mod probes;
mod rest;
#[cfg(test)]
pub(crate) mod tests;

pub use self::check::{Check, Code, Report, Section, Verdict, Way};
pub use self::facts::Facts;

/// Judges all facts.
pub fn examine(facts: &Facts) -> Report {
    let mut checks = kernel::look(facts);
    checks.extend(merging::look(facts));
    checks.extend(probes::look(facts));
    checks.extend(rest::look(facts));
    Report { kernel: facts.kernel.clone(), checks }
}
