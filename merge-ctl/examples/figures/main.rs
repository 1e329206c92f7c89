//! What the benches `runs`, `attached`, `finish`, `footprint` and `scale` of `cargo xtask bench` run in
//! their VMs. Each prints lines of words, one a measurement, which xtask puts into tables. All but the
//! last two make and remove devices, and are for VMs only.
//!
//! - `figures runs ROUNDS MIB`: merges of made stores, by length of run, chunk size and latency.
//! - `figures attached ROUNDS SECONDS`: the same merge with and without `merge-ctl monitor` beside it.
//! - `figures finish ROUNDS`: how long it takes from a merge's last chunk to the plain device.
//! - `figures footprint SECONDS`: what merge-ctl itself uses, by the number of snapshots.
//! - `figures scale ROUNDS SECONDS`: how long merge-ctl takes to answer on a large host.
//! - `figures timed COMMAND …`, anywhere: runs it; prints `took` with the seconds by the clock, those of
//!   processor time, and the peak memory in KiB, in place of its output.
//! - `figures spin`, anywhere: seconds for work that never changes, to compare processors.

mod attached;
mod disk;
mod finish;
mod footprint;
mod host;
mod made;
mod merging;
mod process;
mod runs;
mod scale;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["runs", rounds, mib] => runs::run(rounds.parse()?, mib.parse()?),
        ["attached", rounds, seconds] => attached::run(rounds.parse()?, seconds.parse()?),
        ["finish", rounds] => finish::run(rounds.parse()?),
        ["footprint", seconds] => footprint::run(seconds.parse()?),
        ["scale", rounds, seconds] => scale::run(rounds.parse()?, seconds.parse()?),
        ["timed", program, ref words @ ..] => process::timed(program, words),
        ["spin"] => {
            process::spin();
            Ok(())
        }
        _ => bail!("say `figures runs|attached|finish|footprint|scale|timed|spin …`"),
    }
}
