//! How long reports take, and how large they are, of made-up merges with more and more runs:
//! `cargo run --release --example report [DIRECTORY]`. With a directory, the reports are kept there.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;
use std::{env, fs};

use merge_ctl::human;
use merge_ctl::recording::Player;
use merge_ctl::report::{Format, Report};

#[path = "../tests/report/many.rs"]
#[expect(clippy::unwrap_used, reason = "made for the tests")]
mod many;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = env::args_os().nth(1).map(PathBuf::from);
    for runs in [1_000, 30_000, 1_000_000] {
        let begun = Instant::now();
        let bytes = many::recording(runs, 500);
        let (size, made) = (human::bytes(bytes.len() as u64), begun.elapsed());
        println!("{} runs: a recording of {size}, made in {made:.1?}", human::count(runs));
        for (format, ending) in
            [(Format::Html, "html"), (Format::Markdown, "md"), (Format::Trace, "json")]
        {
            let begun = Instant::now();
            let report = Report::gather(Player::open(bytes.as_slice())?, format)?;
            let (played, begun) = (begun.elapsed(), Instant::now());
            let text = report.write()?;
            let (written, size) = (begun.elapsed(), human::bytes(text.len() as u64));
            println!("  {ending:<4} {size:>10}, played in {played:.2?}, written in {written:.2?}");
            if let Some(directory) = &directory {
                fs::write(directory.join(format!("{runs}-runs.{ending}")), text)?;
            }
        }
    }
    Ok(())
}
