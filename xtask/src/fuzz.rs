//! `cargo xtask fuzz`: devices and files that nobody wrote, until one of them breaks the reader.
//!
//! The targets are those of `merge-ctl/fuzz`, a crate for cargo-fuzz. It builds them; they are run
//! from here, so that what they find and learn goes below `target` and not into the tree. What a run
//! learned (its corpus) is where the next begins.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result, anyhow};

use crate::packages;
use crate::run::{Command, say};
use crate::tool::Tool;
use crate::workspace::Workspace;

/// With this version the stable compiler was tried.
const CARGO_FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2" };
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// The fuzz targets, each in a file of its name in `merge-ctl/fuzz/fuzz_targets`.
const TARGETS: &[&str] = &["store", "dump", "recording"];

/// How long `cargo xtask test` fuzzes, all targets together.
const TEST_SECONDS: u64 = 60;

/// The targets check what an input may take, at each allocation. libFuzzer's own limit goes by the
/// peak that the kernel counts for a process, and that is inherited from whoever started it: us, with
/// the disks that we make for VMs meanwhile.
const NO_RSS_LIMIT: &str = "-rss_limit_mb=0";
/// Inputs take a few milliseconds. One that takes so many seconds is caught in a loop.
const TIMEOUT: &str = "-timeout=10";
const MAX_INPUT: &str = "-max_len=4096";
/// Quick inputs are tried more often: a few are a hundred times as slow as the others.
const QUICK_FIRST: &str = "-entropic_scale_per_exec_time=1";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to fuzz; one target after the other if none is given
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    target: Option<String>,
    /// How long, for each target; 0 goes on until something is found or you stop it
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Run only these inputs, and show what each means
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with = "seconds")]
    input: Vec<PathBuf>,
}

/// Fuzzes as asked, with all that libFuzzer says.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    ready(workspace)?;
    for name in TARGETS.iter().filter(|name| args.target.as_deref().is_none_or(|t| t == **name)) {
        let target = Target { workspace, name };
        target.build()?;
        if args.input.is_empty() {
            target.fuzz(args.seconds, Says::Everything)?;
        } else {
            args.input.iter().try_for_each(|input| target.run_one(input))?;
        }
    }
    Ok(())
}

/// Fuzzes for a minute in all, and tells how many inputs were run.
pub(crate) fn for_a_minute(workspace: &Workspace) -> Result<String> {
    ready(workspace)?;
    let mut told = Vec::new();
    for name in TARGETS {
        let target = Target { workspace, name };
        target.build()?;
        let seconds = TEST_SECONDS / TARGETS.len() as u64;
        say(format_args!("fuzzing {name} for {seconds} seconds"));
        let inputs = target.fuzz(seconds, Says::Trouble)?;
        told.push(format!("{name}: {inputs} inputs, nothing found"));
    }
    Ok(told.join("; "))
}

/// Gets what the targets are built with.
pub(crate) fn ready(workspace: &Workspace) -> Result<PathBuf> {
    packages::ensure()?;
    match CARGO_FUZZ.find(workspace)? {
        Some(cargo_fuzz) => Ok(cargo_fuzz),
        None => CARGO_FUZZ.build(workspace, |_| ()),
    }
}

/// Where the crate of the targets lies.
pub(crate) fn directory(workspace: &Workspace) -> PathBuf {
    workspace.root.join("merge-ctl/fuzz")
}

/// How much of what libFuzzer says is shown.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    Everything,
    /// A panic's message, and how the input's run ended.
    Trouble,
}

struct Target<'a> {
    workspace: &'a Workspace,
    name: &'static str,
}

impl Target<'_> {
    fn build(&self) -> Result<()> {
        let Self { workspace, name } = self;
        // cargo-fuzz cannot be told to keep to the lock file. This sees to it, and to a clear word
        // where crates cannot be had.
        workspace
            .cargo()
            .args(["fetch", "--quiet", "--locked", "--target", TRIPLE, "--manifest-path"])
            .arg(directory(workspace).join("Cargo.toml"))
            .run()
            .context("cannot get the crates that the fuzz targets need")?;
        Command::new(ready(workspace)?)
            // On the stable compiler there are no sanitizers, and merge-ctl/fuzz needs none.
            .args(["build", "--sanitizer", "none"])
            // Watching every comparison takes half of the time, to guess numbers that the programs
            // which inputs are have in them anyway.
            .arg("--no-trace-compares")
            .args(["--target", TRIPLE, name, "--target-dir"])
            .arg(self.target_dir())
            .arg("--fuzz-dir")
            .arg(directory(workspace))
            .dir(&workspace.root)
            .unset("RUSTFLAGS")
            .cargo_build(&format!("building the fuzz target {name}"))
            .with_context(|| format!("the fuzz target {name} does not build"))
            .map(drop)
    }

    /// Runs new inputs until the time is over, and tells how many.
    fn fuzz(&self, seconds: u64, says: Says) -> Result<u64> {
        let (corpus, artifacts) = (self.directory("corpus")?, self.directory("artifacts")?);
        let mut program = self.program();
        program
            .args([
                NO_RSS_LIMIT,
                TIMEOUT,
                MAX_INPUT,
                QUICK_FIRST,
                "-print_final_stats=1",
                "-print_funcs=0",
            ])
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(corpus)
            .arg(directory(self.workspace).join("seeds").join(self.name));
        let mut log = Log { says, inputs: 0, input: None };
        let ended = program.run_telling(|line| log.read(line));
        ended.map(|()| log.inputs).map_err(|error| self.found(&log, error))
    }

    /// Shows what an input means, and runs it.
    fn run_one(&self, input: &Path) -> Result<()> {
        let file = input.canonicalize().with_context(|| input.display().to_string())?;
        self.program().arg(&file).env("RUST_LIBFUZZER_DEBUG_PATH", "/dev/stderr").run()?;
        self.program().args([NO_RSS_LIMIT, TIMEOUT]).arg(&file).run()
    }

    fn program(&self) -> Command {
        let built = self.target_dir().join(TRIPLE).join("release").join(self.name);
        let mut program = Command::new(built);
        program.dir(&self.workspace.root);
        program
    }

    /// The last words are a command to copy.
    fn found(&self, log: &Log, error: Error) -> Error {
        let name = self.name;
        let Some(input) = &log.input else {
            return error.context(format!("{name}: the target failed, and left no input"));
        };
        anyhow!(
            "{name}: an input was found: {input}\nAgain: cargo xtask fuzz {name} --input {input}"
        )
    }

    /// Apart from other builds: fuzzing has other flags.
    fn target_dir(&self) -> PathBuf {
        self.workspace.target.join("fuzz")
    }

    fn directory(&self, of: &str) -> Result<PathBuf> {
        let path = self.target_dir().join(of).join(self.name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }
}

/// What is read out of libFuzzer's words.
struct Log {
    says: Says,
    inputs: u64,
    /// Where the input lies that was found.
    input: Option<String>,
}

impl Log {
    fn read(&mut self, line: &str) {
        if let Some(inputs) = line.strip_prefix("stat::number_of_executed_units:") {
            self.inputs = inputs.trim().parse().unwrap_or(self.inputs);
        }
        if let Some((_, input)) = line.split_once("Test unit written to ") {
            self.input = Some(input.trim().to_owned());
        }
        if self.says == Says::Everything || !is_progress(line) {
            eprintln!("{line}");
        }
    }
}

/// Whether a line is of the kind that a run without a finding is full of.
fn is_progress(line: &str) -> bool {
    const PROGRESS: [&str; 9] = [
        "#",
        "INFO:",
        "WARNING: Failed to find function",
        "Done ",
        "stat::",
        "\"",
        // The numbers and letters of a dictionary entry or of a found input.
        "0x",
        "\\",
        "MS: ",
    ];
    line.is_empty() || PROGRESS.iter().any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &str) -> Log {
        let mut log = Log { says: Says::Trouble, inputs: 0, input: None };
        lines.lines().for_each(|line| log.read(line));
        log
    }

    #[test]
    fn the_number_of_inputs_is_read() {
        let log = log("#2\tINITED cov: 9\nDone 83303 runs in 61 second(s)\n\
                       stat::number_of_executed_units: 83303\nstat::peak_rss_mb: 79\n");
        assert_eq!((log.inputs, log.input), (83303, None));
    }

    #[test]
    fn the_place_of_what_was_found_is_read() {
        let log = log("==1== ERROR: libFuzzer: deadly signal\n\
                       artifact_prefix='/a/'; Test unit written to /a/crash-b1\nBase64: AAAA\n");
        assert_eq!(log.input.as_deref(), Some("/a/crash-b1"));
    }
}
