//! `cargo xtask bench finish`: how long a volume waits between its merge's last chunk and the plain device,
//! with merge-ctl, with lvm2 alone, and with a script.
//!
//! The merges are `merge-ctl/examples/figures/finish.rs`, which runs in a VM.

use std::fmt::Write as _;

use anyhow::Result;

use super::figures::{self, Report};
use super::findings::{Claim, Findings};
use super::machine;
use crate::kernels;
use crate::workspace::Workspace;

const MEMORY_MIB: u32 = 2048;
const WAYS: [(&str, &str, &str); 5] = [
    ("LVM", "lvm-merge-ctl", "merge-ctl start"),
    ("LVM", "lvm-lvconvert", "lvconvert --merge, which looks every 15 s"),
    ("LVM", "lvm-lvconvert-1s", "lvconvert --merge --interval 1"),
    ("device-mapper", "dm-merge-ctl", "merge-ctl start"),
    ("device-mapper", "dm-script", "a script with dmsetup that looks every second"),
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each way is tried, with merges of several lengths
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// 5.10, 6.1, 6.12, sid or experimental
    #[arg(long, value_name = "NAME", default_value = kernels::DEFAULT_VM)]
    kernel: String,
}

/// Measures.
pub(super) fn run(workspace: &Workspace, args: &Args) -> Result<Findings> {
    let words = ["finish".to_owned(), args.rounds.to_string()];
    let report = figures::in_vm(workspace, &args.kernel, MEMORY_MIB, &words)?;
    let how = vec![machine::rounds(args.rounds), report.vm.clone()];
    Ok(Findings { how, body: table(&report)?, claims: claims(&report)? })
}

fn table(report: &Report) -> Result<String> {
    let mut table =
        "| volume of | finished by | from the last chunk to the plain device, median | \
                     shortest | longest | merges of |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for (owner, way, title) in WAYS {
        let ends = |place| -> (f64, f64) {
            let values = report.values(&["finish", way], place);
            let end = |pick: fn(f64, f64) -> f64| values.iter().copied().fold(f64::NAN, pick);
            (end(f64::min), end(f64::max))
        };
        let median = report.spread(&["finish", way], 0)?.median;
        let ((shortest, longest), (quick, slow)) = (ends(0), ends(1));
        // Writing into a String cannot fail.
        let _ = writeln!(
            table,
            "| {owner} | {title} | {median:.2} s | {shortest:.2} s | {longest:.2} s | {quick:.0} to {slow:.0} s |"
        );
    }
    Ok(table)
}

fn claims(report: &Report) -> Result<Vec<Claim>> {
    let median = |way: &str| report.spread(&["finish", way], 0).map(|spread| spread.median);
    let claim = |what: &str, ours: &str, others: &str| -> Result<Claim> {
        let (ours, others) = (median(ours)?, median(others)?);
        let what = format!("last chunk to plain device, {what}");
        let figure = format!("{ours:.2} s beside {others:.2} s");
        Ok(Claim::judged(what, "sooner", figure, ours < others))
    };
    Ok(vec![
        claim("LVM: merge-ctl beside lvconvert", "lvm-merge-ctl", "lvm-lvconvert")?,
        claim("device-mapper: merge-ctl beside a script", "dm-merge-ctl", "dm-script")?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_has_its_median_and_its_ends() {
        let mut report = String::new();
        for (_, way, _) in WAYS {
            let factor = if way.contains("merge-ctl") { 0.1 } else { 1.0 };
            for seconds in [2.0, 9.0, 4.0] {
                let _ = writeln!(report, "finish {way} {} 20.4", seconds * factor);
            }
        }
        let report = Report::of(&report, String::new());
        let table = table(&report).unwrap();
        let row = "lvconvert --merge --interval 1 | 4.00 s | 2.00 s | 9.00 s | 20 to 20 s |";
        assert!(table.contains(row), "{table}");
        let claims = claims(&report).unwrap();
        assert_eq!(claims[1].figure, "0.40 s beside 4.00 s");
        assert!(claims.iter().all(|claim| claim.met == Some(true)));
        assert!(super::table(&Report::of("", String::new())).is_err());
    }
}
